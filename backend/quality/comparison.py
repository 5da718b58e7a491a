"""Versions and arms against each other at equal maturity: never a settled week against a morning without outcomes. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from backend.quality.counts import Counts, Tally, Where
from backend.quality.figures import LEVEL, Figure, NotPossible, Value
from backend.quality.intervals import around, two_sided
from backend.quality.maturity import closed_hours
from backend.quality.means import ABSOLUTE, BRIER, LOG_LOSS
from backend.quality.ranking import auc_figure, ranking
from backend.quality.tasks import Classes, Regression

_LOSSES = {"log_loss": LOG_LOSS, "brier": BRIER}

NOTHING_CLOSED = NotPossible(
    "not-mature", "No hour of these is older than the horizon yet; wait, or count with a shorter horizon."
)
NEVER_TOGETHER = NotPossible(
    "never-together",
    "These two never answered in the same hours, and without a horizon their outcomes are not equally mature; set a horizon.",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """The second less the first.

    Args:
        first, second: each by itself, over the same kind of hours.
        difference: with its interval, taking the requests as independent.
        probability: of a difference as large or larger where there is none.
    """

    first: Figure
    second: Figure
    difference: Figure
    probability: float


Compared = Difference | NotPossible


@dataclass(frozen=True)
class Comparison:
    """Two sides at equal maturity.

    Args:
        hours: the hours of the first and of the second that were looked at.
        figures: each difference by the name of its figure.
    """

    hours: tuple[int, int]
    figures: dict[str, Compared]


def compare(counts: Counts, first: Where, second: Where, now: datetime, level: float = LEVEL) -> Comparison | NotPossible:
    """Compares two versions, arms or times.

    With a horizon in the counts' task, only outcomes within it were counted, and of either side only hours older than it are
    taken. Without one, only hours in which both answered: their outcomes had the same time to come.
    """
    sides = [_hours(counts, one) for one in (first, second)]
    horizon = counts.task.horizon
    common = [sides[0] & sides[1]] * 2
    sides = common if horizon is None else [set(closed_hours(hours, horizon, now)) for hours in sides]
    if not all(sides):
        return NOTHING_CLOSED if horizon is not None else NEVER_TOGETHER
    one, other = (counts.only(hours).tally(where) for hours, where in zip(sides, (first, second), strict=True))
    return Comparison((len(sides[0]), len(sides[1])), _differences(counts, one, other, level))


def _hours(counts: Counts, where: Where) -> set[datetime]:
    return set(counts.rows(where)["hour"].to_pylist())


def _differences(counts: Counts, one: Tally, other: Tally, level: float) -> dict[str, Compared]:
    if isinstance(counts.task, Regression):
        return {"mae": _difference(one, other, ABSOLUTE.of, ABSOLUTE.error, level)}
    losses = {name: _difference(one, other, mean.of, mean.error, level) for name, mean in _LOSSES.items()}
    if isinstance(counts.task, Classes):
        return losses
    return {**losses, "auc": _difference(one, other, auc_figure, _error_of_ranking, level)}


def _error_of_ranking(tally: Tally) -> float:
    found = ranking(tally)
    return found.error if found else math.inf


def _difference(
    one: Tally, other: Tally, figure: Callable[[Tally, float], Value], error: Callable[[Tally], float], level: float
) -> Compared:
    first, second = figure(one, level), figure(other, level)
    if isinstance(first, NotPossible):
        return first
    if isinstance(second, NotPossible):
        return second
    apart, spread, within = second.value - first.value, math.hypot(error(one), error(other)), first.within + second.within
    low, high = around(apart, spread, level)
    n, missing = first.n + second.n, first.missing + second.missing
    method = "normal, of independent requests"
    known = Figure(apart, low - within, high + within, n, missing, method=method, within=within)
    return Difference(first, second, known, two_sided(apart / spread) if spread else float(not apart))
