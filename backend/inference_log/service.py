"""The inference log: append what was asked and answered, and what became of it; read it back by endpoint, version and time.

Appending is for the demo's replayer, the API and the ingest of access logs; reading is for monitors, rollouts and experiments.
A reading shows rows of single people: whoever shows those to an identity checks its grant first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from backend.core.errors import Refusal
from backend.inference_log import catalog
from backend.inference_log.compaction import Compacted, Compaction, Rules
from backend.inference_log.copies import Row
from backend.inference_log.erasing import Erased, Erasing, Going, expire, holds
from backend.inference_log.files import Engine, Files
from backend.inference_log.layout import Partition, Table
from backend.inference_log.naming import Names
from backend.inference_log.reading import Reading, Window
from backend.inference_log.touched import OVERLAP, Touched, touched
from backend.inference_log.writer import Appended, Limits, Writer, WriterStats

_HOURS_OF_OUTCOMES = """
SELECT DISTINCT date_trunc('hour', event_time) AS hour FROM requests JOIN outcomes USING (request_id)
WHERE outcomes.received_at >= ? ORDER BY hour
"""
OUTCOMES_WITHIN = timedelta(days=7)
APART = timedelta(hours=1)
"""How far the times may lie apart that the router and a caller tell of one request."""


class InferenceLog:
    """One log. Any thread may use it, and any number of processes may have one on the same root at the same time.

    Args:
        root: a folder, or an fsspec URL. Nothing is opened or made before the first use.
        limits: when rows that are held get written.
        engine: what one reading or compaction may use of this machine.
        clock: for `received_at` and the names of files.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        limits: Limits | None = None,
        engine: Engine | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._files = Files(root)
        self._engine = engine or Engine()
        self._clock = clock
        self._writer = Writer(self._files, limits or Limits(), clock)

    def append(self, endpoint: str, rows: Iterable[Mapping[str, object]]) -> Appended:
        """Takes requests of an endpoint. A malformed row is left out and counted with its reason; the rest is kept.

        Fields of a row (`rules.Request` says what they mean): `request_id` and `event_time` are required, all others may be
        missing or None: `received_at` (default: now), `unit`, `bucket`, `assigned_arm`, `served_arm`, `generation`, `version`,
        `features` (name -> number, text, truth value, list, object or None), `prediction` (a number, or any JSON),
        `latency_seconds`, `status`, `failure`. A row that comes twice counts once, so that a batch may be sent again.

        Raises Refusal `bad-endpoint`; ExternalFailure when the writer is full and the log cannot be written, with some of the
        rows possibly taken.
        """
        return self._writer.requests(endpoint, rows)

    def append_parts(self, endpoint: str, rows: Iterable[Mapping[str, object]]) -> Appended:
        """Takes parts of requests: what one source knows, such as the router's log who answered, or a caller what was asked.

        The same fields as `append`; of each the latest that any part told counts, and what a whole row says before them. The
        parts of a request may come in any order, within an hour of each other's `event_time`. Raises as `append`.
        """
        return self._writer.parts(endpoint, rows)

    def append_outcomes(self, endpoint: str, rows: Iterable[Mapping[str, object]]) -> Appended:
        """Takes outcomes: `request_id`, `known_at`, `values` (name -> number, truth value or None), optional `received_at`.

        They may come before their request, late, twice or corrected: the one received last counts. Raises as `append`.
        """
        return self._writer.outcomes(endpoint, rows)

    def append_copies(self, endpoint: str, rows: Iterable[Mapping[str, object]]) -> Appended:
        """Takes what shadow arms answered to copies, and live arms beside them (`copies.Copy`). They count as no requests.

        Fields: `request_id`, `event_time`, `shadow` and `arm` are required; `unit`, `generation`, `version`, `prediction`,
        `latency_seconds`, `status` and `failure` mean what they mean of a request. Raises as `append`.
        """
        return self._writer.copies(endpoint, rows)

    def append_checked(self, table: Table, endpoint: str, rows: Sequence[Row]) -> Appended:
        """Takes rows that `rules` has checked already, from the spool."""
        return self._writer.checked(table, endpoint, rows)

    @property
    def names(self) -> Names:
        """Which names of features and outcomes have room, for whoever answers for rows before they come here."""
        return self._writer.names

    def flush(self) -> int:
        """Writes all that is held; returns the number of files. ExternalFailure when it cannot, with the rows still held."""
        return self._writer.flush()

    def stats(self) -> WriterStats:
        """What this writer took, rejected (with reasons) and wrote."""
        return self._writer.stats()

    def read(
        self,
        endpoint: str,
        versions: Collection[int | None] | None,
        start: datetime,
        end: datetime,
        *,
        known_by: datetime | None = None,
        unsampled: bool = False,
        copies: bool = False,
    ) -> Reading:
        """What is in the log of these requests and their outcomes; rows that a writer still holds are not.

        Args:
            versions: the registered versions that answered; None in it stands for requests of which nothing says who answered.
                None instead of a collection means all.
            start, end: of the event time, aware; `end` is outside.
            known_by: leave out outcomes that became known later, as if it were that time now. Default: a week after `end`.
            unsampled: failures too that are kept though sampling leaves their units out; nobody may count by them.
            copies: whether answers of shadow arms are read too, as the views `copies` and `copied`.

        Of rows with one request id among the partitions that are read, the one received last counts: of one id in two hours,
        each hour that is read by itself has its own. Raises Refusal
        `bad-endpoint` and `bad-window`, ExternalFailure when the log cannot be read.
        """
        window = replace(_window(start, end, known_by, versions), unsampled=unsampled)
        parts = self._paths("parts", endpoint, None, start - APART, end + APART)
        requests = self._paths("requests", endpoint, None if parts else versions, start, end)
        outcomes = self._paths("outcomes", endpoint, None, start, window.known_by + timedelta(microseconds=1))
        paths: dict[Table, list[str]] = {"requests": requests, "parts": parts, "outcomes": outcomes}
        if copies:
            paths["copies"] = self._paths("copies", endpoint, None, start - APART, end + APART)
        return Reading(self._files, paths, window, self._engine)

    def endpoints(self) -> list[str]:
        """Endpoints that have requests in the log."""
        found = (catalog.endpoints(self._files, table) for table in ("requests", "parts"))
        return sorted({one for each in found for one in each})

    def versions(self, endpoint: str) -> list[int | None]:
        """Versions that requests of an endpoint were answered by; None for those of which nothing says so."""
        return catalog.versions(self._files, endpoint)

    def hours(self, endpoint: str, version: int | None) -> list[datetime]:
        """The hours in which a version has requests, in order."""
        return sorted(one.hour for one in catalog.partitions(self._files, "requests", endpoint, [version], None, None))

    def part_hours(self, endpoint: str) -> list[datetime]:
        """The hours in which an endpoint has parts of requests, in order."""
        return sorted(one.hour for one in catalog.partitions(self._files, "parts", endpoint, None, None, None))

    def touched(self, endpoint: str, since: datetime, *, start: datetime | None = None) -> Touched:
        """Which hours changed since a time: `touched.touched`. Call it with the time at which the look before it began."""
        return touched(self._files, endpoint, since, start=start)

    def hours_of_outcomes(
        self, endpoint: str, since: datetime, *, start: datetime, end: datetime, known_by: datetime
    ) -> list[datetime]:
        """Hours of the requests, from `start` to `end`, whose outcomes were received since a time: late and corrected ones."""
        with self.read(endpoint, None, start, end, known_by=known_by) as reading:
            rows = reading.query(_HOURS_OF_OUTCOMES, [(since - OVERLAP).astimezone(UTC)]).to_pylist()
        return [row["hour"] for row in rows]

    def erase(self, endpoint: str, going: Going) -> Erased:
        """Takes the rows of units out of the log, with their outcomes. Again until it says that it is clean.

        Files that were replaced by a run before go first, once readers had their grace: whoever waits for an erasure should not
        wait for the next compaction of the whole log besides.
        """
        Compaction(self._files, Rules(), self._clock, self._engine).tidy(endpoint)
        return Erasing(self._files, self._clock, self._engine).run(endpoint, going)

    def holds(self, table: Table, endpoint: str, before: datetime) -> bool:
        """Whether there is an hour of a table that was over before a time."""
        return holds(self._files, table, endpoint, before)

    def expire(self, table: Table, endpoint: str, before: datetime) -> int:
        """Removes the hours of a table that were over before a time; their number."""
        return expire(self._files, table, endpoint, before)

    def compact(self, *, rules: Rules | None = None, since: datetime | None = None) -> Compacted:
        """Makes one file of the many of each closed hour (from `since` on; None looks at all). Readers and writers go on."""
        return Compaction(self._files, rules or Rules(), self._clock, self._engine).run(since=since)

    def close(self) -> None:
        """Writes all that is held. A closed log takes no more rows."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _paths(
        self, table: Table, endpoint: str, versions: Collection[int | None] | None, start: datetime, end: datetime
    ) -> list[str]:
        found = catalog.partitions(self._files, table, endpoint, versions, start, end)
        return [path for partition in found for path in self._paths_in(partition)]

    def _paths_in(self, partition: Partition) -> Iterator[str]:
        for name in catalog.live_files(self._files, partition):
            yield f"{partition.folder}/{name}"


def _window(start: datetime, end: datetime, known_by: datetime | None, versions: Collection[int | None] | None) -> Window:
    times = [moment for moment in (start, end, known_by) if moment is not None]
    if any(moment.tzinfo is None for moment in times) or start >= end:
        raise Refusal(
            "This is not a span of time.", "Give a start before its end, both with their time zones.", code="bad-window"
        )
    chosen = tuple(versions) if versions is not None else None
    return Window(start, end, known_by or end + OUTCOMES_WITHIN, chosen)
