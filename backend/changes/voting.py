"""Votes: approve or reject, by one identity, on exactly one plan and one base."""

from __future__ import annotations

from typing import Literal

from backend.access import queries as access
from backend.access.queries import Person
from backend.changes import course, standing
from backend.changes.desk import Desk
from backend.changes.rows import Change, Vote
from backend.changes.rules import CHANGE
from backend.changes.standing import Standing
from backend.core import work
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.policy.rules import conflict, eligible

Verdict = Literal["approve", "reject"]
MAX_COMMENT = 10_000


class Votes(Desk):
    """Commands of reviewers."""

    def approve(self, actor: Actor, ref: str | int, plan_digest: str, base_digest: str, comment: str = "") -> Change:
        """Approves the plan on the base that the voter saw. Approving the same again changes nothing.

        With the last vote that was missing the change is approved, and delivery gets its authorization. Refusal codes:
        stale-vote, stale-base, conflict-of-interest, not-eligible, not-allowed, wrong-state.
        """
        return self._vote(actor, ref, "approve", plan_digest, base_digest, comment)

    def reject(self, actor: Actor, ref: str | int, plan_digest: str, base_digest: str, comment: str) -> Change:
        """Rejects it, with a reason. That ends the change, also one that is approved and has not started."""
        course.demand_words("a reason", comment, limit=MAX_COMMENT)
        return self._vote(actor, ref, "reject", plan_digest, base_digest, comment)

    def _vote(self, actor: Actor, ref: str | int, verdict: Verdict, plan_digest: str, base_digest: str, comment: str) -> Change:
        with self._database.unit(actor) as tx:
            at = course.stand(tx, ref)
            course.permit(tx, actor, "change.vote", at.endpoint, ref)
            if _voted_so(at, actor, verdict, plan_digest, base_digest):
                return at.change
            refuse_unseen(at, plan_digest, base_digest)
            refuse_vote(at, _person(tx, at, actor), verdict)
            _cast(tx, at, verdict, comment)
            if verdict == "reject":
                course.move(tx, at.change, "reject", comment.strip()[:500])
            else:
                course.go_on(tx, standing.read(tx.session, at.change, tx.now))
            work.wake(tx, "change", at.change.id)
            return at.change


def _voted_so(at: Standing, actor: Actor, verdict: Verdict, plan_digest: str, base_digest: str) -> bool:
    """Whether this very vote was cast before, by a double click or a repeated request."""
    return any(
        (one.identity_id, one.verdict, one.plan_digest, one.base_digest) == (actor.id, verdict, plan_digest, base_digest)
        for one in at.votes
    )


def refuse_unseen(at: Standing, plan_digest: str, base_digest: str) -> None:
    """Refusal when the voter looked at another plan, or at another base."""
    change = at.change
    if (plan_digest, base_digest) != (change.plan_digest, change.base_digest):
        raise Refusal(
            f"Change {change.number} is not what you looked at any more.",
            "Look at it as it is now, then vote.",
            code="stale-vote",
            plan_digest=change.plan_digest,
            base_digest=change.base_digest,
        )


def refuse_vote(at: Standing, voter: Person, verdict: Verdict) -> None:
    """Refusal when this person's vote is not possible now: state, what is live, interest, role."""
    if (at.change.state, verdict) != ("approved", "approve"):
        CHANGE.next(at.change.state, verdict)
    if at.circumstances.moved:
        raise Refusal(at.circumstances.moved, "Rebase the change and look at it as it is then.", code="stale-base")
    if says := conflict(at.policy, at.involved, voter):
        raise Refusal(says.partition(";")[0] + ".", "Ask another reviewer.", code="conflict-of-interest")
    if not eligible(at.policy, voter):
        wanted = ", ".join([*at.policy.approver_roles, *(group.name for group in at.policy.groups)])
        raise Refusal(
            f"The policy of {at.endpoint.environment} does not count your vote.", f"Ask one of: {wanted}.", code="not-eligible"
        )


def _person(tx: Unit, at: Standing, actor: Actor) -> Person:
    where = {"environment": at.endpoint.environment, "model": at.endpoint.model, "endpoint": at.endpoint.name}
    return access.some_people(tx.session, [actor.id], now=tx.now, **where)[actor.id]


def _cast(tx: Unit, at: Standing, verdict: Verdict, comment: str) -> None:
    """One vote an identity counts: an earlier one is void, whichever it was bound to."""
    for row in at.votes:
        if row.identity_id == tx.actor.id:
            row.voided_at, row.void_reason = tx.now, "Voted again."
    tx.session.flush()  # the earlier vote has to be void before the new one is there
    change = at.change
    row = Vote(
        id=tx.new_id("vot"),
        change_id=change.id,
        identity_id=tx.actor.id,
        verdict=verdict,
        plan_digest=change.plan_digest,
        base_digest=change.base_digest,
        comment=comment.strip()[:MAX_COMMENT],
        at=tx.now,
    )
    tx.record("change.vote", tx.add(row), after=row.facts("verdict", "plan_digest", "base_digest"))
    tx.session.flush()
