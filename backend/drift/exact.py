"""The scores from all values instead of counts in cells: what the counts are held to in tests, and for whoever has both
samples.

On numbers, PSI and Jensen-Shannon are taken over the cells that Evidently chooses for each pair of samples anew (Sturges' rule
over both together). Those change with the window, so that their scores cannot be compared over time; `scores.py` has the ones
that can. A reference that is sorted already need not be sorted again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.drift import formulas
from backend.drift.values import Floats, Ints

FEW_VALUES = 20
"""Up to so many different values each is a cell of its own (Evidently)."""
EXACT_P = 10_000
"""Up to so many values SciPy counts the paths instead of approximating."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Scores over all values."""

    psi: float
    jensen_shannon: float
    wasserstein: float
    kolmogorov_smirnov: float
    kolmogorov_smirnov_p: float


def exact(reference: Floats, current: Floats) -> Exact:
    """All scores of two samples of finite numbers. ValueError where one has none.

    Args:
        reference, current: sorted.
    """
    if not len(reference) or not len(current):
        raise ValueError("a sample without values has no scores")
    p, q = evidently_shares(reference, current)
    distance, area = _distances(reference, current)
    deviation = float(np.std(reference)) if reference[0] != reference[-1] else 0.0
    return Exact(
        psi=float(formulas.psi(p, q)),
        jensen_shannon=float(formulas.jensen_shannon(p, q)),
        wasserstein=area / formulas.norm(deviation, float(max(abs(reference[0]), abs(reference[-1])))),
        kolmogorov_smirnov=distance,
        kolmogorov_smirnov_p=_p(reference, current, distance),
    )


def evidently_shares(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """The shares of two sorted samples in the cells that Evidently would choose."""
    if _few(reference):
        values = np.unique(np.concatenate([np.unique(reference), np.unique(current)]))
        counts = _at(reference, values), _at(current, values)
    else:
        edges = _sturges(reference, current)
        counts = _between(reference, edges), _between(current, edges)
    return counts[0] / len(reference), counts[1] / len(current)


def chi_squared_fit(reference: Ints, current: Ints) -> tuple[float, float]:
    """Evidently's chi-squared: of the current counts having been drawn from the reference's shares, which are taken as known.

    A value that the reference never had makes it infinite. `formulas.chi_squared` is right where the reference is a sample too.
    """
    expected = reference * (current.sum() / reference.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (current - expected) ** 2 / expected
    statistic = float(np.where((current == 0) & (expected == 0), 0.0, terms).sum())
    return statistic, formulas.chi_squared_p(statistic, len(reference) - 1)


def _few(ordered: Floats) -> bool:
    return int((ordered[1:] != ordered[:-1]).sum()) + 1 <= FEW_VALUES


def _at(ordered: Floats, values: Floats) -> Ints:
    return np.asarray(np.searchsorted(ordered, values, "right") - np.searchsorted(ordered, values, "left"), dtype=np.int64)


def _sturges(one: Floats, other: Floats) -> Floats:
    """numpy's edges for `bins="sturges"`, without putting the samples together."""
    low, high = min(one[0], other[0]), max(one[-1], other[-1])
    size = len(one) + len(other)
    width = (high - low) / (np.log2(size) + 1.0)
    cells = int(np.ceil((high - low) / width)) if width else 1
    return np.asarray(np.linspace(low, high, cells + 1), dtype=np.float64)


def _between(ordered: Floats, edges: Floats) -> Ints:
    """numpy's histogram of sorted numbers: each cell has its lower edge, the last one both."""
    ends = np.append(np.searchsorted(ordered, edges[:-1], "left"), np.searchsorted(ordered, edges[-1], "right"))
    return np.asarray(np.diff(ends), dtype=np.int64)


def _distances(reference: Floats, current: Floats) -> tuple[float, float]:
    """The largest difference of the cumulated shares, and the area between them."""
    both = np.concatenate([reference, current])
    both.sort(kind="stable")  # two sorted runs: merged, not sorted
    apart = np.abs(
        np.searchsorted(reference, both[:-1], "right") / len(reference)
        - np.searchsorted(current, both[:-1], "right") / len(current)
    )
    return float(apart.max(initial=0.0)), float((apart * np.diff(both)).sum())


def _p(reference: Floats, current: Floats, distance: float) -> float:
    from scipy.stats import ks_2samp

    if max(len(reference), len(current)) <= EXACT_P:
        return float(ks_2samp(reference, current).pvalue)
    return formulas.kolmogorov_smirnov_scipy_p(distance, len(reference), len(current))
