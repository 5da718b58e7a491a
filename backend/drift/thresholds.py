"""When a score is news: measured on the reference itself, with the thresholds that people know beside it.

Two measures, and a score is news when it lies above both:

- `resampled`: the reference's counts are drawn anew, at its own size and at the window's, as if rows were independent; of the
  scores between such pairs, `LEVEL` lie below. It falls as windows grow.
- `usual`: how far the reference's own hours, days or weeks lie from the rest of it, and what a window of fewer rows than those
  varies by besides. The scores' logarithms are taken as normal.

False discoveries are counted by the chance of a score: the larger one of a further part of the reference lying as far away, and
of independent rows doing so. What fifty columns do by chance in a window of a hundred rows is no news, however quiet days are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from backend.drift.counts import ABOVE, BELOW, ColumnCounts, Counts
from backend.drift.layout import Cells, NumberCells
from backend.drift.outside import chance_outside, outside
from backend.drift.profile import Profile
from backend.drift.scores import SCORES, Score, Scores, Windows, norm_of, several
from backend.drift.values import Floats
from backend.drift.variation import MOST_BLOCKS, Variation

LEVEL = 0.99
RESAMPLES = 200
USUAL = 0.01
"""A chance below which a window is unlike the reference's own parts."""
CONVENTIONAL: Mapping[Score, tuple[float, float]] = MappingProxyType(
    {"psi": (0.1, 0.2), "jensen_shannon": (0.1, 0.2), "wasserstein": (0.1, 0.5), "kolmogorov_smirnov": (0.1, 0.2)}
)
"""What is commonly called a moderate and a large shift, whatever the data."""
JUDGED: Mapping[bool, tuple[Score, ...]] = MappingProxyType(
    {True: ("wasserstein", "kolmogorov_smirnov"), False: ("jensen_shannon",)}
)
"""By which scores a column is judged: numbers by how far they moved and by how much of them did, others by their shares."""

Resampled = Mapping[tuple[int, int], Mapping[Score, float]]
"""(place of a column, class of a window's size) -> score -> what independent rows reach in one window of a hundred."""

_LEAST = 1e-9
_LEAST_SPREAD = 0.1
_CLASSES_PER_DOUBLING = 2


@dataclass(frozen=True, slots=True)
class Threshold:
    """When one score of one column is news.

    Args:
        resampled: what independent rows reach in one window of a hundred.
        usual: what one window of a hundred like the reference's own parts reaches; None where nothing says when its rows were.
        moderate, large: the conventional ones.
    """

    score: Score
    resampled: float
    usual: float | None
    moderate: float
    large: float

    @property
    def limit(self) -> float:
        """Above which the score is news."""
        return max(self.resampled, self.usual or 0.0)


class Thresholds:
    """Thresholds against one reference, each made once for a class of window sizes. The same seed gives the same ones.

    Args:
        reference: its counts; the profile's own unless another window is the reference.
        hours: the length of the windows that are judged; 0 where the reference was at the same time.
        reference_hours: the length of a reference that is a window itself: two windows lie further apart than one does from
            everything.
        kept: what `resampled` said of the same reference and lengths before, so that it is not drawn anew.
    """

    def __init__(
        self,
        profile: Profile,
        reference: Counts | None = None,
        *,
        hours: float = 24,
        reference_hours: float | None = None,
        seed: int = 20130101,
        resamples: int = RESAMPLES,
        kept: Resampled | None = None,
    ) -> None:
        self._layout, self._own = profile.layout, profile.counts
        self._reference = reference or profile.counts
        self._variation = _of_length(profile.variations, hours)
        self._blocks = _blocks_of(profile.variations, self._variation)
        self._wider = math.sqrt(1 + hours / reference_hours) if reference_hours else 1.0
        self._seed, self._resamples = seed, resamples
        self._made: dict[tuple[int, int], Mapping[Score, Threshold]] = {}
        self._kept = dict(kept or {})

    @property
    def resampled(self) -> Resampled:
        """What was drawn, and what was kept before: (place, class of sizes) -> score -> threshold by resampling."""
        made = {key: {score: one.resampled for score, one in found.items()} for key, found in self._made.items()}
        return {**self._kept, **made}

    def of(self, place: int, values: int) -> Mapping[Score, Threshold]:
        """The thresholds of a column for a window with so many values; none where either side has no values."""
        size = size_class(values)
        if (place, size) not in self._made:
            self._made[place, size] = self._make(place, size)
        return self._made[place, size]

    def chance(self, place: int, scores: Scores, current: ColumnCounts) -> float:
        """How likely a window is to lie as far away by any of the scores that decide, if it is like the reference."""
        cells = self._layout.features[place].cells
        names = judged(cells) if cells is not None else ()
        chances = [
            self._chance(place, one, value, scores, current) for one in names if (value := scores.value(one)) is not None
        ]
        return min(1.0, len(chances) * min(chances)) if chances else scores.p

    def _chance(self, place: int, score: Score, value: float, scores: Scores, current: ColumnCounts) -> float:
        """Of one score. Both a part of the reference and independent rows must seldom lie as far away."""
        by_rows = self._of_distance(place, value, current) if score == "wasserstein" else scores.p
        threshold = self.of(place, current.values).get(score)
        size = size_class(current.values)
        parts = self._varied(place, score, size, threshold.resampled) if threshold is not None else None
        known = self.parts(place, score)
        if parts is None or known is None:
            return by_rows
        return max(by_rows, chance_of(value, parts, len(known)))

    def _of_distance(self, place: int, value: float, current: ColumnCounts) -> float:
        """The chance of a Wasserstein distance of independent rows.

        Draws from the reference never leave its range, and rows like it sometimes do: a single one may move a mean far. So the
        distance counts without what lies outside, or else with it as far as so many rows outside are unlikely by themselves.
        """
        cells, reference = self._layout.features[place].cells, self._reference.of(self._layout, place)
        threshold = self.of(place, current.values).get("wasserstein")
        if not isinstance(cells, NumberCells) or threshold is None:
            return 1.0
        norm, found = norm_of(cells, reference), outside(cells, reference, current)
        with np.errstate(over="ignore"):
            step = float(np.float64(found.high / norm - found.low / norm) / current.values)
            within = value - float(np.float64(found.excess) / norm / current.values)
        whole = chance_of_distance(value, threshold.resampled, step)
        if not found.rows:
            return whole
        rest = chance_of_distance(max(within, 0.0), threshold.resampled, step)
        known = self._own.of(self._layout, place).values
        return min(1.0, 2 * min(rest, max(whole, chance_outside(found.rows, current.values, known))))

    def parts(self, place: int, what: str) -> Floats | None:
        """What the reference's own parts did, as `variation.KEPT` names it; None where too few say so."""
        found = self._variation.of(place, what) if self._variation is not None else np.empty(0)
        if len(found) < _FEWEST_PARTS:
            return None
        return found * (self._wider ** _POWERS[what]) if what in _POWERS else found

    def is_often_constant(self, place: int) -> bool:
        """Whether it is nothing new that all values of a window are the same."""
        parts = self.parts(place, "constant")
        return parts is not None and float(parts.mean()) > _OFTEN

    def _make(self, place: int, size: int) -> Mapping[Score, Threshold]:
        cells, reference = self._layout.features[place].cells, self._reference.of(self._layout, place)
        if cells is None or not reference.values or not size:
            return {}
        if (found := self._kept.get((place, size))) is None:
            drawn = self._drawn(place, cells, reference, size)
            found = {score: float(np.quantile(drawn[score], LEVEL)) for score in SCORES if score in drawn}
        return {score: self._threshold(place, score, size, resampled) for score, resampled in found.items()}

    def _drawn(self, place: int, cells: Cells, reference: ColumnCounts, size: int) -> Mapping[Score, Floats]:
        """Scores between pairs of draws from the reference."""
        random = np.random.default_rng([self._seed, place, size])
        chances = reference.cells / reference.values
        sides = [random.multinomial(rows, chances, self._resamples) for rows in (reference.values, size)]
        with np.errstate(over="ignore", invalid="ignore"):
            each = reference.sums[[BELOW, ABOVE]] / np.maximum(reference.cells[[0, -1]], 1)  # of the values beyond the edges
            left, right = (Windows(one, np.nan_to_num(one[:, [0, -1]] * each)) for one in sides)
            return several(cells, left, right, norm_of(cells, reference))

    def _threshold(self, place: int, score: Score, size: int, resampled: float) -> Threshold:
        parts, known = self._varied(place, score, size, resampled), self.parts(place, score)
        usual = value_at(USUAL, parts, len(known)) if parts is not None and known is not None else None
        return Threshold(score, resampled, usual, *CONVENTIONAL[score])

    def _varied(self, place: int, score: Score, size: int, resampled: float) -> Floats | None:
        """What the parts would have done with fewer values each: what they did, and what is drawn of so few besides.

        The squares of both add up. Of draws they are taken as exponential, with the hundredth of them above `resampled`.
        """
        parts = self.parts(place, score)
        if parts is None or not (more := self._fewer(place, size)):
            return parts
        power = _SQUARE / _POWERS[score]
        drawn = more * -np.log1p(-_SPREAD) / _EXPONENT * resampled**power
        return np.asarray((np.add.outer(parts**power, drawn) ** (1 / power)).ravel())

    def _fewer(self, place: int, values: int) -> float:
        """Of the variance of so many drawn values, the share that the reference's parts do not show since they have more."""
        own, known = self._own.of(self._layout, place).values, self._reference.of(self._layout, place).values
        part = max(own / self._blocks, 1.0)
        shown = self._wider**2 * (1 / part + 1 / max(own - part, 1.0))
        return max(0.0, 1 - shown / (1 / max(values, 1) + 1 / max(known, 1)))


def size_class(values: int) -> int:
    """The next lower of few sizes: a threshold for fewer values is higher, so that it errs towards no alarm."""
    if values <= 1:
        return max(values, 0)
    return int(2.0 ** (math.floor(math.log2(values) * _CLASSES_PER_DOUBLING) / _CLASSES_PER_DOUBLING))


def chance_of(value: float, parts: Floats, known: int | None = None) -> float:
    """The chance of a part as far away as a value: Student's, of logarithms, since the parts are few.

    Args:
        known: how many they are, where each stands for several.
    """
    from scipy.special import stdtr

    count = known or len(parts)
    middle, spread = _logarithms(parts, count)
    return float(stdtr(count - 1, (middle - math.log(max(value, _LEAST))) / spread))


def value_at(chance: float, parts: Floats, known: int | None = None) -> float:
    """The value that has this chance."""
    from scipy.special import stdtrit

    count = known or len(parts)
    middle, spread = _logarithms(parts, count)
    return math.exp(min(middle + spread * float(stdtrit(count - 1, 1 - chance)), 700.0))


def chance_of_distance(value: float, resampled: float, step: float) -> float:
    """The chance that independent rows lie as far away as a value, from the threshold that one window in a hundred passes.

    Up to it the chance falls with the square of the distance, as the area of a Brownian bridge's does. Beyond, where too few
    draws lie, it is Bernstein's bound with a variance that is rather too large: with the square at first, and only with the
    distance where single rows can make a difference.

    Args:
        step: how far one row of the window can move the distance.
    """
    if value <= 0:
        return 1.0
    if resampled <= 0:
        return 0.0
    ratio = min(value / resampled, 1e150)
    if ratio <= 1:
        return float((1 - LEVEL) ** (ratio * ratio))
    steps = _EXPONENT / 3 * min(step / resampled, 1e300)
    beyond = _EXPONENT / 2 * (ratio / (1 / ratio + steps) - 1 / (1 + steps))
    return (1 - LEVEL) * math.exp(-beyond)


def judged(cells: Cells) -> tuple[Score, ...]:
    """By which scores a column is judged."""
    return JUDGED[isinstance(cells, NumberCells)]


_FEWEST_PARTS = 10
_POWERS = {"psi": 2, "jensen_shannon": 1, "wasserstein": 1, "kolmogorov_smirnov": 1}
"""How scores grow with how far windows vary: PSI is a square, the others are distances."""
_SQUARE = 2
_EXPONENT = -math.log(1 - LEVEL)
"""Above so many times its mean lies the hundredth of an exponential distribution."""
_SPREAD: Floats = (np.arange(20) + 0.5) / 20
_OFTEN = 0.02


def _logarithms(parts: Floats, count: int) -> tuple[float, float]:
    """Mean of the logarithms, and the spread of a further one around it."""
    found = np.log(np.maximum(parts, _LEAST))
    spread = max(float(found.std(ddof=1)), _LEAST_SPREAD)
    return float(found.mean()), spread * math.sqrt(1 + 1 / count)


def _blocks_of(variations: tuple[Variation, ...], chosen: Variation | None) -> float:
    """In about how many blocks the reference lies. Of many only some are looked at; then longer ones say how many there are."""
    if chosen is None:
        return 1.0
    if (count := chosen.kept.shape[-1]) < MOST_BLOCKS:
        return float(count)
    longer = [one for one in variations if one.hours > chosen.hours and one.kept.shape[-1] < MOST_BLOCKS]
    found = (one.kept.shape[-1] * one.hours / chosen.hours for one in sorted(longer, key=lambda one: one.hours))
    return max(next(found, 0.0), float(MOST_BLOCKS))


def _of_length(variations: tuple[Variation, ...], hours: float) -> Variation | None:
    """The variation of the longest blocks that are no longer than the window: longer ones differ less than it may."""
    fitting = [one for one in variations if one.hours <= hours]
    return max(fitting, key=lambda one: one.hours, default=None)
