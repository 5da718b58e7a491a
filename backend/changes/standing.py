"""A change and all that bears on it, read in one go: what every command and the worker decide on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.access.queries import Person
from backend.changes.drawing import EndpointFacts, base_after
from backend.changes.rows import Change, Vote
from backend.changes.rules import Circumstances, Walk
from backend.delivery.base import base_digest, restored
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.rows import Authorization, Endpoint, Generation, Package
from backend.evidence import queries as evidence
from backend.evidence.rules import Outlook
from backend.experiments.designs import service as designs
from backend.findings import holds
from backend.policy import rules as policy_rules
from backend.policy import service as policy
from backend.policy.rules import Involved, Policy
from backend.registry.rows import Model, Version
from backend.rollouts import queries as rollouts
from backend.rollouts.rows import Rollout

_WALKS: Mapping[str, Walk] = {"complete": "complete", "aborted": "aborted", "rolled_back": "rolled_back"}


@dataclass(frozen=True)
class Other:
    """A rollout of another change that is under way on the same endpoint."""

    rollout: Rollout
    change_id: str
    number: int
    plan: Plan
    revoked: bool


@dataclass(frozen=True)
class Standing:
    """One change with its endpoint, its votes, its checks, and the rollouts there.

    Args:
        votes: those that count: not void, and bound to the present plan and base.
        people: requester, editors and voters by id, with the roles that count here and now.
        other: a rollout of another change that is under way on the endpoint.
        newest: the endpoint's newest generation; `back`: the one that goes back from this change.
        held: which findings keep it from starting, as a sentence; "" where none does.
        experiment: which experiment runs there that this change is no part of, as a sentence; "" for none.
    """

    change: Change
    endpoint: Endpoint
    plan: Plan
    policy: Policy
    policy_now: str
    votes: Sequence[Vote]
    people: Mapping[str, Person]
    author: str | None
    finisher: str | None
    outlook: Outlook
    authorization: Authorization | None
    own: Rollout | None
    other: Other | None
    newest: Generation | None
    back: Generation | None
    freeze: str
    held: str
    experiment: str
    now: datetime

    @property
    def involved(self) -> Involved:
        """Whose interest is in the change."""
        hands = Hands(self.change.requester_id, tuple(self.change.editors), self.author, self.finisher)
        return involved(hands, self.people, self.change.created_at)

    @property
    def approvers(self) -> list[Person]:
        """Who approves exactly this plan on exactly this base."""
        return [
            self.people[one.identity_id] for one in self.votes if one.verdict == "approve" and one.identity_id in self.people
        ]

    @property
    def lacks(self) -> tuple[str, ...]:
        """What is missing for its approval by people, as sentences."""
        return policy_rules.missing(self.policy, self.involved, self.approvers)

    @cached_property
    def circumstances(self) -> Circumstances:
        """All of it as the rules need it."""
        change, requester = self.change, self.people.get(self.change.requester_id)
        waits = self._waits()
        return Circumstances(
            state=change.state,
            now=self.now,
            decide_by=change.decide_by,
            requester_active=requester is not None and requester.active,
            policy=change.policy,
            policy_now=self.policy_now,
            moved=self._moved(),
            waits=waits,
            takes_over=bool(waits) and self._takes_over(),
            outlook=self.outlook,
            lacks=self.lacks,
            start_mode=change.start_mode,
            start_at=change.start_at,
            revoked=self.authorization is not None and self.authorization.revoked_at is not None,
            walk=_WALKS.get(self.own.state, "under_way") if self.own is not None else "none",
            walk_says=self.own.reason if self.own is not None else "",
            way_back=self._way_back(),
        )

    @property
    def drawn_on_what_is_to_come(self) -> str:
        """Where a rollout under way leads that the plan was drawn on, as a sentence; "" when it was drawn on what is live."""
        if self.other is None or self.change.base_digest == self.endpoint.base_digest:
            return ""
        if self.change.base_digest == _digest_after(self, back=True):
            return f"It is drawn on where the way back of change {self.other.number} leads."
        if self.change.base_digest == _digest_after(self, back=False):
            return f"It is drawn on where change {self.other.number}, which is under way, leads."
        return ""

    def _moved(self) -> str:
        """A rollout under way moves what is live itself: then a plan stands as long as it is drawn on one of its two ends.

        A server that was started anew has moved nothing: it is filled again with what it lost.
        """
        if self.change.base_digest in (self.endpoint.base_digest, self._restored):
            return ""
        if self.other is not None:
            if self.change.base_digest in (_digest_after(self, back=True), _digest_after(self, back=False)):
                return ""
            return f"Change {self.other.number} is under way and leads elsewhere than what this was drawn on."
        if not self._is_settled():
            return ""
        return f"What is live on {self.endpoint.name} is not what this was drawn on any more."

    @property
    def _restored(self) -> str | None:
        """Digest of what is live again once the server holds what it lost when it was started anew."""
        return base_digest(restored(self.endpoint.base)) if self.endpoint.base is not None else None

    def _is_settled(self) -> bool:
        """Whether what is seen is there to stay: nothing of ours is on its way. A hand-made change is there to stay."""
        proved = self.endpoint.proved_generation == self.endpoint.generation
        return proved and self.endpoint.state not in ("pushing", "partial", "unreachable", "stale")

    def _waits(self) -> str:
        endpoint = self.endpoint
        if self.freeze:
            return f"{endpoint.environment} is frozen: {self.freeze}"
        if self.held:
            return self.held
        if self.other is not None:
            return f"Waits for the rollout of change {self.other.number} on {endpoint.name}."
        if self.experiment:
            return self.experiment
        if endpoint.mode != "managed":
            return f"{endpoint.name} is only observed; its baseline has to be signed off."
        if endpoint.paused or endpoint.state == "fight":
            return f"{endpoint.name} is paused." if endpoint.paused else f"Somebody else keeps changing {endpoint.name}."
        if endpoint.state in ("stale", "unreachable"):
            return f"Nobody has seen {endpoint.name} lately: {endpoint.state_reason}"
        if endpoint.proved_generation != endpoint.generation:
            return f"Waits until generation {endpoint.generation} of {endpoint.name} is proved."
        if self.change.base_digest != endpoint.base_digest and endpoint.state == "in_sync":
            return f"What is live on {endpoint.name} is not what this was drawn on."
        if self.change.base_digest != endpoint.base_digest:
            return f"Waits until {endpoint.name} is in sync; it is {endpoint.state.replace('_', ' ')}."
        return ""

    def _takes_over(self) -> bool:
        """Whether ending the other rollout by its way back leads to what this was drawn on."""
        if self.other is None or self.freeze or self.held or not (self.change.supersede and self.policy.may_supersede):
            return False
        return self.change.base_digest == _digest_after(self, back=True)

    def _way_back(self) -> Literal["", "taken", "proved"]:
        """Nothing follows a way back before it is proved, so a later generation says that it was."""
        if self.back is None:
            return ""
        return "proved" if self.endpoint.proved_generation >= self.back.number else "taken"

    @property
    def is_live(self) -> bool:
        """Whether the endpoint's newest generation is this change's."""
        newest, own = self.newest, self.change.authorization_id
        return newest is not None and own is not None and newest.authorization_id == own


@dataclass(frozen=True)
class Hands:
    """Ids of whoever has a hand in a change: who asks for it, who edited it, who trained its version, who ended its upload."""

    requester: str
    editors: tuple[str, ...]
    author: str | None
    finisher: str | None

    @property
    def ids(self) -> set[str]:
        """All of them."""
        return {self.requester, *self.editors, *filter(None, (self.author, self.finisher))}


def involved(hands: Hands, people: Mapping[str, Person], since: datetime) -> Involved:
    """Whose interest is in a change that was asked for then; previews and votes judge by this one function."""

    def interests(ids: Sequence[str | None], moment: datetime | None) -> frozenset[str]:
        """Of a service that was handed over since then, its former owner's too: nobody approves what he asked for by it."""
        told = (people[one].interests_since(moment) if one in people else {one} for one in ids if one is not None)
        return frozenset[str]().union(*told)

    return Involved(
        requester=interests([hands.requester], since),
        editors=interests(hands.editors, since),
        author=interests([hands.author], None),
        finisher=interests([hands.finisher], None),
    )


def read(session: Session, change: Change, now: datetime) -> Standing:
    """A change as it stands now."""
    endpoint = session.get_one(Endpoint, change.endpoint_id)
    votes = _votes(session, change)
    author, finisher = authors(session, endpoint.model, int(change.wanted["version"]))
    ids = {change.requester_id, *change.editors, *(one.identity_id for one in votes), *filter(None, (author, finisher))}
    rules = policy.version(session, change.policy).policy
    authorization = session.get(Authorization, change.authorization_id) if change.authorization_id else None
    found = evidence.newest(session, change.id)
    stop = policy.freeze_in_force(session, endpoint.environment)
    in_force = policy.in_force(session, endpoint.environment)
    return Standing(
        change=change,
        endpoint=endpoint,
        plan=parse_plan(change.plan),
        policy=rules,
        policy_now=in_force.id,
        votes=votes,
        people=access.some_people(
            session, ids, now=now, environment=endpoint.environment, model=endpoint.model, endpoint=endpoint.name
        ),
        author=author,
        finisher=finisher,
        outlook=evidence.outlook_of(found, rules.gates, plan_digest=change.plan_digest, now=now),
        authorization=authorization,
        own=rollouts.of_authorization(session, authorization.id) if authorization is not None else None,
        other=other_on(session, endpoint.id, change.id),
        newest=rollouts.newest_generation(session, endpoint.id),
        back=_way_back_of(session, change),
        freeze=stop.reason if stop is not None else "",
        held=holds.blocking(session, endpoint, in_force.policy.findings),
        experiment=running_experiment(session, endpoint, parse_plan(change.plan)),
        now=now,
    )


def running_experiment(session: Session, endpoint: Endpoint, plan: Plan) -> str:
    """An experiment that runs on the endpoint and that a plan would end without a word, as a sentence; "" for none."""
    running = designs.running_on(session, endpoint.id)
    named = plan.comparison.experiment if plan.comparison is not None else None
    if running is None or running.slug == named:
        return ""
    return f"The experiment {running.slug} runs on {endpoint.name}; say what came of it first."


def other_on(session: Session, endpoint_id: str, change_id: str | None) -> Other | None:
    """The rollout that is under way on an endpoint, unless it is this change's own."""
    rollout = rollouts.open_on(session, endpoint_id)
    if rollout is None:
        return None
    authorization = session.get_one(Authorization, rollout.authorization_id)
    change = session.get(Change, authorization.change_id)
    if change is None or change.id == change_id:
        return None
    return Other(rollout, change.id, change.number, parse_plan(authorization.plan), authorization.revoked_at is not None)


def facts_of(session: Session, endpoint: Endpoint) -> EndpointFacts:
    """The endpoint as drawing needs it."""
    newest = rollouts.newest_generation(session, endpoint.id)
    desired = DesiredEndpoint.model_validate(newest.desired) if newest is not None else None
    digests = {arm.package_digest for arm in desired.known} if desired is not None else set()
    packages = session.exec(select(Package).where(col(Package.id).in_(digests)))
    return EndpointFacts(
        name=endpoint.name,
        environment=endpoint.environment,
        model=endpoint.model,
        served_name=endpoint.served_name,
        desired=desired,
        interfaces={row.id: row.interface_digest for row in packages},
    )


def _way_back_of(session: Session, change: Change) -> Generation | None:
    if change.authorization_id is None:
        return None
    query = select(Generation).where(Generation.authorization_id == change.authorization_id, Generation.reason == "rollback")
    return session.exec(query).first()


def _digest_after(at: Standing, *, back: bool) -> str | None:
    """Digest of the base that the other rollout leads to, or its way back; None without one."""
    if at.other is None:
        return None
    return base_digest(base_after(at.other.plan, routed=is_routed(at.endpoint), back=back))


def is_routed(endpoint: Endpoint) -> bool:
    """Whether a router splits its traffic as soon as something runs."""
    return endpoint.router_id is not None


def _votes(session: Session, change: Change) -> Sequence[Vote]:
    query = select(Vote).where(
        Vote.change_id == change.id,
        col(Vote.voided_at).is_(None),
        Vote.plan_digest == change.plan_digest,
        Vote.base_digest == change.base_digest,
    )
    return session.exec(query.order_by(col(Vote.at), col(Vote.id))).all()


def authors(session: Session, model: str, number: int) -> tuple[str | None, str | None]:
    """The identity that trained the version, as verified by our own sign-in, and whoever else brought its upload to an end.

    Where nobody is verified as the author, whoever registered the version is nobody with an interest in it.
    """
    query = select(Version.author_identity_id, Version.registered_by).join(Model)
    found = session.exec(query.where(Model.name == model, Version.number == number)).one_or_none()
    author, registered_by = found or (None, None)
    return author, registered_by if author not in (None, registered_by) else None
