"""Rules of monitors: what one may be told, when its slots are, and how it fares."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.core.errors import Refusal
from backend.drift.stored import counts_bytes
from backend.monitoring import differences, rules
from backend.monitoring.hours import Part
from backend.monitoring.looks import Found, storable
from backend.monitoring.rules import MOST_BEHIND, LastRun, MonitorSpec, due_slots, fares, latest_slot, next_due, parse_spec
from tests.drift_data import counts_of, letters, normal, profile_of

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def hourly(**told: Any) -> MonitorSpec:
    return parse_spec({"kind": "drift", "every_hours": 1, "wait_minutes": 10, **told})


def test_slots_end_at_full_hours_days_at_midnight_and_weeks_with_monday() -> None:
    assert latest_slot(NINE + timedelta(minutes=9), hourly()) == NINE - HOUR
    assert latest_slot(NINE + timedelta(minutes=10), hourly()) == NINE
    assert next_due(NINE, hourly()) == NINE + timedelta(minutes=10)
    daily, weekly = (parse_spec({"kind": "drift", "every_hours": hours, "wait_minutes": 0}) for hours in (24, 168))
    assert latest_slot(NINE, daily) == NINE.replace(hour=0)
    assert latest_slot(NINE + 3 * DAY, weekly) == NINE.replace(hour=0), "2 March 2026 is a Monday"
    assert latest_slot(datetime(2013, 6, 4, 1, tzinfo=UTC), daily) == datetime(2013, 6, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    "told",
    [
        {"features": ["a\0b"]},
        {"without": ["\x1b[31m"]},
        {"thresholds": {"a\nb": {"psi": 0.2}}},
        {"reference": {"kind": "period", "name": "\u202e", "start": NINE, "end": NINE + HOUR}},
        {"arm": "v1\0"},
        {"segments": ["\ud800"]},
    ],
)
def test_no_text_that_cannot_be_printed_is_taken(told: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        hourly(**told)
    assert (refused.value.code, str(refused.value).isprintable()) == ("bad-monitor", True)
    assert hourly(features=["Durée d'attente (s)", "特徴"]).features == ("Durée d'attente (s)", "特徴")


def test_what_somebody_named_is_stored_as_databases_and_terminals_take_it() -> None:
    found = Found("data.extra-column", "notice", "pred\0\x1b[31m", "feature", 1, "\ud800 is sent")
    assert (found.to_json()["feature"], found.to_json()["says"]) == ("pred??[31m", "? is sent")
    assert storable({"a\0": ["b\0", 1.5, "\ud800", None]}) == {"a?": ["b?", 1.5, "?", None]}


def test_a_slot_is_due_once_its_window_may_be_judged_and_another_time_is_none() -> None:
    daily = parse_spec({"kind": "drift", "wait_minutes": 720})
    midnight = NINE.replace(hour=0)
    assert not rules.is_due(daily, midnight, NINE)
    assert rules.is_due(daily, midnight, NINE + 3 * HOUR)
    assert not rules.is_due(daily, NINE, NINE + 9 * DAY)


def test_every_slot_is_due_once_from_where_it_begins_and_not_for_ever() -> None:
    now = NINE + timedelta(minutes=30)
    assert due_slots(hourly(), after=None, begins=NINE - 2 * HOUR, now=now) == (NINE - 2 * HOUR, NINE - HOUR, NINE)
    assert due_slots(hourly(), after=NINE - HOUR, begins=NINE - 9 * HOUR, now=now) == (NINE,)
    assert due_slots(hourly(), after=NINE, begins=NINE, now=now) == ()
    behind = due_slots(hourly(), after=NINE - 90 * DAY, begins=NINE - 90 * DAY, now=now)
    assert (len(behind), behind[-1]) == (MOST_BEHIND, NINE)


@pytest.mark.parametrize(
    ("last", "minutes", "word"),
    [
        (None, 0, "never"),
        (None, 41, "late"),
        (LastRun(NINE - HOUR, "ok", ""), 41, "late"),
        (LastRun(NINE - HOUR, "ok", ""), 39, "ok"),
        (LastRun(NINE, "alarm", ""), 41, "alarm"),
        (LastRun(NINE, "no_data", "Nothing came."), 41, "no_data"),
        (LastRun(NINE, "early", "It is new."), 41, "never"),
        (LastRun(NINE, "idle", "It is alone."), 41, "idle"),
        (LastRun(NINE, "idle", "It is alone."), 101, "late"),
        (LastRun(NINE, "failed", "ValueError"), 41, "failing"),
        (LastRun(NINE, "failed", "ValueError"), 101, "late"),
        (LastRun(NINE + HOUR, "alarm", "", asked=True, planned=NINE), 41, "alarm"),
        (LastRun(NINE, "ok", "", asked=True, planned=NINE - HOUR), 41, "late"),
        (LastRun(NINE, "ok", "", asked=True), 41, "late"),
    ],
)
def test_not_to_have_run_is_worse_than_what_the_last_run_said(last: LastRun | None, minutes: int, word: str) -> None:
    begins = NINE - HOUR if last is not None else NINE
    told = fares(hourly(), paused=False, begins=begins, last=last, now=NINE + timedelta(minutes=minutes))
    assert told.word == word
    assert fares(hourly(), paused=True, begins=begins, last=last, now=NINE).word == "paused"


def test_what_was_over_when_a_monitor_was_set_is_not_late_at_once() -> None:
    def word(last: LastRun | None, minutes: int) -> str:
        now, begins = NINE + timedelta(minutes=60 + minutes), NINE - 48 * HOUR
        return fares(hourly(), paused=False, begins=begins, last=last, now=now, set_at=NINE + HOUR).word

    assert (word(None, 5), word(None, 31)) == ("never", "late")
    behind = LastRun(NINE - 40 * HOUR, "alarm", "")
    assert (word(behind, 5), word(behind, 31)) == ("alarm", "late")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"kind": "luck"}, "kind"),
        ({"kind": "drift", "often": 1}, "often"),
        ({"kind": "drift", "window_hours": 0}, "window_hours"),
        ({"kind": "drift", "task": {"outcome": "late"}}, "need a task, and nothing else has one"),
        ({"kind": "quality"}, "need a task"),
        ({"kind": "quality", "task": {"outcome": "late"}, "thresholds": {"x": {"psi": 1.0}}}, "are of drift, data and skew"),
        ({"kind": "quality", "task": {"outcome": "late"}, "limits": {"auc": {}}}, "shall not be above, or below"),
        ({"kind": "estimate", "task": {"kind": "regression", "outcome": "x"}}, "nothing of its own error"),
        ({"kind": "skew", "reference": {"kind": "champion"}}, "skew is compared with training"),
        ({"kind": "drift", "reference": {"kind": "period"}}, "a period has a start and an end"),
        ({"kind": "drift", "features": ["x"], "without": ["y"]}, "not both"),
        ({"kind": "drift", "thresholds": {"x": {"luck": 1.0}}}, "thresholds.x.luck"),
        ({"kind": "quality", "task": {"kind": "classes", "outcome": "x"}}, "several classes have names"),
        ({"kind": "drift", "segments": ["x", "y"]}, "by the values of one feature"),
        ({"kind": "skew", "segments": ["x"]}, "segments are of drift, data and quality"),
        ({"kind": "drift", "report": "classification"}, "as their task is"),
        ({"kind": "drift", "joint": True}, "only aggregates are kept"),
        ({"kind": "data", "joint": True, "reference": {"kind": "champion"}}, "by drift alone"),
        ({"kind": "drift", "joint": {"above": 0.4}, "reference": {"kind": "champion"}}, "joint.above"),
    ],
)
def test_what_a_monitor_cannot_be_is_refused_by_its_field(told: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match="This cannot be a monitor") as refused:
        parse_spec(told)
    assert refused.value.code == "bad-monitor"
    assert says in str(refused.value)


def test_what_goes_without_saying_is_not_kept_and_comes_back() -> None:
    spec = hourly(wait_minutes=15)
    assert spec.to_json() == {"kind": "drift", "every_hours": 1}
    assert parse_spec(spec.to_json()) == spec
    estimate = parse_spec({"kind": "estimate", "task": {"outcome": "late"}})
    assert parse_spec(estimate.to_json()) == estimate
    assert estimate.reference.kind == "recent"
    assert hourly(clean_looks=3).clear_after == 2 * HOUR
    assert parse_spec({"kind": "drift", "joint": False}).joint is None
    whole = parse_spec({"kind": "drift", "joint": True, "reference": {"kind": "champion"}})
    assert whole.to_json()["joint"] == {}
    assert parse_spec(whole.to_json()) == whole


def test_findings_are_called_no_worse_than_the_monitor_says() -> None:
    assert rules.severity_of("critical", hourly(at_most="warning")) == "warning"
    assert rules.severity_of("warning", hourly()) == "warning"
    assert rules.severity_of("notice", hourly()) == "info"
    assert (rules.worst(["notice", "critical", "info"]), rules.worst([])) == ("critical", "")


def test_hours_differ_by_the_cells_that_their_rows_lie_in_and_by_who_answered() -> None:
    profile = profile_of({"x": normal(500, 1), "t": letters(500, 1)})

    def parts(version: int = 1, **told: Any) -> list[Part]:
        found = counts_of(profile, {"x": normal(100, 3), "t": letters(100, 3), **told})
        return [Part(NINE, version, "", found.rows, counts_bytes(found))]

    def differ(once: list[Part], now: list[Part]) -> int:
        return differences.of_features(profile.layout, once, now)

    far = normal(100, 3)
    far[:5] = 50.0
    farther = far.copy()
    farther[:2] = 9e9
    assert differ(parts(), parts()) == 0
    assert differ(parts(), []) == differ([], parts()) == 100
    assert differ(parts(), parts(2)) == 100
    assert differ(parts(), parts(x=far)) == 5
    assert differ(parts(x=far), parts(x=farther)) == 5, "beyond the edges a number may be anything"
    assert differ(parts(), parts(x=[None, *normal(100, 3)[1:]])) == 1
    assert differ(parts(t=["new"] * 100), parts(t=["newer"] * 3 + ["new"] * 97)) == 3
    assert differ(parts(), parts(more=[1.0] * 100)) == 100
