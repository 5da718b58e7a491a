"""The process of `countersign ingest` (see `worker/process`): its start, its sources and their threads."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog

from backend.bootstrap import Backend
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.equipment import keys
from backend.inference_log.spool import Spool
from backend.ingest import crowding
from backend.ingest.drops import Drops
from backend.ingest.entrance import Entrance
from backend.ingest.known import Known
from backend.ingest.tailing import Tail
from backend.ingest.taking import Taking
from backend.settings import Settings
from backend.worker import process

TOLD_SECONDS = 60.0
log = structlog.get_logger()


def main() -> int:
    """Runs until SIGTERM or SIGINT; the second of them ends it at once."""
    name = f"ingest-{os.getpid()}"
    return process.ended("ingest", name, lambda settings: run(settings, name))


def run(settings: Settings, name: str) -> None:
    """Checks what must hold, then takes in until it is told to stop."""
    with process.opened(settings, name) as backend:
        until_told(backend, process.told_to_stop())


def until_told(backend: Backend, stop: threading.Event) -> None:
    """All sources, until it is told to stop; then what lies in the spool still goes into the log."""
    settings = backend.settings
    key = keys.pseudonym_key(settings)
    spool, known = Spool(keys.spool_folder(settings)), Known(backend.database, lambda: key)
    entrance = Entrance(known, spool, backend.inference_log.names)
    folder = settings.data_dir.absolute() / "ingest"
    taking = Taking(spool, backend.inference_log, known, key)
    sources: list[Callable[[threading.Event], None]] = [Drops(folder / "drop", entrance).run]
    sources += [Tail(Path(path), folder / "tail", entrance).run for path in _files(settings.access_log_files)]
    with _alone(folder), ExitStack() as stack:
        spool.tidy(datetime.now(UTC))
        known.rules()
        if settings.access_log_port is not None:
            from backend.ingest import als_server  # gRPC is loaded where it is asked for

            port = stack.enter_context(als_server.serving(entrance, settings.access_log_port))
            log.info("ingest.access_log", address=f"{als_server.LOOPBACK}:{port}")
        if settings.answers_port is not None:
            from backend.ingest import answers_server

            port = stack.enter_context(answers_server.serving(entrance, settings.answers_port))
            log.info("ingest.answers", address=f"{answers_server.LOOPBACK}:{port}")
        threads = [threading.Thread(target=_noted, args=(source, stop), daemon=True) for source in sources]
        threads += [threading.Thread(target=_tell, args=(backend.database, entrance, taking, stop), daemon=True)]
        for thread in threads:
            thread.start()
        log.info("ingest.started", sources=len(sources))
        taking.run(stop)
        for thread in threads:
            thread.join(timeout=10.0)


def _noted(source: Callable[[threading.Event], None], stop: threading.Event) -> None:
    """A source that fails by a defect must not be missing unnoticed: the process ends, and whoever started it does so anew."""
    try:
        source(stop)
    except Exception:
        log.exception("ingest.defect")
        os.kill(os.getpid(), signal.SIGTERM)


def _tell(database: Database, entrance: Entrance, taking: Taking, stop: threading.Event) -> None:
    before: dict[str, int] = {}
    while not stop.wait(TOLD_SECONDS):
        _tell_crowded(database, taking)
        counts = dict(entrance.counts())
        if counts != before:
            log.info("ingest.rows", **{name.replace("-", "_"): count for name, count in counts.items()})
        before = counts


def _tell_crowded(database: Database, taking: Taking) -> None:
    try:
        crowding.tell(database, taking.crowded(), taking.mixed.taken())
    except Exception as error:  # rows are taken in all the same
        log.error("ingest.finding_not_told", exc_info=error)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two of them on one spool would take everything twice."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refusal(
                "Another `countersign ingest` runs on this data folder.", "Stop that one first.", code="already-running"
            ) from error
        yield


def _files(told: str) -> list[str]:
    return [one.strip() for one in told.split(",") if one.strip()]
