"""The demo's stack: the real MLflow, Triton, Envoy, a worker and the web app as one supervised process group in one folder.

    with Stack.start(folder, say) as stack:
        stack.backend ...       # tells where the servers are
        stack.work()

Leaving the block ends every process, and so does the death of this one; `keep()` lets them live on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from backend import bootstrap
from backend.access import sign_in_file
from backend.bootstrap import Backend
from backend.embedded import mlflow as embedded_mlflow
from backend.embedded import runtimes
from backend.embedded.envoy import AccessLogTo, EnvoyServer, start_envoy
from backend.embedded.launch import wait_ready
from backend.embedded.mlflow import MlflowServer, start_mlflow
from backend.embedded.own import INGEST, WebApp, ingest_spec, start_web, worker_spec
from backend.embedded.ports import LOOPBACK, Ports
from backend.embedded.supervisor import Child, Supervisor
from backend.embedded.triton import TritonServer, start_triton
from backend.settings import Settings

Say = Callable[[str], None]
Servers = tuple[MlflowServer, TritonServer, EnvoyServer]
LOOPBACK_NETWORK = "127.0.0.0/8"
OBSERVE_SECONDS = 2.0
INGEST_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Stack:
    """Everything that runs, and the services over it in this process. `web` is None where it was not asked for.

    `log_ports` are where the ingest takes Envoy's log, and answers of shadow arms; they are held for it until `take_in`. None
    where nobody hears Envoy: the demo then writes the log in this process.

    Each server is at the address that it had the last time, unless somebody else has that now, which is said.
    """

    folder: Path
    group: Supervisor
    mlflow: MlflowServer
    triton: TritonServer
    envoy: EnvoyServer
    web: WebApp | None
    log_ports: Ports | None
    settings: Settings
    backend: Backend

    @classmethod
    def start(
        cls,
        folder: Path,
        say: Say,
        *,
        observe_seconds: float = OBSERVE_SECONDS,
        web_port: int | None = None,
        hears: bool = False,
    ) -> Self:
        """Starts all but the worker and waits until each answers. What is slow is said before it is begun.

        The web app comes first, where a port for it is given: it can be looked at while the rest starts.

        Args:
            hears: an ingest is to hear Envoy, also without a web app (`take_in` starts it).
        """
        folder = folder.absolute()
        found = _runtimes()
        group = Supervisor(folder / "runtimes")
        group.open()
        try:
            say("Preparing the data folder ...")
            at = group.reserve(embedded_mlflow.NAME, 1)
            settings = _settings(folder, embedded_mlflow.address(at), observe_seconds)
            services = bootstrap.install(settings)
            web = _web(group, folder, settings, web_port, say)
            log_ports = group.reserve(INGEST, 2) if web is not None or hears else None
            servers = _servers(group, folder, found, at, log_ports, say)
            for move in group.moves():
                say(move)
        except BaseException:
            group.stop()
            raise
        return cls(folder, group, *servers, web, log_ports, settings, services)

    def work(self) -> Child:
        """Starts the worker, once the services know where the servers are this time: it shall not ask at an earlier address."""
        return self.group.start(worker_spec(self.folder, variables(self.settings)))

    def take_in(self) -> Child:
        """Starts the ingest of the inference log and waits until it takes Envoy's log: what comes earlier is lost."""
        told, ports = variables(self.settings), self.log_ports
        if ports is None:
            return self.group.start(ingest_spec(self.folder, told))
        names = ("COUNTERSIGN_ACCESS_LOG_PORT", "COUNTERSIGN_ANSWERS_PORT")
        ports.release()
        child = self.group.start(ingest_spec(self.folder, told | dict(zip(names, map(str, ports.numbers), strict=True))))
        wait_ready(child, lambda _: all(map(_listens, ports.numbers)), INGEST_READY_SECONDS)
        self.group.remember(INGEST, ports.numbers)
        return child

    def keep(self) -> str:
        """Lets the processes outlive this one. Returns the command that ends them."""
        return self.group.keep()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.backend.close()
        self.group.__exit__(kind, error, trace)


def variables(settings: Settings) -> dict[str, str]:
    """The settings of the demo as a child reads them from its environment."""
    files = {"COUNTERSIGN_BEARER_FILE": settings.bearer_file, "COUNTERSIGN_SIGN_IN_FILE": settings.sign_in_file}
    found = {name: str(path.absolute()) for name, path in files.items() if path is not None}  # children run in another folder
    if settings.sign_in_file is not None:
        secrets = sign_in_file.variables(settings.sign_in_file)
        found |= {name: os.environ[name] for name in secrets if name in os.environ}
    return found | {
        "COUNTERSIGN_DATA_DIR": str(settings.data_dir),
        "COUNTERSIGN_MLFLOW_URL": str(settings.mlflow_url),
        "COUNTERSIGN_ALLOWED_NETWORKS": settings.allowed_networks,
        "COUNTERSIGN_MESSAGE_NETWORKS": settings.message_networks,
        "COUNTERSIGN_DEMO_IDENTITIES": "true",
        "COUNTERSIGN_OBSERVE_SECONDS": str(settings.observe_seconds),
        "COUNTERSIGN_LOG_LEVEL": settings.log_level,
    }


def _web(group: Supervisor, folder: Path, settings: Settings, port: int | None, say: Say) -> WebApp | None:
    if port is None:
        return None
    say("Starting the web app (about 5 s) ...")
    web = start_web(group, folder, port, variables(settings))
    say(f"Open {web.url} : the pages fill while the rest starts.")
    return web


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _servers(
    group: Supervisor,
    folder: Path,
    found: tuple[runtimes.TritonEnvironment, Path],
    at: Ports,
    log_ports: Ports | None,
    say: Say,
) -> Servers:
    """The three servers at the same time. Whoever is interrupted meanwhile does not wait until they are ready."""
    log_to = AccessLogTo(log_ports.numbers[0], answers=log_ports.numbers[1]) if log_ports is not None else None
    say("Starting MLflow (about 20 s), Triton and Envoy ...")
    with ThreadPoolExecutor(3) as starting:
        mlflow = starting.submit(start_mlflow, group, folder / "mlflow", at=at)
        triton = starting.submit(start_triton, group, folder / "triton", found[0])
        envoy = starting.submit(start_envoy, group, folder / "envoy", found[1], log_to=log_to)
        try:
            return mlflow.result(), triton.result(), envoy.result()
        except BaseException:
            group.stop()
            raise


def _settings(folder: Path, mlflow_url: str, observe_seconds: float) -> Settings:
    return Settings(
        data_dir=folder,
        mlflow_url=mlflow_url,
        allowed_networks=_networks(),
        demo_identities=True,
        observe_seconds=observe_seconds,
    )


def _networks() -> str:
    """The demo's own servers, and what whoever runs it allows besides: a provider that people sign in at may be there."""
    named = os.environ.get("COUNTERSIGN_ALLOWED_NETWORKS", "").split(",")
    return ",".join(dict.fromkeys([LOOPBACK_NETWORK, *(one.strip() for one in named if one.strip())]))


def _runtimes() -> tuple[runtimes.TritonEnvironment, Path]:
    """Where Triton and Envoy are; refused before anything is started where this machine cannot run them."""
    configured = os.environ.get("COUNTERSIGN_RUNTIMES_DIR")
    folder = runtimes.folder(Path(configured) if configured else None)
    return runtimes.triton(folder), runtimes.envoy(folder)
