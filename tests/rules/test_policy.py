"""Policies: who counts as an approver, whose interest is too close, and who is too powerful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.policy.guardrails import GuardrailAsked
from backend.policy.rules import (
    BUILT_IN,
    ApproverGroup,
    EscalationStep,
    FindingRule,
    GateRule,
    Involved,
    Policy,
    RampRule,
    Stop,
    check_start,
    conflict,
    differences,
    eligible,
    fewest_approvers,
    frozen,
    is_protected,
    missing,
    parse_policy,
    report,
    weaker,
)


@dataclass(frozen=True)
class Someone:
    """An identity as the rules need it."""

    id: str
    roles: frozenset[str] = frozenset({"reviewer"})
    kind: str = "person"
    active: bool = True
    owner: str = ""

    @property
    def name(self) -> str:
        return self.id

    @property
    def interests(self) -> frozenset[str]:
        return frozenset(one for one in (self.id, self.owner) if one)


PRODUCTION = BUILT_IN["production"]
ANA, BEN, CARLA = Someone("ana"), Someone("ben"), Someone("carla")


def _involved(**who: frozenset[str]) -> Involved:
    return Involved(**{"requester": frozenset({"ana"}), **who})


def test_the_built_in_policies_are_what_the_glossary_says() -> None:
    assert {name: policy.approvals_needed for name, policy in BUILT_IN.items()} == {"dev": 0, "staging": 0, "production": 1}
    assert PRODUCTION.excluded == ("requester", "editor", "author")


def test_one_other_person_approves_production() -> None:
    assert missing(PRODUCTION, _involved(), [BEN]) == ()
    assert missing(PRODUCTION, _involved(), [])


@pytest.mark.parametrize(
    ("voter", "involved", "says"),
    [
        (ANA, _involved(), "You requested"),
        (BEN, _involved(editors=frozenset({"ben"})), "You edited"),
        (BEN, _involved(author=frozenset({"ben"})), "You trained"),
        (BEN, _involved(requester=frozenset({"bot", "ben"})), "You or a service that you own requested"),
        (Someone("bot", owner="ana"), _involved(), "Your owner requested"),
    ],
)
def test_an_interest_in_the_change_cannot_approve_it(voter: Someone, involved: Involved, says: str) -> None:
    told = conflict(PRODUCTION, involved, voter)
    assert told.startswith(says)
    assert "ask another reviewer" in told
    assert missing(PRODUCTION, involved, [voter])


def test_others_have_no_conflict() -> None:
    assert conflict(PRODUCTION, _involved(editors=frozenset({"carla"})), BEN) == ""


@pytest.mark.parametrize(
    "voter",
    [
        Someone("x", roles=frozenset({"admin", "operator", "contributor", "auditor", "viewer"})),
        Someone("x", active=False),
        Someone("x", kind="service", owner="ben"),
        Someone("x", kind="system"),
    ],
)
def test_only_active_reviewing_people_count(voter: Someone) -> None:
    assert not eligible(PRODUCTION, voter)
    assert missing(PRODUCTION, _involved(), [voter])


def test_two_approvals_need_two_interests() -> None:
    two = PRODUCTION.model_copy(update={"approvals_needed": 2})
    assert missing(two, _involved(), [BEN, BEN])
    assert missing(two, _involved(), [BEN, CARLA]) == ()


def test_a_group_is_a_further_demand() -> None:
    policy = PRODUCTION.model_copy(update={"groups": (ApproverGroup(name="risk", needed=1, members=("carla",)),)})
    assert "risk" in missing(policy, _involved(), [BEN])[0]
    assert missing(policy, _involved(), [CARLA]) == ()


@given(st.lists(st.sampled_from([ANA, BEN, CARLA]), max_size=6), st.integers(0, 4))
def test_more_approvals_never_make_it_less_approved(voters: list[Someone], needed: int) -> None:
    policy = PRODUCTION.model_copy(update={"approvals_needed": needed})
    if not missing(policy, _involved(), voters):
        assert not missing(policy, _involved(), [*voters, BEN])
        assert len({one.id for one in voters} - {"ana"}) >= needed


@pytest.mark.parametrize(
    "content",
    [
        {"approvals_needed": -1}, {"approvals_needed": 1, "surprise": 1}, {"approvals_needed": 1, "start_modes": []},
        {"approvals_needed": 1, "approver_roles": ["root"]}, {"approvals_needed": "1"}, {}, "x", None,
        {"approvals_needed": 1, "gates": [{"gate": "../x"}]},
        {"approvals_needed": 1, "gates": [{"gate": "artifact"}, {"gate": "artifact", "weight": "inform"}]},
        {"approvals_needed": 1, "groups": [{"name": "risk", "needed": 1}, {"name": "risk", "needed": 2}]},
    ],
)  # fmt: skip
def test_a_policy_that_does_not_hold_together_is_refused(content: Any) -> None:
    with pytest.raises(Refusal) as refused:
        parse_policy(content)
    assert refused.value.code == "bad-policy"


@pytest.mark.parametrize("policy", BUILT_IN.values(), ids=list(BUILT_IN))
def test_a_policy_survives_json(policy: Policy) -> None:
    assert parse_policy(policy.to_json()) == policy


def test_a_policy_that_nobody_can_meet_is_reported() -> None:
    problems = report(PRODUCTION, [Someone("ana", roles=frozenset({"contributor"}))])
    assert [one.kind for one in problems] == ["unsatisfiable"]


def test_one_who_could_do_everything_is_reported() -> None:
    mighty = Someone("max", roles=frozenset({"contributor", "reviewer"}))
    lax = PRODUCTION.model_copy(update={"excluded": ()})
    assert ("alone", "max") in [(one.kind, one.identity_id) for one in report(lax, [mighty, BEN])]
    assert not [one for one in report(PRODUCTION, [mighty, BEN]) if one.kind == "alone"]


def test_an_owner_with_a_requesting_service_is_one_who_could_do_everything() -> None:
    bot = Someone("bot", roles=frozenset({"contributor"}), kind="service", owner="ben")
    lax = PRODUCTION.model_copy(update={"excluded": ()})
    assert {one.identity_id for one in report(lax, [bot, BEN]) if one.kind == "alone"} == {"bot"}
    assert not [one for one in report(PRODUCTION, [bot, BEN, CARLA]) if one.kind == "alone"]


def test_starting_otherwise_than_allowed_is_refused() -> None:
    policy = PRODUCTION.model_copy(update={"start_modes": ("by_hand",)})
    check_start(policy, "by_hand")
    with pytest.raises(Refusal, match="at once"):
        check_start(policy, "at_once")


def test_a_freeze_reaches_its_scope_and_the_global_one_is_named_first() -> None:
    here, everywhere = Stop("production", "audit"), Stop("*", "incident")
    assert frozen([here], "staging") is None
    assert frozen([here], "production") == here
    assert frozen([here, everywhere], "production") == everywhere


# -- weaker policies

ERRORS = GuardrailAsked(name="errors", kind="errors", margin=0.01)
LOOSER: dict[str, object] = {
    "approvals_needed": 1,
    "approver_roles": ("reviewer", "operator"),
    "groups": (),
    "excluded": ("requester",),
    "gates": (GateRule(gate="artifact", weight="inform"),),
    "decide_within_seconds": 8 * 86_400,
    "start_within_seconds": 2 * 86_400,
    "start_modes": ("by_hand", "at_once"),
    "may_supersede": True,
    "may_skip": True,
    "guardrails": (ERRORS.model_copy(update={"margin": 0.02}),),
    "repair": "report",
    "alias_repair": "report",
    "min_bake_seconds": 10,
    "ramp": RampRule(min_steps=1),
    "pickled": "flag",
    "findings": FindingRule(),
}
STRICT = Policy(
    approvals_needed=2,
    groups=(ApproverGroup(name="risk", needed=1, roles=("reviewer",)),),
    gates=(GateRule(gate="artifact", max_age_seconds=60),),
    start_modes=("by_hand",),
    min_bake_seconds=60,
    ramp=RampRule(min_steps=2),
    pickled="refuse",
    findings=FindingRule(block_promotion_at="warning"),
    guardrails=(ERRORS,),
)


@pytest.mark.parametrize("field", LOOSER)
def test_whatever_asks_for_less_is_said_field_by_field(field: str) -> None:
    other = STRICT.model_copy(update={field: LOOSER[field]})
    said = differences(STRICT, other)
    assert [one.partition(":")[0].partition(".")[0] for one in said] == ([field] if other != STRICT else [])
    assert all(" → " in one for one in said)
    assert differences(STRICT, STRICT) == ()


def test_checks_and_groups_are_told_one_by_one() -> None:
    other = STRICT.model_copy(update={"groups": (), "gates": (GateRule(gate="artifact", weight="inform"),)})
    assert differences(STRICT, other) == (
        "gates.artifact: weight must_pass, max_age_seconds 60 → weight inform, max_age_seconds none",
        "groups.risk: needed 1, roles reviewer, members none → none",
    )


@pytest.mark.parametrize("name", sorted(LOOSER))
def test_each_demand_that_is_lowered_makes_a_policy_weaker_and_raised_none(name: str) -> None:
    looser = STRICT.model_copy(update={name: LOOSER[name]})
    assert len(weaker(STRICT, looser)) == 1
    assert weaker(looser, STRICT) == ()
    assert weaker(STRICT, STRICT) == ()


LOUD = EscalationStep(after_seconds=900, tell="operators", raise_to="critical")
FINDINGS = FindingRule(block_promotion_at="warning", hold_rollout_at="warning", resume="person", escalation=(LOUD, LOUD))


@pytest.mark.parametrize(
    "looser",
    [
        {"block_promotion_at": "critical"}, {"block_promotion_at": None}, {"hold_rollout_at": "critical"},
        {"hold_rollout_at": None}, {"resume": "resolved"}, {"escalation": ()}, {"escalation": (LOUD,)},
        {"escalation": (LOUD.model_copy(update={"after_seconds": 901}),) * 2},
        {"escalation": (LOUD.model_copy(update={"tell": "admins"}),) * 2},
        {"escalation": (LOUD.model_copy(update={"at": "critical"}),) * 2},
        {"escalation": (LOUD.model_copy(update={"raise_to": None}),) * 2},
    ],
)  # fmt: skip
def test_whatever_findings_hold_up_less_or_call_fewer_people_makes_a_policy_weaker(looser: dict[str, Any]) -> None:
    old = STRICT.model_copy(update={"findings": FINDINGS})
    new = STRICT.model_copy(update={"findings": FINDINGS.model_copy(update=looser)})
    assert len(weaker(old, new)) == 1
    others = looser.get("escalation") and looser["escalation"][0].tell != LOUD.tell  # whom the old one called, it calls no more
    assert bool(weaker(new, old)) == bool(others)


@pytest.mark.parametrize(
    ("added", "is_weaker"),
    [
        (ApproverGroup(name="x", needed=1, members=("mallory",)), True),
        (ApproverGroup(name="x", needed=1, roles=("reviewer",)), True),
        (ApproverGroup(name="x", needed=1, members=("carla", "mallory")), True),
        (ApproverGroup(name="x", needed=1, members=("carla",)), False),
    ],
)
def test_another_group_makes_a_policy_weaker_where_it_admits_others(added: ApproverGroup, is_weaker: bool) -> None:
    """The approvals of its members count towards all that are needed, so that one of the old ones is done without."""
    old = Policy(
        approvals_needed=2, approver_roles=(), groups=(ApproverGroup(name="sec", needed=1, members=("carla", "dana")),)
    )
    new = old.model_copy(update={"groups": (*old.groups, added)})
    assert bool(weaker(old, new)) == is_weaker
    assert bool(weaker(new, old)), "a demand less"


@pytest.mark.parametrize(
    ("looser", "says"),
    [
        ({"kinds": ("drift",)}, "Fewer monitors are asked for."),
        ({"tested_within_seconds": 61 * 86_400}, "A test of the alarm counts for longer."),
    ],
)
def test_fewer_monitors_or_an_older_test_of_the_alarm_makes_a_policy_weaker(looser: dict[str, Any], says: str) -> None:
    new = STRICT.model_copy(update={"monitors": STRICT.monitors.model_copy(update=looser)})
    assert weaker(STRICT, new) == (says,)
    assert weaker(new, STRICT) == ()


def test_what_stands_twice_in_a_version_of_old_counts_twice_and_takes_two_to_mend() -> None:
    strict, lax = (ApproverGroup(name="risk", needed=1, members=(one,)) for one in ("carla", "ben"))
    old = PRODUCTION.model_copy(update={"groups": (strict, lax)})
    assert missing(old, _involved(), [BEN]) == ("1 more approval(s) of risk",)
    assert missing(old, _involved(), [BEN, CARLA]) == ()
    assert weaker(old, PRODUCTION.model_copy(update={"groups": (strict,)}))
    assert "A group of approvers or a check stood there twice." in weaker(old, old)
    (said,) = differences(PRODUCTION.model_copy(update={"groups": (strict,)}), old)
    assert "ben" in said


@pytest.mark.parametrize(("needed", "groups", "fewest"), [(0, (), 0), (2, (), 2), (0, (1,), 1), (1, (3, 2), 3), (2, (1, 1), 2)])
def test_approvals_by_groups_alone_are_approvals(needed: int, groups: tuple[int, ...], fewest: int) -> None:
    """One person counts for every group that admits him, so that the greatest demand says how many it takes."""
    asked = tuple(ApproverGroup(name=f"g{place}", needed=one) for place, one in enumerate(groups))
    policy = Policy(approvals_needed=needed, groups=asked)
    assert (fewest_approvers(policy), is_protected(policy)) == (fewest, fewest > 0)


def test_every_demand_of_a_policy_is_compared() -> None:
    left = set(Policy.model_fields) - set(LOOSER) - {"monitors"} - {"schema_number", "bake_seconds"}
    assert left == set(), "say in `weaker` whether it can ask for less"
