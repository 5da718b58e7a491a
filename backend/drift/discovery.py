"""How many of many scores are news: with fifty columns at 5 %, some always alarm.

Benjamini and Hochberg (1995): of the columns that are called news, at most the given rate are none, on average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

from backend.drift.values import Floats

RATE = 0.05
Pace = Literal["sudden", "gradual", "passing", "none"]
K = TypeVar("K")


def adjusted(chances: Sequence[float] | Floats) -> Floats:
    """Chances as Benjamini and Hochberg adjust them: the smallest rate at which each would be called news. NaN counts as 1."""
    found = np.clip(np.nan_to_num(np.asarray(chances, dtype=np.float64), nan=1.0), 0.0, 1.0)
    order = np.argsort(found)[::-1]
    ranks = np.arange(len(found), 0, -1)
    raised = np.minimum.accumulate(found[order] * len(found) / ranks)
    back = np.empty(len(found))
    back[order] = np.minimum(raised, 1.0)
    return back


def discoveries(chances: Mapping[K, float], rate: float = RATE) -> frozenset[K]:
    """Which of many are news at a rate of false ones among them."""
    return frozenset(key for key, one in zip(chances, adjusted([*chances.values()]), strict=True) if one <= rate)


def pace(scores: Sequence[float], limit: float) -> Pace:
    """How a score came to be above its limit, from the windows up to now, the oldest first.

    `sudden`: it lay still and stepped over. `gradual`: it rose over several windows. `passing`: it was above and is not any
    more.
    """
    found = np.asarray(scores, dtype=np.float64)
    if not len(found) or not (found > limit).any():
        return "none"
    if found[-1] <= limit:
        return "passing"
    onset = len(found) - int(np.argmin(found[::-1] > limit)) if (found <= limit).any() else 0
    if not onset:
        return "sudden"
    lately = found[max(0, onset - _LOOK_BACK) :]
    rise = lately[-1] - lately.min()
    return "sudden" if float(np.diff(lately).max()) >= _STEP * rise else "gradual"


_LOOK_BACK = 12
_STEP = 0.6
"""A step of so much of the whole rise makes it sudden."""
