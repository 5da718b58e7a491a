"""Scores are what SciPy and Evidently's formulas give on the same cells, and behave as such scores must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import distance

from backend.drift import formulas
from backend.drift.exact import chi_squared_fit, evidently_shares, exact

COUNTS = arrays(np.int64, st.integers(2, 40), elements=st.integers(0, 10_000)).filter(lambda found: found.sum() > 0)
PAIRS = COUNTS.flatmap(
    lambda one: st.tuples(
        st.just(one), arrays(np.int64, len(one), elements=st.integers(0, 10_000)).filter(lambda found: found.sum() > 0)
    )
)
NUMBERS = arrays(np.float64, st.integers(2, 80), elements=st.floats(-1e6, 1e6, width=32)).map(np.sort)


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@settings(max_examples=50)
@given(PAIRS)
def test_jensen_shannon_is_scipys_distance(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = (formulas.shares(one) for one in pair)
    assert formulas.jensen_shannon(p, q) == near(np.nan_to_num(distance.jensenshannon(p, q)))
    assert formulas.jensen_shannon(p, q) == near(float(formulas.jensen_shannon(q, p)))
    assert formulas.jensen_shannon(p, p) == 0


@settings(max_examples=50)
@given(PAIRS)
def test_psi_is_symmetric_never_negative_and_nothing_for_the_same(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = (formulas.shares(one) for one in pair)
    assert formulas.psi(p, q) == near(float(formulas.psi(q, p)))
    assert formulas.psi(p, q) >= 0
    assert formulas.psi(p, p) == 0


@settings(max_examples=50)
@given(PAIRS)
def test_chi_squared_is_scipys_test_of_a_table(pair: tuple[np.ndarray, np.ndarray]) -> None:
    filled = np.stack(pair)[:, np.sum(pair, axis=0) > 0]
    statistic, freedom = formulas.homogeneity(filled[0].astype(float), filled[1].astype(float))
    if filled.shape[1] < 2:
        assert (statistic, freedom) == (0, 0)
        return
    peer = stats.chi2_contingency(filled, correction=False)
    assert statistic == near(peer.statistic)
    assert freedom == peer.dof
    assert formulas.chi_squared_p(float(statistic), int(freedom)) == near(peer.pvalue)


@settings(max_examples=50)
@given(PAIRS)
def test_chi_squared_takes_rare_cells_together_and_expects_five_in_all_others(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Against SciPy on cells that were put together by hand."""
    one, other = pair
    both = one + other
    rare = both * min(one.sum(), other.sum()) / both.sum() < 5
    together = np.array([[*side[~rare], side[rare].sum()] for side in pair])
    together = together[:, together.sum(axis=0) > 0]
    statistic, freedom = formulas.chi_squared(one, other)
    expected = stats.chi2_contingency(together, correction=False).statistic if together.shape[1] > 1 else 0.0
    assert (statistic, freedom) == (near(expected), together.shape[1] - 1)


def test_chi_squared_of_fit_is_scipys() -> None:
    one, other = np.array([500, 300, 200]), np.array([60, 25, 15])
    statistic, p = chi_squared_fit(one, other)
    peer = stats.chisquare(other, one / one.sum() * other.sum())
    assert (statistic, p) == (near(peer.statistic), near(peer.pvalue))
    assert chi_squared_fit(np.array([5, 0]), np.array([5, 1])) == (np.inf, 0)


@settings(max_examples=50)
@given(NUMBERS, NUMBERS)
def test_the_exact_path_is_scipys_for_all_values(one: np.ndarray, other: np.ndarray) -> None:
    found = exact(one, other)
    peer = stats.ks_2samp(one, other)
    norm = max(float(np.std(one)), 0.001)
    assert found.kolmogorov_smirnov == near(peer.statistic)
    assert found.kolmogorov_smirnov_p == near(peer.pvalue)
    if np.std(one) >= 0.001 or one[0] == one[-1]:
        assert found.wasserstein * norm == pytest.approx(stats.wasserstein_distance(one, other), rel=1e-9, abs=1e-9 * norm)
    p, q = evidently_shares(one, other)
    assert found.jensen_shannon == near(float(formulas.jensen_shannon(p, q)))
    same = exact(one, one)
    assert (same.psi, same.jensen_shannon, same.wasserstein, same.kolmogorov_smirnov) == (0, 0, 0, 0)


def test_of_many_values_the_chance_is_approximated_as_scipy_does() -> None:
    random = np.random.default_rng(1)
    one, other = np.sort(random.normal(size=20_000)), np.sort(random.normal(0.02, 1, 30_000))
    assert exact(one, other).kolmogorov_smirnov_p == near(stats.ks_2samp(one, other).pvalue)


@pytest.mark.parametrize("size", [2_100, 20_000, 100_000])
def test_chances_of_many_values_are_nearly_scipys(size: int) -> None:
    for z in (0.01, 0.19, 0.21, 0.5, 1.0, 1.48, 1.49, 2.0, 2.8):
        distance = z / size**0.5
        found = formulas.kolmogorov_smirnov_p(distance, 2 * size, 2 * size)
        assert found == pytest.approx(stats.kstwo.sf(distance, size), rel=0.02), z
    assert formulas.kolmogorov_smirnov_p(1.0, 2 * size, 2 * size) == 0


@settings(max_examples=50)
@given(NUMBERS, NUMBERS)
def test_evidentlys_cells_are_numpys(one: np.ndarray, other: np.ndarray) -> None:
    values = np.unique(one)
    if len(values) <= 20:
        both = np.unique(np.concatenate([one, other]))
        expected = [np.array([(side == value).mean() for value in both]) for side in (one, other)]
    else:
        edges = np.histogram_bin_edges(np.concatenate([one, other]), bins="sturges")
        expected = [np.histogram(side, edges)[0] / len(side) for side in (one, other)]
    for found, peer in zip(evidently_shares(one, other), expected, strict=True):
        np.testing.assert_allclose(found, peer, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shares", "filled"),
    [([0.5, 0.5, 0], [0.5, 0.5, 1e-4]), ([0.99995, 5e-5, 0], [0.99995, 5e-5, 5e-11]), ([1, 0, 0], [1, 1e-4, 1e-4])],
)
def test_empty_cells_are_filled_as_evidently_does(shares: list[float], filled: list[float]) -> None:
    assert formulas.filled(np.array(shares)) == pytest.approx(filled, rel=1e-12)


def test_a_small_feature_is_measured_by_itself() -> None:
    """Evidently divides by 0.001 at least, which hides every drift of a feature whose values are all smaller."""
    one = np.sort(np.random.default_rng(1).normal(0, 1e-6, 1_000))
    assert exact(one, one + 1e-6).wasserstein == pytest.approx(1, rel=0.05)
    constant = np.full(100, 0.1)
    assert exact(constant, constant + 0.001).wasserstein == pytest.approx(1)


def test_without_values_there_are_no_scores() -> None:
    with pytest.raises(ValueError, match="without values"):
        exact(np.empty(0), np.ones(1))
    assert formulas.kolmogorov_smirnov_p(0.5, 0, 10) == 1
    assert formulas.chi_squared(np.array([3, 4]), np.array([0, 0])) == (0, 0)
