"""The embedded MLflow: tracking server and model registry with SQLite and local artifacts, on loopback.

Flags: `mlflow server --help` of 3.17. It is always spoken to over HTTP; nothing here imports mlflow.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.embedded.launch import Probe, launch, wait_ready
from backend.embedded.ports import LOOPBACK, Ports
from backend.embedded.specs import Restart, Spec
from backend.embedded.supervisor import Child, Supervisor

NAME = "mlflow"
READY_SECONDS = 120.0  # it imports itself twice: 16 s of CPU, 20 with a fresh database
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # no queue workers beside the server
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "NO_PROXY": "*",
}


@dataclass(frozen=True)
class MlflowServer:
    """A started MLflow. `url` is both tracking and registry address; artifacts are proxied (`mlflow-artifacts:/`)."""

    url: str
    folder: Path
    child: Child

    @property
    def artifacts(self) -> Path:
        """Where the server keeps the artifacts."""
        return self.folder / "artifacts"


def start_mlflow(
    group: Supervisor, folder: Path, *, python: Path = Path(sys.executable), at: Ports | None = None
) -> MlflowServer:
    """Start MLflow on the database and artifacts in `folder` and wait until it answers.

    `at` is a port that was reserved before, so that others could be told its address; else a free one is found.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if at is not None:
        at.release()
        child = group.start(spec(folder, at.numbers[0], python))
        wait_ready(child, _ready(at.numbers[0]), READY_SECONDS)
        group.remember(NAME, at.numbers)
        return MlflowServer(address(at), folder, child)
    child, (port,) = launch(group, NAME, 1, lambda ports: (spec(folder, ports[0], python), _ready(ports[0])), READY_SECONDS)
    return MlflowServer(_url(port), folder, child)


def spec(folder: Path, port: int, python: Path) -> Spec:
    """`mlflow server` with one worker. Requests under another host name or origin are refused (DNS rebinding)."""
    hosts = (f"{LOOPBACK}:{port}", f"localhost:{port}")
    return Spec(
        name=NAME,
        argv=(
            str(python), "-P", "-m", "mlflow", "server",
            f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}",
            f"--artifacts-destination={(folder / 'artifacts').as_uri()}",
            f"--host={LOOPBACK}",
            f"--port={port}",
            "--workers=1",
            f"--allowed-hosts={','.join(hosts)}",
            f"--cors-allowed-origins={','.join(f'http://{host}' for host in hosts)}",
        ),
        env={"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", **_QUIET},
        cwd=folder,
        stop_grace_seconds=8.0,
        restart=Restart(limit=5),
        address=_url(port),
    )  # fmt: skip


def address(at: Ports) -> str:
    """Where an MLflow answers, or will."""
    return _url(at.numbers[0])


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _ready(port: int) -> Probe:
    def probe(client: httpx.Client) -> bool:
        return client.get(f"{_url(port)}/health").status_code == httpx.codes.OK

    return probe
