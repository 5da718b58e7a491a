"""The worker's process (see `process`): its start, and its metrics where a port is named for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from backend.settings import Settings
from backend.worker import process, wiring
from backend.worker.loop import Worker, worker_name

log = structlog.get_logger()


def main() -> int:
    """Runs one worker until SIGTERM or SIGINT; the second of them ends it at once."""
    name = worker_name()
    return process.ended("worker", name, lambda settings: run(settings, name))


def run(settings: Settings, name: str) -> None:
    """Checks what must hold, then works until it is told to stop."""
    with process.opened(settings, name) as backend:
        backend.group_mappings.settle()
        backend.bindings.settle()
        until_told(wiring.worker(backend, name), settings.metrics_port)


def until_told(worker: Worker, metrics_port: int | None = None) -> None:
    """Runs a worker in the main thread until a signal tells it to stop; every lease that it leaves then ends by itself."""
    stop = process.told_to_stop()
    with _metrics_served(worker, metrics_port):
        worker.run(stop)


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
