"""How far a window lies from a reference, one column at a time, from the counts of both in the same cells.

Only finite numbers and texts are compared; rows without a value, and infinite ones, are for the gate (`gate.py`). What an exact
computation over all values would give lies within the bounds that come with a score, whatever the values in a cell are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from backend.drift import formulas
from backend.drift.counts import ABOVE, BELOW, ColumnCounts
from backend.drift.layout import Cells, Feature, NumberCells
from backend.drift.values import Floats, Ints

Score = Literal["psi", "jensen_shannon", "wasserstein", "kolmogorov_smirnov"]
SCORES: tuple[Score, ...] = get_args(Score)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the exact figure lies between."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one column in one window. All are 0 where both are the same; larger is further apart.

    Args:
        reference, current: how many values were compared.
        psi, jensen_shannon: over the groups of cells (about ten shares of the reference for numbers, each value for texts).
        wasserstein, kolmogorov_smirnov: None for texts and truth values.
        wasserstein_bounds, kolmogorov_smirnov_bounds: of those two over all values.
        kolmogorov_smirnov_p: None for texts and truth values.
        chi_squared, chi_squared_p, freedom: over the same groups as PSI.
    """

    reference: int
    current: int
    psi: float
    jensen_shannon: float
    chi_squared: float
    chi_squared_p: float
    freedom: int
    wasserstein: float | None = None
    wasserstein_bounds: Bounds | None = None
    kolmogorov_smirnov: float | None = None
    kolmogorov_smirnov_bounds: Bounds | None = None
    kolmogorov_smirnov_p: float | None = None

    def value(self, score: Score) -> float | None:
        """A score by its name."""
        found: float | None = getattr(self, score)
        return found

    @property
    def p(self) -> float:
        """The chance of such scores if both were independent draws of one distribution: of the test that suits the column."""
        return self.chi_squared_p if self.kolmogorov_smirnov_p is None else self.kolmogorov_smirnov_p


@dataclass(frozen=True, eq=False)
class Windows:
    """The counts of one column in one window or many: axes before the last are windows.

    Args:
        cells: counts by cell.
        outside: by how much values lie below the first and above the last edge, summed, in the layout's scale.
    """

    cells: Ints
    outside: Floats

    @classmethod
    def of(cls, counts: ColumnCounts) -> Windows:
        """One window's counts."""
        return cls(counts.cells, counts.sums[[BELOW, ABOVE]])


def scored(feature: Feature, reference: ColumnCounts, current: ColumnCounts) -> Scores | None:
    """One column's scores; None where either side has no value that could be compared."""
    cells = feature.cells
    if cells is None or not reference.values or not current.values:
        return None
    groups = groups_of(cells, reference.cells), groups_of(cells, current.cells)
    p, q = (formulas.shares(one) for one in groups)
    chi_squared = formulas.chi_squared(*groups)
    statistic, freedom = float(chi_squared[0]), int(chi_squared[1])
    found = Scores(
        reference=reference.values,
        current=current.values,
        psi=float(formulas.psi(p, q)),
        jensen_shannon=float(formulas.jensen_shannon(p, q)),
        chi_squared=statistic,
        chi_squared_p=formulas.chi_squared_p(statistic, freedom),
        freedom=freedom,
    )
    return _with_distances(found, cells, reference, current) if isinstance(cells, NumberCells) else found


def several(cells: Cells, reference: Windows, current: Windows, norm: float) -> Mapping[Score, Floats]:
    """The scores of many windows at once, each against its own reference or all against one."""
    groups = groups_of(cells, reference.cells), groups_of(cells, current.cells)
    p, q = (formulas.shares(one) for one in groups)
    found: dict[Score, Floats] = {"psi": formulas.psi(p, q), "jensen_shannon": formulas.jensen_shannon(p, q)}
    if isinstance(cells, NumberCells):
        left, right = formulas.cumulated(reference.cells), formulas.cumulated(current.cells)
        found["kolmogorov_smirnov"] = formulas.kolmogorov_smirnov(left, right)[0]
        with np.errstate(over="ignore"):
            found["wasserstein"] = np.minimum(_areas(cells, reference, current).guess / norm, formulas.LARGEST)
    return found


def groups_of(cells: Cells, counts: Ints) -> Ints:
    """Counts by the groups that PSI, Jensen-Shannon and chi-squared are taken over."""
    return formulas.grouped(counts, cells.coarse, cells.groups) if isinstance(cells, NumberCells) else counts


def norm_of(cells: Cells, reference: ColumnCounts) -> float:
    """What the reference's areas are measured in."""
    if not isinstance(cells, NumberCells):
        return 1.0
    return formulas.norm(reference.deviation(cells), max(abs(reference.low), abs(reference.high)))


def _with_distances(found: Scores, cells: NumberCells, reference: ColumnCounts, current: ColumnCounts) -> Scores:
    """With the scores that only numbers have."""
    left, right = formulas.cumulated(reference.cells), formulas.cumulated(current.cells)
    distance, most = map(float, formulas.kolmogorov_smirnov(left, right))
    area, norm = _areas(cells, Windows.of(reference), Windows.of(current)), norm_of(cells, reference)
    if cells.steps and len(cells.edges):
        area = area._replace(guess=_between_steps(cells, reference, current))
    return replace(
        found,
        kolmogorov_smirnov=distance,
        kolmogorov_smirnov_bounds=Bounds(distance, max(most, distance)),
        kolmogorov_smirnov_p=formulas.kolmogorov_smirnov_p(distance, reference.values, current.values),
        wasserstein=_over(area.guess, norm),
        wasserstein_bounds=Bounds(_over(area.least, norm), _over(area.most, norm)),
    )


def _areas(cells: NumberCells, reference: Windows, current: Windows) -> formulas.Area:
    left, right = formulas.cumulated(reference.cells), formulas.cumulated(current.cells)
    outside = _beyond(reference), _beyond(current)
    difference = np.abs(outside[0] - outside[1]).sum(axis=-1) * cells.scale
    found = formulas.area(left, right, cells.edges, difference)
    both = np.minimum(*outside).sum(axis=-1) * cells.scale * 2  # where both lie beyond, they may lie apart and yet sum up alike
    return found._replace(most=found.most + both)


def _between_steps(cells: NumberCells, reference: ColumnCounts, current: ColumnCounts) -> Floats:
    """The area where each of the reference's values is an edge, and whatever is new lies somewhere between two of them.

    A straight line over an empty cell would put it into the middle. The smallest and the largest value say better where the
    curves begin and end: for a value that is the only one, exactly.
    """
    first, last = cells.edges[0], cells.edges[-1]
    nodes = [_nodes(cells, reference), _nodes(cells, current)]
    points = np.unique(np.concatenate([cells.edges, nodes[0][0], nodes[1][0]]))
    grid = points[(points >= first) & (points <= last)]
    left, right = (np.interp(grid, *one) for one in nodes)
    difference = np.abs(_beyond(Windows.of(reference)) - _beyond(Windows.of(current))).sum() * cells.scale
    return formulas.area(left, right, grid, difference).guess


def _nodes(cells: NumberCells, counts: ColumnCounts) -> tuple[Floats, Floats]:
    """Where the cumulated share is known, and what it is there."""
    inside = (cells.edges >= counts.low) & (cells.edges < counts.high)
    before = max(float(np.nextafter(counts.low, -np.inf)), -formulas.LARGEST)
    points = np.concatenate([[before], cells.edges[inside], [counts.high]])
    return points, np.concatenate([[0.0], formulas.cumulated(counts.cells)[inside], [1.0]])


def _beyond(windows: Windows) -> Floats:
    """Mean excess below the first and above the last edge, over all values of a window."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(windows.outside / windows.cells.sum(axis=-1, keepdims=True), dtype=np.float64)


def _over(area: Floats, norm: float) -> float:
    with np.errstate(over="ignore"):
        return min(float(area / norm), formulas.LARGEST)
