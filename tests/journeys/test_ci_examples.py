"""The examples for GitHub Actions and GitLab CI, their steps really run against the API on a port, until people decide."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.changes.service import Changes
from backend.core.database import Database
from backend.registry.memory import MemoryRegistry
from backend.registry.service import Versions
from tests.api_world import Api
from tests.live_api import serving
from tests.services.changes.world import ENDPOINT, MODEL, World
from tests.services.registry.worlds import FILES
from tests.services.test_api_journey import Packaging

pytestmark = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
ROOT = Path(__file__).resolve().parents[2]
GITHUB, GITLAB = ROOT / "docs/ci/github-actions.yml", ROOT / "docs/ci/gitlab-ci.yml"


@dataclass
class Pipeline:
    """A job's shell on a machine that has the command line, and what is there to see afterwards."""

    folder: Path
    environment: dict[str, str]
    ran: list[tuple[str, int]] = field(default_factory=list)
    said: str = ""

    def run(self, name: str, script: str) -> int:
        """One step, as the platforms run it: by bash, ended by the first command that fails."""
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        self.ran.append((name, done.returncode))
        self.said += done.stdout + done.stderr
        return done.returncode


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    world = World(real_time_database)
    registry = MemoryRegistry()
    for number in range(6):
        registry.add_version(MODEL, {**FILES, "note.txt": str(number).encode()})
    versions = Versions(real_time_database, registry)
    world.changes = Changes(
        real_time_database, versions=versions, packaging=Packaging(real_time_database), packages=world.store
    )
    opened = Api(world, tmp_path / "data", versions=versions)
    yield opened
    opened.close()


@pytest.fixture
def token(asked: Api) -> str:
    """Of a build server that may register and propose this model, as docs/ci.md has it made."""
    backend, world = asked.backend, asked.world
    backend.identities.create(world.otto, "builds", kind="service", owner="ana")
    asking = backend.identities.grant(world.otto, "builds", "contributor", f"model:{MODEL}")
    backend.confirm_request(world.nora, asking.id)
    return backend.tokens.create(world.ana, "ci", identity="builds").text


@pytest.fixture
def pipeline(asked: Api, tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """Makes a job with these variables; the API answers for as long as the test runs."""
    folder, programs = tmp_path / "job", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    (programs / "countersign").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m backend.cli.main "$@"\n')
    (programs / "countersign").chmod(0o755)
    for name in ("python", "python3"):
        (programs / name).symlink_to(sys.executable)
    with serving(asked.application) as url:

        def made(**variables: str) -> Pipeline:
            clean = {name: one for name, one in os.environ.items() if not name.startswith(("COUNTERSIGN_", "ACTIONS_"))}
            told = {"COUNTERSIGN_URL": url, "COUNTERSIGN_CONFIG_DIR": str(tmp_path / "config"), "PYTHONPATH": str(ROOT)}
            told |= {"MODEL": MODEL, "ENDPOINT": ENDPOINT, "VERSION": "6", "PATH": f"{programs}:{os.environ['PATH']}"}
            return Pipeline(folder, clean | told | variables)

        yield made


@contextmanager
def people(world: World, job: Pipeline, verdict: str) -> Iterator[None]:
    """A worker at work, and a reviewer who decides once the job has seen that the checks passed."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.2):
            world.run()
            world.check()
            if not world.ledger().count("change.propose"):
                continue
            proposed = job.folder / "change.json"
            if world.state(1) == "review" and proposed.exists() and proposed.read_text():
                world.vote(1, verdict=verdict)
            if world.state(1) == "applying":
                world.prove()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def github_identities(token: str) -> Iterator[tuple[dict[str, str], list[tuple[str, str]]]]:
    """Where GitHub gives a job its identity: the variables that name the place, and what was asked there."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["authorization"]))
            body = json.dumps({"count": 1, "value": token}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/token?api-version=2.0"
    try:
        yield {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-runner"}, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_github(job: Pipeline) -> None:
    """The steps of the workflow, in order, until one fails."""
    workflow = yaml.safe_load(GITHUB.read_text())
    assert workflow["permissions"]["id-token"] == "write"
    (told,) = workflow["jobs"].values()
    assert set(told["env"]) == {"COUNTERSIGN_URL", "ENDPOINT", "MODEL", "VERSION"}
    assert not re.search(r"secrets\.", GITHUB.read_text())
    kept = job.folder / "github-env"
    for step in told["steps"]:
        if step["name"] == "Install the command line":
            continue  # tests/test_documents.py runs it
        assert "${{" not in step["run"], "an expression inside a script lets whoever starts it write commands"
        kept.touch()
        lines = (line.partition("=") for line in kept.read_text().splitlines())
        job.environment |= {name: one for name, _, one in lines} | {"GITHUB_ENV": str(kept), "GITHUB_STEP_SUMMARY": os.devnull}
        if job.run(step["name"], step["run"]) != 0:
            return


def run_gitlab(job: Pipeline) -> None:
    """The job's script, as one shell."""
    told = yaml.safe_load(GITLAB.read_text())["release"]
    assert told["id_tokens"] == {"COUNTERSIGN_ID_TOKEN": {"aud": "$COUNTERSIGN_URL"}}
    job.run("script", "\n".join(told["script"]))


RUN: Mapping[str, str] = {
    "GITHUB_RUN_ID": "1842", "GITHUB_REPOSITORY": "acme/flights", "GITHUB_SHA": "abc", "CI_PIPELINE_ID": "77",
    "CI_PROJECT_PATH": "acme/flights", "CI_COMMIT_SHA": "abc",
}  # fmt: skip
STEPS = [
    "Register the version",
    "Propose it, and wait for its checks",
    "Wait for the decision",
    "Wait until it is proved to be live",
]


@pytest.mark.parametrize(("verdict", "codes"), [("approve", [0, 0, 0, 0]), ("reject", [0, 0, 5])])
def test_the_github_example(asked: Api, token: str, pipeline: Callable[..., Pipeline], verdict: str, codes: list[int]) -> None:
    with github_identities(token) as (variables, given):
        job = pipeline(**variables, **RUN)
        with people(asked.world, job, verdict):
            run_github(job)
    assert job.ran == list(zip(STEPS, codes, strict=False)), job.said
    assert given
    assert {bearer for _, bearer in given} == {"Bearer of-the-runner"}
    assert all("api-version=2.0&audience=http%3A%2F%2F127.0.0.1" in path for path, _ in given)
    made = asked.world.change(1)
    assert (made.title, made.reason) == (f"{MODEL} 6", "Run 1842 of acme/flights at abc")
    assert made.state == {"approve": "done", "reject": "rejected"}[verdict]
    assert token not in job.said + "".join(one.read_text() for one in job.folder.iterdir())


@pytest.mark.parametrize(("verdict", "code"), [("approve", 0), ("reject", 5)])
def test_the_gitlab_example(asked: Api, token: str, pipeline: Callable[..., Pipeline], verdict: str, code: int) -> None:
    job = pipeline(COUNTERSIGN_ID_TOKEN=token, **RUN)
    with people(asked.world, job, verdict):
        run_gitlab(job)
    assert job.ran == [("script", code)], job.said
    assert asked.world.state(1) == {"approve": "done", "reject": "rejected"}[verdict]
    assert json.loads((job.folder / "change.json").read_text())["line"]["number"] == 1
    run_gitlab(job)
    assert (job.ran[-1], asked.world.ledger().count("change.propose")) == (("script", code), 1), job.said


def test_a_job_of_nobody_stops_at_its_first_command(asked: Api, pipeline: Callable[..., Pipeline]) -> None:
    job = pipeline(COUNTERSIGN_ID_TOKEN=f"cst_{'0' * 26}_{'a' * 43}", **RUN)
    run_gitlab(job)
    assert job.ran == [("script", 2)]
    assert asked.world.ledger() == []
