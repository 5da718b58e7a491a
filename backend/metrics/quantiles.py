"""Quantiles from histograms: linear within a bucket as Prometheus does it, each with the bounds between which it truly lies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple


@dataclass(frozen=True)
class Histogram:
    """How many values fell between which bounds.

    Args:
        bounds: finite upper bounds, ascending; a value that equals a bound is below it.
        counts: one more than bounds: how many fell in each bucket (not summed up), last those above every bound.
        total: sum of the values; what negative ones and resets did to it nobody knows, so that it is for means only.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float = 0.0

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds) + 1:
            raise ValueError("a histogram has one bucket more than bounds")
        if not _ascend(self.bounds):
            raise ValueError("the bounds of a histogram are finite and ascend")

    @property
    def count(self) -> float:
        """How many values."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """None where there are none."""
        return self.total / self.count if self.count > 0 else None


class Estimate(NamedTuple):
    """A figure that a histogram only bounds: the true one lies in [low, high]. `value` is the linear guess between them.

    A chart has a thousand of them, and a tuple is made in a third of the time.
    """

    value: float
    low: float
    high: float


def from_cumulative(buckets: Iterable[tuple[float, float]], total: float = 0.0) -> Histogram | None:
    """From (upper bound, values at or below it), as the text format tells them, in any order, `+Inf` among them.

    Between two reads of a server that goes on counting, a higher bucket may be a step behind a lower one: counts never fall
    along the bounds here, as in Prometheus. None without `+Inf`, or with a count that is none.
    """
    ordered = sorted({bound: count for bound, count in buckets if not math.isnan(bound)}.items())
    if not ordered or ordered[-1][0] != math.inf or ordered[0][0] == -math.inf:
        return None
    if not all(math.isfinite(count) and count >= 0 for _, count in ordered):
        return None
    summed = list(accumulate((count for _, count in ordered), max))
    counts = tuple(now - before for before, now in pairwise([0.0, *summed]))
    return Histogram(tuple(bound for bound, _ in ordered[:-1]), counts, total)


def in_unit(bound: float, unit: float) -> float:
    """A bound in another unit, without the noise of the multiplication: 7 ms are 0.007 s."""
    return float(f"{bound * unit:.12g}")


def quantile(histogram: Histogram, q: float) -> Estimate | None:
    """The value below which the share `q` of all lies; None where nobody knows. See `quantiles`."""
    return quantiles({0: histogram}, (q,))[0].get(q)


def quantiles(histograms: Mapping[int, Histogram], shares: Sequence[float]) -> dict[int, dict[float, Estimate]]:
    """Of each histogram the values below which each of these shares of all lies; nothing for one that is empty or boundless.

    As Prometheus's `histogram_quantile`: linear within the bucket, the lowest bucket begins at 0 where its bound is above 0,
    and what lies above the last bound counts as that bound. Its error is at most the width of the bucket: `low` and `high` are
    the bucket's bounds, infinite where it is open.

    A chart has hundreds of histograms with the same bounds: those are worked out together.
    """
    if not all(0 <= q <= 1 for q in shares):
        raise ValueError("a quantile lies between 0 and 1")
    found: dict[int, dict[float, Estimate]] = {key: {} for key in histograms}
    alike: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for key, one in histograms.items():
        if one.bounds and one.count > 0:
            alike[one.bounds].append(key)
    for bounds, keys in alike.items():
        found.update(zip(keys, _estimates(bounds, [histograms[key].counts for key in keys], shares), strict=True))
    return found


def _estimates(
    bounds: tuple[float, ...], each: Sequence[Sequence[float]], shares: Sequence[float]
) -> Iterator[dict[float, Estimate]]:
    """Of each histogram's counts. A share's bucket is the first one that holds any and reaches its rank."""
    import numpy as np  # a tenth of a second: whoever only scrapes needs none of it

    counts = np.array(each, dtype=np.float64)
    summed = counts.cumsum(axis=1)
    ranks = summed[:, -1:] * np.array(shares)
    reached = (summed[:, :, None] < ranks[:, None, :]).sum(axis=1)
    place = np.maximum(reached, (counts > 0).argmax(axis=1)[:, None])
    low = np.array([0.0 if bounds[0] > 0 else -math.inf, *bounds])[place]
    high = np.array([*bounds, math.inf])[place]
    held = np.take_along_axis(counts, place, axis=1)
    within = (ranks - np.take_along_axis(summed, place, axis=1) + held) / held
    open_ended = np.isinf(high - low)
    guess = np.where(np.isinf(low), high, low) + np.where(open_ended, 0.0, high - low) * within.clip(0, 1)
    for row in zip(guess.tolist(), low.tolist(), high.tolist(), strict=True):
        yield dict(zip(shares, map(Estimate._make, zip(*row, strict=True)), strict=True))


def below(histogram: Histogram, threshold: float) -> Estimate:
    """How many values are at or below a threshold. Exact (`low == high`) where it is one of the bounds."""
    seen, low = 0.0, 0.0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        if bound <= threshold:
            seen, low = seen + count, bound
            continue
        start = low if seen or bound > 0 else bound
        share = (threshold - start) / (bound - start) if bound > start and threshold > start else 0.0
        return Estimate(seen + count * share, seen, seen + count)
    last = histogram.counts[-1]
    exact = not histogram.bounds or threshold == histogram.bounds[-1]
    return Estimate(seen, seen, seen if exact and histogram.bounds else seen + last)


def merge(histograms: Sequence[Histogram]) -> Histogram | None:
    """All of them as one. Those with other bounds meet at the bounds that they share, where counts are exact; None for none."""
    if not histograms:
        return None
    first = histograms[0]
    if len(histograms) == 1:
        return first
    if all(one.bounds == first.bounds for one in histograms):
        counts = tuple(map(sum, zip(*(one.counts for one in histograms), strict=True)))
        return Histogram(first.bounds, counts, sum(one.total for one in histograms))
    shared = set(first.bounds).intersection(*(one.bounds for one in histograms))
    return merge([coarser(one, tuple(sorted(shared))) for one in histograms])


def coarser(histogram: Histogram, bounds: tuple[float, ...]) -> Histogram:
    """The same on some of its bounds. ValueError for a bound that it does not have."""
    if not set(bounds) <= set(histogram.bounds):
        raise ValueError("a histogram knows nothing of bounds that are not its own")
    counts, place = [0.0] * (len(bounds) + 1), 0
    for bound, count in zip((*histogram.bounds, math.inf), histogram.counts, strict=True):
        counts[place] += count
        if place < len(bounds) and bound == bounds[place]:
            place += 1
    return Histogram(bounds, tuple(counts), histogram.total)


@lru_cache(maxsize=1024)
def _ascend(bounds: tuple[float, ...]) -> bool:
    """Whether bounds are finite and ascend. Kept, since all points of a series have the same."""
    return all(map(math.isfinite, bounds)) and all(one < other for one, other in pairwise(bounds))
