"""Whether a probability of 0.3 comes true three times in ten. Pure.

Expected calibration error over fixed bands, and debiased: Kumar, Liang and Ma 2019, "Verified Uncertainty Calibration" (what
noise alone adds to a distance is taken off, by a normal approximation). Distances only grow by noise, so that no interval
around the error seen, nor a bootstrap of it, holds the true one as often as it says: see `_span`. Intercept and slope: Van
Calster and others 2019, "Calibration: the Achilles heel of predictive analytics".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.quality import grid
from backend.quality.counts import Tally
from backend.quality.figures import NO_OUTCOMES, ONE_CLASS, Figure, NotPossible, Value
from backend.quality.intervals import FOLDED, WALD, WILSON, Array, Span, around, quantile, summed, wilson

_BUMP, _FAR = 0.7, 40.0
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(31)
_STEPS, _HALVINGS = 100, 20
_EXACT = 1e-10
_FLATTEST, _FLAT = 1e-8, 1e15
_STEEPEST = 1e4
SEPARATED = NotPossible(
    "separated", "The predictions separate the known outcomes perfectly, so that no finite slope fits; wait for more outcomes."
)
ONE_SCORE = NotPossible("one-score", "A slope needs predictions of at least two values with known outcomes.")


@dataclass(frozen=True, slots=True)
class Band:
    """One point of the reliability curve.

    Args:
        low, high: the band of scores; `high` is outside, but for 1.
        predicted: the mean score of the requests with a known outcome.
        observed: the share of these that came true, with Wilson's interval.
    """

    low: float
    high: float
    predicted: float
    observed: Figure


@dataclass(frozen=True)
class Bands:
    """The reliability curve as counts, one entry a band that has outcomes.

    Args:
        place: of the band among all.
        n, positives, missing: outcomes, those that came true, requests without one.
        score: the sum of the scores.
        noise: the variance of the positives if the scores are right.
    """

    place: NDArray[np.intp]
    n: Array
    positives: Array
    score: Array
    noise: Array
    missing: Array

    @classmethod
    def of(cls, tally: Tally) -> Bands:
        """The tally's bins put together into bands. No bin of the grid crosses a band."""
        place = np.searchsorted(grid.BANDS, tally["low"], side="right") - 1
        names = ("labelled", "positives", "score_labelled", "score2_labelled", "pending")
        n, ones, score, score2, missing = (summed(place, tally[name], len(grid.BANDS)) for name in names)
        used = np.flatnonzero(n)
        return cls(used, n[used], ones[used], score[used], np.maximum(score - score2, 0.0)[used], missing[used])


def reliability(tally: Tally, level: float) -> tuple[Band, ...]:
    """The curve's points, from the lowest band to the highest, bands without a known outcome left out."""
    bands, edges = Bands.of(tally), (*grid.BANDS, 1.0)
    return tuple(_band(bands, row, (edges[place], edges[place + 1]), level) for row, place in enumerate(bands.place.tolist()))


def calibration_error(tally: Tally, level: float, *, debiased: bool = False) -> Value:
    """The mean distance between what was predicted and what came true, band by band, weighted by outcomes.

    A perfectly calibrated model shows more than 0 by chance alone (`by_chance`); the debiased form takes that off.
    """
    bands = Bands.of(tally)
    n = int(bands.n.sum())
    if not n:
        return NO_OUTCOMES
    value = _debiased(bands) if debiased else _distance(bands)
    low, high = _span(bands, level)
    return Figure(value, min(value, low), max(value, high), n, tally.missing, method=FOLDED)


def by_chance(tally: Tally) -> float:
    """The calibration error that a perfectly calibrated model would show with these scores and so many outcomes; about."""
    bands = Bands.of(tally)
    n = float(bands.n.sum())
    return float(np.sqrt(bands.noise * 2 / math.pi).sum() / n) if n else math.nan


def intercept_and_slope(tally: Tally, level: float) -> tuple[Value, Value]:
    """How far log odds are off as a whole (0 is right; positive: it comes true more often), and how they spread.

    A slope of 1 is right; below 1 scores are too extreme, above 1 too timid. Scores of one bin count as their mean log odds.
    """
    used = tally["labelled"] > 0
    n, ones = tally["labelled"][used], tally["positives"][used]
    outcomes = int(n.sum())
    if not outcomes:
        return NO_OUTCOMES, NO_OUTCOMES
    if ones.sum() in (0, outcomes):
        return ONE_CLASS, ONE_CLASS
    x = tally["logit_labelled"][used] / n
    alone = _fit(_Grouped(np.ones((len(x), 1)), x, n, ones))
    line = _Grouped(np.column_stack([np.ones_like(x), x]), np.zeros_like(x), n, ones)
    both = _fit(line) if np.ptp(x) > _FLATTEST else ONE_SCORE
    return _coefficient(alone, outcomes, tally.missing, level), _coefficient(both, outcomes, tally.missing, level)


Fit = tuple[float, float]


def _coefficient(fit: Fit | NotPossible, n: int, missing: int, level: float) -> Value:
    if isinstance(fit, NotPossible):
        return fit
    value, error = fit
    return Figure(value, *around(value, error, level), n, missing, method=WALD)


@dataclass(frozen=True)
class _Grouped:
    """A logistic regression on grouped outcomes: `ones` of `n` at each row of the design."""

    design: Array
    offset: Array
    n: Array
    ones: Array

    def likelihood(self, at: Array) -> float:
        eta = self.offset + self.design @ at
        return float(np.dot(self.ones, eta) - np.dot(self.n, np.logaddexp(0.0, eta)))

    def slope_and_information(self, at: Array) -> tuple[Array, Array]:
        fitted = 1 / (1 + np.exp(-np.clip(self.offset + self.design @ at, -700, 700)))
        information = self.design.T @ (self.design * (self.n * fitted * (1 - fitted))[:, None])
        return self.design.T @ (self.ones - self.n * fitted), information


def _fit(grouped: _Grouped) -> Fit | NotPossible:
    """The last coefficient and its standard error, by Newton's method; there is none where the outcomes are separated.

    Steps that make the likelihood worse are halved.
    """
    at = np.zeros(grouped.design.shape[1])
    for _ in range(_STEPS):
        slope, information = grouped.slope_and_information(at)
        if not np.linalg.cond(information) < _FLAT or np.abs(at).max() > _STEEPEST:
            return SEPARATED
        step = np.asarray(np.linalg.solve(information, slope), dtype=np.float64)
        at = at + _halved(grouped, at, step)
        if np.abs(step).max() < _EXACT * (1 + np.abs(at).max()):
            return float(at[-1]), math.sqrt(float(np.linalg.inv(information)[-1, -1]))
    return SEPARATED


def _halved(grouped: _Grouped, at: Array, step: Array) -> Array:
    before = grouped.likelihood(at)
    for _ in range(_HALVINGS):
        if grouped.likelihood(at + step) >= before - 1e-12 * abs(before):
            break
        step = step / 2
    return step


def _band(bands: Bands, row: int, edges: Span, level: float) -> Band:
    n, ones = float(bands.n[row]), float(bands.positives[row])
    observed = Figure(ones / n, *wilson(ones, n, level), int(n), int(bands.missing[row]), method=WILSON)
    return Band(*edges, float(bands.score[row] / n), observed)


def _distance(bands: Bands) -> float:
    """The calibration error that was seen."""
    return float(_apart(bands).sum() / bands.n.sum())


def _debiased(bands: Bands) -> float:
    """Less what noise adds to each distance d: the mean of |d + noise| less |d|, noise being normal by the band's variance."""
    apart, positives = _apart(bands), bands.positives
    spread = np.sqrt(np.maximum(positives * (1 - positives / bands.n), 0.0) * bands.n / np.maximum(bands.n - 1, 1.0))
    scaled = apart / np.where(spread > 0, spread, 1.0)
    folded = spread * (math.sqrt(2 / math.pi) * np.exp(-(scaled**2) / 2)) + apart * _erf(scaled / math.sqrt(2))
    added = np.where(spread > 0, folded - apart, 0.0)
    return max(0.0, float((apart - added).sum() / bands.n.sum()))


def _span(bands: Bands, level: float) -> Span:
    """An interval of the true error, from two figures of which each errs to one side only.

    The error that was seen is too large on average, whatever the truth is: its upper end is an upper end of the truth. With a
    bump taken off each distance that may be noise (`_bump`) it is right on average for calibrated scores and never too
    large: its lower end is a lower end of the truth, and above 0 for calibrated scores no more often than the level allows.
    """
    n, apart, z = float(bands.n.sum()), _apart(bands), quantile(level)
    rates = (bands.positives + 0.5) / (bands.n + 1)  # a band of one outcome's kind has noise too
    spread = np.sqrt(np.maximum(bands.noise, bands.n * rates * (1 - rates)))
    noise = np.sqrt(bands.noise)
    shown = (apart - np.where(noise > 0, noise * _bump(apart / np.where(noise > 0, noise, 1.0)), 0.0)).sum()
    # Windows have other scores, too: errors that differ from band to band weigh differently in each.
    between = max(0.0, float((apart**2 / bands.n).sum() - apart.sum() ** 2 / n))
    below = math.sqrt(float((spread**2 * _variance(apart / spread)).sum()) + between)
    above = math.sqrt(float((spread**2).sum()) + between)
    return max(0.0, float(shown - z * below) / n), min(1.0, float(apart.sum() + z * above) / n)


def _apart(bands: Bands) -> Array:
    return np.abs(bands.score - bands.positives)


def _bump(z: Array) -> Array:
    """What is taken off a distance of so many standard errors: on average as much as noise adds where there is no other
    distance, and more than it adds where there is."""
    height = math.sqrt(2 / math.pi) * math.sqrt(1 + _BUMP**2) / _BUMP
    return np.asarray(height * np.exp(-((np.minimum(z, _FAR) / _BUMP) ** 2) / 2), dtype=np.float64)


def _variance(z: Array) -> Array:
    """Of a distance less its bump, were the truth so many standard errors away; at least that of the noise."""
    drawn = np.abs(z[:, None] + _NODES)
    values = drawn - _bump(drawn)
    weights = _WEIGHTS / _WEIGHTS.sum()
    return np.asarray(np.maximum(1.0, values**2 @ weights - (values @ weights) ** 2), dtype=np.float64)


_erf = np.vectorize(math.erf, otypes=[np.float64])
