"""AUC by ranks: exact where each score is a bin of its own, bounded where scores share one. Pure.

The variance is DeLong's (DeLong, DeLong and Clarke-Pearson 1988), from placements, which need no pairs: Sun and Xu 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backend.quality.counts import Tally
from backend.quality.figures import NO_OUTCOMES, ONE_CLASS, Figure, Value
from backend.quality.intervals import DELONG, WILSON, Array, Span, on_logit, wilson


@dataclass(frozen=True, slots=True)
class Ranking:
    """The area under the ROC curve, its standard error, and how far the exact area may be away because of bins."""

    auc: float
    error: float
    within: float


def auc(positives: Array, negatives: Array) -> Array:
    """Share of (positive, negative) pairs in the right order, a tie counting half; NaN where there is no pair.

    Args:
        positives, negatives: by bin (the last axis), the lowest score first. Fractions are expected numbers of outcomes.
    """
    pairs = positives.sum(-1) * negatives.sum(-1)
    below = np.cumsum(negatives, -1) - negatives
    ordered = (positives * (below + negatives / 2)).sum(-1)
    return np.asarray(np.divide(ordered, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0), dtype=np.float64)


def ranking(tally: Tally) -> Ranking | None:
    """The area over the known outcomes; None without outcomes of both kinds."""
    positives = tally["positives"]
    negatives = tally["labelled"] - positives
    ones, zeros = float(positives.sum()), float(negatives.sum())
    if not ones or not zeros:
        return None
    value = float(auc(positives, negatives))
    return Ranking(value, _error(positives, negatives, value), bound(tally, positives, negatives))


def bound(tally: Tally, positives: Array, negatives: Array) -> float:
    """How far the exact area may lie from that of the bins: half the share of pairs that share a bin of different scores."""
    shared = tally["low"] < tally["high"]
    pairs = float(positives.sum()) * float(negatives.sum())
    return float(np.dot(positives[shared], negatives[shared])) / 2 / pairs if pairs else 0.0


def auc_figure(tally: Tally, level: float) -> Value:
    """The area as a figure."""
    if not tally.count("labelled"):
        return NO_OUTCOMES
    found = ranking(tally)
    if found is None:
        return ONE_CLASS
    (low, high), method = _span(tally, found, level)
    low, high = max(0.0, low - found.within), min(1.0, high + found.within)
    return Figure(found.auc, low, high, tally.count("labelled"), tally.missing, method=method, within=found.within)


def _error(positives: Array, negatives: Array, value: float) -> float:
    ones, zeros = float(positives.sum()), float(negatives.sum())
    of_ones = (np.cumsum(negatives) - negatives / 2) / zeros
    of_zeros = (ones - np.cumsum(positives) + positives / 2) / ones
    return math.sqrt(_variance(positives, of_ones, value) + _variance(negatives, of_zeros, value))


def _variance(counts: Array, placements: Array, value: float) -> float:
    """Of the mean of placements; from a single one nothing is known, so it counts as the widest there is."""
    n = float(counts.sum())
    return float(np.dot(counts, (placements - value) ** 2)) / (n - 1) / n if n > 1 else 0.25


def _span(tally: Tally, found: Ranking, level: float) -> tuple[Span, str]:
    if 0 < found.auc < 1 and found.error > 0:
        return on_logit(found.auc, found.error, level), DELONG
    # DeLong's variance is 0 where every pair is in order, whatever the number of pairs: the rarer outcome bounds what is known.
    fewer = min(tally.total("positives"), tally.total("labelled") - tally.total("positives"))
    return wilson(found.auc * fewer, fewer, level), f"{WILSON}, on the rarer outcome"
