"""Bounds that hold at every look, and those of a fixed plan: against published values, each other, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar

from backend.experiments.statistics import moments, reading, sequences, spending
from backend.experiments.statistics.estimates import Estimate, estimate
from backend.experiments.statistics.sequences import Sides, Tuning
from backend.experiments.statistics.spending import Look, Plan
from benchmarks import aa_simulation
from benchmarks.aa_simulation import Size


def found(effect: float = 0.1, n: int = 2000, seed: int = 1) -> Estimate:
    random = np.random.default_rng(seed)
    return estimate(moments.of_units(random.normal(1, 1, (1, n))), moments.of_units(random.normal(1 + effect, 1, (1, n))))


TUNED = sequences.planned(weight=1000, unit_variance=1.0, alpha=0.05)


def test_the_bound_is_the_papers_and_tightest_where_it_was_planned() -> None:
    """Waudby-Smith et al., theorem 2.2: sqrt(2 (t s^2 rho^2 + 1) / (t^2 rho^2) ln(sqrt(t s^2 rho^2 + 1) / alpha))."""
    t, rho2, alpha = 700.0, 0.01, 0.05
    paper = math.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * math.log(math.sqrt(t * rho2 + 1) / alpha))
    assert float(sequences.bound(np.asarray(t), Tuning(1 / rho2), alpha)) / math.sqrt(t) == pytest.approx(paper, rel=1e-12)
    for sides, near in (("two", 1e-4), ("one", 0.05)):
        best = minimize_scalar(
            lambda x, sides=sides: float(sequences.bound(np.asarray(1.0), Tuning(math.exp(-x)), alpha, sides)), bounds=(-3, 6)
        )
        assert math.log(sequences.tightest(alpha, sides)) == pytest.approx(best.x, abs=near)  # type: ignore[arg-type]


def test_the_one_sided_bound_lies_at_or_beyond_where_its_martingale_reaches_one_over_alpha() -> None:
    for x in np.geomspace(1e-4, 1e4, 60):
        for alpha in (0.5, 0.05, 1e-4):
            c = float(sequences.bound(np.asarray(x), Tuning(1.0), alpha, "one"))
            u = c * math.sqrt(x / (1 + x))
            martingale = 2 * math.exp(u * u / 2) * stats.norm.cdf(u) / math.sqrt(1 + x)
            assert 1 / alpha <= martingale * (1 + 1e-12)


@pytest.mark.parametrize("sides", ["one", "two"])
def test_a_chance_is_the_alpha_at_which_the_interval_ends_at_zero(sides: Sides) -> None:
    one = found()
    p = float(sequences.chance(one, TUNED, sides))
    assert 0 < p < 1
    assert float(sequences.interval(one, TUNED, p, sides).low) == pytest.approx(0, abs=1e-7)
    assert float(sequences.chance(one.times(-1.0), TUNED, "one")) == 1.0
    half = float(one.difference) / 2
    above = float(sequences.chance(one, TUNED, sides, above=half))
    assert float(sequences.interval(one, TUNED, above, sides).low) == pytest.approx(half, abs=1e-7) or above == 1.0


def test_a_relative_interval_says_the_same_of_zero_and_covers_its_own_equation() -> None:
    for effect in (-0.2, 0.05, 0.09, 0.12, 0.4):
        one = found(effect)
        plain, share = sequences.interval(one, TUNED, 0.05), sequences.relative(one, TUNED, 0.05)
        assert (plain.low > 0, plain.high < 0) == (share.low > 0, share.high < 0)
        for r in share:
            variance = one.variance - 2 * r * one.covariance + r * r * one.base_variance
            c = sequences.widened(sequences.bound(one.weight**2 * variance, TUNED, 0.05), one.freedom)
            assert float((one.difference - r * one.control) ** 2) == pytest.approx(float(c**2 * variance), rel=1e-4)
    random = np.random.default_rng(3)
    nowhere = estimate(*(moments.of_units(random.normal(0.01, 1, (1, 300))) for _ in range(2)))
    assert not np.isfinite(sequences.relative(nowhere, TUNED, 0.05)).any()


def test_a_widened_bound_is_students() -> None:
    for nu in (15, 40, 400):
        for c in (1.5, 2.8, 3.5):
            wanted = -stats.t.ppf(stats.norm.cdf(-c), nu)
            assert float(sequences.widened(np.asarray(c), np.asarray(float(nu)))) == pytest.approx(wanted, rel=0.02)


def test_what_has_no_variance_or_few_units_does_not_count() -> None:
    flat = estimate(*(moments.of_units(np.zeros((1, 5000))) for _ in range(2)))
    assert not np.isfinite(sequences.interval(flat, TUNED, 0.05)).any()
    assert not sequences.settled(flat)
    assert "same value" in sequences.missing_words(flat)
    few = found(n=99)
    assert "99 of the 100" in sequences.missing_words(few)
    assert not sequences.settled(few)
    assert sequences.missing_words(found(n=100)) == ""
    value = np.zeros((1, 99_000))
    value[0, :990] = 1
    rare = estimate(moments.of_units(value), moments.of_units(np.zeros((1, 1000))))
    assert "large values" in sequences.missing_words(rare), "an arm in which nothing rare has happened yet looks even"
    for eta in (0.0, math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match="tuning"):
            Tuning(eta)


PUBLISHED = {
    "obrien_fleming": (4.8769, 3.3569, 2.6803, 2.2898, 2.0310),
    "pocock": (2.4380, 2.4268, 2.4101, 2.3966, 2.3859),
}
"""Five even looks, alpha 0.05 on two sides, as gsDesign and ldbounds have them for Lan-DeMets spending."""


@pytest.mark.parametrize("shape", ["obrien_fleming", "pocock"])
def test_group_sequential_bounds_are_the_published_ones(shape: spending.Shape) -> None:
    looks = tuple(Look(place / 5, place / 5) for place in range(1, 6))
    assert spending.bounds(looks, Plan(0.05, 1.0, shape)) == pytest.approx(PUBLISHED[shape], abs=2e-4)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.02, 1.0), min_size=1, max_size=8), st.sampled_from(["obrien_fleming", "pocock"]), st.booleans())
def test_what_is_spent_sums_to_alpha_whatever_the_looks(steps: list[float], shape: spending.Shape, two: bool) -> None:
    sides: Sides = "two" if two else "one"
    clocks = np.cumsum(steps)
    looks = tuple(Look(float(one / clocks[-1]), float(3 * one)) for one in clocks)
    limits = spending.bounds(looks, Plan(0.05, 1.0, shape, sides))
    up, down = spending.crossings([one.clock for one in looks], limits, drift=0.0, sides=sides)
    assert float(up.sum() + down.sum()) == pytest.approx(0.05, abs=1e-6)


def test_a_plan_says_when_it_is_final_and_when_it_overran() -> None:
    plan = Plan(0.05, 100.0)
    looks = [Look(30.0, 30.0), Look(30.1, 30.1), Look(60.0, 60.0), Look(107.0, 107.0), Look(120.0, 120.0)]
    one, close, _, final, over = (spending.standing(plan, looks[: place + 1]) for place in range(5))
    assert math.isfinite(one.bound)
    assert close.bound == math.inf, "nothing new to spend on"
    assert (final.final, final.spent, final.overran) == (True, 0.05, False)
    assert (over.overran, over.bound) == (True, math.inf)
    assert "does not count" in over.words
    again = spending.bounds((looks[0], looks[2], looks[3]), plan)
    assert final.bound == again[-1]


def test_a_reading_is_that_of_a_normal_posterior() -> None:
    one = found()
    read = reading.reading(one)
    draws = np.random.default_rng(4).normal(float(one.difference), float(one.error), 400_000)
    assert float(read.better) == pytest.approx((draws > 0).mean(), abs=0.003)
    assert float(read.loss_of_control) == pytest.approx(np.maximum(draws, 0).mean(), rel=0.01)
    assert float(read.loss_of_treatment) == pytest.approx(np.maximum(-draws, 0).mean(), abs=2e-5)
    assert 0.5 < float(reading.reading(one, prior_spread=0.01).better) < float(read.better)


HELD = ("sequence, two sides", "sequence, one side, false fail", "sequence, one side, false pass")


@pytest.mark.parametrize(("kind", "split"), [("normal", "ramp"), ("rare", "ramp"), ("ratio", "half"), ("covariate", "ramp")])
def test_few_good_versions_are_ever_called_bad(kind: aa_simulation.Kind, split: aa_simulation.Split) -> None:
    """400 experiments of 60 looks; the benchmark `aa_simulation` has 2,000 of 200. Three binomial errors above 5 % is 8.3 %."""
    shares = aa_simulation.false_alarms(kind, split, Size(400, 60, 150))
    assert all(shares[name] <= 0.05 + 3 * 0.011 for name in HELD), shares
    assert shares["usual interval, every look"] > 0.15, "the simulation would see it"
    assert shares["mismatch, every look"] <= 0.005
    assert shares["settled at the end"] > 0.95


def test_planted_regressions_are_found() -> None:
    shares = aa_simulation.planted(Size(100, 40, 150))
    assert all(one > 0.75 for name, one in shares.items() if name.endswith(": found"))
    assert all(one < 1.8 for name, one in shares.items() if "over the fixed optimum" in name)
    assert shares["broken canary, exact: its units"] < 40


@pytest.mark.slow
@pytest.mark.parametrize("split", [*aa_simulation.SPLITS])
@pytest.mark.parametrize("kind", aa_simulation.KINDS)
def test_false_alarms_of_two_thousand_experiments(kind: aa_simulation.Kind, split: aa_simulation.Split) -> None:
    shares = aa_simulation.false_alarms(kind, split, Size())
    assert all(shares[name] <= 0.05 for name in HELD), shares


def test_units_that_come_back_are_no_more_often_wrong_with_their_steps_together() -> None:
    """300 experiments of 40 looks; three binomial errors above 5 % is 8.8 %. Without it the usual interval is plainly wrong."""
    size = Size(300, 40, 100)
    plain, together = aa_simulation.false_alarms("returning", "ramp", size), aa_simulation.clustered_alarms(size)
    assert together["usual interval, last look"] <= 0.088 < plain["usual interval, last look"]
    assert together["sequence, two sides"] <= 0.05
    assert together["sequence, one side, false fail"] <= 0.05
    assert together["sequence, one side, false pass"] <= 0.05
