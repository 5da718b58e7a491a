"""The worker's process: settings, what must hold before it starts, signals, exit codes.

Exit codes are those of the command line: 0 stopped as it was told; 1 a defect of ours; 2 refused; 3 another system failed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType

import structlog

from backend import bootstrap
from backend.core.errors import ExternalFailure, Refusal
from backend.settings import Settings
from backend.worker import logs, wiring
from backend.worker.guards import require_ready
from backend.worker.loop import Worker, worker_name

REFUSED, EXTERNAL = 2, 3
log = structlog.get_logger()


def main() -> int:
    """Runs one worker until SIGTERM or SIGINT; the second of them ends it at once."""
    name = worker_name()
    logs.configure("INFO", worker=name)
    try:
        run(bootstrap.read_settings(), name)
    except Refusal as refusal:
        log.error("worker.refused", code=refusal.code, problem=refusal.message, remedy=refusal.remedy)
        return REFUSED
    except ExternalFailure as failure:
        log.error("worker.refused", code="external-failure", problem=str(failure), remedy="Correct it, then start again.")
        return EXTERNAL
    return 0


def run(settings: Settings, name: str) -> None:
    """Checks what must hold, then works until it is told to stop."""
    logs.configure(settings.log_level, worker=name, secrets=logs.secrets_of(settings))
    if (lacking := bootstrap.missing_database(settings)) is not None:
        raise lacking
    with closing(bootstrap.build(settings)) as backend:
        require_ready(backend.database, settings)
        backend.group_mappings.settle()
        backend.bindings.settle()
        until_told(wiring.worker(backend, name), settings.metrics_port)


def until_told(worker: Worker, metrics_port: int | None = None) -> None:
    """Runs a worker in the main thread until a signal tells it to stop."""
    stop = threading.Event()
    _obey_signals(stop)
    with _metrics_served(worker, metrics_port):
        worker.run(stop)


def _obey_signals(stop: threading.Event) -> None:
    """The first signal lets handlers end, the second ends the process as it is: every lease then ends by itself."""

    def obey(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, obey)


@contextmanager
def _metrics_served(worker: Worker, port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    server = worker.metrics.serve(port)
    log.info("worker.metrics", address=f"http://127.0.0.1:{server.server_port}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
