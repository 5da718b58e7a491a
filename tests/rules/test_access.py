"""Who may do what: the whole table against a list written out on its own, scopes and ends of grants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backend.access.rules import ACTIONS, ROLES, Grant, check_grant, may, may_read, refusal
from backend.core.errors import Refusal

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

# Written out apart from the table, from product.md: who decides does not request, who sets the rules does neither.
ONLY = {
    "change.vote": {"reviewer"},
    "change.propose": {"contributor", "operator"},
    "change.start": {"contributor", "operator"},
    "card.write": {"contributor", "operator"},
    "endpoint.sign_off": {"reviewer", "operator"},
    "endpoint.repair": {"operator"},
    "endpoint.resume": {"operator"},
    "policy.set": {"admin"},
    "role.grant": {"admin"},
    "role.take_back": {"admin"},
    "identity.create": {"admin"},
    "identity.deactivate": {"admin"},
    "identity.hand_over": {"admin"},
    "group_mapping.make": {"admin"},
    "group_mapping.take_back": {"admin"},
    "freeze.lift": {"admin"},
    "binding.make": {"admin"},
    "binding.end": {"admin"},
    "audit.export": {"auditor"},
    "audit.verify": {"auditor", "admin"},
}


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("role", ROLES)
def test_one_role_may_what_the_table_says(role: str, action: str) -> None:
    allowed = may([Grant(role)], action, now=NOW)
    assert allowed == (role in ACTIONS[action])
    if action in ONLY:
        assert allowed == (role in ONLY[action])
    if role in ("viewer", "auditor") and not action.startswith("audit."):
        looks = (
            {"request.list", "data_set.list", "binding.list", "sealing_key.list", "route.list"} if role == "auditor" else set()
        )
        assert allowed == (action.endswith(".read") or action in looks)


def test_without_a_grant_nothing_is_allowed() -> None:
    assert not any(may([], action, now=NOW) for action in ACTIONS)


def test_a_look_needs_its_role_in_any_scope_and_what_concerns_the_whole_needs_it_everywhere() -> None:
    builds = Grant("contributor", "model:flight-delay")
    assert may_read([builds], "model.read", now=NOW)
    assert not may_read([], "model.read", now=NOW)
    assert not may_read([Grant("contributor", "model:m", NOW)], "model.read", now=NOW)
    assert not may_read([builds], "audit.read", now=NOW)
    assert may_read([Grant("auditor", "environment:dev")], "audit.read", now=NOW)
    assert not may_read([Grant("auditor", "environment:dev")], "audit.verify", now=NOW)
    assert may_read([Grant("auditor")], "audit.verify", now=NOW)


def test_nobody_who_may_vote_may_propose_by_the_same_role() -> None:
    assert not ACTIONS["change.vote"] & ACTIONS["change.propose"]
    assert not ACTIONS["change.vote"] & ACTIONS["policy.set"]


@pytest.mark.parametrize(
    ("scope", "environment", "model", "reaches"),
    [
        ("*", "production", "m", True),
        ("environment:production", "production", None, True),
        ("environment:production", "staging", None, False),
        ("environment:production", None, None, False),
        ("model:m", None, "m", True),
        ("model:m", "production", "other", False),
        ("model:production", "production", "m", False),
        ("environment:prod", "production", None, False),
    ],
)
def test_a_scope_reaches_its_own_place_only(scope: str, environment: str | None, model: str | None, reaches: bool) -> None:
    assert may([Grant("reviewer", scope)], "change.vote", now=NOW, environment=environment, model=model) == reaches


def test_a_grant_ends_at_its_moment() -> None:
    grant = Grant("reviewer", "*", NOW)
    assert may([grant], "change.vote", now=NOW - timedelta(microseconds=1))
    assert not may([grant], "change.vote", now=NOW)


def test_an_unknown_action_is_a_defect_and_never_allowed() -> None:
    with pytest.raises(KeyError):
        may([Grant("admin")], "change.aprove", now=NOW)


@pytest.mark.parametrize(
    ("role", "scope"), [("root", "*"), ("admin", "**"), ("admin", "environment:"), ("admin", "environment:A/b")]
)
def test_a_role_or_scope_that_does_not_exist_is_refused(role: str, scope: str) -> None:
    with pytest.raises(Refusal):
        check_grant(role, scope)


def test_a_refusal_names_the_roles_that_would_do() -> None:
    refused = refusal("Ana", "endpoint.sign_off", "production", None)
    assert refused.code == "not-allowed"
    assert "operator" in refused.remedy
    assert "in production" in refused.message
