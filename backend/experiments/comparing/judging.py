"""From counts to the figures of one look: effects, verdicts, one decision, and what a ramp has to know. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from backend.delivery.comparison import Comparison
from backend.experiments.comparing import soundness, told, verdicts
from backend.experiments.comparing.counts import EVERYONE, Counts
from backend.experiments.comparing.figures import (
    Exposed,
    Figures,
    Guarded,
    StratumFigures,
)
from backend.experiments.comparing.standing import Kept, heavier

Trigger = Literal["sample_ratio", "no_traffic", "missing"]


@dataclass(frozen=True)
class Before:
    """What looks before this one left: failures in a row, looks of a group-sequential design, and facts that stay."""

    failures: Mapping[str, int] = field(default_factory=dict)
    spent: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """One look: what is shown, what a ramp has to know, and what the next look has to."""

    figures: Figures
    kept: Kept
    failures: dict[str, int]
    spent: dict[str, list[list[float]]]
    facts: dict[str, str]


def judge(found: Counts, versions: Mapping[str, int], before: Before) -> Look:
    """Judges one look. `versions`: of arms."""
    asked = found.asked
    mismatches, crossed = soundness.mismatches(found), soundness.crossed(found)
    facts = soundness.facts(mismatches, crossed, before.facts, asked.now)
    unsound = soundness.unsound_words(mismatches, crossed, facts)
    guarded, failures = verdicts.guarded(found, before.failures)
    primaries, spent = verdicts.primaries(found, before.spent, guarded, unsound)
    decided = verdicts.decided(found, guarded, primaries, unsound)
    problems = _problems(found, guarded, unsound)
    figures = Figures(
        at=asked.now,
        generation=asked.strata[-1].generation,
        arms=told.arms(found, versions),
        strata=told.strata(found),
        mismatches=tuple(mismatches),
        crossed=crossed,
        effects=tuple(told.with_holm(told.every_effect(found))),
        guardrails=tuple(guarded),
        primaries=tuple(primaries),
        exposure=tuple(Exposed(hour=hour, arm=arm, units=units) for hour, arm, units in found.hours),
        decision=decided.decision,
        reasons=decided.reasons,
        person=decided.person,
        problems=tuple(problems),
    )
    return Look(figures, _kept(figures, asked.comparison, unsound), failures, spent, facts)


def _problems(found: Counts, guarded: Sequence[Guarded], unsound: Sequence[str]) -> list[dict[str, str]]:
    on = found.asked.comparison.on
    told = [("sample_ratio", on.sample_ratio, line) for line in unsound]
    told += [("no_traffic", on.no_traffic, line) for line in _without_traffic(found)]
    told += [("missing", on.missing, one.reason) for one in guarded if one.stops and _is_missing(found, one)]
    told += [("regression", one.on_fail, one.reason) for one in guarded if one.verdict == "fail" and _may_tell(found, one)]
    return [{"trigger": trigger, "action": action, "says": says} for trigger, action, says in told]


def _may_tell(found: Counts, one: Guarded) -> bool:
    """Exploratory segments tell nothing."""
    return one.segment == EVERYONE or any(each.name == one.segment and each.guarded for each in found.asked.comparison.segments)


def _is_missing(found: Counts, one: Guarded) -> bool:
    """Whether figures should have come by now."""
    asked = found.asked.comparison
    known = (asked.window_seconds or 0) + asked.metric(one.metric).horizon_seconds
    patience = timedelta(seconds=known + asked.no_traffic_seconds)
    return one.verdict in ("missing", "stale") and found.asked.now - found.asked.strata[0].admitted_at > patience


def _without_traffic(found: Counts) -> list[str]:
    newest, now = found.asked.strata[-1], found.asked.now
    allowed = timedelta(seconds=found.asked.comparison.no_traffic_seconds)
    told = []
    for arm in (one for one in found.asked.arms if newest.shares.get(one)):
        seen = max([one.newest for one in found.traffic if one.arm == arm], default=newest.admitted_at)
        since = now - max(seen, newest.admitted_at)
        if since > allowed:
            told.append(f"{arm} got no request for {since.total_seconds():,.0f} s.")
    return told


def _kept(figures: Figures, asked: Comparison, unsound: Sequence[str]) -> Kept:
    action: Literal["go", "hold", "rollback"] = "go"
    reasons, warnings = list[str](), list[str]()
    for one in figures.problems:
        wanted = one["action"]
        if wanted == "warn":
            warnings.append(one["says"])
            continue
        if unsound and one["trigger"] == "regression":
            wanted = "hold"  # on unsound data nothing is proved
        mine = heavier("rollback" if wanted == "rollback" else "hold", "go")
        if heavier("rollback" if wanted == "rollback" else "hold", action) != action:
            action, reasons = mine, []
        if mine == action:
            reasons.append(one["says"])
    stopping = [one for one in figures.guardrails if one.stops]
    sound = not unsound
    passed = sound and bool(stopping) and all(one.verdict == "pass" for one in stopping)
    not_failed = sound and not any(one.verdict in ("fail", "missing", "stale") for one in stopping)
    still = [one.reason for one in stopping if one.verdict != "pass"]
    reason = " ".join((reasons or still)[:3])
    units = {str(one.generation): _smallest(one) for one in figures.strata}
    return Kept(action=action, reason=reason, passed=passed, not_failed=not_failed, units=units, warnings=tuple(warnings))


def _smallest(one: StratumFigures) -> int:
    """Complete units of the smallest arm with a share."""
    return min((one.complete[arm] for arm, share in one.shares.items() if share), default=0)
