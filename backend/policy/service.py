"""Commands on environments, their policies and freezes; joiners that tell other commands what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.access import requests
from backend.access.checks import require
from backend.core.canonical import digest
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit
from backend.policy import rules
from backend.policy.rows import Environment, Freeze, PolicyVersion, Ramp
from backend.policy.rules import Policy, Problem, RampStep, Stop
from backend.policy.templates import TEMPLATES


@dataclass(frozen=True)
class InForce:
    """A policy version: `<environment>@<version>` and its rules."""

    id: str
    policy: Policy


@dataclass(frozen=True)
class Saved:
    """A saved policy version with what its report found. `request_id`: nothing was saved, and `id` stays in force until a
    second person confirms that request.
    """

    id: str
    problems: tuple[Problem, ...]
    request_id: str | None = None


def in_force(session: Session, environment: str) -> InForce:
    """The environment's policy of this moment."""
    row = session.get(Environment, environment, populate_existing=True)
    if row is None:
        raise NotFound("environment", environment)
    return version(session, f"{environment}@{row.policy_version}")


def version(session: Session, policy_id: str) -> InForce:
    """One policy version by `<environment>@<version>`."""
    row = session.get(PolicyVersion, policy_id)
    if row is None:
        raise NotFound("policy", policy_id)
    return InForce(row.id, Policy.model_validate(row.rules))


def freeze_in_force(session: Session, environment: str) -> Stop | None:
    """The freeze that stops starts in this environment now, if any."""
    rows = session.exec(select(Freeze).where(col(Freeze.lifted_at).is_(None)).order_by(col(Freeze.set_at)))
    return rules.frozen((Stop(row.scope, row.reason) for row in rows), environment)


class Policies:
    """Commands on policies and freezes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seed(self) -> None:
        """Creates the built-in environments with their policies. An environment that exists is left as it is."""
        with self._database.unit(SYSTEM) as tx:
            for position, (name, policy) in enumerate(rules.BUILT_IN.items()):
                if tx.session.get(Environment, name) is None:
                    row = tx.add(Environment(id=name, position=position, policy_version=1))
                    tx.record("environment.create", row, after=row.facts("position", "policy_version"))
                    tx.session.flush()
                    _add_version(tx, name, 1, policy)

    def set_policy(self, actor: Actor, environment: str, policy: Policy | object) -> Saved:
        """A new version of an environment's policy, in force at once; what is under review has to be drawn anew.

        One that asks for less, where changes need approvals, becomes a request, which a second person has to confirm. Returns
        the version, or the request, with the report of unsatisfiable demands and of identities that could do everything alone.
        """
        parsed = policy if isinstance(policy, Policy) else rules.parse_policy(policy)
        with self._database.unit(actor) as tx:
            require(tx, actor, "policy.set", environment=environment)
            row = tx.get(Environment, environment, lock=True)
            rules.refuse_repeats(parsed)
            ramps = _demand_ramps(tx, parsed)
            old = version(tx.session, f"{environment}@{row.policy_version}")
            if rules.is_protected(old.policy) and (lacks := rules.weaker(old.policy, parsed)):
                what = {"environment": environment, "policy": parsed.to_json(), "weaker": list(lacks), "base": old.id}
                what["changes"] = [*rules.differences(old.policy, parsed), *_ramps_say(ramps)]
                what |= {"ramps": ramps} if ramps else {}
                return Saved(old.id, _report(tx, environment, parsed), requests.ask(tx, "policy.set", what).id)
            return _put_in_force(tx, row, parsed)

    def confirm_policy(self, actor: Actor, request_id: str, reason: str = "") -> Saved:
        """Puts the weaker policy in force that somebody else asked for.

        Refusal codes: own-request, settled, expired, stale-request (the policy, or a ramp that it asks for, is another by now).
        """
        with self._database.unit(actor) as tx:
            asked = requests.waiting(tx, request_id, "policy.set")
            require(tx, actor, "policy.set", environment=asked.what["environment"])
            row = tx.get(Environment, asked.what["environment"], lock=True)
            requests.confirm(tx, asked, "policy.set", reason)
            if asked.what["base"] != f"{row.id}@{row.policy_version}":
                raise Refusal("The policy is another by now.", "Refuse this, and ask for it again.", code="stale-request")
            wanted = rules.parse_policy(asked.what["policy"])
            if _demand_ramps(tx, wanted) != asked.what.get("ramps", {}):
                raise Refusal(
                    "A ramp that this policy asks for has other steps than when it was asked for.",
                    "Refuse this, look at the ramp, and ask for it again.",
                    code="stale-request",
                )
            return _put_in_force(tx, row, wanted, request_id=asked.id)

    def refuse_policy(self, actor: Actor, request_id: str, reason: str) -> None:
        """Refuses it, or takes it back."""
        with self._database.unit(actor) as tx:
            asked = requests.waiting(tx, request_id, "policy.set")
            require(tx, actor, "policy.set", environment=asked.what["environment"])
            requests.refuse(tx, asked, reason)

    def freeze(self, actor: Actor, scope: str, reason: str) -> Freeze:
        """Stops all starts in an environment, or everywhere (`*`); rollbacks stay possible."""
        _demand_reason(reason)
        with self._database.unit(actor) as tx:
            require(tx, actor, "freeze.set", environment=None if scope == "*" else scope)
            if scope != "*":
                tx.get(Environment, scope)
            row = tx.add(Freeze(id=tx.new_id("frz"), scope=scope, reason=reason, set_by=actor.id, set_at=tx.now))
            tx.record("freeze.set", row, after=row.facts("scope", "reason"))
            return row

    def lift(self, actor: Actor, freeze_id: str, reason: str) -> None:
        """Ends a freeze; what waited for it may start."""
        _demand_reason(reason)
        with self._database.unit(actor) as tx:
            row = tx.get(Freeze, freeze_id, lock=True)
            require(tx, actor, "freeze.lift", environment=None if row.scope == "*" else row.scope)
            if row.lifted_at is not None:
                return
            row.lifted_at, row.lifted_by = tx.now, actor.id
            tx.record("freeze.lift", row, after={"scope": row.scope, "reason": reason})


def protected(session: Session) -> frozenset[str]:
    """Environments whose changes need approvals."""
    query = select(Environment.id, PolicyVersion.rules).join(
        PolicyVersion, col(PolicyVersion.id) == col(Environment.id) + "@" + sa.cast(Environment.policy_version, sa.String)
    )
    return frozenset(name for name, told in session.exec(query) if rules.is_protected(Policy.model_validate(told)))


def _put_in_force(tx: Unit, row: Environment, policy: Policy, *, request_id: str | None = None) -> Saved:
    before = row.facts("policy_version")
    row.policy_version += 1
    saved = _add_version(tx, row.id, row.policy_version, policy)
    asked = {"request_id": request_id} if request_id is not None else {}
    tx.record("environment.set_policy", row, before=before, after={**row.facts("policy_version"), **asked})
    return Saved(saved.id, _report(tx, row.id, policy))


def _demand_ramps(tx: Unit, policy: Policy) -> dict[str, Any]:
    """The steps of the ramps that a policy asks for, locked: whoever confirms it agrees to just them. Refusal for one that is
    not there: no change could ever meet it.
    """
    for name in sorted(TEMPLATES.keys() & set(policy.ramp.named)):
        tx.alone(f"ramp/{name}")
    query = select(Ramp).where(col(Ramp.id).in_(policy.ramp.named)).order_by(Ramp.id).with_for_update()
    there = {name: [one.model_dump(mode="json") for one in TEMPLATES[name]] for name in policy.ramp.named if name in TEMPLATES}
    there |= {one.id: one.steps for one in tx.session.exec(query)} if policy.ramp.named else {}
    if missing := [name for name in policy.ramp.named if name not in there]:
        raise Refusal(
            f"The policy asks for the ramp {missing[0]}, which is not there.",
            f"Name it first: `countersign ramp set {missing[0]} 1:10m,25:1h`.",
            code="bad-policy",
        )
    return there


def _ramps_say(ramps: Mapping[str, Any]) -> list[str]:
    return [f"ramp {name}: {rules.steps_say([RampStep.model_validate(one) for one in told])}" for name, told in ramps.items()]


def _report(tx: Unit, environment: str, policy: Policy) -> tuple[Problem, ...]:
    return rules.report(policy, access.people(tx.session, now=tx.now, environment=environment))


def _demand_reason(reason: str) -> None:
    if not reason.strip():
        raise Refusal("A freeze needs a reason.", "Say in a sentence why.", code="no-reason")


def _add_version(tx: Unit, environment: str, number: int, policy: Policy) -> PolicyVersion:
    row = PolicyVersion(
        id=f"{environment}@{number}",
        environment=environment,
        version=number,
        rules=policy.to_json(),
        digest=digest(policy.to_json()),
        created_by=tx.actor.id,
        created_at=tx.now,
    )
    tx.record("policy.save", tx.add(row), after=row.facts("environment", "version", "digest"))
    return row
