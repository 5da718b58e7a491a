"""Countersign's side of the scheduling benchmark: `core/work.py` on a migrated database. For `benchmarks.children`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import sqlalchemy as sa

from backend import migrate
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from benchmarks.children import Call

KIND = "bench"
_databases: dict[str, Database] = {}


def prepare(url: str) -> None:
    """Makes the tables."""
    migrate.upgrade(_database(url))


def run(url: str, items: int, batch: int) -> dict[str, float]:
    """CPU seconds of registering `items` due items, and of claiming and finishing all of them, `batch` at a time."""
    database = _database(url)
    with database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM work_item"))
    started = time.process_time()
    with database.unit(SYSTEM) as tx:
        work.wake_many(tx, KIND, [f"endpoint-{number}" for number in range(items)])
    registered = time.process_time()
    done = sum(_work(database, batch))
    finished = time.process_time()
    if done != items:
        raise RuntimeError(f"{done} of {items} items were done")
    return {"register": registered - started, "do": finished - registered}


def _work(database: Database, batch: int) -> Iterator[int]:
    """Claims and gives back with the next due time, as a worker does, until nothing is due; the number done each time."""
    while held := work.claim(database, KIND, holder="bench", seconds=60, limit=batch):
        with database.unit(SYSTEM) as tx:
            lost = work.finish_many(tx, held, next_due=tx.now + timedelta(hours=1))
        yield len(held) - len(lost)


def _database(url: str) -> Database:
    return _databases.setdefault(url, Database(url))


CALLS: dict[str, Call] = {"prepare": prepare, "run": run}
