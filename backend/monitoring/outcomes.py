"""A look at how good predictions were, as far as outcomes are known; and at how good they probably are before. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from backend.drift.findings import figure
from backend.drift.references import LEAST_COVERED, Window
from backend.monitoring.live import Live
from backend.monitoring.looks import Found, Verdict, early
from backend.monitoring.rules import LimitSpec, MonitorSpec, no_worse
from backend.quality.counts import ANY, Counts, Tally, Where
from backend.quality.estimates import Calibrator, Estimate, estimate
from backend.quality.figures import PROVISIONAL_BELOW, Figure, NotPossible, Value
from backend.quality.gate import Finding
from backend.quality.segments import segments
from backend.quality.windows import quality

DAY = timedelta(days=1)
TOLD_ELSEWHERE = frozenset({"no-requests", "no-outcomes", "few-outcomes", "outcomes-missing"})
"""What a figure's own label says, or the verdict's words: only to be read."""
ABOUT_OUTCOMES = ("segment", "one-class", "outcome-wrong", "outcome-without-value", "certain-and-wrong", "not-judged")
"""Kinds of findings that only outcomes can show or end."""
SHARE = 0.01
"""From this share of a window's requests on, what is wrong with single ones is a warning instead of a notice."""


@dataclass(frozen=True)
class Given:
    """All that a look at one version needs.

    Args:
        counts: of outcomes, by hour, over the window and, for an estimate, over its reference.
        counted: the hours of the window that were counted.
        reference: of an estimate, the hours whose outcomes it learns from.
        alone: whether requests of which nothing says who answered are this version's.
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
        if (told_early := early(version, given.live.since, given.window.start, requests)) is not None:
            return told_early
        told = f"Version {version} answered {requests:,} requests, fewer than {spec.min_rows:,}: too few for a verdict."
        return Verdict(version, requests, why=told)
    return _realised(spec, given, where, requests) if spec.kind == "quality" else _estimated(spec, given, where, requests)


def where_of(spec: MonitorSpec, given: Given, start: datetime, end: datetime) -> Where:
    """Which counts are this version's."""
    return Where(start, end, version=mine(given.live.version, given.alone), arm=spec.arm if spec.arm is not None else ANY)


def mine(version: int, alone: bool) -> frozenset[int | None]:
    """Whose requests are a version's: those that name it, and where it is the only one that answers, those that name none.
    What another version answered before it never is."""
    return frozenset({version, None} if alone else {version})


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
    why = _too_early(spec, given, given.counts.tally(where), requests)
    told = [_said(spec, version, one, early=bool(why)) for one in found.findings]
    if not why:
        told += _beyond(spec, version, found.figures, "quality")
    told += _segments(spec, given, where)
    figures = {name: told_value(value) for name, value in found.figures.items()}
    unjudged = _unjudged(spec, found.figures, "quality", early=bool(why))
    # What is wrong with the predictions themselves is told without waiting for outcomes.
    why = "" if any(_is_severe(one, early=bool(why)) for one in found.findings) else why
    return Verdict(version, requests, tuple(told), figures=figures, why=why, unjudged=unjudged)


def _too_early(spec: MonitorSpec, given: Given, tally: Tally, requests: int) -> str:
    """Why there is no verdict yet, in words; "" where there is one. The outcomes that come first are not like those that come
    last. Where the look waits for as long as outcomes count, no more will come."""
    version, known = given.live.version, tally.count("labelled")
    if not known:
        return f"Of {requests:,} requests to version {version} no outcome is known yet."
    horizon, share = given.counts.task.horizon, tally.share_known
    if not spec.limits or share >= spec.min_known or (horizon is not None and spec.wait >= horizon):
        return ""
    return (
        f"Of {requests:,} requests to version {version} {known:,} outcomes are known, {math.floor(100 * share)} %: limits "
        f"decide from {100 * spec.min_known:.3g} % on. Wait longer after each window, or set `min_known` lower."
    )


def _unjudged(spec: MonitorSpec, figures: Mapping[str, Value], family: str, *, early: bool = False) -> frozenset[str]:
    """Kinds of findings that this look can neither tell nor end."""
    names = [name for name in spec.limits if early or isinstance(figures.get(name), NotPossible)]
    more = [f"{family}.{kind}" for kind in ABOUT_OUTCOMES] if early else []
    return frozenset([*(_kind(family, name) for name in names), *more])


def _estimated(spec: MonitorSpec, given: Given, where: Where, requests: int) -> Verdict:
    version, task = given.live.version, given.counts.task
    days, left_out = _learned(spec, given)
    calibrator = Calibrator.of(days)
    if isinstance(calibrator, NotPossible):
        return Verdict(version, requests, why=f"Version {version}: {calibrator.words}{_left_out(left_out)}")
    found = estimate(task, calibrator, given.counts.tally(where))
    if isinstance(found, NotPossible):
        return Verdict(version, requests, why=found.words)
    told = tuple(_beyond(spec, version, found.figures, "estimate"))
    figures = {**_of_estimate(found), "_of": {"arm": spec.arm, "alone": given.alone}}
    return Verdict(version, requests, told, figures=figures, unjudged=_unjudged(spec, found.figures, "estimate"))


def _learned(spec: MonitorSpec, given: Given) -> tuple[Sequence[Tally], int]:
    """The reference's days whose outcomes are in, and how many were left out because theirs are not: whoever learns from the
    outcomes that come first learns what those are like. Days older than the horizon are closed: no more will come."""
    assert given.reference is not None  # noqa: S101 - an estimate has one
    past, horizon = where_of(spec, given, given.reference.start, given.reference.end), given.counts.task.horizon
    closed = given.reference.start
    if horizon is not None:
        closed = max(closed, (given.window.end - horizon).replace(hour=0, minute=0, second=0, microsecond=0))
    closed = min(closed, given.reference.end)
    old = given.counts.apart(replace(past, end=closed), DAY)
    young = given.counts.apart(replace(past, start=closed), DAY)
    settled = [day for day in young if day.share_known >= PROVISIONAL_BELOW]
    return [*old, *settled], len(young) - len(settled)


def _left_out(days: int) -> str:
    if not days:
        return ""
    counted = "1 day was" if days == 1 else f"{days} days were"
    return (
        f" {counted} left out, because less than {PROVISIONAL_BELOW:.0%} of their outcomes are known; where no more will come, "
        "give the task a horizon."
    )


def _of_estimate(found: Estimate) -> dict[str, Any]:
    told = {name: told_value(value) for name, value in found.figures.items()}
    errors = {name: found.errors[name] for name in told if name in found.errors}
    return {**told, "_errors": errors, "_unsupported": found.unsupported, "_assumptions": list(found.assumptions)}


def _said(spec: MonitorSpec, version: int, one: Finding, *, early: bool) -> Found:
    severity = no_worse("warning", spec.at_most) if _is_severe(one, early=early) else _notice(spec)
    return Found(f"quality.{one.kind}", severity, "", "", version, one.words, {"requests": one.count, "of": one.of})


def _is_severe(one: Finding, *, early: bool) -> bool:
    """Whether it is more than a notice. That the first few outcomes are all the same is nothing yet."""
    if one.kind in TOLD_ELSEWHERE or (early and one.kind == "one-class"):
        return False
    return one.blocks or one.count >= SHARE * max(one.of, 1)


def _beyond(spec: MonitorSpec, version: int, figures: Mapping[str, Value], family: str) -> Iterator[Found]:
    """Figures whose whole interval lies beyond what was set: what only may lie there is no news. One that cannot be said passes
    no limit, and that is told."""
    for name, limit in spec.limits.items():
        value = figures.get(name)
        if value is None:
            says = f"There is no figure {name} of this task; it has {', '.join(sorted(figures))}."
            yield Found(f"{family}.unknown-figure", no_worse("warning", spec.at_most), name, "", version, says)
        elif isinstance(value, NotPossible):
            yield _not_judged(spec, version, family, name, value, limit)
        elif (side := _side(value, limit)) is not None:
            yield _breach(spec, version, family, name, value, limit, side)


def _side(value: Figure, limit: LimitSpec) -> tuple[str, float] | None:
    if limit.above is not None and value.low > limit.above:
        return "above", limit.above
    return ("below", limit.below) if limit.below is not None and value.high < limit.below else None


def _not_judged(spec: MonitorSpec, version: int, family: str, name: str, value: NotPossible, limit: LimitSpec) -> Found:
    says = f"The limit of {name.replace('_', ' ')} cannot be judged for version {version}: {value.words}"
    severity = no_worse(no_worse("warning", limit.severity), spec.at_most)
    return Found(f"{family}.not-judged", severity, name, "", version, says, {"reason": value.reason})


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
    kind = _kind(family, name)
    return Found(kind, no_worse(limit.severity, spec.at_most), name, "", version, says, {**facts, "missing": value.missing})


def _kind(family: str, name: str) -> str:
    return f"{family}.{name.replace('_', '-')}"


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
