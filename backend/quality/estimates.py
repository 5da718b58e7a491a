"""How good predictions probably are before their outcomes are known: confidence-based performance estimation (CBPE). Pure.

A probability says by itself how often it will be right: of requests scored 0.3, three in ten should come true. So the figures
of a window can be worked out from its scores alone, once these are recalibrated on a reference whose outcomes are known. The
method, under this name, is NannyML's (its docs/how_it_works/performance_estimation.rst). It assumes that

- what follows from a score is as it was in the reference (no concept drift): this cannot be seen before outcomes are in;
- the reference has scores like those of the window (support): this is measured (`Estimate.unsupported`);
- days differ from each other no more than the reference's own days did (`Calibrator.dispersion`).

How well it did is found out afterwards (`checks.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.quality.counts import Tally, added
from backend.quality.figures import CONSTANT, LEVEL, NO_REQUESTS, Figure, NotPossible, Value
from backend.quality.intervals import Array, around, summed
from backend.quality.ranking import auc, bound
from backend.quality.tasks import Classes, Regression, Task

SEED = 20130101
DRAWS = 300
FEWEST = 500
FEWEST_DAYS = 7
SUPPORT = 10
METHOD = "reference days drawn anew; outcomes drawn, as dispersed as its days; seeded"
ASSUMPTIONS = (
    "What follows from a score is as it was in the reference (no concept drift).",
    "The reference has scores like those of this window.",
    "Days differ from each other no more than the reference's days did, and independently.",
)
NOT_FOR_NUMBERS = NotPossible(
    "not-possible-for-numbers",
    "A predicted number says nothing about its own error, so that it cannot be judged before outcomes are known.",
)
FEW_OUTCOMES = NotPossible(
    "small-reference", f"A reference needs at least {FEWEST} known outcomes of both kinds; choose a longer one."
)
NEVER_CALLED = NotPossible("none-called", "No prediction of this window reached the threshold.")

_RANGES = {"log_loss": (0.0, math.inf)}


@dataclass(frozen=True)
class Calibrator:
    """How often scores came true in a reference.

    Args:
        scores: mean scores of blocks of bins, rising; between them the rate is interpolated.
        rates: how often these came true, never falling (isotonic regression), never exactly 0 or 1.
        reference: the tally that it was made of.
        redrawn: scores and rates that other days like the reference's would have given (block bootstrap).
        dispersion: by figure, how many times as much the reference's days differed (in variance) as independent outcomes would;
            at least 1, and 1 where there were too few days to tell.
        days: how many those were.
    """

    scores: Array
    rates: Array
    reference: Tally
    redrawn: tuple[tuple[Array, Array], ...]
    dispersion: Mapping[str, float]
    days: int

    @classmethod
    def of(cls, days: Sequence[Tally]) -> Calibrator | NotPossible:
        """Made of a reference's days (`Counts.apart`), all of whose outcomes should be in."""
        settled = [day for day in days if day.count("labelled")]
        if not settled:
            return FEW_OUTCOMES
        reference = added(settled)
        n, ones = reference.total("labelled"), reference.total("positives")
        if n < FEWEST or ones in (0, n):
            return FEW_OUTCOMES
        scores, rates = _isotonic(*_known(reference))

        def rate(at: Array) -> Array:
            return np.interp(at, scores, rates)

        return cls(scores, rates, reference, tuple(_redrawn(settled, rate)), _dispersion(settled, rate), len(settled))

    def rate(self, scores: Array) -> Array:
        """How often requests with these scores are expected to come true."""
        return np.interp(scores, self.scores, self.rates)


@dataclass(frozen=True)
class Estimate:
    """What the figures of a window will probably be once all its outcomes are in.

    Args:
        figures: by name; their `estimated` is true, and where `assumptions` hold the truth should lie in their interval.
        errors: the standard error by name.
        unsupported: share of the requests whose scores the reference hardly has (under 10 outcomes in reach).
        assumptions: in words, to be shown beside the figures.
    """

    figures: Mapping[str, Value]
    errors: Mapping[str, float]
    unsupported: float
    assumptions: tuple[str, ...] = ASSUMPTIONS


def estimate(
    task: Task, calibrator: Calibrator, window: Tally, level: float = LEVEL, label: str = ""
) -> Estimate | NotPossible:
    """Figures of a window's requests from their scores, outcomes left aside. A value says why where that is not possible.

    Args:
        label: of several classes the one that reference and window are of; for "", the most probable one, only the accuracy
            has a meaning.
    """
    if isinstance(task, Regression):
        return NOT_FOR_NUMBERS
    requests = window.count("requests")
    if not requests:
        return NO_REQUESTS
    expected = figures_of(window, window["requests"] * calibrator.rate(_means(window)))
    errors = _errors(calibrator, window)
    names = ("accuracy",) if isinstance(task, Classes) and not label else tuple(expected)
    figures = {name: _figure(name, float(expected[name]), errors[name], requests, level) for name in names}
    if "auc" in figures:
        figures["auc"] = CONSTANT if window.is_constant else _widened(figures["auc"], window, calibrator)
    return Estimate(figures, errors, _unsupported(calibrator, window))


def figures_of(window: Tally, positives: Array) -> dict[str, Array]:
    """The figures of all requests of a window if so many of each bin come true; fractions are expected numbers.

    Args:
        positives: by bin (the last axis); the figures have its other axes.

    NaN where a figure has no meaning: no call, no positive, one class.
    """
    requests, called = window["requests"], window["called"]
    n, ones = requests.sum(), positives.sum(-1)
    share = np.divide(positives, requests, out=np.zeros_like(positives), where=requests > 0)
    right = share @ called
    return {
        "log_loss": (share @ (window["log_yes"] - window["log_no"]) + window.total("log_no")) / n,
        "brier": (share @ (requests - 2 * window["score"]) + window.total("score2")) / n,
        "auc": auc(positives, requests - positives),
        "accuracy": (2 * right - ones + n - called.sum()) / n,
        "precision": _ratio(right, np.broadcast_to(called.sum(), right.shape)),
        "recall": _ratio(right, ones),
        "positive_share": ones / n,
    }


def _ratio(some: Array, every: Array) -> Array:
    return np.divide(some, every, out=np.full_like(some, np.nan), where=every > 0)


def _figure(name: str, value: float, error: float, requests: int, level: float) -> Value:
    if math.isnan(value) or math.isnan(error):
        return NEVER_CALLED if name in ("precision", "recall") else CONSTANT
    span = around(value, error, level, *_RANGES.get(name, (0.0, 1.0)))
    return Figure(value, *span, requests, requests, estimated=True, method=METHOD)


def _widened(area: Value, window: Tally, calibrator: Calibrator) -> Value:
    """By how far the bins may have moved it, as the area over known outcomes is."""
    if isinstance(area, NotPossible):
        return area
    positives = window["requests"] * calibrator.rate(_means(window))
    within = bound(window, positives, window["requests"] - positives)
    return replace(area, low=max(0.0, area.low - within), high=min(1.0, area.high + within), within=within)


def _errors(calibrator: Calibrator, window: Tally) -> dict[str, float]:
    """Standard errors, of two independent parts: the reference might have been another, and outcomes are left to chance."""
    requests, means = window["requests"], _means(window)
    rates = np.array([np.interp(means, *once) for once in calibrator.redrawn])
    chance = np.random.default_rng(SEED).binomial(requests.astype(np.int64), calibrator.rate(means), (DRAWS, len(requests)))
    of_reference = figures_of(window, requests * rates)
    of_outcomes = figures_of(window, chance.astype(np.float64))
    return {
        name: math.hypot(_spread(of_reference[name]), _spread(of_outcomes[name]) * math.sqrt(calibrator.dispersion[name]))
        for name in of_outcomes
    }


def _redrawn(days: Sequence[Tally], rates: Callable[[Array], Array]) -> Iterator[tuple[Array, Array]]:
    """Scores and rates that the reference might have given: of its days drawn anew, or of its outcomes where days are few."""
    random = np.random.default_rng(SEED)
    if len(days) < FEWEST_DAYS:
        scores, n, _ = _known(added(days))
        for ones in random.binomial(n.astype(np.int64), rates(scores), (DRAWS, len(n))):
            yield _isotonic(scores, n, ones.astype(np.float64))
        return
    measures = ("labelled", "positives", "score_labelled")
    bins = added(days).bins
    by_day = {name: np.array([_on(day, name, bins) for day in days]) for name in measures}
    for times in random.multinomial(len(days), np.full(len(days), 1 / len(days)), DRAWS):
        n, ones, score = (times @ by_day[name] for name in measures)
        yield _isotonic(score[n > 0] / n[n > 0], n[n > 0], ones[n > 0])


def _on(day: Tally, measure: str, bins: Array) -> Array:
    return summed(np.searchsorted(bins, day.bins), day[measure], len(bins))


def _dispersion(days: Sequence[Tally], rates: Callable[[Array], Array]) -> dict[str, float]:
    """Mean square, by figure, of how far each day's outcomes lay from what was expected of it, in its standard errors."""
    random = np.random.default_rng(SEED)
    apart = [_apart(_only_known(day), rates, random) for day in days]
    if len(days) < FEWEST_DAYS:
        return dict.fromkeys(apart[0], 1.0)
    return {name: _excess([one[name] ** 2 for one in apart if math.isfinite(one[name])]) for name in apart[0]}


def _excess(squares: Sequence[float]) -> float:
    """One degree of freedom went into the reference's own level."""
    return max(1.0, math.fsum(squares) / (len(squares) - 1)) if len(squares) >= FEWEST_DAYS else 1.0


def _apart(day: Tally, rates: Callable[[Array], Array], random: np.random.Generator) -> dict[str, float]:
    """How many standard errors a day's realised figures lay from the expected ones."""
    n, rate = day["requests"], rates(_means(day))
    expected, realised = figures_of(day, n * rate), figures_of(day, day["positives"])
    drawn = figures_of(day, random.binomial(n.astype(np.int64), rate, (DRAWS, len(n))).astype(np.float64))
    return {name: float(realised[name] - expected[name]) / (_spread(drawn[name]) or math.nan) for name in drawn}


def _spread(drawn: Array) -> float:
    """The standard deviation of those draws that have a figure; NaN where fewer than two do."""
    known = drawn[np.isfinite(drawn)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan


def _only_known(day: Tally) -> Tally:
    """A day as if it had no requests but those with a known outcome. Sums over all are scaled: scores of a bin are alike."""
    requests = day["requests"]
    known = np.divide(day["labelled"], requests, out=np.zeros_like(requests), where=requests > 0)
    scaled = {name: day[name] * known for name in ("requests", "score", "score2", "log_yes", "log_no")}
    return Tally(day.bins, {**day.sums, **scaled, "called": day["called_labelled"]}, {})


def _means(tally: Tally) -> Array:
    requests = tally["requests"]
    return np.divide(tally["score"], requests, out=tally.bins.copy(), where=requests > 0)


def _known(tally: Tally) -> tuple[Array, Array, Array]:
    """Mean score, outcomes and positives of the bins that have outcomes."""
    used = tally["labelled"] > 0
    n = tally["labelled"][used]
    return tally["score_labelled"][used] / n, n, tally["positives"][used]


def _isotonic(scores: Array, n: Array, ones: Array) -> tuple[Array, Array]:
    """Mean score and rate of each block: neighbours are put together until the rates rise (pool adjacent violators).

    Rates are (ones + 1/2) / (n + 1): a block of nothing but zeros is rare, not impossible.
    """
    blocks = list[tuple[float, float, float]]()  # sum of scores, outcomes, positives
    for score, count, positive in zip(scores.tolist(), n.tolist(), ones.tolist(), strict=True):
        blocks.append((score * count, count, positive))
        while len(blocks) > 1 and blocks[-2][2] * blocks[-1][1] >= blocks[-1][2] * blocks[-2][1]:
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    sums, counts, positives = np.array(blocks).T
    return sums / counts, np.maximum.accumulate((positives + 0.5) / (counts + 1))


def _unsupported(calibrator: Calibrator, window: Tally) -> float:
    """Share of requests around whose scores (a hundredth, a tenth of the score) the reference has hardly any outcome."""
    scores, n, _ = _known(calibrator.reference)
    means = _means(window)
    upto = np.concatenate([[0.0], np.cumsum(n)])
    reach = np.maximum(0.01, 0.1 * np.minimum(means, 1 - means))
    around_it = upto[np.searchsorted(scores, means + reach, "right")] - upto[np.searchsorted(scores, means - reach, "left")]
    return float(window["requests"][around_it < SUPPORT].sum() / window.total("requests"))
