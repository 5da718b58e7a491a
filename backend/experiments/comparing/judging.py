"""From counts to the figures of one look: effects, verdicts, one decision, and what a ramp has to know. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from backend.delivery.comparison import OF_OUTCOMES, Comparison, Guardrail, Metric, Primary
from backend.experiments import rules
from backend.experiments.comparing import effects
from backend.experiments.comparing.counts import EVERYONE, Counts
from backend.experiments.comparing.figures import (
    ArmFigures,
    Crossed,
    Decision,
    Effect,
    Exposed,
    Figures,
    Guarded,
    Mismatch,
    PrimaryFigures,
    StratumFigures,
    number,
)
from backend.experiments.comparing.standing import Kept, heavier
from backend.experiments.statistics import mismatch, sequences, spending
from backend.experiments.statistics.budget import Budget, holm
from backend.experiments.statistics.estimates import Estimate
from backend.experiments.statistics.moments import Floats
from backend.experiments.statistics.reading import reading
from backend.experiments.statistics.sequences import Tuning

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
    mismatches, crossed = _mismatches(found), _crossed(found)
    facts = _facts(mismatches, crossed, before.facts, asked.now)
    unsound = _unsound_words(mismatches, crossed, facts)
    guarded, failures = _guarded(found, before.failures)
    primaries, spent = _primaries(found, before.spent, guarded, unsound)
    decided = _decided(found, guarded, primaries, unsound)
    problems = _problems(found, guarded, unsound)
    figures = Figures(
        at=asked.now,
        generation=asked.strata[-1].generation,
        arms=_arms(found, versions),
        strata=_strata(found),
        mismatches=tuple(mismatches),
        crossed=crossed,
        effects=tuple(_with_holm(_effects(found))),
        guardrails=tuple(guarded),
        primaries=tuple(primaries),
        exposure=tuple(Exposed(hour=hour, arm=arm, units=units) for hour, arm, units in found.hours),
        decision=decided.decision,
        reasons=decided.reasons,
        person=decided.person,
        problems=tuple(problems),
    )
    return Look(figures, _kept(figures, asked.comparison, unsound), failures, spent, facts)


# -- soundness


def _compared(found: Counts) -> list[int]:
    """Strata in which the control and another arm share the traffic."""
    control = found.asked.arms[0]
    return [
        at for at, one in enumerate(found.asked.strata) if one.shares.get(control) and sum(map(bool, one.shares.values())) > 1
    ]


def _mismatches(found: Counts) -> list[Mismatch]:
    rows = _compared(found)
    if not rows:
        return []
    shares = np.array([[found.asked.strata[at].shares.get(arm, 0) for arm in found.asked.arms] for at in rows], dtype=float)
    made = [_mismatch(found, "units", mismatch.ratio(found.new.T[rows], shares))]
    for one in found.asked.comparison.metrics:
        if one.kind in OF_OUTCOMES:
            cell = found.cells[found.of_metric[one.name][0], EVERYONE]
            done = (cell.n + cell.lost).T[rows]
            expected = np.where(done.sum(-1, keepdims=True) > 0, done, shares)
            made.append(_mismatch(found, one.name, mismatch.lost(cell.lost.T[rows], expected)))
    return made


def _mismatch(found: Counts, of: str, one: mismatch.Ratio) -> Mismatch:
    words = one.words if of == "units" else one.words.replace("got", f"lost (no outcome came, {of})", 1)
    return Mismatch(
        of=of,
        p=one.p,
        anytime_p=one.anytime_p,
        mismatch=one.mismatch,
        counts=dict(zip(found.asked.arms, one.counts, strict=True)),
        expected=dict(zip(found.asked.arms, one.expected, strict=True)),
        words=words,
    )


def _crossed(found: Counts) -> Crossed:
    in_two = int(found.crossed.sum())
    told = mismatch.crossed(int(found.units.sum()) + in_two, in_two)
    return Crossed(units=told.units, crossed=told.crossed, invalid=told.invalid)


def _facts(seen: Sequence[Mismatch], crossed: Crossed, before: Mapping[str, str], now: datetime) -> dict[str, str]:
    """A mismatch that was seen once stays, whatever the counts become."""
    new = {f"mismatch_{one.of}": now.isoformat() for one in seen if one.mismatch}
    return {**new, **before}


def _unsound_words(seen: Sequence[Mismatch], crossed: Crossed, facts: Mapping[str, str]) -> tuple[str, ...]:
    told = [
        one.words if one.mismatch else f"{one.words} At {facts[f'mismatch_{one.of}']} it was more than chance explains."
        for one in seen
        if f"mismatch_{one.of}" in facts
    ]
    if crossed.invalid:
        told.append(f"{crossed.crossed:,} of {crossed.units:,} units were seen in two arms: find out how they got there.")
    return tuple(told)


# -- verdicts


def _guarded(found: Counts, before: Mapping[str, int]) -> tuple[list[Guarded], dict[str, int]]:
    asked = found.asked.comparison
    made, failures = list[Guarded](), dict[str, int]()
    if not asked.guardrails:
        return made, failures
    guarded = [one for one in asked.segments if one.guarded]
    budget = Budget(
        guardrails=len(asked.guardrails),
        segments=len(guarded),
        arms=len(found.asked.arms) - 1,
        fail_alpha=asked.alpha,
        pass_alpha=asked.alpha,
    )
    places = [(EVERYONE, budget.whole, True)]
    places += [(one.name, budget.segment if one.guarded else budget.whole, one.guarded) for one in asked.segments]
    for one in asked.guardrails:
        for arm in range(1, len(found.asked.arms)):
            for segment, alpha, stops in places:
                each = _one(found, one, arm, segment, alpha, stops and one.on_fail != "warn", before)
                made.append(each)
                if each.failures:
                    failures[each.key] = each.failures
    return made, failures


def _one(
    found: Counts, guardrail: Guardrail, arm: int, segment: str, alpha: float, stops: bool, before: Mapping[str, int]
) -> Guarded:
    asked, treatment = found.asked.comparison, found.asked.arms[arm]
    measured = effects.measured(found, guardrail, arm, segment, fail=alpha, passing=asked.alpha)
    many = len(found.asked.arms) > 2
    name = f"{guardrail.metric} ({treatment})" if many else guardrail.metric
    told = rules.judged(rules.Guardrail(name, guardrail.margin, asked.stale_seconds, segment, not stops), measured)
    key = f"{guardrail.metric}/{treatment}/{segment}"
    failures = before.get(key, 0) + 1 if told.verdict == "fail" else 0
    verdict, reason = told.verdict, told.reason
    if verdict == "fail" and failures < asked.failures:
        verdict, reason = "inconclusive", f"{reason} It failed {failures} of {asked.failures} looks one after the other."
    return Guarded(
        metric=guardrail.metric,
        treatment=treatment,
        segment=segment,
        verdict=verdict,
        reason=reason,
        margin=guardrail.margin,
        relative=guardrail.relative,
        harm=number(measured.harm) if measured is not None and measured.harm is not None else None,
        fail_low=number(measured.fail_low) if measured is not None else None,
        pass_high=number(measured.pass_high) if measured is not None else None,
        on_fail=guardrail.on_fail,
        stops=stops,
        failures=failures,
    )


def _judged(asked: Comparison, one: Guarded) -> rules.Judged:
    """As the rules want it: what stops nothing is exploratory."""
    return rules.Judged(
        rules.Guardrail(one.metric, one.margin, asked.stale_seconds, one.segment, not one.stops), one.verdict, one.reason
    )


# -- what it is for


def _primaries(
    found: Counts, spent: Mapping[str, Sequence[Sequence[float]]], guarded: Sequence[Guarded], unsound: Sequence[str]
) -> tuple[list[PrimaryFigures], dict[str, list[list[float]]]]:
    asked = found.asked.comparison
    made, taken = list[PrimaryFigures](), {arm: [list(one) for one in looks] for arm, looks in spent.items()}
    if asked.primary is None:
        return made, taken
    for arm in range(1, len(found.asked.arms)):
        name = found.asked.arms[arm]
        rule, words = _primary(found, asked.primary, arm, taken.setdefault(name, []))
        mine = [_judged(asked, one) for one in guarded if one.treatment == name]
        decided = rules.decided(mine, primary=rule, unsound=unsound, more=not rule.ended)
        floor = -rule.margin if rule.goal == "not_worse" else 0.0
        made.append(
            PrimaryFigures(
                metric=asked.primary.metric,
                treatment=name,
                goal=rule.goal,
                gain=number(rule.gain) if rule.gain is not None else None,
                low=number(rule.low),
                high=number(rule.high),
                line=floor,
                unsettled=rule.unsettled,
                ended=rule.ended,
                words=words,
                decision=decided.decision,
            )
        )
    return made, taken


def _primary(found: Counts, own: Primary, arm: int, looks: list[list[float]]) -> tuple[rules.Primary, str]:
    asked = found.asked.comparison
    metric = asked.metric(own.metric)
    (made,) = effects.of_metric(found, own.metric, arm, EVERYONE)
    alpha = asked.alpha / (len(found.asked.arms) - 1)
    if found.broken.get(own.metric) or math.isnan(float(made.difference)):
        return rules.Primary(own.metric, None, goal=own.goal, margin=own.margin), ""
    words = effects.unsettled([made])
    gain = -effects.turned(effects.Ends(float(made.difference), -math.inf, math.inf), metric).value
    if asked.design == "sequence":
        if own.eta is None:
            return rules.Primary(own.metric, gain, unsettled=effects.UNTUNED, goal=own.goal, margin=own.margin), ""
        harm = effects.turned(effects.ends(made, Tuning(own.eta), alpha, "two", relative=False), metric)
        return rules.Primary(own.metric, gain, -harm.high, -harm.low, own.goal, own.margin, words), ""
    return _planned_look(found, own, metric, made, alpha, words, gain, looks)


def _planned_look(
    found: Counts,
    own: Primary,
    metric: Metric,
    made: Estimate,
    alpha: float,
    words: str,
    gain: float,
    looks: list[list[float]],
) -> tuple[rules.Primary, str]:
    """A look of a group-sequential design. Looks that do not count yet spend nothing; the last that counts is kept."""
    asked = found.asked.comparison
    weight = asked.planned_weight or math.inf
    shape: spending.Shape = "pocock" if asked.design == "pocock" else "obrien_fleming"
    if looks and looks[-1][0] >= weight:
        low, high = looks[-1][2:4]
        told = "The planned sample was reached at an earlier look, which decided: later figures do not count."
        return rules.Primary(own.metric, (low + high) / 2, low, high, own.goal, own.margin, ended=True), told
    if words:
        return rules.Primary(own.metric, gain, unsettled=words, goal=own.goal, margin=own.margin), ""
    plan = spending.Plan(alpha, weight, shape)
    taken = [spending.Look(one[0], one[1]) for one in looks]
    own_look = spending.Look(float(made.weight), float(made.clock))
    at = spending.standing(plan, [*taken, own_look])
    if not math.isfinite(at.bound):
        return rules.Primary(own.metric, gain, goal=own.goal, margin=own.margin), at.words
    wide = float(sequences.widened(np.asarray(at.bound), made.freedom) * made.error)
    looks.append([own_look.weight, own_look.clock, gain - wide, gain + wide])
    return rules.Primary(own.metric, gain, gain - wide, gain + wide, own.goal, own.margin, ended=at.final), at.words


def _decided(
    found: Counts, guarded: Sequence[Guarded], primaries: Sequence[PrimaryFigures], unsound: Sequence[str]
) -> rules.Decided:
    """One decision for all treatments: any failed guardrail rolls back; any treatment that is proved better may be shipped."""
    asked = found.asked.comparison
    everyone = [_judged(asked, one) for one in guarded]
    if not primaries:
        return rules.decided(everyone, unsound=unsound)
    each = {one.treatment: _of_one(asked, one, guarded, unsound) for one in primaries}
    failed = rules.decided(everyone, unsound=unsound)
    if unsound or failed.decision == "roll_back":
        return failed
    for decision in ("ship", "roll_back"):
        mine = [name for name, one in each.items() if one.decision == decision]
        if mine and (decision == "ship" or len(mine) == len(each)):
            return rules.Decided(
                _word(decision), tuple(_said(name, line, each) for name in mine for line in each[name].reasons)
            )
    reasons = tuple(_said(name, line, each) for name, one in each.items() for line in one.reasons)
    return rules.Decided("keep_running", reasons, person=all(one.person for one in each.values()))


def _of_one(asked: Comparison, one: PrimaryFigures, guarded: Sequence[Guarded], unsound: Sequence[str]) -> rules.Decided:
    rule = rules.Primary(
        one.metric,
        one.gain,
        -math.inf if one.low is None else one.low,
        math.inf if one.high is None else one.high,
        one.goal,
        -one.line,
        one.unsettled,
        one.ended,
    )
    mine = [_judged(asked, each) for each in guarded if each.treatment == one.treatment]
    return rules.decided(mine, primary=rule, unsound=unsound, more=not one.ended)


def _word(decision: str) -> Decision:
    return "ship" if decision == "ship" else "roll_back"


def _said(name: str, line: str, each: Mapping[str, rules.Decided]) -> str:
    return f"{name}: {line}" if len(each) > 1 else line


# -- what a ramp has to know


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


# -- what is shown


def _arms(found: Counts, versions: Mapping[str, int]) -> tuple[ArmFigures, ...]:
    names, newest = found.asked.arms, found.asked.strata[-1].shares
    mine = {arm: [one for one in found.traffic if one.arm == arm] for arm in names}
    assigned = _shares({arm: sum(one.requests for one in mine[arm]) for arm in names})
    served = _shares({arm: sum(one.requests for each in mine.values() for one in each if one.served == arm) for arm in names})
    planned = _shares({arm: newest.get(arm, 0) for arm in names})
    lost = _lost(found)
    return tuple(
        ArmFigures(
            name=arm,
            version=versions.get(arm),
            control=place == 0,
            units=int(found.units[place].sum()),
            complete=int(found.complete[place].sum()),
            waiting=int((found.units - found.complete)[place].sum()),
            lost=int(lost[place]),
            crossed=int(found.crossed[place].sum()),
            requests=sum(one.requests for one in mine[arm]),
            failures=sum(one.failures for one in mine[arm]),
            fallbacks=sum(one.fallbacks for one in mine[arm]),
            planned=planned[arm],
            assigned=assigned[arm],
            served=served[arm],
        )
        for place, arm in enumerate(names)
    )


def _lost(found: Counts) -> Floats:
    places = [found.of_metric[one.name][0] for one in found.asked.comparison.metrics if one.kind in OF_OUTCOMES]
    cells = [found.cells[place, EVERYONE].lost.sum(-1) for place in places]
    return np.asarray(np.max(cells, axis=0)) if cells else np.zeros(len(found.asked.arms))


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    whole = sum(counts.values())
    return {name: one / whole if whole else 0.0 for name, one in counts.items()}


def _strata(found: Counts) -> tuple[StratumFigures, ...]:
    arms = found.asked.arms
    return tuple(
        StratumFigures(
            generation=one.generation,
            shares={arm: one.shares.get(arm, 0) for arm in arms},
            units={arm: int(found.units[place, at]) for place, arm in enumerate(arms)},
            complete={arm: int(found.complete[place, at]) for place, arm in enumerate(arms)},
        )
        for at, one in enumerate(found.asked.strata)
    )


def _effects(found: Counts) -> list[Effect]:
    asked = found.asked.comparison
    segments = (EVERYONE, *(one.name for one in asked.segments))
    arms = range(1, len(found.asked.arms))
    return [_effect(found, one, arm, segment) for one in asked.metrics for arm in arms for segment in segments]


def _eta(asked: Comparison, metric: str) -> float | None:
    """The tuning that the plan has for a metric."""
    if asked.primary is not None and asked.primary.metric == metric and asked.primary.eta is not None:
        return asked.primary.eta
    return next((one.eta for one in asked.guardrails if one.metric == metric), None)


def _effect(found: Counts, metric: Metric, arm: int, segment: str) -> Effect:
    eta = _eta(found.asked.comparison, metric.name)
    if metric.kind == "latency":
        return _latency_effect(found, metric, arm, segment, eta)
    made = effects.of_metric(found, metric.name, arm, segment)
    distance = [abs(float(one.difference)) if math.isfinite(float(one.difference)) else -1.0 for one in made]
    most = int(np.argmax(distance))
    one, alpha = made[most], found.asked.comparison.alpha / len(made)
    cell = found.cells[found.of_metric[metric.name][most], segment]
    words = effects.unsettled([one]) or ("" if eta is not None else effects.UNTUNED)
    tuned = Tuning(eta or 1.0)
    plain, share = (effects.ends(one, tuned, alpha, "two", relative=each) for each in (False, True))
    better = reading(one.times(-1.0) if metric.better == "lower" else one)
    p = min(1.0, float(sequences.chance(one, tuned)) * len(made)) if not words else None
    return Effect(
        metric=metric.name,
        kind=metric.kind,
        treatment=found.asked.arms[arm],
        segment=segment,
        better=metric.better,
        control_value=number(one.control),
        treatment_value=number(one.treatment),
        difference=number(one.difference),
        low=number(plain.low) if not words else None,
        high=number(plain.high) if not words else None,
        relative=number(share.value),
        relative_low=number(share.low) if not words else None,
        relative_high=number(share.high) if not words else None,
        p=p,
        adjusted_p=None,
        n_control=int(cell.n[0].sum()),
        n_treatment=int(cell.n[arm].sum()),
        waiting=int(cell.waiting[[0, arm]].sum()),
        lost=int(cell.lost[[0, arm]].sum()),
        unsettled=words,
        better_chance=number(better.better),
        loss_of_treatment=number(better.loss_of_treatment),
    )


def _latency_effect(found: Counts, metric: Metric, arm: int, segment: str, eta: float | None) -> Effect:
    alpha = found.asked.comparison.alpha
    one = effects.latency(found, metric, arm, segment, Tuning(eta or 1.0), alpha, "two")
    counts = [int(found.bins[segment][where].n.sum()) for where in (0, arm)]
    words = "" if one.enough else "too few requests lie beyond that quantile in the smaller arm"
    words = words or ("" if eta is not None else effects.UNTUNED)
    return Effect(
        metric=metric.name,
        kind=metric.kind,
        treatment=found.asked.arms[arm],
        segment=segment,
        better=metric.better,
        control_value=number(one.control),
        treatment_value=number(one.treatment),
        difference=number(one.difference),
        low=number(one.interval.low) if not words else None,
        high=number(one.interval.high) if not words else None,
        relative=number(one.difference / one.control) if one.control > 0 else None,
        relative_low=None,
        relative_high=None,
        p=None,
        adjusted_p=None,
        n_control=counts[0],
        n_treatment=counts[1],
        waiting=0,
        lost=0,
        unsettled=words,
        better_chance=None,
        loss_of_treatment=None,
    )


def _with_holm(made: Sequence[Effect]) -> list[Effect]:
    """p-values of everyone's, adjusted over all metrics and treatments that may be news."""
    adjusted = holm({place: one.p for place, one in enumerate(made) if one.segment == EVERYONE and one.p is not None})
    return [one.model_copy(update={"adjusted_p": adjusted.get(place)}) for place, one in enumerate(made)]
