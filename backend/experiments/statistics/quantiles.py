"""Quantiles of arms, such as the latency that 95 % of requests stay below, from counts in bins.

Counts by bin add up as moments do. The cumulated share F of an arm is the weighted mean over steps, with the same weights for
both arms, so that a changing split is no effect. An arm's quantile lies, for a bound c, between where F + c e and F - c e reach
q, e being the error of a share (Woodruff 1952); two arms' intervals become one of the difference by their squared lengths
(MOVER, Zou and Donner 2008). Ends are moved out to the edges of their bins: whatever values a bin holds, the interval contains
what they say.

Requests of one unit are alike. `spread` says by how much more the share of requests above a threshold varies than independent
requests would (`design_effect`); without it an interval of requests is too narrow. A share of requests above a threshold that
was fixed before, as a ratio by unit, needs none of this and is the better guardrail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from backend.experiments.statistics.moments import Floats, Moments
from backend.experiments.statistics.sequences import FEWEST_UNITS, Interval, Sides, Tuning, bound, planned

FEWEST_BEYOND = 20.0
"""Values that have to lie beyond a quantile on its rarer side, in either arm."""


@dataclass(frozen=True, eq=False)
class Bins:
    """Counts of one arm.

    Args:
        edges: rising, one fewer than there are bins: the first bin lies below the first edge, the last at or above the last
            one.
        counts: (steps, bins).
    """

    edges: Floats
    counts: Floats

    def __add__(self, other: Bins) -> Bins:
        if not np.array_equal(self.edges, other.edges):
            raise ValueError("Counts add up only in the same bins.")
        return Bins(self.edges, self.counts + other.counts)

    @property
    def n(self) -> Floats:
        """Values by step."""
        return np.asarray(self.counts.sum(-1))


def latency_edges(low: float = 0.0005, high: float = 120.0, *, step: float = 0.02) -> Floats:
    """Edges that rise by 2 % each, in seconds: a quantile is known to that."""
    return np.asarray(low * (1 + step) ** np.arange(int(np.ceil(np.log(high / low) / np.log1p(step))) + 1))


def counted(values: Floats, edges: Floats) -> Bins:
    """One step's values in bins."""
    return Bins(
        edges, np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)[None].astype(np.float64)
    )


class Quantiles(NamedTuple):
    """Two arms' quantiles; the interval is of treatment less control, infinite where counts do not bound it."""

    control: float
    treatment: float
    difference: float
    interval: Interval
    enough: bool


def tuning(q: float, *, weight: float, alpha: float, spread: float = 1.0, sides: Sides = "two") -> Tuning:
    """As `sequences.planned`: the variance of being below one's quantile is known beforehand."""
    return planned(weight=weight, unit_variance=q * (1 - q) * spread, alpha=alpha, sides=sides)


def compare(
    control: Bins, treatment: Bins, q: float, tuned: Tuning, alpha: float, *, sides: Sides = "two", spread: float = 1.0
) -> Quantiles:
    """Compares quantile q of two arms; holds at every look, as the tuned bound does."""
    kept = (control.n > 0) & (treatment.n > 0)
    n0, n1 = control.n[kept], treatment.n[kept]
    w = n1 * n0 / (n1 + n0)
    if not w.sum() or not 0 < q < 1:
        return Quantiles(np.nan, np.nan, np.nan, Interval(np.asarray(-np.inf), np.asarray(np.inf)), enough=False)
    share = w / w.sum()
    errors = [float(np.sqrt(spread * q * (1 - q) * (share**2 / n).sum())) for n in (n0, n1)]
    c = float(bound(np.asarray(w.sum() ** 2 * (errors[0] ** 2 + errors[1] ** 2)), tuned, alpha, sides))
    (low0, at0, high0), (low1, at1, high1) = (
        _quantile(arm.edges, share @ (arm.counts[kept].cumsum(-1) / n[:, None]), q, c * e)
        for arm, n, e in zip((control, treatment), (n0, n1), errors, strict=True)
    )
    low = at1 - at0 - np.hypot(at1 - low1, high0 - at0)
    high = at1 - at0 + np.hypot(high1 - at1, at0 - low0)
    beyond = min(n0.sum(), n1.sum()) * min(q, 1 - q) / spread
    enough = bool(beyond >= FEWEST_BEYOND and min(n0.sum(), n1.sum()) >= FEWEST_UNITS and np.isfinite(high - low))
    return Quantiles(at0, at1, at1 - at0, Interval(np.asarray(low), np.asarray(high)), enough)


def _quantile(edges: Floats, below: Floats, q: float, wide: float) -> tuple[float, float, float]:
    """Lower end, best guess and upper end; `below` is the share up to each bin's upper edge."""
    lower, upper = np.concatenate([[-np.inf], edges]), np.concatenate([edges, [np.inf]])

    def bin_of(level: float) -> int:
        return int(np.searchsorted(below, level - 1e-12, side="left"))

    low = lower[bin_of(q - wide)] if q - wide > 0 else -np.inf
    high = upper[bin_of(q + wide)] if q + wide < 1 else np.inf
    place = min(bin_of(q), len(below) - 1)
    start, end = lower[place], upper[place]
    if not np.isfinite(start) or not np.isfinite(end):
        return float(low), float(end if np.isfinite(end) else start), float(high)
    before = below[place - 1]
    return float(low), float(start + (end - start) * (q - before) / max(below[place] - before, 1e-300)), float(high)


def design_effect(above: Moments) -> float:
    """By how much more the share of requests above a threshold varies, of units with several, than of independent ones; 1 at
    least.

    Args:
        above: one cell, by unit: `value` its requests above the threshold, `denominator` all its requests.
    """
    n, share, each = float(above.n), float(above.value / above.denominator), float(above.denominator)
    if n < 2 or not 0 < share < 1:
        return 1.0
    own = float(above.vv - 2 * share * above.vd + share**2 * above.dd) / (n - 1) / each**2 / n
    return max(1.0, own / (share * (1 - share) / (n * each)))
