"""Rollouts: every state and event, and what is decided at every position; never forward on what is not known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.experiments.comparing.standing import Standing
from backend.rollouts.rules import LATE, ROLLOUT, Gates, Position, decide, skip_to

PERSON = Gates(person=True)
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
POLL = timedelta(seconds=5)
HELD = Position(
    state="holding", step=0, last_step=2, step_since=NOW - timedelta(seconds=60), hold_seconds=60, gates=Gates(), let_on=-1,
    live=True, went_back=False, proved=True, endpoint_state="in_sync", revoked=False,
)  # fmt: skip

EXPECTED = {
    ("waiting", "begin"): "ramping", ("waiting", "abort"): "aborted",
    ("ramping", "step_proved"): "holding", ("ramping", "finished"): "complete", ("ramping", "pause"): "paused",
    ("ramping", "abort"): "aborted", ("ramping", "roll_back"): "rolled_back",
    ("holding", "advance"): "ramping", ("holding", "pause"): "paused", ("holding", "abort"): "aborted",
    ("holding", "roll_back"): "rolled_back", ("holding", "skip"): "ramping",
    ("paused", "resume_ramping"): "ramping", ("paused", "resume_holding"): "holding", ("paused", "abort"): "aborted",
    ("paused", "roll_back"): "rolled_back",
    ("complete", "roll_back"): "rolled_back",
}  # fmt: skip


@pytest.mark.parametrize(("state", "event"), list(itertools.product(ROLLOUT.states, ROLLOUT.events)))
def test_every_state_and_event(state: str, event: str) -> None:
    if (state, event) in EXPECTED:
        assert ROLLOUT.next(state, event) == EXPECTED[state, event]
        return
    with pytest.raises(Refusal) as refused:
        ROLLOUT.next(state, event)
    assert refused.value.code == "wrong-state"
    assert refused.value.remedy


def test_a_held_step_goes_on_when_its_time_is_over_and_not_before() -> None:
    assert decide(HELD, NOW, poll=POLL).event == "advance"
    early = decide(HELD, NOW - timedelta(microseconds=1), poll=POLL)
    assert (early.event, early.look_at) == (None, NOW)


def test_a_step_that_findings_may_hold_is_looked_at_before_its_time_is_over() -> None:
    early = replace(HELD, hold_seconds=3_600, watched=True)
    assert decide(early, NOW, poll=POLL).look_at == NOW + POLL


def test_a_step_that_is_not_proved_in_time_says_so_and_why() -> None:
    at = replace(HELD, state="ramping", proved=False, admitted_at=NOW, trouble="the server is not as wanted")
    soon = decide(at, NOW + LATE - timedelta(microseconds=1), poll=POLL)
    assert (soon.event, soon.reason, soon.late) == (None, "", False)
    late = decide(at, NOW + LATE, poll=POLL)
    assert (late.event, late.late, late.look_at) == (None, True, NOW + LATE + POLL)
    assert "09:00:00 UTC: the server is not as wanted" in late.reason


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"endpoint_state": "stale"}, "in sync"),
        ({"endpoint_state": "unreachable"}, "in sync"),
        ({"endpoint_state": "out_of_sync"}, "in sync"),
        ({"endpoint_state": "pushing"}, "in sync"),
        ({"proved": False}, "in sync"),
        ({"step_since": None}, "since when"),
        ({"gates": PERSON}, "somebody"),
        ({"gates": PERSON, "step": 1, "let_on": 0}, "somebody"),
        ({"frozen": "incident 7"}, "incident 7"),
        ({"held": "Held by finding 12."}, "finding 12"),
        ({"held": "Held by finding 12.", "hold_seconds": 3_600, "watched": True}, "finding 12"),
    ],
)
def test_what_holds_a_step_is_said_and_looked_at_again(changes: dict[str, Any], says: str) -> None:
    decision = decide(replace(HELD, **changes), NOW, poll=POLL)
    assert decision.event is None
    assert says in decision.reason
    assert decision.look_at == NOW + POLL


@pytest.mark.parametrize(
    ("changes", "event"),
    [
        ({"gates": PERSON, "let_on": 0}, "advance"),
        ({"state": "ramping"}, "step_proved"),
        ({"state": "ramping", "step": 2}, "finished"),
        ({"state": "ramping", "proved": False}, None),
        ({"state": "ramping", "revoked": True}, "pause"),
        ({"revoked": True}, "pause"),
        ({"held": "x", "held_for_person": True}, "pause"),
        ({"held": "x", "held_for_person": True, "state": "ramping", "proved": False}, "pause"),
        ({"held": "x", "held_for_person": True, "state": "ramping", "step": 2}, "finished"),
        ({"held": "x", "held_for_person": True, "state": "paused"}, None),
        ({"held": "x", "state": "ramping"}, "step_proved"),
        ({"state": "paused", "revoked": True}, None),
        ({"state": "paused"}, None),
        ({"live": False}, "abort"),
        ({"live": False, "went_back": True}, "roll_back"),
        ({"state": "complete", "live": False, "went_back": True}, None),
        ({"state": "aborted"}, None),
    ],
)
def test_what_follows_from_a_position(changes: dict[str, Any], event: str | None) -> None:
    assert decide(replace(HELD, **changes), NOW, poll=POLL).event == event


stands = st.builds(
    Standing, action=st.sampled_from(("go", "hold", "rollback")), reason=st.just("p95 is worse."), passed=st.booleans(),
    not_failed=st.booleans(), units=st.sampled_from((0, 99, 100)), looked_at=st.none() | st.just(NOW),
)  # fmt: skip
gates = st.builds(
    Gates, min_units=st.sampled_from((0, 100)), statistics=st.sampled_from((None, "not_failed", "passed")), person=st.booleans()
)
positions = st.builds(
    Position,
    state=st.sampled_from(ROLLOUT.states), step=st.integers(0, 2), last_step=st.just(2),
    step_since=st.none() | st.integers(-120, 120).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    hold_seconds=st.sampled_from((0, 60)), gates=gates, let_on=st.integers(-1, 2), live=st.booleans(),
    went_back=st.booleans(), proved=st.booleans(), endpoint_state=st.sampled_from(("in_sync", "stale", "partial")),
    revoked=st.booleans(), compares=st.booleans(), compared=st.none() | stands, frozen=st.sampled_from(("", "incident")),
    skip_to=st.sampled_from((-1, 2)), way_back=st.booleans(),
)  # fmt: skip


@given(positions)
def test_no_position_leads_forward_without_all_that_it_takes(at: Position) -> None:
    decision = decide(at, NOW, poll=POLL)
    if decision.event is not None:
        assert ROLLOUT.allows(at.state, decision.event)
    if decision.event in ("advance", "skip", "step_proved", "finished"):
        assert at.live
        assert at.proved
        assert not at.revoked
    if decision.event in ("advance", "skip"):
        assert at.endpoint_state == "in_sync"
        assert at.frozen == ""
        assert at.step_since is not None
        assert at.compared is None or at.compared.action == "go"
    if decision.event == "skip":
        assert at.skip_to > at.step
        assert not at.compares or (at.compared is not None and at.compared.not_failed)
    if decision.event == "advance":
        assert at.step_since is not None
        assert at.step_since + timedelta(seconds=at.hold_seconds) <= NOW
        assert at.let_on >= at.step or not at.gates.person
        _assert_measured(at)


def _assert_measured(at: Position) -> None:
    """No data is never a pass."""
    if not at.compares or not (at.gates.min_units or at.gates.statistics):
        return
    assert at.compared is not None
    assert at.compared.looked_at is not None
    assert at.compared.units >= at.gates.min_units
    assert at.gates.statistics != "passed" or at.compared.passed
    assert at.gates.statistics != "not_failed" or at.compared.not_failed


@given(positions)
def test_a_guardrail_that_asks_for_it_goes_back_from_every_state_that_is_live(at: Position) -> None:
    if at.compared is None or at.compared.action != "rollback" or not at.live or at.went_back:
        return
    decision = decide(at, NOW, poll=POLL)
    if at.state in ("ramping", "holding", "paused", "complete"):
        assert (decision.event == "roll_back") == at.way_back
        assert at.compared.reason in decision.reason or at.state == "complete"
    else:
        assert decision.event is None


GOES = Standing("go", "", passed=True, not_failed=True, units=200, looked_at=NOW)
MEASURED = replace(HELD, gates=Gates(100, "passed", person=True), compares=True, compared=GOES)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hold_seconds": 3_600, "compared": None}, "Holds this step"),
        ({"compared": None}, "no data is never a pass"),
        ({"compared": replace(GOES, looked_at=None)}, "no data is never a pass"),
        ({"compared": replace(GOES, units=99, passed=False)}, "Waits for 100 units in each arm; the smallest has 99"),
        ({"compared": replace(GOES, passed=False, reason="Errors: open.")}, "not proved to be kept yet. Errors: open."),
        ({"gates": Gates(0, "not_failed"), "compared": replace(GOES, not_failed=False, passed=False)}, "cannot be judged"),
        ({"compared": replace(GOES, action="hold", reason="The split is off."), "let_on": 0}, "The split is off."),
        ({}, "Waits for somebody"),
    ],
)
def test_the_gates_of_a_step_are_asked_in_their_order(changes: dict[str, Any], says: str) -> None:
    decision = decide(replace(MEASURED, **changes), NOW, poll=POLL)
    assert decision.event is None
    assert says in decision.reason
    assert decision.look_at == NOW + POLL


def test_a_step_whose_gates_are_all_met_goes_on() -> None:
    assert decide(replace(MEASURED, let_on=0), NOW, poll=POLL).event == "advance"


def test_a_first_version_that_fails_a_guardrail_waits_for_a_person_since_there_is_nothing_to_go_back_to() -> None:
    failed = replace(GOES, action="rollback", reason="Errors are worse.")
    at = replace(MEASURED, compared=failed, way_back=False)
    decision = decide(at, NOW, poll=POLL)
    assert (decision.event, "nothing to go back to" in decision.reason) == ("pause", True)
    assert decide(replace(at, state="paused"), NOW, poll=POLL).event is None


@pytest.mark.parametrize(
    ("changes", "allowed", "refusal"),
    [
        ({}, False, "The policy lets no step be skipped."),
        ({"gates": PERSON}, True, "This step asks for a person itself."),
        ({"state": "ramping"}, True, "not proved yet"),
        ({"state": "paused"}, True, "not proved yet"),
        ({"endpoint_state": "partial"}, True, "not in sync"),
        ({"held": "Held by finding 12."}, True, "finding 12"),
        ({"frozen": "incident"}, True, "incident"),
        ({"compares": True}, True, "Nothing was measured"),
        ({"compares": True, "compared": replace(GOES, not_failed=False)}, True, "failed, or cannot be judged"),
        ({"compares": True, "compared": replace(GOES, action="hold")}, True, "failed, or cannot be judged"),
        ({"step": 1}, True, "No step ahead asks for a person."),
    ],
)
def test_what_keeps_steps_from_being_skipped(changes: dict[str, Any], allowed: bool, refusal: str) -> None:
    found = skip_to(replace(HELD, **{"hold_seconds": 3_600, **changes}), [False, True, False], allowed=allowed)
    assert found.to is None
    assert refusal in found.refusal
    assert found.remedy


def test_steps_are_skipped_up_to_the_next_that_a_person_looks_at_and_not_beyond() -> None:
    at = replace(HELD, hold_seconds=3_600, last_step=4)
    assert skip_to(at, [False, False, True, True, False], allowed=True).to == 2
    decision = decide(replace(at, skip_to=2), NOW, poll=POLL)
    assert decision.event == "skip"
    assert decide(replace(at, skip_to=2, frozen="incident"), NOW, poll=POLL).event is None
