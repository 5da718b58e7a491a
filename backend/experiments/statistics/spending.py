"""Group-sequential tests: a fixed final sample, a schedule of looks, and an error that is spent between them.

By the final sample this needs fewer units than an interval that holds for ever, and it holds for nothing after that: a look
beyond the plan is the final one, and whatever comes later is overrun and does not count.

Bounds are found as Lan and DeMets (1983) spend, by the recursion of Armitage, McPherson and Rowe (1969) with Gauss-Legendre
nodes (Jennison and Turnbull 2000, chapter 19). The same recursion tells how often and when any bound is crossed under an
effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from backend.experiments.statistics.moments import Floats
from backend.experiments.statistics.sequences import Sides

Shape = Literal["obrien_fleming", "pocock"]
CLOSEST = 0.005
"""Looks closer than this part of the plan are one look: a bound is made anew only after it."""
_NODES = 160
_WIDEST = 8.5


@dataclass(frozen=True)
class Plan:
    """A group-sequential test, fixed before.

    Args:
        alpha: of all looks together.
        weight: the planned final sample, as `Estimate.weight`.
        shape: O'Brien-Fleming-like spends little early and hardly needs a larger sample; Pocock-like stops earlier.
    """

    alpha: float
    weight: float
    shape: Shape = "obrien_fleming"
    sides: Sides = "two"


class Look(NamedTuple):
    """One look as it was taken: the sample, and the clock (`Estimate.clock`)."""

    weight: float
    clock: float


class Standing(NamedTuple):
    """The latest look.

    Args:
        bound: in standard errors; infinite where nothing may be concluded at this look.
        fraction: of the planned sample, 1 at most.
        spent: alpha up to this look.
        final: this is the last look that counts.
        overran: the plan ended with an earlier look; what is seen now does not count.
    """

    bound: float
    fraction: float
    spent: float
    final: bool
    overran: bool

    @property
    def words(self) -> str:
        """What a person has to know of it; "" before the end."""
        if self.overran:
            return "The planned sample was reached at an earlier look, which decided: this interval does not count any more."
        return "This is the final look: no later one counts." if self.final else ""


def spent(fraction: float, alpha: float, shape: Shape, sides: Sides = "two") -> float:
    """Alpha that may be used up to a fraction of the plan; all of it from 1 on, none before 0."""
    from scipy.special import ndtr, ndtri

    if fraction >= 1:
        return alpha
    if fraction <= 0:
        return 0.0
    if shape == "pocock":
        return alpha * math.log(1 + (math.e - 1) * fraction)
    many = 2 if sides == "two" else 1
    return float(2 * many * ndtr(ndtri(alpha / (2 * many)) / math.sqrt(fraction)))


def standing(plan: Plan, looks: Sequence[Look]) -> Standing:
    """Where the latest of the looks stands, given all of them in their order. At least one is needed."""
    counted = _counted(plan, looks)
    latest = looks[-1]
    fraction = min(latest.weight / plan.weight, 1.0)
    ended = next((place for place, one in enumerate(looks) if one.weight >= plan.weight), None)
    if ended is not None and ended < len(looks) - 1:
        return Standing(math.inf, 1.0, plan.alpha, final=False, overran=True)
    if not counted or counted[-1] != latest:
        return Standing(math.inf, fraction, spent(fraction, plan.alpha, plan.shape, plan.sides), final=False, overran=False)
    found = bounds(tuple(counted), plan)
    done = spent(fraction, plan.alpha, plan.shape, plan.sides)
    return Standing(found[-1], fraction, done, final=ended is not None, overran=False)


def _counted(plan: Plan, looks: Sequence[Look]) -> list[Look]:
    """The looks at which alpha was spent: those with something new, up to the first at or beyond the plan."""
    counted = list[Look]()
    for one in looks:
        before = counted[-1] if counted else Look(0.0, 0.0)
        moved = one.clock > before.clock and one.weight - before.weight >= CLOSEST * plan.weight
        if moved or (one.weight >= plan.weight and one.clock > before.clock):
            counted.append(one)
        if one.weight >= plan.weight:
            break
    return counted


@lru_cache(maxsize=256)
def bounds(looks: tuple[Look, ...], plan: Plan) -> tuple[float, ...]:
    """The bounds of looks at which alpha is spent, in standard errors."""
    walk, found, done = Walk(plan.sides), list[float](), 0.0
    for one in looks:
        now = spent(one.weight / plan.weight, plan.alpha, plan.shape, plan.sides)
        found.append(walk.spend(one.clock, max(now - done, 0.0)))
        done = now
    return tuple(found)


class Walk:
    """Brownian motion that has not crossed a bound yet, look by look.

    Args:
        drift: its mean by unit of the clock.
    """

    def __init__(self, sides: Sides = "two", drift: float = 0.0) -> None:
        self._two = sides == "two"
        self._drift = drift
        self._clock = 0.0
        self._at, self._mass = np.zeros(1), np.ones(1)

    def spend(self, clock: float, alpha: float) -> float:
        """Moves on to a look and finds the bound that is crossed there for the first time with just this chance."""
        if alpha <= 1e-15:
            self.cross(clock, math.inf)
            return math.inf
        low, high = 0.0, 2 * _WIDEST
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self._crossing(clock, middle)[0] > alpha else (low, middle)
        self.cross(clock, high)
        return high

    def cross(self, clock: float, bound: float) -> tuple[float, float]:
        """Moves on to a look: chances of being above its bound and (with two sides) below it, for the first time."""
        found = self._crossing(clock, bound)
        step, root = clock - self._clock, math.sqrt(clock)
        middle = self._drift * clock
        top = min(bound * root, middle + _WIDEST * root)
        bottom = max(-bound * root if self._two else -math.inf, middle - _WIDEST * root)
        nodes, weights = _legendre(bottom, top)
        apart = (nodes[:, None] - self._at[None, :] - self._drift * step) / math.sqrt(step)
        density = np.exp(-apart * apart / 2) / math.sqrt(2 * math.pi * step)
        self._at, self._mass, self._clock = nodes, weights * (density @ self._mass), clock
        above, below = found[1], found[2]
        return above, below

    def _crossing(self, clock: float, bound: float) -> tuple[float, float, float]:
        from scipy.special import ndtr

        step, end = clock - self._clock, bound * math.sqrt(clock)
        if step <= 0:
            raise ValueError("A look needs something that the look before had not.")
        middle = self._at + self._drift * step
        above = float(ndtr((middle - end) / math.sqrt(step)) @ self._mass)
        below = float(ndtr((-end - middle) / math.sqrt(step)) @ self._mass) if self._two else 0.0
        return above + below, above, below


def _legendre(low: float, high: float) -> tuple[Floats, Floats]:
    nodes, weights = _unit_nodes()
    half = (high - low) / 2
    return low + half * (nodes + 1), half * weights


@lru_cache(maxsize=1)
def _unit_nodes() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return np.asarray(nodes), np.asarray(weights)


def crossings(clocks: Sequence[float], limits: Sequence[float], *, drift: float, sides: Sides = "two") -> tuple[Floats, Floats]:
    """Chances of first crossing each look's limit upwards and downwards, of Brownian motion with a drift."""
    walk = Walk(sides, drift)
    found = [walk.cross(clock, limit) for clock, limit in zip(clocks, limits, strict=True)]
    return np.array([one[0] for one in found]), np.array([one[1] for one in found])
