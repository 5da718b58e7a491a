"""The same sums from arrays: references that are not in the log (evaluation data), and a second way to every figure. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.quality import counts, grid
from backend.quality.counting import SMALLEST
from backend.quality.counts import Tally
from backend.quality.intervals import Array, summed

Places = NDArray[np.intp]


def probabilities(scores: ArrayLike, outcomes: ArrayLike, threshold: float = 0.5, *, exact: bool = False) -> Tally:
    """Sums over probabilities and their outcomes.

    Args:
        scores: one a request; NaN and whatever lies outside 0 to 1 is counted as unusable.
        outcomes: 0 or 1, NaN where it is not known yet; anything else counts as a wrong one.
        exact: a bin for each score instead of the fixed ones.
    """
    told, became = np.asarray(scores, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if told.shape != became.shape or told.ndim != 1:
        raise ValueError("scores and outcomes are two arrays of one length")
    usable = np.isfinite(told) & (told >= 0) & (told <= 1)
    bins, place = _placed(told[usable], grid.SCORES, exact)
    return Tally(bins, _sums(told[usable], became[usable], threshold, place, len(bins)), _unusable(told, usable))


def numbers(predictions: ArrayLike, outcomes: ArrayLike, *, exact: bool = False) -> Tally:
    """Sums over predicted numbers and what they should have been; an outcome that is NaN is not known yet."""
    told, became = np.asarray(predictions, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    usable = np.isfinite(told)
    score, given = told[usable], became[usable]
    known = np.isfinite(given)
    error = np.where(known, score - np.where(known, given, 0.0), 0.0)
    bins, place = _placed(np.abs(error), grid.ERRORS, exact)
    width = len(bins)
    sums = _states(given, known, place, width)
    of_known = {"error": error, "absolute": np.abs(error), "square": error**2, "square2": error**4}
    sums |= {name: summed(place, values, width) for name, values in of_known.items()}
    sums |= {"score": summed(place, score, width), "outcome": summed(place[known], given[known], width)}
    sums["low"], sums["high"] = _span(np.abs(error)[known], place[known], width)
    sums["lowest"], sums["highest"] = _span(score, place, width)
    return Tally(bins, sums, _unusable(told, usable))


def _sums(score: Array, given: Array, threshold: float, place: Places, width: int) -> dict[str, Array]:
    known, positive = np.isin(given, (0.0, 1.0)), given == 1
    called = score >= threshold
    yes, no = -np.log(np.maximum(score, SMALLEST)), -np.log(np.maximum(1 - score, SMALLEST))
    loss, square = np.where(positive, yes, no), np.where(positive, (1 - score) ** 2, score**2)
    flags = {"positives": positive & known, "called": called, "called_labelled": called & known}
    of_all = {"score": score, "score2": score**2, "log_yes": yes, "log_no": no}
    of_known = {"score_labelled": score, "score2_labelled": score**2, "logit_labelled": no - yes}
    of_known |= {"log_loss": loss, "log_loss2": loss**2, "square": square, "square2": square**2}
    sums = _states(given, known, place, width)
    sums |= {name: summed(place, flag, width) for name, flag in flags.items()}
    sums["called_positives"] = summed(place, called & positive & known, width)
    sums |= {name: summed(place, values, width) for name, values in of_all.items()}
    sums |= {name: summed(place[known], values[known], width) for name, values in of_known.items()}
    sums["low"], sums["high"] = _span(score, place, width)
    return sums


def _states(given: Array, known: NDArray[np.bool_], place: Places, width: int) -> dict[str, Array]:
    pending = np.isnan(given)
    flags = {
        "requests": np.ones(len(given)),
        "pending": pending,
        "valueless": np.zeros(len(given)),
        "wrong": ~known & ~pending,
        "labelled": known,
    }
    return {name: summed(place, flag, width) for name, flag in flags.items()}


def _placed(values: Array, edges: tuple[float, ...], exact: bool) -> tuple[Array, Places]:
    if exact:
        return np.unique(values, return_inverse=True)
    found = np.asarray(edges)[np.searchsorted(edges, values, side="right") - 1]
    return np.unique(found, return_inverse=True)


def _span(values: Array, place: Places, width: int) -> tuple[Array, Array]:
    low, high = np.full(width, np.nan), np.full(width, np.nan)
    np.fmin.at(low, place, values)
    np.fmax.at(high, place, values)
    return low, high


def _unusable(told: Array, usable: NDArray[np.bool_]) -> dict[int, int]:
    finite = np.isfinite(told)
    found = {counts.OUTSIDE: int((finite & ~usable).sum()), counts.NOT_FINITE: int((~finite).sum())}
    return {code: count for code, count in found.items() if count}
