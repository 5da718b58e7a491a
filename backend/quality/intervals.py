"""Intervals in closed form, and the control of false discoveries. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Span = tuple[float, float]

NORMAL, WILSON, DELONG, WALD, FOLDED = (
    "normal (moments)",
    "Wilson",
    "DeLong, on the logit",
    "Wald",
    "normal, from either side, less what chance adds below",
)


@lru_cache
def quantile(level: float) -> float:
    """How many standard errors a two-sided interval reaches: 1.96 at 0.95."""
    if not 0 < level < 1:
        raise ValueError("the level of an interval lies between 0 and 1")
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(successes: float, n: float, level: float) -> Span:
    """Wilson's interval of a share; (0, 1) without a trial. Never empty and never outside [0, 1]."""
    if n <= 0:
        return 0.0, 1.0
    z2 = quantile(level) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def standard_error(total: float, squares: float, n: int) -> float:
    """Of a mean, from the sum and the sum of squares; infinite for fewer than two, and where squares are beyond all numbers."""
    if n < 2 or not math.isfinite(squares):
        return math.inf
    return math.sqrt(max(0.0, squares - total * total / n) / (n - 1) / n)


def around(value: float, error: float, level: float, low: float = -math.inf, high: float = math.inf) -> Span:
    """`value` plus and minus its standard errors, kept within what is possible."""
    reach = quantile(level) * error if error else 0.0
    return max(low, value - reach), min(high, value + reach)


def on_logit(value: float, error: float, level: float) -> Span:
    """An interval of something between 0 and 1 that never leaves it; made on the scale of log odds."""
    spread = quantile(level) * error / (value * (1 - value))
    middle = math.log(value / (1 - value))
    return _expit(middle - spread), _expit(middle + spread)


def summed(place: NDArray[np.intp], values: NDArray[Any], count: int) -> Array:
    """The sum of the values at each of so many places."""
    return np.bincount(place, values, count).astype(np.float64)


def two_sided(z: float) -> float:
    """How probable so many standard errors or more are, either way, where nothing is different."""
    return math.erfc(abs(z) / math.sqrt(2))


def discoveries(probabilities: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted probabilities, in the order given: those up to q have a false-discovery rate of q."""
    count = len(probabilities)
    order = sorted(range(count), key=lambda place: probabilities[place], reverse=True)
    adjusted, least = [1.0] * count, 1.0
    for rank, place in zip(range(count, 0, -1), order, strict=True):
        least = min(least, probabilities[place] * count / rank)
        adjusted[place] = least
    return adjusted


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
