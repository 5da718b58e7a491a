"""Joiners that move a change along: a transition with its ledger row and all that it brings about. They take the unit first.

Every unit takes its locks in one order: the change, the change whose rollout is in its way, their rollouts, the endpoint; work
items come last, when the unit is done. So no two units wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TypeVar

from sqlmodel import Session, col, select

from backend.access.checks import require
from backend.changes import standing
from backend.changes.rows import Change, Vote
from backend.changes.rules import CHANGE, Due, due
from backend.changes.standing import Standing
from backend.core.columns import Row
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit
from backend.delivery import admission
from backend.delivery.rows import Endpoint
from backend.evidence import service as evidence
from backend.rollouts.rows import Rollout

R = TypeVar("R", bound=Row)

POLL = timedelta(seconds=15)
APPLYING_POLL = timedelta(seconds=5)
OVER = ("rejected", "withdrawn", "expired", "superseded", "revoked", "suspended")
"""States in which no check is of any use any more."""
FORWARD = ("checked", "check_failed", "approve")
"""What a person's command may bring about beyond itself; the rest is for the worker, in its own name."""


def find(session: Session, ref: str | int) -> Change:
    """A change by its number or id. NotFound."""
    by_number = isinstance(ref, int) or ref.isdecimal()
    query = select(Change).where(Change.number == int(ref) if by_number else Change.id == str(ref))
    row = session.exec(query).one_or_none() if not by_number or int(ref) < 2**31 else None
    if row is None:
        raise missing(ref)
    return row


def missing(ref: str | int) -> NotFound:
    """That there is no such change: also the answer to whoever may not see it."""
    return NotFound("change", str(ref), "Give a change's number or its id.")


def permit(tx: Unit, actor: Actor, action: str, endpoint: Endpoint, ref: str | int) -> None:
    """Refusal unless the actor may do this to a change of this endpoint."""
    where = {"environment": endpoint.environment, "model": endpoint.model, "endpoint": endpoint.name}
    require(tx, actor, action, missing=missing(ref), **where)


def stand(tx: Unit, ref: str | int) -> Standing:
    """Locks a change and all that its moves may touch, and reads how it stands."""
    change = _lock(tx, Change, find(tx.session, ref).id)
    other = standing.other_on(tx.session, change.endpoint_id, change.id)
    if other is not None:
        _lock(tx, Change, other.change_id)
    query = select(Rollout.id).where(Rollout.endpoint_id == change.endpoint_id, col(Rollout.ended_at).is_(None))
    for rollout_id in sorted({*tx.session.exec(query), *_own_rollout(tx, change)}):
        _lock(tx, Rollout, rollout_id)
    _lock(tx, Endpoint, change.endpoint_id)
    return standing.read(tx.session, change, tx.now)


def move(tx: Unit, change: Change, event: str, reason: str = "", **facts: object) -> None:
    """One transition and its ledger row. An approval that is left without being used is revoked with it."""
    before, was = change.facts("state", "state_reason"), change.state
    change.state, change.state_reason = CHANGE.next(change.state, event), reason
    change.updated_at, change.revision = tx.now, change.revision + 1
    if change.state in ("done", "rolled_back", "failed", *OVER):
        change.finished_at = tx.now if change.state != "suspended" else None
    tx.record(f"change.{event}", change, before=before, after={**change.facts("state", "state_reason"), **facts})
    if was == "approved" and event != "start" and change.authorization_id is not None:
        admission.revoke(tx, change.authorization_id, reason or f"The change was to {event.replace('_', ' ')}.")
    if change.state in OVER:
        evidence.void(tx, change.id, f"The change is {change.state}.", unfinished_only=change.state != "suspended")
    if event in ("suspend", "edit", "rebase"):
        void_votes(tx, change, reason or "The plan was drawn anew.")


def say(tx: Unit, change: Change, reason: str | None) -> None:
    """What a change waits for; a ledger row only when that changed. None leaves what is said."""
    if reason is not None and change.state_reason != reason:
        before, change.state_reason = change.facts("state_reason"), reason
        tx.record("change.wait", change, before=before, after=change.facts("state", "state_reason"))


def void_votes(tx: Unit, change: Change, why: str) -> None:
    """Whoever voted has to look again."""
    query = select(Vote).where(Vote.change_id == change.id, col(Vote.voided_at).is_(None))
    rows = tx.session.exec(query).all()
    for row in rows:
        row.voided_at, row.void_reason = tx.now, why
    if rows:
        tx.record("change.void_votes", change, after={"votes": [row.id for row in rows], "reason": why})
        tx.session.flush()


def go_on(tx: Unit, at: Standing, *, events: Collection[str] = FORWARD) -> tuple[Standing, Due]:
    """Does whatever is due among these events, one after the other; returns how the change stands then, and what is due."""
    while True:
        next_due = due(at.circumstances, poll=POLL)
        if next_due.event is None:
            say(tx, at.change, next_due.reason)
            evidence.request(tx, at.change.id, at.plan, next_due.gates)
        if next_due.event is None or next_due.event not in events:
            return at, next_due
        if next_due.event == "approve":
            _authorize(tx, at)
        else:
            move(tx, at.change, next_due.event, next_due.reason or "")
        at = standing.read(tx.session, at.change, tx.now)


def _authorize(tx: Unit, at: Standing) -> None:
    """The approval becomes what delivery demands, with the votes that carried it."""
    change, counted = at.change, {one.id for one in at.approvers}
    start_by = tx.now + at.policy.start_within
    told = ("identity_id", "verdict", "plan_digest", "base_digest", "at")
    votes = [vote.facts(*told) for vote in at.votes if vote.identity_id in counted]
    row = admission.authorize(
        tx,
        endpoint_id=change.endpoint_id,
        change_id=change.id,
        plan=at.plan,
        base_digest=change.base_digest,
        votes=votes,
        start_by=start_by,
    )
    tx.session.flush()
    change.authorization_id, change.approved_at, change.decide_by = row.id, tx.now, start_by
    if change.start_mode == "by_hand":  # whoever starts it knows what was approved
        change.start_at = None
    move(tx, change, "approve", votes=len(votes), authorization_id=row.id, start_by=start_by.isoformat())


def demand_words(what: str, text: str, *, limit: int) -> str:
    """The text without blanks around it. Refusal when nothing is left or it is too long."""
    told = text.strip()
    if not told or len(told) > limit:
        raise Refusal(f"A change needs {what}.", f"Write {what} of at most {limit:,} characters.", code="no-reason")
    return told


def _own_rollout(tx: Unit, change: Change) -> list[str]:
    query = select(Rollout.id).where(Rollout.authorization_id == change.authorization_id)
    return list(tx.session.exec(query)) if change.authorization_id is not None else []


def _lock(tx: Unit, table: type[R], key: str) -> R:
    """The row's lock, with what it holds now and not what was read before it was locked."""
    row = tx.get(table, key, lock=True)
    tx.session.refresh(row)
    return row
