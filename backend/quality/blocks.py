"""Intervals that allow for days whose outcomes move together: whole blocks are drawn anew, not single requests. Pure.

Requests of one stormy day are late together, so that intervals of independent requests are too narrow for what another month
would have shown. The block bootstrap (Kuensch 1989, with blocks of a day) asks only that days are about alike among themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from backend.quality.counts import Tally, added
from backend.quality.figures import LEVEL, Figure, NotPossible, Value
from backend.quality.intervals import Array

SEED = 20130101
DRAWS = 400
FEWEST = 7
TOO_FEW = NotPossible("few-blocks", f"An interval over blocks needs at least {FEWEST} of them; ask for a longer window.")


def over_blocks(blocks: Sequence[Tally], figure: Callable[[Tally], float], level: float = LEVEL, seed: int = SEED) -> Value:
    """A figure of all blocks together, with the basic bootstrap's interval over blocks drawn with replacement.

    Args:
        blocks: one tally a day, of the same bins or not (`Counts.apart`).
        figure: the figure of a tally; NaN where it has none. Draws without one are left out.
    """
    if len(blocks) < FEWEST:
        return TOO_FEW
    whole = added(blocks)
    value = figure(whole)
    if math.isnan(value):
        return NotPossible("no-figure", "The whole window has no such figure.")
    drawn = np.array([figure(one) for one in _drawn(blocks, whole, seed)])
    tail = (1 - level) / 2
    upper, lower = np.nanquantile(drawn, [1 - tail, tail])
    low, high = min(value, 2 * value - float(upper)), max(value, 2 * value - float(lower))
    return Figure(value, low, high, whole.count("labelled"), whole.missing, method=f"{len(blocks)} blocks drawn anew, seeded")


def _drawn(blocks: Sequence[Tally], whole: Tally, seed: int) -> list[Tally]:
    random = np.random.default_rng(seed)
    times = random.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), DRAWS).astype(np.float64)
    places = [np.searchsorted(whole.bins, block.bins) for block in blocks]
    sums = dict.fromkeys(whole.sums)
    summed = [name for name in sums if name not in ("low", "high", "lowest", "highest")]
    drawn = {name: times @ _by_block(blocks, places, name, len(whole.bins)) for name in summed}
    kept = {name: whole[name] for name in sums if name not in drawn}
    return [Tally(whole.bins, {**kept, **{name: drawn[name][turn] for name in summed}}, {}) for turn in range(DRAWS)]


def _by_block(blocks: Sequence[Tally], places: Sequence[NDArray[np.intp]], name: str, width: int) -> Array:
    table = np.zeros((len(blocks), width))
    for row, (block, place) in enumerate(zip(blocks, places, strict=True)):
        table[row, place] = block[name]
    return table
