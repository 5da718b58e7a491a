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
from backend.rollouts.rules import LATE, ROLLOUT, Position, decide

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
POLL = timedelta(seconds=5)
HELD = Position(
    state="holding", step=0, last_step=2, step_since=NOW - timedelta(seconds=60), hold_seconds=60, person=False, let_on=-1,
    live=True, went_back=False, proved=True, endpoint_state="in_sync", revoked=False,
)  # fmt: skip

EXPECTED = {
    ("waiting", "begin"): "ramping", ("waiting", "abort"): "aborted",
    ("ramping", "step_proved"): "holding", ("ramping", "finished"): "complete", ("ramping", "pause"): "paused",
    ("ramping", "abort"): "aborted", ("ramping", "roll_back"): "rolled_back",
    ("holding", "advance"): "ramping", ("holding", "pause"): "paused", ("holding", "abort"): "aborted",
    ("holding", "roll_back"): "rolled_back",
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
        ({"guarded": True}, "guardrails"),
        ({"person": True}, "somebody"),
        ({"person": True, "step": 1, "let_on": 0}, "somebody"),
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
        ({"person": True, "let_on": 0}, "advance"),
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


positions = st.builds(
    Position,
    state=st.sampled_from(ROLLOUT.states), step=st.integers(0, 2), last_step=st.just(2),
    step_since=st.none() | st.integers(-120, 120).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    hold_seconds=st.sampled_from((0, 60)), person=st.booleans(), let_on=st.integers(-1, 2), live=st.booleans(),
    went_back=st.booleans(), proved=st.booleans(), endpoint_state=st.sampled_from(("in_sync", "stale", "partial")),
    revoked=st.booleans(), guarded=st.booleans(), frozen=st.sampled_from(("", "incident")),
)  # fmt: skip


@given(positions)
def test_no_position_leads_forward_without_all_that_it_takes(at: Position) -> None:
    decision = decide(at, NOW, poll=POLL)
    if decision.event is not None:
        assert ROLLOUT.allows(at.state, decision.event)
    if decision.event in ("advance", "step_proved", "finished"):
        assert at.live
        assert at.proved
        assert not at.revoked
    if decision.event == "advance":
        assert at.endpoint_state == "in_sync"
        assert (at.guarded, at.frozen) == (False, "")
        assert at.step_since is not None
        assert at.step_since + timedelta(seconds=at.hold_seconds) <= NOW
        assert at.let_on >= at.step or not at.person
