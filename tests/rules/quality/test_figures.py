"""Figures against scikit-learn and SciPy, and the properties that they must have."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from backend.quality import arrays, blocks, grid
from backend.quality.calibration import by_chance, calibration_error, intercept_and_slope, reliability
from backend.quality.classification import figures
from backend.quality.counts import Tally, added
from backend.quality.estimates import _isotonic
from backend.quality.figures import LEVEL, Figure, NotPossible, Value
from backend.quality.intervals import discoveries, wilson
from backend.quality.means import BRIER
from backend.quality.ranking import auc_figure, ranking
from backend.quality.regression import figures as error_figures

Floats = NDArray[np.float64]
FEW = settings(max_examples=40)
SCORE = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.005, 0.1, 0.25, 0.5, 0.95, 0.999, 1.0]))
ROWS = st.lists(st.tuples(SCORE, st.booleans()), min_size=2, max_size=60)
BOTH_KINDS = ROWS.filter(lambda rows: 0 < sum(outcome for _, outcome in rows) < len(rows))


def unzipped(rows: list[tuple[float, bool]]) -> tuple[Floats, Floats]:
    scores, outcomes = zip(*rows, strict=True)
    return np.array(scores, float), np.array(outcomes, float)


def figure(value: Value) -> Figure:
    assert isinstance(value, Figure), value
    assert value.low <= value.value <= value.high, value
    return value


def value(one: Value) -> float:
    return figure(one).value


def calibrated(n: int, seed: int = 1, *, low: float = 0.02, high: float = 0.98) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    scores = random.uniform(low, high, n)
    return scores, (random.random(n) < scores).astype(float)


@FEW
@given(BOTH_KINDS, st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_the_exact_path_is_scikit_learns_to_1e_9(rows: list[tuple[float, bool]], threshold: float) -> None:
    scores, outcomes = unzipped(rows)
    found = figures(arrays.probabilities(scores, outcomes, threshold, exact=True))
    called = scores >= threshold
    oracle = {
        "log_loss": metrics.log_loss(outcomes, scores),
        "brier": metrics.brier_score_loss(outcomes, scores),
        "auc": metrics.roc_auc_score(outcomes, scores),
        "accuracy": metrics.accuracy_score(outcomes, called),
        "recall": metrics.recall_score(outcomes, called),
    }
    assert {name: value(found[name]) for name in oracle} == pytest.approx(oracle, abs=1e-9)
    assert figure(found["auc"]).within == 0
    if called.any():
        assert value(found["precision"]) == pytest.approx(metrics.precision_score(outcomes, called), abs=1e-9)
    else:
        assert found["precision"] == NotPossible("none-called", "No prediction with a known outcome reached the threshold.")


def test_scores_that_all_share_a_bin_leave_the_ranking_open() -> None:
    scores = np.concatenate([np.linspace(0.3, 0.3019, 5_000), np.linspace(0.302, 0.3049, 5_000)])
    auc = figure(auc_figure(arrays.probabilities(scores, np.repeat([0.0, 1.0], 5_000)), LEVEL))
    assert (auc.value, auc.within) == (0.5, 0.5)
    assert auc.high == pytest.approx(1)
    assert auc.low == pytest.approx(0)


@FEW
@given(BOTH_KINDS)
def test_bins_move_nothing_but_the_ranking_and_that_within_its_bound(rows: list[tuple[float, bool]]) -> None:
    scores, outcomes = unzipped(rows)
    exact, kept = (figures(arrays.probabilities(scores, outcomes, exact=exact)) for exact in (True, False))
    for name in ("log_loss", "brier", "accuracy", "recall", "calibration_error", "positive_share", "mean_score"):
        assert value(kept[name]) == pytest.approx(value(exact[name]), abs=1e-9), name
    auc = figure(kept["auc"])
    assert abs(auc.value - value(exact["auc"])) <= auc.within + 1e-12
    assert auc.low <= value(exact["auc"]) <= auc.high


@given(BOTH_KINDS)
def test_turning_scores_round_turns_the_ranking_round(rows: list[tuple[float, bool]]) -> None:
    scores, outcomes = unzipped(rows)
    scores = np.round(scores, 6)  # 1 - score makes equal ones of tiny different ones
    there, back = (value(auc_figure(arrays.probabilities(one, outcomes, exact=True), LEVEL)) for one in (scores, 1 - scores))
    assert back == pytest.approx(1 - there, abs=1e-12)
    assert value(auc_figure(arrays.probabilities(scores, 1 - outcomes, exact=True), LEVEL)) == pytest.approx(
        1 - there, abs=1e-12
    )


@FEW
@given(ROWS, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_rows_does_not_matter(rows: list[tuple[float, bool]], random: object, exact: bool) -> None:
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = (arrays.probabilities(*unzipped(each), exact=exact) for each in (rows, mixed))
    assert one.bins.tolist() == other.bins.tolist()
    for name in one.sums:
        assert one[name] == pytest.approx(other[name], rel=1e-12, abs=1e-12), name


@FEW
@given(ROWS, st.integers(0, 60))
def test_parts_add_up_to_the_whole(rows: list[tuple[float, bool]], cut: int) -> None:
    parts = [part for part in (rows[:cut], rows[cut:]) if part]
    whole = arrays.probabilities(*unzipped(rows))
    together = added([arrays.probabilities(*unzipped(part)) for part in parts])
    assert together.bins.tolist() == whole.bins.tolist()
    for name in whole.sums:
        assert together[name] == pytest.approx(whole[name], rel=1e-12, abs=1e-12), name


@FEW
@given(ROWS)
def test_perfect_predictions_have_no_error(rows: list[tuple[float, bool]]) -> None:
    _, outcomes = unzipped(rows)
    found = figures(arrays.probabilities(outcomes, outcomes))
    assert value(found["brier"]) == value(found["calibration_error"]) == 0
    assert value(found["log_loss"]) < 1e-12
    assert value(found["accuracy"]) == 1
    if 0 < outcomes.sum() < len(outcomes):
        auc = figure(found["auc"])
        assert (auc.value, auc.within) == (1, 0)
        assert auc.low < 1, "a handful of pairs in order proves no perfection"


def test_the_grid_holds_the_bands_and_starts_at_the_ends() -> None:
    assert set(grid.BANDS) <= set(grid.SCORES_OF_SEGMENTS) <= set(grid.SCORES)
    assert set(grid.ERRORS_OF_SEGMENTS) <= set(grid.ERRORS)
    assert grid.within([0.0, 0.11, 0.15, 1.0], grid.BANDS) == [0.0, 0.1, 0.15, 0.999]
    assert grid.SCORES[0] == 0
    assert grid.SCORES[-1] == 1
    for edges in (grid.BANDS, grid.SCORES, grid.ERRORS, [delay.total_seconds() for delay in grid.DELAYS]):
        assert all(low < high for low, high in pairwise(edges))


def naive_error(scores: Floats, outcomes: Floats) -> float:
    """DeLong's standard error as he wrote it, from all pairs."""
    ones, zeros = scores[outcomes == 1], scores[outcomes == 0]
    right = (ones[:, None] > zeros) + (ones[:, None] == zeros) / 2
    return math.sqrt(right.mean(1).var(ddof=1) / len(ones) + right.mean(0).var(ddof=1) / len(zeros))


@pytest.mark.parametrize("digits", [1, 2, 8])
def test_the_standard_error_of_the_ranking_is_delongs(digits: int) -> None:
    scores, outcomes = calibrated(300)
    scores = np.round(scores, digits)
    found = ranking(arrays.probabilities(scores, outcomes, exact=True))
    assert found is not None
    assert found.error == pytest.approx(naive_error(scores, outcomes), rel=1e-9)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    truth = stats.norm.cdf(1 / math.sqrt(2))  # of two normals one apart
    held = {"auc": 0, "brier": 0}
    for _ in range(300):
        outcomes = np.repeat([0.0, 1.0], [80, 40])
        scores = 1 / (1 + np.exp(-(random.normal(outcomes, 1))))
        auc = figure(auc_figure(arrays.probabilities(scores, outcomes, exact=True), LEVEL))
        held["auc"] += auc.low <= truth <= auc.high
        told, became = calibrated(120, int(random.integers(1 << 30)), low=0.0, high=1.0)
        brier = figure(BRIER.of(arrays.probabilities(told, became), LEVEL))
        held["brier"] += brier.low <= 1 / 6 <= brier.high
    assert all(276 <= times <= 297 for times in held.values()), held  # 95 % of 300 is 285


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(counts: tuple[int, int], level: float) -> None:
    successes, n = counts
    oracle = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_probabilities_are_scipys(probabilities: list[float]) -> None:
    assert discoveries(probabilities) == pytest.approx(stats.false_discovery_control(probabilities).tolist(), abs=1e-12)


def test_calibrated_scores_have_a_calibration_error_of_chance_alone() -> None:
    tally = arrays.probabilities(*calibrated(20_000))
    raw, debiased = (figure(calibration_error(tally, LEVEL, debiased=debiased)) for debiased in (False, True))
    assert raw.value < 0.02
    assert debiased.value < 0.7 * raw.value
    assert debiased.low == 0
    assert by_chance(tally) == pytest.approx(raw.value, rel=0.3)
    intercept, slope = map(figure, intercept_and_slope(tally, LEVEL))
    assert intercept.low < 0 < intercept.high
    assert slope.low < 1 < slope.high


def test_miscalibration_is_seen_whole_and_its_interval_holds_it() -> None:
    scores, _ = calibrated(20_000, low=0.1, high=0.5)
    outcomes = (np.random.default_rng(2).random(len(scores)) < scores + 0.2).astype(float)
    tally = arrays.probabilities(scores, outcomes)
    for debiased in (False, True):
        error = figure(calibration_error(tally, LEVEL, debiased=debiased))
        assert error.low < 0.2 < error.high
        assert error.low > 0.18
    for band in reliability(tally, LEVEL):
        assert band.low <= band.predicted < band.high
        assert band.observed.low < band.predicted + 0.2 < band.observed.high or band.observed.n < 900
    assert sum(band.observed.n for band in reliability(tally, LEVEL)) == 20_000


@pytest.mark.parametrize("n", [30, 200, 2_000])
@pytest.mark.parametrize("off", [0.0, 0.05])
def test_the_interval_of_the_calibration_error_holds_the_truth_and_spares_calibrated_scores(n: int, off: float) -> None:
    random, held, above = np.random.default_rng(8), 0, 0
    for _ in range(200):
        scores = random.beta(2, 5, n)
        outcomes = (random.random(n) < np.minimum(scores + off, 1)).astype(float)
        error = figure(calibration_error(arrays.probabilities(scores, outcomes), LEVEL))
        held += error.low <= off <= error.high
        above += error.low > 0
    assert held >= 184, held  # 95 % of 200 is 190
    assert off or above <= 12
    assert not (off and n == 2_000) or above > 160, "what is off is seen"


def test_a_handful_of_outcomes_leaves_the_calibration_error_open() -> None:
    scores = [0.03, 0.12, 0.22, 0.33, 0.44, 0.57, 0.63, 0.72, 0.81, 0.93]
    outcomes = [0, 0, 1, 0, 1, 0, 1, 1, 1, 1]
    for debiased in (False, True):
        error = figure(calibration_error(arrays.probabilities(scores, outcomes), LEVEL, debiased=debiased))
        assert error.low == 0
        assert error.high > error.value + 0.1


def test_slope_and_intercept_are_those_of_a_logistic_regression_on_log_odds() -> None:
    scores, _ = calibrated(3_000, low=0.05, high=0.9)
    logit = np.log(scores / (1 - scores))
    outcomes = (np.random.default_rng(3).random(3_000) < 1 / (1 + np.exp(-(0.5 + 0.7 * logit)))).astype(float)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], outcomes)
    exact, kept = (intercept_and_slope(arrays.probabilities(scores, outcomes, exact=exact), LEVEL) for exact in (True, False))
    assert value(exact[1]) == pytest.approx(oracle.coef_[0, 0], abs=1e-5)
    assert value(kept[1]) == pytest.approx(value(exact[1]), abs=2e-3)
    assert value(kept[0]) == pytest.approx(value(exact[0]), abs=1e-4)
    intercept = value(exact[0])
    assert (1 / (1 + np.exp(-(logit + intercept)))).sum() == pytest.approx(outcomes.sum(), abs=1e-6)


def test_an_intercept_far_away_is_found() -> None:
    far = arrays.probabilities([1e-5] * 40, [0, 1] * 20)
    assert value(intercept_and_slope(far, LEVEL)[0]) == pytest.approx(-math.log(1e-5 / (1 - 1e-5)), abs=1e-6)


def test_a_slope_that_does_not_exist_is_said_to_be_none() -> None:
    apart = arrays.probabilities([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
    alike = arrays.probabilities([0.3, 0.3, 0.3], [0, 1, 0])
    assert [getattr(intercept_and_slope(one, LEVEL)[1], "reason", None) for one in (apart, alike)] == ["separated", "one-score"]
    assert value(intercept_and_slope(alike, LEVEL)[0]) == pytest.approx(math.log((1 / 3) / (2 / 3)) - math.log(0.3 / 0.7))


@given(BOTH_KINDS)
def test_rates_never_fall_and_blocks_are_those_of_isotonic_regression(rows: list[tuple[float, bool]]) -> None:
    scores, outcomes = unzipped(rows)
    scores = np.round(scores, 6)  # scikit-learn takes scores that are closer than that to be one
    exact = arrays.probabilities(scores, outcomes, exact=True)
    means, rates = _isotonic(exact.bins, exact["labelled"], exact["positives"])
    assert (np.diff(rates) >= 0).all()
    assert (rates > 0).all()
    assert (rates < 1).all()
    fitted = IsotonicRegression().fit(exact.bins, exact["positives"] / exact["labelled"], exact["labelled"])
    assert len(means) == len(np.unique(np.round(fitted.predict(exact.bins), 12)))


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=50))
def test_errors_of_numbers_are_scikit_learns(rows: list[tuple[float, float]]) -> None:
    told, became = (np.array(one) for one in zip(*rows, strict=True))
    found = error_figures(arrays.numbers(told, became))
    assert value(found["mae"]) == pytest.approx(metrics.mean_absolute_error(became, told), rel=1e-9, abs=1e-9)
    assert value(found["rmse"]) == pytest.approx(metrics.root_mean_squared_error(became, told), rel=1e-9, abs=1e-9)
    assert value(found["bias"]) == pytest.approx((told - became).mean(), rel=1e-9, abs=1e-9)
    errors = np.sort(np.abs(told - became))
    for name, share in (("median_error", 0.5), ("error_90", 0.9)):
        exact = errors[max(math.ceil(len(errors) * share), 1) - 1]
        assert abs(value(found[name]) - exact) <= figure(found[name]).within * (1 + 1e-9) + 1e-12


def test_what_is_missing_stands_on_every_figure_and_makes_it_provisional() -> None:
    scores, outcomes = calibrated(1_000)
    outcomes[:400] = np.nan
    found = figures(arrays.probabilities(scores, outcomes))
    for name, one in found.items():
        told = figure(one)
        assert told.missing == 400, name
        assert (told.provisional, told.label) == (True, "provisional: 60 % of outcomes known"), name
        assert told.n == 600 or name in ("precision", "recall"), name
    assert figure(figures(arrays.probabilities(*calibrated(1_000)))["auc"]).label == ""


def test_rare_calls_are_settled_once_the_window_is() -> None:
    scores, outcomes = calibrated(2_000, high=0.2)
    outcomes[:40] = np.nan
    scores[-20:] = 0.9
    found = figures(arrays.probabilities(scores, outcomes))
    told = {name: figure(found[name]) for name in ("precision", "recall", "accuracy")}
    assert {one.label for one in told.values()} == {""}
    assert (told["precision"].n, told["accuracy"].n) == (20, 1_960)
    assert {one.known for one in told.values()} == {0.98}


def test_figures_without_outcomes_are_words() -> None:
    none = figures(arrays.probabilities([0.1, 0.2], [np.nan, np.nan]))
    assert {getattr(one, "reason", None) for one in none.values()} == {"no-outcomes"}
    one_class = figures(arrays.probabilities([0.1, 0.2], [0, 0]))
    words = {name: one.reason for name, one in one_class.items() if isinstance(one, NotPossible)}
    assert words == {
        "auc": "one-class",
        "precision": "none-called",
        "recall": "no-positives",
        "calibration_intercept": "one-class",
        "calibration_slope": "one-class",
    }
    assert value(one_class["brier"]) == pytest.approx(0.025)


def days(count: int, *, moved: float, seed: int) -> list[Tally]:
    """Days of 300 requests whose outcomes move together by so much."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        scores = random.uniform(0.2, 0.6, 300)
        rate = np.clip(scores + random.normal(0, moved), 0.01, 0.99)
        found.append(arrays.probabilities(scores, (random.random(300) < rate).astype(float)))
    return found


def brier(tally: Tally) -> float:
    return tally.total("square") / tally.total("labelled")


def test_days_that_move_together_widen_the_interval_over_blocks() -> None:
    calm, stormy = (figure(blocks.over_blocks(days(20, moved=moved, seed=4), brier)) for moved in (0.0, 0.15))
    alone = figure(figures(added(days(20, moved=0.15, seed=4)))["brier"])
    assert alone.value == pytest.approx(stormy.value)
    assert stormy.high - stormy.low > 1.5 * (alone.high - alone.low) > 0
    assert stormy.high - stormy.low > 1.5 * (calm.high - calm.low)
    assert blocks.over_blocks(days(3, moved=0.0, seed=4), brier) == blocks.TOO_FEW
    assert blocks.over_blocks(days(20, moved=0.15, seed=4), brier) == stormy, "seeded"
