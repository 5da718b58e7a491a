"""What may lie behind a drift: another unit, or two columns that changed places. A guess, and told as one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from backend.drift.counts import ColumnCounts
from backend.drift.findings import Finding, figure
from backend.drift.formulas import cumulated
from backend.drift.gate import Looked
from backend.drift.layout import CategoryCells, NumberCells
from backend.drift.values import Floats

GUESS = "guess"
"""The fact of a finding that says as a sentence what may lie behind what else was found of its column."""
MUCH_BETTER = 0.35
"""An explanation is told where with it no more than this share of the distance is left."""
_LIKE_PARTS = 1.5
_LEVELS = (np.arange(100) + 0.5) / 100


class Unit(NamedTuple):
    """A change of unit: `times` the value, `plus` a number. `of`: what it measures; "" where that may be anything."""

    times: float
    plus: float
    words: str
    of: str = ""


UNITS = (
    Unit(1.609344, 0.0, "miles told in kilometres", "length"),
    Unit(1 / 1.609344, 0.0, "kilometres told in miles", "length"),
    Unit(5 / 9, -160 / 9, "degrees Fahrenheit told in Celsius", "temperature"),
    Unit(9 / 5, 32.0, "degrees Celsius told in Fahrenheit", "temperature"),
    Unit(1.0, 273.15, "degrees Celsius told in Kelvin", "temperature"),
    Unit(1.0, -273.15, "Kelvin told in degrees Celsius", "temperature"),
    Unit(100.0, 0.0, "shares told in per cent"),
    Unit(0.01, 0.0, "per cent told as shares"),
    Unit(1000.0, 0.0, "a thousandfold"),
    Unit(0.001, 0.0, "a thousandth"),
    Unit(60.0, 0.0, "minutes told in seconds, or hours in minutes", "time"),
    Unit(1 / 60, 0.0, "seconds told in minutes, or minutes in hours", "time"),
    Unit(25.4, 0.0, "inches told in millimetres", "length"),
    Unit(1 / 25.4, 0.0, "millimetres told in inches", "length"),
    Unit(2.20462262, 0.0, "kilograms told in pounds", "mass"),
    Unit(0.45359237, 0.0, "pounds told in kilograms", "mass"),
    Unit(0.3048, 0.0, "feet told in metres", "length"),
    Unit(1 / 0.3048, 0.0, "metres told in feet", "length"),
    Unit(0.44704, 0.0, "miles an hour told in metres a second", "speed"),
    Unit(1 / 0.44704, 0.0, "metres a second told in miles an hour", "speed"),
    Unit(33.8639, 0.0, "inches of mercury told in hectopascals", "pressure"),
    Unit(1 / 33.8639, 0.0, "hectopascals told in inches of mercury", "pressure"),
    Unit(-1.0, 0.0, "the sign turned"),
)

MEASURES: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temp", "dewp", "celsius", "fahrenheit", "kelvin", "degc", "degf"),
    "length": ("dist", "length", "height", "width", "depth", "altitude", "elev", "mile", "km", "metre", "meter", "feet",
               "precip", "rain", "snow", "visib"),
    "mass": ("weight", "mass", "kg", "kilogram", "lbs", "pound", "payload"),
    "speed": ("speed", "veloc", "wind", "gust", "mph", "kph", "kmh"),
    "pressure": ("press", "baro", "hpa", "inhg", "mbar"),
    "time": ("time", "duration", "delay", "second", "minute", "hour", "wait", "latency", "elapsed"),
}  # fmt: skip
"""What words in a feature's name say that it measures. A hot week is no column of weights in other units."""
_WORDS = re.compile(r"[a-z]+|[A-Z][a-z]*")


def measured(name: str) -> frozenset[str]:
    """What a feature measures, as far as its name says so."""
    words = [one.lower() for one in _WORDS.findall(name)]
    return frozenset(of for of, begins in MEASURES.items() if any(word.startswith(begins) for word in words))


def behind(looked: Sequence[Looked]) -> Iterator[Finding]:
    """Guesses about columns that drifted. One that changed places with another is not also said to be in another unit."""
    swapped = set[int]()
    for one, other in combinations(looked, 2):
        if not {one.place, other.place} & swapped and _changed_places(one, other):
            swapped |= {one.place, other.place}
            yield _swapped(one, other)
    for one in looked:
        if one.place not in swapped and (found := _rescaled(one)) is not None:
            yield found


def _changed_places(one: Looked, other: Looked) -> bool:
    sides = one.feature.cells, other.feature.cells
    if isinstance(sides[0], NumberCells) and isinstance(sides[1], NumberCells):
        return _numbers_changed(one, sides[0], other, sides[1])
    if isinstance(sides[0], CategoryCells) and isinstance(sides[1], CategoryCells):
        return _holds(one.current, sides[1]) and _holds(other.current, sides[0])
    return False


def _numbers_changed(one: Looked, ones: NumberCells, other: Looked, others: NumberCells) -> bool:
    before, after = _quantiles(ones, one.reference), _quantiles(ones, one.current)
    before_other, after_other = _quantiles(others, other.reference), _quantiles(others, other.current)
    if before is None or after is None or before_other is None or after_other is None:
        return False
    straight = _apart(after, before) + _apart(after_other, before_other)
    crossed = _apart(after, before_other) + _apart(after_other, before)
    return crossed < MUCH_BETTER * straight


def _holds(current: ColumnCounts, cells: CategoryCells) -> bool:
    """Whether a column is full of texts that it never had, and nearly all of those are another column's."""
    named = sum(current.unlisted.values())
    known = sum(rows for value, rows in current.unlisted.items() if value in cells.places)
    return bool(current.cells[-1] > current.values / 2 and known > 0.9 * named)


def _swapped(one: Looked, other: Looked) -> Finding:
    first, second = one.feature.key, other.feature.key
    words = f"{first} and {second} look as if they had changed places: each lies where the other one lay."
    return one.finding("swapped", "warning", words, other=second.name)


def _rescaled(looked: Looked) -> Finding | None:
    cells = looked.feature.cells
    if not isinstance(cells, NumberCells):
        return None
    before, after = _quantiles(cells, looked.reference), _quantiles(cells, looked.current)
    if before is None or after is None or after[0] == after[-1]:
        return None
    raw = _apart(after, before)
    may_be, wider = measured(looked.feature.key.name), _wider(looked, cells)
    units = [one for one in UNITS if (not one.of or not may_be or one.of in may_be) and _is_as_wide(one, wider)]
    if not units:
        return None
    best = min(units, key=lambda unit: _apart(after, unit.times * before + unit.plus) / abs(unit.times))
    left = _apart(after, best.times * before + best.plus)
    if left >= MUCH_BETTER * raw or left >= _near(looked) * abs(best.times) * _spread(before):
        return None
    guess = f"looks like {best.words}: as if every value were {_formula(best)}."
    return looked.finding(
        "rescaled", "notice", f"{looked.feature.key} {guess}", times=best.times, plus=best.plus, **{GUESS: f"It {guess}"}
    )


def _wider(looked: Looked, cells: NumberCells) -> float | None:
    """How many times as wide values lie as they did, as a logarithm; None where they do not differ, or nobody knows.

    By the sums, which know how wide values lie beyond the edges too.
    """
    before, after = looked.reference.deviation(cells), looked.current.deviation(cells)
    return math.log(after / before) if before and after and math.isfinite(before) and math.isfinite(after) else None


def _is_as_wide(unit: Unit, wider: float | None) -> bool:
    """Another unit makes values lie wider or closer by as much as it makes them larger; those that merely lie elsewhere lie as
    wide as before. Windows differ in that too, so that it is asked which of the two is nearer."""
    scaled = math.log(abs(unit.times))
    return not scaled or (wider is not None and abs(wider - scaled) < abs(wider))


def _near(looked: Looked) -> float:
    """How many standard deviations may be left: windows like the reference's own parts are not nearer themselves."""
    parts = looked.thresholds.parts(looked.place, "wasserstein")
    return max(MUCH_BETTER, _LIKE_PARTS * float(np.median(parts))) if parts is not None else MUCH_BETTER


def _formula(unit: Unit) -> str:
    if unit.times == 1:
        return f"{figure(abs(unit.plus))} {'higher' if unit.plus > 0 else 'lower'}"
    more = f" and {figure(abs(unit.plus))} {'added' if unit.plus > 0 else 'taken off'}" if unit.plus else ""
    return f"multiplied by {figure(unit.times)}{more}"


def _quantiles(cells: NumberCells, counts: ColumnCounts) -> Floats | None:
    """A hundred quantiles, from the counts; what lies outside the edges is taken to lie at the smallest and largest value."""
    if not counts.values or not len(cells.edges):
        return None
    shares = cumulated(counts.cells)
    edges = np.clip(cells.edges, counts.low, counts.high)
    points, levels = np.append(edges, counts.high), np.append(shares, 1.0)
    return np.asarray(np.interp(_LEVELS, np.append(0.0, levels), np.append(counts.low, points)))


def _apart(one: Floats, other: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.nan_to_num(np.abs(one - other).mean(), nan=np.finfo(np.float64).max))


def _spread(found: Floats) -> float:
    return float(np.nan_to_num(found.std(), posinf=np.finfo(np.float64).max))
