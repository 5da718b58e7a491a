"""Differences within pairs: two answers to the same request, so that what requests differ in drops out.

A mean of differences is a mean of one sample, so that there is one arm and no split. One value a unit: where a unit has
several pairs, its differences are summed up first, v, over the number of its pairs, d, and the mean over all pairs R = sum v /
sum d has the variance of the mean of

    R + (v - R d) / mean d

over units: the delta method of a ratio (Deng, Knoblich and Lu 2018). `linear_sql` gives those values, whose own mean is R, and
whose skewness is that of the ratio, so that all guards of `sequences` count.

The interval is the asymptotic confidence sequence of one sample (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021, theorem
2.2): as in `sequences`, with the number of units, in which their mixing parameter stands, as the clock. It is tightest at
`PLANNED` units, a number that was fixed before anything was seen: nobody plans how long a shadow runs.
"""

from __future__ import annotations

import numpy as np

from backend.experiments.statistics.estimates import Estimate
from backend.experiments.statistics.moments import Floats, Moments
from backend.experiments.statistics.sequences import FEWEST_UNITS, MOST_SKEWED, Interval, Tuning, bound, tightest, widened

PLANNED = 2_000.0
"""Units at which an interval is tightest. At 100 units it is 59 % wider than one that is planned for those, at 200,000 17 %."""
_ROUNDING = 1e-12
"""Of the mean: values that differ by less are the same value."""


def estimate(units: Moments) -> Estimate:
    """The mean of one value a unit; all fields are of the shape of the moments, NaN where there are less than two units."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n = np.where(units.n >= 2, units.n, np.nan)
        variance = units.vv / (n - 1)
        variance = np.where(variance > (_ROUNDING * units.value) ** 2, variance, 0 * n)
        skewness = np.where(variance > 0, units.vvv / n / variance**1.5 / np.sqrt(n), 0.0)
    nothing, mean = np.zeros_like(n), units.value + 0 * n
    return Estimate(
        control=nothing,
        treatment=mean,
        difference=mean,
        variance=np.asarray(variance / n),
        base_variance=nothing,
        covariance=nothing,
        weight=n,
        n_control=units.n,
        n_treatment=units.n,
        left_out=np.where(units.n >= 2, 0.0, units.n),
        waiting=units.waiting,
        freedom=n - 1,
        skewness=np.asarray(skewness),
        theta=nothing,
    )


def interval(found: Estimate, alpha: float, *, planned: float = PLANNED) -> Interval:
    """Of the mean, at every look at once; both ends are infinite where units have shown nothing of what varies."""
    wide = widened(bound(_units(found), Tuning(planned / tightest(alpha)), alpha), found.freedom) * found.error
    wide = np.where(found.variance > 0, wide, np.inf)
    return Interval(found.difference - wide, found.difference + wide)


def missing_words(found: Estimate) -> str:
    """Why the interval of one mean does not count yet, for a person; "" where it does."""
    n = float(found.n_treatment)
    if n < FEWEST_UNITS:
        return f"there are {n:,.0f} of the {FEWEST_UNITS:,} units that an interval needs"
    if not float(found.variance) > 0:
        return "all units have the same value, which says nothing of how much they vary"
    if abs(skew := float(found.skewness)) > MOST_SKEWED:
        return f"a few large values decide; it needs about {n * (skew / MOST_SKEWED) ** 2:,.0f} units"
    return ""


def linear_sql(source: str, column: str) -> str:
    """A SELECT of one row a unit, for `moments.sql`: its linear value, whose mean is that of the column over all rows.

    Args:
        source: a table with `who`, the unit of each row, and the column, NULL where a row has none.
        column: as it stands in a statement.
    """
    return (
        f"WITH units AS (SELECT sum({column}) AS v, CAST(count({column}) AS DOUBLE) AS d FROM {source} "  # noqa: S608 - ours
        f"WHERE {column} IS NOT NULL GROUP BY who), "
        "whole AS (SELECT sum(v) / sum(d) AS r, avg(d) AS e FROM units) "
        "SELECT r + (v - r * d) / e AS value, true AS mature FROM units, whole"
    )


def _units(found: Estimate) -> Floats:
    return np.asarray(found.weight)
