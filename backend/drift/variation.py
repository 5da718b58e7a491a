"""How much parts of a reference (its hours, days, weeks) differ from the rest of it: what a window may do without being news.

Rows of one day are not independent: all flights of an hour share its weather, and no Monday holds a Sunday. A threshold that
supposes independent rows alarms on every day of such data. So each block's scores against all other blocks are kept, and a
window's score is judged by theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from backend.core.errors import Refusal
from backend.drift.counts import ABOVE, BELOW, tally_of
from backend.drift.formulas import norm
from backend.drift.layout import Cells, Feature, NumberCells
from backend.drift.scores import SCORES, Windows, several
from backend.drift.values import Floats, Ints

LENGTHS = (1, 24, 168)
"""Hours of a block: hours, days, weeks."""
FEWEST_BLOCKS = 10
MOST_BLOCKS = 128
FEWEST_VALUES = 20
KEPT = (*SCORES, "missing", "constant")
"""Kept of each block: its scores, its share of rows without a value, and whether it has one value only."""
MISSING, CONSTANT = KEPT.index("missing"), KEPT.index("constant")

Parts = Sequence[Floats]


@dataclass(frozen=True, eq=False)
class Variation:
    """What blocks of one length did.

    Args:
        hours: the length of a block.
        kept: column x `KEPT` x block; NaN where there was too little to say.
    """

    hours: int
    kept: Floats

    def of(self, place: int, what: str) -> Floats:
        """One column's figures, those that there are."""
        found = self.kept[place, KEPT.index(what)]
        return np.asarray(found[np.isfinite(found)])


@dataclass(frozen=True, eq=False)
class Blocks:
    """Which rows belong to which block.

    Args:
        order: the rows, by hour.
        hours: of the rows in that order.
        chosen: for each length, where its blocks begin and end in that order.
    """

    order: Ints
    hours: Ints
    chosen: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]

    @classmethod
    def of(cls, hours: Ints) -> Blocks:
        """Blocks of rows whose hours (since 1970) these are."""
        order = np.argsort(hours, kind="stable")
        ordered = hours[order]
        found = tuple((length, _segments(ordered, length)) for length in LENGTHS)
        return cls(order, ordered, tuple((length, chosen) for length, chosen in found if len(chosen) >= FEWEST_BLOCKS))


def hours_of(array: pa.Array) -> Ints:
    """The hour (since 1970, UTC) of each time; rows without one share the hour 0.

    Texts are read as ISO 8601, without a zone as UTC. Refusal `no-time` for what is no time: a number would be in a unit that
    nothing names, and guessed wrongly all rows would be of one day.
    """
    microseconds = _moments(array).cast(pa.int64()).fill_null(0)
    return np.asarray(microseconds.to_numpy(zero_copy_only=False) // 3_600_000_000, dtype=np.int64)


def _moments(array: pa.Array) -> pa.Array:
    """As times in microseconds; what is finer is cut off."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return array.cast(pa.timestamp("us"), safe=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        for wanted in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
            with suppress(pa.ArrowInvalid):
                return array.cast(pa.string()).cast(wanted).cast(pa.timestamp("us"), safe=False)
    raise Refusal(
        f"The column that should say when rows were holds {kind}, and not times.",
        "Write timestamps or dates, or texts such as 2026-03-02T12:00:00Z, all with a zone or all without; make times of "
        "numbers first, in the unit that they are in.",
        code="no-time",
    )


def parts(feature: Feature, values: Floats, blocks: Blocks) -> Parts | None:
    """What the blocks of each length did in one column: `KEPT` x block each. None for a column that is not counted.

    Args:
        values: row by row: the number, or the place of the text's cell; NaN where there is none.
    """
    if feature.cells is None or not len(values):
        return None
    ordered = values[blocks.order]
    whole = _counted(ordered, feature.cells)
    return [_of_length(ordered, whole, feature.cells, segments) for _, segments in blocks.chosen]


def gathered(found: Sequence[Parts | None], blocks: Blocks | None) -> tuple[Variation, ...]:
    """The variations of all columns, by length."""
    if blocks is None:
        return ()
    return tuple(
        Variation(length, np.stack([_or_nothing(one, number, len(segments)) for one in found]))
        for number, (length, segments) in enumerate(blocks.chosen)
    )


@dataclass(frozen=True, eq=False)
class _Counted:
    cells: Ints
    outside: Floats
    missing: int
    rows: int
    constant: bool
    deviation: float
    largest: float


def _of_length(ordered: Floats, whole: _Counted, cells: Cells, segments: Sequence[tuple[int, int]]) -> Floats:
    found = [_counted(ordered[start:end], cells) for start, end in segments]
    counts, outside = np.stack([one.cells for one in found]), np.stack([one.outside for one in found])
    rest = Windows(whole.cells - counts, np.maximum(whole.outside - outside, 0.0))
    few = (counts.sum(axis=-1) < FEWEST_VALUES) | (rest.cells.sum(axis=-1) < FEWEST_VALUES)
    kept = np.full((len(KEPT), len(found)), np.nan)
    if not few.all():
        scores = several(cells, rest, Windows(counts, outside), norm(whole.deviation, whole.largest))
        for place, name in enumerate(SCORES):
            kept[place] = np.where(few, np.nan, scores.get(name, np.nan))
    kept[MISSING] = [one.missing / one.rows if one.rows >= FEWEST_VALUES else np.nan for one in found]
    kept[CONSTANT] = np.where(few, np.nan, [float(one.constant) for one in found])
    return kept


def _counted(values: Floats, cells: Cells) -> _Counted:
    if isinstance(cells, NumberCells):
        return _counted_numbers(values, cells)
    present = values[~np.isnan(values)].astype(np.int64)
    counts = np.bincount(present, minlength=cells.size).astype(np.int64)
    constant = int((counts > 0).sum()) == 1
    return _Counted(counts, np.zeros(2), len(values) - len(present), len(values), constant, 1.0, 1.0)


def _counted_numbers(values: Floats, cells: NumberCells) -> _Counted:
    tally = tally_of(values, cells)
    finite = values[np.isfinite(values)]
    constant = tally.low == tally.high
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = 0.0 if constant or not len(finite) else float(np.nan_to_num(finite.std()))
    largest = max(abs(tally.low), abs(tally.high)) if len(finite) else 0.0
    return _Counted(tally.cells, tally.sums[[BELOW, ABOVE]], tally.nans, len(values), constant, deviation, largest)


def _segments(ordered: Ints, length: int) -> tuple[tuple[int, int], ...]:
    """Where blocks begin and end; of many, some that lie evenly over the whole time."""
    blocks = ordered // length
    starts = np.flatnonzero(np.diff(blocks, prepend=blocks[:1] - 1))
    ends = np.append(starts[1:], len(ordered))
    whole = np.flatnonzero(ends - starts >= FEWEST_VALUES)
    if len(whole) > MOST_BLOCKS:
        whole = whole[np.linspace(0, len(whole) - 1, MOST_BLOCKS).astype(np.int64)]
    return tuple(zip(starts[whole].tolist(), ends[whole].tolist(), strict=True))


def _or_nothing(found: Parts | None, number: int, blocks: int) -> Floats:
    return found[number] if found is not None else np.full((len(KEPT), blocks), np.nan)
