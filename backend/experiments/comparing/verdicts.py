"""Verdicts of guardrails, what a primary metric proves, and one decision of all of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from backend.delivery.comparison import Comparison, Guardrail, Metric, Primary
from backend.experiments import rules
from backend.experiments.comparing import effects
from backend.experiments.comparing.counts import EVERYONE, Counts
from backend.experiments.comparing.figures import (
    Decision,
    Guarded,
    PrimaryFigures,
    number,
)
from backend.experiments.statistics import sequences, spending
from backend.experiments.statistics.budget import Budget
from backend.experiments.statistics.estimates import Estimate
from backend.experiments.statistics.sequences import Tuning


def guarded(found: Counts, before: Mapping[str, int]) -> tuple[list[Guarded], dict[str, int]]:
    """Every guardrail of every treatment and segment, and how many looks in a row each has failed now."""
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


def primaries(
    found: Counts, spent: Mapping[str, Sequence[Sequence[float]]], guarded: Sequence[Guarded], unsound: Sequence[str]
) -> tuple[list[PrimaryFigures], dict[str, list[list[float]]]]:
    """What each treatment proves of what the experiment is for, and the looks of a group-sequential design."""
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


def decided(
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
