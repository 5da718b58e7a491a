"""What a window of rows looks like, as counts in a layout's cells. Counts add up, so that any window is a sum of its hours.

| kept of each column | |
|---|---|
| cells | how many values lie in each cell |
| nulls, nans, infinities | rows without a value, that are no number, that are infinite, by sign |
| minimum, maximum | of finite numbers |
| sums | of finite numbers and their squares (shifted and scaled, see the layout), and by how much they lie outside the edges |
| unlisted | the texts in the last cell, the most frequent ones by name |
| other kinds | rows whose value was of another kind than the reference's |

Everything adds up exactly but two: sums are rounded as doubles are, and of unlisted texts those beyond `UNLISTED` lose their
names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backend.core.errors import Refusal
from backend.drift.layout import CategoryCells, Feature, Layout, NumberCells
from backend.drift.sources import Source
from backend.drift.values import Column, Floats, Ints, Key, Kind, numbers, rounded, texts

UNLISTED = 20
EXTRAS = 100
WHOLE = ("seen", "nulls", "nans", "plus_infinities", "minus_infinities", "unreadable")
"""Whole numbers of each column: rows in which the column existed, then what those rows held."""
SUMS = ("total", "squares", "below", "above")
SEEN, NULLS, NANS, PLUS, MINUS, UNREADABLE = range(len(WHOLE))
TOTAL, SQUARES, BELOW, ABOVE = range(len(SUMS))

Others = Mapping[tuple[Key, Kind], int]
Unlisted = Mapping[Key, Mapping[str, int]]


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of one window in one layout.

    Args:
        layout: its digest.
        rows: how many there were.
        cells: of all columns, in one row (`Layout.cells_of`).
        whole: a row a column, as `WHOLE` names them.
        low, high: smallest and largest finite number of each column; infinite the wrong way round where there is none.
        sums: a row a column, as `SUMS` names them.
        unlisted: texts in the last cell by column, at most `UNLISTED` of each.
        mistyped: rows that held a value of another kind, by column and that kind.
        extra: rows that held a value of a column that the reference does not have.
    """

    layout: str
    rows: int
    cells: Ints
    whole: Ints
    low: Floats
    high: Floats
    sums: Floats
    unlisted: Unlisted
    mistyped: Others
    extra: Others

    def __add__(self, other: Counts) -> Counts:
        if self.layout != other.layout:
            raise Refusal(
                "These counts were made in the cells of different references.",
                "Count the rows again in the cells of the reference that is asked about.",
                code="other-layout",
            )
        return Counts(
            self.layout,
            self.rows + other.rows,
            self.cells + other.cells,
            self.whole + other.whole,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            _saturated(self.sums, other.sums),
            _most_unlisted(self.unlisted, other.unlisted),
            _added(self.mistyped, other.mistyped),
            _most(_added(self.extra, other.extra), EXTRAS),
        )

    def of(self, layout: Layout, place: int) -> ColumnCounts:
        """One column's counts, by its place in the layout."""
        key = layout.features[place].key
        kinds = {kind: rows for (one, kind), rows in self.mistyped.items() if one == key}
        return ColumnCounts(
            rows=self.rows,
            cells=self.cells[layout.cells_of(place)],
            whole=self.whole[place],
            low=float(self.low[place]),
            high=float(self.high[place]),
            sums=self.sums[place],
            unlisted=self.unlisted.get(key, {}),
            mistyped=kinds,
        )


@dataclass(frozen=True, eq=False)
class ColumnCounts:
    """One column's part of `Counts`."""

    rows: int
    cells: Ints
    whole: Ints
    low: float
    high: float
    sums: Floats
    unlisted: Mapping[str, int]
    mistyped: Mapping[Kind, int]

    @property
    def values(self) -> int:
        """Rows whose value was counted in a cell."""
        return int(self.cells.sum())

    @property
    def seen(self) -> bool:
        """Whether the column was there in any of the rows."""
        return bool(self.whole[SEEN])

    @property
    def missing(self) -> int:
        """Rows without a value: NULL, no number, or no such column."""
        return int(self.rows - self.whole[SEEN] + self.whole[NULLS] + self.whole[NANS])

    @property
    def infinities(self) -> int:
        """Rows with an infinite number."""
        return int(self.whole[PLUS] + self.whole[MINUS])

    def mean(self, cells: NumberCells) -> float | None:
        """The mean of the finite numbers; None where there are none or no double holds it."""
        mean = cells.centre + cells.scale * float(self.sums[TOTAL]) / max(self.values, 1)
        return mean if self.values and np.isfinite(mean) else None

    def deviation(self, cells: NumberCells) -> float | None:
        """The standard deviation of the finite numbers (of all of them, not a sample's estimate), None as for `mean`.

        A value that is the only one has none; what rounding alone would make of it is 0 too.
        """
        if not self.values or self.low == self.high:
            return 0.0 if self.values else None
        mean, square = self.sums[TOTAL] / self.values, self.sums[SQUARES] / self.values
        deviation = float(np.sqrt(max(square - mean * mean, 0.0))) * cells.scale
        return deviation if np.isfinite(deviation) else None


def nothing(layout: Layout) -> Counts:
    """The counts of no rows."""
    columns = len(layout.features)
    whole, sums = np.zeros((columns, len(WHOLE)), np.int64), np.zeros((columns, len(SUMS)))
    low = np.full(columns, np.inf)
    return Counts(layout.digest, 0, np.zeros(layout.size, np.int64), whole, low, -low, sums, {}, {}, {})


def total(layout: Layout, parts: Iterable[Counts]) -> Counts:
    """The sum of any number of parts, such as the hours of a window."""
    return reduce(Counts.__add__, parts, nothing(layout))


def counted(source: Source, layout: Layout) -> Counts:
    """Counts all rows of a source. A column that cannot be read costs only itself: its rows count as unreadable."""
    tally = _Tally(layout)
    columns = source.columns
    for batch in source.batches(columns):
        tally.take(batch, columns)
    return tally.counts()


class _Tally:
    """Counts while rows come in."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        empty = nothing(layout)
        self.rows, self.cells, self.whole = 0, empty.cells, empty.whole
        self.low, self.high, self.sums = empty.low, empty.high, empty.sums
        self.unlisted: dict[Key, dict[str, int]] = {}
        self.mistyped: dict[tuple[Key, Kind], int] = {}
        self.extra: dict[tuple[Key, Kind], int] = {}

    def take(self, batch: pa.RecordBatch, columns: Sequence[Column]) -> None:
        """Counts one batch; its first columns are `columns`."""
        self.rows += batch.num_rows
        for column, array in zip(columns, batch.columns, strict=False):
            place = self.layout.places.get(column.key)
            if place is None:
                _count(self.extra, (column.key, column.kind), len(array) - array.null_count)
            elif _fits(column, self.layout.features[place]):
                self._take_column(place, array)
            else:
                _count(self.mistyped, (column.key, column.kind), len(array) - array.null_count)

    def counts(self) -> Counts:
        """All of it."""
        unlisted = {key: _most(found, UNLISTED) for key, found in self.unlisted.items() if found}
        extra = _most(self.extra, EXTRAS)
        return Counts(
            self.layout.digest, self.rows, self.cells, self.whole, self.low, self.high, self.sums,
            unlisted, dict(self.mistyped), extra,
        )  # fmt: skip

    def _take_column(self, place: int, array: pa.Array) -> None:
        self.whole[place, SEEN] += len(array)
        cells = self.layout.features[place].cells
        try:
            if isinstance(cells, NumberCells):
                self._take_numbers(place, cells, array)
            elif cells is not None:
                self._take_texts(place, cells, array)
            else:
                self.whole[place, NULLS] += array.null_count
        except (pa.ArrowException, ValueError, OverflowError, UnicodeError):
            self.whole[place, UNREADABLE] += len(array)

    def _take_numbers(self, place: int, cells: NumberCells, array: pa.Array) -> None:
        found, nulls = numbers(array)
        one = tally_of(found, cells)
        self.cells[self.layout.cells_of(place)] += one.cells
        self.whole[place, NULLS:] += (nulls, one.nans, one.plus, one.minus, 0)
        self.low[place], self.high[place] = min(self.low[place], one.low), max(self.high[place], one.high)
        self.sums[place] += one.sums

    def _take_texts(self, place: int, cells: CategoryCells, array: pa.Array) -> None:
        found, nulls = texts(array)
        self.whole[place, NULLS] += nulls
        start, unlisted = self.layout.offsets[place], self.unlisted.setdefault(self.layout.features[place].key, {})
        for value, count in found.items():
            self.cells[start + cells.places.get(value, len(cells.values))] += count
            if value not in cells.places:
                unlisted[value] = unlisted.get(value, 0) + count
        if len(unlisted) > _HELD:
            self.unlisted[self.layout.features[place].key] = _most(unlisted, _HELD // 2)


_HELD = 10_000  # names of unlisted texts that are held while counting


@dataclass(frozen=True, eq=False)
class NumberTally:
    """What some numbers add to a column's counts."""

    cells: Ints
    nans: int
    plus: int
    minus: int
    low: float
    high: float
    sums: Floats


def tally_of(values: Floats, cells: NumberCells) -> NumberTally:
    """Counts numbers. Sorting them first costs less than looking each one up: then the few edges are looked up in the values,
    and minimum, maximum, infinities and NaN (which sort last) are a matter of position."""
    ordered = rounded(values, cells.precision)
    ordered.sort()
    minus = int(np.searchsorted(ordered, -np.inf, "right"))
    plus = int(np.searchsorted(ordered, np.inf, "left"))
    nans = int(np.searchsorted(ordered, np.nan, "left"))
    finite = ordered[minus:plus]
    ends = np.searchsorted(finite, cells.edges, "right")
    low, high = (float(finite[0]), float(finite[-1])) if len(finite) else (np.inf, -np.inf)
    return NumberTally(
        cells=np.diff(np.concatenate([[0], ends, [len(finite)]])),
        nans=len(ordered) - nans,
        plus=nans - plus,
        minus=minus,
        low=low,
        high=high,
        sums=_sums(finite, ends, cells),
    )


def _sums(finite: Floats, ends: npt.NDArray[np.intp], cells: NumberCells) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        moved = (finite - cells.centre) / cells.scale
        below = above = 0.0
        if len(ends):
            first, last = cells.edges[0], cells.edges[-1]
            below = float(((first - finite[: ends[0]]) / cells.scale).sum())
            above = float(((finite[ends[-1] :] - last) / cells.scale).sum())
        # not `moved @ moved`, whose threads wait for each other on a busy machine
        found = np.array([moved.sum(), np.einsum("i,i->", moved, moved), below, above])
    return np.asarray(np.nan_to_num(found, nan=0.0))


def _fits(column: Column, feature: Feature) -> bool:
    """Whether a column's values can be counted as the reference's. A truth value that travels as JSON is a text on its way."""
    if column.kind == feature.kind:
        return True
    return column.key.role == "prediction" and {column.kind, feature.kind} == {"text", "flag"}


def _count(found: dict[tuple[Key, Kind], int], what: tuple[Key, Kind], rows: int) -> None:
    if rows or what[0].role == "feature":
        found[what] = found.get(what, 0) + rows


def _saturated(one: Floats, other: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(np.nan_to_num(one + other))


def _added(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _most(found: Mapping[Any, int], limit: int) -> dict[Any, int]:
    if len(found) <= limit:
        return dict(found)
    return {name: found[name] for name in sorted(found, key=lambda one: (-found[one], one))[:limit]}


def _most_unlisted(one: Unlisted, other: Unlisted) -> Unlisted:
    return {key: _most(_added(one.get(key, {}), other.get(key, {})), UNLISTED) for key in {**one, **other}}
