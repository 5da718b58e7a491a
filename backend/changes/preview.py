"""What a proposal would come to: the plan that `propose` or `edit` would draw now, without writing or asking anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from backend.access import queries as access
from backend.changes import compared, course, difference, standing
from backend.changes.compared import Compared
from backend.changes.desk import Desk, beginning, demand_managed, design_for, named_endpoint, registered, terms_of, with_steps
from backend.changes.difference import Difference
from backend.changes.drawing import EndpointFacts, PackageFacts, VersionFacts, draw
from backend.changes.proposing import base_for, check_terms
from backend.changes.rows import Change
from backend.changes.wanted import Wanted, parse_wanted
from backend.core.context import Actor
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.rows import Endpoint, Server
from backend.experiments.designs.views import PlanView
from backend.policy import rules as policy_rules
from backend.policy import service as policy
from backend.policy.service import InForce

UNBUILT = "sha256:" + "0" * 64
"""Stands for the digest of a package that is built when the change is proposed."""

NOTHING: Mapping[str, Any] = {"arms": [], "champion": None}


@dataclass(frozen=True)
class Preview:
    """A plan as it would be drawn now.

    Args:
        changes: what it changes of what is live; `since_earlier`: of the plan of the change that is edited.
        drawn_on: where a rollout under way leads that it would be drawn on; "" when it is drawn on what is live.
        is_packaged: whether the version's package is there; else it is built when the change is proposed, and the digests of
            the plan are not known before.
        planned: what its comparison will be able to see; None where nothing is compared.
        lacks: what its approval would take, as sentences.
        waits: what it would have to wait for before it could start, as a sentence; "" for nothing.
    """

    plan: Plan
    base: Mapping[str, Any]
    changes: Difference
    since_earlier: Difference | None
    drawn_on: str
    policy: InForce
    planned: PlanView | None
    is_packaged: bool
    lacks: tuple[str, ...]
    waits: str


class Previews(Desk):
    """Looks at what could be proposed."""

    def preview(
        self,
        actor: Actor,
        *,
        endpoint: str,
        editing: int | None = None,
        start_mode: str = "at_once",
        start_at: datetime | None = None,
        supersede: bool = False,
        **asked: Any,
    ) -> Preview:
        """The plan of what is asked (`wanted.Wanted`), with the refusals of `propose`, but for those that reading the
        artifact again would find.

        Args:
            editing: number of the change that is edited by this, if one is.
        """
        with self._database.read() as session:
            place, now = named_endpoint(session, endpoint), self._database.now(session)
            gone = course.missing(editing) if editing is not None else None
            self._permit(session, actor, "change.edit" if editing else "change.propose", place, gone)
            demand_managed(place)
            wanted = parse_wanted(with_steps(session, endpoint, asked))
            rules = policy.in_force(session, place.environment)
            check_terms(rules.policy, place.environment, now, start_mode, start_at, supersede)
            guardrails = compared.guardrails_of(rules.policy, wanted)
            design = design_for(session, place, wanted)
        found = compared.compared(self._planner, endpoint, wanted, guardrails, design)
        with self._database.read() as session:
            place = named_endpoint(session, endpoint)
            return self._preview(session, actor, place, wanted, rules, supersede, editing, found)

    def _preview(
        self,
        session: Session,
        actor: Actor,
        place: Endpoint,
        wanted: Wanted,
        rules: InForce,
        supersede: bool,
        editing: int | None,
        found: Compared,
    ) -> Preview:
        change = course.find(session, editing) if editing is not None else None
        base = base_for(session, place, supersede and rules.policy.may_supersede)
        version = registered(session, place.model, wanted.version)
        facts = standing.facts_of(session, place)
        package = self._package(session, place, version, facts)
        others = [self._other(session, place, number, facts) for number in beginning(place, wanted)]
        plan = draw(wanted, base, facts, version, package, terms_of(session, rules), found.comparison, others=others)
        plan = compared.tuned(plan, found)
        view = compared.planned(plan, found)
        compared.refuse_blind(view)
        other = standing.other_on(session, place.id, change.id if change is not None else None)
        leads = f"It is drawn on where change {other.number}, which is under way, leads." if other is not None else ""
        return Preview(
            plan=plan,
            base=base or {},
            changes=difference.from_base(plan, base or NOTHING, salt=_salt(facts)),
            since_earlier=difference.from_plan(plan, parse_plan(change.plan)) if change is not None else None,
            drawn_on=leads,
            policy=rules,
            planned=view,
            is_packaged=package.digest != UNBUILT,
            lacks=_lacks(session, actor, place, rules, (change, wanted.version), self._database.now(session)),
            waits=f"Waits for the rollout of change {other.number}." if other is not None else _waits(session, place),
        )

    def _other(self, session: Session, place: Endpoint, number: int, facts: EndpointFacts) -> tuple[VersionFacts, PackageFacts]:
        version = registered(session, place.model, number)
        return version, self._package(session, place, version, facts)

    def _package(self, session: Session, place: Endpoint, version: VersionFacts, facts: EndpointFacts) -> PackageFacts:
        """The package that is there; else one whose interface is taken to be the one that runs."""
        kind = session.get_one(Server, place.server_id).kind
        if (loaded := self._loaded(session, place, version)) is not None:
            return loaded
        if (found := self._packaging.find(session, version.artifact_digest, kind)) is not None:
            return PackageFacts(found.id, found.interface_digest, found.probes)
        return PackageFacts(UNBUILT, next(iter(facts.interfaces.values()), UNBUILT))


def _salt(facts: EndpointFacts) -> str | None:
    """None while no unit is assigned to anything."""
    return (facts.desired.salt or None) if facts.desired is not None else None


def _lacks(
    session: Session, actor: Actor, place: Endpoint, rules: InForce, of: tuple[Change | None, int], now: datetime
) -> tuple[str, ...]:
    """What it would take; and that it cannot be had, where everybody who may approve has an interest in it, as votes judge.

    Args:
        of: the change that is edited, if one is, and the version that is asked for.
    """
    change, version = of
    where = {"environment": place.environment, "model": place.model, "endpoint": place.name}
    requester = change.requester_id if change is not None else actor.id
    editors = {*change.editors, actor.id} - {requester} if change is not None else ()
    hands = standing.Hands(requester, tuple(sorted(editors)), *standing.authors(session, place.model, version))
    people = access.some_people(session, hands.ids, now=now, **where)
    involved = standing.involved(hands, people, change.created_at if change is not None else now)
    never = policy_rules.missing(rules.policy, involved, access.people(session, now=now, **where))
    says = f"as things are it could never be approved: without those with an interest in it, it lacks {', '.join(never)}"
    return (*policy_rules.missing(rules.policy, involved, ()), *([says] if never else []))


def _waits(session: Session, place: Endpoint) -> str:
    stop = policy.freeze_in_force(session, place.environment)
    if stop is not None:
        return f"{place.environment} is frozen: {stop.reason}"
    return f"{place.name} is paused." if place.paused else ""
