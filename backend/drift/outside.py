"""Values beyond the range of a reference: how many a window has, and how likely so many are of rows like the reference's.

Of rows that are all alike, any may be the largest: the chance that `k` of a window's `n` rows lie above all `N` of the
reference's is below `(n / (N + n)) ** k`, whatever their distribution is, so that heavy tails are judged fairly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backend.drift.counts import ABOVE, BELOW, ColumnCounts
from backend.drift.layout import MARGIN, NumberCells


@dataclass(frozen=True, slots=True)
class Outside:
    """What of a window lies outside of what its reference ever had.

    Args:
        low, high: the range, of the profile and of the window that is the reference, whichever is wider.
        rows: values outside; where the reference itself lies beyond the profile's cells, so many at least.
        far: those that are further out than a tenth of the range, likewise.
        excess: by how much all of them lie outside, summed: so much at most.
    """

    low: float
    high: float
    rows: int = 0
    far: int = 0
    excess: float = 0.0


def outside(cells: NumberCells, reference: ColumnCounts, current: ColumnCounts) -> Outside:
    """What of `current` lies outside of the range."""
    low, high = min(cells.minimum, reference.low), max(cells.maximum, reference.high)
    if not len(cells.edges) or not current.values:
        return Outside(low, high)
    counts, edges, margin = current.cells, cells.edges, MARGIN * high - MARGIN * low
    under = int(counts[: int(np.searchsorted(edges, low, "left"))].sum())
    over = int(counts[1 + int(np.searchsorted(edges, high, "left")) :].sum())
    below, above = (float(current.sums[one]) * cells.scale for one in (BELOW, ABOVE))
    first, last = float(edges[0]), float(edges[-1])
    far_under = _far(int(counts[0]), below, first - low, first - current.low, margin)
    far_over = _far(int(counts[-1]), above, high - last, current.high - last, margin)
    under = max(under, far_under, int(current.low < low))
    over = max(over, far_over, int(current.high > high))
    excess = (under * max(low - first, 0.0) + below) * bool(under) + (over * max(last - high, 0.0) + above) * bool(over)
    return Outside(low, high, under + over, far_under + far_over, excess)


def chance_outside(rows: int, values: int, among: int) -> float:
    """The chance that so many of a window's values lie outside of the range of so many others, on either side."""
    return min(1.0, 2.0 * (values / (values + among)) ** rows)


def _far(count: int, excess: float, reach: float, furthest: float, margin: float) -> int:
    """How many of the values beyond the last edge are far outside.

    Args:
        count, excess: how many lie beyond it, and by how much in all.
        reach: how far the reference itself does; below 0 where it ends before the edge, which is far from it then.
        furthest: how far the one furthest out does.
    """
    if not count or reach <= 0:
        return count
    near = reach + margin
    if furthest <= near:
        return 0
    least = (excess - count * near) / (furthest - near)  # as many as there must be for the sum to be reached
    return min(max(math.ceil(least - 1e-6), 0), count) if math.isfinite(least) else count
