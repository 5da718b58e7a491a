"""Points made fewer and taken away, as the policy says: looks become five minutes, five minutes hours, and each ends in time.

Done by the leader in batches, each in a unit of its own that is over in a moment: whoever writes meanwhile waits for one batch
at most. Nothing is taken away before what is coarser was made of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.unit import Unit
from backend.delivery.rows import Endpoint, RouterRow, Server
from backend.metrics.figures import FIGURES
from backend.metrics.packed import packed, unpacked
from backend.metrics.retention import Kept, kept
from backend.metrics.rows import COARSE, FINE, RAW, MetricSource, Point, Rolled, Series, SourceState
from backend.metrics.storing import write

GRACE = timedelta(seconds=90)
"""So long after its end a span is put together: a look that began before may still be writing."""
_points: sa.Table = Point.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_series: sa.Table = Series.__table__  # type: ignore[attr-defined]  # SQLModel adds it
SERIES_AT_ONCE = 250
SLOTS_AT_ONCE = 12
SERIES_TO_PRUNE, SPAN_TO_PRUNE, ORPHANS_AT_ONCE = 20, 6 * 3600, 5


@dataclass(frozen=True)
class Done:
    """What one pass came to. `complete`: nothing is left to do now."""

    made: int = 0
    gone: int = 0
    series_gone: int = 0
    complete: bool = True


@dataclass
class Slot:
    """What falls into one span of one series."""

    value: float = 0.0
    weight: int = 0
    low: float | None = None
    high: float | None = None
    counts: list[float] = field(default_factory=list)

    def add(self, row: Any, *, gauge: bool) -> None:
        """One finer point."""
        weight = row.count or 1
        self.value += row.value * (weight if gauge else 1)
        self.weight += weight
        if gauge:
            low, high = (row.value if one is None else one for one in (row.low, row.high))
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)
        if row.counts is not None:
            found = unpacked(row.counts)
            if not self.counts:
                self.counts = list(found)
            elif len(self.counts) == len(found):
                self.counts = [one + other for one, other in zip(self.counts, found, strict=True)]

    def point(self, series_id: int, step: int, at: int, *, gauge: bool) -> dict[str, Any]:
        """The coarser point."""
        return {
            "series_id": series_id,
            "step": step,
            "at": at,
            "value": self.value / self.weight if gauge else self.value,
            "count": self.weight if gauge else None,
            "low": self.low,
            "high": self.high,
            "counts": packed(self.counts) if self.counts else None,
        }


class Keeping:
    """What the leader does about points every minute or so.

    Args:
        go_on: asked between two batches; False ends the pass.
    """

    def __init__(self, database: Database, *, go_on: Callable[[], bool] = lambda: True) -> None:
        self._database = database
        self._go_on = go_on

    def roll_up(self, *, most_batches: int = 200) -> Done:
        """Makes the coarser points of every span that is over."""
        made, batches = 0, 0
        for step, finer in ((FINE, RAW), (COARSE, FINE)):
            for start, until in self._spans(step, finer):
                for ids in self._chunks(SERIES_AT_ONCE):
                    if batches >= most_batches or not self._go_on():
                        return Done(made=made, complete=False)
                    with self._database.unit(SYSTEM) as tx:
                        made += _rolled(tx, ids, step, finer, start, until)
                    batches += 1
                with self._database.unit(SYSTEM) as tx:
                    _mark(tx, step, until)
        return Done(made=made)

    def prune(self, *, most_batches: int = 500) -> Done:
        """Takes away what is older than the policy keeps it, then series that have no point left."""
        gone, batches = 0, 0
        with self._database.read() as session:
            now, policy = self._database.now(session), kept(session)
            ends = _ends(session, policy, now)
        for ids in self._chunks(SERIES_TO_PRUNE):
            for step, end in ends.items():
                while (until := self._oldest(ids, step, end)) is not None:
                    if batches >= most_batches or not self._go_on():
                        return Done(gone=gone, complete=False)
                    with self._database.unit(SYSTEM) as tx:
                        gone += _delete(tx, ids, step, until)
                    batches += 1
        series_gone = 0
        while batches < most_batches and self._go_on():
            with self._database.unit(SYSTEM) as tx:
                found = _forget(tx, now - timedelta(hours=policy.coarse_hours))
            series_gone, batches = series_gone + found, batches + 1
            if not found:
                return Done(gone=gone, series_gone=series_gone)
        return Done(gone=gone, series_gone=series_gone, complete=False)

    def _spans(self, step: int, finer: int) -> Iterator[tuple[int, int]]:
        """(after, until) of what is over and not yet put together, some slots at a time."""
        with self._database.read() as session:
            now = self._database.now(session)
            last = int((now - GRACE).timestamp()) // step * step
            if finer != RAW:
                last = min(last, _until(session, finer) // step * step)
            start = _until(session, step) or _first(session, finer, step)
        while start is not None and start < last:
            until = min(last, start + SLOTS_AT_ONCE * step)
            yield start, until
            start = until

    def _chunks(self, size: int) -> Iterator[list[int]]:
        """Ids of all series, some at a time."""
        after = 0
        while True:
            with self._database.read() as session:
                query = sa.select(_series.c.id).where(_series.c.id > after).order_by(_series.c.id).limit(size)
                ids = list(session.connection().execute(query).scalars())
            if not ids:
                return
            yield ids
            after = ids[-1]

    def _oldest(self, ids: Sequence[int], step: int, end: int) -> int | None:
        """Up to when to take away next; None where nothing is old enough."""
        with self._database.read() as session:
            oldest = [_oldest_of(session, one, step) for one in ids]
        old = [one for one in oldest if one is not None and one <= end]
        return min(end, min(old) + SPAN_TO_PRUNE) if old else None


def mend(tx: Unit, ids: Sequence[int], earliest: int) -> None:
    """Puts together anew what was put together before some of its points came: after a pause they come late."""
    for step, finer in ((FINE, RAW), (COARSE, FINE)):
        start, until = (earliest - 1) // step * step, _until(tx.session, step)
        for first in range(0, len(ids), SERIES_AT_ONCE) if start < until else ():
            _rolled(tx, ids[first : first + SERIES_AT_ONCE], step, finer, start, until)


def _rolled(tx: Unit, ids: Sequence[int], step: int, finer: int, start: int, until: int) -> int:
    metrics = dict(
        iter(tx.session.connection().execute(sa.select(_series.c.id, _series.c.metric).where(_series.c.id.in_(ids))))
    )
    query = sa.select(_points).where(
        _points.c.series_id.in_(ids), _points.c.step == finer, _points.c.at > start, _points.c.at <= until
    )
    slots: dict[tuple[int, int], Slot] = defaultdict(Slot)
    for row in tx.session.connection().execute(query):
        slots[row.series_id, -(-row.at // step) * step].add(row, gauge=_is_gauge(metrics[row.series_id]))
    rows = [slot.point(one, step, at, gauge=_is_gauge(metrics[one])) for (one, at), slot in slots.items()]
    write(tx, rows)
    return len(rows)


def _is_gauge(metric: str) -> bool:
    told = FIGURES.get(metric)
    return told is not None and told.kind == "gauge"


def _mark(tx: Unit, step: int, until: int) -> None:
    row = tx.session.get(Rolled, step)
    if row is None:
        tx.add(Rolled(step=step, until=until))
    else:
        row.until = max(row.until, until)


def _until(session: Session, step: int) -> int:
    row = session.get(Rolled, step)
    return row.until if row is not None else 0


def _first(session: Session, step: int, align: int) -> int | None:
    """The beginning of the span of the very first point; asked once, as long as nothing was put together."""
    found = session.connection().execute(sa.select(sa.func.min(_points.c.at)).where(_points.c.step == step)).scalar()
    return (found - 1) // align * align if found is not None else None


def _ends(session: Session, policy: Kept, now: datetime) -> dict[int, int]:
    """Resolution -> up to when its points may go."""
    moment = int(now.timestamp())
    wanted = {RAW: policy.raw_hours, FINE: policy.fine_hours, COARSE: policy.coarse_hours}
    ends = {step: moment - hours * 3600 for step, hours in wanted.items()}
    ends[RAW] = min(ends[RAW], _until(session, FINE))
    ends[FINE] = min(ends[FINE], _until(session, COARSE))
    return ends


def _oldest_of(session: Session, series_id: int, step: int) -> int | None:
    query = sa.select(_points.c.at).where(_points.c.series_id == series_id, _points.c.step == step)
    found: int | None = session.connection().execute(query.order_by(_points.c.at).limit(1)).scalar()
    return found


def _delete(tx: Unit, ids: Sequence[int], step: int, until: int) -> int:
    gone = sa.delete(_points).where(_points.c.series_id.in_(ids), _points.c.step == step, _points.c.at <= until)
    return int(tx.session.connection().execute(gone).rowcount)


def _forget(tx: Unit, before: datetime) -> int:
    """Series without a point that are old, and everything about endpoints, servers and routers that are no more."""
    connection = tx.session.connection()
    orphans = sa.select(_series.c.id).where(_series.c.endpoint_id.not_in(sa.select(col(Endpoint.id)))).limit(ORPHANS_AT_ONCE)
    gone = list(connection.execute(orphans).scalars())
    connection.execute(sa.delete(_points).where(_points.c.series_id.in_(gone)))
    has_points = sa.exists().where(_points.c.series_id == _series.c.id)
    empty = sa.select(_series.c.id).where(_series.c.created_at < before, ~has_points).limit(1000)
    gone += list(connection.execute(empty).scalars())
    connection.execute(sa.delete(_series).where(_series.c.id.in_(gone)))
    for column, table in (
        (SourceState.server_id, Server),
        (SourceState.router_id, RouterRow),
        (SourceState.endpoint_id, Endpoint),
    ):
        connection.execute(sa.delete(SourceState).where(col(column).is_not(None), col(column).not_in(sa.select(col(table.id)))))
    there = sa.select(sa.literal("source:") + col(MetricSource.id))
    named = col(SourceState.id).startswith("source:")
    connection.execute(sa.delete(SourceState).where(named, col(SourceState.id).not_in(there)))
    return len(gone)
