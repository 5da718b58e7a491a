"""A Bayesian summary of a difference, as a reading aid: it decides nothing.

With a normal prior (flat unless a spread is given), the chance that the treatment is better and what choosing it may be
expected to cost are easier to read than an interval. They are not corrected for looking often: whoever stops when the chance
reaches 95 % is wrong more often than one time in 20 (docs/experiments.md has figures), so that pages show them beside the
interval, never instead of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backend.experiments.statistics.estimates import Estimate
from backend.experiments.statistics.moments import Floats


class Reading(NamedTuple):
    """Chances and expected losses, where more is better.

    Args:
        better: chance that the treatment is better.
        loss_of_treatment: what is lost on average, in the metric's unit, by choosing it; `loss_of_control`: by not choosing it.
    """

    better: Floats
    loss_of_treatment: Floats
    loss_of_control: Floats


def reading(found: Estimate, *, prior_spread: float | None = None) -> Reading:
    """Reads a difference; NaN where it has no variance.

    Args:
        prior_spread: standard deviation of effects that one believes in beforehand, around 0.
    """
    from scipy.special import ndtr

    kept = 1.0 if prior_spread is None else prior_spread**2 / (prior_spread**2 + found.variance)
    mean, deviation = found.difference * kept, np.sqrt(found.variance * kept)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(deviation > 0, mean / deviation, np.nan)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return Reading(ndtr(z), deviation * density - mean * ndtr(-z), deviation * density + mean * ndtr(z))
