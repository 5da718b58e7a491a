"""What every process of the backend has in common: its log, what must hold before it starts, signals, exit codes.

Exit codes are those of the command line: 0 stopped as it was told; 1 a defect of ours; 2 refused; 3 another system failed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType

import structlog

from backend import bootstrap
from backend.bootstrap import Backend
from backend.core import memory
from backend.core.errors import ExternalFailure, Refusal
from backend.settings import Settings
from backend.worker import logs
from backend.worker.guards import require_ready

REFUSED, EXTERNAL = 2, 3
log = structlog.get_logger()


def ended(kind: str, name: str, run: Callable[[Settings], None]) -> int:
    """Runs until it ends, and tells by the exit code how. What refuses or fails is one line of the log, `KIND.refused`."""
    logs.configure("INFO", worker=name)
    try:
        run(bootstrap.read_settings())
    except Refusal as refusal:
        log.error(f"{kind}.refused", code=refusal.code, problem=refusal.message, remedy=refusal.remedy)
        return REFUSED
    except ExternalFailure as failure:
        log.error(f"{kind}.refused", code="external-failure", problem=str(failure), remedy="Correct it, then start again.")
        return EXTERNAL
    return 0


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
