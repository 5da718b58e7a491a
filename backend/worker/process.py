"""What every process of the backend has in common: its log, what must hold before it starts, signals, exit codes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType

from backend import bootstrap
from backend.bootstrap import Backend
from backend.core import memory
from backend.settings import Settings
from backend.worker import logs
from backend.worker.ending import ended as ended
from backend.worker.guards import require_ready


@contextmanager
def opened(settings: Settings, name: str) -> Iterator[Backend]:
    """The backend, where its database is there and up to date. Raises `Refusal` where it is not."""
    logs.configure(settings.log_level, worker=name, secrets=logs.secrets_of(settings))
    if (lacking := bootstrap.missing_database(settings)) is not None:
        raise lacking
    with closing(bootstrap.build(settings)) as backend:
        require_ready(backend.database, settings)
        memory.settle()
        yield backend


def told_to_stop() -> threading.Event:
    """Set by the first SIGTERM or SIGINT, which lets handlers end; the second ends the process as it is."""
    stop = threading.Event()

    def obey(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, obey)
    return stop
