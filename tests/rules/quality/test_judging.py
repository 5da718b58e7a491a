"""What is said before figures, how outcomes come in, who is compared, which segments are named, what estimates are worth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.quality import arrays, counts, estimates, grid
from backend.quality.checks import Coverage, EstimateCheck, check, coverage
from backend.quality.comparison import Comparison, Difference, compare
from backend.quality.counts import Counts, Tally, Where
from backend.quality.estimates import Calibrator, Estimate, estimate
from backend.quality.figures import LEVEL, Figure, NotPossible
from backend.quality.gate import Kind, findings
from backend.quality.maturity import Delays, closed_hours, maturity, settled_after, share_known
from backend.quality.segments import segments
from backend.quality.tasks import Binary, Classes, Regression
from backend.quality.windows import figures

DAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
LATE = Binary("late")
MANY = 200


def rows_of(tally: Tally, hour: datetime = DAY, **key: Any) -> pa.Table:
    """A tally as rows of counts."""
    n = len(tally.bins)
    told = {"version": 1, "arm": "champion", "segmentation": "", "segment": "", "label": "", **key}
    keys = {"hour": [hour] * n, **{name: [one] * n for name, one in told.items()}, "bin": tally.bins}
    columns = {**keys, **{name: np.asarray(tally[name]) for name in tally.sums}}
    schema = counts.schema(LATE)
    return pa.table({name: pa.array(columns[name]).cast(schema.field(name).type) for name in schema.names}, schema=schema)


def counts_of(*tables: pa.Table, task: Binary = LATE) -> Counts:
    return Counts.sum(task, [Counts(task, table) for table in tables])


def drawn(n: int, seed: int, *, shift: float = 0.0, low: float = 0.05, high: float = 0.6) -> Tally:
    """Requests whose outcomes come as often as they were scored, or more often by `shift`."""
    random = np.random.default_rng(seed)
    scores = random.uniform(low, high, n)
    return arrays.probabilities(scores, (random.random(n) < scores + shift).astype(float), 0.3)


# -- words first

NAN = float("nan")
SAID: list[tuple[Kind, list[float], list[float]]] = [
    ("no-requests", [], []),
    ("prediction-not-finite", [NAN, *[0.2, 0.7] * MANY], [1, *[0, 1] * MANY]),
    ("prediction-outside", [1.5, *[0.2, 0.7] * MANY], [1, *[0, 1] * MANY]),
    ("no-usable-prediction", [NAN, 2.0], [1, 0]),
    ("constant-predictions", [0.2] * MANY, [0, 1] * (MANY // 2)),
    ("no-outcomes", [0.2, 0.3], [NAN, NAN]),
    ("few-outcomes", [0.2, 0.3], [0, 1]),
    ("one-class", [0.2, 0.3] * MANY, [0, 0] * MANY),
    ("outcomes-missing", [0.2, 0.3] * MANY, [0, 1] * (MANY // 2) + [NAN] * MANY),
    ("outcome-wrong", [0.2, 0.3, *[0.2, 0.7] * MANY], [7, 0.5, *[0, 1] * MANY]),
    ("certain-and-wrong", [1.0, 0.0, 0.999999999, *[0.2, 0.7] * MANY], [0, 1, 0, *[0, 1] * MANY]),
]


@pytest.mark.parametrize(("kind", "scores", "outcomes"), SAID, ids=[kind for kind, _, _ in SAID])
def test_each_trouble_is_said_in_its_own_words_and_stops_nothing(
    kind: Kind, scores: list[float], outcomes: list[float]
) -> None:
    tally = arrays.probabilities(scores, outcomes)
    said = {one.kind: one for one in findings(LATE, tally)}
    expected = {"no-usable-prediction": {"prediction-not-finite", "prediction-outside"}}.get(kind, set()) | {kind}
    assert set(said) == expected
    assert len(said[kind].words) > 30
    found = figures(LATE, tally)
    assert len(found) == 12
    assert said[kind].blocks == all(isinstance(one, NotPossible) for one in found.values())


def test_numbers_in_the_words_are_those_of_the_window() -> None:
    said = findings(LATE, arrays.probabilities([1.0, 0.0, 0.5, 0.6], [0, 1, 1, 0]))
    assert {one.kind: (one.count, one.of) for one in said} == {"few-outcomes": (4, 4), "certain-and-wrong": (2, 4)}
    whole = findings(LATE, arrays.probabilities([0.2, 0.7] * MANY, [0, 1] * MANY))
    assert whole == ()


def test_what_only_the_log_can_hold_is_said_too() -> None:
    tally = drawn(400, 1)
    odd = Tally(tally.bins, {**tally.sums, "valueless": tally["requests"]}, {-1: 3, -4: 2, -5: 1})
    for task, said in ((LATE, "single number"), (Classes("late", ("a", "b")), "one number for each class")):
        kinds = {one.kind: one.words for one in findings(task, odd)}
        assert {"prediction-missing", "prediction-malformed", "probabilities-not-one", "outcome-without-value"} == set(kinds)
        assert said in kinds["prediction-malformed"]
        assert kinds["prediction-missing"].startswith("3 of 406")
    tested = {kind for kind, _, _ in SAID} | set(kinds)
    assert tested == set(get_args(Kind)), "a kind without a test"


def test_numbers_have_findings_too() -> None:
    assert [one.kind for one in findings(Regression("delay"), arrays.numbers([5.0] * 40, [1.0] * 40))] == [
        "constant-predictions"
    ]
    assert [one.kind for one in findings(Regression("delay"), arrays.numbers([5.0, 4.0], [NAN, NAN]))] == ["no-outcomes"]


# -- maturity

NOW = DAY + timedelta(days=3)


def waited(hours: dict[float, list[float | None]]) -> Delays:
    """Requests by how many hours before NOW they were made, and how many hours their outcomes took (None: not known yet)."""
    edges = [0] + [int(one / timedelta(microseconds=1)) for one in grid.DELAYS[1:]]
    found = []
    for ago, delays in hours.items():
        for delay in delays:
            micro = None if delay is None else delay * 3_600_000_000
            at = -1 if micro is None else max(edge for edge in edges if edge <= micro)
            found.append({"hour": NOW - ago * HOUR, "version": 1, "arm": "champion", "delay": at, "requests": 1})
    return Delays.sum([Delays(pa.Table.from_pylist(found, schema=Delays.none().table.schema))])


def test_young_requests_do_not_make_outcomes_look_slow() -> None:
    old = [0.1, 0.7, 1.6, 3.5, 7.0, 7.0, 7.0, 11.0, None, 2.5]
    curve = {point.delay: point.share for point in maturity(waited({60: old}), NOW, LEVEL)}
    assert curve[timedelta(hours=1)].value == pytest.approx(0.2)
    assert curve[timedelta(hours=8)].value == pytest.approx(0.8)
    assert curve[timedelta(days=2)].value == pytest.approx(0.9), "what never comes holds the curve below 1"
    mixed = {point.delay: point.share for point in maturity(waited({60: old, 2: [None] * 30}), NOW, LEVEL)}
    assert mixed[timedelta(hours=8)].value == pytest.approx(1 - (38 / 40) * (2 / 8)), "the young count for the first hour only"
    assert figure(share_known(waited({60: old, 2: [None] * 30}), LEVEL)).value == pytest.approx(9 / 40)
    assert settled_after(maturity(waited({60: old}), NOW, LEVEL), 0.8) == timedelta(hours=8)
    assert getattr(settled_after(maturity(waited({60: old}), NOW, LEVEL), 0.99), "reason", "") == "never-settled"


@settings(max_examples=30)
@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1, max_size=30), st.floats(1, 200))
def test_the_curve_rises_and_stays_within_its_interval(delays: list[float | None], ago: float) -> None:
    known = [one if one is None or one <= ago - 1 else None for one in delays]
    curve = maturity(waited({ago: known}), NOW, LEVEL)
    shares = [point.share.value for point in curve]
    assert shares == sorted(shares)
    for point in curve:
        assert 0 <= point.share.low <= point.share.value + 1e-12
        assert point.share.value <= point.share.high + 1e-12 <= 1 + 1e-9
        assert point.share.value == pytest.approx(
            sum(one is not None and one < point.delay / HOUR for one in known) / len(known)
        )
        assert point.delay <= (ago - 1) * HOUR + timedelta(seconds=1)


def test_delays_add_up_and_are_replaced_by_hours() -> None:
    one, other = waited({60: [1.0, None]}), waited({60: [1.0], 30: [2.0]})
    both = Delays.sum([one, other])
    assert sum(both.table["requests"].to_pylist()) == 4
    renewed = both.replaced([NOW - 60 * HOUR], waited({60: [5.0], 10: [1.0]}))
    assert sum(renewed.table["requests"].to_pylist()) == 2
    assert both.chosen(version=2).table.num_rows == 0
    assert both.chosen(version=1, arm="champion").table.num_rows == both.table.num_rows


# -- comparisons


def test_sides_are_compared_over_hours_that_are_equally_mature() -> None:
    horizon = Binary("late", horizon=2 * HOUR)
    tables = [rows_of(drawn(500, place), DAY + place * HOUR, version=1) for place in range(4)]
    tables += [rows_of(drawn(500, 10 + place, shift=0.25), DAY + place * HOUR, version=2) for place in range(2, 6)]
    found = compare(counts_of(*tables, task=horizon), Where(version=1), Where(version=2), DAY + 6 * HOUR)
    assert isinstance(found, Comparison)
    assert found.hours == (4, 2), "hours younger than the horizon are left out"
    loss = found.figures["brier"]
    assert isinstance(loss, Difference)
    assert loss.difference.low > 0
    assert loss.probability < 1e-6
    assert loss.difference.value == pytest.approx(loss.second.value - loss.first.value)
    assert (loss.first.n, loss.second.n) == (2_000, 1_000)
    assert set(found.figures) == {"log_loss", "brier", "auc"}
    assert closed_hours([DAY], 2 * HOUR, DAY + 3 * HOUR) == [DAY]
    young = compare(counts_of(*tables, task=horizon), Where(version=1), Where(version=2), DAY + 4 * HOUR)
    assert getattr(young, "reason", "") == "not-mature"


def test_without_a_horizon_only_common_hours_are_compared() -> None:
    tables = [rows_of(drawn(500, place), DAY + place * HOUR, version=1) for place in range(3)]
    later = [rows_of(drawn(500, 10 + place), DAY + (2 + place) * HOUR, version=2) for place in range(3)]
    found = compare(counts_of(*tables, *later), Where(version=1), Where(version=2), DAY)
    assert isinstance(found, Comparison)
    assert found.hours == (1, 1)
    auc = found.figures["auc"]
    assert isinstance(auc, Difference)
    assert auc.difference.low < 0 < auc.difference.high
    apart = compare(counts_of(*tables, *later[1:]), Where(version=1), Where(version=2), DAY)
    assert getattr(apart, "reason", "") == "never-together"


# -- segments


def segmented(worse: set[int], count: int, n: int = 400) -> Counts:
    tallies = [drawn(n, place, shift=0.25 if place in worse else 0.0) for place in range(count)]
    return counts_of(*(rows_of(one, segmentation="carrier", segment=f"= {place:02}") for place, one in enumerate(tallies)))


def test_worse_segments_are_named_first_and_small_ones_never() -> None:
    found = segments(segmented({3, 7}, 12), Where())
    assert [one.segment for one in found[:2]] in (["= 03", "= 07"], ["= 07", "= 03"])
    assert [one.worse for one in found] == [True, True] + [False] * 10
    assert found[0].more.low > 0
    assert found[0].excess == pytest.approx(found[0].more.value * 400)
    small = counts_of(segmented({0}, 1, 60).table, rows_of(drawn(5_000, 1), segmentation="carrier", segment="other"))
    tiny = {one.segment: one for one in segments(small, Where())}["= 00"]
    assert not tiny.worse
    assert np.isnan(tiny.adjusted)
    assert segments(counts_of(rows_of(drawn(100, 1))), Where()) == []


def test_where_no_segment_is_worse_hardly_any_is_named() -> None:
    named = sum(any(one.worse for one in segments(_null(seed), Where())) for seed in range(30))
    assert named <= 5  # 5 % of 30 looks is 1 or 2; a test at 5 % for each of 12 segments would name some in half of them


def _null(seed: int) -> Counts:
    tallies = [drawn(150, 1_000 * seed + place) for place in range(12)]
    return counts_of(*(rows_of(one, segmentation="carrier", segment=f"= {place:02}") for place, one in enumerate(tallies)))


# -- estimates


def reference(days: int = 20, n: int = 400, **options: Any) -> Calibrator:
    made = Calibrator.of([drawn(n, 100 + day, **options) for day in range(days)])
    assert isinstance(made, Calibrator)
    return made


def estimated(calibrator: Calibrator, window: Tally) -> Estimate:
    found = estimate(LATE, calibrator, window)
    assert isinstance(found, Estimate)
    return found


def figure(one: object) -> Figure:
    assert isinstance(one, Figure), one
    return one


def test_where_nothing_changed_estimates_come_true() -> None:
    calibrator = reference()
    inside = dict.fromkeys(("log_loss", "brier", "auc", "accuracy", "recall"), 0)
    for seed in range(12):
        window = drawn(1_000, seed)
        told, truth = estimated(calibrator, window).figures, figures(LATE, window)
        for name in inside:
            assert figure(told[name]).estimated
            assert figure(told[name]).label == "estimated before outcomes are known"
            inside[name] += figure(told[name]).low <= figure(truth[name]).value <= figure(told[name]).high
    assert all(times >= 10 for times in inside.values()), inside
    assert estimated(calibrator, drawn(1_000, 0)) == estimated(calibrator, drawn(1_000, 0)), "seeded"


def test_scores_that_were_wrong_in_the_reference_too_are_recalibrated_first() -> None:
    calibrator = reference(shift=0.2)
    window = drawn(4_000, 1, shift=0.2)
    told, truth = estimated(calibrator, window).figures, figures(LATE, window)
    for name in ("log_loss", "brier", "accuracy", "auc"):
        assert figure(told[name]).value == pytest.approx(figure(truth[name]).value, abs=0.03), name


def test_a_concept_that_drifts_is_missed_and_the_record_says_so() -> None:
    calibrator, checks = reference(), list[EstimateCheck]()
    for day in range(12):
        window = drawn(800, day, shift=0.25)
        told, truth = estimated(calibrator, window), figures(LATE, window)
        checked = check("brier", DAY, DAY + HOUR, told.figures["brier"], truth["brier"], told.errors["brier"])
        assert isinstance(checked, EstimateCheck)
        checks.append(checked)
    found = coverage(checks)
    assert isinstance(found, Coverage)
    assert (found.checks, found.inside.value, found.trusted) == (12, 0, False)
    assert found.mean_error > 0.05
    assert "do not rely" in found.words
    few = coverage(checks[:3])
    assert isinstance(few, Coverage)
    assert few.trusted is None


def test_days_that_differ_widen_estimates() -> None:
    random = np.random.default_rng(6)
    stormy = Calibrator.of([drawn(400, day, shift=float(random.normal(0, 0.08))) for day in range(20)])
    assert isinstance(stormy, Calibrator)
    calm = reference()
    assert stormy.dispersion["positive_share"] > 4 > 2 > calm.dispersion["positive_share"]
    window = drawn(800, 1)
    assert estimated(stormy, window).errors["brier"] > 1.5 * estimated(calm, window).errors["brier"]
    at = np.array([0.3])
    spreads = [np.std([np.interp(at, *once) for once in one.redrawn]) for one in (stormy, calm)]
    assert spreads[0] > 1.5 * spreads[1] > 0, "other days like these would have given other rates"
    few = Calibrator.of([drawn(400, day) for day in range(3)])
    assert isinstance(few, Calibrator)
    assert set(few.dispersion.values()) == {1.0}


def test_scores_that_the_reference_never_saw_are_counted() -> None:
    assert estimated(reference(), drawn(800, 1)).unsupported < 0.01
    assert estimated(reference(), drawn(800, 1, low=0.7, high=0.9)).unsupported > 0.95


def test_what_cannot_be_estimated_is_said() -> None:
    assert estimate(Regression("delay"), reference(), drawn(10, 1)) == estimates.NOT_FOR_NUMBERS
    assert getattr(estimate(LATE, reference(), arrays.probabilities([], [])), "reason", "") == "no-requests"
    assert Calibrator.of([]) == estimates.FEW_OUTCOMES
    assert Calibrator.of([arrays.probabilities([0.2] * 900, [0] * 900)]) == estimates.FEW_OUTCOMES
    constant = estimated(reference(), arrays.probabilities([0.2] * 50, [NAN] * 50))
    assert getattr(constant.figures["auc"], "reason", "") == "constant-predictions"
    assert getattr(constant.figures["precision"], "reason", "") == "none-called"
    assert figure(constant.figures["accuracy"]).value == pytest.approx(0.8, abs=0.05)
    several = estimate(Classes("late", ("a", "b")), reference(), drawn(100, 1))
    assert isinstance(several, Estimate)
    assert set(several.figures) == {"accuracy"}


def test_an_estimate_is_checked_only_against_settled_outcomes() -> None:
    told = Figure(0.2, 0.1, 0.3, 100, 100, estimated=True)
    young, settled = Figure(0.25, 0.2, 0.3, 50, 50), Figure(0.35, 0.3, 0.4, 100, 2)
    assert getattr(check("brier", DAY, NOW, told, young, 0.05), "words", "") == (
        "Only 50 % of the outcomes are known; at 95% the estimate can be checked."
    )
    checked = check("brier", DAY, NOW, told, settled, 0.05)
    assert isinstance(checked, EstimateCheck)
    assert (checked.inside, checked.error, checked.scaled) == (False, pytest.approx(0.15), pytest.approx(3))
    assert getattr(check("brier", DAY, NOW, estimates.NOT_FOR_NUMBERS, settled, 0.05), "reason", "") == "not-estimated"
    assert getattr(coverage([]), "reason", "") == "no-checks"
