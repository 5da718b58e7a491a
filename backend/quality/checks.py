"""Estimates held against the truth: what was said before outcomes were known, and what it turned out to be. Pure.

An estimate that nobody checks is a guess. The record of checks says how often the truth lay in the interval, which way
estimates err, and so whether the next one deserves belief.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from backend.quality.figures import LEVEL, PROVISIONAL_BELOW, Figure, NotPossible, Value
from backend.quality.intervals import wilson

ENOUGH = 10
NOT_ESTIMATED = NotPossible("not-estimated", "There is no estimate of this figure to check.")


@dataclass(frozen=True, slots=True)
class EstimateCheck:
    """One estimate of one figure of one window, and the truth.

    Args:
        name: of the figure.
        start, end: the window.
        estimated: as it was said, before.
        realised: over the outcomes, with how many are still missing.
        error: realised less estimated.
        scaled: the same in standard errors of the estimate.
        inside: whether the realised value lay in the estimate's interval.
    """

    name: str
    start: datetime
    end: datetime
    estimated: Figure
    realised: Figure
    error: float
    scaled: float
    inside: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """How estimates of one figure did.

    Args:
        checks: how many were checked.
        inside: the share whose truth lay in the interval, with Wilson's interval; it should reach the level.
        mean_error: realised less estimated, on average: which way estimates err.
        mean_absolute_error: how far they are off.
        trusted: whether the share agrees with the level: its own interval reaches it. None while there are too few checks.
        words: what to say of it.
    """

    checks: int
    inside: Figure
    mean_error: float
    mean_absolute_error: float
    trusted: bool | None
    words: str


def check(
    name: str,
    start: datetime,
    end: datetime,
    estimated: Value,
    realised: Value,
    error: float,
    mature: float = PROVISIONAL_BELOW,
) -> EstimateCheck | NotPossible:
    """Compares an estimate with the truth, once enough outcomes are in.

    Args:
        error: the estimate's standard error.
        mature: share of outcomes that has to be known; what never comes (a diverted flight) counts as missing.
    """
    if isinstance(estimated, NotPossible):
        return NOT_ESTIMATED
    if isinstance(realised, NotPossible):
        return realised
    if realised.known < mature:
        words = (
            f"Only {math.floor(100 * realised.known)} % of the outcomes are known; at {mature:.0%} the estimate can be checked."
        )
        return NotPossible("not-mature", words)
    apart = realised.value - estimated.value
    inside = estimated.low <= realised.value <= estimated.high
    scaled = apart / error if error else math.copysign(math.inf, apart) if apart else 0.0
    return EstimateCheck(name, start, end, estimated, realised, apart, scaled, inside)


def coverage(checks: Sequence[EstimateCheck], level: float = LEVEL) -> Coverage | NotPossible:
    """How often the truth lay inside, and how far estimates were off."""
    if not checks:
        return NotPossible("no-checks", "No estimate was checked yet: outcomes of the windows are not in.")
    n, inside = len(checks), sum(one.inside for one in checks)
    share = Figure(inside / n, *wilson(inside, n, LEVEL), n, method="Wilson")
    errors = [one.error for one in checks]
    trusted = share.high >= level if n >= ENOUGH else None
    return Coverage(n, share, fmean(errors), fmean(map(abs, errors)), trusted, _words(n, inside, trusted, level))


def _words(n: int, inside: int, trusted: bool | None, level: float) -> str:
    told = f"{inside} of {n} estimates held the truth in their interval, {level:.0%} should"
    if trusted is None:
        return f"{told}; that is too few to judge by."
    return f"{told}." if trusted else f"{told}: do not rely on them; what follows from a score has changed."
