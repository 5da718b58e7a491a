"""Environments: the policies that they ask for. Environments themselves are part of an installation, and made by nobody."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError
from sqlmodel import Session, col, select

from backend.blueprints.declared import Declared, faults_of
from backend.blueprints.kinds import Around, Draft, Hands, Kind, Outcome, Right, Run, State, Step, refused
from backend.blueprints.plan import changes_between
from backend.blueprints.specs import EnvironmentSpec
from backend.core.errors import Refusal
from backend.policy import queries, rules, service
from backend.policy.rows import Environment
from backend.policy.rules import Policy


class EnvironmentKind(Kind):
    """See `policy.service`. A weaker policy, where changes need approvals, becomes a request of a second person."""

    name: ClassVar[str] = "Environment"
    noun: ClassVar[str] = "environment"
    spec: ClassVar[type[BaseModel]] = EnvironmentSpec
    may_go: ClassVar[bool] = False

    def states(self, session: Session) -> Mapping[str, State]:
        """In promotion order."""
        found = {name: service.in_force(session, name) for name in queries.names(session)}
        return {name: State(name, {"policy": one.policy.to_json()}, one.id) for name, one in found.items()}

    def lock(self, session: Session, names: Collection[str]) -> None:
        """By name."""
        session.exec(select(Environment).where(col(Environment.id).in_(names)).order_by(Environment.id).with_for_update()).all()

    def compare(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """The policy in force, with what the file names put over it."""
        if state is None:
            known = ", ".join(around.states[self.name])
            raise Refusal(f"There is no environment {declared.name}.", f"The environments are {known}.", code="not-found")
        before = state.spec["policy"]
        given = (declared.spec or {}).get("policy", {})
        try:
            policy = Policy.model_validate(_over(before, given))
        except ValidationError as error:
            return refused(declared, state, faults_of(declared, ("policy",), error, Policy)[0])
        fields = changes_between({"policy": before}, {"policy": policy.to_json()})
        if not fields:
            return Draft(declared, exists=True, mark=state.mark)
        rules.refuse_repeats(policy)
        lacks = rules.weaker(Policy.model_validate(before), policy) if rules.is_protected(Policy.model_validate(before)) else ()
        step = Step(20, Right("policy.set", environment=declared.name), _setting(around, declared.name, policy))
        return Draft(declared, True, fields, (step,), tuple(f"It asks for less: {one}" for one in lacks), mark=state.mark)

    def removal(self, declared: Declared, state: State, around: Around) -> Step:
        """Refusal: `may_go` is False, so that nobody asks; environments come and go with migrations, not with files."""
        raise Refusal(
            f"The environment {declared.name} cannot be removed.", "Leave it, or take it out of the files.", code="managed"
        )


def _setting(around: Around, name: str, policy: Policy) -> Run:
    def run(hands: Hands) -> Outcome:
        saved = hands.policies.set_policy(around.actor, name, policy)
        return Outcome("request", saved.request_id) if saved.request_id is not None else Outcome()

    return run


def _over(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is named replaces what there is; groups of fields go into each other, lists are replaced whole."""
    found = dict(before)
    for name, value in given.items():
        inner = found.get(name)
        found[name] = _over(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found
