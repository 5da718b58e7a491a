"""The demo's stack: the real MLflow, Triton, Envoy and a worker as one supervised process group in one data folder.

    with Stack.start(folder, say) as stack:
        stack.backend ...

Leaving the block ends every process, and so does the death of this one; `keep()` lets them live on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import backend
from backend import bootstrap
from backend.bootstrap import Backend
from backend.embedded import runtimes
from backend.embedded.envoy import EnvoyServer, start_envoy
from backend.embedded.mlflow import MlflowServer, start_mlflow
from backend.embedded.specs import Restart, Spec
from backend.embedded.supervisor import Child, Supervisor
from backend.embedded.triton import TritonServer, start_triton
from backend.settings import Settings

Say = Callable[[str], None]
LOOPBACK_NETWORK = "127.0.0.0/8"
OBSERVE_SECONDS = 2.0
_ROOT = Path(backend.__file__).parent.parent
_PASSED_ON = ("PATH", "HOME", "LANG", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "COUNTERSIGN_LOG_LEVEL")


@dataclass(frozen=True)
class Stack:
    """Everything that runs, and the services over it in this process."""

    folder: Path
    group: Supervisor
    mlflow: MlflowServer
    triton: TritonServer
    envoy: EnvoyServer
    worker: Child
    settings: Settings
    backend: Backend

    @classmethod
    def start(cls, folder: Path, say: Say, *, observe_seconds: float = OBSERVE_SECONDS) -> Self:
        """Starts all of it and waits until each answers. What is slow is said before it is begun."""
        folder = folder.absolute()
        found_triton, found_envoy = _runtimes()
        group = Supervisor(folder / "runtimes")
        group.open()
        try:
            say("Starting MLflow (about 20 s), Triton and Envoy ...")
            with ThreadPoolExecutor(3) as starting:
                mlflow = starting.submit(start_mlflow, group, folder / "mlflow")
                triton = starting.submit(start_triton, group, folder / "triton", found_triton)
                envoy = starting.submit(start_envoy, group, folder / "envoy", found_envoy)
                servers = mlflow.result(), triton.result(), envoy.result()
            settings = _settings(folder, servers[0].url, observe_seconds)
            services = bootstrap.install(settings)
            worker = group.start(worker_spec(folder, settings))
        except BaseException:
            group.stop()
            raise
        return cls(folder, group, *servers, worker, settings, services)

    def keep(self) -> str:
        """Lets the processes outlive this one. Returns the command that ends them."""
        return self.group.keep()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.backend.close()
        self.group.__exit__(kind, error, trace)


def worker_spec(folder: Path, settings: Settings) -> Spec:
    """The worker as a child of the group: `countersign worker` under the demo's settings and nothing else."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return Spec(
        name="worker",
        argv=(sys.executable, "-P", "-m", "backend.worker"),
        env={**environment, **_variables(settings), "PYTHONPATH": str(_ROOT), "PYTHONNOUSERSITE": "1"},
        cwd=folder,
        stop_grace_seconds=10.0,
        restart=Restart(limit=5),
    )


def _settings(folder: Path, mlflow_url: str, observe_seconds: float) -> Settings:
    return Settings(
        data_dir=folder,
        mlflow_url=mlflow_url,
        allowed_networks=LOOPBACK_NETWORK,
        demo_identities=True,
        observe_seconds=observe_seconds,
    )


def _variables(settings: Settings) -> dict[str, str]:
    """The settings as a child reads them from its environment."""
    return {
        "COUNTERSIGN_DATA_DIR": str(settings.data_dir),
        "COUNTERSIGN_MLFLOW_URL": str(settings.mlflow_url),
        "COUNTERSIGN_ALLOWED_NETWORKS": settings.allowed_networks,
        "COUNTERSIGN_DEMO_IDENTITIES": "true",
        "COUNTERSIGN_OBSERVE_SECONDS": str(settings.observe_seconds),
    }


def _runtimes() -> tuple[runtimes.TritonEnvironment, Path]:
    """Where Triton and Envoy are; refused before anything is started where this machine cannot run them."""
    configured = os.environ.get("COUNTERSIGN_RUNTIMES_DIR")
    folder = runtimes.folder(Path(configured) if configured else None)
    return runtimes.triton(folder), runtimes.envoy(folder)
