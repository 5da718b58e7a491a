"""The fixed bins of scores, errors and delays. They never follow the data, so that any two windows add up. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import timedelta

BANDS: tuple[float, ...] = (
    *(0.0, 0.001, 0.002, 0.005, 0.01, 0.02),
    *(k / 20 for k in range(1, 20)),
    *(0.98, 0.99, 0.995, 0.998, 0.999),
)
"""Lower edges of the reliability curve's bands: twentieths, finer at both ends, where rare events lie."""

_TAIL = tuple(10 ** (k / 20) for k in range(-120, -40))
_TWO_HUNDREDTHS = tuple(k / 200 for k in range(2, 199))
_ALMOST_0 = 1e-300  # so that exactly 0 and exactly 1 have bins of their own

SCORES: tuple[float, ...] = tuple(sorted({*BANDS, *_TAIL, *_TWO_HUNDREDTHS, *(1 - edge for edge in _TAIL), _ALMOST_0, 1.0}))
"""Lower edges of the score's bins: two hundredths, and 20 a decade below 0.01 (to a millionth) and above 0.99; with BANDS."""

SCORES_OF_SEGMENTS: tuple[float, ...] = tuple(sorted({*BANDS, _ALMOST_0, 1.0}))
"""The same for segments, of which there may be hundreds: the bands."""

ERRORS: tuple[float, ...] = (0.0, *(float(f"{10 ** (k / 20):.6g}") for k in range(-180, 241)))
"""Lower edges of the absolute error's bins: 20 a decade from 1e-9 to 1e12, each 12 % above the one before."""

ERRORS_OF_SEGMENTS: tuple[float, ...] = (0.0, *ERRORS[1::5])
"""The same for segments: 4 a decade."""

DELAYS: tuple[timedelta, ...] = tuple(
    timedelta(minutes=minutes) for minutes in (0, 5, 15, 30, 60, 90, 120, 180, 240, 300, 360, 480, 600, 720, 960)
) + tuple(timedelta(days=days) for days in (1, 1.5, 2, 3, 4, 5, 6, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 365))
"""Lower edges of the bins of how long an outcome took to become known."""


def within(edges: Sequence[float], coarser: Sequence[float]) -> list[float]:
    """For each edge the one of the coarser bins that holds it."""
    return [coarser[bisect_right(coarser, edge) - 1] for edge in edges]
