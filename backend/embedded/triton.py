"""The embedded Triton, from the wheel that ships its real binary, on loopback.

Flags: `tritonserver --help` of 2.51. Explicit model control; a failed load does not make the whole server unready; the
management, shared-memory, logging and trace endpoints ask for the admin key, since the latter three can read memory and
write files. gRPC is off: nobody here speaks it, and it would be a second door to the same endpoints.

The key stands in the process's arguments, which other accounts of this machine may read (Triton takes it from nowhere
else): the embedded server is for one person's machine.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from backend.embedded.launch import Probe, launch
from backend.embedded.ports import LOOPBACK
from backend.embedded.runtimes import TritonEnvironment
from backend.embedded.specs import Restart, Spec
from backend.embedded.supervisor import Child, Supervisor

NAME = "triton"
ADMIN_HEADER = "admin-key"
READY_SECONDS = 60.0
_EXIT_SECONDS = 5
_RESTRICTED = "model-repository,shared-memory,logging,trace"


@dataclass(frozen=True)
class TritonServer:
    """A started Triton.

    `url` answers inference to everybody and management to `admin_headers`; `metrics_url` is Prometheus text; models are
    loaded from `models` (one folder a model), which starts empty.
    """

    url: str
    metrics_url: str
    models: Path
    admin_key: str = field(repr=False)
    child: Child

    @property
    def admin_headers(self) -> dict[str, str]:
        """What a management request carries."""
        return {ADMIN_HEADER: self.admin_key}


def start_triton(group: Supervisor, folder: Path, environment: TritonEnvironment, *, name: str = NAME) -> TritonServer:
    """Start Triton with its model folder in `folder` and wait until it is ready. `name` tells several apart."""
    folder = folder.absolute()
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True, mode=0o700)
    link_backend(folder / "backends", environment)
    key, identity = secrets.token_urlsafe(32), f"countersign-{secrets.token_hex(8)}"
    child, (http, metrics) = launch(
        group,
        name,
        2,
        lambda ports: (
            spec(folder, ports[0], ports[1], environment, key, identity, name),
            _ready(ports[0], identity),
        ),
        READY_SECONDS,
    )
    return TritonServer(_url(http), f"{_url(metrics)}/metrics", models, key, child)


def spec(
    folder: Path, http: int, metrics: int, environment: TritonEnvironment, key: str, identity: str, name: str = NAME
) -> Spec:
    """The command. `identity` names this very process in its answers and its shared memory."""
    return Spec(
        name=name,
        argv=(
            str(environment.binary),
            f"--id={identity}",
            f"--model-repository={folder / 'models'}",
            "--model-control-mode=explicit",
            "--strict-readiness=false",
            f"--backend-directory={folder / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={identity}",
            f"--http-address={LOOPBACK}",
            f"--http-port={http}",
            f"--http-restricted-api={_RESTRICTED}:{ADMIN_HEADER}={key}",
            "--allow-grpc=false",
            f"--metrics-address={LOOPBACK}",
            f"--metrics-port={metrics}",
            "--allow-gpu-metrics=false",
            "--metrics-config=summary_latencies=true",
            "--metrics-config=summary_quantiles=0.5:0.05,0.9:0.01,0.99:0.001",
            f"--exit-timeout-secs={_EXIT_SECONDS}",
        ),
        env={
            "PATH": f"{environment.root / 'bin'}:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "LD_LIBRARY_PATH": str(environment.libraries),
            "PYTHONPATH": str(environment.site_packages),
            "PYTHONNOUSERSITE": "1",
        },
        cwd=folder,
        stop_grace_seconds=_EXIT_SECONDS + 3.0,
        restart=Restart(limit=5),
        shm_prefix=identity,
        address=_url(http),
    )


def link_backend(backends: Path, environment: TritonEnvironment) -> None:
    """Make a backend folder that holds only the Python backend, the stub for this Python under its generic name."""
    target = backends / "python"
    target.mkdir(parents=True, exist_ok=True)
    shipped = environment.package / "backends" / "python"
    _link(target / "libtriton_python.so", shipped / "libtriton_python.so")
    _link(target / "triton_python_backend_utils.py", shipped / "triton_python_backend_utils.py")
    _link(target / "triton_python_backend_stub", environment.stub)


def _link(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, link)


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _ready(port: int, identity: str) -> Probe:
    def probe(client: httpx.Client) -> bool:
        if client.get(f"{_url(port)}/v2/health/ready").status_code != httpx.codes.OK:
            return False
        return bool(client.get(f"{_url(port)}/v2").json().get("name") == identity)

    return probe
