"""Sums of units: they add up, SQL makes them, and what is estimated from them equals the textbooks' formulas on the units."""

from __future__ import annotations

import json

import duckdb
import numpy as np
import pandas as pd
import pytest
import tea_tasting as tea
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from backend.experiments.statistics import moments, sequences
from backend.experiments.statistics.estimates import Estimate, estimate
from backend.experiments.statistics.moments import FIELDS, Moments

units = st.lists(st.tuples(st.floats(-50, 50), st.floats(0.5, 9), st.floats(-5, 5)), min_size=1, max_size=30)


def of(rows: list[tuple[float, float, float]]) -> Moments:
    return moments.of_units(*np.array(rows).T)


def drawn(seed: int, n: int, *, steps: int = 1, harm: float = 0.0) -> Moments:
    random = np.random.default_rng(seed)
    before = random.normal(2, 1, (steps, n))
    requests = 1 + random.poisson(2, (steps, n))
    return moments.of_units(0.8 * before + requests + random.normal(harm, 1, (steps, n)), requests, before)


def same(one: Moments, other: Moments, rtol: float = 1e-9) -> None:
    for name in FIELDS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, atol=1e-7, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(units, units, units)
def test_moments_add_up_in_any_order(a: list, b: list, c: list) -> None:
    same(of(a) + of(b), of(a + b))
    same((of(a) + of(b)) + of(c), of(c) + (of(a) + of(b)))
    same(moments.from_json(json.loads(json.dumps(of(a).to_json()))), of(a))
    nothing = moments.of_units(np.empty(0))
    same(of(a) + nothing, of(a))


@pytest.mark.parametrize("far", [0.0, 1e9])
def test_sql_gives_the_same_sums_and_large_values_keep_their_variance(far: float) -> None:
    random = np.random.default_rng(1)
    v, d, c = random.normal(far, 1, 5000), random.uniform(1, 3, 5000), random.normal(5, 2, 5000)
    base = duckdb.connect()
    base.execute("CREATE TABLE units (value DOUBLE, denominator DOUBLE, covariate DOUBLE, mature BOOLEAN)")
    rows = [(float(a), float(b), float(e), True) for a, b, e in zip(v, d, c, strict=True)]
    base.executemany("INSERT INTO units VALUES (?, ?, ?, ?)", [*rows[:300], (None, 1.0, 1.0, True), (7.0, 1.0, 1.0, False)])
    shifts = {"value": far + 0.5, "covariate": 4.0}
    found = base.sql(f"SELECT {moments.sql(denominator=True, covariate=True, shifts=shifts)} FROM units").fetchdf()
    made = moments.of_sums({name: found[name].to_numpy() for name in found}, shifts).cell(0)
    same(
        Moments(**{**vars(made), "waiting": np.zeros(()), "lost": np.zeros(())}),
        moments.of_units(v[:300], d[:300], c[:300]),
        1e-5,
    )
    assert (made.n, made.waiting, made.lost) == (300, 1, 1), "neither young nor lost units are in the sums"


def test_what_cannot_be_moments_is_refused() -> None:
    good = moments.of_units(np.arange(5.0)).to_json()
    for bad in ({"n": -1}, {"vv": float("nan")}, {"value": float("inf")}, {"vv": -0.5}, {"n": [1, 2]}):
        with pytest.raises(ValueError, match=r"moments|Moments"):
            moments.from_json(good | bad)


def test_a_difference_of_means_is_welchs() -> None:
    random = np.random.default_rng(2)
    a, b = random.normal(1e6, 3, 180), random.normal(1e6 + 1, 5, 90)
    found = estimate(moments.of_units(a[None]), moments.of_units(b[None]))
    peer = stats.ttest_ind(b, a, equal_var=False)
    assert float(found.freedom) == pytest.approx(peer.df, rel=1e-9)
    fixed, wanted = sequences.fixed(found, 0.05), peer.confidence_interval(0.95)
    assert (float(fixed.low), float(fixed.high)) == pytest.approx((wanted.low, wanted.high), rel=1e-7)


def test_a_ratio_and_its_covariate_are_those_of_linearised_units() -> None:
    """With one step: the delta method is the variance of residuals, and CUPED what a regression on the covariate leaves."""
    arms = []
    for seed, n in ((3, 400), (4, 300)):
        random = np.random.default_rng(seed)
        c, x = random.normal(2, 1, n), 1 + random.poisson(2, n).astype(float)
        arms.append((0.8 * c + x + random.normal(0, 1, n), x, c))
    cells = [moments.of_units(*(one[None] for one in arm)) for arm in arms]
    plain, adjusted = (estimate(*cells, ratio=True, adjusted=one) for one in (False, True))
    lines = [(y - y.mean() / x.mean() * x) / x.mean() for y, x, _ in arms]
    assert float(plain.variance) == pytest.approx(sum(e.var(ddof=1) / len(e) for e in lines), rel=1e-9)
    covariates = [arm[2] for arm in arms]
    both = sum(np.cov(e, c)[0, 1] / len(e) for e, c in zip(lines, covariates, strict=True))
    own = sum(c.var(ddof=1) / len(c) for c in covariates)
    assert float(adjusted.theta) == pytest.approx(both / own, rel=1e-9)
    left = sum((e - both / own * c).var(ddof=1) / len(e) for e, c in zip(lines, covariates, strict=True))
    assert float(adjusted.variance) == pytest.approx(left, rel=1e-9)
    ratios = [y.mean() / x.mean() for y, x, _ in arms]
    wanted = ratios[1] - ratios[0] - both / own * (covariates[1].mean() - covariates[0].mean())
    assert float(adjusted.difference) == pytest.approx(wanted, rel=1e-9)
    assert float(adjusted.treatment - adjusted.control) == pytest.approx(wanted, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-1000, 1000), st.booleans())
def test_scale_and_shift_change_nothing_but_the_scale(seed: int, scale: float, shift: float, adjusted: bool) -> None:
    random = np.random.default_rng(seed)
    v, c = random.normal(3, 1, (2, 2, 50)), random.normal(0, 1, (2, 2, 50))
    plain = estimate(*(moments.of_units(v[arm], None, c[arm]) for arm in (0, 1)), adjusted=adjusted)
    moved = estimate(*(moments.of_units(scale * v[arm] + shift, None, 7 * c[arm] - 3) for arm in (0, 1)), adjusted=adjusted)
    assert float(moved.difference) == pytest.approx(scale * float(plain.difference), rel=1e-6, abs=1e-8 * scale)
    assert float(moved.variance) == pytest.approx(scale**2 * float(plain.variance), rel=1e-6)
    assert float(plain.times(-2.0).difference) == -2 * float(plain.difference)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 60), st.integers(3, 60), st.integers(1, 3), st.booleans())
def test_a_covariate_never_widens_an_interval(seed: int, n0: int, n1: int, steps: int, ratio: bool) -> None:
    cells = drawn(seed, n0, steps=steps), drawn(seed + 1, n1, steps=steps)
    plain, adjusted = (estimate(*cells, ratio=ratio, adjusted=one) for one in (False, True))
    assert float(adjusted.variance) <= float(plain.variance) * (1 + 1e-12)


def test_a_covariate_moves_no_effect() -> None:
    """Over 4,000 experiments the adjusted difference is right on average, and its variance is what it says."""
    random = np.random.default_rng(5)
    c = random.normal(0, 1, (2, 4000, 1, 60))
    v = 0.9 * c + random.normal(0, 0.5, c.shape)
    v[1] += 0.3
    found = estimate(*(moments.of_units(v[arm], None, c[arm]) for arm in (0, 1)), adjusted=True)
    error = float(found.difference.std() / np.sqrt(4000))
    assert float(found.difference.mean()) == pytest.approx(0.3, abs=4 * error)
    assert float(found.variance.mean()) == pytest.approx(float(found.difference.var()), rel=0.1)


def _paradox() -> tuple[Moments, Moments]:
    """No effect in any step, but on the day of the larger split everything is worse by 10."""
    random = np.random.default_rng(6)
    control = [random.normal(level, 1, n) for level, n in ((0, 9900), (10, 5000))]
    treatment = [random.normal(level, 1, n) for level, n in ((0, 100), (10, 5000))]
    return tuple(  # type: ignore[return-value]
        moments.stacked([moments.of_units(one) for one in arm]) for arm in (control, treatment)
    )


@pytest.mark.parametrize("weights", ["precise", "exposed"])
def test_a_changed_split_is_no_effect(weights: str) -> None:
    control, treatment = _paradox()
    pooled = estimate(control.total().cell(None), treatment.total().cell(None))
    assert float(pooled.difference) > 5, "what pooling would say (Simpson's paradox)"
    found = estimate(control, treatment, weights=weights)  # type: ignore[arg-type]
    assert abs(float(found.difference)) < 4 * float(found.error) < 0.25


def test_a_step_without_an_arm_is_left_out_and_counted() -> None:
    control, treatment = drawn(7, 50, steps=2), drawn(8, 50, steps=2)
    empty = Moments(**{name: np.where([True, False], getattr(treatment, name), 0.0) for name in FIELDS})
    found = estimate(control, empty)
    alone = estimate(control.cell(slice(0, 1)), treatment.cell(slice(0, 1)))
    assert (float(found.difference), float(found.variance)) == (float(alone.difference), float(alone.variance))
    assert (float(found.left_out), float(found.n_control)) == (50, 50)
    nothing = estimate(control.cell(slice(0, 0)), treatment.cell(slice(0, 0)))
    assert np.isnan(nothing.difference)
    assert not sequences.settled(nothing)


def _simulated(n: int, effect: float, *, adjusted: bool) -> Estimate:
    random = np.random.default_rng(9)
    c = random.normal(1, 1, (2, n, 2, 80))
    v = 2 + 0.7 * c + random.normal(0, 1, c.shape)
    v[1] *= 1 + effect
    return estimate(*(moments.of_units(v[arm], None, c[arm]) for arm in (0, 1)), adjusted=adjusted)


@pytest.mark.parametrize("adjusted", [False, True])
def test_the_variance_of_a_relative_effect_is_what_it_varies_by(adjusted: bool) -> None:
    found = _simulated(3000, 0.1, adjusted=adjusted)
    r = 0.1
    assert float((found.difference - r * found.control).var()) == pytest.approx(
        float((found.variance - 2 * r * found.covariance + r * r * found.base_variance).mean()), rel=0.1
    )
    assert float(found.control.var()) == pytest.approx(float(found.base_variance.mean()), rel=0.1)
    assert float(np.cov(found.difference, found.control)[0, 1]) == pytest.approx(float(found.covariance.mean()), rel=0.15)


def test_tea_tasting_agrees() -> None:
    """Means and ratios with Welch's interval, from raw rows."""
    random = np.random.default_rng(10)
    arms = []
    for n, harm in ((900, 0.0), (700, 0.2)):
        requests = 1 + random.poisson(2, n).astype(float)
        arms.append((requests + random.normal(harm, 1, n), requests))
    rows = [pd.DataFrame({"variant": place, "v": v, "d": d}) for place, (v, d) in enumerate(arms)]
    metrics = {"mean": tea.Mean("v", equal_var=False), "ratio": tea.RatioOfMeans("v", "d", equal_var=False)}
    peer = tea.Experiment(metrics).analyze(pd.concat(rows))
    cells = [moments.of_units(v[None], d[None]) for v, d in arms]
    for name in metrics:
        found = estimate(*cells, ratio=name == "ratio")
        fixed = sequences.fixed(found, 0.05)
        theirs = peer[name].effect_size, peer[name].effect_size_ci_lower, peer[name].effect_size_ci_upper
        assert theirs == pytest.approx((float(found.difference), float(fixed.low), float(fixed.high)), rel=1e-6)
