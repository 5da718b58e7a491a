"""Figures of a predicted number over the outcomes that are known. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from backend.quality import means
from backend.quality.counts import Tally
from backend.quality.figures import LEVEL, NO_OUTCOMES, Figure, NotPossible, Value
from backend.quality.intervals import NORMAL, quantile


def figures(tally: Tally, level: float = LEVEL) -> Mapping[str, Value]:
    """Every figure by name, those that are not possible as the words why."""
    return {
        "mae": means.ABSOLUTE.of(tally, level),
        "rmse": _root(means.SQUARE.of(tally, level)),
        "bias": means.BIAS.of(tally, level),
        "median_error": error_quantile(tally, 0.5, level),
        "error_90": error_quantile(tally, 0.9, level),
    }


def error_quantile(tally: Tally, share: float, level: float) -> Value:
    """The absolute error that a share of the outcomes does not exceed, known to its bin: within 6 %."""
    counted = np.cumsum(tally["labelled"])
    n = int(counted[-1]) if len(counted) else 0
    if not n:
        return NO_OUTCOMES
    reach = quantile(level) * math.sqrt(n * share * (1 - share))
    ranks = np.clip(np.ceil([n * share - reach, n * share, n * share + reach + 1]), 1, n)
    lowest, here, highest = np.searchsorted(counted, ranks)
    low, high = float(tally["low"][here]), float(tally["high"][here])
    span = float(tally["low"][lowest]), float(tally["high"][highest])
    return Figure((low + high) / 2, *span, n, tally.missing, method="order statistics", within=(high - low) / 2)


def _root(mean: Value) -> Value:
    if isinstance(mean, NotPossible):
        return mean
    value, low, high = (math.sqrt(one) for one in (mean.value, mean.low, mean.high))
    return replace(mean, value=value, low=low, high=high, method=f"{NORMAL}, of the mean square")
