"""Bars of two distributions: they hold all of both, and numbers' bars are as wide as each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.drift.bars import MOST, bars
from tests.drift_data import column, counts_of, letters, normal, profile_of


@pytest.mark.parametrize(
    ("reference", "current", "count"),
    [
        (normal(5_000), normal(2_000, 2, 1), MOST + 2),
        ((np.arange(900) % 3).astype(float), (np.arange(900) % 4).astype(float), 3 + 1),
        (letters(900), letters(900, 2, "abx"), 3 + 1),
        (letters(900), letters(900, 2), 3),
        ([f"value {n % 40}" for n in range(900)], [f"value {n % 7}" for n in range(900)], 15 + 1),
    ],
)
def test_bars_hold_all_of_both_sides(reference: Any, current: Any, count: int) -> None:
    profile = profile_of({"x": reference})
    found = bars(*column(profile, counts_of(profile, {"x": current})))
    assert len(found) == count
    for side in ("reference", "current"):
        shares = [getattr(one, side) for one in found]
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0


def test_bars_of_numbers_say_where_they_are() -> None:
    profile = profile_of({"x": normal(5_000)})
    found = bars(*column(profile, counts_of(profile, {"x": normal(5_000, 2, 3)})))
    widths = {round(one.high - one.low, 9) for one in found if one.low is not None and one.high is not None}
    assert len(widths) == 1
    assert (found[0].low, found[-1].high) == (None, None)
    assert (found[0].reference, found[-1].reference) == (pytest.approx(0.005, abs=1e-3), pytest.approx(0.005, abs=1e-3))
    assert found[-1].current > 0.5
    assert found[-1].label.startswith("above 2")


def test_where_there_is_nothing_to_compare_there_are_no_bars() -> None:
    profile = profile_of({"x": normal(50)})
    assert bars(*column(profile, counts_of(profile, {"y": [1.0]}))) == ()
