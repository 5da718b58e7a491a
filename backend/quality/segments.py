"""Where the errors are: each segment against all other requests, and which of them are worse beyond chance. Pure.

Many segments are looked at together, so that some always look bad: those named here are kept to a false-discovery rate
(Benjamini and Hochberg 1995), and one with too few outcomes is shown but never named.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from backend.quality.counts import Counts, Tally, Where, added
from backend.quality.figures import LEVEL, Figure, NotPossible
from backend.quality.intervals import around, discoveries, two_sided
from backend.quality.means import ABSOLUTE, LOG_LOSS, Mean
from backend.quality.tasks import Regression

SUPPORT = 100
RATE = 0.05


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment and how it does.

    Args:
        segmentation, segment: the feature, and which of its values or bands.
        loss: its mean loss; log loss of a probability, absolute error of a number.
        rest: the same of all other requests of the window.
        more: the segment's less the rest's.
        adjusted: probability of so much or more where there is no difference, adjusted for all segments looked at; NaN where
            the segment has too few outcomes to be judged.
        worse: whether it is worse beyond chance.
    """

    segmentation: str
    segment: str
    loss: Figure
    rest: Figure
    more: Figure
    adjusted: float
    worse: bool

    @property
    def excess(self) -> float:
        """Loss that this segment adds to all others', in sum: where repairing it pays most."""
        return self.more.value * self.loss.n


def segments(
    counts: Counts, where: Where, *, support: int = SUPPORT, rate: float = RATE, level: float = LEVEL
) -> list[Segment]:
    """Every segment of every feature that has outcomes and others beside it: the worse ones first, by what they add.

    Args:
        where: the window, version and arm; its segment is not looked at.
        support: fewest outcomes of a segment, and of the rest, to judge it by.
        rate: of the segments named as worse, how many may be so by chance.
    """
    found = list[Segment]()
    for feature in counts.segmentations:
        each = counts.segments(replace(where, segmentation=feature, segment=""))
        found += _against_the_rest(counts, feature, each, level)
    judged = [one for one in found if min(one.loss.n, one.rest.n) >= support]
    left = [one for one in found if min(one.loss.n, one.rest.n) < support]
    adjusted = discoveries([one.adjusted for one in judged])
    named = [replace(one, adjusted=p, worse=p <= rate and one.more.value > 0) for one, p in zip(judged, adjusted, strict=True)]
    unnamed = [replace(one, adjusted=math.nan) for one in left]
    return sorted([*named, *unnamed], key=lambda one: (not one.worse, math.isnan(one.adjusted), -one.excess))


def _against_the_rest(counts: Counts, feature: str, each: Mapping[str, Tally], level: float) -> Iterator[Segment]:
    mean = ABSOLUTE if isinstance(counts.task, Regression) else LOG_LOSS
    for name, tally in each.items():
        others = [one for other, one in each.items() if other != name]
        if others and (found := _segment(feature, name, tally, added(others), mean, level)):
            yield found


def _segment(feature: str, name: str, tally: Tally, rest: Tally, mean: Mean, level: float) -> Segment | None:
    loss, of_rest = mean.of(tally, level), mean.of(rest, level)
    if isinstance(loss, NotPossible) or isinstance(of_rest, NotPossible):
        return None
    apart, spread = loss.value - of_rest.value, math.hypot(mean.error(tally), mean.error(rest))
    more = Figure(apart, *around(apart, spread, level), loss.n, loss.missing, method="normal, of independent requests")
    return Segment(feature, name, loss, of_rest, more, two_sided(apart / spread) if spread else float(not apart), False)
