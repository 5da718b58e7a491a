"""What shadow arms answered beside live ones, from the log: what is counted, what differs, whose errors are smaller."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import Refusal
from backend.experiments import copies
from backend.experiments.copies import Copies
from backend.inference_log.service import InferenceLog
from tests.databases import Clock

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
EVENING = NOON + timedelta(hours=6)


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[InferenceLog]:
    clock.now = EVENING
    with InferenceLog(tmp_path / "log", clock=clock) as found:
        yield found


def side(name: str, arm: str, prediction: Any = None, **fields: Any) -> dict[str, Any]:
    given = {"request_id": name, "event_time": NOON, "shadow": "shadow", "arm": arm, "version": 3 if arm == "shadow" else 2}
    return {**given, "unit": f"u-{name}", "prediction": prediction, "latency_seconds": 0.01, "status": 200, **fields}


def pair(name: str, live: Any, shadow: Any, **fields: Any) -> list[dict[str, Any]]:
    return [side(name, "champion", live, **fields), side(name, "shadow", shadow, **fields)]


def told(log: InferenceLog, *rows: dict[str, Any]) -> None:
    assert log.append_copies("delay", rows).rejected == 0
    log.flush()


def look(log: InferenceLog, arm: str = "shadow", **asked: Any) -> Copies:
    return copies.compared(log, "delay", arm, NOON, NOON + timedelta(hours=1), EVENING, **asked)


def test_what_became_of_copies_is_told_apart(log: InferenceLog) -> None:
    """One request each: both answered; the shadow failed, refused, was not heard, could not be read; only it was heard; the
    caller was mistaken; another shadow's."""
    told(
        log,
        *pair("both", 0.25, 0.5),
        side("failed", "champion", 0.25),
        side("failed", "shadow", status=503, failure="http-503"),
        side("refused", "champion", 0.25),
        side("refused", "shadow", status=400, failure="http-400"),
        side("unheard", "champion", 0.25),
        side("binary", "champion", failure="unreadable"),
        side("binary", "shadow", failure="unreadable"),
        side("alone", "shadow", 0.5),
        side("mistaken", "shadow", status=400, failure="http-400"),
        side("other", "champion", 0.25, shadow="before"),
    )
    found = look(log)
    assert (found.asked, found.answered, found.failed, found.missing, found.mistaken) == (6, 3, 2, 1, 1)
    assert (found.unread, found.untold, found.compared) == (1, 1, 1)
    assert found.failures == {"http-400": 1, "http-503": 1}
    assert (found.failure_share, found.missing_share) == (2 / 5, 1 / 6)
    assert (found.versions, found.latency and found.latency.pairs) == ((3,), 2)
    assert [one.arm for one in copies.all_compared(log, "delay", NOON, EVENING, EVENING)] == ["before", "shadow"]
    before = look(log, "before")
    assert (before.asked, before.missing, before.compared, before.disagreement) == (1, 1, 0, None)


def test_a_copy_counts_nowhere_as_a_request(log: InferenceLog) -> None:
    told(log, *pair("one", 0.25, 0.5))
    assert (log.endpoints(), log.versions("delay"), log.part_hours("delay")) == ([], [], [])
    assert log.touched("delay", NOON - timedelta(days=1)).requests == ()
    with log.read("delay", None, NOON, EVENING, copies=True) as reading:
        assert reading.counts() == []
        assert reading.query("SELECT count(*) AS n FROM requests").to_pylist() == [{"n": 0}]


@pytest.mark.parametrize(
    ("live", "shadow", "differs"),
    [
        (0.5, 0.51, False),
        (0.5, 0.5101, True),
        (0.5, math.nan, True),
        (math.nan, math.nan, False),
        (math.inf, math.inf, False),
        (math.inf, 1.0, True),
        ("late", "late", False),
        ("late", "early", True),
        ([0.2, 0.8], [0.205, 0.795], False),
        ([0.2, 0.8], [0.3, 0.7], True),
        ([0.2, 0.8], [0.2, 0.8, 0.0], True),
        ({"y": 1, "p": 0.5}, {"y": 1, "p": 0.5001}, False),
        ({"y": 1, "p": 0.5}, {"y": 0, "p": 0.5}, True),
        ({"y": "a 0.501"}, {"y": "a 0.502"}, True),
        ({"y": 'a "1'}, {"y": 'a "1'}, False),
        ([[1e-3], [2]], [[0.001], [2.0]], False),
        ([True], [False], True),
        (0.5, [0.5], True),
    ],
)
def test_which_pairs_disagree_by_a_hundredth(log: InferenceLog, live: Any, shadow: Any, differs: bool) -> None:
    told(log, *pair("one", live, shadow))
    found = look(log, tolerance=0.01)
    assert found.compared == 1
    assert found.disagreement is not None
    assert found.disagreement.share.mean == differs


def test_a_decision_disagrees_only_across_its_threshold(log: InferenceLog) -> None:
    told(log, *pair("far", 0.1, 0.49), *pair("across", 0.49, 0.5), *pair("same", 0.5, 0.9), *pair("unclear", 0.4, math.nan))
    found = look(log, threshold=0.5).disagreement
    assert found is not None
    assert (found.share.mean, found.threshold) == (0.5, 0.5)


def test_by_default_a_hundredth_of_what_live_predictions_span_is_tolerated(log: InferenceLog) -> None:
    told(log, *(row for n in range(101) for row in pair(f"n{n}", float(10 * n), 10 * n + (9.1 if n < 50 else 8.9))))
    found = look(log)
    assert found.disagreement is not None
    assert found.disagreement.tolerance == pytest.approx(9.0)  # from 50 to 950
    assert found.disagreement.share.mean == pytest.approx(50 / 101)
    assert not found.disagreement.told
    assert found.differences is not None
    assert found.differences.quantiles["0.5"] == pytest.approx(8.9)
    assert found.differences.largest == pytest.approx(9.1)


def test_the_live_prediction_of_a_caller_counts_where_none_was_heard(log: InferenceLog) -> None:
    """What a caller told may be one number of several, so that another form is no disagreement then."""
    request = {"event_time": NOON, "version": 2, "unit": "u"}
    log.append("delay", [{"request_id": name, "prediction": 0.75, **request} for name in ("told", "form")])
    told(log, side("told", "shadow", 0.5), side("form", "shadow", {"y": 1, "p": 0.5}), side("nobody", "shadow", 0.5))
    found = look(log)
    assert (found.asked, found.compared, found.untold) == (3, 1, 2)
    assert found.differences is not None
    assert found.differences.mean == -0.25


def test_errors_are_compared_within_pairs_and_by_unit(log: InferenceLog) -> None:
    """The shadow is better on every request by about as much: means that vary hide it, differences show it."""
    chosen = random.Random(7)
    rows, outcomes = [], []
    for n in range(900):
        late, live = chosen.random() < 0.4, chosen.uniform(0.2, 0.8)
        shadow = live + (0.05 if late else -0.05) + chosen.uniform(-0.02, 0.02)
        rows += pair(f"r{n}", live, shadow, unit=f"u{n % 300}")
        outcomes.append({"request_id": f"r{n}", "known_at": NOON + timedelta(hours=2), "values": {"late": late}})
    told(log, *rows)
    log.append_outcomes("delay", outcomes)
    log.flush()
    found = look(log)
    assert (found.outcome, [one.name for one in found.losses]) == ("late", ["log_loss", "brier"])
    brier = found.losses[1]
    assert (brier.pairs, brier.difference.units, brier.difference.unsettled) == (900, 300, "")
    assert brier.difference.mean == pytest.approx(brier.shadow - brier.live)
    assert brier.difference.high is not None
    assert brier.difference.high < 0
    early = copies.compared(log, "delay", "shadow", NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=1))
    assert early.losses == ()  # nothing is known yet at that time


def test_errors_of_values_are_squares_and_distances(log: InferenceLog) -> None:
    told(log, *pair("one", 10.0, 12.0), *pair("two", 10.0, 9.0), *pair("cancelled", 10.0, 1.0))
    known = {"known_at": NOON + timedelta(hours=1)}
    values: list[dict[str, Any]] = [{"delay": 13.0, "late": 1.0}, {"delay": 9.0, "late": 0.0}, {"delay": None}]
    rows = [{"request_id": name, "values": one, **known} for name, one in zip(("one", "two", "cancelled"), values, strict=True)]
    log.append_outcomes("delay", rows)
    log.flush()
    assert (look(log).outcome, look(log).outcomes) == (None, ("delay", "late"))  # two: none is chosen
    squared, absolute = look(log, outcome="delay").losses
    assert (squared.name, squared.pairs, squared.live, squared.shadow) == ("squared_error", 2, 5.0, 0.5)
    assert (absolute.name, absolute.live, absolute.shadow, absolute.difference.mean) == ("absolute_error", 2.0, 0.5, -1.5)
    assert absolute.difference.low is None
    assert "2 of the 100 units" in absolute.difference.unsettled
    assert look(log, outcome='no" such').losses == ()


def test_a_copy_that_may_still_be_answered_is_not_missing(log: InferenceLog) -> None:
    told(log, side("young", "champion", 0.5, event_time=EVENING - timedelta(seconds=30)))
    assert copies.compared(log, "delay", "shadow", NOON, EVENING, EVENING).asked == 0
    later = EVENING + timedelta(minutes=5)
    assert copies.compared(log, "delay", "shadow", NOON, later, later).missing == 1
    assert copies.all_compared(log, "delay", EVENING - timedelta(seconds=10), EVENING, EVENING) == ()


def test_a_pair_on_two_sides_of_an_hour_is_one(log: InferenceLog) -> None:
    edge = NOON + timedelta(hours=1)
    told(
        log,
        side("edge", "champion", 1.0, event_time=edge - timedelta(milliseconds=1)),
        side("edge", "shadow", 1.0, event_time=edge),
    )
    assert (look(log).asked, look(log).missing, look(log).compared) == (1, 0, 1)
    following = copies.compared(log, "delay", "shadow", edge, edge + timedelta(hours=1), EVENING)
    assert following.asked == 0


def test_what_is_told_twice_counts_once_and_the_later_counts(log: InferenceLog, clock: Clock) -> None:
    told(log, *pair("one", 1.0, 1.0))
    clock.now += timedelta(minutes=1)
    told(log, *pair("one", 1.0, 5.0))
    assert log.compact().merged == 2
    found = look(log)
    assert (found.asked, found.differences and found.differences.mean) == (1, 4.0)


@pytest.mark.parametrize("asked", [{"tolerance": -1.0}, {"tolerance": math.nan}, {"threshold": math.inf}])
def test_what_is_no_tolerance_is_refused(log: InferenceLog, asked: dict[str, float]) -> None:
    with pytest.raises(Refusal) as refused:
        look(log, **asked)
    assert refused.value.code == "bad-tolerance"


def test_a_window_has_its_bounds(log: InferenceLog) -> None:
    for start, end in ((EVENING, NOON), (NOON - timedelta(days=32), NOON), (NOON.replace(tzinfo=None), EVENING)):
        with pytest.raises(Refusal) as refused:
            copies.compared(log, "delay", "shadow", start, end, EVENING)
        assert refused.value.code == "bad-window"


def test_figures_are_json(log: InferenceLog) -> None:
    told(log, *pair("one", 0.25, 0.5))
    found = look(log).to_json()
    assert found["start"] == "2026-03-02T12:00:00+00:00"
    assert found["disagreement"]["share"]["mean"] == 1.0
    assert found["latency"]["live"]["0.95"] == 0.01
