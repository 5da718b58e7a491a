"""Differences within pairs: the mean over all of them, its variance by units, and an interval that holds at every look."""

from __future__ import annotations

from itertools import accumulate

import duckdb
import numpy as np
import pytest

from backend.experiments.statistics import moments, paired, sequences
from backend.experiments.statistics.moments import Moments


def looks(values: np.ndarray, at: np.ndarray) -> Moments:
    """Moments of the first n values of each row, for every n."""
    parts = [moments.of_units(part) for part in np.split(values[:, : at[-1]], at[:-1], axis=-1)]
    return moments.stacked(list(accumulate(parts)), axis=-1)


def test_the_mean_and_its_error_are_those_of_one_sample() -> None:
    values = np.random.default_rng(1).gamma(2.0, 3.0, 500)
    found = paired.estimate(moments.of_units(values))
    assert float(found.difference) == pytest.approx(values.mean())
    assert float(found.error) == pytest.approx(values.std(ddof=1) / np.sqrt(500))
    third = ((values - values.mean()) ** 3).mean() / values.std(ddof=1) ** 3
    assert float(found.skewness) == pytest.approx(third / np.sqrt(500))


def test_an_interval_that_is_looked_at_all_day_is_wrong_no_more_often_than_it_says() -> None:
    at = np.arange(100, 2_001, 50)
    values = np.random.default_rng(2).exponential(1.0, (1_000, 2_000)) - 1.0
    found = paired.estimate(looks(values, at))
    low, high = paired.interval(found, 0.05)
    wrong = ((low > 0) | (high < 0)).any(-1).mean()
    assert wrong <= 0.05
    usual = np.abs(found.difference) > 1.96 * found.error
    assert usual.any(-1).mean() > 0.15  # what looking all day does to the usual one, on the same values


def test_it_finds_a_difference_that_is_there_and_is_tightest_where_it_was_planned() -> None:
    values = np.random.default_rng(3).normal(0.2, 1.0, (200, 2_000))
    low, _ = paired.interval(paired.estimate(looks(values, np.array([2_000]))), 0.05)
    assert (low > 0).mean() > 0.99
    one = paired.estimate(moments.of_units(values[0]))
    widths = {plan: np.ptp(paired.interval(one, 0.05, planned=plan)) for plan in (20.0, 2_000.0, 200_000.0)}
    assert min(widths, key=lambda plan: widths[plan]) == 2_000.0


def test_the_pairs_of_one_unit_do_not_pass_for_independent_ones() -> None:
    """Ten pairs that say the same are one unit, and the error is that of units."""
    random = np.random.default_rng(4)
    effect = random.normal(0.0, 1.0, 300)
    pairs = random.integers(1, 20, 300)
    rows = [(f"u{unit}", float(effect[unit])) for unit in range(300) for _ in range(pairs[unit])]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE pairs (who VARCHAR, d DOUBLE)")
        connection.executemany("INSERT INTO pairs VALUES (?, ?)", [*rows, ("nobody", None)])
        linear = paired.linear_sql("pairs", "d")
        (row,) = connection.sql(f"SELECT {moments.sql()} FROM ({linear})").to_arrow_table().to_pylist()
    found = paired.estimate(moments.of_sums(row))
    mean = np.average(effect, weights=pairs)
    residuals = pairs * (effect - mean) / pairs.mean()
    assert float(found.difference) == pytest.approx(mean)
    assert float(found.n_treatment) == 300
    assert float(found.error) == pytest.approx(np.sqrt(residuals.var(ddof=1) / 300))
    naive = np.repeat(effect, pairs).std(ddof=1) / np.sqrt(len(rows))
    assert float(found.error) > 2 * naive


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "0 of the 100 units"),
        ([1.0], "1 of the 100 units"),
        ([0.0] * 500, "the same value"),
        ([0.3] * 499 + [0.1 + 0.2], "the same value"),
        ([0.0] * 499 + [1.0], "a few large values decide; it needs about 12,"),
        ([0.0, 1.0] * 250, ""),
    ],
)
def test_an_interval_does_not_count_before_it_can(values: list[float], says: str) -> None:
    found = paired.estimate(moments.of_units(values))
    words = paired.missing_words(found)
    assert words == "" if not says else says in words
    low, high = paired.interval(found, 0.05)
    assert (np.isfinite(low) and np.isfinite(high)) == (len({round(value, 9) for value in values}) > 1)


def test_what_reads_estimates_of_arms_reads_one_of_pairs() -> None:
    found = paired.estimate(moments.of_units([1.0, 2.0, 4.0]))
    assert float(found.clock) == pytest.approx(3 * np.var([1.0, 2.0, 4.0], ddof=1))
    assert float(sequences.chance(found, sequences.Tuning(1.0))) <= 1.0
