"""What a goal of a comparison asks of its interval, and how much its metric varies in that goal's own unit. Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backend.delivery.comparison import Comparison, Guardrail, Metric, Primary
from backend.experiments.designs.measured import MetricMeasured
from backend.experiments.statistics import budget, quantiles
from backend.experiments.statistics.planning import POWER, Asked, share_variance, tuning
from backend.experiments.statistics.sequences import Sides

_TIGHTEST_AT = 2 / 3
"""As `statistics.planning.tuning`: where in a plan what is to be found is found."""


@dataclass(frozen=True)
class Goal:
    """What a goal asks of its interval.

    Args:
        wanted: the smallest effect that matters, or the margin; where `relative`, as a share of the champion's figure.
        shows: the interval that has to show the effect, or that a version as good as the champion is within the margin.
        fails: of a guardrail, the interval that calls it failed.
        binding: whether a plan that is blind to it is refused.
    """

    metric: Metric
    wanted: float
    relative: bool
    shows: Asked
    fails: Asked | None
    binding: bool


def alphas(comparison: Comparison, arms: int) -> budget.Budget:
    """How the comparison's alpha is shared out among guardrails, guarded segments and treatments."""
    return budget.Budget(
        guardrails=max(len(comparison.guardrails), 1),
        segments=sum(one.guarded for one in comparison.segments),
        arms=max(arms, 1),
        fail_alpha=comparison.alpha,
        pass_alpha=comparison.alpha,
    )


def goal_of(comparison: Comparison, goal: Primary | Guardrail, arms: int) -> Goal:
    """The goal with its part of the budget.

    The primary metric's alpha is shared out evenly over `arms` treatments. Of a guardrail on errors a part goes to the exact
    test; one on the spread of predictions shares its alpha over its cuts, each looked at on both sides.
    """
    metric = comparison.metric(goal.metric)
    if isinstance(goal, Primary):
        wanted = min(goal.smallest, goal.margin) if goal.goal == "not_worse" else goal.smallest
        return Goal(metric, wanted, False, Asked(comparison.alpha / max(arms, 1), design=comparison.design), None, True)
    shared = alphas(comparison, arms)
    cuts = len(metric.cuts) if metric.kind == "predictions" else 1
    left = 1 - budget.EXACT_PART if metric.kind == "errors" else 1.0
    sides: Sides = "two" if metric.kind == "predictions" else "one"
    shows = Asked(shared.pass_alpha, budget.needed_power(POWER, shared.guardrails), sides)
    fails = Asked(shared.whole * left / cuts, POWER, sides)
    return Goal(metric, goal.margin, goal.relative, shows, fails, goal.on_fail != "warn")


def variance_of(goal: Goal, found: MetricMeasured) -> float:
    """One unit's variance in the unit that `wanted` is in; NaN where it is not known.

    Of a share it is at least what one of `wanted` more would have: that none failed does not say that none will. Of a latency
    the share of requests between its quantile and `wanted` more says how many seconds a share is.
    """
    if found.unit_variance is None or found.level is None or (goal.relative and not found.level > 0):
        return math.nan
    wanted = goal.wanted * found.level if goal.relative else goal.wanted
    variance = _of_difference(goal, found, wanted)
    if goal.metric.quantile is not None:
        between = found.share_at(found.level + wanted) - goal.metric.quantile
        variance = variance * (wanted / between) ** 2 if between > 0 else math.nan
    variance = variance / found.level**2 if goal.relative else variance
    return variance if variance > 0 else math.nan


def _of_difference(goal: Goal, found: MetricMeasured, wanted: float) -> float:
    """As an estimate has it: of a difference of levels or, of a latency, of shares of requests."""
    variance = found.unit_variance or 0.0
    if goal.metric.kind in ("errors", "slow") and found.level is not None:
        return max(variance, share_variance(found.level, wanted) / max(found.requests or 1.0, 1.0))
    return variance


def eta_of(goal: Goal, found: MetricMeasured, weight: float) -> float | None:
    """The tuning of the interval that calls a guardrail failed, or shows the primary's effect; None where it is not known.

    It is in the unit of the clock that the interval runs by: that of the difference (of a relative one too), and of a latency
    that of requests below its quantile, which `statistics.quantiles` counts one by one.

    Args:
        weight: of the whole plan, in units.
    """
    if found.unit_variance is None or found.level is None or not (weight > 0 and found.unit_variance >= 0):
        return None
    which = goal.fails or goal.shows
    wanted = goal.wanted * abs(found.level) if goal.relative else goal.wanted
    variance = _of_difference(goal, found, wanted)
    if not (math.isfinite(variance) and variance > 0):
        return None
    if goal.metric.quantile is None:
        return tuning(variance, weight, which).eta
    q, requests = goal.metric.quantile, found.requests or 1.0
    spread = max(1.0, variance * requests / (q * (1 - q)))
    told = quantiles.tuning(q, weight=_TIGHTEST_AT * weight * requests, alpha=which.alpha, spread=spread, sides=which.sides)
    return told.eta
