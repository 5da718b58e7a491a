"""Measures an endpoint from its inference log before a plan is drawn: traffic, levels, variances, cuts.

It reads files, so that it is never called inside a unit of work. At most `MOST_DAYS` days and about `MOST_ROWS` requests are
read: where there are more, one unit in so many, whole, by a hash of the unit. A unit's requests are summed up into one row, as
the comparison will: those within its window after its first request, or, where the window is open, those of each day by
themselves. Nothing is guessed: what is not in the log stays unknown, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from backend.core.unit import assert_outside_unit
from backend.experiments.designs import unit_sql
from backend.experiments.designs.measured import Measured, MetricMeasured
from backend.experiments.designs.spec import MetricAsked
from backend.experiments.statistics.moments import Moments, of_sums
from backend.experiments.statistics.planning import Traffic, unit_variance
from backend.experiments.statistics.sequences import FEWEST_UNITS
from backend.inference_log.reading import Reading
from backend.inference_log.service import InferenceLog

MOST_DAYS = 14
MOST_ROWS = 2_000_000
DAY = timedelta(days=1)
LEVELS = (*(round(one / 100, 2) for one in range(1, 100)), *(round(0.99 + one / 1_000, 3) for one in range(1, 10)), 0.9995)
"""Shares of requests by which a latency is kept."""


@dataclass(frozen=True)
class Champion:
    """Who answers now: the arm's name and its registered version."""

    arm: str
    version: int


@dataclass(frozen=True)
class Wanted:
    """What to measure.

    Args:
        metrics: as they were asked for; predictions without cuts get the deciles.
        window_seconds, before_days: as of a comparison.
        days: how far back to look, `MOST_DAYS` at most.
        kept_every: the log keeps one unit in so many (`inference_log.handling`), so that traffic is so much more.
    """

    metrics: tuple[MetricAsked, ...] = ()
    window_seconds: int | None = None
    before_days: int = 0
    days: int = MOST_DAYS
    kept_every: int = 1


class _Span(NamedTuple):
    """What is read: whole days where there is one. Requests before `before` are of covariates alone; what is mature is so
    `now`."""

    start: datetime
    before: datetime
    end: datetime
    now: datetime


def measure(
    log: InferenceLog, endpoint: str, champion: Champion | None, wanted: Wanted, now: datetime, *, most_rows: int = MOST_ROWS
) -> Measured:
    """Measures the newest days of an endpoint's log. Raises ExternalFailure when the log cannot be read.

    Args:
        now: the database's; rows that are dated later are left out.
        most_rows: about how many requests are read.
    """
    assert_outside_unit("reading the inference log")
    if champion is None:
        return Measured(why="no version answers there yet")
    whole = {hour for version in log.versions(endpoint) for hour in log.hours(endpoint, version)}
    hours = [one for one in sorted(whole | {*log.part_hours(endpoint)}) if one <= now]
    if not hours:
        return Measured(champion.version, why="nothing is in its log")
    end = min(now.astimezone(UTC), hours[-1] + timedelta(hours=1))
    start = end - min(wanted.days, MOST_DAYS) * DAY
    with log.read(endpoint, None, start, end, known_by=now.astimezone(UTC)) as reading:
        return _measured(reading, champion, wanted, (start, end, now.astimezone(UTC)), most_rows)


def _measured(
    reading: Reading, champion: Champion, wanted: Wanted, asked: tuple[datetime, datetime, datetime], most_rows: int
) -> Measured:
    (counted,) = reading.query(unit_sql.SPAN).to_pylist()
    if not counted["requests"]:
        return Measured(
            champion.version, *asked[:2], without_unit=counted["without_unit"], why="no request in its log names a unit"
        )
    every = max(1, math.ceil(counted["requests"] / most_rows))
    span = _span(max(asked[0], counted["first"].astimezone(UTC)), asked[1:], wanted)
    by_day = reading.query(unit_sql.BY_DAY.format(every=every), [span.start]).to_pylist()
    known = Measured(
        champion.version, span.start, span.end, counted["requests"], counted["without_unit"],
        sampled_every=every, why=_says(span),
    )  # fmt: skip
    known = _with_traffic(known, by_day, every * max(wanted.kept_every, 1))
    return _with_metrics(reading, known, champion, wanted, span)


def _span(first: datetime, ends: tuple[datetime, datetime], wanted: Wanted) -> _Span:
    end, now = ends
    days = (end - first) // DAY
    start = end - days * DAY if days else first
    adjusts = any(one.adjusted for one in wanted.metrics) and wanted.before_days < days
    return _Span(start, start + wanted.before_days * DAY if adjusts else start, end, now)


def _says(span: _Span) -> str:
    hours = (span.end - span.start) / timedelta(hours=1)
    if hours < 24:
        return f"only {hours:.1f} hours are in its log; a whole day brings more units than that"
    return f"its newest requests are of {span.end:%d %B %Y}" if span.now - span.end > 2 * DAY else ""


def _with_traffic(known: Measured, by_day: list[dict[str, Any]], times: int) -> Measured:
    """New units by day, and all of them by the end of each; a day on which nobody came brings none."""
    new = np.zeros(max((row["day"] for row in by_day), default=0) + 1)
    for row in by_day:
        new[row["day"]] += row["units"] * times
    seen = tuple(float(one) for one in new.cumsum())
    return replace(known, traffic=Traffic(seen), units=int(seen[-1]))


def _with_metrics(reading: Reading, known: Measured, champion: Champion, wanted: Wanted, span: _Span) -> Measured:
    own = unit_sql.OWN.format(every=known.sampled_every, version=int(champion.version))
    about = unit_sql.ABOUT.format(failed=unit_sql.FAILED, levels=list(LEVELS), own=own)
    (told,) = reading.query(about, [span.start, champion.arm]).to_pylist()
    if not told["requests"]:
        return replace(known, why=f"version {champion.version}, which is the champion, has no requests with a unit in its log")
    cuts = _cuts(told)
    curve = tuple(zip(LEVELS, told["latencies"], strict=True)) if told["latencies"] else ()
    found = _metrics(reading, wanted, span, own, champion.arm, cuts, curve)
    return replace(known, failures=told["failures"], cuts=cuts, metrics=found)


def _cuts(told: Mapping[str, Any]) -> tuple[float, ...]:
    """Deciles that tell anything: with something below them, and each once."""
    return tuple(sorted({float(one) for one in told["deciles"] or () if one > told["least"]}))


def _metrics(
    reading: Reading,
    wanted: Wanted,
    span: _Span,
    own: str,
    arm: str,
    cuts: tuple[float, ...],
    curve: tuple[tuple[float, float], ...],
) -> dict[str, MetricMeasured]:
    levels = {one.name: MetricMeasured(curve=curve).seconds_at(one.quantile) for one in wanted.metrics if one.quantile}
    counted = [
        each
        for one in wanted.metrics
        for each in unit_sql.counted(one, cuts, levels.get(one.name), lambda name: reading.column(name, "outcome"))
    ]
    if not counted:
        return {one.name: _of_metric(one, [], span, cuts) for one in wanted.metrics}
    sql = unit_sql.of_units(
        counted, own, window=wanted.window_seconds, before=span.before.timestamp(), now=span.now.timestamp()
    )
    rows = reading.query(sql, [span.start, arm]).to_pylist()
    found = {
        one.name: [row for each, row in zip(counted, rows, strict=True) if each.name == one.name] for one in wanted.metrics
    }
    told = {one.name: _of_metric(one, found[one.name], span, cuts) for one in wanted.metrics}
    return {
        name: replace(one, level=levels[name], curve=curve) if name in levels and curve else one for name, one in told.items()
    }


def _of_metric(asked: MetricAsked, rows: list[dict[str, Any]], span: _Span, cuts: tuple[float, ...]) -> MetricMeasured:
    if asked.kind == "predictions" and not (asked.cuts or cuts):
        return MetricMeasured(why="no prediction of the champion that is in its log is a number, or all are the same one")
    cells = [of_sums(row) for row in rows]
    adjusts = asked.adjusted and span.before > span.start
    told = [_variance(one, adjusts) for one in cells]
    fewest = min(cells, key=lambda one: float(one.n))
    if float(fewest.n) < FEWEST_UNITS:
        late = f", and {float(fewest.waiting):,.0f} wait for their windows" if float(fewest.waiting) else ""
        return MetricMeasured(why=f"{float(fewest.n):,.0f} of the {FEWEST_UNITS} units that it takes have one{late}")
    worst = int(np.argmax([one if math.isfinite(one) else -1.0 for one in told]))
    cell, variance = cells[worst], told[worst]
    if not math.isfinite(variance):
        return MetricMeasured(why="what was measured is no finite number")
    why = (
        ""
        if adjusts or not asked.adjusted
        else "the log does not go back far enough for its covariate, which may take more off"
    )
    return MetricMeasured(float(cell.value / cell.denominator), variance, float(cell.denominator), why=why)


def _variance(cell: Moments, adjusts: bool) -> float:
    return unit_variance(cell, ratio=True, adjusted=adjusts)
