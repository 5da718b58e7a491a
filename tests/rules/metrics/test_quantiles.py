"""Quantiles of histograms: Prometheus's own figures, and for every distribution the truth lies within the bounds."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.metrics.quantiles import Estimate, Histogram, below, coarser, from_cumulative, merge, quantile

BOUNDS = (
    st.lists(st.floats(-1e6, 1e6).map(lambda one: round(one, 3)), min_size=1, max_size=8, unique=True).map(sorted).map(tuple)
)
VALUES = st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=30)


def of(values: list[float], bounds: tuple[float, ...]) -> Histogram:
    counts = [0.0] * (len(bounds) + 1)
    for one in values:
        counts[bisect_left(bounds, one)] += 1
    return Histogram(bounds, tuple(counts), sum(values))


@settings(max_examples=40)
@given(VALUES, BOUNDS, st.floats(0, 1))
def test_the_true_quantile_lies_within_the_bounds_that_are_told(
    values: list[float], bounds: tuple[float, ...], q: float
) -> None:
    found = quantile(of(values, bounds), q)
    assert found is not None
    true = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    if bounds[0] > 0 and true < 0:
        return  # like Prometheus: below the lowest bound one begins at 0
    assert found.low <= true <= found.high
    assert found.low <= found.value <= found.high


@settings(max_examples=40)
@given(VALUES, BOUNDS, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_quantile_is_no_lower(values: list[float], bounds: tuple[float, ...], one: float, other: float) -> None:
    histogram = of(values, bounds)
    low, high = quantile(histogram, min(one, other)), quantile(histogram, max(one, other))
    assert low is not None
    assert high is not None
    assert low.value <= high.value + 1e-6


@pytest.mark.parametrize(
    ("q", "value"),
    [(0.1, 0.05), (0.2, 0.1), (0.5, 0.275), (0.8, 0.5), (0.9, 0.75), (0.99, 0.975), (1.0, 1.0)],
)
def test_as_prometheus_works_it_out(q: float, value: float) -> None:
    """Ten requests: 2 up to 0.1 s, 4 up to a third, 2 up to 0.5 s, 2 up to 1 s."""
    histogram = Histogram((0.1, 1 / 3, 0.5, 1.0), (2, 4, 2, 2, 0))
    found = quantile(histogram, q)
    assert found is not None
    assert found.value == pytest.approx(value, abs=1e-12)


def test_what_lies_above_every_bound_counts_as_the_last_and_says_that_nobody_knows() -> None:
    assert quantile(Histogram((1.0,), (1, 9)), 0.99) == Estimate(1.0, 1.0, math.inf)
    assert quantile(Histogram((1.0,), (0, 0)), 0.5) is None
    assert quantile(Histogram((-2.0, 1.0), (4, 0, 0)), 0.5) == Estimate(-2.0, -math.inf, -2.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile(Histogram((1.0,), (1, 0)), 1.5)


@settings(max_examples=40)
@given(VALUES, BOUNDS, st.floats(-2e6, 2e6))
def test_how_many_are_below_a_threshold_lies_within_its_bounds_and_is_exact_at_one(
    values: list[float], bounds: tuple[float, ...], threshold: float
) -> None:
    histogram = of(values, bounds)
    for at in (threshold, *bounds):
        found, true = below(histogram, at), sum(one <= at for one in values)
        assert found.low <= true <= found.high
        assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    exact = below(histogram, bounds[-1])
    assert exact.low == exact.high == exact.value


@settings(max_examples=40)
@given(st.lists(st.tuples(VALUES, BOUNDS), min_size=1, max_size=4))
def test_merged_histograms_know_what_all_of_them_know(parts: list[tuple[list[float], tuple[float, ...]]]) -> None:
    merged = merge([of(values, bounds) for values, bounds in parts])
    assert merged is not None
    everything = [one for values, _ in parts for one in values]
    assert merged.total == pytest.approx(sum(everything), abs=1e-3)
    assert merged.counts == of(everything, merged.bounds).counts
    assert set(merged.bounds) == set.intersection(*(set(bounds) for _, bounds in parts))


def test_merging_and_coarsening_refuse_what_is_not_known() -> None:
    assert merge([]) is None
    with pytest.raises(ValueError, match="not its own"):
        coarser(Histogram((1.0, 2.0), (1, 1, 1)), (1.5,))
    with pytest.raises(ValueError, match="one bucket more"):
        Histogram((1.0,), (1,))
    with pytest.raises(ValueError, match="ascend"):
        Histogram((2.0, 1.0), (1, 1, 1))


def test_buckets_as_the_text_tells_them() -> None:
    found = from_cumulative([(math.inf, 7), (1.0, 3), (5.0, 2)], 9.0)  # a step behind, as of a server that goes on counting
    assert found == Histogram((1.0, 5.0), (3, 0, 4), 9.0)
    assert from_cumulative([(1.0, 3)]) is None
    assert from_cumulative([(1.0, math.nan), (math.inf, 3)]) is None
    assert from_cumulative([(math.inf, 3)]) == Histogram((), (3,), 0.0)
    assert quantile(Histogram((), (3,)), 0.5) is None, "without a bound nobody knows anything"
