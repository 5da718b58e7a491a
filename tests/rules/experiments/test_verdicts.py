"""Exact tests, mismatches, quantiles, budgets, plans, and what is concluded from all of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from backend.experiments import rules
from backend.experiments.rules import Guardrail, Measured, Primary
from backend.experiments.statistics import budget, exact, mismatch, moments, planning, quantiles
from backend.experiments.statistics.budget import Budget
from backend.experiments.statistics.estimates import estimate
from backend.experiments.statistics.moments import Moments
from backend.experiments.statistics.planning import Asked, Step, Traffic


def shares(failed: object, n: object) -> Moments:
    k = np.asarray(failed, dtype=float)
    return moments.of_sums({"n": np.asarray(n, dtype=float), "value": k, "vv": k, "vvv": k})


def test_a_broken_canary_is_found_within_a_few_units_and_silence_passes_within_thousands() -> None:
    champion = shares([0], [2000])
    evidence = [float(exact.worse(champion, shares([k], [n]), margin=0.01)) for k, n in ((3, 3), (5, 5), (1, 20), (0, 50))]
    assert evidence[0] > math.log(100) < evidence[1]
    assert evidence[2] < math.log(20) > evidence[3]
    upper = [float(exact.difference_upper(shares([0], [n]), shares([0], [n]), 0.05)) for n in (10, 1000, 10_000)]
    assert upper[0] > 0.3
    assert upper[2] < 0.001 < upper[1] < 0.02
    assert float(exact.difference_upper(shares([0], [9]), shares([0], [0]), 0.05)) == 1.0


@pytest.mark.parametrize(("p", "margin", "relative"), [(0.02, 0.0, 0.0), (0.05, 0.02, 0.0), (0.1, 0.0, 0.3)])
def test_an_exact_test_is_seldom_wrong_at_its_edge(p: float, margin: float, relative: float) -> None:
    random = np.random.default_rng(1)
    n = np.arange(1, 31)[None, :, None] * np.array([45, 5.0])
    bad = margin + (1 + relative) * p
    k0, k1 = (random.binomial(size, q, (600, 30)).cumsum(-1)[..., None] for size, q in ((45, p), (5, bad)))
    control, treatment = shares(k0, np.broadcast_to(n[..., :1], k0.shape)), shares(k1, np.broadcast_to(n[..., 1:], k1.shape))
    ever = (exact.worse(control, treatment, margin=margin, relative=relative) >= math.log(20)).any(-1).mean()
    assert ever <= 0.05 + 3 * 0.009
    k, every = k1[..., 0].astype(float), treatment.n[..., 0]
    missed = (exact._evidence(k, every, np.full_like(k, bad)) >= math.log(20)).any(-1).mean()
    assert missed <= 0.05 + 3 * 0.009


@pytest.mark.parametrize(("margin", "relative"), [(0.02, 0.0), (0.0, 0.3), (0.01, 0.5)])
def test_the_exact_denominator_is_the_largest_likelihood_that_is_allowed(margin: float, relative: float) -> None:
    k0, o0, k1, o1 = 7.0, 193.0, 9.0, 41.0
    p = np.linspace(1e-6, 0.5, 400_001)
    q = margin + (1 + relative) * p
    likelihood = k0 * np.log(p) + o0 * np.log1p(-p) + k1 * np.log(q) + o1 * np.log1p(-q)
    mixed = sum(stats.betabinom.logpmf(k, k + o, 0.5, 0.5) - _choose(k, o) for k, o in ((k0, o0), (k1, o1)))
    found = float(exact.worse(shares([k0], [k0 + o0]), shares([k1], [k1 + o1]), margin=margin, relative=relative))
    assert found == pytest.approx(mixed - likelihood.max(), abs=1e-6)


def _choose(k: float, o: float) -> float:
    return math.lgamma(k + o + 1) - math.lgamma(k + 1) - math.lgamma(o + 1)


def test_a_mismatch_is_found_and_a_changed_split_is_none() -> None:
    assert mismatch.ratio([[9900, 100], [5000, 5000]], [[99, 1], [50, 50]]).mismatch is False
    pooled = mismatch.ratio([14900, 5100], [149, 51])
    assert pooled.p == pytest.approx(1.0)
    bad = mismatch.ratio([50_000, 51_500], [5000, 5000])
    assert bad.mismatch
    assert bad.p == pytest.approx(stats.chisquare([50_000, 51_500]).pvalue, rel=1e-9)
    assert "more than chance" in bad.words
    assert mismatch.ratio([[100, 1]], [[1, 0]]).anytime_p == 0.0, "a unit where none was meant"
    assert mismatch.ratio([[9, 1]], [[0.9, 0.1]]).p is None
    three = mismatch.ratio([[300, 310, 390]] * 9, [[1, 1, 1]])
    assert three.mismatch
    with pytest.raises(ValueError, match="finite"):
        mismatch.ratio([[math.nan, 1]], [[1, 1]])


def test_the_evidence_of_a_mismatch_is_lindon_and_maleks() -> None:
    n, theta = np.array([[30.0, 50.0, 20.0]]), np.array([[0.3, 0.5, 0.2]])
    alpha = 100 * theta[0]
    wanted = stats.dirichlet_multinomial.logpmf(n[0].astype(int), alpha, 100) - stats.multinomial.logpmf(n[0], 100, theta[0])
    assert float(mismatch.log_evidence(n, theta)) == pytest.approx(wanted, rel=1e-9)


def test_units_in_two_arms_invalidate_above_one_percent_of_enough() -> None:
    assert [mismatch.crossed(*one).invalid for one in ((1000, 10), (1000, 11), (50, 20), (0, 0))] == [False, True, False, False]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 4), st.integers(1, 6))
def test_a_budget_sums_to_what_it_is(guardrails: int, segments: int, arms: int, restarts: int) -> None:
    made = Budget(guardrails, segments, arms, restarts)
    assert made.total == pytest.approx(0.05)
    assert (made.segment == 0) is (segments == 0)
    assert made.segment <= made.whole


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_rejects_as_its_steps_do(chances: list[float], alpha: float) -> None:
    order, rejected = sorted(range(len(chances)), key=lambda one: chances[one]), set[int]()
    for place, one in enumerate(order):
        if (len(chances) - place) * chances[one] > alpha:
            break
        rejected.add(one)
    assert {one for one, p in budget.holm(dict(enumerate(chances))).items() if p <= alpha} == rejected
    assert budget.holm({"a": math.nan, "b": 0.01}) == {"a": 1.0, "b": 0.02}


def test_quantiles_hold_what_they_say_and_are_blind_to_a_changed_split() -> None:
    random = np.random.default_rng(2)
    edges = quantiles.latency_edges()
    tuned = quantiles.tuning(0.95, weight=2000, alpha=0.05)
    missed, found = 0, 0
    for _ in range(150):
        slow = [random.lognormal(-3, 0.5, n) * level for n, level in ((3000, 1), (1000, 3))]
        new = [random.lognormal(-3, 0.5, n) * level for n, level in ((60, 1), (1000, 3))]
        a, b, worse = (_bins(one, edges) for one in (slow, new, [1.5 * one for one in new]))
        same, bad = (quantiles.compare(a, one, 0.95, tuned, 0.05) for one in (b, worse))
        missed += not same.interval.low <= 0 <= same.interval.high
        found += bool(bad.interval.low > 0)
        assert same.enough
    assert missed <= 7
    assert found >= 140
    few = quantiles.compare(_bins([np.full(50, 0.1)], edges), _bins([np.full(50, 0.1)], edges), 0.99, tuned, 0.05)
    assert not few.enough


def _bins(steps: list[np.ndarray], edges: np.ndarray) -> quantiles.Bins:
    each = [quantiles.counted(one, edges) for one in steps]
    return quantiles.Bins(edges, np.concatenate([one.counts for one in each]))


def test_a_design_effect_is_that_of_the_units() -> None:
    slow = np.repeat([1.0, 0.0], [100, 900])
    assert quantiles.design_effect(moments.of_units(8 * slow, np.full(1000, 8.0))) == pytest.approx(8.0, rel=0.01)
    assert quantiles.design_effect(moments.of_units(slow, np.ones(1000))) == pytest.approx(1.0, rel=0.01)


def test_a_fixed_plan_is_the_textbooks_and_others_cost_what_is_published() -> None:
    weight = planning.weight_needed(1.0, 0.1, Asked(design="fixed"))
    assert 4 * weight == pytest.approx(4 * ((1.959964 + 0.841621) / 0.1) ** 2, rel=1e-5)
    ratios = {design: planning.inflation(Asked(design=design)) for design in ("sequence", "obrien_fleming", "pocock")}  # type: ignore[arg-type]
    assert 1.04 < ratios["obrien_fleming"][0] < 1.07
    assert 1.2 < ratios["pocock"][0] < 1.35
    assert 1.5 < ratios["sequence"][0] < 1.8
    assert ratios["sequence"][1] < 1.1
    assert planning.detectable(1.0, weight, Asked(design="fixed")) == pytest.approx(0.1)
    assert planning.reduced(2.0, 0.5) == 1.5


def test_the_variance_of_a_plan_is_measured_on_units_of_before() -> None:
    random = np.random.default_rng(3)
    c = random.normal(0, 1, 50_000)
    before = moments.of_units(0.8 * c + random.normal(0, 0.6, c.size), None, c)
    assert planning.unit_variance(before) == pytest.approx(1.0, rel=0.03)
    assert planning.unit_variance(before, adjusted=True) == pytest.approx(0.36, rel=0.03)
    cell = before.cell(None)
    half = estimate(cell, cell)
    assert float(half.variance) == pytest.approx(planning.unit_variance(before) / float(half.weight))
    assert math.isnan(planning.unit_variance(moments.of_units(np.ones(1))))


def test_traffic_bends_and_a_blind_plan_is_refused_with_its_figures() -> None:
    traffic = Traffic((1000.0, 1500.0, 1750.0, 1875.0))
    assert (traffic.by(2), traffic.by(1.5), traffic.days_for(1250)) == (1500, 1250, 1.5)
    assert traffic.by(traffic.days_for(5000)) == pytest.approx(5000)
    assert Traffic(()).days_for(1) == math.inf
    asked = Asked(sides="one", alpha=0.01)
    steps = planning.plan_ramp(1.0, [Step(1000, one, 1 - one) for one in (0.01, 0.05, 0.25)], traffic, asked=asked)
    assert steps[0].detectable > steps[1].detectable > steps[2].detectable > 0.1
    wide = planning.refusal(steps[-1], 1.0, 1.0, traffic, asked=asked, most_days=60, what="log loss")
    assert wide is None
    blind = planning.refusal(steps[-1], 0.05, 1.0, traffic, asked=asked, most_days=60, what="log loss")
    assert blind is not None
    assert f"{steps[-1].detectable:.4g}" in blind.words
    assert f"{blind.units_needed:,.0f} units" in blind.words
    long = planning.plan_test(1.0, 0.05, traffic, treatment=0.5, control=0.5, asked=asked)
    refused = planning.refusal(long, 0.05, 1.0, traffic, asked=asked, most_days=14, what="log loss")
    assert refused is not None
    assert "at most 14 days" in refused.words
    assert long.days % 7 == 0
    for wanted, variance in ((0.0, 1.0), (0.1, math.nan)):
        assert planning.refusal(long, wanted, variance, traffic, asked=asked, most_days=1e9, what="x") is not None
    nobody = planning.plan_test(1.0, 0.1, traffic, treatment=0.0, control=1.0, asked=asked)
    assert planning.refusal(nobody, 0.1, 1.0, traffic, asked=asked, most_days=1e9, what="x") is not None


RAIL = Guardrail("error rate", margin=0.01, stale_after=600)
GOOD = Measured(0.001, -0.004, 0.006, 500, 500, age=30)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "pass"),
        ({"fail_low": 0.011, "pass_high": 0.05, "harm": 0.03}, "fail"),
        ({"pass_high": 0.02}, "inconclusive"),
        ({"fail_low": 0.002}, "pass"),
        ({"fail_low": 0.01, "pass_high": 0.01}, "inconclusive"),
        ({"unsettled": "the smaller arm has 3 of 100 units"}, "inconclusive"),
        ({"unsettled": "few", "fail_low": 0.5}, "inconclusive"),
        ({"unsettled": "few", "exact_fail": True}, "fail"),
        ({"unsettled": "no variance", "exact_pass": True, "pass_high": math.inf}, "pass"),
        ({"exact_fail": True, "exact_pass": True}, "fail"),
        ({"harm": None}, "missing"),
        ({"harm": math.nan}, "missing"),
        ({"harm": math.inf}, "missing"),
        ({"pass_high": math.nan}, "missing"),
        ({"fail_low": math.nan}, "missing"),
        ({"n_treatment": 0}, "missing"),
        ({"n_control": 0}, "missing"),
        ({"n_treatment": math.nan}, "missing"),
        ({"age": 601}, "stale"),
        ({"age": -3600}, "stale"),
        ({"age": math.nan}, "missing"),
        ({"exact_pass": True, "age": 1e9}, "stale"),
    ],
)
def test_only_what_is_proved_passes_or_fails(changed: dict[str, object], verdict: str) -> None:
    found = rules.judged(RAIL, replace(GOOD, **changed))  # type: ignore[arg-type]
    assert found.verdict == verdict
    assert found.reason.startswith("error rate: ")


def test_nothing_measured_is_missing_and_no_margin_is_refused() -> None:
    assert rules.judged(RAIL, None).verdict == "missing"
    for margin in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="margin of 0"):
            replace(RAIL, margin=margin)


PASS, FAIL, OPEN = (
    rules.judged(RAIL, one)
    for one in (GOOD, replace(GOOD, harm=0.05, fail_low=0.03, pass_high=0.07), replace(GOOD, pass_high=1))
)
EXPLORED = replace(FAIL, guardrail=replace(RAIL, exploratory=True))
BETTER = Primary("log loss", gain=0.02, low=0.01, high=0.03)


@pytest.mark.parametrize(
    ("guardrails", "asked", "decision", "person"),
    [
        ([PASS], {}, "ship", False),
        ([PASS, OPEN], {}, "keep_running", False),
        ([PASS, OPEN], {"more": False}, "keep_running", True),
        ([PASS, FAIL], {}, "roll_back", False),
        ([PASS, EXPLORED], {}, "ship", False),
        ([], {}, "keep_running", True),
        ([EXPLORED], {}, "keep_running", True),
        ([PASS], {"unsound": ["Arms got other units than they should."]}, "keep_running", True),
        ([FAIL], {"unsound": ["Arms got other units than they should."]}, "keep_running", True),
        ([PASS], {"primary": BETTER}, "ship", False),
        ([OPEN], {"primary": BETTER}, "keep_running", False),
        ([FAIL], {"primary": BETTER}, "roll_back", False),
        ([PASS], {"primary": replace(BETTER, low=-0.01)}, "keep_running", False),
        ([PASS], {"primary": replace(BETTER, low=-0.01, ended=True)}, "keep_running", True),
        ([PASS], {"primary": replace(BETTER, low=-0.01, goal="not_worse", margin=0.02)}, "ship", False),
        ([PASS], {"primary": replace(BETTER, low=-0.03, high=-0.01)}, "roll_back", False),
        ([OPEN], {"primary": replace(BETTER, low=-0.03, high=-0.01)}, "roll_back", False),
        ([PASS], {"primary": replace(BETTER, gain=None)}, "keep_running", False),
        ([PASS], {"primary": replace(BETTER, low=math.nan)}, "keep_running", False),
        ([PASS], {"primary": replace(BETTER, unsettled="too few")}, "keep_running", False),
    ],
)
def test_a_decision_follows_from_what_is_proved(guardrails: list, asked: dict, decision: str, person: bool) -> None:
    found = rules.decided(guardrails, **asked)
    assert (found.decision, found.person) == (decision, person)
    assert found.reasons
