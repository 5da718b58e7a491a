"""What one metric of one treatment came to: an estimate, harm in the margin's unit, and its ends. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from backend.delivery.comparison import Guardrail, Metric
from backend.experiments.comparing.counts import Counts
from backend.experiments.rules import Measured
from backend.experiments.statistics import exact, quantiles, sequences
from backend.experiments.statistics.budget import EXACT_PART
from backend.experiments.statistics.estimates import Estimate, estimate
from backend.experiments.statistics.quantiles import Bins, Quantiles
from backend.experiments.statistics.sequences import Sides, Tuning

UNTUNED = "the variance was not known when it was planned, so that no interval counts"


class Ends(NamedTuple):
    """A best guess with its ends; infinite where nothing bounds it."""

    value: float
    low: float
    high: float


class _Sizes(NamedTuple):
    """How much of each arm was measured."""

    control: float
    treatment: float


def plain(found: Counts, place: int, arm: int, segment: str) -> Estimate:
    """Of one ratio, as if a unit stood in one stratum alone."""
    cells = found.cells[place, segment]
    ratio = found.asked.comparison.window_seconds != 0
    made = estimate(cells.cell(0), cells.cell(arm), ratio=ratio, adjusted=found.ratios[place].adjusted)
    centre = found.centres[place]
    return replace(made, control=made.control + centre, treatment=made.treatment + centre)


def of_ratio(found: Counts, place: int, arm: int, segment: str) -> Estimate:
    """Of one ratio, with the variance of units that stand in several strata where there are any."""
    made = plain(found, place, arm, segment)
    known = found.clustered.get((place, found.asked.arms[arm], segment))
    if known is None or not made.variance > 0:
        return made
    variance, covariance, base = (np.asarray(one) for one in known)
    return replace(made, variance=variance, covariance=covariance, base_variance=base)


def of_metric(found: Counts, metric: str, arm: int, segment: str) -> list[Estimate]:
    """One estimate, or one for each cut of predictions."""
    return [of_ratio(found, place, arm, segment) for place in found.of_metric[metric]]


def ends(made: Estimate, tuned: Tuning, alpha: float, sides: Sides, *, relative: bool) -> Ends:
    """Of the difference, or of it as a share of the control's figure."""
    with np.errstate(all="ignore"):
        at = sequences.relative(made, tuned, alpha, sides) if relative else sequences.interval(made, tuned, alpha, sides)
    return Ends(float(made.relative if relative else made.difference), _end(at.low, -math.inf), _end(at.high, math.inf))


def _end(value: object, none: float) -> float:
    found = float(value)  # type: ignore[arg-type]  # an array without dimensions
    return none if math.isnan(found) else found


def turned(one: Ends, metric: Metric) -> Ends:
    """As harm: above 0 is worse."""
    return Ends(-one.value, -one.high, -one.low) if metric.better == "higher" else one


def unsettled(made: Sequence[Estimate]) -> str:
    """Why ends do not count yet; "" where they do."""
    return next((words for one in made if (words := sequences.missing_words(one))), "")


def measured(found: Counts, guardrail: Guardrail, arm: int, segment: str, *, fail: float, passing: float) -> Measured | None:
    """Harm as one guardrail asks for it; None where nothing was measured.

    Args:
        fail, passing: alphas of a false failure and of a false pass.
    """
    metric = found.asked.comparison.metric(guardrail.metric)
    if found.broken.get(metric.name):
        return Measured(math.nan, n_control=1, n_treatment=1)
    if metric.kind == "latency":
        return _of_latency(found, guardrail, metric, arm, segment, fail, passing)
    made = of_metric(found, metric.name, arm, segment)
    counts = [
        float(found.cells[place, segment].n[where].sum()) for where in (0, arm) for place in found.of_metric[metric.name][:1]
    ]
    n = _Sizes(*counts)
    if not any(counts):
        return None
    if not all(counts):
        return Measured(0.0, n_control=n.control, n_treatment=n.treatment)
    if metric.kind == "predictions":
        return _of_predictions(guardrail, made, fail, passing, n)
    return _of_mean(found, guardrail, metric, made[0], (arm, segment), fail, passing, n)


def _of_mean(
    found: Counts,
    guardrail: Guardrail,
    metric: Metric,
    made: Estimate,
    where: tuple[int, str],
    fail: float,
    passing: float,
    n: _Sizes,
) -> Measured:
    exactly = metric.kind == "errors"
    part = 1 - EXACT_PART if exactly else 1.0
    words = unsettled([made]) or ("" if guardrail.eta is not None else UNTUNED)
    tuned = Tuning(guardrail.eta or 1.0)
    low, high = (turned(ends(made, tuned, each * part, "one", relative=guardrail.relative), metric) for each in (fail, passing))
    harm = low.value
    if math.isnan(harm) and words:
        harm = 0.0  # too few for a figure is not the same as no figure
    told = (False, False)
    if exactly:
        told = _exact(found, guardrail, where, fail * EXACT_PART, passing * EXACT_PART)
    bounds = (low.low, high.high) if guardrail.eta is not None else (-math.inf, math.inf)
    low_end, high_end = bounds
    return Measured(harm, low_end, high_end, n.control, n.treatment, unsettled=words, exact_fail=told[0], exact_pass=told[1])


def _exact(found: Counts, guardrail: Guardrail, where: tuple[int, str], fail: float, passing: float) -> tuple[bool, bool]:
    """By units' very first requests."""
    arm, segment = where
    control, treatment = found.firsts[segment].cell(0), found.firsts[segment].cell(arm)
    margin, relative = (0.0, guardrail.margin) if guardrail.relative else (guardrail.margin, 0.0)
    against = float(exact.worse(control, treatment, margin=margin, relative=relative))
    upper = 1.0 if guardrail.relative else float(exact.difference_upper(control, treatment, passing))
    return against >= math.log(1 / fail), upper < margin


def _of_predictions(guardrail: Guardrail, made: Sequence[Estimate], fail: float, passing: float, n: _Sizes) -> Measured:
    """The largest difference of the shares below any cut; each cut has its part of the alphas."""
    tuned, cuts = Tuning(guardrail.eta or 1.0), len(made)
    words = unsettled(made) or ("" if guardrail.eta is not None else UNTUNED)
    lows = [ends(one, tuned, fail / cuts, "two", relative=guardrail.relative) for one in made]
    highs = [ends(one, tuned, passing / cuts, "two", relative=guardrail.relative) for one in made]
    values = [abs(one.value) for one in lows]
    if any(math.isnan(one) for one in values) and words:
        values = [0.0]
    low = max(max(one.low, -one.high) for one in lows) if guardrail.eta is not None else -math.inf
    high = max(max(abs(one.low), abs(one.high)) for one in highs) if guardrail.eta is not None else math.inf
    return Measured(max(values), low, high, n.control, n.treatment, unsettled=words)


def latency(
    found: Counts, metric: Metric, arm: int, segment: str, tuned: Tuning, alpha: float, sides: Sides, *, relative: bool = False
) -> Quantiles:
    """A quantile of seconds of two arms; with `relative` of their logarithms, so that the difference is that of a share."""
    arms = found.bins[segment]
    control, treatment = arms[0], arms[arm]
    if relative:
        edges = np.log(control.edges)
        control, treatment = Bins(edges, control.counts), Bins(edges, treatment.counts)
    spread = found.spreads.get((metric.name, segment), 1.0)
    return quantiles.compare(control, treatment, metric.quantile or 0.5, tuned, alpha, sides=sides, spread=spread)


def _of_latency(
    found: Counts, guardrail: Guardrail, metric: Metric, arm: int, segment: str, fail: float, passing: float
) -> Measured | None:
    counts = [float(found.bins[segment][where].n.sum()) for where in (0, arm)]
    if not any(counts):
        return None
    n = _Sizes(*counts)
    if not all(counts):
        return Measured(0.0, n_control=n.control, n_treatment=n.treatment)
    tuned, relative = Tuning(guardrail.eta or 1.0), guardrail.relative
    low, high = (latency(found, metric, arm, segment, tuned, each, "one", relative=relative) for each in (fail, passing))
    harm, at_least, at_most = (float(one) for one in (low.difference, low.interval.low, high.interval.high))
    if relative:
        harm, at_least, at_most = (math.expm1(min(one, 700.0)) for one in (harm, at_least, at_most))
    words = "" if low.enough and high.enough else "too few requests lie beyond that quantile in the smaller arm"
    words = words or ("" if guardrail.eta is not None else UNTUNED)
    return Measured(0.0 if math.isnan(harm) and words else harm, at_least, at_most, n.control, n.treatment, unsettled=words)
