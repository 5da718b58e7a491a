"""Where every source but the API hands rows over: checked, treated by the endpoint's rules, and put into the spool."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from backend.inference_log import probes
from backend.inference_log.copies import Copy, Row, copy_of
from backend.inference_log.handling import Handling
from backend.inference_log.layout import Table
from backend.inference_log.naming import Names
from backend.inference_log.rules import Malformed, Outcome, Request, is_part, owned_outcome_of, part_of, request_of
from backend.inference_log.spool import Batch, Spool
from backend.ingest.answers import Answer
from backend.ingest.exposures import Exposure
from backend.ingest.known import Known


@dataclass(frozen=True)
class Entered:
    """What became of some rows: how many were taken, how many the rules leave out, and the malformed ones by their places."""

    taken: int
    left_out: int
    rejected: tuple[tuple[int, str], ...]


class Entrance:
    """Any thread may use it.

    Args:
        known: the rules.
        spool: takes what is kept.
        names: of features and outcomes, that have room in the log.
        clock: for the time of receipt.
    """

    def __init__(
        self, known: Known, spool: Spool, names: Names, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._known, self._spool, self._names, self._clock = known, spool, names, clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def known(self) -> Known:
        """The rules."""
        return self._known

    def counts(self) -> Mapping[str, int]:
        """Rows since the start: `taken`, `left-out`, `rejected`, of `unknown` endpoints; and `values-left-out`."""
        with self._lock:
            return dict(self._counts)

    def requests(self, endpoint: str, rows: Iterable[tuple[int, Any]], *, parts: bool = False) -> Entered:
        """Hands requests over, each with its place among those that were given. ExternalFailure where the spool takes none.

        Args:
            parts: whether they are parts whatever they say, as the router's log tells them.
        """

        def check(row: Any, now: datetime, handling: Handling) -> tuple[Table, Request | None]:
            if parts or is_part(row):
                return "parts", handling.request(part_of(row, now))
            return "requests", handling.request(request_of(row, now))

        return self._enter(endpoint, rows, check)

    def exposures(self, found: Iterable[Exposure]) -> None:
        """Hands over what the router's log tells, but for requests of our own: those that prove it."""
        by_endpoint = sorted(found, key=lambda one: one.endpoint)
        for endpoint, those in groupby(by_endpoint, key=lambda one: one.endpoint):
            handling = self._known.rules().handling.get(endpoint)
            told = [one.row for one in those if handling is None or not _is_probe(handling.key, one)]
            if told:
                self.requests(endpoint, enumerate(told), parts=True)

    def outcomes(self, endpoint: str, rows: Iterable[tuple[int, Any]]) -> Entered:
        """The same for outcomes."""

        def check(row: Any, now: datetime, handling: Handling) -> tuple[Table, Outcome | None]:
            return "outcomes", handling.outcome(*owned_outcome_of(row, now))

        return self._enter(endpoint, rows, check)

    def answers(self, found: Iterable[Answer | Malformed]) -> None:
        """Hands over what the router heard of shadow arms and beside them, but for requests of our own: those that prove it."""
        told = list(found)
        self._count({"rejected": sum(isinstance(one, Malformed) for one in told)})
        by_endpoint = sorted((one for one in told if isinstance(one, Answer)), key=lambda one: one.endpoint)
        for endpoint, those in groupby(by_endpoint, key=lambda one: one.endpoint):
            handling = self._known.rules().handling.get(endpoint)
            rows = [one.row for one in those if handling is None or not _is_probe(handling.key, one)]
            if rows:
                self.copies(endpoint, enumerate(rows))

    def copies(self, endpoint: str, rows: Iterable[tuple[int, Any]]) -> Entered:
        """The same for answers to copies, which count as no requests."""

        def check(row: Any, now: datetime, handling: Handling) -> tuple[Table, Copy | None]:
            return "copies", handling.copy(copy_of(row, now))

        return self._enter(endpoint, rows, check)

    def _enter(
        self,
        endpoint: str,
        rows: Iterable[tuple[int, Any]],
        check: Callable[[Any, datetime, Handling], tuple[Table, Row | None]],
    ) -> Entered:
        now, handling = self._clock(), self._known.rules().handling.get(endpoint)
        if handling is None:
            places = [place for place, _ in rows]
            self._count({"unknown": len(places)})
            return Entered(0, 0, tuple((place, "there is no endpoint of this name") for place in places))
        kept: dict[Table, list[Row]] = {}
        left_out, over, rejected = 0, 0, list[tuple[int, str]]()
        for place, row in rows:
            try:
                if isinstance(row, Malformed):  # its source could not even read it
                    raise row
                table, treated = check(row, now, handling)
            except Malformed as error:
                rejected.append((place, str(error)))
                continue
            if treated is None:
                left_out += 1
            else:
                treated, more = self._names.fitted(table, endpoint, treated)
                kept.setdefault(table, []).append(treated)
                over += more
        taken = sum(map(len, kept.values()))
        if taken:
            self._spool.put(Batch(endpoint, kept, over), now)
        self._count({"taken": taken, "left-out": left_out, "rejected": len(rejected), "values-left-out": over})
        return Entered(taken, left_out, tuple(rejected))

    def _count(self, more: Mapping[str, int]) -> None:
        with self._lock:
            self._counts.update(more)


def _is_probe(key: bytes, one: Exposure | Answer) -> bool:
    """A time that is none proves nothing; what is wrong with the row is said where it is checked."""
    told = one.row["event_time"]
    try:
        at = datetime.fromisoformat(told) if isinstance(told, str) else told
    except ValueError:
        return False
    return bool(one.probe) and isinstance(at, datetime) and at.tzinfo is not None and probes.is_ours(key, one.probe, at)
