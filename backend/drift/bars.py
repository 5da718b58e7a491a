"""Two distributions side by side, as bars to draw: a reference's and a window's shares of the same pieces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backend.drift.counts import ColumnCounts
from backend.drift.findings import figure
from backend.drift.formulas import cumulated
from backend.drift.layout import CategoryCells, Feature, NumberCells
from backend.drift.values import Ints

MOST = 30
MOST_CATEGORIES = 15
_SHOWN = 0.005
"""Share of the reference on each side that is drawn as "below" and "above", lest a few far values make all bars one."""


class Bar(NamedTuple):
    """One piece of the values.

    Args:
        label: for people.
        low, high: of numbers (`low` outside, `high` inside); None for texts, and at the open end of the outermost bars.
        reference, current: shares of the values of each side.
    """

    label: str
    low: float | None
    high: float | None
    reference: float
    current: float


def bars(feature: Feature, reference: ColumnCounts, current: ColumnCounts, *, most: int = MOST) -> tuple[Bar, ...]:
    """The bars of one column; none where either side has no values, or its values are not counted."""
    cells = feature.cells
    if cells is None or not reference.values or not current.values:
        return ()
    if isinstance(cells, CategoryCells):
        return _of_categories(cells, reference, current)
    return _of_steps(cells, reference, current) if _has_few(cells, most) else _of_numbers(cells, reference, current, most)


def _of_categories(cells: CategoryCells, reference: ColumnCounts, current: ColumnCounts) -> tuple[Bar, ...]:
    """The most frequent ones of both together, and all others."""
    sides = reference.cells / reference.values, current.cells / current.values
    listed = np.maximum(sides[0], sides[1])[:-1]
    order = np.argsort(-listed, kind="stable")[:MOST_CATEGORIES]
    named = [Bar(cells.values[place], None, None, float(sides[0][place]), float(sides[1][place])) for place in order]
    left = [max(1.0 - sum(found), 0.0) for found in zip(*((one.reference, one.current) for one in named), strict=True)]
    rest = [Bar("others", None, None, *left)] if named and max(left) > 1e-12 else []
    return (*named, *rest)


def _has_few(cells: NumberCells, most: int) -> bool:
    return cells.steps and len(_steps(cells)) <= most


def _steps(cells: NumberCells) -> Ints:
    """The places of the cells that hold one value of the reference each."""
    before = np.nextafter(cells.edges[1:], -np.inf)
    return np.asarray(np.flatnonzero(before == cells.edges[:-1]) + 1, dtype=np.int64)


def _of_steps(cells: NumberCells, reference: ColumnCounts, current: ColumnCounts) -> tuple[Bar, ...]:
    """A bar a value; what lies between them is one more."""
    places = _steps(cells)
    sides = [(one.cells / one.values) for one in (reference, current)]
    named = [
        Bar(figure(cells.edges[place]), *(float(cells.edges[place]),) * 2, *(float(side[place]) for side in sides))
        for place in places
    ]
    left = [max(1.0 - float(side[places].sum()), 0.0) for side in sides]
    return (*named, Bar("other values", None, None, *left)) if max(left) > 1e-12 else tuple(named)


def _of_numbers(cells: NumberCells, reference: ColumnCounts, current: ColumnCounts, most: int) -> tuple[Bar, ...]:
    """Bars of the same width over most of the reference, and one for each end."""
    sides = [cumulated(one.cells) for one in (reference, current)]
    low, high = np.interp([_SHOWN, 1 - _SHOWN], sides[0], cells.edges)
    ends = np.linspace(low, high, most + 1)
    heights = [np.diff(np.concatenate([[0.0], np.interp(ends, cells.edges, side), [1.0]])) for side in sides]
    lows, highs = [None, *ends.tolist()], [*ends.tolist(), None]
    return tuple(Bar(_label(*of[:2]), *of) for of in zip(lows, highs, *(one.tolist() for one in heights), strict=True))


def _label(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"above {figure(low)}" if low is not None else f"up to {figure(high or 0.0)}"
    return f"{figure(low)} to {figure(high)}"
