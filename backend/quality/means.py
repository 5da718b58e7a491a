"""Means of what was summed beside its squares: losses, errors, scores. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backend.quality.counts import Tally
from backend.quality.figures import NO_OUTCOMES, Figure, Value
from backend.quality.intervals import NORMAL, around, standard_error


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over the known outcomes: the measures that hold its sum and its sum of squares, the least and most it can be."""

    total: str
    squares: str
    low: float = 0.0
    high: float = math.inf

    def of(self, tally: Tally, level: float) -> Value:
        """The mean as a figure, its interval from the moments."""
        n = tally.count("labelled")
        if not n:
            return NO_OUTCOMES
        value = tally.total(self.total) / n
        span = around(value, self.error(tally), level, self.low, self.high)
        return Figure(value, *span, n, tally.missing, method=NORMAL)

    def error(self, tally: Tally) -> float:
        """Its standard error; infinite with fewer than two outcomes."""
        return standard_error(tally.total(self.total), tally.total(self.squares), tally.count("labelled"))


LOG_LOSS = Mean("log_loss", "log_loss2")
BRIER = Mean("square", "square2")
MEAN_SCORE = Mean("score_labelled", "score2_labelled", high=1.0)
# The squares of an error are those of its size.
ABSOLUTE = Mean("absolute", "square")
BIAS = Mean("error", "square", low=-math.inf)
SQUARE = Mean("square", "square2")
