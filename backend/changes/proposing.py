"""Proposing a change, editing it, drawing it anew on what is live now, checking it again, and taking it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.checks import require
from backend.changes import compared, course, keys, standing
from backend.changes.course import demand_words
from backend.changes.desk import Desk, Material, demand_managed, named_endpoint, terms_of, with_steps
from backend.changes.drawing import EndpointFacts, base_after, draw
from backend.changes.rows import Change, Comment
from backend.changes.rules import CHANGE
from backend.changes.walk import Terms
from backend.changes.wanted import Wanted, parse_wanted
from backend.core import work
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal, StaleWrite
from backend.core.unit import Unit
from backend.delivery.base import base_digest, restored
from backend.delivery.plan import BUCKETS, Plan
from backend.delivery.rows import Endpoint
from backend.evidence import service as evidence
from backend.policy import service as policy
from backend.policy.guardrails import GuardrailAsked
from backend.policy.rules import Policy, RampStep, check_start

MAX_TITLE, MAX_TEXT = 200, 10_000
_TERMS = ("title", "reason", "start_mode", "start_at", "supersede")
_NUMBERS = 0x6368616E6765  # "change": the advisory lock on PostgreSQL under which numbers are given


class Proposals(Desk):
    """Commands that make a change and its plan."""

    def propose(
        self,
        actor: Actor,
        *,
        endpoint: str,
        version: int,
        title: str,
        reason: str,
        share: int = BUCKETS,
        ramp: Sequence[RampStep | Mapping[str, Any]] | str = (),
        bake_seconds: int | None = None,
        start_mode: str = "at_once",
        start_at: datetime | None = None,
        supersede: bool = False,
        shadow: str = "keep",
        experiment: str | None = None,
        unit_header: str | None = None,
        guardrails: Sequence[GuardrailAsked | Mapping[str, Any]] = (),
        same_age: bool = False,
        rest: Sequence[Mapping[str, Any]] = (),
        key: str | None = None,
        also: Callable[[Unit], object] | None = None,
    ) -> Change:
        """A new change: its plan is drawn on what is live, and its checks are asked for.

        Args:
            share: the version's final share in buckets out of 10,000.
            ramp: steps on the way, each {"share", "hold_seconds", "person"}, or the name of a ramp, whose steps it takes over.
            start_mode: `at_once`, `by_hand`, or `at_time` with `start_at`.
            supersede: whether it may take over a rollout under way, by that one's way back.
            shadow, experiment, unit_header, guardrails, same_age, rest: see `wanted.Wanted`.
            key: of the actor's own choice. The same request again under it returns the change that it made, as that is now;
                another request under it is refused (`key-used`).
            also: joined by the unit that writes the change, so that both are done or neither.
        """
        asked = {
            "version": version, "share": share, "ramp": ramp if isinstance(ramp, str) else tuple(ramp),
            "bake_seconds": bake_seconds, "shadow": shadow, "experiment": experiment, "unit_header": unit_header,
            "guardrails": tuple(guardrails), "same_age": same_age, "rest": tuple(rest),
        }  # fmt: skip
        wanted = self._wanted(actor, endpoint, asked)
        terms = (endpoint, title, reason, start_mode, start_at.isoformat() if start_at else None, supersede)
        told = wanted.to_json() | ({"ramp": ramp} if isinstance(ramp, str) else {})
        claim = keys.claimed(actor, key, [*terms, told])
        if (made := self._made_before(actor, claim)) is not None:
            return made
        material = self.material(actor, endpoint, wanted, "change.propose")
        with self._database.unit(actor) as tx:
            place, number = _place(tx, actor, endpoint, "change.propose"), _next_number(tx)
            if (made := keys.made_under(tx.session, claim)) is not None:
                return made
            change = Change(
                id=tx.new_id("chg"),
                number=number,
                endpoint_id=place.id,
                title=demand_words("a title", title, limit=MAX_TITLE),
                reason=demand_words("a reason", reason, limit=MAX_TEXT),
                requester_id=actor.id,
                state=CHANGE.initial,
                supersede=supersede,
                created_at=tx.now,
                **_start_terms(tx, place, start_mode, start_at, supersede),
                **_drawn(tx, place, wanted, material, supersede),
            )
            tx.add(change)
            tx.record("change.propose", change, after=change.facts("number", "endpoint_id", "plan_digest", "base_digest"))
            keys.keep(tx, claim, change)
            if also is not None:
                also(tx)
            _submit(tx, change)
            return change

    def edit(self, actor: Actor, ref: str | int, **given: Any) -> Change:
        """Changes what is asked for: any argument of `propose` but the endpoint. Votes and results of checks are void.

        The plan is drawn on what is live now; reviewers are shown what the edit changes.
        """
        told: dict[str, Any] = {key: given.pop(key) for key in _TERMS if key in given}
        name, before = self._asked(actor, ref)
        wanted = self._wanted(actor, name, {**before, **given}, "change.edit", course.missing(ref))
        material = self.material(actor, name, wanted, "change.edit")
        with self._database.unit(actor) as tx:
            change = course.stand(tx, ref).change
            place = _place(tx, actor, name, "change.edit")
            _refuse_edited(change, before)
            course.move(tx, change, "edit")
            _reword(tx, change, place, told)
            _note_editor(change, actor)
            _redraw(tx, change, place, wanted, material)
            evidence.void(tx, change.id, "The change was edited.")
            _submit(tx, change)
            return change

    def rebase(self, actor: Actor, ref: str | int) -> Change:
        """Draws a suspended change anew on what is live now. It returns to review without votes, and is checked anew.

        Whoever rebases a change whose requester was deactivated takes it over.
        """
        name, asked = self._asked(actor, ref)
        wanted = parse_wanted(asked)
        material = self.material(actor, name, wanted, "change.edit")
        with self._database.unit(actor) as tx:
            at = course.stand(tx, ref)
            _refuse_edited(at.change, asked)
            place = _place(tx, actor, name, "change.edit")
            course.move(tx, at.change, "rebase", "Drawn anew on what is live now.")
            _take_over_request(at, actor)
            _redraw(tx, at.change, place, wanted, material)
            evidence.void(tx, at.change.id, "The change was drawn anew.")
            _under_review(tx, at.change)
            return at.change

    def recheck(self, actor: Actor, ref: str | int) -> Change:
        """Runs every check again. Votes stay: neither the plan nor its base changes."""
        with self._database.unit(actor) as tx:
            at = course.stand(tx, ref)
            course.permit(tx, actor, "change.comment", at.endpoint, ref)
            if at.change.state != "checking":
                course.move(tx, at.change, "recheck")
                evidence.request(tx, at.change.id, at.plan, [rule.gate for rule in at.policy.gates])
                _under_review(tx, at.change)
            return at.change

    def withdraw(self, actor: Actor, ref: str | int, reason: str) -> Change:
        """Takes a change back before it starts."""
        with self._database.unit(actor) as tx:
            at = course.stand(tx, ref)
            course.permit(tx, actor, "change.withdraw", at.endpoint, ref)
            if at.change.state != "withdrawn":
                course.move(tx, at.change, "withdraw", demand_words("a reason", reason, limit=MAX_TEXT))
                work.wake(tx, "change", at.change.id)
            return at.change

    def comment(self, actor: Actor, ref: str | int, text: str) -> Comment:
        """Adds a remark to the discussion. The ledger names it and does not hold its words."""
        with self._database.unit(actor) as tx:
            change = course.find(tx.session, ref)
            place = tx.get(Endpoint, change.endpoint_id)
            course.permit(tx, actor, "change.comment", place, ref)
            row = Comment(
                id=tx.new_id("com"),
                change_id=change.id,
                identity_id=actor.id,
                text=demand_words("a text", text, limit=MAX_TEXT),
                at=tx.now,
            )
            tx.record("change.comment", tx.add(row), after={"comment_id": row.id})
            return row

    def _wanted(
        self,
        actor: Actor,
        endpoint: str,
        asked: Mapping[str, Any],
        action: str = "change.propose",
        missing: NotFound | None = None,
    ) -> Wanted:
        """What is asked for, with a ramp's name looked up for somebody who may propose there."""
        if not isinstance(asked.get("ramp"), str):
            return parse_wanted(asked)
        with self._database.read() as session:
            self._permit(session, actor, action, named_endpoint(session, endpoint), missing)
            return parse_wanted(with_steps(session, endpoint, asked))

    def _made_before(self, actor: Actor, claim: keys.Claim | None) -> Change | None:
        """Asked before anything is fetched; the unit that writes asks again."""
        with self._database.read() as session:
            if (made := keys.made_under(session, claim)) is not None:
                self._permit(session, actor, "change.propose", session.get_one(Endpoint, made.endpoint_id))
            return made

    def _asked(self, actor: Actor, ref: str | int) -> tuple[str, dict[str, Any]]:
        """The endpoint's name, and what a change asks for as it is stored, for somebody who may edit it."""
        with self._database.read() as session:
            change = course.find(session, ref)
            place = session.get_one(Endpoint, change.endpoint_id)
            self._permit(session, actor, "change.edit", place, course.missing(ref))
            return place.name, dict(change.wanted)


def _refuse_edited(change: Change, before: Mapping[str, Any]) -> None:
    """Nobody's edit is overwritten by somebody who did not see it."""
    if change.wanted != before:
        raise StaleWrite("change", str(change.number))


def _place(tx: Unit, actor: Actor, name: str, action: str) -> Endpoint:
    """The endpoint, locked and as it is now, for somebody who may do this there."""
    found = named_endpoint(tx.session, name)
    require(tx, actor, action, environment=found.environment, model=found.model, endpoint=found.name)
    demand_managed(found)
    tx.session.refresh(tx.get(Endpoint, found.id, lock=True))
    return found


def _start_terms(tx: Unit, place: Endpoint, mode: str, at: datetime | None, supersede: bool) -> dict[str, Any]:
    rules = policy.in_force(tx.session, place.environment).policy
    check_terms(rules, place.environment, tx.now, mode, at, supersede)
    return {"start_mode": mode, "start_at": at}


def check_terms(rules: Policy, environment: str, now: datetime, mode: str, at: datetime | None, supersede: bool) -> None:
    """Refusal for a way to start that is not possible. A time must come while an approval given today could still be used."""
    check_start(rules, mode)
    if supersede and not rules.may_supersede:
        raise Refusal(
            f"The policy of {environment} lets no change take over a rollout under way.",
            "Propose it without superseding; it then waits until that rollout is over.",
            code="policy",
        )
    if (mode == "at_time") != (at is not None):
        raise Refusal("Only a change that starts at a time has one.", "Give a time with `at_time`.", code="bad-start")
    if at is not None and (at.tzinfo is None or not now < at <= now + rules.start_within):
        latest = now + rules.start_within
        raise Refusal(
            "A change cannot be set to start at that time.",
            f"Choose one with a zone, from now on and until {latest:%Y-%m-%d %H:%M} UTC: so long is an approval good for.",
            code="bad-start",
        )


def _drawn(tx: Unit, place: Endpoint, wanted: Wanted, material: Material, supersede: bool) -> dict[str, Any]:
    """The columns of a change that say what it comes to, drawn under the policy that is in force."""
    rules = policy.in_force(tx.session, place.environment)
    base = base_for(tx.session, place, supersede and rules.policy.may_supersede)
    terms = terms_of(tx.session, rules)
    plan = drawn_with(wanted, base, standing.facts_of(tx.session, place), material, terms)
    view = compared.planned(plan, material.compared)
    compared.refuse_blind(view)
    return {
        "wanted": wanted.to_json(),
        "plan": plan.to_json(),
        "planned": view.to_json() if view is not None else None,
        "plan_digest": plan.digest(),
        "base": base,
        "base_digest": base_digest(base or {}),
        "policy": rules.id,
        "decide_by": tx.now + rules.policy.decide_within,
        "updated_at": tx.now,
    }


def drawn_with(wanted: Wanted, base: Mapping[str, Any] | None, facts: EndpointFacts, material: Material, terms: Terms) -> Plan:
    """The plan of what is wanted, with its comparison tuned to what was measured."""
    plan = draw(
        wanted, base, facts, material.version, material.package, terms, material.compared.comparison, others=material.others
    )
    return compared.tuned(plan, material.compared)


def base_for(session: Session, place: Endpoint, takes_over: bool) -> dict[str, Any] | None:
    """What the plan is drawn on: what is live, or where a rollout that is under way leads (its way back, to take it over).

    What a server lost when it was started anew is brought back, and counts as live.
    """
    other = standing.other_on(session, place.id, None)
    if place.base is None:
        return None
    if other is None:
        return restored(place.base)
    return base_after(other.plan, routed=standing.is_routed(place), back=takes_over or other.revoked)


def _redraw(tx: Unit, change: Change, place: Endpoint, wanted: Wanted, material: Material) -> None:
    drawn = _drawn(tx, place, wanted, material, change.supersede)
    before = change.facts("plan_digest", "base_digest", "policy")
    change.earlier_plan = change.plan
    for name, value in drawn.items():
        setattr(change, name, value)
    tx.record("change.draw", change, before=before, after=change.facts("plan_digest", "base_digest", "policy"))


def _reword(tx: Unit, change: Change, place: Endpoint, told: Mapping[str, Any]) -> None:
    if "title" in told:
        change.title = demand_words("a title", told["title"], limit=MAX_TITLE)
    if "reason" in told:
        change.reason = demand_words("a reason", told["reason"], limit=MAX_TEXT)
    change.supersede = bool(told.get("supersede", change.supersede))
    mode = told.get("start_mode", change.start_mode)
    at = told.get("start_at", change.start_at if mode == "at_time" else None)
    for name, value in _start_terms(tx, place, mode, at, change.supersede).items():
        setattr(change, name, value)


def _note_editor(change: Change, actor: Actor) -> None:
    if actor.id != change.requester_id and actor.id not in change.editors:
        change.editors = [*change.editors, actor.id]


def _take_over_request(at: standing.Standing, actor: Actor) -> None:
    change, requester = at.change, at.people.get(at.change.requester_id)
    if requester is None or not requester.active:
        change.editors = sorted({*change.editors, change.requester_id} - {actor.id})
        change.requester_id = actor.id
    _note_editor(change, actor)


def _submit(tx: Unit, change: Change) -> None:
    course.move(tx, change, "submit", plan_digest=change.plan_digest, base_digest=change.base_digest)
    _under_review(tx, change)


def _under_review(tx: Unit, change: Change) -> None:
    """As far as it goes by itself: without checks and approvals to wait for, it is approved at once."""
    tx.session.flush()
    course.go_on(tx, standing.read(tx.session, change, tx.now))
    work.wake(tx, "change", change.id)


def _next_number(tx: Unit) -> int:
    """The next number; on PostgreSQL those who propose at the same time take turns, SQLite has one writer anyway."""
    if tx.session.get_bind().dialect.name == "postgresql":
        tx.session.connection().execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _NUMBERS})
    newest = tx.session.exec(select(Change.number).order_by(col(Change.number).desc()).limit(1)).first()
    return (newest or 0) + 1
