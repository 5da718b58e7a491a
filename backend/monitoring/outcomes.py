"""A look at how good predictions were, as far as outcomes are known; and at how good they probably are before. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backend.drift.findings import figure
from backend.drift.references import LEAST_COVERED, Window
from backend.monitoring.live import Live
from backend.monitoring.looks import Found, Verdict
from backend.monitoring.rules import LimitSpec, MonitorSpec, no_worse
from backend.quality.counts import ANY, Counts, Where
from backend.quality.estimates import Calibrator, Estimate, estimate
from backend.quality.figures import Figure, NotPossible, Value
from backend.quality.gate import Finding
from backend.quality.segments import segments
from backend.quality.windows import quality

DAY = timedelta(days=1)
TOLD_ELSEWHERE = frozenset({"no-requests", "no-outcomes", "few-outcomes", "outcomes-missing"})
"""What a figure's own label says, or the verdict's words: only to be read."""
SHARE = 0.01
"""From this share of a window's requests on, what is wrong with single ones is a warning instead of a notice."""


@dataclass(frozen=True)
class Given:
    """All that a look at one version needs.

    Args:
        counts: of outcomes, by hour, over the window and, for an estimate, over its reference.
        counted: the hours of the window that were counted.
        reference: of an estimate, the hours whose outcomes it learns from.
    """

    live: Live
    window: Window
    counts: Counts
    counted: int
    reference: Window | None = None
    alone: bool = False


def look(spec: MonitorSpec, given: Given) -> Verdict:
    """The verdict on one version."""
    version = given.live.version
    if given.counted < LEAST_COVERED * given.window.hours:
        return Verdict(version, why=f"Only {given.counted} of the {given.window.hours} hours of its window were counted.")
    where = where_of(spec, given, given.window.start, given.window.end)
    requests = _requests(given.counts, where)
    if requests < spec.min_rows:
        told = f"Version {version} answered {requests:,} requests, fewer than {spec.min_rows:,}: too few for a verdict."
        return Verdict(version, requests, why=told)
    return _realised(spec, given, where, requests) if spec.kind == "quality" else _estimated(spec, given, where, requests)


def where_of(spec: MonitorSpec, given: Given, start: datetime, end: datetime) -> Where:
    """Which counts are this version's. Where it is the only one, all are."""
    version = ANY if given.alone else given.live.version
    return Where(start, end, version=version, arm=spec.arm if spec.arm is not None else ANY)


def told_value(value: Value) -> dict[str, Any]:
    """A figure as a run keeps it."""
    if isinstance(value, NotPossible):
        return {"reason": value.reason, "words": value.words}
    told = {"value": value.value, "low": value.low, "high": value.high, "n": value.n, "missing": value.missing}
    return {**told, "label": value.label}


def _requests(counts: Counts, where: Where) -> int:
    tally = counts.tally(where)
    return tally.count("requests") + sum(tally.unusable.values())


def _realised(spec: MonitorSpec, given: Given, where: Where, requests: int) -> Verdict:
    version, found = given.live.version, quality(given.counts, where)
    told = [_said(spec, version, one) for one in found.findings]
    told += _beyond(spec, version, found.figures, "quality")
    told += _segments(spec, given, where)
    figures = {name: told_value(value) for name, value in found.figures.items()}
    known = given.counts.tally(where).count("labelled")
    why = "" if known else f"Of {requests:,} requests to version {version} no outcome is known yet."
    return Verdict(version, requests, tuple(told), figures=figures, why=why)


def _estimated(spec: MonitorSpec, given: Given, where: Where, requests: int) -> Verdict:
    assert given.reference is not None  # noqa: S101 - an estimate has one
    version, task = given.live.version, given.counts.task
    past = where_of(spec, given, given.reference.start, given.reference.end)
    calibrator = Calibrator.of(given.counts.apart(past, DAY))
    if isinstance(calibrator, NotPossible):
        return Verdict(version, requests, why=f"Version {version}: {calibrator.words}")
    found = estimate(task, calibrator, given.counts.tally(where))
    if isinstance(found, NotPossible):
        return Verdict(version, requests, why=found.words)
    return Verdict(version, requests, tuple(_beyond(spec, version, found.figures, "estimate")), figures=_of_estimate(found))


def _of_estimate(found: Estimate) -> dict[str, Any]:
    told = {name: told_value(value) for name, value in found.figures.items()}
    errors = {name: found.errors[name] for name in told if name in found.errors}
    return {**told, "_errors": errors, "_unsupported": found.unsupported, "_assumptions": list(found.assumptions)}


def _said(spec: MonitorSpec, version: int, one: Finding) -> Found:
    severe = one.kind not in TOLD_ELSEWHERE and (one.blocks or one.count >= SHARE * max(one.of, 1))
    severity = no_worse("warning", spec.at_most) if severe else _notice(spec)
    return Found(f"quality.{one.kind}", severity, "", "", version, one.words, {"requests": one.count, "of": one.of})


def _beyond(spec: MonitorSpec, version: int, figures: Mapping[str, Value], family: str) -> Iterator[Found]:
    """Figures whose whole interval lies beyond what was set: what only may lie there is no news."""
    for name, limit in spec.limits.items():
        value = figures.get(name)
        if value is None:
            says = f"There is no figure {name} of this task; it has {', '.join(sorted(figures))}."
            yield Found(f"{family}.unknown-figure", no_worse("warning", spec.at_most), name, "", version, says)
        elif isinstance(value, Figure) and (side := _side(value, limit)) is not None:
            yield _breach(spec, version, family, name, value, limit, side)


def _side(value: Figure, limit: LimitSpec) -> tuple[str, float] | None:
    if limit.above is not None and value.low > limit.above:
        return "above", limit.above
    return ("below", limit.below) if limit.below is not None and value.high < limit.below else None


def _breach(
    spec: MonitorSpec, version: int, family: str, name: str, value: Figure, limit: LimitSpec, side: tuple[str, float]
) -> Found:
    where, most = side
    label = f"; {value.label}" if value.label else ""
    words = name.replace("_", " ")
    says = (
        f"{words[:1].upper()}{words[1:]} of version {version} is {figure(value.value)} "
        f"({figure(value.low)} to {figure(value.high)}), {where} {figure(most)}{label}."
    )
    facts = {"value": value.value, "low": value.low, "high": value.high, "limit": most, "outcomes": value.n}
    kind = f"{family}.{name.replace('_', '-')}"
    return Found(kind, no_worse(limit.severity, spec.at_most), name, "", version, says, {**facts, "missing": value.missing})


def _segments(spec: MonitorSpec, given: Given, where: Where) -> Iterator[Found]:
    """Segments that are worse beyond chance: to be read, since some always are; where repairing pays most comes first."""
    if not given.counts.segmentations:
        return
    for one in segments(given.counts, where):
        if one.worse:
            says = (
                f"Requests with {one.segmentation} {one.segment} are predicted worse than all others: a loss of "
                f"{figure(one.loss.value)} against {figure(one.rest.value)}."
            )
            name = f"{one.segmentation} {one.segment}"
            yield Found("quality.segment", _notice(spec), name, "", given.live.version, says, {"outcomes": one.loss.n})


def _notice(spec: MonitorSpec) -> str:
    return "info" if spec.notices else "notice"
