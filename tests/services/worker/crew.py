"""Workers of a test: each on a thread and a database object of its own, as if it were a process; and what they did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.unit import Unit
from backend.core.work import Claim, WorkItem
from backend.settings import Settings
from backend.worker.handling import Handler
from backend.worker.loop import Worker
from backend.worker.timing import Timing

QUICK = Timing(look_min=0.01, look_max=0.03, beat=0.2, leader=1.0, stop=10.0, retry_base=0.02, retry_cap=0.1)
"""A worker's days in a test's seconds."""


def create_effects(database: Database) -> None:
    """A table that holds one row for each effective run, and no key that would hide a second one."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE effect (kind TEXT, key TEXT, worker TEXT)"))


def effect(tx: Unit, claim: Claim) -> None:
    """Writes what a handler did, in the unit that finishes its claim."""
    row = {"kind": claim.kind, "key": claim.key, "worker": claim.holder}
    tx.session.connection().execute(sa.text("INSERT INTO effect VALUES (:kind, :key, :worker)"), row)


def effects(database: Database) -> list[tuple[str, str]]:
    """(key, worker) of every effective run, sorted."""
    with database.read() as session:
        rows = session.connection().execute(sa.text("SELECT key, worker FROM effect"))
        return sorted((key, worker) for key, worker in rows)


def finishing(database: Database) -> Handler:
    """A handler whose only work is its effect; the item is gone afterwards."""

    def handle(claim: Claim) -> None:
        with database.unit(SYSTEM) as tx:
            work.finish(tx, claim, next_due=None)
            effect(tx, claim)

    return handle


def wake(database: Database, kind: str, *keys: str) -> None:
    with database.unit(SYSTEM) as tx:
        work.wake_many(tx, kind, keys)


def item(database: Database, kind: str, key: str) -> WorkItem | None:
    with database.read() as session:
        return session.get(WorkItem, (kind, key))


def until(what: Callable[[], Any], seconds: float = 90.0) -> Any:
    """What `what` answers as soon as that is true; fails when it never becomes so."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, "this never became true"
        time.sleep(0.02)
    return answer


class Crew:
    """Running workers, by name."""

    def __init__(self, workers: Mapping[str, Worker]) -> None:
        self.workers = workers
        self._stops = {name: threading.Event() for name in workers}
        self._threads = {
            name: threading.Thread(target=worker.run, args=(self._stops[name],), daemon=True)
            for name, worker in workers.items()
        }

    def start(self) -> None:
        for thread in self._threads.values():
            thread.start()

    def tell(self, name: str) -> None:
        """Tells one to stop."""
        self._stops[name].set()

    def stopped(self, name: str) -> bool:
        return not self._threads[name].is_alive()

    def stop(self) -> None:
        for stop in self._stops.values():
            stop.set()
        for thread in self._threads.values():
            thread.join(30)
            assert not thread.is_alive(), "a worker did not stop"


@contextmanager
def crew(
    database: Database,
    handlers: Callable[[Database], Mapping[str, Handler]],
    *names: str,
    lease: float = 30.0,
    threads: int = 4,
    timing: Timing = QUICK,
    jobs: Sequence[Any] = (),
    **changes: float,
) -> Iterator[Crew]:
    """Starts a worker for each name; all have stopped when the block is left."""
    databases = {name: Database(_url(database)) for name in names}
    settings = Settings(lease_seconds=lease, worker_threads=threads)
    workers = {
        name: Worker(own, handlers(own), settings, timing=replace(timing, **changes), jobs=jobs, name=name)
        for name, own in databases.items()
    }
    running = Crew(workers)
    running.start()
    try:
        yield running
    finally:
        running.stop()
        for own in databases.values():
            own.close()


def _url(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)
