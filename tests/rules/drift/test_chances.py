"""What rows do by chance is no alarm, in windows of few rows, of heavy tails, of small references; what they do not is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import hypergeom

from backend.drift import gate
from backend.drift.counts import Counts
from backend.drift.judging import Judgement, judged
from backend.drift.layout import NumberCells
from backend.drift.outside import chance_outside, outside
from backend.drift.profile import Profile
from backend.drift.scores import scored
from backend.drift.thresholds import Thresholds, chance_of_distance
from tests.drift_data import column, counts_of, kinds, normal, only, profile_of

DAYS, ROWS = 20, 500
FAR = 1e6


def timed(columns: dict[str, Any], rows: int = ROWS) -> Profile:
    """A reference whose rows were on days of so many rows each."""
    count = len(next(iter(columns.values())))
    when = np.arange(count) * (86_400 * 1_000_000 // rows)
    return profile_of({**columns, "when": pa.array(when, pa.timestamp("us"))}, time="when")


def alarmed(profile: Profile, windows: list[dict[str, Any]], kinds_of: set[str]) -> int:
    """In how many windows there is an alarm of some kinds."""
    thresholds = Thresholds(profile, hours=24)
    found = (judged(profile, counts_of(profile, one), thresholds=thresholds) for one in windows)
    return sum(any(one.kind in kinds_of for one in each.alarms) for each in found)


def test_of_windows_with_fewer_rows_than_days_had_few_have_drift() -> None:
    """Days of 500 rows lie nearer to everything than 100 rows do; as the only chance, they alarmed many windows."""
    random = np.random.default_rng(11)
    names = [f"n{number}" for number in range(40)]
    profile = timed({name: random.normal(size=DAYS * ROWS) for name in names})
    windows = [{name: random.normal(size=100) for name in names} for _ in range(25)]
    assert alarmed(profile, windows, {"drift"}) <= 2
    shifted = {**windows[0], "n0": random.normal(0.8, 1, 100)}
    assert "drift" in kinds(judged(profile, counts_of(profile, shifted)), "n0"), "what moved is still found in so few rows"


def test_days_that_differ_and_few_rows_add_up() -> None:
    """Neither what days do nor what 50 rows do explains such a window by itself."""
    random = np.random.default_rng(5)
    names = [f"n{number}" for number in range(30)]
    means = random.normal(0, 0.15, (DAYS * 2, len(names)))
    profile = timed({name: random.normal(np.repeat(means[:, place], 300), 1) for place, name in enumerate(names)}, 300)
    windows = [{name: random.normal(random.normal(0, 0.15), 1, 50) for name in names} for _ in range(25)]
    assert alarmed(profile, windows, {"drift"}) <= 2


def test_heavy_tails_and_a_small_reference_alarm_nobody() -> None:
    """One row of 40 beyond all of 500 is 2.5 % of the window, and nothing new."""
    random = np.random.default_rng(3)
    names = [f"n{number}" for number in range(24)]
    profile = profile_of({name: random.standard_cauchy(500) for name in names})
    windows = [{name: random.standard_cauchy(40) for name in names} for _ in range(25)]
    assert alarmed(profile, windows, {"drift", "range"}) <= 2


@pytest.fixture(scope="module")
def profile() -> Profile:
    return profile_of({"x": normal(20_000)})


def far(rows: int) -> Any:
    values = normal(5_000, 3)
    values[:rows] = FAR
    return values


def against(profile: Profile, current: Any, reference: Any = None) -> Judgement:
    known: Counts | None = counts_of(profile, {"x": reference}) if reference is not None else None
    hours = None if reference is None else 168.0
    return judged(profile, counts_of(profile, {"x": current}), reference=known, reference_hours=hours)


def test_far_values_are_told_of_a_reference_that_left_the_range_a_little(profile: Profile) -> None:
    """A single row of the reference outside of the profile's range turned all of this off."""
    cells = profile.layout.features[0].cells
    assert isinstance(cells, NumberCells)
    for beyond in (0.01, 30.0):  # within the profile's last cell but one, and in its last
        period = normal(5_000, 2)
        period[0] = cells.maximum + beyond
        found = against(profile, far(100), period)
        told = only(found, "range")
        assert (told.severity, told.facts["far"]) == ("warning", 100)
        assert "drift" in kinds(found, "x")
        assert "range" not in kinds(against(profile, period, period), "x")


def test_a_few_far_values_are_drift_though_hardly_any_row_moved(profile: Profile) -> None:
    """Kolmogorov-Smirnov sees 0.8 % of the rows, Wasserstein 8,000 standard deviations."""
    found = against(profile, far(40))
    assert (only(found, "drift").severity, only(found, "range").severity) == ("critical", "notice")


def test_what_a_reference_has_beyond_the_profile_s_range_is_no_news(profile: Profile) -> None:
    period, window = far(100), normal(5_000, 4)
    window[:110] = FAR
    assert against(profile, window, period).alarms == ()
    window[:400] = FAR
    assert "drift" in kinds(against(profile, window, period), "x")


def test_values_outside_are_counted_as_far_as_cells_tell(profile: Profile) -> None:
    cells = profile.layout.features[0].cells
    assert isinstance(cells, NumberCells)
    own = profile.counts.of(profile.layout, 0)

    def found(current: list[float], reference: list[float]) -> tuple[int, int]:
        before = counts_of(profile, {"x": reference}).of(profile.layout, 0) if reference else own
        told = outside(cells, before, counts_of(profile, {"x": current}).of(profile.layout, 0))
        return told.rows, told.far

    top = cells.maximum
    assert found([0.0, top], []) == (0, 0)
    assert found([0.0, top + 0.01, top + 9, -99.0], []) == (3, 2)
    assert found([top + 0.01] * 3, [top + 0.02]) == (0, 0)
    assert found([top + 0.03, top + 0.01], [top + 0.02]) == (1, 0), "one at least"
    assert found([top + 50] * 4 + [top + 1_000] * 3, [top + 50]) == (3, 3)
    assert found([top + 51], [top + 50]) == (1, 0)


def test_the_chance_to_lie_outside_holds_for_any_distribution() -> None:
    random, windows = np.random.default_rng(1), 4_000
    for draw in (random.normal, random.standard_cauchy):
        among, rows = draw(size=(windows, 200)), draw(size=(windows, 40))
        count = (rows > among.max(axis=1, keepdims=True)).sum(axis=1) + (rows < among.min(axis=1, keepdims=True)).sum(axis=1)
        for least in (1, 2, 3):
            assert (count >= least).mean() <= chance_outside(least, 40, 200) * 2 ** (least - 1) + 0.01
    assert chance_outside(0, 40, 500) == 1


def test_the_chance_of_a_distance_falls_from_one_through_the_threshold() -> None:
    found = [chance_of_distance(value, 0.1, 1e-4) for value in (0.0, 0.05, 0.1, 0.1000001, 0.15, 0.3, 1e308)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 1
    assert found[2] == pytest.approx(0.01)
    assert found[3] == pytest.approx(0.01, rel=1e-4)
    assert found[-1] == 0
    assert chance_of_distance(0.3, 0.1, 0.1) > 1_000 * found[5], "where one row can do so much it is less unlikely"
    assert (chance_of_distance(0.1, 0.0, 1.0), chance_of_distance(0.0, 0.0, 1.0)) == (0, 1)


def test_a_distance_of_rows_like_the_reference_s_is_as_likely_as_is_said() -> None:
    """Of normal, discrete and rare numbers: of windows that do not differ, no more have a small chance than it says."""
    random, chances = np.random.default_rng(2), list[float]()
    columns = {
        "normal": lambda rows: random.normal(size=rows),
        "rare": lambda rows: (random.random(rows) < 0.02).astype(float),
        "skewed": lambda rows: random.lognormal(0, 2, rows),
    }
    profile = profile_of({name: draw(20_000) for name, draw in columns.items()})
    thresholds = Thresholds(profile)
    for _ in range(150):
        found = judged(profile, counts_of(profile, {name: draw(400) for name, draw in columns.items()}), thresholds=thresholds)
        chances += [one.chance for one in found.columns]
    for level in (0.05, 0.01):
        assert np.mean(np.array(chances) < level) <= level * 1.3, level


def masked(rows: int, share: float, instead: float | None = None) -> Any:
    values = normal(rows, 6)
    gone = np.arange(rows) < share * rows
    if instead is not None:
        values[gone] = instead
        return values
    return pa.array(values, mask=gone)


@pytest.mark.parametrize(("kind", "instead"), [("nulls", None), ("infinities", np.inf)])
def test_a_small_reference_does_not_know_its_own_share(kind: str, instead: float | None) -> None:
    """10 % of 2,000 rows may be 12 % of all; of 100,000 rows they may not."""
    small, large = (profile_of({"x": masked(rows, 0.1, instead)}) for rows in (2_000, 100_000))
    window = {"x": masked(50_000, 0.12, instead)}
    assert kind not in kinds(judged(small, counts_of(small, window)), "x")
    assert kind in kinds(judged(large, counts_of(large, window)), "x")
    assert kind in kinds(judged(small, counts_of(small, {"x": masked(50_000, 0.2, instead)})), "x")


def test_fewer_missing_values_are_told_as_exactly() -> None:
    profile = profile_of({"x": masked(2_000, 0.9)})
    told = [judged(profile, counts_of(profile, {"x": masked(2_000, share)})) for share in (0.88, 0.7)]
    assert "nulls" not in kinds(told[0], "x")
    assert only(told[1], "nulls").severity == "notice"


def test_the_chance_of_a_count_is_fishers_or_rather_more() -> None:
    for count, rows, before, among in ((5, 100, 3, 1_000), (30, 400, 100, 4_000), (2, 50, 0, 10_000), (390, 400, 3_500, 4_000)):
        exact = float(hypergeom.sf(count - 1, rows + among, count + before, rows))
        assert exact * 0.999 <= gate._chance_of_count(count, rows, before, among) <= max(10 * exact, exact**0.7)


def test_a_column_of_nothing_but_null_lacks_its_values_and_has_its_type() -> None:
    profile = profile_of({"t": ["a", "b"] * 500, "x": normal(1_000)})
    found = judged(profile, counts_of(profile, {"t": pa.nulls(500), "x": pa.nulls(500)}))
    assert (kinds(found, "t"), kinds(found, "x")) == (["nulls"], ["nulls"])
    assert {one.severity for one in found.findings} == {"critical"}
    assert found.findings[0].words.startswith("100 % of the rows have no ")


@pytest.mark.parametrize("plus", [1e-9, 0.25, 3.0])
def test_a_constant_that_moves_is_measured_by_how_far(plus: float) -> None:
    """A line over the empty cell beside it put the value into that cell's middle: 250 instead of a millionth."""
    profile = profile_of({"x": np.full(1_000, 5.0)})
    for sign in (1, -1):
        found = scored(*column(profile, counts_of(profile, {"x": np.full(1_000, 5.0 + sign * plus)})))
        assert found is not None
        assert found.wasserstein == pytest.approx(plus / 0.001, rel=1e-5)
        assert found.wasserstein_bounds is not None
        assert found.wasserstein_bounds.least <= found.wasserstein * (1 + 1e-9)
