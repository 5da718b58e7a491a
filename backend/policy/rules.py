"""Policies as values, and pure decisions on them: when is a plan approved, what may it look like, who is too powerful."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, Protocol, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from backend.access.rules import ACTIONS, Role
from backend.core import durations
from backend.core.errors import Refusal
from backend.policy.guardrails import GuardrailAsked, as_strict

StartMode = Literal["at_once", "by_hand", "at_time"]
Excluded = Literal["requester", "editor", "author"]
Seconds = Annotated[int, Field(ge=0, le=365 * 86_400, strict=True)]
DAY = 86_400
WHOLE = 10_000
"""All of an endpoint's traffic, in buckets."""


class Closed(BaseModel):
    """Immutable and closed: nobody can have agreed to a key that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ApproverGroup(Closed):
    """So many approvals from these people: by role, by name of identity id, or both (either admits)."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    needed: Annotated[int, Field(ge=1, le=10, strict=True)]
    roles: tuple[Role, ...] = ()
    members: tuple[str, ...] = ()

    def admits(self, voter: Party) -> bool:
        """Whether this person's approval counts for the group."""
        return voter.id in self.members or bool(voter.roles & set(self.roles))


class GateRule(Closed):
    """One gate that a policy asks for.

    `must_pass`: only a fresh pass lets on. `must_not_fail`: a failure blocks, a check that could not run is shown to the
    reviewers. `inform`: shown, never blocks. A gate that declares itself hard is `must_pass` whatever the policy says.
    """

    gate: Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")]
    weight: Literal["must_pass", "must_not_fail", "inform"] = "must_pass"
    max_age_seconds: Seconds | None = None


RampName = Annotated[str, Field(pattern=r"^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$")]


class RampRule(Closed):
    """The least that a plan's ramp must have. Shares in buckets out of 10,000.

    Args:
        named: ramps by name, of which one has to be walked; empty where any ramp will do that meets the rest.
    """

    min_steps: Annotated[int, Field(ge=0, le=50, strict=True)] = 0
    max_first_share: Annotated[int, Field(ge=1, le=WHOLE, strict=True)] = WHOLE
    min_hold_seconds: Seconds = 0
    named: tuple[RampName, ...] = ()


class RampStep(Closed):
    """One stop of a ramp, and what it takes to go on.

    Args:
        share: the version's, in buckets; 0 only of a step at which it gets copies.
        hold_seconds: how long it is held.
        min_units: units that the smallest arm needs, of those that entered at this step and are complete.
        statistics: `not_failed`: no guardrail failed and none is missing; `passed`: each is proved to be kept. Left out where
            a ramp says nothing: `not_failed`, and `passed` at its last step, if the plan has guardrails.
        person: whether a person lets it go on.
        shadow: the version gets copies and answers nobody at this step.
    """

    share: Annotated[int, Field(ge=0, lt=WHOLE, strict=True)]
    hold_seconds: Annotated[int, Field(ge=0, le=30 * DAY, strict=True)] = 0
    min_units: Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)] = 0
    statistics: Literal["not_failed", "passed"] | None = None
    person: Annotated[bool, Field(strict=True)] = False
    shadow: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _answers_or_shadows(self) -> Self:
        if self.shadow != (self.share == 0):
            raise ValueError("a step has a share, or is a shadow's with a share of 0")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was stored before there was such a gate says the same now."""
        told: dict[str, Any] = dump(self)
        return {name: one for name, one in told.items() if one or name not in ("min_units", "statistics", "shadow")}


Severity = Literal["info", "warning", "critical"]
"""Of a finding, from the least to the worst."""


class EscalationStep(Closed):
    """Who is told next when nobody acknowledged a finding in this time; it may become more severe by that.

    Args:
        after_seconds: since it was opened, opened again, or became worse.
        at: concerns findings of this severity and worse ones.
    """

    after_seconds: Annotated[int, Field(ge=60, le=30 * DAY, strict=True)]
    tell: Literal["owner", "operators", "admins"] = "operators"
    at: Severity = "warning"
    raise_to: Severity | None = None


class FindingRule(Closed):
    """What findings mean for an environment's endpoints while they are not over.

    Args:
        block_promotion_at: nothing starts at an endpoint with a finding of this severity or a worse one.
        hold_rollout_at: a rollout under way takes no further step.
        resume: whether such a rollout goes on when the findings are over, or is paused until a person resumes it.
        escalation: in the order in which they are taken.
    """

    block_promotion_at: Severity | None = None
    hold_rollout_at: Severity | None = None
    resume: Literal["resolved", "person"] = "resolved"
    escalation: Annotated[tuple[EscalationStep, ...], Field(max_length=8)] = ()


MonitorKind = Literal["drift", "data", "skew", "quality", "estimate"]


class MonitorRule(Closed):
    """What the check `monitors_armed` asks for, where it is one of the gates.

    Args:
        kinds: kinds of monitors that an endpoint must have, each looking.
        tested_within_seconds: how long a test of the alarm that reached somebody counts.
    """

    kinds: Annotated[tuple[MonitorKind, ...], Field(min_length=1, max_length=5)] = ("drift", "data")
    tested_within_seconds: Annotated[int, Field(ge=3_600, le=365 * DAY, strict=True)] = 30 * DAY


class Policy(Closed):
    """What it takes to change an endpoint of one environment.

    Args:
        approvals_needed: distinct interests that must approve.
        approver_roles: roles whose approval counts at all (with the groups' members).
        groups: further demands; one person's approval counts for each group that admits the person.
        excluded: who cannot approve because of what they did; owners of services count as their services.
        decide_within_seconds: a change that nobody decided expires after this.
        start_within_seconds: an approval may be used for this long.
        start_modes: how a requester may have an approved change start.
        may_supersede: whether a change may take over a rollout under way through its pre-approved rollback.
        may_skip: whether a person may have a rollout's steps skipped up to the next one after which a person looks.
        repair: whether a hand-made change at an endpoint is repaired or only reported.
        alias_repair: whether the environment's champion alias is put back when somebody moved it, or only reported.
        min_bake_seconds: how long the previous versions stay warm, at least.
        bake_seconds: how long they do when a change does not say (a default, no demand); never less than `min_bake_seconds`.
        findings: what problems that were found hold up, and who is told when nobody answers.
        monitors: which monitors the check `monitors_armed` asks for.
        guardrails: what every ramp there has to keep; a proposal may ask for more.
    """

    schema_number: Literal[1] = Field(default=1, alias="schema")
    approvals_needed: Annotated[int, Field(ge=0, le=10, strict=True)]
    approver_roles: tuple[Role, ...] = ("reviewer",)
    groups: tuple[ApproverGroup, ...] = ()
    excluded: tuple[Excluded, ...] = ("requester", "editor", "author")
    gates: tuple[GateRule, ...] = ()
    decide_within_seconds: Seconds = 7 * DAY
    start_within_seconds: Seconds = DAY
    start_modes: Annotated[tuple[StartMode, ...], Field(min_length=1)] = ("at_once", "by_hand", "at_time")
    may_supersede: bool = False
    may_skip: bool = False
    repair: Literal["repair", "report"] = "repair"
    alias_repair: Literal["repair", "report"] = "repair"
    min_bake_seconds: Seconds = 0
    bake_seconds: Seconds = 0
    ramp: RampRule = RampRule()
    pickled: Literal["refuse", "flag"] = "flag"
    findings: FindingRule = FindingRule()
    monitors: MonitorRule = MonitorRule()
    guardrails: Annotated[tuple[GuardrailAsked, ...], Field(max_length=20)] = ()

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    def to_json(self) -> dict[str, Any]:
        """JSON-able form; its canonical bytes are what is digested."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def decide_within(self) -> timedelta:
        """Time for a decision."""
        return timedelta(seconds=self.decide_within_seconds)

    @property
    def start_within(self) -> timedelta:
        """Time for a start after the approval."""
        return timedelta(seconds=self.start_within_seconds)

    @property
    def usual_bake_seconds(self) -> int:
        """How long previous versions stay warm when a change does not say."""
        return max(self.bake_seconds, self.min_bake_seconds)


def is_protected(policy: Policy) -> bool:
    """Whether changes need approvals, so that it also takes two people to widen a right there or to ask for less."""
    return fewest_approvers(policy) > 0


def fewest_approvers(policy: Policy) -> int:
    """How many different people a change takes at the least: each counts for every group that admits them."""
    return max((policy.approvals_needed, *(one.needed for one in policy.groups)))


def refuse_repeats(policy: Policy) -> None:
    """Refusal where a group of approvers or a check stands twice: people would read one of them, and not know of the other.

    Not a validator of `Policy`, as versions of old that are kept have to be read.
    """
    named = (
        ("groups", "name", [one.name for one in policy.groups]),
        ("gates", "gate", [one.gate for one in policy.gates]),
        ("guardrails", "name", [one.name for one in policy.guardrails]),
    )
    for field, key, names in named:
        for position, name in enumerate(names):
            if name in names[:position]:
                raise _bad_policy(f"{field}.{position}.{key}", f"{name} stands there twice")


def weaker(old: Policy, new: Policy) -> tuple[str, ...]:
    """In what the new policy asks for less than the old one, as sentences; empty when it asks for as much everywhere.

    `bake_seconds` is no demand: a change may say less, down to `min_bake_seconds`.
    """
    says = (
        (_has_repeats(old), "A group of approvers or a check stood there twice."),
        (new.approvals_needed < old.approvals_needed, f"{new.approvals_needed} approval(s) instead of {old.approvals_needed}."),
        (bool(set(new.approver_roles) - set(old.approver_roles)), "More roles may approve."),
        (not all(_as_strict(one, new.groups) for one in old.groups), "A group of approvers is asked for less."),
        (any(_admits_more(one, old) for one in new.groups), "More people may approve by a group."),
        (bool(set(old.excluded) - set(new.excluded)), "Fewer people are kept from approving."),
        (not all(_as_sure(one, new.gates) for one in old.gates), "A check is left out or weighs less."),
        (new.decide_within_seconds > old.decide_within_seconds, "A change may wait longer for its decision."),
        (new.start_within_seconds > old.start_within_seconds, "An approval may be used for longer."),
        (bool(set(new.start_modes) - set(old.start_modes)), "A change may start in more ways."),
        (new.may_supersede and not old.may_supersede, "A change may take over a rollout."),
        (new.may_skip and not old.may_skip, "A rollout's steps may be skipped."),
        ((new.repair, old.repair) == ("report", "repair"), "What was changed by hand is only reported."),
        ((new.alias_repair, old.alias_repair) == ("report", "repair"), "An alias that was moved by hand is only reported."),
        (new.min_bake_seconds < old.min_bake_seconds, "The previous version need not stay warm for as long."),
        (_is_laxer(old.ramp, new.ramp), "A ramp may be steeper."),
        ((new.pickled, old.pickled) == ("flag", "refuse"), "Pickled code is let through."),
        (
            _is_later(old.findings.block_promotion_at, new.findings.block_promotion_at),
            "Fewer findings keep a change from starting.",
        ),
        (_is_later(old.findings.hold_rollout_at, new.findings.hold_rollout_at), "Fewer findings hold a rollout."),
        (
            (new.findings.resume, old.findings.resume) == ("resolved", "person"),
            "A rollout that was held goes on without a person.",
        ),
        (
            not _as_loud(old.findings.escalation, new.findings.escalation),
            "Fewer people, or people later, hear of what nobody answers.",
        ),
        (not set(old.monitors.kinds) <= set(new.monitors.kinds), "Fewer monitors are asked for."),
        (
            not all(any(as_strict(one, other) for other in new.guardrails) for one in old.guardrails),
            "A guardrail is left out or tolerates more.",
        ),
        (
            new.monitors.tested_within_seconds > old.monitors.tested_within_seconds,
            "A test of the alarm counts for longer.",
        ),
    )
    return tuple(sentence for holds, sentence in says if holds)


def differences(old: Policy, new: Policy) -> tuple[str, ...]:
    """What differs, field by field, in the words of the file: `approvals_needed: 1 → 0`; checks and groups one by one."""
    was, will = _flat(old), _flat(new)
    names = (one for one in (*was, *(key for key in will if key not in was)) if was.get(one, _LACKS) != will.get(one, _LACKS))
    return tuple(f"{one}: {was.get(one, _LACKS)} → {will.get(one, _LACKS)}" for one in names)


def between(steps: Sequence[RampStep], now: int, final: int) -> tuple[RampStep, ...]:
    """The steps that lie on the way from a share to another, in buckets; copies only before there is any."""
    return tuple(one for one in steps if now < one.share < final or (one.shadow and not now and final))


def steps_say(steps: Sequence[RampStep]) -> str:
    """The steps of a ramp as a person confirms them: `1 % for 10m, then a person; 25 % for 1h`."""
    return "; ".join(_step_says(one) for one in steps)


def _step_says(one: RampStep) -> str:
    what = "copies" if one.shadow else f"{one.share / 100:g} %"
    asked = (
        f", then {one.min_units:,} units" if one.min_units else "",
        ", then guardrails proved" if one.statistics == "passed" else "",
        ", then a person" if one.person else "",
    )
    return f"{what} for {durations.written(one.hold_seconds)}{''.join(asked)}"


_LACKS = "none"


def _flat(policy: Policy) -> dict[str, str]:
    """Field -> what it says, a line each."""
    told = policy.to_json()
    for field, key in (("gates", "gate"), ("groups", "name"), ("guardrails", "name")):
        for position, one in enumerate(told.pop(field), start=1):
            line = f"{field}.{one[key]}"
            line = f"{line} ({position})" if line in told else line  # twice in versions of old
            told[line] = {name: one[name] for name in one if name != key}
    for field in ("ramp", "findings", "monitors"):
        told |= {f"{field}.{name}": value for name, value in told.pop(field).items()}
    return {name: _in_words(value) for name, value in told.items()}


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return " or ".join(_in_words(one) for one in value) or _LACKS
    return _LACKS if value is None else str(value)


def _has_repeats(policy: Policy) -> bool:
    try:
        refuse_repeats(policy)
    except Refusal:
        return True
    return False


def _as_strict(old: ApproverGroup, groups: Sequence[ApproverGroup]) -> bool:
    return any(
        one.needed >= old.needed and set(one.roles) <= set(old.roles) and set(one.members) <= set(old.members) for one in groups
    )


def _admits_more(group: ApproverGroup, old: Policy) -> bool:
    """Whether a group lets somebody approve whom neither a role nor a group of the old policy did: approvals by its members
    count towards all that are needed.
    """
    roles = {*old.approver_roles, *(role for one in old.groups for role in one.roles)}
    members = {name for one in old.groups for name in one.members}
    return not (set(group.roles) <= roles and set(group.members) <= members)


def _as_sure(old: GateRule, gates: Sequence[GateRule]) -> bool:
    order = ("inform", "must_not_fail", "must_pass")
    return any(
        one.gate == old.gate
        and order.index(one.weight) >= order.index(old.weight)
        and (old.max_age_seconds is None or (one.max_age_seconds is not None and one.max_age_seconds <= old.max_age_seconds))
        for one in gates
    )


def _is_laxer(old: RampRule, new: RampRule) -> bool:
    return (
        new.min_steps < old.min_steps
        or new.max_first_share > old.max_first_share
        or new.min_hold_seconds < old.min_hold_seconds
        or (bool(old.named) and (not new.named or bool(set(new.named) - set(old.named))))
    )


def _is_later(old: Severity | None, new: Severity | None) -> bool:
    """Whether it now takes something worse, or is not asked any more."""
    order = get_args(Severity)
    return old is not None and (new is None or order.index(new) > order.index(old))


def _as_loud(old: Sequence[EscalationStep], new: Sequence[EscalationStep]) -> bool:
    """Whether as many steps are left, and each old one has a new one that tells the same people as early, of as much."""
    return len(new) >= len(old) and all(any(_covers(one, step) for one in new) for step in old)


def _covers(one: EscalationStep, step: EscalationStep) -> bool:
    raises = step.raise_to is None or (one.raise_to is not None and not _is_later(one.raise_to, step.raise_to))
    told = one.tell == step.tell and one.after_seconds <= step.after_seconds
    return told and not _is_later(step.at, one.at) and raises


BUILT_IN: dict[str, Policy] = {
    "dev": Policy(approvals_needed=0, gates=(GateRule(gate="preflight"),), may_supersede=True),
    "staging": Policy(approvals_needed=0, gates=(GateRule(gate="artifact"), GateRule(gate="preflight")), may_supersede=True),
    "production": Policy(
        approvals_needed=1,
        gates=(
            GateRule(gate="artifact"),
            GateRule(gate="preflight"),
            GateRule(gate="recorded_answers", weight="must_not_fail"),
        ),
        may_supersede=True,
        bake_seconds=1_800,
    ),
}
"""Environment -> the policy that it begins with, in promotion order."""


def parse_policy(content: object) -> Policy:
    """A policy from outside. Refusal names the first field that is wrong."""
    try:
        policy = Policy.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _bad_policy(".".join(str(part) for part in first["loc"]) or "policy", first["msg"]) from error
    refuse_repeats(policy)
    return policy


def _bad_policy(field: str, fault: str) -> Refusal:
    return Refusal(
        f"The policy does not hold together: {field}: {fault}.",
        "Correct that field and save it again.",
        code="bad-policy",
        field=field,
    )


class Party(Protocol):
    """An identity as these rules need it; `access.queries.Person` is one."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def active(self) -> bool: ...
    @property
    def roles(self) -> frozenset[str]: ...
    @property
    def interests(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class Involved:
    """Who had a hand in a change, each as the set of ids that are one interest."""

    requester: frozenset[str]
    editors: frozenset[str] = frozenset()
    author: frozenset[str] = frozenset()
    """The run's author as verified by our own sign-in; empty where it is only claimed."""
    finisher: frozenset[str] = frozenset()
    """Who brought that author's upload to its end, where it was somebody else: an interest like the author's."""


def conflict(policy: Policy, involved: Involved, voter: Party) -> str:
    """Why this person's interest is too close to the change to approve it, as a sentence; "" when it is not."""
    told: tuple[tuple[Excluded, frozenset[str], str], ...] = (
        ("requester", involved.requester, "You requested this change; ask another reviewer."),
        ("editor", involved.editors, "You edited this change; ask another reviewer."),
        ("author", involved.author, "You trained this version; ask another reviewer."),
        ("author", involved.finisher, "You brought the upload of this version to its end; ask another reviewer."),
    )
    for part, interest, sentence in told:
        if part in policy.excluded and voter.interests & interest:
            return sentence.replace("You ", _who(voter, interest), 1)
    return ""


def _who(voter: Party, interest: frozenset[str]) -> str:
    if voter.id not in interest:
        return "Your owner "
    return "You " if interest == {voter.id} else "You or a service that you own "


def eligible(policy: Policy, voter: Party) -> bool:
    """Whether a person's approval counts under this policy, leaving aside what they had to do with the change."""
    by_role = bool(voter.roles & set(policy.approver_roles))
    return voter.active and voter.kind == "person" and (by_role or any(one.admits(voter) for one in policy.groups))


def missing(policy: Policy, involved: Involved, approvers: Iterable[Party]) -> tuple[str, ...]:
    """What still lacks before a plan is approved, as sentences; empty when it is approved.

    Approvals of people who are no longer eligible, or whose interest is in the change, do not count.
    """
    counted = [one for one in approvers if eligible(policy, one) and not conflict(policy, involved, one)]
    lacks = []
    if (had := _interests(counted)) < policy.approvals_needed:
        lacks.append(f"{policy.approvals_needed - had} more approval(s) of {' or '.join(policy.approver_roles)}")
    by_group = [(one, _interests([voter for voter in counted if one.admits(voter)])) for one in policy.groups]
    lacks += [f"{one.needed - had} more approval(s) of {one.name}" for one, had in by_group if had < one.needed]
    return tuple(lacks)


def _interests(parties: Sequence[Party]) -> int:
    """Number of distinct interests: parties that share an id, directly or through others, count once."""
    merged: list[frozenset[str]] = []
    for party in parties:
        touching = [one for one in merged if one & party.interests]
        merged = [one for one in merged if one not in touching]
        merged.append(party.interests.union(*touching))
    return len(merged)


def check_start(policy: Policy, mode: str) -> None:
    """Refusal when the policy does not allow this way of starting."""
    if mode not in policy.start_modes:
        raise Refusal(
            f"The policy does not allow a change to start {mode.replace('_', ' ')}.",
            f"Choose {' or '.join(one.replace('_', ' ') for one in policy.start_modes)}.",
            code="policy",
        )


@dataclass(frozen=True)
class Problem:
    """Something that the report on a policy found. `identity_id` is set for one that could do everything alone."""

    kind: Literal["unsatisfiable", "alone"]
    says: str
    identity_id: str | None = None


def report(policy: Policy, people: Sequence[Party]) -> tuple[Problem, ...]:
    """Unsatisfiable demands, and single identities that could request, approve and apply; shown when a policy is saved.

    Args:
        people: everyone, with the roles that count in the policy's environment.
    """
    active = [one for one in people if one.active]
    requesters = [one for one in active if one.roles & ACTIONS["change.propose"]]
    problems: list[Problem] = []
    if not requesters:
        problems.append(Problem("unsatisfiable", "Nobody may propose a change here; grant somebody the role contributor."))
    for one in requesters:
        problems += _stuck(policy, one, active)
        problems += _alone(policy, one, active)
    return tuple(problems)


def _stuck(policy: Policy, requester: Party, people: Sequence[Party]) -> list[Problem]:
    lacks = missing(policy, Involved(requester=requester.interests), people)
    says = f"A change that {requester.name} requests can never be approved: it would lack {', '.join(lacks)}."
    return [Problem("unsatisfiable", says, requester.id)] if lacks else []


def _alone(policy: Policy, requester: Party, people: Sequence[Party]) -> list[Problem]:
    """Together with the services and the owner that are the same interest, because one person can act as all of them."""
    own = [one for one in people if one.interests & requester.interests]
    applies = "at_once" in policy.start_modes or any(one.roles & ACTIONS["change.start"] for one in own)
    if missing(policy, Involved(requester=requester.interests), own) or not applies:
        return []
    return [Problem("alone", f"{requester.name} could request, approve and apply a change alone.", requester.id)]


@dataclass(frozen=True)
class Stop:
    """A freeze in force."""

    scope: str
    reason: str


def frozen(stops: Iterable[Stop], environment: str) -> Stop | None:
    """The freeze that stops starts in this environment, the global one first; None when nothing does."""
    reaching = [one for one in stops if one.scope in ("*", environment)]
    return min(reaching, key=lambda one: one.scope != "*", default=None)
