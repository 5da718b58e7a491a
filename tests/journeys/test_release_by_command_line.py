"""A release from upload to rollback by the command line alone: a real MLflow, a real worker process with its real checks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.delivery.targets.memory_server import MemoryServer
from backend.embedded.mlflow import MlflowServer
from tests.command_line import CommandLine
from tests.models import add_model
from tests.packages import write_artifact
from tests.services.worker.crew import until

WAIT = ("--wait", "120")
MODEL = "released-by-command-line"


def archive(folder: Path, offset: float) -> str:
    """An uploadable artifact that answers x + offset, with a recorded answer."""
    asked, given = {"x": [1.0, 2.0]}, {"y": [1.0 + offset, 2.0 + offset]}
    artifact = write_artifact(folder / f"artifact-{offset}", add_model(offset), [(asked, given)])
    path = folder / f"{offset}.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(artifact.iterdir()):
            packed.write(file, file.name)
    return str(path)


@contextmanager
def worker(settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`countersign worker`, told to stop at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERSIGN_")}
    ours = {f"COUNTERSIGN_{name.upper()}": value for name, value in settings.items() if name != "data_dir"}
    command = [sys.executable, "-m", "backend.cli.main", "worker", "--data", settings["data_dir"]]
    with log.open("wb") as stream, subprocess.Popen(command, env=clean | ours, stdout=stream, stderr=stream) as process:
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()
        finally:
            process.kill()


@pytest.fixture
def settings(mlflow_server: MlflowServer, tmp_path: Path) -> dict[str, str]:
    return {
        "data_dir": str(tmp_path / "data"),
        "mlflow_url": mlflow_server.url,
        "allowed_networks": "127.0.0.0/8",
        "demo_identities": "true",
        "observe_seconds": "2",
    }


def test_a_release_from_upload_to_rollback(settings: dict[str, str], tmp_path: Path) -> None:
    countersign = CommandLine(**settings)
    assert countersign("migrate").content == {"migrated": True}
    world = MemoryServer(path=str(tmp_path / "server.json"))
    place = ("--kind", "memory", "--upstream", "127.0.0.1:8001", "--setting", f"path={tmp_path / 'server.json'}")
    assert countersign("server", "register", "srv", *place, by="olga").code == 0
    assert countersign("server", "test", "srv", by="olga").content["server"]["product"] == "memory"
    for offset in (1.0, 2.0):
        uploaded = countersign("model", "upload", MODEL, archive(tmp_path, offset), by="ana")
        assert uploaded.content["version"]["number"] == int(offset)
        assert "100%" in uploaded.said
    again = countersign("model", "register", MODEL, "2", by="ana").content["version"]
    assert again == uploaded.content["version"]
    with worker(settings, tmp_path / "worker.log"):
        created = countersign(
            "endpoint", "create", "ep", "--environment", "production", "--model", MODEL, "--server", "srv", by="olga"
        )
        assert created.content["endpoint"]["line"]["mode"] == "observe"
        _sign_off(countersign)
        _promote(countersign, "1")
        assert _loaded(world) == {"1"}
        change = _promote(countersign, "2", "--bake", "1h", "--start", "by-hand")
        assert _loaded(world) == {"1", "2"}
        back = countersign("change", "roll-back", change, "--reason", "Worse in summer", *WAIT, by="olga")
        assert (back.code, back.content["line"]["state"]) == (0, "rolled_back")
        (line,) = countersign("endpoint", "list", by="audra").content["endpoints"]
        assert (line["live_version"], line["generation"], line["proved_generation"]) == (1, 4, 4)
        until(lambda: _aliases(countersign) == {"production-champion": 1})
    reasons = [one["reason"] for one in countersign("endpoint", "history", "ep", by="audra").content["generations"]]
    assert reasons == ["rollback", "start", "start", "baseline"]
    assert countersign("audit", "verify", by="audra").content["intact"] is True


def _aliases(countersign: CommandLine) -> dict[str, int]:
    return {one["alias"]: one["number"] for one in countersign("model", "show", MODEL, by="ana").content["aliases"]}


def _sign_off(countersign: CommandLine) -> None:
    """An empty baseline, by another person than the one who created the endpoint."""
    found = countersign("endpoint", "adopt", "ep", by="olga").content
    assert (found["running"], found["obstacles"]) == ([], [])
    stale = countersign("endpoint", "sign-off", "ep", "--base", "sha256:" + "0" * 64, by="ben")
    assert (stale.code, stale.error) == (2, "stale-base")
    signed = countersign("endpoint", "sign-off", "ep", "--base", found["digest"], *WAIT, by="ben")
    assert (signed.code, signed.content["endpoint"]["line"]["mode"]) == (0, "managed")


def _promote(countersign: CommandLine, version: str, *terms: str) -> str:
    """One version to production: proposed, checked, approved by another person, started, proved. Returns its number."""
    said = ("--title", f"Version {version}", "--reason", "It is better")
    proposed = countersign("change", "propose", "ep", version, *said, *terms, *WAIT, by="ana").content
    assert proposed["reached"] is True, proposed
    assert {one["standing"] for one in proposed["evidence"] if one["weight"] == "must_pass"} == {"passed"}
    number = str(proposed["line"]["number"])
    approved = countersign(
        "change", "approve", number, "--plan", proposed["plan_digest"], "--base", proposed["base_digest"], *WAIT, by="ben"
    )
    assert approved.code == 0, approved
    if "by-hand" in terms:
        assert approved.content["line"]["state"] == "approved"
        approved = countersign("change", "start", number, *WAIT, by="ana")
    assert (approved.content["reached"], approved.content["line"]["state"]) == (True, "done"), approved
    return number


def _loaded(world: MemoryServer) -> set[str]:
    with world.state() as state:
        return set(state["models"]["ep"]["versions"])
