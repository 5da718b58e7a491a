"""Points out of the database, as fast as it has them: one range of one key for each series.

Series are asked for through the session, which shows what its person may see; their points are then read by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.core.fixed import Fixed
from backend.metrics.figures import PREFERRED
from backend.metrics.packed import unpacked
from backend.metrics.quantiles import Histogram
from backend.metrics.rows import COARSE, FINE, RAW, Point, Rolled, Series

_points: sa.Table = Point.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_RANGE = Fixed(
    sa.select(_points.c.at, _points.c.value, _points.c.count, _points.c.low, _points.c.high, _points.c.counts)
    .where(
        _points.c.series_id == sa.bindparam("series"),
        _points.c.step == sa.bindparam("step"),
        _points.c.at > sa.bindparam("after"),
        _points.c.at <= sa.bindparam("until"),
    )
    .order_by(_points.c.at)
)
_rolled: sa.Table = Rolled.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_ROLLED = Fixed(sa.select(_rolled.c.step, _rolled.c.until))


class Read(NamedTuple):
    """One point: the end of the time that it covers, and what is kept of it."""

    at: int
    value: float
    count: int | None  # type: ignore[assignment]  # not the tuple's own
    low: float | None
    high: float | None
    counts: bytes | None

    def histogram(self, bounds: Sequence[float]) -> Histogram | None:
        """The buckets of a histogram's point; None where bounds and counts do not belong together."""
        counts = unpacked(self.counts) if self.counts is not None else ()
        return Histogram(tuple(bounds), counts, self.value) if len(counts) == len(bounds) + 1 else None


@dataclass(frozen=True)
class Stream:
    """A series as a value."""

    id: int
    source: str
    teller: str
    metric: str
    arm: str
    version: int | None
    shadow: bool
    labels: tuple[tuple[str, str], ...]
    bounds: tuple[float, ...]

    @property
    def quantile(self) -> float | None:
        """Of a quantile that its server tells."""
        try:
            return float(dict(self.labels).get("quantile", ""))
        except ValueError:
            return None


def streams_of(session: Session, endpoint_id: str, metrics: Iterable[str]) -> tuple[Stream, ...]:
    """The series of an endpoint for these figures, as far as this look shows them."""
    query = select(Series).where(Series.endpoint_id == endpoint_id, col(Series.metric).in_(sorted(metrics)))
    return tuple(_stream(row) for row in session.exec(query.order_by(col(Series.id))))


def _stream(row: Series) -> Stream:
    assert row.id is not None  # noqa: S101 - it comes from the database
    labels, bounds = tuple(sorted(row.labels.items())), tuple(row.bounds or ())
    return Stream(row.id, row.source, row.teller, row.metric, row.arm, row.version, row.shadow, labels, bounds)


def rolled(session: Session) -> dict[int, int]:
    """How far each coarser resolution has been made."""
    return dict(_ROLLED.of(session))


def segments(step: int, after: int, until: int, made: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """(resolution, after, until): the wanted resolution as far as it has been made, finer ones for what is newer.

    A beginning that lies within a coarser span counts from that span's beginning on: at most one span more than was asked for.
    """
    found, start = list[tuple[int, int, int]](), after
    for one in [each for each in (COARSE, FINE) if each <= step]:
        end = min(until, made.get(one, 0))
        if end > start:
            found.append((one, start // one * one, end))
            start = end
    if until > start:
        found.append((RAW, start, until))
    return found


def points(session: Session, one: Stream, parts: Iterable[tuple[int, int, int]]) -> Iterator[Read]:
    """The points of one series in these parts, in order."""
    session.flush()
    connection = session.connection()
    for step, after, until in parts:
        yield from map(Read._make, _RANGE.on(connection, series=one.id, step=step, after=after, until=until))


def preferred(found: Mapping[Stream, Sequence[Read]]) -> dict[Stream, Sequence[Read]]:
    """Of each figure the word of whoever is nearest to the callers, as far as they told anything here; `covered` is left out.

    Of several sources that were named for an endpoint the first one counts; a server or router that took another's place tells
    of another time, so that both count.
    """
    chosen: dict[Stream, Sequence[Read]] = {}
    for metric in {one.metric for one in found} - {"covered"}:
        telling = [one for one, read in found.items() if one.metric == metric and read]
        teller = next((each for each in PREFERRED if any(one.teller == each for one in telling)), None)
        mine = [one for one in telling if one.teller == teller]
        first = min((one.source for one in mine), default="")
        chosen.update((one, found[one]) for one in mine if teller != "other" or one.source == first)
    return chosen


def covering(found: Mapping[Stream, Sequence[Read]], chosen: Iterable[Stream]) -> dict[Stream, Sequence[Read]]:
    """For how long those were looked at whose word about requests counts; where nobody's does, whoever there is."""
    mine = list(chosen)
    main = next((one for metric in ("requests", "latency") for one in mine if one.metric == metric), None)
    covered = {one: read for one, read in found.items() if one.metric == "covered" and read}
    teller = (
        main.teller
        if main is not None
        else next((each for each in PREFERRED if any(one.teller == each for one in covered)), "")
    )
    told = {one.source for one in mine if one.teller == teller}
    return {one: read for one, read in covered.items() if one.teller == teller and (one.source in told or main is None)}
