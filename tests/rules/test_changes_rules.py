"""Changes: every state and event, and what is due under all circumstances."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.changes.rules import CHANGE, STARTED, UNDECIDED, Circumstances, due
from backend.core.errors import Refusal
from backend.evidence.rules import Outlook

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
POLL = timedelta(seconds=15)
BEFORE_START = ("draft", "checking", "review", "approved", "blocked", "suspended")

EXPECTED = {
    ("draft", "submit"): "checking", ("checking", "checked"): "review", ("checking", "check_failed"): "blocked",
    ("blocked", "recheck"): "checking", ("review", "recheck"): "checking", ("review", "check_failed"): "blocked",
    ("review", "approve"): "approved", ("review", "reject"): "rejected", ("approved", "reject"): "rejected",
    ("approved", "revoke"): "revoked", ("approved", "start"): "applying", ("approved", "check_failed"): "blocked",
    ("suspended", "rebase"): "review", ("applying", "prove"): "done", ("applying", "fail"): "failed",
    ("applying", "revoke"): "revoked", ("applying", "roll_back"): "rolled_back", ("applying", "supersede"): "superseded",
    ("done", "roll_back"): "rolled_back", ("done", "revoke"): "revoked", ("failed", "roll_back"): "rolled_back",
    ("revoked", "roll_back"): "rolled_back",
    **{(state, "edit"): "draft" for state in BEFORE_START},
    **{(state, "withdraw"): "withdrawn" for state in BEFORE_START},
    **{(state, "expire"): "expired" for state in BEFORE_START},
    **{(state, "supersede"): "superseded" for state in BEFORE_START},
    **{(state, "suspend"): "suspended" for state in ("checking", "review", "approved", "blocked")},
}  # fmt: skip


@pytest.mark.parametrize(("state", "event"), list(itertools.product(CHANGE.states, CHANGE.events)))
def test_every_state_and_event(state: str, event: str) -> None:
    if (state, event) in EXPECTED:
        assert CHANGE.next(state, event) == EXPECTED[state, event]
        return
    with pytest.raises(Refusal) as refused:
        CHANGE.next(state, event)
    assert refused.value.code == "wrong-state"
    assert refused.value.remedy


def at(state: str, **changes: Any) -> Circumstances:
    return replace(Circumstances(state=state, now=NOW, decide_by=LATER, policy="p@1", policy_now="p@1"), **changes)


@pytest.mark.parametrize("state", BEFORE_START)
def test_what_nobody_decided_or_started_in_time_expires(state: str) -> None:
    assert due(at(state, decide_by=NOW), poll=POLL).event == "expire"
    assert due(at(state, decide_by=NOW + timedelta(microseconds=1)), poll=POLL).event != "expire"


@pytest.mark.parametrize("state", ["checking", "review", "approved", "blocked"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [({"requester_active": False}, "deactivated"), ({"policy_now": "p@2"}, "p@2"), ({"moved": "it moved"}, "it moved")],
)
def test_what_suspends_a_change_and_why(state: str, changes: dict[str, Any], says: str) -> None:
    found = due(at(state, **changes), poll=POLL)
    assert found.event == "suspend"
    assert says in found.reason
    assert due(at("suspended", **changes), poll=POLL).event is None
    assert due(at("applying", **changes), poll=POLL).event is None


@pytest.mark.parametrize(
    ("state", "outlook", "event", "gates"),
    [
        ("checking", Outlook(), "checked", ()),
        ("checking", Outlook(waiting=("a",)), None, ()),
        ("checking", Outlook(wanted=("b",), waiting=("a",)), None, ("b",)),
        ("checking", Outlook(waiting=("a",), blocking=("b",)), "check_failed", ()),
        ("review", Outlook(blocking=("b",)), "check_failed", ()),
        ("review", Outlook(wanted=("b",)), None, ("b",)),
        ("review", Outlook(waiting=("b",)), None, ()),
        ("review", Outlook(), "approve", ()),
        ("approved", Outlook(blocking=("b",)), "check_failed", ()),
        ("approved", Outlook(wanted=("b",)), None, ("b",)),
        ("approved", Outlook(waiting=("b",)), None, ()),
        ("approved", Outlook(), "start", ()),
        ("blocked", Outlook(), None, ()),
        ("blocked", Outlook(wanted=("b",)), None, ()),
        ("suspended", Outlook(), None, ()),
    ],
)
def test_what_the_checks_lead_to(state: str, outlook: Outlook, event: str | None, gates: tuple[str, ...]) -> None:
    found = due(at(state, outlook=outlook), poll=POLL)
    assert (found.event, found.gates) == (event, gates)
    rest = 40 if state == "suspended" else 1
    assert found.event is not None or found.look_at == NOW + rest * POLL


def test_a_change_that_waits_for_a_person_is_left_alone_until_its_time_is_over() -> None:
    soon = NOW + 3 * POLL
    for state in ("draft", "suspended"):
        assert due(at(state, decide_by=soon), poll=POLL).look_at == soon


def test_a_change_is_not_approved_while_something_is_missing() -> None:
    assert due(at("review", lacks=("1 more approval(s) of reviewer",)), poll=POLL).event is None


@pytest.mark.parametrize(
    ("changes", "event", "look_at"),
    [
        ({}, "start", None),
        ({"start_mode": "by_hand"}, None, NOW + POLL),
        ({"start_mode": "by_hand", "start_at": NOW}, "start", None),
        ({"start_mode": "at_time", "start_at": NOW + timedelta(seconds=1)}, None, NOW + timedelta(seconds=1)),
        ({"start_mode": "at_time", "start_at": NOW + timedelta(minutes=1)}, None, NOW + POLL),
        ({"start_mode": "at_time", "start_at": NOW}, "start", None),
        ({"waits": "frozen"}, None, NOW + POLL),
        ({"waits": "change 3", "takes_over": True}, "take_over", None),
        ({"start_mode": "by_hand", "waits": "change 3", "takes_over": True}, None, NOW + POLL),
        ({"revoked": True}, "revoke", None),
    ],
)
def test_when_an_approved_change_starts(changes: dict[str, Any], event: str | None, look_at: datetime | None) -> None:
    found = due(at("approved", **changes), poll=POLL)
    assert (found.event, found.look_at) == (event, look_at)
    assert found.event is not None or found.reason


@pytest.mark.parametrize(
    ("state", "changes", "event", "looks"),
    [
        ("applying", {"walk": "under_way"}, None, True),
        ("applying", {"walk": "complete"}, "prove", False),
        ("applying", {"walk": "aborted", "way_back": "taken"}, "fail", False),
        ("applying", {"walk": "rolled_back", "way_back": "taken"}, None, True),
        ("applying", {"walk": "under_way", "revoked": True}, "revoke", False),
        ("failed", {"walk": "aborted", "way_back": "taken"}, None, True),
        ("failed", {"walk": "aborted"}, None, False),
        ("done", {"walk": "complete"}, None, False),
        ("done", {"walk": "complete", "revoked": True}, None, False),
        ("done", {"walk": "rolled_back", "way_back": "taken"}, None, True),
        ("revoked", {}, None, False),
        ("rejected", {}, None, False),
        *((state, {"way_back": "proved"}, "roll_back", False) for state in STARTED),
    ],
)
def test_what_follows_a_start(state: str, changes: dict[str, Any], event: str | None, looks: bool) -> None:
    found = due(at(state, **changes), poll=POLL)
    assert (found.event, found.look_at is not None) == (event, looks)


outlooks = st.builds(
    Outlook, wanted=st.sampled_from(((), ("a",))), waiting=st.sampled_from(((), ("b",))), blocking=st.sampled_from(((), ("c",)))
)
circumstances = st.builds(
    Circumstances,
    state=st.sampled_from(CHANGE.states), now=st.just(NOW), decide_by=st.sampled_from((None, NOW, LATER)),
    requester_active=st.booleans(), policy=st.just("p@1"), policy_now=st.sampled_from(("p@1", "p@2")),
    moved=st.sampled_from(("", "it moved")), waits=st.sampled_from(("", "frozen")), takes_over=st.booleans(), outlook=outlooks,
    lacks=st.sampled_from(((), ("one more",))), start_mode=st.sampled_from(("at_once", "by_hand", "at_time")),
    start_at=st.sampled_from((None, NOW, LATER)), revoked=st.booleans(),
    walk=st.sampled_from(("none", "under_way", "complete", "aborted", "rolled_back")),
    way_back=st.sampled_from(("", "taken", "proved")),
)  # fmt: skip


@given(circumstances)
def test_nothing_goes_forward_without_all_that_it_takes(found: Circumstances) -> None:
    next_due = due(found, poll=POLL)
    if next_due.event not in (None, "take_over"):
        assert CHANGE.allows(found.state, next_due.event)
    if next_due.event in ("approve", "start", "take_over", "checked"):
        assert found.outlook.clear
        assert (found.moved, found.policy_now, found.requester_active) == ("", "p@1", True)
    if next_due.event == "approve":
        assert found.lacks == ()
    if next_due.event in ("start", "take_over"):
        assert not found.revoked
        assert found.decide_by is None or found.decide_by > NOW
        assert next_due.event == "take_over" or found.waits == ""
    if found.state in UNDECIDED and next_due.event is None:
        assert next_due.look_at is not None
