"""Points into the database: series are found or made, points written in bulk. Helpers that join a unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from backend.core.canonical import digest_bytes
from backend.core.unit import Unit
from backend.metrics.packed import packed
from backend.metrics.quantiles import Histogram
from backend.metrics.rows import RAW, Point, Series
from backend.metrics.series import Value

_points: sa.Table = Point.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_series: sa.Table = Series.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_AT_ONCE = 1000
SPREAD_SECONDS = 60
"""What was counted across a pause is laid evenly over it, a point a minute."""


@dataclass(frozen=True)
class Identity:
    """Everything that tells one series from another."""

    endpoint_id: str
    source: str
    teller: str
    metric: str
    arm: str = ""
    version: int | None = None
    shadow: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    bounds: tuple[float, ...] | None = None

    @property
    def digest(self) -> str:
        """Of all of it."""
        return digest_bytes(repr(self).encode())


@dataclass(frozen=True)
class Added:
    """What one look added to one series: an increase, or a gauge as it is."""

    identity: Identity
    value: Value


@dataclass(frozen=True)
class Looked:
    """What one look found.

    Args:
        at: when, and `since`: when the last look was, over which the increases are laid; None for a first one.
    """

    at: datetime
    since: datetime | None
    increases: Sequence[Added] = field(default_factory=tuple)
    gauges: Sequence[Added] = field(default_factory=tuple)


@dataclass(frozen=True)
class Stored:
    """What was written: to which series, and from when on (seconds since the epoch; None for nothing)."""

    ids: tuple[int, ...] = ()
    earliest: int | None = None


def store(tx: Unit, source: str, looks: Sequence[Looked]) -> Stored:
    """Writes what looks found. A point that is there already is replaced."""
    identities = {one.identity for look in looks for one in (*look.increases, *look.gauges)}
    ids = series_ids(tx, source, identities)
    rows = [row for look in looks for row in _rows(look, ids)]
    write(tx, rows)
    return Stored(tuple(sorted(ids.values())), min((row["at"] for row in rows), default=None))


def write(tx: Unit, rows: Sequence[Mapping[str, Any]]) -> None:
    """Points in bulk."""
    insert = postgresql.insert(_points) if _is_postgres(tx) else sqlite.insert(_points)
    told = {name: insert.excluded[name] for name in ("value", "count", "low", "high", "counts")}
    upsert = insert.on_conflict_do_update(index_elements=["series_id", "step", "at"], set_=told)
    connection = tx.session.connection()
    for start in range(0, len(rows), _AT_ONCE):
        connection.execute(upsert, list(rows[start : start + _AT_ONCE]))


def series_ids(tx: Unit, source: str, wanted: Iterable[Identity]) -> dict[Identity, int]:
    """The id of each series; those that are new are made."""
    by_digest = {one.digest: one for one in wanted}
    found = _existing(tx, source)
    lacking = [_row(one, key, tx.now) for key, one in by_digest.items() if key not in found]
    if lacking:
        insert = postgresql.insert(_series) if _is_postgres(tx) else sqlite.insert(_series)
        for start in range(0, len(lacking), _AT_ONCE):
            tx.session.connection().execute(insert.on_conflict_do_nothing(), lacking[start : start + _AT_ONCE])
        found = _existing(tx, source)
    return {one: found[key] for key, one in by_digest.items()}


def _existing(tx: Unit, source: str) -> dict[str, int]:
    query = sa.select(_series.c.digest, _series.c.id).where(_series.c.source == source)
    return dict(iter(tx.session.connection().execute(query)))


def _row(one: Identity, digest: str, now: datetime) -> dict[str, Any]:
    return {
        "digest": digest,
        "endpoint_id": one.endpoint_id,
        "source": one.source,
        "teller": one.teller,
        "metric": one.metric,
        "arm": one.arm,
        "version": one.version,
        "shadow": one.shadow,
        "labels": dict(one.labels),
        "bounds": list(one.bounds) if one.bounds is not None else None,
        "created_at": now,
    }


def _rows(look: Looked, ids: Mapping[Identity, int]) -> Iterable[dict[str, Any]]:
    moment = int(look.at.timestamp())
    for one in look.gauges:
        assert not isinstance(one.value, Histogram)  # noqa: S101 - gauges are numbers
        yield _point(ids[one.identity], moment, one.value)
    if look.since is None:
        return
    moments = _spread(int(look.since.timestamp()), moment)
    for one in look.increases:
        for at in moments:
            yield _part(ids[one.identity], at, one.value, len(moments))


def _spread(since: int, until: int) -> list[int]:
    """The moments over which an increase is laid: the last one alone, but for a pause."""
    pause = until - since
    if pause <= 2 * SPREAD_SECONDS:
        return [until]
    parts = math.ceil(pause / SPREAD_SECONDS)
    return [since + round(pause * part / parts) for part in range(1, parts + 1)]


def _part(series_id: int, at: int, value: Value, parts: int) -> dict[str, Any]:
    if not isinstance(value, Histogram):
        return _point(series_id, at, value / parts)
    counts = value.counts if parts == 1 else tuple(one / parts for one in value.counts)
    return {**_point(series_id, at, value.total / parts), "counts": packed(counts)}


def _point(series_id: int, at: int, value: float) -> dict[str, Any]:
    empty = {"count": None, "low": None, "high": None, "counts": None}
    return {"series_id": series_id, "step": RAW, "at": at, "value": value, **empty}


def _is_postgres(tx: Unit) -> bool:
    return tx.session.get_bind().dialect.name == "postgresql"
