"""When a score is news: measured on the reference itself, with the thresholds that people know beside it.

Two measures, and a score is news when it lies above both:

- `resampled`: the reference's counts are drawn anew, at its own size and at the window's, as if rows were independent; of the
  scores between such pairs, `LEVEL` lie below. It falls as windows grow.
- `usual`: how far the reference's own hours, days or weeks lie from the rest of it. Their scores' logarithms are taken as
  normal, and the chance of a further one as high as the window's is what false discoveries are counted by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from backend.drift.counts import ColumnCounts, Counts
from backend.drift.layout import Cells, NumberCells
from backend.drift.profile import Profile
from backend.drift.scores import SCORES, Score, Scores, Windows, norm_of, several
from backend.drift.values import Floats
from backend.drift.variation import Variation

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
        self._layout = profile.layout
        self._reference = reference or profile.counts
        self._variation = _of_length(profile.variations, hours)
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

    def chance(self, place: int, scores: Scores) -> float:
        """How likely a window like the reference's own parts is to lie as far away; without such parts, what the test says."""
        cells = self._layout.features[place].cells
        names = judged(cells) if cells is not None else ()
        found = [(scores.value(one), self.parts(place, one)) for one in names]
        chances = [chance_of(value, parts) for value, parts in found if value is not None and parts is not None]
        return min(1.0, len(chances) * min(chances)) if chances else scores.p

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
        return {score: self._threshold(place, score, resampled) for score, resampled in found.items()}

    def _drawn(self, place: int, cells: Cells, reference: ColumnCounts, size: int) -> Mapping[Score, Floats]:
        """Scores between pairs of draws from the reference."""
        random = np.random.default_rng([self._seed, place, size])
        chances = reference.cells / reference.values
        sides = [random.multinomial(rows, chances, self._resamples) for rows in (reference.values, size)]
        nothing = np.zeros((self._resamples, 2))
        left, right = (Windows(one, nothing) for one in sides)
        return several(cells, left, right, norm_of(cells, reference))

    def _threshold(self, place: int, score: Score, resampled: float) -> Threshold:
        parts = self.parts(place, score)
        usual = value_at(USUAL, parts) if parts is not None else None
        return Threshold(score, resampled, usual, *CONVENTIONAL[score])


def size_class(values: int) -> int:
    """The next lower of few sizes: a threshold for fewer values is higher, so that it errs towards no alarm."""
    if values <= 1:
        return max(values, 0)
    return int(2.0 ** (math.floor(math.log2(values) * _CLASSES_PER_DOUBLING) / _CLASSES_PER_DOUBLING))


def chance_of(value: float, parts: Floats) -> float:
    """The chance of a part as far away as a value: Student's, of logarithms, since the parts are few."""
    from scipy.special import stdtr

    middle, spread = _logarithms(parts)
    return float(stdtr(len(parts) - 1, (middle - math.log(max(value, _LEAST))) / spread))


def value_at(chance: float, parts: Floats) -> float:
    """The value that has this chance."""
    from scipy.special import stdtrit

    middle, spread = _logarithms(parts)
    return math.exp(min(middle + spread * float(stdtrit(len(parts) - 1, 1 - chance)), 700.0))


def judged(cells: Cells) -> tuple[Score, ...]:
    """By which scores a column is judged."""
    return JUDGED[isinstance(cells, NumberCells)]


_FEWEST_PARTS = 10
_POWERS = {"psi": 2, "jensen_shannon": 1, "wasserstein": 1, "kolmogorov_smirnov": 1}
"""How scores grow with how far windows vary: PSI is a square, the others are distances."""
_OFTEN = 0.02


def _logarithms(parts: Floats) -> tuple[float, float]:
    """Mean of the logarithms, and the spread of a further one around it."""
    found = np.log(np.maximum(parts, _LEAST))
    spread = max(float(found.std(ddof=1)), _LEAST_SPREAD)
    return float(found.mean()), spread * math.sqrt(1 + 1 / len(found))


def _of_length(variations: tuple[Variation, ...], hours: float) -> Variation | None:
    """The variation of the longest blocks that are no longer than the window: longer ones differ less than it may."""
    fitting = [one for one in variations if one.hours <= hours]
    return max(fitting, key=lambda one: one.hours, default=None)
