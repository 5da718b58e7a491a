"""Cells, counts in them and what follows: sums of parts are the whole, and profile scores lie within their bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend.core.errors import Refusal
from backend.drift.counts import SQUARES, Counts, total
from backend.drift.exact import exact
from backend.drift.layout import CategoryCells, NumberCells, number_cells
from backend.drift.profile import build
from backend.drift.scores import scored
from backend.drift.sources import Roles, TableSource
from backend.drift.stored import counts_bytes
from backend.drift.values import PREDICTION, Key
from tests.drift_data import column, counts_of, letters, normal, profile_of, table

ANY = st.floats(allow_nan=True, allow_infinity=True)
EDGE_CASES = st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 2.0**53, 2.0**53 + 2]
)
VALUES = arrays(np.float64, st.integers(1, 60), elements=st.one_of(ANY, EDGE_CASES, st.integers(-3, 3).map(float)))
FINITE = arrays(np.float64, st.integers(1, 60), elements=st.one_of(st.floats(-1e6, 1e6), st.integers(-3, 3).map(float)))
TEXTS = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "c"]), st.text(max_size=3)), min_size=1, max_size=100)


def assert_same(one: Counts, other: Counts) -> None:
    """Counts exactly, sums to rounding."""
    assert (one.layout, one.rows) == (other.layout, other.rows)
    for name in ("cells", "whole", "low", "high"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    told = np.abs(one.sums[:, SQUARES]) < 1e300  # beyond, no double holds them
    size = 1 + np.sqrt(one.rows) * np.sqrt(np.abs(one.sums[:, [SQUARES]]))
    np.testing.assert_allclose((one.sums / size)[told], (other.sums / size)[told], rtol=1e-9, atol=1e-9)
    assert (one.unlisted, one.mistyped, one.extra) == (other.unlisted, other.mistyped, other.extra)


@settings(max_examples=40)
@given(VALUES, VALUES, TEXTS, st.integers(1, 50))
def test_the_hours_of_a_day_add_up_to_the_day(reference: Any, values: Any, texts: list[str | None], part: int) -> None:
    profile = profile_of({"x": reference, "t": pa.array(["a"] * len(reference))})
    rows = min(len(values), len(texts))
    day = {"x": values[:rows], "t": pa.array(texts[:rows], pa.string())}
    hours = [
        counts_of(profile, {name: found[start : start + part] for name, found in day.items()}) for start in range(0, rows, part)
    ]
    whole = counts_of(profile, day)
    if len(set(texts)) <= 20:  # of more new texts some lose their names, never their number
        assert_same(total(profile.layout, hours), whole)
    assert_same(total(profile.layout, reversed(hours)), total(profile.layout, hours))
    assert total(profile.layout, hours).cells.tolist() == whole.cells.tolist()


@settings(max_examples=50)
@given(VALUES, VALUES)
def test_every_number_is_counted_once_where_it_belongs(reference: Any, values: Any) -> None:
    profile = profile_of({"x": reference})
    feature, _, current = column(profile, counts_of(profile, {"x": values}))
    cells = feature.cells
    assert isinstance(cells, NumberCells)
    finite = values[np.isfinite(values)]
    expected = np.bincount(np.searchsorted(cells.edges, finite, "left"), minlength=cells.size)
    assert current.cells.tolist() == expected.tolist()
    assert current.whole.tolist() == [
        len(values),
        0,
        np.isnan(values).sum(),
        (values == np.inf).sum(),
        (values == -np.inf).sum(),
        0,
    ]
    assert (current.low, current.high) == ((finite.min(), finite.max()) if len(finite) else (np.inf, -np.inf))
    outside = ((finite < cells.minimum) | (finite > cells.maximum)).sum() if len(cells.edges) else 0
    assert current.cells[: cells.below].sum() + current.cells[cells.size - cells.above :].sum() == outside


@settings(max_examples=50)
@given(VALUES)
def test_edges_rise_are_finite_and_of_bounded_number(reference: Any) -> None:
    cells = profile_of({"x": reference}).layout.features[0].cells
    assert isinstance(cells, NumberCells)
    assert np.isfinite(cells.edges).all()
    assert (cells.edges[1:] > cells.edges[:-1]).all()
    assert len(cells.edges) <= 2 * 256 + 3
    assert sorted(set(cells.coarse.tolist())) == list(range(cells.groups))


@pytest.mark.parametrize("rows", [1_000, 100_000])
def test_the_size_is_bounded_whatever_the_data(rows: int) -> None:
    heavy = np.random.default_rng(2).standard_t(1.5, rows)
    heavy[::3] = 0.0
    cells = number_cells(heavy, heavy.min(), heavy.max(), "double")
    assert 300 < len(cells.edges) < 1_100
    assert 5 <= cells.groups <= 12
    zero = int(np.searchsorted(cells.edges, 0.0, "left"))
    assert cells.edges[zero] - cells.edges[zero - 1] == 5e-324, "a value that is often there has a cell by itself"


@settings(max_examples=60)
@given(FINITE, FINITE)
def test_scores_of_profiles_lie_within_their_bounds(reference: Any, values: Any) -> None:
    profile = profile_of({"x": reference})
    found = scored(*column(profile, counts_of(profile, {"x": values})))
    truth = exact(np.sort(reference), np.sort(values))
    assert found is not None
    assert found.kolmogorov_smirnov_bounds is not None
    assert found.wasserstein_bounds is not None
    slack = 1e-9 * max(1.0, truth.wasserstein)
    assert (
        found.kolmogorov_smirnov_bounds.least - 1e-12
        <= truth.kolmogorov_smirnov
        <= found.kolmogorov_smirnov_bounds.most + 1e-12
    )
    assert found.wasserstein_bounds.least - slack <= truth.wasserstein <= found.wasserstein_bounds.most + slack
    assert found.wasserstein_bounds.least <= found.wasserstein + slack


def test_bounds_are_narrow_and_the_guess_is_nearer_still() -> None:
    profile = profile_of({"x": normal(50_000)})
    for mean, spread in ((0.0, 1.0), (0.05, 1.0), (0.5, 1.2)):
        values = normal(20_000, 7, mean, spread)
        found = scored(*column(profile, counts_of(profile, {"x": values}, rows=5_000)))
        truth = exact(np.sort(normal(50_000)), np.sort(values))
        assert found is not None
        assert found.kolmogorov_smirnov == pytest.approx(truth.kolmogorov_smirnov, abs=1e-3)
        assert found.wasserstein == pytest.approx(truth.wasserstein, abs=1e-3)
        assert found.wasserstein_bounds is not None
        assert found.wasserstein_bounds.most - found.wasserstein_bounds.least < 0.05


def test_numbers_with_few_values_are_scored_exactly() -> None:
    random = np.random.default_rng(3)
    one, other = random.integers(0, 24, 5_000).astype(float), random.integers(2, 20, 3_000).astype(float)
    profile = profile_of({"x": one})
    found = scored(*column(profile, counts_of(profile, {"x": other})))
    truth = exact(np.sort(one), np.sort(other))
    assert found is not None
    assert found.kolmogorov_smirnov == pytest.approx(truth.kolmogorov_smirnov, abs=1e-12)
    assert found.wasserstein == pytest.approx(truth.wasserstein, rel=1e-9)


@settings(max_examples=25)
@given(FINITE)
def test_identical_data_scores_nothing(values: Any) -> None:
    profile = profile_of({"x": values, "t": [str(int(one)) for one in values]})
    counts = counts_of(profile, {"x": values, "t": [str(int(one)) for one in values]})
    for name in ("x", "t"):
        found = scored(*column(profile, counts, name))
        assert found is not None
        assert (found.psi, found.jensen_shannon, found.chi_squared, found.p) == (0, 0, 0, 1)
        assert (found.wasserstein or 0, found.kolmogorov_smirnov or 0) == (0, 0)


def test_scores_rise_with_the_shift() -> None:
    profile, base = profile_of({"x": normal(20_000)}), normal(5_000, 2)
    before = {"psi": -1.0, "jensen_shannon": -1.0, "wasserstein": -1.0, "kolmogorov_smirnov": -1.0}
    for shift in (0.0, 0.1, 0.3, 0.7, 1.5, 4.0):
        found = scored(*column(profile, counts_of(profile, {"x": base + shift})))
        assert found is not None
        for name, value in before.items():
            now = getattr(found, name)
            assert now > value, (name, shift)
            before[name] = now


def test_single_precision_meets_itself_in_double() -> None:
    """A feature trained in single precision and sent as 39.02 is the same value, not a new one."""
    single = np.float32([39.02, 0.1, 0.7] * 50)
    profile = profile_of({"x": single})
    found = scored(*column(profile, counts_of(profile, {"x": [39.02, 0.1, 0.7] * 50})))
    assert found is not None
    assert (found.kolmogorov_smirnov, found.psi) == (0, 0)
    _, _, current = column(profile, counts_of(profile, {"x": [1e300, 0.1]}))
    assert (current.high, current.infinities) == (1e300, 0)


def test_whole_numbers_decimals_and_categories_of_arrow_are_counted() -> None:
    reference = {
        "whole": pa.array([1, 2, None, 2**63 - 1]),
        "flag": pa.array([True, False, None, True]),
        "coded": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "when": pa.array([1, 2, 3, None], pa.timestamp("us")),
        "p": pa.array([0.1, 0.2, 0.3, 0.4]),
    }
    profile = profile_of(reference, prediction="p")
    layout = profile.layout
    seen = {one.key.name: profile.counts.of(layout, place) for place, one in enumerate(layout.features)}
    assert [one.kind for one in layout.features] == ["number", "flag", "text", "other", "number"]
    assert layout.features[-1].key == PREDICTION
    assert (seen["whole"].values, seen["whole"].missing, seen["whole"].high) == (3, 1, 2.0**63)
    flag, coded = (layout.features[layout.places[Key("feature", name)]].cells for name in ("flag", "coded"))
    assert isinstance(flag, CategoryCells)
    assert isinstance(coded, CategoryCells)
    assert (flag.values, seen["flag"].cells.tolist()) == (("true", "false"), [2, 1, 0])
    assert (coded.values, seen["coded"].missing) == (("a", "b"), 1)
    assert (seen["when"].values, seen["when"].missing) == (0, 1)


def test_mean_and_deviation_survive_large_numbers() -> None:
    values = 1e9 + normal(10_000)
    profile = profile_of({"x": values})
    feature, own, _ = column(profile, profile.counts)
    assert isinstance(feature.cells, NumberCells)
    assert own.mean(feature.cells) == pytest.approx(values.mean(), rel=1e-12)
    assert own.deviation(feature.cells) == pytest.approx(values.std(), rel=1e-6)
    constant = profile_of({"x": [0.1] * 7})
    feature, own, _ = column(constant, constant.counts)
    assert isinstance(feature.cells, NumberCells)
    assert own.deviation(feature.cells) == 0


def test_long_texts_stay_themselves_and_names_of_new_ones_are_bounded() -> None:
    long = "x" * 500
    profile = profile_of({"t": [long + "a", long + "b", "c"] * 10})
    cells = profile.layout.features[0].cells
    assert isinstance(cells, CategoryCells)
    assert len(cells.values) == 3
    assert max(map(len, cells.values)) < 150
    _, _, current = column(profile, counts_of(profile, {"t": [f"new {number}" for number in range(3_000)] + [long + "a"]}), "t")
    assert (current.cells[-1], len(current.unlisted), current.values) == (3_000, 20, 3_001)


def test_counts_of_other_cells_do_not_add_up() -> None:
    one, other = profile_of({"x": [1.0, 2.0]}), profile_of({"x": [1.0, 3.0]})
    with pytest.raises(Refusal, match="different references"):
        _ = one.counts + other.counts


def test_cells_of_very_many_rows_are_made_from_some_of_them_and_all_are_counted() -> None:
    values = normal(10_000)
    source = TableSource(table({"x": values, "t": letters(10_000)}), Roles(), rows=777)
    whole, sampled = build(source), build(source, sample=1_000)
    assert (sampled.counts.rows, sampled.counts.of(sampled.layout, 0).values) == (10_000, 10_000)
    cells = sampled.layout.features[0].cells
    assert isinstance(cells, NumberCells)
    assert (cells.minimum, cells.maximum) == (values.min(), values.max())
    assert whole.layout.digest != sampled.layout.digest


def test_the_same_rows_in_another_order_make_the_same_profile() -> None:
    values, texts = normal(3_000), letters(3_000)
    order = np.random.default_rng(5).permutation(3_000)
    one, other = profile_of({"x": values, "t": texts}), profile_of({"x": values[order], "t": texts[order]})
    assert one.layout.digest == other.layout.digest
    assert_same(one.counts, other.counts)


def test_an_hour_of_fifty_features_takes_few_bytes() -> None:
    reference = {f"x{number}": normal(5_000, number) for number in range(50)}
    profile = profile_of(reference)
    hour = counts_of(profile, {name: values[:1_000] for name, values in reference.items()})
    assert len(counts_bytes(hour)) < 20_000


def test_a_column_that_is_named_and_not_there_is_refused() -> None:
    with pytest.raises(Refusal, match="no column y"):
        profile_of({"x": [1.0]}, prediction="y")
    with pytest.raises(Refusal, match="1 to 2000 columns"):
        profile_of({"x": [1.0]}, without=["x"])
