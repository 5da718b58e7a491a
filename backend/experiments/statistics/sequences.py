"""Intervals that hold at every look at once: one may look all day and stop whenever one likes.

Under no effect the sum behind an estimate (`Estimate.weight` times its difference) behaves like Brownian motion at the time V
(`Estimate.clock`). Mixing its likelihood ratios over a normal distribution of effects with variance 1 / eta gives a martingale,
and so, with x = V / eta, a bound in standard errors that it ever passes with chance alpha at most:

| sides | bound in standard errors |
|---|---|
| two | sqrt((1 + 1/x) ln((1 + x) / alpha^2)) |
| one | sqrt((1 + 1/x) 2 ln(1/2 + sqrt(1 + x) / (2 alpha))) |

The first is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021; Annals of Statistics
2024). The second mixes over the positive half: the martingale is 2 exp(u^2 / 2) Phi(u) / sqrt(1 + x), and Phi(u) >= 1 -
exp(-u^2 / 2) / 2 for u >= 0. Eta says where the interval is tight, not whether it holds, provided that it was fixed before:
`Tuning` is made when the experiment is planned.

Both are asymptotic: they hold from when means are normal (Bibaut, Kallus and Lindon 2022: from a burn-in on). `settled` says
from when they count here. Besides, standard errors are made of few units: the bound is widened as Student's distribution is
against the normal one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from backend.experiments.statistics.estimates import Estimate
from backend.experiments.statistics.moments import Bools, Floats

Sides = Literal["one", "two"]
FEWEST_UNITS = 100
"""Units of either arm from which an asymptotic interval counts (measured: docs/experiments.md)."""
MOST_SKEWED = 0.2
"""Skewness of a difference up to which it passes for normal. Kohavi, Deng, Longbotham and Xu (2014) ask for 355 skewness^2
units in a mean, which is 0.053, for 5 % errors that are right to a tenth; ours only may not be larger than nominal, and start
well below it."""


class Interval(NamedTuple):
    """Lower and upper end; an end is infinite where nothing bounds it."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Tuning:
    """At which time of the clock intervals are tightest, fixed before anything is seen. It is kept with the plan.

    Args:
        eta: in the clock's unit, the square of the metric's.
    """

    eta: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eta) and self.eta > 0):
            raise ValueError("A tuning needs a finite number above 0: the planned variance is not known, or 0.")

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {"eta": self.eta}


def planned(*, weight: float, unit_variance: float, alpha: float, sides: Sides = "two") -> Tuning:
    """Tightest at a planned sample.

    Args:
        weight: the planned sum of `n1 n0 / (n1 + n0)` over steps; a quarter of all units where arms are equal.
        unit_variance: of one unit's value, or of a ratio's or adjusted residual, as measured beforehand (`planning`).
        alpha: of the interval. With less than it an interval is tightest a little later; it holds all the same.
    """
    return Tuning(weight * unit_variance / tightest(alpha, sides))


def tightest(alpha: float, sides: Sides = "two") -> float:
    """V / eta at which the interval is tightest: where the bound times 1 / sqrt(V) is smallest over eta."""
    level = alpha if sides == "two" else 2 * alpha  # halves of a two-sided bound: within 2 % of the one-sided optimum
    found = -2 * math.log(level) + math.log(1 - 2 * math.log(level))
    for _ in range(20):  # x = -2 ln alpha + ln(1 + x), by repetition
        found = -2 * math.log(level) + math.log1p(found)
    return found


def bound(clock: Floats, tuning: Tuning, alpha: float | Floats, sides: Sides = "two") -> Floats:
    """In standard errors; infinite at the clock's beginning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.asarray(clock, dtype=np.float64) / tuning.eta
        if sides == "two":
            logarithm = np.log1p(x) - 2 * np.log(alpha)
        else:
            logarithm = 2 * np.log(0.5 + np.sqrt(1 + x) / (2 * np.asarray(alpha)))
        return np.asarray(np.where(x > 0, np.sqrt((1 + 1 / x) * logarithm), np.inf))


def widened(bound: Floats, freedom: Floats) -> Floats:
    """A bound of normal errors as one of Student's with the same tail (Abramowitz and Stegun 26.7.5; within 1 % from 15 degrees
    on)."""
    c, nu = bound, np.maximum(freedom, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        found = c + (c**3 + c) / (4 * nu) + (5 * c**5 + 16 * c**3 + 3 * c) / (96 * nu**2)
        return np.asarray(np.where(np.isfinite(c), found, np.inf))


def interval(found: Estimate, tuning: Tuning, alpha: float, sides: Sides = "two") -> Interval:
    """Of the difference. With one side, each end by itself holds with chance 1 - alpha, and both do with 1 - 2 alpha."""
    with np.errstate(invalid="ignore"):
        wide = widened(bound(found.clock, tuning, alpha, sides), found.freedom) * found.error
    wide = np.where(found.variance > 0, wide, np.inf)  # arms without any variance have shown nothing of what varies
    return Interval(found.difference - wide, found.difference + wide)


def relative(found: Estimate, tuning: Tuning, alpha: float, sides: Sides = "two") -> Interval:
    """Of the difference over the control's mean: those r for which `treatment - (1 + r) control` may be 0.

    That is an average for each r, so that the interval holds as that of the difference does and says the same of 0. Where the
    control's own mean is not clearly above 0, nothing bounds the share of it, and both ends are infinite.
    """
    low, high = found.relative, found.relative
    for _ in range(_ROUNDS):
        low, high = (_fieller(found, _bound_at(found, r, tuning, alpha, sides), place) for place, r in enumerate((low, high)))
    sound = (found.control > 0) & np.isfinite(low) & np.isfinite(high) & (found.variance > 0)
    return Interval(np.where(sound, low, -np.inf), np.where(sound, high, np.inf))


_ROUNDS = 6
"""How often the bound is made anew at the ends that it gave; it hardly moves after three."""


def _bound_at(found: Estimate, r: Floats, tuning: Tuning, alpha: float, sides: Sides) -> Floats:
    with np.errstate(invalid="ignore", over="ignore"):
        variance = found.variance - 2 * r * found.covariance + r * r * found.base_variance
        return widened(bound(found.weight**2 * np.maximum(variance, 0.0), tuning, alpha, sides), found.freedom)


def _fieller(found: Estimate, c: Floats, place: int) -> Floats:
    """The lower or upper root r of (difference - r control)^2 = c^2 var(difference - r control)."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        c2 = c * c
        a = found.control**2 - c2 * found.base_variance
        b = found.difference * found.control - c2 * found.covariance
        rest = found.difference**2 - c2 * found.variance
        root = np.sqrt(np.maximum(b * b - a * rest, 0.0))
        return np.asarray(np.where(a > 0, (b + (root if place else -root)) / a, np.nan))


def chance(found: Estimate, tuning: Tuning, sides: Sides = "two", *, above: float = 0.0) -> Floats:
    """The always-valid p-value: the smallest alpha whose interval leaves out `above`; with one side, of being no larger than
    it.

    It may be used at any moment of stopping, by Holm too. 1 where nothing can be said.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (found.difference - above) / found.error
        narrow = _narrowed(np.where(found.variance > 0, z, 0.0), found.freedom)
        x = found.clock / tuning.eta
        u2 = narrow**2 * x / (1 + x)
        if sides == "two":
            p = np.sqrt(1 + x) * np.exp(-u2 / 2)
        else:
            p = np.where(narrow > 0, np.sqrt(1 + x) / (2 * np.exp(np.minimum(u2, 1400.0) / 2) - 1), 1.0)
    return np.asarray(np.where(np.isfinite(p), np.minimum(p, 1.0), 1.0))


def _narrowed(z: Floats, freedom: Floats) -> Floats:
    """The inverse of `widened`, by bisection: it rises with the bound."""
    low, high = np.zeros_like(z), np.abs(z)
    for _ in range(60):
        middle = (low + high) / 2
        over = widened(middle, freedom) > np.abs(z)
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return np.asarray(np.sign(z) * low)


def fixed(found: Estimate, alpha: float, sides: Sides = "two") -> Interval:
    """The usual interval (Welch's), which holds at one look that was fixed before, and at no other."""
    from scipy.special import stdtrit  # a third of a second: only where one is made

    c = -stdtrit(np.maximum(found.freedom, 1.0), alpha / (2 if sides == "two" else 1))
    wide = np.where(found.variance > 0, c * found.error, np.inf)
    return Interval(found.difference - wide, found.difference + wide)


def settled(found: Estimate, *, fewest: int = FEWEST_UNITS, most_skewed: float = MOST_SKEWED) -> Bools:
    """Whether there are enough units for an asymptotic interval to count."""
    enough = np.minimum(found.n_control, found.n_treatment) >= fewest
    even = np.isnan(found.skewness) | (np.abs(found.skewness) <= most_skewed)
    return np.asarray(enough & even & (found.variance > 0))


def missing_words(found: Estimate, *, fewest: int = FEWEST_UNITS, most_skewed: float = MOST_SKEWED) -> str:
    """Why an asymptotic interval of one comparison does not count yet, for a person; "" where it does."""
    least = float(np.minimum(found.n_control, found.n_treatment))
    if least < fewest:
        return f"the smaller arm has {least:,.0f} of the {fewest:,} units that an interval needs"
    if not float(found.variance) > 0:
        return "all units have the same value, which says nothing of how much they vary"
    if abs(skew := float(found.skewness)) > most_skewed:
        more = math.ceil(least * ((skew / most_skewed) ** 2))
        return f"a few large values decide; the smaller arm needs about {more:,} units, or a cap on the values"
    return ""
