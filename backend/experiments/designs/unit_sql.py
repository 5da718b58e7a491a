"""Statements that sum an endpoint's requests up to one row a unit, and those to moments. Text of this house alone.

Names of outcomes go through `Reading.column`, numbers through `repr`, an arm's name through a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.delivery.comparison import Metric
from backend.experiments.designs.spec import MetricAsked
from backend.experiments.statistics import moments
from backend.quality.counting import SMALLEST

SPAN = "SELECT min(event_time) AS first, count(unit) AS requests, count(*) - count(unit) AS without_unit FROM requests"
BY_DAY = """
SELECT day, count(*) AS units FROM (
    SELECT CAST(floor((epoch(min(event_time)) - epoch(CAST($1 AS TIMESTAMPTZ))) / 86400) AS INTEGER) AS day
    FROM requests WHERE unit IS NOT NULL AND event_time >= $1 AND hash(unit) % {every} = 0 GROUP BY unit
) GROUP BY day ORDER BY day
"""
OWN = """
unit IS NOT NULL AND event_time >= $1 AND hash(unit) % {every} = 0 AND coalesce(assigned_arm = $2, version = {version})
"""
_OF_UNIT = "PARTITION BY unit"
FAILED = "(failure <> '' OR coalesce(served_arm <> assigned_arm, false))"
ABOUT = """
SELECT count(*) AS requests, avg(CAST({failed} AS INTEGER)) AS failures,
    quantile_disc(prediction, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) FILTER (isfinite(prediction)) AS deciles,
    min(prediction) FILTER (isfinite(prediction)) AS least,
    quantile_cont(latency_seconds, {levels}) FILTER (isfinite(latency_seconds)) AS latencies
FROM requests WHERE {own}
"""


@dataclass(frozen=True)
class Counted:
    """One ratio by unit: of each request, what is summed and whether it counts, as SQL.

    `horizon`: seconds after a request from which on it counts.
    """

    name: str
    value: str
    counts: str
    horizon: int = 0
    adjusted: bool = False


def counted(
    asked: MetricAsked | Metric, cuts: Sequence[float], threshold: float | None, outcome: Callable[[str], str]
) -> list[Counted]:
    """What has to be counted of a metric: one ratio, or of predictions one for each cut.

    Args:
        threshold: of a latency, its quantile as it was measured.
        outcome: an outcome's column.
    """
    if asked.kind == "errors":
        return [_of(asked, f"CAST({FAILED} AS DOUBLE)", "true")]
    if asked.kind in ("slow", "latency"):
        above = asked.above_seconds if asked.kind == "slow" else threshold
        return [_of(asked, f"CAST(latency_seconds > {float(above or 0.0)!r} AS DOUBLE)", "isfinite(latency_seconds)")]
    if asked.kind == "predictions":
        below = [f"CAST(prediction < {float(one)!r} AS DOUBLE)" for one in asked.cuts or cuts]
        return [_of(asked, one, "isfinite(prediction)") for one in below]
    came = outcome(asked.outcome or "")
    if asked.kind == "outcome":
        return [_of(asked, _capped(asked, came), f"isfinite({came})")]
    return [_of(asked, _capped(asked, _loss(asked.kind, came)), f"isfinite({came}) AND isfinite(prediction)")]


def of_units(each: Sequence[Counted], own: str, *, window: int | None, before: float, now: float) -> str:
    """One row of moments a metric, `place` being its place among `each`. Parameters as in `own`.

    Args:
        window: seconds after a unit's first request; None: each day of a unit is a row of its own.
        before: requests before this (seconds since 1970) are of covariates alone.
        now: from when on nothing is known, in seconds since 1970.
    """
    own_rows = f"SELECT *, epoch(event_time) AS asked FROM joined WHERE {own}"  # noqa: S608
    chosen = _first(window) if window is not None else _by_day(before)
    sums = ", ".join(_sums(place, one, window, now) for place, one in enumerate(each))
    befores = ", ".join(_before(place, one) for place, one in enumerate(each))
    parts = " UNION ALL ".join(_moments(place, one) for place, one in enumerate(each))
    return f"""
WITH own AS MATERIALIZED ({own_rows}), now AS (SELECT * FROM own WHERE asked >= {before!r}), chosen AS ({chosen}),
earlier AS (SELECT unit, {befores} FROM own WHERE asked < {before!r} GROUP BY unit),
units AS MATERIALIZED (SELECT unit, {sums} FROM chosen GROUP BY unit, part),
beside AS MATERIALIZED (SELECT units.*, earlier.* EXCLUDE (unit) FROM units LEFT JOIN earlier USING (unit))
{parts} ORDER BY place
"""  # noqa: S608 - text of ours, see above


def _first(window: int) -> str:
    """The requests within each unit's window; of no window the first request alone."""
    if not window:
        place = f"row_number() OVER ({_OF_UNIT} ORDER BY asked, request_id)"
        return f"SELECT *, asked AS first, 0 AS part FROM now QUALIFY {place} = 1"  # noqa: S608
    return f"SELECT *, min(asked) OVER ({_OF_UNIT}) AS first, 0 AS part FROM now QUALIFY asked <= first + {window}"  # noqa: S608


def _by_day(before: float) -> str:
    return f"SELECT *, asked AS first, CAST(floor((asked - {before!r}) / 86400) AS INTEGER) AS part FROM now"  # noqa: S608


def _sums(place: int, one: Counted, window: int | None, now: float) -> str:
    """A unit's sums of one metric. With a closed window the whole unit is mature or not, else each request is."""
    known = f"{one.counts} AND asked + {one.horizon} <= {now!r}" if window is None else one.counts
    ripe = "true" if window is None else f"min(first) + {window + one.horizon} <= {now!r}"
    n = f"CAST(count(*) FILTER ({known}) AS DOUBLE)"
    return f"sum({one.value}) FILTER ({known}) AS v{place}, {n} AS d{place}, {ripe} AS m{place}"


def _before(place: int, one: Counted) -> str:
    return f"avg({one.value}) FILTER ({one.counts}) AS c{place}"


def _moments(place: int, one: Counted) -> str:
    told = moments.sql(denominator=True, covariate=one.adjusted)
    covariate = f"coalesce(c{place}, avg(c{place}) OVER (), 0) AS covariate"
    rows = f"v{place} AS value, d{place} AS denominator, m{place} AS mature, {covariate}"
    return f"SELECT {place} AS place, {told} FROM (SELECT {rows} FROM beside)"  # noqa: S608 - text of ours


def _of(asked: MetricAsked | Metric, value: str, counts: str) -> Counted:
    return Counted(asked.name, value, counts, asked.horizon_seconds, asked.adjusted)


def _capped(asked: MetricAsked | Metric, value: str) -> str:
    return value if asked.cap is None else f"least(greatest({value}, {asked.cap[0]!r}), {asked.cap[1]!r})"


def _loss(kind: str, came: str) -> str:
    if kind == "log_loss":
        sure = f"least(greatest(prediction, {SMALLEST!r}), 1 - {SMALLEST!r})"
        return f"-({came} * ln({sure}) + (1 - {came}) * ln(1 - {sure}))"
    return f"abs(prediction - {came})" if kind == "absolute_error" else f"(prediction - {came}) * (prediction - {came})"
