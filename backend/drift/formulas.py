"""The scores as formulas over counts, for one window or many at once: the last axis is cells, all axes before it are windows.

| score | is | as |
|---|---|---|
| PSI | sum of (p - q) ln(p / q); an empty cell is filled, see `filled` | Evidently |
| Jensen-Shannon | the distance (the root of the divergence) with the natural logarithm: 0 to 0.8326 | SciPy, Evidently |
| Kolmogorov-Smirnov | the largest difference of the cumulated shares | SciPy |
| Wasserstein | the area between the cumulated shares, over the reference's standard deviation | SciPy, Evidently |
| chi-squared | of the two rows of counts being draws from one and the same distribution | SciPy's `chi2_contingency` |

Sources: Evidently 0.7.23 `legacy/calculations/stattests`, SciPy 1.17 `scipy.stats` and `scipy.spatial.distance`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from backend.drift.values import Floats, Ints

EMPTY_CELL = 1e-4
LEAST_NORM = 0.001
LEAST_EXPECTED = 5.0
LARGEST = float(np.finfo(np.float64).max)


class Area(NamedTuple):
    """An area between two cumulated distributions: the best guess, and what it lies between whatever the values in a cell
    are."""

    guess: Floats
    least: Floats
    most: Floats


def shares(counts: Ints | Floats) -> Floats:
    """Counts as shares of their sum. A window without values has no shares: its row is all NaN."""
    whole = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts / whole, dtype=np.float64)


def psi(reference: Floats, current: Floats) -> Floats:
    """Population stability index of shares."""
    p, q = filled(reference), filled(current)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def filled(found: Floats) -> Floats:
    """Shares with empty cells filled as Evidently does: by 0.0001, or by a millionth of the smallest other one if even that is
    no larger than 0.0001."""
    smallest = np.where(found > 0, found, np.inf).min(axis=-1, keepdims=True)
    filling = np.where(smallest <= EMPTY_CELL, smallest / 10**6, EMPTY_CELL)
    return np.where(found == 0, filling, found)


def jensen_shannon(reference: Floats, current: Floats) -> Floats:
    """Jensen-Shannon distance of shares (or of any weights: they are made shares first, as SciPy does)."""
    p, q = shares(reference), shares(current)
    middle = (p + q) / 2
    divergence = (_entropy(p, middle) + _entropy(q, middle)) / 2
    return np.asarray(np.sqrt(np.maximum(divergence, 0.0)))


def _entropy(p: Floats, q: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(p == 0, 0.0, p * np.log(p / q)).sum(axis=-1))


def cumulated(counts: Ints) -> Floats:
    """The share of values up to each edge, that is without the last cell."""
    running = counts.cumsum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(running[..., :-1] / running[..., -1:], dtype=np.float64)


def kolmogorov_smirnov(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """The largest difference of cumulated shares at the edges, and what it may be at most between them.

    Both only rise, so that between two edges a difference is at most one's upper less the other's lower end.
    """
    at_edges = np.abs(reference - current).max(axis=-1, initial=0.0)
    left, right = _ends(reference), _ends(current)
    most = np.maximum(left[1] - right[0], right[1] - left[0]).max(axis=-1)
    return np.asarray(at_edges), np.asarray(np.minimum(most, 1.0))


def _ends(cumulated: Floats) -> tuple[Floats, Floats]:
    """The cumulated share at the lower and at the upper end of each cell."""
    nothing = np.zeros((*cumulated.shape[:-1], 1))
    return np.concatenate([nothing, cumulated], axis=-1), np.concatenate([cumulated, nothing + 1], axis=-1)


def area(reference: Floats, current: Floats, edges: Floats, outside: Floats) -> Area:
    """The area between cumulated shares, in the unit of `edges`.

    Between edges the cumulated shares are taken as straight lines, which may cross.

    Args:
        reference, current: cumulated shares at the edges.
        outside: the area beyond the first and last edge, which is known from the sums kept there.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        width = np.diff(edges)
        a, b = (reference - current)[..., :-1], (reference - current)[..., 1:]
        apart = np.abs(a) + np.abs(b)
        crossing = a * b < 0
        height = np.where(crossing, (a * a + b * b) / np.where(crossing, 2 * apart, 1.0), apart / 2)
        low, high = (reference[..., :-1], reference[..., 1:]), (current[..., :-1], current[..., 1:])
        least = np.maximum(np.maximum(low[0] - high[1], high[0] - low[1]), 0.0)
        most = np.maximum(low[1] - high[0], high[1] - low[0])
        return Area(*(_finite((one * width).sum(axis=-1) + outside) for one in (height, least, most)))


def _finite(found: Floats) -> Floats:
    return np.asarray(np.nan_to_num(found, nan=LARGEST, posinf=LARGEST))


def norm(deviation: float | None, largest: float) -> float:
    """What an area is measured in: the reference's standard deviation; 0.001 (Evidently's least) where that is nothing but
    rounding. A feature that is small in all its values is measured by itself, which Evidently does not."""
    if deviation is None:
        return LARGEST
    return deviation if deviation > 1e-12 * largest else LEAST_NORM


def chi_squared(reference: Ints, current: Ints) -> tuple[Floats, Ints]:
    """The statistic of homogeneity of two rows of counts, and its degrees of freedom (0: nothing can be said).

    Cells of which fewer than five are expected in either row are taken together, as the approximation asks for.
    """
    r, c = np.broadcast_arrays(np.asarray(reference, np.float64), np.asarray(current, np.float64))
    n1, n2 = r.sum(axis=-1, keepdims=True), c.sum(axis=-1, keepdims=True)
    both = r + c
    with np.errstate(invalid="ignore", divide="ignore"):
        rare = both * np.minimum(n1, n2) / (n1 + n2) < LEAST_EXPECTED
    r, c = _pooled(r, rare), _pooled(c, rare)
    return homogeneity(r, c)


def homogeneity(r: Floats, c: Floats) -> tuple[Floats, Ints]:
    """As `chi_squared`, of the cells as they are."""
    n1, n2, both = r.sum(axis=-1, keepdims=True), c.sum(axis=-1, keepdims=True), r + c
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = both * n1 / (n1 + n2), both * n2 / (n1 + n2)
        terms = (r - expected[0]) ** 2 / expected[0] + (c - expected[1]) ** 2 / expected[1]
    statistic = np.where(both > 0, terms, 0.0).sum(axis=-1)
    freedom = np.maximum((both > 0).sum(axis=-1) - 1, 0) * ((n1 > 0) & (n2 > 0))[..., 0]
    return np.asarray(np.where(freedom > 0, statistic, 0.0)), np.asarray(freedom, dtype=np.int64)


def _pooled(counts: Floats, rare: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
    """The counts with the rare cells emptied, and their sum as one more cell at the end."""
    together = np.where(rare, counts, 0.0).sum(axis=-1, keepdims=True)
    return np.concatenate([np.where(rare, 0.0, counts), together], axis=-1)


def grouped(cells: Ints, coarse: Ints, groups: int) -> Ints:
    """Counts of cells as counts of their groups, in which a cell's number may come back."""
    found = np.zeros((*cells.shape[:-1], groups), np.int64)
    ordered = np.argsort(coarse, kind="stable")
    starts = np.searchsorted(coarse[ordered], np.arange(groups))
    found[...] = np.add.reduceat(cells[..., ordered], starts, axis=-1)
    return found


def chi_squared_p(statistic: float, freedom: int) -> float:
    """The chance of a statistic as large as this, if both were draws of one distribution."""
    from scipy.special import chdtrc  # half a second: only where a score is made

    return float(chdtrc(freedom, statistic)) if freedom > 0 else 1.0


def kolmogorov_smirnov_p(distance: float, n1: int, n2: int) -> float:
    """The chance of a distance as large as this, if both were draws of one distribution.

    It supposes that values are continuous and independent; where many are the same it errs towards no drift. SciPy's way beyond
    10,000 values takes as many terms as there are values. Of many, this is the limit with the correction of Vrbik (2018,
    "Small-sample corrections to Kolmogorov-Smirnov test statistic"): within 2 % of SciPy's down to chances of 1e-7.
    """
    from scipy.special import kolmogorov

    size = _values(n1, n2)
    if size <= _MANY:
        return kolmogorov_smirnov_scipy_p(distance, n1, n2)
    z = distance * math.sqrt(size)
    return float(kolmogorov(max(z + 1 / (6 * math.sqrt(size)) + (z - 1) / (4 * size), 0.0)))


def kolmogorov_smirnov_scipy_p(distance: float, n1: int, n2: int) -> float:
    """As `kolmogorov_smirnov_p`, to SciPy's last digit, in as much time as there are values."""
    from scipy.stats import kstwo

    size = _values(n1, n2)
    return float(np.clip(kstwo.sf(distance, size), 0.0, 1.0)) if size else 1.0


_MANY = 2_000


def _values(n1: int, n2: int) -> int:
    """Of how many values one sample would say as much as both do."""
    return max(round(n1 * n2 / (n1 + n2)), 1) if n1 and n2 else 0
