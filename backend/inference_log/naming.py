"""How many different features, or outcomes, one endpoint may have: each is a column of its files.

What comes beyond is left out of its row, and the row is kept: whoever puts ids into names takes no row from anybody else.
Names that the files of the last week hold have their place, whichever process wrote them; the rest is first come, first served.
A name that no file holds any more gives its place up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from backend.core.errors import ExternalFailure
from backend.inference_log import catalog
from backend.inference_log.columns import columns_among
from backend.inference_log.copies import Copy, Row
from backend.inference_log.files import Files
from backend.inference_log.layout import Table
from backend.inference_log.rules import Request

R = TypeVar("R", bound=Row)

KEPT_FOR = timedelta(days=7)
AGAIN = timedelta(hours=1)
"""How often the files are asked again where there is no room left."""
MOST_FILES = 300
log = structlog.get_logger()


@dataclass
class _Known:
    names: set[str] = field(default_factory=set)
    asked_at: datetime | None = None


class Names:
    """Any thread may use it.

    Args:
        files: of the log, whose columns have their place.
        most: columns of one endpoint, those of its requests and their parts together, and those of its outcomes.
    """

    def __init__(self, files: Files, most: int, clock: Callable[[], datetime]) -> None:
        self._files, self._most, self._clock = files, most, clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}

    def fitted(self, table: Table, endpoint: str, row: R) -> tuple[R, int]:
        """The row with what has room, and how many of its values have none."""
        if isinstance(row, Copy):
            return row, 0
        held = row.features if isinstance(row, Request) else row.values
        with self._lock:
            known = self._known.setdefault(("outcomes" if table == "outcomes" else "requests", endpoint), _Known())
            if held.keys() <= known.names:
                return row, 0
            self._ask(known, table, endpoint, held.keys())
            for name in held:
                if len(known.names) >= self._most:
                    break
                known.names.add(name)
            over = held.keys() - known.names
        if not over:
            return row, 0
        return _without(row, over), len(over)

    def _ask(self, known: _Known, table: Table, endpoint: str, names: Iterable[str]) -> None:
        """What lies in the files: before the first new name, and from time to time while there is no room."""
        now = self._clock()
        if known.asked_at is not None:
            crowded = len(known.names | set(names)) > self._most
            if not crowded or now - known.asked_at < AGAIN:
                return
        try:
            found = self._in_files(table, endpoint, now)
        except ExternalFailure as failure:  # rows are held until the log can be written; then it can be read, too
            log.warning("inference_log.names_unknown", problem=str(failure))
            return
        known.names, known.asked_at = found, now

    def _in_files(self, table: Table, endpoint: str, now: datetime) -> set[str]:
        tables: tuple[Table, ...] = ("outcomes",) if table == "outcomes" else ("requests", "parts")
        start = now - KEPT_FOR
        partitions = [one for each in tables for one in catalog.partitions(self._files, each, endpoint, None, start, None)]
        found = set[str]()
        for partition in sorted(partitions, key=lambda one: one.hour, reverse=True)[:MOST_FILES]:
            for name in catalog.live_files(self._files, partition)[-1:]:  # the merged one, once its hour is over
                found |= {one.column for one in columns_among(self._files.columns(f"{partition.folder}/{name}"))}
        return found


def _without(row: R, over: Collection[str]) -> R:
    if isinstance(row, Request):
        return row._replace(features={name: value for name, value in row.features.items() if name not in over})
    if isinstance(row, Copy):
        return row
    return row._replace(values={name: value for name, value in row.values.items() if name not in over})
