"""What the database counts is what the rows say: hours that add up, corrections that touch their own hour, nothing dropped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from backend.core.errors import Refusal
from backend.quality import arrays, grid
from backend.quality.counting import bands_of, categories_of, count, touched
from backend.quality.counts import (
    MALFORMED,
    NO_PREDICTION,
    NOT_FINITE,
    NOT_ONE,
    OUTSIDE,
    Counts,
    Tally,
    Where,
)
from backend.quality.figures import Figure
from backend.quality.tasks import Bands, Binary, Categories, Classes, Regression
from backend.quality.windows import quality
from tests.services.quality.conftest import DAY, HOUR, NOW, Rows, day_of_rows, outcome, request

LATE = Binary("late", threshold=0.3)
CARRIERS = Categories("carrier", ("UA", "AA"))
TEMPERATURES = Bands("temp", (35.0, 45.0))


@pytest.fixture
def day(rows: Rows) -> Rows:
    requests, outcomes = day_of_rows()
    rows.ask(*requests)
    rows.learn(*outcomes)
    return rows


def same(one: Tally, other: Tally) -> None:
    assert one.bins.tolist() == other.bins.tolist()
    assert one.unusable == other.unusable
    assert set(one.sums) == set(other.sums)
    for name in one.sums:
        assert one[name] == pytest.approx(other[name], rel=1e-9, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("exact", [True, False])
def test_the_database_and_the_arrays_count_alike(day: Rows, exact: bool) -> None:
    with day.read() as reading:
        counts = count(reading, LATE, exact=exact)
        told = reading.query('SELECT prediction, "o.late" AS late FROM joined')
    became = np.array([np.nan if one is None else one for one in told["late"].to_pylist()])
    same(counts.tally(Where()), arrays.probabilities(told["prediction"].to_numpy(), became, LATE.threshold, exact=exact))


def test_hours_sum_up_to_the_day_and_segments_to_all(day: Rows) -> None:
    with day.read() as reading:
        whole = count(reading, LATE, [CARRIERS, TEMPERATURES])
    hours = []
    for place in range(0, 24, 4):  # spans of four hours, each counted by a reading of its own
        with day.read(start=DAY + place * HOUR, end=DAY + (place + 4) * HOUR) as reading:
            hours.append(count(reading, LATE, [CARRIERS, TEMPERATURES]))
    together = Counts.sum(LATE, hours)
    for where in (Where(), Where(version=2), Where(arm="champion"), Where(segmentation="temp", segment="35 to 45")):
        same(together.tally(where), whole.tally(where))
        assert whole.tally(where).count("requests") > 30
    assert set(whole.segments(Where(segmentation="carrier"))) == {"= UA", "= AA", "other", "missing"}
    assert set(whole.segments(Where(segmentation="temp"))) == {"below 35", "35 to 45", "from 45", "not a number"}
    for feature in whole.segmentations:
        each = whole.segments(Where(segmentation=feature)).values()
        for measure in ("requests", "labelled", "positives", "log_loss", "square2", "score"):
            summed = sum(one.total(measure) for one in each)
            assert summed == pytest.approx(whole.tally(Where()).total(measure), rel=1e-9), (feature, measure)
        assert all(set(one.bins) <= set(grid.SCORES_OF_SEGMENTS) for one in each)
    assert [one.count("requests") for one in (whole.tally(Where(arm=arm)) for arm in ("champion", "challenger"))] == [
        whole.tally(Where(version=version)).count("requests") for version in (1, 2)
    ]


def test_a_late_and_a_corrected_outcome_make_only_their_hours_anew(day: Rows) -> None:
    with day.read() as reading:
        before = count(reading, LATE, [CARRIERS])
        ids = reading.query("SELECT request_id, event_time FROM requests ORDER BY event_time").to_pylist()
        (corrected,) = reading.query(
            'SELECT request_id, event_time, "o.late" AS late FROM joined WHERE "o.late" = 0 ORDER BY request_id LIMIT 1'
        ).to_pylist()
    first = ids[0]
    day.now = NOW + HOUR
    day.learn(
        {"request_id": corrected["request_id"], "known_at": NOW, "values": {"late": 1}},
        {"request_id": first["request_id"], "known_at": NOW, "values": {"late": 1}},
    )
    with day.read() as reading:
        hours = touched(reading, NOW + HOUR)
        anew = count(reading, LATE, [CARRIERS])
    assert hours == sorted({one["event_time"].replace(minute=0, second=0, microsecond=0) for one in (first, corrected)})
    renewed = before.replaced(hours, anew.only(hours))
    for hour in before.hours:
        where = Where(hour, hour + HOUR)
        changed = renewed.tally(where).count("positives") - before.tally(where).count("positives")
        assert (changed > 0) == (hour in hours)
    same(renewed.tally(Where()), anew.tally(Where()))
    for name, tally in renewed.segments(Where(segmentation="carrier")).items():
        same(tally, anew.segments(Where(segmentation="carrier"))[name])


def test_nothing_is_dropped_and_nothing_unusable_spoils_the_rest(rows: Rows) -> None:
    odd = [None, [0.5, 0.5], float("nan"), float("inf"), -0.1, 1.5, True]
    rows.ask(*(request(place, one) for place, one in enumerate(odd)), *(request(10 + place, 0.25) for place in range(5)))
    rows.ask(request(20, 0.9, failure="timeout"))
    rows.learn(outcome(2, 1), outcome(10, 1), outcome(11, 0), outcome(12, 0.5), outcome(13, None), outcome(14, float("nan")))
    with rows.read() as reading:
        tally = count(reading, LATE).tally(Where())
    assert tally.unusable == {NO_PREDICTION: 1, MALFORMED: 2, NOT_FINITE: 2, OUTSIDE: 2}
    states = {name: tally.count(name) for name in ("requests", "pending", "valueless", "wrong", "labelled", "positives")}
    assert states == {"requests": 5, "pending": 0, "valueless": 1, "wrong": 2, "labelled": 2, "positives": 1}
    assert tally.total("log_loss") == pytest.approx(-np.log(0.25) - np.log(0.75))
    assert tally.is_constant


def test_with_a_horizon_only_what_came_in_time_counts(rows: Rows) -> None:
    rows.ask(request(1, 0.2), request(2, 0.4))
    rows.learn(outcome(1, 0, hours=13), outcome(2, 1, hours=15))
    with rows.read() as reading:
        late, soon = (count(reading, Binary("late", horizon=each)).tally(Where()) for each in (None, timedelta(hours=2)))
    assert [(one.count("labelled"), one.missing) for one in (late, soon)] == [(2, 0), (1, 1)]


def test_a_fallback_counts_for_the_arm_that_answered(rows: Rows) -> None:
    rows.ask(request(1, 0.2, assigned_arm="challenger", served_arm="champion"), request(2, 0.4, served_arm=None))
    with rows.read() as reading:
        counts = count(reading, LATE)
    assert counts.tally(Where(arm="champion")).count("requests") == 2
    assert counts.tally(Where(arm="challenger")).count("requests") == 0
    assert counts.tally(Where(version=None)).count("requests") == 0


def test_an_empty_window_is_counted_as_nothing(rows: Rows) -> None:
    with rows.read() as reading:
        for task in (LATE, Regression("late"), Classes("late", ("a", "b"))):
            counts = count(reading, task, [CARRIERS, TEMPERATURES])
            assert counts.table.num_rows == 0
            assert [one.kind for one in quality(counts, Where()).findings] == ["no-requests"]


def test_several_classes_by_place_and_by_name(rows: Rows) -> None:
    random = np.random.default_rng(3)
    names = ("on time", 'la"te/~', "cancelled")
    scores = random.dirichlet([2, 1, 1], 200)
    became = np.array([random.choice(3, p=each) for each in scores])
    told = [dict(zip(names, each.tolist(), strict=True)) if place % 2 else each.tolist() for place, each in enumerate(scores)]
    rows.ask(*(request(place, one) for place, one in enumerate(told)))
    odd: list[object] = [[0.5, 0.5], {"on time": 1.0}, [0.5, 0.6, 0.7], [1.5, -0.25, -0.25], 0.5, None, [0.2, "x", 0.8], "text"]
    rows.ask(*(request(900 + place, one) for place, one in enumerate(odd)))
    rows.learn(*(outcome(place, float(one)) for place, one in enumerate(became)))
    with rows.read() as reading:
        counts = count(reading, Classes("late", names))
    assert counts.tally(Where()).unusable == {NOT_ONE: 1, MALFORMED: 5, OUTSIDE: 1, NO_PREDICTION: 1}
    found = quality(counts, Where())
    oracle = {
        "log_loss": metrics.log_loss(became, scores),
        "brier": ((scores - np.eye(3)[became]) ** 2).sum(1).mean(),
        "accuracy": (scores.argmax(1) == became).mean(),
        "mean_score": scores.max(1).mean(),
    }
    assert {name: figure(found.figures[name]) for name in oracle} == pytest.approx(oracle, abs=1e-9)
    for place, name in enumerate(names):
        each = found.classes[name]
        auc = each["auc"]
        assert isinstance(auc, Figure)
        assert abs(auc.value - metrics.roc_auc_score(became == place, scores[:, place])) <= auc.within
        assert figure(each["recall"]) == pytest.approx(metrics.recall_score(became == place, scores.argmax(1) == place))
        assert figure(each["brier"]) == pytest.approx(metrics.brier_score_loss(became == place, scores[:, place]), abs=1e-9)


def test_numbers_are_counted_by_their_error(rows: Rows) -> None:
    random = np.random.default_rng(4)
    told, became = random.normal(0, 30, 300), random.normal(0, 30, 300)
    rows.ask(*(request(place, float(one)) for place, one in enumerate(told)), request(900, float("nan")), request(901, [1.0]))
    rows.learn(*(outcome(place, float(one)) for place, one in enumerate(became[:250])), outcome(260, float("inf")))
    with rows.read() as reading:
        tally = count(reading, Regression("late")).tally(Where())
        kept = quality(count(reading, Regression("late")), Where()).figures
    known = np.concatenate([became[:250], np.full(50, np.nan)])
    known_tally = arrays.numbers(np.concatenate([told, [np.nan]]), np.concatenate([known, [np.nan]]))
    assert figure(kept["rmse"]) == pytest.approx(metrics.root_mean_squared_error(became[:250], told[:250]), abs=1e-9)
    assert (tally.count("wrong"), tally.missing, tally.unusable) == (1, 49, {NOT_FINITE: 1, MALFORMED: 1})
    for name in set(tally.sums) - {"wrong", "pending"}:
        assert tally[name] == pytest.approx(known_tally[name], rel=1e-9, abs=1e-9, nan_ok=True), name


def test_segments_are_found_in_a_reference_and_bounded(day: Rows) -> None:
    with day.read() as reading:
        carriers = categories_of(reading, "carrier", most=3)
        bands = bands_of(reading, "temp", bands=4)
        assert categories_of(reading, "nobody") is None
        assert bands_of(reading, "nobody") is None
        assert carriers is not None
        assert bands is not None
        counts = count(reading, LATE, [carriers, bands])
    assert len(carriers.values) == 3
    assert len(bands.edges) == 3
    sizes = [
        one.count("requests") for name, one in counts.segments(Where(segmentation="temp")).items() if name != "not a number"
    ]
    assert sum(sizes) == 600 - 36
    assert max(sizes) < 1.3 * min(sizes)
    with pytest.raises(Refusal, match="at most"), day.read() as reading:
        count(reading, LATE, [bands, bands])


def test_hostile_names_and_values_stay_values(rows: Rows) -> None:
    name, text = "x\"; DROP TABLE requests; --'", "' OR 1=1 --"
    rows.ask(request(1, 0.2, features={name: text}), request(2, 0.4, features={name: "b"}))
    with rows.read() as reading:
        counts = count(reading, Binary("late'\""), [Categories(name, (text,))])
    assert {key: one.count("requests") for key, one in counts.segments(Where(segmentation=name)).items()} == {
        f"= {text}": 1,
        "other": 1,
    }


def figure(one: Any) -> float:
    assert isinstance(one, Figure), one
    return one.value


def test_what_is_no_number_is_found_where_nothing_else_is_odd(rows: Rows) -> None:
    """A file's statistics leave NaN out, and the database believes them."""
    nan = float("nan")
    rows.ask(request(1, 0.2, features={"temp": 1.0}), request(2, nan, features={"temp": nan}), request(3, 0.3))
    rows.learn(outcome(1, nan), outcome(3, 1))
    with rows.read() as reading:
        counts = count(reading, LATE, [TEMPERATURES])
        numbers = count(reading, Regression("late"))
    assert counts.tally(Where()).unusable == numbers.tally(Where()).unusable == {NOT_FINITE: 1}
    assert [(one.count("labelled"), one.count("wrong")) for one in (counts.tally(Where()), numbers.tally(Where()))] == [
        (1, 1)
    ] * 2
    assert set(counts.segments(Where(segmentation="temp"))) == {"below 35", "not a number", "missing"}


def test_a_feature_that_is_always_the_same_has_no_bands(rows: Rows) -> None:
    rows.ask(*(request(place, 0.5, features={"temp": 3.0, "wind": float(place % 2)}) for place in range(6)))
    with rows.read() as reading:
        assert bands_of(reading, "temp") is None
        assert bands_of(reading, "wind") == Bands("wind", (1.0,))
