"""The fixed cells that values are counted in. Made once from a reference, the same for every window after it.

A number falls into one of the cells between edges: `(-inf, e0], (e0, e1], ..., (ek, inf)`. Edges are values of the reference:
about 500 quantiles and more of them in both tails. A value that holds much of the reference by itself (a zero that stands for
"none") gets a cell of its own, by the edge right below it; where there are few different values, each of them does. The first
and the last edge lie a tenth of the reference's range outside of it, so that what is far outside can be told from what is just
outside.

A text or truth value has a cell by itself if it is among the most frequent ones, and all others share the last cell.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backend.core.canonical import digest, digest_bytes
from backend.drift.values import Bools, Column, Floats, Ints, Key, Kind, Precision

QUANTILES = 500
STEPS = 256
CATEGORIES = 500
COARSE = 10
"""Groups of cells that PSI, Jensen-Shannon and chi-squared are taken over, for numbers with many values."""
COARSE_STEPS = 20
MARGIN = 0.1

_TAIL = np.array([1e-6, 1e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1.5e-3])
_LEVELS = np.unique(np.concatenate([[0.0, 1.0], np.linspace(0, 1, QUANTILES + 1), _TAIL, 1 - _TAIL]))


@dataclass(frozen=True, eq=False)
class NumberCells:
    """Cells of numbers.

    Args:
        edges: increasing and finite; none where the reference has no finite number.
        minimum, maximum: of the reference's finite numbers; NaN where there are none.
        centre, scale: sums are kept of `(value - centre) / scale`, so that they neither cancel nor overflow.
        precision: that the reference's numbers have.
        steps: whether each of the reference's values has a cell by itself.
        coarse: for each cell, its group.
    """

    edges: Floats
    minimum: float
    maximum: float
    centre: float
    scale: float
    precision: Precision
    steps: bool
    coarse: Ints

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.edges) + 1

    @property
    def groups(self) -> int:
        """How many groups of cells there are."""
        return int(self.coarse.max()) + 1

    @cached_property
    def below(self) -> int:
        """How many of the first cells lie wholly below the reference."""
        return int(np.searchsorted(self.edges, self.minimum, "left")) if len(self.edges) else 0

    @cached_property
    def above(self) -> int:
        """How many of the last cells lie wholly above the reference."""
        return len(self.edges) - int(np.searchsorted(self.edges, self.maximum, "left")) if len(self.edges) else 0


@dataclass(frozen=True, eq=False)
class CategoryCells:
    """Cells of texts or truth values: one for each value, then one for all others.

    Args:
        values: the most frequent ones of the reference, the most frequent first.
    """

    values: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.values) + 1

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The cell of each value."""
        return {value: place for place, value in enumerate(self.values)}


Cells = NumberCells | CategoryCells


@dataclass(frozen=True, eq=False)
class Feature:
    """One column of a reference (a feature or the prediction) with its cells; None for a kind that is not counted, such as
    times."""

    column: Column
    cells: Cells | None

    @property
    def key(self) -> Key:
        """Which column it is."""
        return self.column.key

    @property
    def kind(self) -> Kind:
        """What its values are."""
        return self.column.kind

    @property
    def size(self) -> int:
        """How many cells it has."""
        return self.cells.size if self.cells is not None else 0


@dataclass(frozen=True, eq=False)
class Layout:
    """The cells of all columns of a reference. Counts of the same layout add up; those of different ones are never compared."""

    features: tuple[Feature, ...]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each column's cells begin when all of them lie in one row; and at the end, how many there are."""
        return (0, *np.cumsum([one.size for one in self.features], dtype=np.int64).tolist())

    @property
    def size(self) -> int:
        """How many cells all columns have."""
        return self.offsets[-1]

    def cells_of(self, place: int) -> slice:
        """Where the cells of a column lie, by its place."""
        return slice(self.offsets[place], self.offsets[place + 1])

    @cached_property
    def places(self) -> Mapping[Key, int]:
        """The place of each column."""
        return {one.key: place for place, one in enumerate(self.features)}

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` of everything that decides where a value is counted."""
        return digest([_document(one) for one in self.features])


def number_cells(sample: Floats, minimum: float, maximum: float, precision: Precision) -> NumberCells:
    """Cells from a sample of finite numbers, in any order; `minimum` and `maximum` are those of all rows."""
    if not len(sample):
        return NumberCells(np.empty(0), np.nan, np.nan, 0.0, 1.0, precision, False, np.zeros(1, np.int64))
    ordered = np.sort(sample)
    values, counts = _runs(ordered)
    steps = len(values) <= STEPS
    alone = values if steps else values[counts >= max(2.0, len(ordered) / QUANTILES)]
    chosen = alone if steps else np.concatenate([_quantiles(ordered), alone])
    edges = _edges(chosen, alone, minimum, maximum)
    centre = float(ordered[len(ordered) // 2])
    cells = np.diff(np.concatenate([[0], np.searchsorted(ordered, edges, "right"), [len(ordered)]]))
    coarse = _coarse(cells, np.isin(np.append(edges, np.nan), alone), steps)
    return NumberCells(edges, minimum, maximum, centre, _scale(centre, minimum, maximum), precision, steps, coarse)


def category_cells(counted: Mapping[str, int]) -> CategoryCells:
    """Cells for the most frequent ones of counted values."""
    ordered = sorted(counted, key=lambda value: (-counted[value], value))
    return CategoryCells(tuple(ordered[:CATEGORIES]))


def _runs(ordered: Floats) -> tuple[Floats, Ints]:
    """The different values of sorted numbers, and how often each comes."""
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[first], np.diff(np.append(first, len(ordered)))


def _quantiles(ordered: Floats) -> Floats:
    """Values of the sample itself: those in between would lie in no cell's end."""
    return np.asarray(ordered[np.rint(_LEVELS * (len(ordered) - 1)).astype(np.int64)])


def _edges(chosen: Floats, alone: Floats, minimum: float, maximum: float) -> Floats:
    """The chosen values, an edge right below the reference and each value that is to be alone, and the two far edges."""
    margin = _margin(minimum, maximum)
    with np.errstate(over="ignore"):
        far = np.array([minimum - margin, maximum + margin])
        before = np.nextafter([minimum, *alone], -np.inf)
    edges = np.unique(np.concatenate([chosen, [minimum, maximum], before, far]))
    return np.asarray(edges[np.isfinite(edges)] + 0.0)


def _margin(minimum: float, maximum: float) -> float:
    """How far beyond the reference is far: a tenth of its range, or of the value itself where there is only one."""
    width = MARGIN * maximum - MARGIN * minimum
    return width if width > 0 else MARGIN * abs(maximum) or MARGIN


def _scale(centre: float, minimum: float, maximum: float) -> float:
    widest = max(maximum / 2 - centre / 2, centre / 2 - minimum / 2) * 2
    if widest > sys.float_info.max:
        return sys.float_info.max
    return widest if widest >= sys.float_info.min else max(abs(centre), 1.0)


def _coarse(cells: Ints, alone: Bools, steps: bool) -> Ints:
    """The group of each cell. Few values: each by itself, and everything between them together. Otherwise groups of about the
    same share of the reference, with a value that holds a whole share by itself in a group of its own."""
    if steps and int(alone.sum()) <= COARSE_STEPS:
        return np.where(alone, np.cumsum(alone) - 1, int(alone.sum())).astype(np.int64)
    return _grouped(cells, cells.sum() / COARSE)


def _grouped(cells: Ints, share: float) -> Ints:
    groups, group, held = np.empty(len(cells), np.int64), 0, 0
    for place, count in enumerate(cells.tolist()):
        if held > 0 and held + count / 2 > share:
            group, held = group + 1, 0
        groups[place], held = group, held + count
    return groups


def _document(feature: Feature) -> list[object]:
    cells, column = feature.cells, feature.column
    head: list[object] = [*column.key, column.kind]
    if isinstance(cells, NumberCells):
        values = np.array([*cells.edges, cells.minimum, cells.maximum, cells.centre, cells.scale])
        arrays = values.astype("<f8").tobytes() + cells.coarse.astype("<i8").tobytes()
        return [*head, digest_bytes(arrays), cells.precision, cells.steps]
    return [*head, list(cells.values)] if cells is not None else head
