"""The profile of a reference: the cells that its values make, its own counts in them, and how much its parts differ.

    profile = build(ParquetSource([path], Roles(prediction="late", time="event_time", without=["request_id"])))

Only aggregates are kept, of bounded size: about 500 edges a number, 500 names a text. Data is read twice, a part at a time:
once for the cells, a few columns at once and of very large data every so many rows, once to count all of it in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.core.errors import Refusal
from backend.drift import variation
from backend.drift.counts import Counts, counted
from backend.drift.layout import CATEGORIES, CategoryCells, Feature, Layout, category_cells, number_cells
from backend.drift.sources import Source
from backend.drift.values import Column, Floats, Ints, Precision, aligned, plain_texts, rounded, text_of
from backend.drift.variation import Blocks, Parts, Variation

SAMPLE = 2_000_000
"""Rows that cells are made from; of more, every so many."""
COLUMNS_AT_ONCE = 8
MOST_COLUMNS = 2_000


@dataclass(frozen=True, eq=False)
class Profile:
    """A reference.

    Args:
        layout: the cells that it and every window are counted in.
        counts: of the reference itself.
        variations: how much its hours, days and weeks differ from all of it; empty where nothing says when its rows were.
    """

    layout: Layout
    counts: Counts
    variations: tuple[Variation, ...] = ()


def build(source: Source, *, timed: bool = False, sample: int = SAMPLE) -> Profile:
    """The profile of a source's rows.

    Args:
        timed: whether the source says when its rows were, so that the variation of its parts can be kept.
        sample: rows that cells are made from.
    """
    columns = _once_each(source.columns)
    stride = max(1, -(-_rows(source) // sample))
    blocks = _blocks(source, stride) if timed else None
    features, parts = list[Feature](), list[Parts | None]()
    for start in range(0, len(columns), COLUMNS_AT_ONCE):
        for column, held in _held(source, columns[start : start + COLUMNS_AT_ONCE], stride):
            feature, values = held.feature(column)
            features.append(feature)
            parts.append(variation.parts(feature, values, blocks) if blocks is not None else None)
    layout = Layout(tuple(features))
    return Profile(layout, counted(source, layout), variation.gathered(parts, blocks))


def days_of(source: Source) -> int:
    """On how many days (UTC) a source's rows were."""
    found = set[int]()
    for batch in source.batches((), time=True):
        times = batch.columns[-1]
        found.update(np.unique(variation.hours_of(times.drop_null()) // 24).tolist())
    return len(found)


class _Numbers:
    """Numbers of one column while they are gathered."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.kept: list[Floats] = []
        self.low, self.high = np.inf, -np.inf

    def take(self, array: pa.Array, rows: slice) -> None:
        try:
            found = rounded(aligned(array), self.precision)
        except (pa.ArrowException, ValueError, OverflowError):
            found = np.full(len(array), np.nan)
        finite = found[np.isfinite(found)]
        if len(finite):
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        self.kept.append(found[rows])

    def feature(self, column: Column) -> tuple[Feature, Floats]:
        values = np.concatenate(self.kept) if self.kept else np.empty(0)
        self.kept.clear()
        return Feature(column, number_cells(values[np.isfinite(values)], self.low, self.high, self.precision)), values


class _Texts:
    """Texts of one column while they are gathered."""

    def __init__(self) -> None:
        self.kept: list[pa.Array] = []

    def take(self, array: pa.Array, rows: slice) -> None:
        self.kept.append(plain_texts(array)[rows] if rows.step != 1 else plain_texts(array))

    def feature(self, column: Column) -> tuple[Feature, Floats]:
        coded = pa.chunked_array(self.kept, pa.string()).combine_chunks().dictionary_encode()
        self.kept.clear()
        codes = coded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
        names = _most_frequent(coded)
        cells = category_cells({text_of(name): count for name, count in names.items()})
        return Feature(column, cells), _places(codes, coded.dictionary, {text_of(name): name for name in names}, cells)


class _Others:
    """A column that is not counted."""

    def take(self, array: pa.Array, rows: slice) -> None:
        """Nothing is kept of it."""

    def feature(self, column: Column) -> tuple[Feature, Floats]:
        return Feature(column, None), np.empty(0)


_Held = _Numbers | _Texts | _Others


def _held(source: Source, columns: Sequence[Column], stride: int) -> Iterator[tuple[Column, _Held]]:
    """Some columns' values, every `stride`th row of all."""
    gathered: list[_Held] = [_gathering(one) for one in columns]
    for batch, rows in _strided(source, columns, stride):
        for held, array in zip(gathered, batch.columns, strict=False):
            held.take(array, rows)
    yield from zip(columns, gathered, strict=True)


def _gathering(column: Column) -> _Held:
    if column.kind == "number":
        return _Numbers(column.precision)
    return _Others() if column.kind == "other" else _Texts()


def _strided(
    source: Source, columns: Sequence[Column], stride: int, *, time: bool = False
) -> Iterator[tuple[pa.RecordBatch, slice]]:
    """Batches, and which of their rows are taken."""
    gone = 0
    for batch in source.batches(columns, time=time):
        yield batch, slice(-gone % stride, None, stride)
        gone += batch.num_rows


def _rows(source: Source) -> int:
    return sum(batch.num_rows for batch in source.batches(()))


def _blocks(source: Source, stride: int) -> Blocks:
    found = [variation.hours_of(batch.columns[-1])[rows] for batch, rows in _strided(source, (), stride, time=True)]
    return Blocks.of(np.concatenate(found) if found else np.empty(0, np.int64))


def _once_each(columns: Sequence[Column]) -> tuple[Column, ...]:
    """One column a key: of several kinds that a log has of one feature, the one that is named first is what it is."""
    found = {one.key: one for one in reversed(columns)}
    chosen = tuple(one for one in columns if found[one.key] is one)
    if not 0 < len(chosen) <= MOST_COLUMNS:
        raise Refusal(
            f"A reference needs 1 to {MOST_COLUMNS} columns; this one has {len(chosen)}.",
            "Name the features that the model is asked with.",
            code="bad-reference",
        )
    return chosen


def _most_frequent(coded: pa.DictionaryArray) -> dict[str, int]:
    """The most frequent texts with their counts; only those become Python's own."""
    counts: Ints = np.bincount(coded.indices.drop_null().to_numpy(), minlength=len(coded.dictionary))
    order = np.argsort(-counts, kind="stable")
    if len(order) > CATEGORIES:  # all that tie with the last one, so that which are named does not depend on the rows' order
        order = order[counts[order] >= counts[order[CATEGORIES - 1]]][: 10 * CATEGORIES]
    names = coded.dictionary.take(pa.array(order)).to_pylist()
    return dict(zip(names, counts[order].tolist(), strict=True))


def _places(codes: Floats, dictionary: pa.Array, named: dict[str, str], cells: CategoryCells) -> Floats:
    """The cell of each row, NaN where there is no text."""
    listed = pa.array([named[value] for value in cells.values], pa.string())
    found = pc.index_in(dictionary, value_set=listed).fill_null(len(cells.values)).to_numpy(zero_copy_only=False)
    absent = np.isnan(codes)
    places = np.append(found, 0)[np.where(absent, len(found), codes).astype(np.int64)].astype(np.float64)
    places[absent] = np.nan
    return places
