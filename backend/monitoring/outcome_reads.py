"""Reads of how good predictions were: figures, over time, by segment, the reliability curve; estimates and how they did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.drift.references import Window
from backend.drift.values import quoted
from backend.monitoring import hours, needs, references, tasks
from backend.monitoring.feature_reads import MOST_SUMMED, span_of
from backend.monitoring.line_reads import SHELF
from backend.monitoring.live import place_of
from backend.monitoring.needs import Watched
from backend.monitoring.outcomes import mine
from backend.monitoring.rows import MonitorRun
from backend.monitoring.views import (
    CurvePoint,
    EstimateRecord,
    FigureLine,
    FigurePoint,
    QualityView,
    Reliability,
    SegmentLine,
    Where,
)
from backend.quality import windows as quality
from backend.quality.calibration import Band
from backend.quality.checks import Coverage, EstimateCheck, check, coverage
from backend.quality.counts import ANY, Counts, tally_of
from backend.quality.counts import Where as Counted
from backend.quality.estimates import ASSUMPTIONS
from backend.quality.figures import Figure, Value
from backend.quality.segments import Segment, segments

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OVER_TIME = ("log_loss", "brier", "auc", "accuracy", "positive_share", "mean_score", "calibration_error", "mae", "rmse", "bias")
"""Figures that are shown day by day."""
MOST_SEGMENTS, MOST_RUNS = 50, 120
NO_TASK = "No monitor says what is predicted here: set one of quality."


@dataclass(frozen=True)
class _Found:
    """What was counted for a monitor. `alone`: the version whose requests those are of which nothing says who answered;
    `champion`: the one that estimates are of where none is asked for."""

    monitor: Watched
    counts: Counts
    window: Window
    hours: frozenset[datetime]
    alone: int | None = None
    champion: int | None = None


def reliability(session: Session, where: Where) -> Reliability:
    """See `queries.reliability`."""
    found = _found(session, where)
    if isinstance(found, str):
        return Reliability((), None, None, found)
    told = quality.quality(found.counts, _where(found, where, found.window.start, found.window.end))
    error = told.figures.get("calibration_error")
    line = _line("calibration_error", error) if error is not None else None
    why = "" if told.curve else (line.words if line is not None and line.words else "A number has no reliability curve.")
    by_chance = None if math.isnan(told.by_chance) else told.by_chance
    return Reliability(tuple(map(_point, told.curve)), line, by_chance, why)


def view(session: Session, where: Where) -> QualityView:
    """See `queries.quality`."""
    found = _found(session, where)
    if isinstance(found, str):
        return QualityView("", 0, 0, (), (), {}, (), (), (), (), found)
    assert found.monitor.spec.task is not None  # noqa: S101 - it was chosen for its task
    asked = _where(found, where, found.window.start, found.window.end)
    told, tally = quality.quality(found.counts, asked), found.counts.tally(asked)
    estimating, runs = _estimates(session, where, found.window)
    return QualityView(
        task=tasks.words_of(found.monitor.spec.task),
        requests=told.requests,
        known=tally.count("labelled"),
        said=tuple(one.words for one in told.findings),
        figures=tuple(_line(name, value) for name, value in told.figures.items()),
        over_time=_over_time(found, where),
        segments=tuple(_segment(one) for one in _segments(found, asked)),
        estimates=_newest(estimating, runs, where) if estimating is not None else (),
        assumptions=ASSUMPTIONS if runs else (),
        record=_record(estimating, runs, where) if estimating is not None else (),
        estimated=_estimated_of(estimating, where) if estimating is not None else "",
    )


def _found(session: Session, where: Where) -> _Found | str:
    """What was counted of outcomes in a span, by the first monitor that says what is predicted."""
    row, span = named(session, Endpoint, where.endpoint), span_of(where)
    known = [one for one in needs.watched(session, [row.id], paused=True) if one.spec.task is not None]
    if not known:
        return NO_TASK
    place, profiles = place_of(session, row), references.of_model(session, row.model)
    one = min(known, key=lambda each: (each.spec.kind != "quality", not each.spec.segments, each.row.name))
    assert one.spec.task is not None  # noqa: S101 - chosen above
    segmentations = needs.segmentations_of(session, SHELF, one.spec, place, profiles)
    if where.segment and where.segmentation not in {each.feature for each in segmentations}:
        return f"Outcomes are not counted by {quoted(where.segmentation)}: no monitor of quality names it."
    what = tasks.counted_as(one.spec, segmentations)
    window = span if span.end - span.start <= 3 * MOST_SUMMED else Window(span.end - 3 * MOST_SUMMED, span.end)
    # To the days' ends, so that day by day each is a whole one.
    parts = hours.parts(session, row.id, what, Window(_midnight(window.start), _midnight(window.end - HOUR) + DAY))
    counted = frozenset(part.hour for part in parts if window.start <= part.hour < window.end)
    if not counted:
        return "No hour of this span was counted."
    return _Found(one, hours.outcomes(parts, tasks.task_of(one.spec.task)), window, counted, place.alone, place.champion)


def _where(found: _Found, where: Where, start: datetime, end: datetime) -> Counted:
    """What is asked for. Of a version it is what its monitor judges, so that both say the same."""
    return Counted(
        start,
        end,
        version=mine(where.version, where.version == found.alone) if where.version is not None else ANY,
        arm=where.arm if where.arm is not None else ANY,
        segmentation=where.segmentation if where.segment else "",
        segment=where.segment,
    )


def _over_time(found: _Found, where: Where) -> Mapping[str, tuple[FigurePoint, ...]]:
    """Day by day (UTC), whole days but for one that is not over yet; days without a request are left out."""
    told: dict[str, list[FigurePoint]] = {}
    day = _midnight(found.window.start)
    while day < found.window.end:
        rows = found.counts.rows(_where(found, where, day, day + DAY))
        if rows.num_rows:
            for name, value in quality.figures(found.counts.task, tally_of(rows)).items():
                if name in OVER_TIME:
                    told.setdefault(name, []).append(FigurePoint(day, _line(name, value)))
        day += DAY
    return {name: tuple(points) for name, points in told.items()}


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _segments(found: _Found, asked: Counted) -> Sequence[Segment]:
    if asked.segment or not found.counts.segmentations:
        return ()
    return segments(found.counts, asked)[:MOST_SEGMENTS]


def _segment(one: Segment) -> SegmentLine:
    return SegmentLine(one.segmentation, one.segment, _line("loss", one.loss), one.more.value, one.worse)


# -- estimates


def _estimates(session: Session, where: Where, window: Window) -> tuple[_Found | None, Sequence[MonitorRun]]:
    """Runs of a monitor of estimates in a span, the oldest first, with what was counted by now of their windows. One of the
    arm that is asked for comes before others."""
    row = named(session, Endpoint, where.endpoint)
    known = [each for each in needs.watched(session, [row.id], paused=True) if each.spec.kind == "estimate"]
    one = min(known, key=lambda each: (each.spec.arm != where.arm, each.spec.arm is not None, each.row.name), default=None)
    if one is None or one.spec.task is None:
        return None, ()
    query = select(MonitorRun).where(
        MonitorRun.monitor_id == one.row.id,
        col(MonitorRun.window_start) >= window.start - one.spec.window,
        col(MonitorRun.slot) <= window.end,
        col(MonitorRun.state).in_(("ok", "alarm")),
    )
    runs = list(reversed(session.exec(query.order_by(col(MonitorRun.slot).desc()).limit(MOST_RUNS)).all()))
    if not runs:
        return None, ()
    span = Window(min(run.window_start for run in runs), max(run.slot for run in runs))
    parts = hours.parts(session, row.id, tasks.counted_as(one.spec, ()), span)
    counted, place = frozenset(part.hour for part in parts), place_of(session, row)
    counts = hours.outcomes(parts, tasks.task_of(one.spec.task))
    return _Found(one, counts, span, counted, place.alone, place.champion), runs


def _version(found: _Found, where: Where) -> int | None:
    """The version that estimates are of: what was said of one is never held against another one's truth."""
    return where.version if where.version is not None else found.champion


def _estimated_of(found: _Found, where: Where) -> str:
    """Whose requests estimates are of, in words."""
    version, arm = _version(found, where), found.monitor.spec.arm
    told = f"Of {f'the requests of arm {arm}' if arm is not None else 'all requests'} to version {version}"
    apart = [what for what, is_asked in (("arm", where.arm not in (None, arm)), ("segment", bool(where.segment))) if is_asked]
    return f"{told}, not told apart by {' and '.join(apart)}." if apart else f"{told}."


def _of_run(found: _Found, run: MonitorRun, where: Where) -> Mapping[str, Any]:
    """What it said of the version."""
    told: Mapping[str, Any] = run.figures.get(str(_version(found, where)), {})
    return told


def _newest(found: _Found, runs: Sequence[MonitorRun], where: Where) -> tuple[FigureLine, ...]:
    told = _of_run(found, runs[-1], where) if runs else {}
    return tuple(_line(name, figure) for name, one in told.items() if (figure := _kept(one)) is not None)


def _kept(told: object) -> Figure | None:
    """A figure of an estimate, as its run keeps it."""
    if not isinstance(told, Mapping) or "value" not in told:
        return None
    return Figure(told["value"], told["low"], told["high"], told["n"], told["missing"], estimated=True)


def _record(found: _Found, runs: Sequence[MonitorRun], where: Where) -> tuple[EstimateRecord, ...]:
    """How earlier estimates did, of those whose windows' outcomes are in by now."""
    checks: dict[str, list[EstimateCheck]] = {}
    for run in runs:
        if not frozenset(Window(run.window_start, run.slot).each()) <= found.hours:
            continue  # some of its hours are not kept any more: what came true is not known whole
        told = _of_run(found, run, where)
        realised = _realised(found, run, told, where)
        for name, one in told.items():
            if (estimated := _kept(one)) is None or name not in realised:
                continue
            error = float(told.get("_errors", {}).get(name, 0.0))
            done = check(name, run.window_start, run.slot, estimated, realised[name], error)
            checks.setdefault(name, [])
            if isinstance(done, EstimateCheck):
                checks[name].append(done)
    return tuple(_recorded(name, each) for name, each in checks.items())


def _realised(found: _Found, run: MonitorRun, told: Mapping[str, Any], where: Where) -> Mapping[str, Value]:
    """What became of the very requests that were estimated, whatever else is asked for: of that version, and of the monitor's
    arm as it was then."""
    version, of = _version(found, where), told.get("_of", {})
    if version is None:
        return {}
    arm = of.get("arm", found.monitor.spec.arm)
    whose = mine(version, of.get("alone", found.alone == version))
    asked = Counted(run.window_start, run.slot, version=whose, arm=arm if arm is not None else ANY)
    return quality.figures(found.counts.task, found.counts.tally(asked))


def _recorded(name: str, checks: Sequence[EstimateCheck]) -> EstimateRecord:
    told = coverage(checks)
    if not isinstance(told, Coverage):
        return EstimateRecord(name, 0, 0, None, told.words)
    return EstimateRecord(name, told.checks, sum(one.inside for one in checks), told.mean_error, told.words)


def _line(name: str, value: Value) -> FigureLine:
    if not isinstance(value, Figure):
        return FigureLine(name, None, None, None, 0, 0, "", value.words)
    return FigureLine(name, value.value, value.low, value.high, value.n, value.missing, value.label, estimated=value.estimated)


def _point(band: Band) -> CurvePoint:
    seen = band.observed
    return CurvePoint(band.low, band.high, band.predicted, seen.value, seen.low, seen.high, seen.n, seen.missing)
