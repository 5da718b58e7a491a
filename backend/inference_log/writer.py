"""Rows on their way to the log: checked, held in bounded memory, and written as one file a partition when they are many or old.

What is held is lost when the process is killed; that is the price of files that are worth reading, and `Limits.seconds`
bounds it. A row is in the log once `flush` has returned after it.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TypeVar

from backend.core.errors import ExternalFailure
from backend.inference_log import layout, tables
from backend.inference_log.copies import Copy, Row, copy_of
from backend.inference_log.files import Files
from backend.inference_log.layout import Partition, Table
from backend.inference_log.naming import Names
from backend.inference_log.rules import Malformed, Outcome, Request, outcome_of, part_of, request_of

R = TypeVar("R", bound=Row)

SHOWN = 100
"""How many rejections one answer lists; all are counted."""
_CHUNK = 500
"""Rows that are checked and taken at once: how far a thread may pass the limits."""


@dataclass(frozen=True)
class Limits:
    """When rows that are held get written.

    Args:
        rows, bytes: as soon as that many are held (bytes of memory, roughly).
        seconds: no later than that after the first of them came.
        columns: most features, or outcomes, that one endpoint may have; what is beyond is left out of its row (`naming`). It
            keeps a caller that puts ids into names from making files of a million columns.
    """

    rows: int = 10_000
    bytes: int = 32 << 20
    seconds: float = 5.0
    columns: int = 2_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """One row that was not kept: its place among those that were given, from 0, and why."""

    index: int
    reason: str


@dataclass(frozen=True)
class Appended:
    """What became of the rows of one call.

    Args:
        kept: how many were taken.
        rejected: how many were not.
        rejections: the first 100 of those, with their reasons.
        values_left_out: features, or outcomes, of rows that were kept, because the endpoint has enough names already.
    """

    kept: int
    rejected: int
    rejections: tuple[Rejection, ...]
    values_left_out: int = 0


@dataclass(frozen=True)
class WriterStats:
    """What a writer did since it was made.

    Args:
        kept: rows taken; `held` of them are not yet in the log.
        rejected: rows that were not, by (endpoint, reason).
        files: files written.
        failed_writes: times that the log could not be written; the rows are still held.
    """

    kept: int
    held: int
    rejected: Mapping[tuple[str, str], int]
    files: int
    failed_writes: int


@dataclass
class _Held:
    rows: dict[Partition, list[Row]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0
    size: int = 0

    def add(self, partition: Partition, row: Row) -> None:
        self.rows[partition].append(row)
        self.count += 1
        self.size += row.size

    def take_back(self, partition: Partition, rows: Sequence[Row]) -> None:
        self.rows[partition][:0] = rows
        self.count += len(rows)
        self.size += sum(row.size for row in rows)


class Writer:
    """Takes rows from any number of threads. Any number of writers and processes may write to one log.

    Memory stays bounded: whoever appends to a full writer writes first, and fails where the log cannot be written.
    """

    def __init__(self, files: Files, limits: Limits, clock: Callable[[], datetime]) -> None:
        self._files, self._limits, self._clock = files, limits, clock
        self._held = _Held()
        self._lock = threading.Condition()
        self._writing = threading.Lock()
        self.names = Names(files, limits.columns, clock)
        self._kept = self._written = self._failed = self._on_the_way = 0
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._timer: threading.Thread | None = None
        self._closed = False

    def requests(self, endpoint: str, rows: Iterable[object]) -> Appended:
        """Takes requests; see `InferenceLog.append`."""
        return self._append("requests", endpoint, rows, request_of)

    def parts(self, endpoint: str, rows: Iterable[object]) -> Appended:
        """Takes parts of requests; see `InferenceLog.append_parts`."""
        return self._append("parts", endpoint, rows, part_of)

    def outcomes(self, endpoint: str, rows: Iterable[object]) -> Appended:
        """Takes outcomes; see `InferenceLog.append_outcomes`."""
        return self._append("outcomes", endpoint, rows, outcome_of)

    def copies(self, endpoint: str, rows: Iterable[object]) -> Appended:
        """Takes answers to copies; see `InferenceLog.append_copies`."""
        return self._append("copies", endpoint, rows, copy_of)

    def checked(self, table: Table, endpoint: str, rows: Sequence[Row]) -> Appended:
        """Takes rows that were checked before they were handed over; only the number of columns is looked at once more."""

        def known(row: object, _now: datetime) -> Row:
            if not isinstance(row, Request | Outcome | Copy):
                raise TypeError("rows that were not checked were handed over")
            return row

        return self._append(table, endpoint, rows, known)

    def flush(self) -> int:
        """Writes all that is held and returns the number of files. ExternalFailure when it cannot; the rows are then kept."""
        with self._writing:
            with self._lock:
                taken, self._held = self._held, _Held()
                self._on_the_way = taken.count
            try:
                return self._write(taken)
            finally:
                self._hold_again(taken)

    def close(self) -> None:
        """Writes all that is held and ends the timer. A closed writer takes no more rows."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        if self._timer is not None:
            self._timer.join()
        self.flush()

    def stats(self) -> WriterStats:
        """The counts so far."""
        with self._lock:
            return WriterStats(
                self._kept, self._held.count + self._on_the_way, dict(self._rejected), self._written, self._failed
            )

    def _append(self, table: Table, endpoint: str, rows: Iterable[object], check: Callable[[object, datetime], R]) -> Appended:
        layout.endpoint_slug(endpoint)
        kept, rejections, rejected, left_out = 0, list[Rejection](), 0, 0
        for start, chunk in _chunks(rows, min(_CHUNK, self._limits.rows)):
            self._make_room()
            good, bad, over = self._checked(table, endpoint, start, chunk, check)
            self._hold(good)
            kept, rejected, left_out = kept + len(good), rejected + len(bad), left_out + over
            rejections += bad[: SHOWN - len(rejections)]
        return Appended(kept, rejected, tuple(rejections), left_out)

    def _checked(
        self, table: Table, endpoint: str, start: int, rows: Sequence[object], check: Callable[[object, datetime], R]
    ) -> tuple[list[tuple[Partition, Row]], list[Rejection], int]:
        now = self._clock()
        good, bad, left_out = list[tuple[Partition, Row]](), list[Rejection](), 0
        for index, row in enumerate(rows, start):
            try:
                checked, over = self.names.fitted(table, endpoint, check(row, now))
            except Malformed as error:
                bad.append(Rejection(index, str(error)))
            else:
                left_out += over
                good.append((_partition(table, endpoint, checked), checked))
        with self._lock:
            self._rejected.update((endpoint, one.reason) for one in bad)
        return good, bad, left_out

    def _hold(self, rows: Sequence[tuple[Partition, Row]]) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("rows were appended to a closed inference log")
            if rows and not self._held.count:
                self._lock.notify_all()
            for partition, row in rows:
                self._held.add(partition, row)
            self._kept += len(rows)
            self._start_timer()
        self._make_room(strict=False)

    def _make_room(self, *, strict: bool = True) -> None:
        """Writes when the limits are reached. A failure matters only to who wants to add more (`strict`)."""
        if not self._is_full():
            return
        try:
            self.flush()
        except ExternalFailure:
            if strict:
                raise

    def _is_full(self) -> bool:
        with self._lock:
            return self._held.count >= self._limits.rows or self._held.size >= self._limits.bytes

    def _write(self, taken: _Held) -> int:
        """Writes one file a partition, and takes out of `taken` what lies in the log."""
        partitions = list(taken.rows)
        for partition in partitions:
            name = layout.data_name("part", layout.new_stem(self._clock()))
            self._files.put(partition.folder, name, tables.parquet(tables.table_of(partition.table, taken.rows[partition])))
            del taken.rows[partition]
            self._written += 1
        return len(partitions)

    def _hold_again(self, left: _Held) -> None:
        """After a write, with what it left because it failed."""
        with self._lock:
            self._on_the_way = 0
            self._failed += bool(left.rows)
            for partition, rows in left.rows.items():
                self._held.take_back(partition, rows)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Thread(target=self._flush_in_time, name="inference-log", daemon=True)
            self._timer.start()

    def _flush_in_time(self) -> None:
        while self._wait_for_rows():
            try:
                self.flush()
            except ExternalFailure:
                continue  # counted; the rows are held and tried again after the same while

    def _wait_for_rows(self) -> bool:
        """Until rows are held, and then for as long as they may be; False when the writer was closed."""
        with self._lock:
            self._lock.wait_for(lambda: self._closed or self._held.count > 0)
            self._lock.wait_for(lambda: self._closed, timeout=self._limits.seconds)
            return not self._closed


def _partition(table: Table, endpoint: str, row: Row) -> Partition:
    moment = row.known_at if isinstance(row, Outcome) else row.event_time
    version = row.version if isinstance(row, Request) and table == "requests" else None
    return Partition(table, endpoint, version, layout.hour_of(moment))


def _chunks(rows: Iterable[object], size: int) -> Iterator[tuple[int, list[object]]]:
    """At most `size` rows at a time, with the index of the first."""
    remaining, start = iter(rows), 0
    while chunk := list(islice(remaining, size)):
        yield start, chunk
        start += len(chunk)
