"""Counted hours in the database: written whole, hour by hour, and added up to any window."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.core.unit import Unit
from backend.drift import counts as drift
from backend.drift.counts import Counts
from backend.drift.layout import Layout
from backend.drift.references import Window
from backend.drift.stored import counts_from
from backend.monitoring.rows import NO_VERSION, CountedHour
from backend.quality import counts as quality
from backend.quality.tasks import Task

_hours: sa.Table = CountedHour.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_AT_ONCE = 400


@dataclass(frozen=True)
class Part:
    """What one version and arm did in one hour. `content` is packed; b"" for nothing."""

    hour: datetime
    version: int
    arm: str
    rows: int
    content: bytes


def write(tx: Unit, endpoint_id: str, what: str, counted: Mapping[datetime, Sequence[Part]]) -> None:
    """Hours instead of whatever was there of them."""
    connection = tx.session.connection()
    told = sorted(counted)
    for start in range(0, len(told), _AT_ONCE):
        hours = told[start : start + _AT_ONCE]
        where = (_hours.c.endpoint_id == endpoint_id, _hours.c.what == what, _hours.c.hour.in_(hours))
        connection.execute(sa.delete(_hours).where(*where))
        rows = [_row(endpoint_id, what, part, tx.now) for hour in hours for part in counted[hour] or (_nothing(hour),)]
        connection.execute(sa.insert(_hours), rows)


def counted_hours(session: Session, endpoint_id: str, what: str) -> set[datetime]:
    """The hours that were counted."""
    query = select(CountedHour.hour).where(CountedHour.endpoint_id == endpoint_id, CountedHour.what == what)
    return set(session.exec(query.distinct()))


def parts_of(session: Session, endpoint_id: str, what: str, hours: Iterable[datetime]) -> dict[datetime, list[Part]]:
    """What was counted in hours; those that were never counted are not among them."""
    query = select(CountedHour).where(
        CountedHour.endpoint_id == endpoint_id, CountedHour.what == what, col(CountedHour.hour).in_(list(hours))
    )
    found = dict[datetime, list[Part]]()
    for one in session.exec(query):
        found.setdefault(one.hour, []).append(_part(one))
    return found


def parts(session: Session, endpoint_id: str, what: str, window: Window) -> tuple[Part, ...]:
    """All that was counted in a window, those that are empty too."""
    query = select(CountedHour).where(
        CountedHour.endpoint_id == endpoint_id,
        CountedHour.what == what,
        col(CountedHour.hour) >= window.start,
        col(CountedHour.hour) < window.end,
    )
    rows = session.exec(query.order_by(col(CountedHour.hour)))
    return tuple(map(_part, rows))


def chosen(found: Iterable[Part], versions: Collection[int] | None, arm: str | None) -> tuple[Part, ...]:
    """Those of some versions (None: all) and of one arm."""
    return tuple(
        one for one in found if one.rows and (versions is None or one.version in versions) and (arm is None or one.arm == arm)
    )


def summed(found: Iterable[Part], layout: Layout) -> Counts:
    """Features' counts, added up."""
    return drift.total(layout, (counts_from(one.content, layout) for one in found if one.content))


def by_hour(found: Iterable[Part], layout: Layout) -> dict[datetime, Counts]:
    """The same hour by hour; an hour in which nothing was asked has counts of nothing."""
    hours = dict[datetime, Counts]()
    for one in found:
        told = counts_from(one.content, layout) if one.content else drift.nothing(layout)
        hours[one.hour] = hours[one.hour] + told if one.hour in hours else told
    return hours


def outcomes(found: Iterable[Part], task: Task) -> quality.Counts:
    """Outcomes' counts. Hours are different requests each, so that their tables only have to be put together."""
    schema = quality.schema(task)
    tables = [pa.ipc.open_stream(one.content).read_all() for one in found if one.content]
    return quality.Counts(task, pa.concat_tables([schema.empty_table(), *(one.cast(schema) for one in tables)]))


def outcome_bytes(counts: quality.Counts) -> bytes:
    """One hour of outcomes' counts as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, counts.table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(counts.table.combine_chunks())
    return bytes(sink.getvalue().to_pybytes())


def _part(row: CountedHour) -> Part:
    return Part(row.hour, row.version, row.arm, row.rows, row.content)


def _nothing(hour: datetime) -> Part:
    return Part(hour, NO_VERSION, "", 0, b"")


def _row(endpoint_id: str, what: str, part: Part, now: datetime) -> dict[str, object]:
    return {
        "endpoint_id": endpoint_id,
        "what": what,
        "hour": part.hour,
        "version": part.version,
        "arm": part.arm,
        "rows": part.rows,
        "content": part.content,
        "counted_at": now,
    }
