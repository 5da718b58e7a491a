"""How many units a test needs, how long that takes, and what it cannot see. A test or ramp that cannot see what matters is
blind, and refused.

Everything is in weights: a step in which n units split into shares a and b of treatment and control gives n a b / (a + b) of
weight, and an estimate has the standard error sqrt(unit variance / weight), whatever the split was in which step. With the
bound c at the end of the plan, a test that is looked at once detects a difference d with the power wanted when d = (c + z)
sqrt(unit variance / weight). Of tests that stop as soon as they may, the drift that reaches the power is found by the recursion
of `spending`, over fifty looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from backend.experiments.statistics.estimates import estimate
from backend.experiments.statistics.moments import Moments
from backend.experiments.statistics.sequences import FEWEST_UNITS, Sides, Tuning, bound, planned
from backend.experiments.statistics.spending import Look, Plan, bounds, crossings

Design = Literal["fixed", "sequence", "obrien_fleming", "pocock"]
POWER = 0.8
LOOKS = 50
DAYS_OF_A_WEEK = 7


@dataclass(frozen=True)
class Asked:
    """What a test shall be able to do.

    Args:
        alpha, power, sides: of the comparison; a guardrail is one-sided, with its part of the budget.
        design: `sequence` holds at every look for ever; `obrien_fleming` and `pocock` up to a fixed sample; `fixed` at one
            look.
    """

    alpha: float = 0.05
    power: float = POWER
    sides: Sides = "two"
    design: Design = "sequence"


@dataclass(frozen=True)
class Step:
    """Some units under one split; shares are of all units of the endpoint (an arm that is not compared has the rest)."""

    units: float
    treatment: float
    control: float

    @property
    def weight(self) -> float:
        """What the step adds to the weight."""
        both = self.treatment + self.control
        return self.units * self.treatment * self.control / both if both > 0 else 0.0


@dataclass(frozen=True)
class Traffic:
    """How many units were seen for the first time up to the end of each day, as measured: units return, so that this bends.

    Beyond what was measured, each further day brings what the last ones brought on average, or less than that where fewer came
    each day.
    """

    distinct: tuple[float, ...]

    def by(self, days: float) -> float:
        """Distinct units after so many days."""
        known = np.concatenate([[0.0], np.asarray(self.distinct, dtype=np.float64)])
        if days <= len(self.distinct):
            return float(np.interp(days, np.arange(len(known)), known))
        return float(known[-1]) + (days - len(self.distinct)) * self.lately

    @property
    def lately(self) -> float:
        """New units a day at the end of what was measured, over up to a week of it."""
        if not self.distinct:
            return 0.0
        back = max(len(self.distinct) // 2, len(self.distinct) - DAYS_OF_A_WEEK)
        before = self.distinct[back - 1] if back else 0.0
        return (self.distinct[-1] - before) / (len(self.distinct) - back)

    def days_for(self, units: float) -> float:
        """Days until so many distinct units were there; infinite where they never will."""
        known = (0.0, *self.distinct)
        for day in range(1, len(known)):
            if known[day] >= units:
                return day - 1 + (units - known[day - 1]) / max(known[day] - known[day - 1], 1e-300)
        return len(self.distinct) + (units - known[-1]) / self.lately if self.lately > 0 else math.inf


@dataclass(frozen=True)
class Planned:
    """What a plan comes to.

    Args:
        units: of the endpoint, all arms together.
        days: until the last unit that is needed is exposed and mature, in whole weeks where that is asked for; infinite if
            never.
        detectable: the smallest difference that is found with the power wanted, and (of a guardrail) the smallest harm that
            cannot hide.
        expected_units: where the difference is that large, on average until it is found; less than `units` where one may stop
            early.
        weight: of the whole plan: what tunings and group-sequential plans are made of.
    """

    units: float
    days: float
    detectable: float
    expected_units: float
    weight: float

    def to_json(self) -> dict[str, Any]:
        """JSON-able; what never ends is None."""
        return {name: one if math.isfinite(one) else None for name, one in vars(self).items()}


@dataclass(frozen=True)
class Blind:
    """A refusal with its figure: what the plan could not see, and what would help."""

    words: str
    detectable: float
    wanted: float
    units_needed: float
    days_needed: float


def unit_variance(before: Moments, *, ratio: bool = False, adjusted: bool = False) -> float:
    """The variance of one unit (of a ratio: of its residual; adjusted: of what the covariate leaves), from units of before, in
    one cell.

    Two arms that are like these units are compared; NaN where there are fewer than two.
    """
    if before.shape or float(before.n) < 2:
        return math.nan
    cell = before.cell(None)
    found = estimate(cell, cell, ratio=ratio, adjusted=adjusted)
    return float(found.variance * found.weight)


def share_variance(share: float, difference: float = 0.0) -> float:
    """The variance of a unit's 0 or 1, over two arms of which one lies `difference` above the share. A share of 0 still varies
    by it."""
    other = min(max(share + difference, 0.0), 1.0)
    return (share * (1 - share) + other * (1 - other)) / 2


def reduced(variance: float, correlation: float) -> float:
    """A variance with a covariate that correlates so with the value: CUPED leaves 1 - correlation^2 of it."""
    return variance * (1 - correlation**2)


def inflation(asked: Asked) -> tuple[float, float]:
    """A design's weight and expected weight, both in units of what a fixed sample needs for the same difference, alpha and
    power."""
    drift, early = _drift(asked)
    base = _fixed_drift(asked) ** 2
    return drift**2 / base, drift**2 / base * early


def weight_needed(variance: float, difference: float, asked: Asked) -> float:
    """The weight that finds a difference with the power wanted."""
    return (_drift(asked)[0] / abs(difference)) ** 2 * variance if difference else math.inf


def detectable(variance: float, weight: float, asked: Asked) -> float:
    """The smallest difference that so much weight finds with the power wanted."""
    return _drift(asked)[0] * math.sqrt(variance / weight) if weight > 0 else math.inf


def tuning(variance: float, weight: float, asked: Asked) -> Tuning:
    """The tuning to keep with the plan: tightest at two thirds of it, since that is about where what is to be found is
    found."""
    return planned(weight=_TIGHTEST_AT * weight, unit_variance=variance, alpha=asked.alpha, sides=asked.sides)


def plan_test(
    variance: float,
    difference: float,
    traffic: Traffic,
    *,
    treatment: float,
    control: float,
    asked: Asked,
    maturity: float = 0.0,
    whole_weeks: bool = True,
) -> Planned:
    """How large and long a test with one split has to be.

    Args:
        difference: the smallest that matters, in the metric's unit.
        treatment, control: their shares of the endpoint's units.
        maturity: days until a unit's outcome is mature.
        whole_weeks: weekdays differ, so that a test should see each as often as another.
    """
    each = Step(1.0, treatment, control).weight
    weight = weight_needed(variance, difference, asked)
    least = FEWEST_UNITS / min(treatment, control) if min(treatment, control) > 0 else math.inf
    units = max(math.ceil(weight / each) if each > 0 and math.isfinite(weight) else math.inf, least)
    days = traffic.days_for(units)
    if whole_weeks and math.isfinite(days):
        days = DAYS_OF_A_WEEK * math.ceil(days / DAYS_OF_A_WEEK - 1e-9)
    early = inflation(asked)
    return Planned(units, days + maturity, abs(difference), max(units * early[1] / early[0], least), units * each)


def plan_ramp(
    variance: float, steps: Sequence[Step], traffic: Traffic, *, asked: Asked, maturity: float = 0.0
) -> list[Planned]:
    """What each step of a ramp can see by its end, with everything before it."""
    found, units, weight = list[Planned](), 0.0, 0.0
    early = inflation(asked)
    for one in steps:
        units, weight = units + one.units, weight + one.weight
        expected = units * early[1] / early[0]
        found.append(Planned(units, traffic.days_for(units) + maturity, detectable(variance, weight, asked), expected, weight))
    return found


def refusal(
    plan: Planned, wanted: float, variance: float, traffic: Traffic, *, asked: Asked, most_days: float, what: str
) -> Blind | None:
    """Why a test or ramp is blind to what matters, or None where it is not.

    Args:
        plan: the test's, or of the last step of a ramp before everybody gets the new version.
        wanted: the smallest effect that matters, or the margin of a guardrail: it passes only if harm that large would have
            shown.
        most_days: how long it may take.
        what: the metric, in words.
    """
    seen = math.isfinite(plan.detectable) and plan.detectable <= wanted * (1 + 1e-9)
    if math.isfinite(variance) and wanted > 0 and seen and plan.days <= most_days:
        return None
    each = plan.weight / plan.units if plan.units > 0 and plan.weight > 0 and math.isfinite(plan.units) else 0.0
    units = weight_needed(variance, wanted, asked) / each if each and wanted > 0 else math.inf
    days = traffic.days_for(units)
    return Blind(_words(plan, wanted, variance, units, days, most_days, what), plan.detectable, wanted, units, days)


def _words(plan: Planned, wanted: float, variance: float, units: float, days: float, most_days: float, what: str) -> str:
    if not wanted > 0:
        return f"A margin of 0 for {what} can never be met by a version as good as the champion: say how much is tolerated."
    if not math.isfinite(variance):
        return f"How much {what} varies is not known: let the champion be measured first."
    need = f"{units:,.0f} units are needed" if math.isfinite(units) else "no number of units is enough with these shares"
    last = f", which takes {days:,.1f} days at the measured traffic" if math.isfinite(days) else ", which traffic never brings"
    if plan.detectable <= wanted * (1 + 1e-9):
        head, need = f"To see a difference of {what} of {wanted:.4g}, ", f"{need}{last}; at most {most_days:g} days are planned"
    else:
        head = f"By its end this plan sees differences of {what} from {plan.detectable:.4g} on, and {wanted:.4g} matters: "
        need += last
    return f"{head}{need}. Give the arms larger shares, more time, or a metric that varies less."


_TIGHTEST_AT = 2 / 3


def _fixed_drift(asked: Asked) -> float:
    from scipy.special import ndtri

    return float(-ndtri(asked.alpha / (2 if asked.sides == "two" else 1)) + ndtri(asked.power))


@lru_cache(maxsize=256)
def _drift(asked: Asked) -> tuple[float, float]:
    """The difference over its standard error at the end of the plan that reaches the power, and the part of the plan used on
    average."""
    if asked.design == "fixed":
        return _fixed_drift(asked), 1.0
    times = [(place + 1) / LOOKS for place in range(LOOKS)]
    limits = _limits(asked, times)
    low, high = _fixed_drift(asked) * 0.9, _fixed_drift(asked) * 3
    for _ in range(24):
        middle = (low + high) / 2
        reached = crossings(times, limits, drift=middle, sides=asked.sides)[0].sum()
        low, high = (middle, high) if reached < asked.power else (low, middle)
    up, down = crossings(times, limits, drift=high, sides=asked.sides)
    stopped = up + down
    return high, float(stopped @ np.asarray(times) + (1 - stopped.sum()))


def _limits(asked: Asked, times: Sequence[float]) -> Sequence[float]:
    if asked.design in ("obrien_fleming", "pocock"):
        shape: Literal["obrien_fleming", "pocock"] = "pocock" if asked.design == "pocock" else "obrien_fleming"
        return bounds(tuple(Look(one, one) for one in times), Plan(asked.alpha, 1.0, shape, asked.sides))
    tuned = planned(weight=_TIGHTEST_AT, unit_variance=1.0, alpha=asked.alpha, sides=asked.sides)
    return [float(one) for one in bound(np.asarray(times), tuned, asked.alpha, asked.sides)]
