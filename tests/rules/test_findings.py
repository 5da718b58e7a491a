"""Rules of findings: every state and event, what seeing a cause means, evidence in bounds, snoozes and escalation."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.canonical import canonical
from backend.core.errors import Refusal
from backend.findings import rules
from backend.findings.rules import FINDING, LIVE, SEVERITIES, Cause, Known, bounded, on_clean, on_seen
from backend.policy.rules import EscalationStep

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def known(**options: Any) -> Known:
    given_ = {
        "state": "open", "severity": "warning", "last_seen_at": NOW, "clean_since": None, "resolved_at": None,
        "clear_after": timedelta(0), "needs_person": False,
    }  # fmt: skip
    return Known(**{**given_, **options})


# -- the machine

WANTED = {
    "open": {"acknowledge", "snooze", "resolve", "clear", "rise", "escalate"},
    "acknowledged": {"snooze", "resolve", "clear", "rise", "reopen"},
    "snoozed": {"acknowledge", "snooze", "resolve", "clear", "rise", "wake", "reopen"},
    "resolved": {"reopen"},
}


def test_a_refusal_says_what_cannot_be_done_to_it() -> None:
    with pytest.raises(Refusal, match=r"A finding that is resolved cannot be acknowledged\. Reopen it"):
        FINDING.next("resolved", "acknowledge")
    assert set(FINDING.cannot) <= set(FINDING.events)


@pytest.mark.parametrize("state", FINDING.states)
def test_each_state_lets_exactly_these_events_through(state: str) -> None:
    assert set(FINDING.allowed(state)) == WANTED[state]
    for event in set(FINDING.events) - WANTED[state]:
        with pytest.raises(Refusal) as told:
            FINDING.next(state, event)
        assert (told.value.code, bool(told.value.remedy)) == ("wrong-state", True)


def test_whatever_ends_it_ends_it_and_whatever_makes_it_worse_asks_anew() -> None:
    assert {FINDING.next(one, event) for one in LIVE for event in ("resolve", "clear")} == {"resolved"}
    assert {FINDING.next(one, "rise") for one in LIVE} == {"open"}
    assert set(LIVE) | {"resolved"} == set(FINDING.states)


def test_a_list_has_the_worst_first_and_what_is_over_last() -> None:
    ordered = sorted(
        ((state, severity) for state in FINDING.states for severity in SEVERITIES), key=lambda one: rules.rank(*one)
    )
    assert ordered[0] == ("open", "critical")
    assert [one[1] for one in ordered[:9]] == ["critical"] * 3 + ["warning"] * 3 + ["info"] * 3
    assert {one[0] for one in ordered[9:]} == {"resolved"}


# -- what a look means


def test_a_cause_that_nobody_knew_opens_one_and_the_same_look_told_again_means_nothing() -> None:
    assert on_seen(None, "warning", NOW) == "open"
    assert on_seen(known(), "critical", NOW) == "nothing"
    assert on_seen(known(), "critical", NOW - HOUR) == "nothing", "a look that comes late"


@pytest.mark.parametrize("state", LIVE)
def test_seeing_it_again_is_counted_unless_it_is_worse(state: str) -> None:
    at = NOW + HOUR
    assert on_seen(known(state=state), "warning", at) == "count"
    assert on_seen(known(state=state), "info", at) == "count", "a severity does not fall"
    assert on_seen(known(state=state), "critical", at) == "rise"


def test_one_that_is_over_is_opened_again_by_a_later_look_only() -> None:
    over = known(state="resolved", resolved_at=NOW + HOUR)
    assert on_seen(over, "info", NOW + HOUR) == "nothing"
    assert on_seen(over, "info", NOW + HOUR / 2) == "nothing", "what was seen before a person said so"
    assert on_seen(over, "info", NOW + 2 * HOUR) == "open_again"
    assert on_seen(over, "info", NOW + HOUR / 2, NOW + 9 * HOUR) == "open_again", "looked later, at a window from before"
    cleared = known(state="resolved", resolved_at=NOW + 9 * HOUR, clean_since=NOW + 2 * HOUR)
    assert on_seen(cleared, "info", NOW + HOUR, NOW + 10 * HOUR) == "nothing", "a window after it was clean already"
    assert on_seen(cleared, "info", NOW + 2 * HOUR, NOW + 10 * HOUR) == "open_again", "the same one, with rows that came late"


def test_it_is_over_when_looks_were_clean_for_its_time_and_never_because_nobody_looked() -> None:
    slow = known(clear_after=HOUR)
    assert on_clean(known(), NOW + HOUR) == "clear"
    assert on_clean(slow, NOW + 5 * HOUR) == "note", "hours without a look are no hours without the cause"
    assert on_clean(known(clear_after=HOUR, clean_since=NOW + HOUR), NOW + HOUR + HOUR / 2) == "nothing"
    assert on_clean(known(clear_after=HOUR, clean_since=NOW + HOUR), NOW + 2 * HOUR) == "clear"
    assert on_clean(known(), NOW) == "nothing", "the same look saw it"
    assert on_clean(known(state="resolved", resolved_at=NOW), NOW + HOUR) == "nothing"


def test_where_a_person_must_look_clean_looks_are_only_noted() -> None:
    asked = known(needs_person=True)
    assert on_clean(asked, NOW + HOUR) == "note"
    assert on_clean(known(needs_person=True, clean_since=NOW + HOUR), NOW + 99 * HOUR) == "nothing"


@given(st.lists(st.tuples(st.sampled_from(SEVERITIES), st.integers(-5, 5)), max_size=12))
def test_whatever_the_order_of_looks_severity_never_falls_and_no_look_counts_twice(looks: list[tuple[str, int]]) -> None:
    severity, last, counted = "info", NOW, set[int]()
    for seen, hours in looks:
        at = NOW + hours * HOUR
        means = on_seen(known(severity=severity, last_seen_at=last), seen, at)
        assert (means == "nothing") == (at <= last)
        if means != "nothing":
            assert hours not in counted
            counted.add(hours)
            last = at
        if means == "rise":
            assert rules.is_as_severe(seen, severity)
            severity = seen


# -- causes


def test_causes_are_told_apart_by_kind_place_and_subject() -> None:
    prints = {
        rules.fingerprint(kind, place, subject)
        for kind in ("drift.feature", "drift") for place in ("end_1", "model/end_1") for subject in ("", "a", "a/b")
    }  # fmt: skip
    assert len(prints) == 12
    assert rules.family("drift.feature") == rules.family("drift") == "drift"


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "Drift", "endpoint": "e"}, {"kind": "", "endpoint": "e"}, {"kind": "a..b", "endpoint": "e"},
        {"kind": "a" * 65, "endpoint": "e"}, {"kind": "a"}, {"kind": "a", "endpoint": "e", "model": "m"},
    ],
)  # fmt: skip
def test_a_cause_that_names_nothing_is_a_defect(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="finding"):
        Cause(**options)


# -- evidence

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=40,
)  # fmt: skip


@given(st.dictionaries(st.text(), JSON, max_size=80))
def test_whatever_a_monitor_hands_over_is_kept_as_json_within_bounds(evidence: dict[str, Any]) -> None:
    kept = bounded(evidence)
    assert len(canonical(kept)) <= rules.MAX_EVIDENCE
    json.dumps(kept, allow_nan=False)
    assert all(one.isprintable() for one in _texts(kept)), "PostgreSQL keeps no NUL"


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (key, *_texts(one))]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


def test_figures_are_kept_as_they_are_and_what_is_left_out_is_counted() -> None:
    assert bounded({"psi": 0.31, "rows": 12, "ok": True, "none": None}) == {"psi": 0.31, "rows": 12, "ok": True, "none": None}
    assert bounded({"worst": math.inf, "no": math.nan}) == {"worst": "inf", "no": "nan"}
    kept = bounded({f"f{number}": "x" * 400 for number in range(40)})
    assert kept["left_out"] == 40 - (len(kept) - 1) > 0


# -- snoozes


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_snooze_ends_within_its_longest_time(severity: str) -> None:
    longest = rules.LONGEST_SNOOZE[severity]
    rules.check_snooze(severity, NOW + longest, NOW)
    for until in (NOW, NOW - HOUR, NOW + longest + timedelta(seconds=1)):
        with pytest.raises(Refusal) as told:
            rules.check_snooze(severity, until, NOW)
        assert told.value.code == "bad-snooze"


def test_snoozing_again_does_not_begin_anew() -> None:
    since = NOW - timedelta(days=29)
    rules.check_snooze("warning", NOW + timedelta(days=1), NOW, since=since)
    with pytest.raises(Refusal) as told:
        rules.check_snooze("warning", NOW + timedelta(days=2), NOW, since=since)
    assert told.value.code == "bad-snooze"


def test_the_worse_the_shorter() -> None:
    assert rules.LONGEST_SNOOZE["critical"] < rules.LONGEST_SNOOZE["warning"] < rules.LONGEST_SNOOZE["info"]


# -- escalation

STEPS = (
    EscalationStep(after_seconds=900, tell="owner"),
    EscalationStep(after_seconds=1_800, tell="operators", at="critical"),
    EscalationStep(after_seconds=3_600, tell="admins", raise_to="critical"),
)


@pytest.mark.parametrize(
    ("severity", "taken", "minutes", "number"),
    [
        ("warning", 0, 14, None), ("warning", 0, 15, 0), ("warning", 1, 45, None), ("warning", 1, 60, 2),
        ("critical", 1, 29, None), ("critical", 1, 30, 1), ("critical", 0, 500, 0), ("info", 0, 500, None),
        ("critical", 3, 500, None),
    ],
)  # fmt: skip
def test_steps_are_taken_one_after_the_other_each_at_its_time(
    severity: str, taken: int, minutes: int, number: int | None
) -> None:
    at = NOW + timedelta(minutes=minutes)
    due = rules.escalation_due(STEPS, state="open", severity=severity, since=NOW, taken=taken, now=at)
    assert (due.number if due is not None else None) == number


@pytest.mark.parametrize("state", ["acknowledged", "snoozed", "resolved"])
def test_what_somebody_answered_calls_nobody_else(state: str) -> None:
    late = NOW + timedelta(days=9)
    assert rules.escalation_due(STEPS, state=state, severity="critical", since=NOW, taken=0, now=late) is None


def test_a_step_only_makes_it_worse() -> None:
    assert rules.raised("warning", "critical") == "critical"
    assert rules.raised("critical", "warning") == "critical"
    assert rules.raised("info", None) == "info"
