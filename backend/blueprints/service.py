"""Planning, applying and exporting declarations.

A plan is made by trying: every command that applying would call is called in one unit of work, which is then given up. So it
is told beforehand what is refused, and what waits for a second person, by the very rules that decide it. Applying does the same
and keeps it: all of it, or none. Only changes are proposed afterwards, each by itself: they read artifacts, which no unit does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, select

from backend.access import queries as access
from backend.access import rules as rights
from backend.access.checks import require_to_read
from backend.access.rows import Identity, Request
from backend.blueprints import declared as declarations
from backend.blueprints.declared import Declared
from backend.blueprints.endpoints import OPEN
from backend.blueprints.faults import Fault, Faulty, fault_of
from backend.blueprints.kinds import Around, Draft, Hands, Outcome, Right, State, Step, Told
from backend.blueprints.plan import Action, Applied, Done, How, ObjectPlan, Plan, plan_digest
from backend.blueprints.registry import KINDS
from backend.blueprints.specs import API_VERSION
from backend.blueprints.text import Source
from backend.changes.service import Changes
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import CountersignError, ExternalFailure, NotFound, Refusal
from backend.core.joined import Joined
from backend.core.unit import Unit
from backend.delivery.servers import Servers

MOST_WRITES = 500
"""Objects that one apply may write: they are written in one transaction, which everybody else waits for."""
READ = "policy.read"
_SPECS = {name: kind.spec for name, kind in KINDS.items()}


class _GivenUp(Exception):
    """Ends a unit of work whose writes were only tried."""


@dataclass(frozen=True)
class _Looked:
    """What was read, and how everything that is declared differs from it."""

    drafts: tuple[Draft, ...]
    states: Mapping[str, Mapping[str, State]]


class Blueprints:
    """Commands on declarations.

    Args:
        hands: the services, joined to one unit of work, on a database that stands for it.
        servers: the ordinary ones, which look addresses up.
        changes: what proposes.
    """

    def __init__(self, database: Database, hands: Callable[[Database], Hands], servers: Servers, changes: Changes) -> None:
        self._database = database
        self._hands = hands
        self._servers = servers
        self._changes = changes

    def plan(self, actor: Actor, sources: Sequence[Source], *, prune: bool = False, told: Told | None = None) -> Plan:
        """What applying these files would do, with what of it would be refused. Nothing is written.

        Args:
            prune: whether objects that the files declare as absent may be removed.
        """
        told = told or Told()
        self._permit(actor)
        declared = declarations.read(sources, _SPECS)
        looked = self._look(actor, declared, told)
        faults = self._beforehand(actor, looked, told, prune)
        outcomes: dict[tuple[str, str], tuple[Outcome, ...]] = {}
        waiting: frozenset[str] = frozenset()
        if not faults and any(one.steps for one in looked.drafts):
            with suppress(_GivenUp), self._database.unit(actor) as tx:
                waiting = _waiting(tx.session)
                outcomes, faults = self._carry_out(tx, self._again(tx, looked, told))
                raise _GivenUp
        return _plan(looked, outcomes, faults, waiting)

    def apply(
        self,
        actor: Actor,
        sources: Sequence[Source],
        *,
        plan: str | None = None,
        prune: bool = False,
        told: Told | None = None,
    ) -> Applied:
        """Makes it so. Without a plan's digest it is whatever is different now.

        Everything but changes is written in one unit of work, or none of it. Saying it again changes nothing.
        Refusal codes: bad-config, stale-plan, plan-refused with everything that is refused, credential-missing.
        """
        told = told or Told()
        self._permit(actor)
        declared = declarations.read(sources, _SPECS)
        looked = self._look(actor, declared, told)
        digest = _digest(looked.drafts)
        if plan is not None and plan != digest:
            raise _stale()
        _refuse(self._beforehand(actor, looked, told, prune))
        _refuse_unread(looked.drafts)
        outcomes: dict[tuple[str, str], tuple[Outcome, ...]] = {}
        waiting: frozenset[str] = frozenset()
        if any(one.steps for one in looked.drafts):
            with self._database.unit(actor) as tx:
                waiting = _waiting(tx.session)
                again = self._again(tx, looked, told)
                if _digest(again) != digest:
                    raise _stale()
                outcomes, faults = self._carry_out(tx, again)
                _refuse(faults)
                tx.record("config.apply", ("config", digest), after=_facts(looked.drafts))
        found = _plan(looked, outcomes, {}, waiting)
        return Applied(found, (*_done(found, outcomes), *self._propose(actor, looked.drafts, digest, told)))

    def export(self, actor: Actor, *, kinds: Collection[str] = (), names: Collection[str] = ()) -> tuple[dict[str, Any], ...]:
        """What is there as declarations, in one order: as far as the actor sees it, and without credentials.

        Args:
            kinds, names: only these; empty: all. NotFound for a kind, or a name, that is not there.
        """
        if unknown := [one for one in kinds if one not in KINDS]:
            known = f"The kinds are {', '.join(KINDS)}."
            raise NotFound("kind", unknown[0][:80], known)
        with self._database.read() as session:
            require_to_read(session, actor, READ, now=self._database.now(session))
            found: list[dict[str, Any]] = [
                {"apiVersion": API_VERSION, "kind": kind.name, "metadata": {"name": state.name}, "spec": state.spec}
                for kind in KINDS.values()
                if not kinds or kind.name in kinds
                for state in kind.states(session).values()
                if not names or state.name in names
            ]
        there = {str(one["metadata"]["name"]) for one in found}
        if missing := [one for one in names if one not in there]:
            raise NotFound("object", missing[0][:80], "Look at all of them: `countersign export`.")
        return tuple(found)

    def _permit(self, actor: Actor) -> None:
        """Asked before anything is read for the actor, files included."""
        with self._database.read() as session:
            require_to_read(session, actor, READ, now=self._database.now(session))

    def _look(self, actor: Actor, declared: Sequence[Declared], told: Told) -> _Looked:
        """What the actor sees, and the differences."""
        with self._database.read() as session:
            require_to_read(session, actor, READ, now=self._database.now(session))
            states = {name: kind.states(session) for name, kind in KINDS.items()}
            now = self._database.now(session)
            return _Looked(_compare(session, actor, declared, states, told, declared, now), states)

    def _again(self, tx: Unit, looked: _Looked, told: Told) -> tuple[Draft, ...]:
        """The same under locks, so that it stays so until the unit ends: of what will be written, as far as it was seen."""
        moving = [one.declared for one in looked.drafts if one.steps]
        states = {kind: dict(found) for kind, found in looked.states.items()}
        for kind, names in _by_kind(moving).items():
            KINDS[kind].lock(tx.session, names)
            fresh = KINDS[kind].states(tx.session)
            for name in names & looked.states[kind].keys():
                del states[kind][name]
                if name in fresh:
                    states[kind][name] = _as_shown(fresh[name], looked.states[kind][name])
        every = [one.declared for one in looked.drafts]
        again = {_key(one): one for one in _compare(tx.session, tx.actor, moving, states, told, every, tx.now)}
        return tuple(again.get(_key(one), one) for one in looked.drafts)

    def _beforehand(self, actor: Actor, looked: _Looked, told: Told, prune: bool) -> dict[tuple[str, str], Fault]:
        """What is refused before anything is locked: the file itself, rights, addresses, changes that cannot be proposed."""
        faults = {_key(one): one.refused for one in looked.drafts if one.refused is not None}
        writes = [one for one in looked.drafts if one.steps or one.proposal is not None]
        if len(writes) > MOST_WRITES:
            says = f"{len(writes):,} objects would be written at once; {MOST_WRITES} may be."
            faults[_key(writes[0])] = Fault(writes[0].declared.where, says, "Apply the files one after the other.", "too-large")
            return faults
        for draft in looked.drafts:
            if draft.declared.is_absent and draft.steps and not prune:
                says = f"{draft.declared.kind} {draft.declared.name} would be removed."
                faults[_key(draft)] = Fault(draft.declared.where, says, "Say so: `--prune`.", "prune")
        faults |= self._lacking(actor, [one for one in writes if _key(one) not in faults])
        for draft in writes:
            if _key(draft) not in faults and (fault := self._outside(actor, draft)) is not None:
                faults[_key(draft)] = fault
        return faults

    def _lacking(self, actor: Actor, drafts: Iterable[Draft]) -> dict[tuple[str, str], Fault]:
        """Whose rights do not reach, so that nobody holds locks for what is refused anyway."""
        faults: dict[tuple[str, str], Fault] = {}
        with self._database.read() as session:
            now, held = self._database.now(session), access.held(session, actor)
            identity = session.get(Identity, actor.id)
            name = actor.name if identity is None else identity.display_name or identity.name
            for draft in drafts:
                for right in dict.fromkeys(step.right for step in draft.steps):
                    if not _may(session, held, right, now):
                        refusal = rights.refusal(name, right.action, right.environment, right.model)
                        faults.setdefault(_key(draft), fault_of(draft.declared.where, refusal))
        return faults

    def _outside(self, actor: Actor, draft: Draft) -> Fault | None:
        """What has to be looked up outside any unit: names of hosts, and what a proposal would be drawn of."""
        try:
            if draft.address is not None:
                self._servers.check(draft.address.noun, draft.address.kind, draft.address.settings, draft.address.place)
            if draft.proposal is not None:
                self._changes.preview(actor, endpoint=draft.proposal.endpoint, **draft.proposal.asked)
        except Refusal as refusal:
            where = draft.declared.at("serving") if draft.address is None else draft.declared.at("settings")
            return fault_of(where, refusal)
        return None

    def _carry_out(
        self, tx: Unit, drafts: Sequence[Draft]
    ) -> tuple[dict[tuple[str, str], tuple[Outcome, ...]], dict[tuple[str, str], Fault]]:
        """Every step, in order; a refused one is told at its object and leaves no trace."""
        hands = self._hands(Joined(tx, self._database))
        outcomes: dict[tuple[str, str], tuple[Outcome, ...]] = {}
        faults: dict[tuple[str, str], Fault] = {}
        for draft, step in _in_order(drafts):
            key = _key(draft)
            if key in faults:
                continue
            try:
                with tx.attempt():
                    outcomes[key] = (*outcomes.get(key, ()), step.run(hands))
            except Refusal as refusal:
                faults[key] = fault_of(draft.declared.where, refusal)
        return outcomes, faults

    def _propose(self, actor: Actor, drafts: Sequence[Draft], digest: str, told: Told) -> Iterable[Done]:
        """Each change by itself, under a key of the plan, so that the same apply again proposes nothing twice."""
        for draft in drafts:
            proposal = draft.proposal
            if proposal is None:
                continue
            title = told.title or f"Version {proposal.asked['version']} on {proposal.endpoint}"
            key = f"config-{digest.removeprefix('sha256:')[:32]}-{proposal.endpoint}"
            says: dict[str, Any] = {"title": title, "reason": told.reason, "key": key}
            kind, name = _key(draft)
            try:
                made = self._changes.propose(actor, endpoint=proposal.endpoint, **proposal.asked, **says)
                over = None if made.state in OPEN else _over(draft, made.number, made.state)
                yield Done(kind, name, f"Change {made.number} is proposed ({made.state}).", change=made.number, refused=over)
            except CountersignError as error:
                yield Done(kind, name, "Its change could not be proposed.", refused=_late(draft, error))


def _compare(
    session: Session,
    actor: Actor,
    declared: Sequence[Declared],
    states: Mapping[str, Mapping[str, State]],
    told: Told,
    every: Sequence[Declared],
    now: datetime,
) -> tuple[Draft, ...]:
    around = Around(session, actor, told, now, states, {(one.kind, one.name): one for one in every})
    return tuple(KINDS[one.kind].draft(one, states[one.kind].get(one.name), around) for one in declared)


def _as_shown(now: State, shown: State) -> State:
    """What was not shown of an object, such as what a team owns, is not compared either."""
    hidden = now.parts - shown.spec.keys()
    spec = {key: value for key, value in now.spec.items() if key not in hidden}
    return State(now.name, spec, now.mark, now.facts)


def _by_kind(declared: Iterable[Declared]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in declared:
        found.setdefault(one.kind, set()).add(one.name)
    return found


def _may(session: Session, held: Sequence[rights.Grant], right: Right, now: datetime) -> bool:
    team = right.team or access.owner_among(session, held, endpoint=right.endpoint, model=right.model)
    return rights.may(held, right.action, now=now, environment=right.environment, model=right.model, team=team)


def _in_order(drafts: Iterable[Draft]) -> list[tuple[Draft, Step]]:
    pairs = [(draft, step) for draft in drafts for step in draft.steps]
    return sorted(pairs, key=lambda pair: pair[1].order)


def _waiting(session: Session) -> frozenset[str]:
    """Requests that wait already."""
    return frozenset(session.exec(select(Request.id).where(Request.state == "waiting")))


def _key(draft: Draft) -> tuple[str, str]:
    return draft.declared.kind, draft.declared.name


def _action(draft: Draft) -> Action:
    if draft.declared.is_absent:
        return "remove" if draft.steps else "none"
    if not draft.exists:
        return "create"
    if draft.steps or draft.proposal is not None or (draft.refused is not None and draft.fields):
        return "change"
    return "waits" if draft.waits else "none"


def _digest(drafts: Iterable[Draft]) -> str:
    """Of what is different, from which state, and what is asked for because of it."""
    told = [
        [
            *_key(one), _action(one), one.mark, [[each.field, each.old, each.new] for each in one.fields],
            [dict(one.proposal.asked), one.proposal.after] if one.proposal is not None else None,
        ]
        for one in sorted(drafts, key=_key)
        if _action(one) != "none"
    ]  # fmt: skip
    return plan_digest(told)


def _plan(
    looked: _Looked,
    outcomes: Mapping[tuple[str, str], tuple[Outcome, ...]],
    faults: Mapping[tuple[str, str], Fault],
    waiting: frozenset[str],
) -> Plan:
    objects = tuple(_object(one, outcomes.get(_key(one), ()), faults.get(_key(one)), waiting) for one in looked.drafts)
    declared = {_key(one) for one in looked.drafts}
    left = {
        kind: tuple(name for name in states if (kind, name) not in declared)
        for kind, states in looked.states.items()
        if any((kind, name) not in declared for name in states)
    }
    return Plan(objects, left, _digest(looked.drafts))


def _object(draft: Draft, outcomes: Sequence[Outcome], fault: Fault | None, waiting: frozenset[str]) -> ObjectPlan:
    hows: list[How] = [one.how for one in outcomes] + (["change"] if draft.proposal is not None else [])
    asked = [one for one in outcomes if one.reference in waiting]
    action = _action(draft)
    if outcomes and len(asked) == len(outcomes) and draft.proposal is None:
        action = "waits"
    notes = (*draft.notes, *draft.waits, *(f"The request {one.reference} waits already." for one in asked))
    kind, name = _key(draft)
    return ObjectPlan(
        kind, name, action, draft.fields, draft.declared.where, tuple(dict.fromkeys(hows)), notes, fault, draft.mark
    )


def _done(plan: Plan, outcomes: Mapping[tuple[str, str], tuple[Outcome, ...]]) -> Iterable[Done]:
    says = {"create": "Created.", "change": "Changed.", "remove": "Removed.", "waits": "It was asked for already.", "none": ""}
    for one in plan.objects:
        found = outcomes.get((one.kind, one.name), ())
        if any(each.how == "direct" for each in found):
            yield Done(one.kind, one.name, says[one.action])
        if any(each.how == "move" for each in found):
            yield Done(one.kind, one.name, f"A move waits for another person: `countersign {one.kind.lower()} confirm-move`.")
        for each in found:
            if each.how == "request":
                yield Done(
                    one.kind, one.name, f"The request {each.reference} waits for a second person.", request=each.reference
                )


def _over(draft: Draft, number: int, state: str) -> Fault:
    """The change that this very request led to before came to its end meanwhile."""
    says = f"Change {number} asked for this and is over ({state})."
    return Fault(draft.declared.at("serving"), says, "Plan the same files again.", "stale-plan")


def _late(draft: Draft, error: CountersignError) -> Fault:
    if isinstance(error, Refusal):
        return fault_of(draft.declared.where, error)
    retry = isinstance(error, ExternalFailure) and error.retryable
    remedy = "Apply the same files again." if retry else "Correct that system, then apply the same files again."
    return Fault(draft.declared.where, str(error), remedy, "external-failure")


def _facts(drafts: Sequence[Draft]) -> dict[str, Any]:
    """What the ledger says: which objects were written together. What became of each is told by its own rows."""
    return {"objects": [f"{kind}/{name}" for kind, name in (_key(one) for one in drafts if one.steps)]}


def _refuse(faults: Mapping[tuple[str, str], Fault]) -> None:
    if faults:
        raise Faulty(tuple(faults.values()), "plan-refused")


def _refuse_unread(drafts: Iterable[Draft]) -> None:
    unread = [one for one in drafts if one.lacks_credential]
    if unread:
        says = f"The credential of {unread[0].declared.name} was not read."
        remedy = "Set the variable or the file that it names."
        fault = Fault(unread[0].declared.at("credential"), says, remedy, "credential-missing")
        raise Faulty([fault], "credential-missing")


def _stale() -> Refusal:
    return Refusal(
        "Something moved since this was planned, or the files are others.", "Look at the plan again.", code="stale-plan"
    )
