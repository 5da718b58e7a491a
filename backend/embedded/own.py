"""Our own processes as children of a group: the worker, the ingest of the inference log, and the web app with the API.

Their logs are `worker.log`, `ingest.log` and `web.log` in the group's folder; secrets are blotted out by the processes
themselves. Nothing of the owner's environment is passed on but what is named here, and the settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

import backend
from backend.core.errors import Refusal
from backend.embedded.kept_ports import KeptPorts
from backend.embedded.launch import Probe, wait_ready
from backend.embedded.ports import LOOPBACK, Ports, taken
from backend.embedded.specs import Restart, Spec
from backend.embedded.supervisor import Child, Supervisor

WEB, INGEST = "web", "ingest"
WEB_READY_SECONDS = 60.0
WORKER_GRACE_SECONDS = 25.0
"""A worker lets what it is doing end, for up to 20 s."""
_ROOT = Path(backend.__file__).parent.parent
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "SSL_CERT_FILE")


@dataclass(frozen=True)
class WebApp:
    """A started web app."""

    url: str
    child: Child


def worker_spec(folder: Path, settings: Mapping[str, str]) -> Spec:
    """`countersign worker` under these settings (environment variables) and no others."""
    return Spec(
        name="worker",
        argv=(sys.executable, "-P", "-m", "backend.worker"),
        env=_environment(settings),
        cwd=folder,
        stop_grace_seconds=WORKER_GRACE_SECONDS,
        restart=Restart(limit=5),
    )


def ingest_spec(folder: Path, settings: Mapping[str, str]) -> Spec:
    """`countersign ingest` under these settings. What it is doing ends first: the spool is emptied into the log."""
    return Spec(
        name=INGEST,
        argv=(sys.executable, "-P", "-m", "backend.ingest"),
        env=_environment(settings),
        cwd=folder,
        stop_grace_seconds=15.0,
        restart=Restart(limit=5),
    )


def web_spec(folder: Path, port: int, settings: Mapping[str, str]) -> Spec:
    """`countersign ui` on that port of loopback."""
    return Spec(
        name=WEB,
        argv=(sys.executable, "-P", "-m", "app", "--host", LOOPBACK, "--port", str(port)),
        env={**_environment(settings), "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"},
        cwd=folder,
        stop_grace_seconds=5.0,
        restart=Restart(limit=5),
        address=_url(port),
    )


def start_web(group: Supervisor, folder: Path, port: int, settings: Mapping[str, str]) -> WebApp:
    """Starts the web app and waits until it answers."""
    child = group.start(web_spec(folder, port, settings))
    wait_ready(child, _alive(port), WEB_READY_SECONDS)
    return WebApp(_url(port), child)


def web_port(wanted: int, folder: Path) -> int:
    """The port to serve on. Refusal for one that somebody has.

    0 finds a free one: that of the last time, where the group in `folder` found one before and nobody has it now.
    """
    if wanted == 0:
        free = Ports(1, KeptPorts(folder).of(WEB))
        free.close()
        return free.numbers[0]
    if taken([wanted]):
        raise Refusal(
            f"Port {wanted} of this machine is taken.",
            "Stop what listens there (perhaps another Countersign), or choose another with `--port`.",
            code="port-taken",
        )
    return wanted


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed_on, **settings, "PYTHONPATH": str(_ROOT), "PYTHONNOUSERSITE": "1"}


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _alive(port: int) -> Probe:
    def probe(client: httpx.Client) -> bool:
        return client.get(f"{_url(port)}/api/v1/health").status_code == httpx.codes.OK

    return probe
