"""How soon outcomes become known, and who may be compared with whom. Pure but for one statement on a reading.

The curve is a life table (Kaplan and Meier's product over fixed delays): a request counts for a delay only if it is old enough
to show it, so that today's requests do not make outcomes look slow. It levels off below 1 where some outcomes never come.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.inference_log.layout import HOUR
from backend.inference_log.reading import Reading
from backend.quality import grid
from backend.quality.counts import ANY, Every
from backend.quality.figures import NO_REQUESTS, Figure, NotPossible, Value
from backend.quality.intervals import Array, on_logit, wilson

_COUNTED = """
WITH edges AS (SELECT unnest(CAST($1 AS BIGINT[])) AS edge),
waited AS (
    SELECT date_trunc('hour', event_time) AS hour, version, coalesce(served_arm, assigned_arm) AS arm,
        greatest(epoch_us(known_at) - epoch_us(event_time), 0) AS delay
    FROM joined WHERE failure = ''
)
SELECT hour, version, arm, coalesce(edge, -1) AS delay, count(*) AS requests
FROM waited ASOF LEFT JOIN edges ON waited.delay >= edges.edge GROUP BY ALL
"""
_MICROSECOND = timedelta(microseconds=1)
_EDGES = [delay // _MICROSECOND for delay in grid.DELAYS]
_SCHEMA = pa.schema(
    [
        ("hour", pa.timestamp("us", tz="UTC")),
        ("version", pa.int32()),
        ("arm", pa.string()),
        ("delay", pa.int64()),
        ("requests", pa.int64()),
    ]
)
_KEYS = ["hour", "version", "arm", "delay"]


@dataclass(frozen=True, slots=True)
class Known:
    """One point of the curve.

    Args:
        delay: time since the request.
        share: of the requests whose outcome is known by then. Its `n` is how many were old enough to show it.
    """

    delay: timedelta
    share: Figure


@dataclass(frozen=True)
class Delays:
    """Requests by hour, version, arm and bin of the delay until their outcome was known; -1 (microseconds) without one."""

    table: pa.Table

    @classmethod
    def none(cls) -> Delays:
        """Of nothing."""
        return cls(_SCHEMA.empty_table())

    @classmethod
    def sum(cls, parts: Iterable[Delays]) -> Delays:
        """Delays of different requests, added up."""
        together = pa.concat_tables([_SCHEMA.empty_table(), *(part.table for part in parts)])
        grouped = together.group_by(_KEYS, use_threads=False).aggregate([("requests", "sum")])
        return cls(pa.Table.from_arrays([grouped[key] for key in _KEYS] + [grouped["requests_sum"]], schema=_SCHEMA))

    def replaced(self, hours: Iterable[datetime], anew: Delays) -> Delays:
        """The same with some hours counted anew."""
        chosen = pa.array(sorted(hours), _SCHEMA.field("hour").type)
        kept = self.table.filter(pc.invert(pc.is_in(self.table["hour"], chosen)))
        return Delays(pa.concat_tables([kept, anew.table.filter(pc.is_in(anew.table["hour"], chosen))]))

    def chosen(self, version: int | Every | None = ANY, arm: str | Every | None = ANY) -> Delays:
        """Those of one version and arm; ANY sums all."""
        table = self.table
        for name, value in (("version", version), ("arm", arm)):
            if value is None:
                table = table.filter(pc.is_null(table[name]))
            elif value is not ANY:
                table = table.filter(pc.fill_null(pc.equal(table[name], value), False))
        return Delays(table)


def delays(reading: Reading) -> Delays:
    """Counts the delays of what a reading holds, whatever the outcomes say. Raises ExternalFailure."""
    table = reading.query(_COUNTED, [_EDGES])
    return Delays(table.select(_SCHEMA.names).cast(_SCHEMA))


def maturity(waited: Delays, now: datetime, level: float) -> tuple[Known, ...]:
    """The curve: which share of requests has its outcome after each delay, with an interval (Greenwood's variance).

    Args:
        waited: counted from a reading whose `known_by` is `now`.
    """
    requests, old_enough = _by_age(waited, now)
    points, survived, spread = list[Known](), 1.0, 0.0
    for place in range(len(_EDGES) - 1):
        shown = old_enough >= _EDGES[place + 1]
        at_risk = float(requests[shown][:, place:].sum())
        if not at_risk:
            break
        known = float(requests[shown][:, place].sum())
        survived *= 1 - known / at_risk
        spread += known / (at_risk * (at_risk - known)) if known < at_risk else math.inf
        points.append(Known(grid.DELAYS[place + 1], _share(survived, spread, float(requests[shown].sum()), level)))
        if not survived:
            break
    return tuple(points)


def share_known(waited: Delays, level: float) -> Value:
    """The share of all requests whose outcome is known by now."""
    requests = int(pc.sum(waited.table["requests"]).as_py() or 0)
    if not requests:
        return NO_REQUESTS
    known = int(pc.sum(waited.table.filter(pc.greater_equal(waited.table["delay"], 0))["requests"]).as_py() or 0)
    return Figure(known / requests, *wilson(known, requests, level), requests, method="Wilson")


def settled_after(curve: tuple[Known, ...], share: float) -> timedelta | NotPossible:
    """The shortest delay after which a share of the outcomes is known: a horizon for comparisons."""
    for point in curve:
        if point.share.value >= share:
            return point.delay
    return NotPossible(
        "never-settled", f"Outcomes of {share:.0%} of the requests were never known so far; ask for a smaller share."
    )


def closed_hours(hours: Iterable[datetime], horizon: timedelta, now: datetime) -> list[datetime]:
    """Hours all of whose requests are older than the horizon: no further outcome of theirs counts."""
    return [hour for hour in hours if hour + HOUR + horizon <= now]


def _by_age(waited: Delays, now: datetime) -> tuple[Array, Array]:
    """Requests by hour and bin (the last column: those without an outcome), and the age of each hour's youngest request."""
    hours = sorted(set(waited.table["hour"].to_pylist()))
    rows = {hour: place for place, hour in enumerate(hours)}
    columns = {edge: place for place, edge in enumerate([*_EDGES, -1])}
    requests = np.zeros((len(hours), len(columns)))
    for row in waited.table.to_pylist():
        requests[rows[row["hour"]], columns[row["delay"]]] += row["requests"]
    ages = np.array([(now - hour - HOUR) / _MICROSECOND for hour in hours])
    return requests, ages


def _share(survived: float, spread: float, n: float, level: float) -> Figure:
    known = 1 - survived
    if 0 < known < 1 and math.isfinite(spread):
        span = on_logit(known, survived * math.sqrt(spread), level)
    else:
        span = wilson(known * n, n, level)
    return Figure(known, *span, int(n), method="life table, Greenwood")
