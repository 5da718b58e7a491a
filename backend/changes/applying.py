"""What people do about a change that is approved or live: start it by hand, revoke it, go back from it."""

from __future__ import annotations

from backend.changes import course
from backend.changes.course import demand_words
from backend.changes.desk import Desk
from backend.changes.rows import Change
from backend.changes.rules import CHANGE
from backend.changes.standing import Standing
from backend.core import work
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.delivery import admission
from backend.rollouts import service as rollouts
from backend.rollouts.rows import Rollout

MAX_REASON = 2_000


class Applying(Desk):
    """Commands on approved and live changes."""

    def start(self, actor: Actor, ref: str | int) -> Change:
        """Says that an approved change that waits for it shall start now; the worker then hashes the bytes and starts it.

        Saying it again changes nothing. Refusal codes: not-allowed, wrong-state, not-by-hand, frozen,
        findings.
        """
        with self._database.unit(actor) as tx:
            at = course.stand(tx, ref)
            change = at.change
            course.permit(tx, actor, "change.start", at.endpoint, ref)
            if change.state in ("applying", "done") or (change.state, change.start_mode) == ("approved", "at_once"):
                return change
            refuse_start(at)
            if change.start_at is None:
                change.start_at, change.updated_at, change.revision = tx.now, tx.now, change.revision + 1
                tx.record("change.ask_start", change, after=change.facts("state", "start_at"))
                work.wake(tx, "change", change.id)
            return change

    def revoke(self, actor: Actor, ref: str | int, reason: str) -> Change:
        """Takes the approval back: nothing more is admitted or repaired under it.

        What runs stays as it is, with its rollout stopped, until somebody rolls it back.
        """
        with self._database.unit(actor) as tx:
            at = course.stand(tx, ref)
            change = at.change
            course.permit(tx, actor, "change.revoke", at.endpoint, ref)
            if change.state == "revoked":
                return change
            why = demand_words("a reason", reason, limit=MAX_REASON)
            course.move(tx, change, "revoke", why)
            if change.authorization_id is not None:
                admission.revoke(tx, change.authorization_id, why)
                rollouts.freeze(tx, change.authorization_id, why)
            work.wake(tx, "change", change.id)
            return change

    def roll_back(self, actor: Actor, ref: str | int, reason: str) -> Change:
        """Goes back to what ran before, as was approved together with the change. It counts as rolled back once that is proved.

        Possible for a change that is under way, done, failed or revoked, as long as nothing newer is live. Saying it again
        changes nothing. Before a first version nothing ran: it is taken back to nothing
        while it is not proved, and not any more once it answers. Refusal codes: not-allowed, wrong-state, not-live,
        no-rollback-target.
        """
        with self._database.unit(actor) as tx:
            at = course.stand(tx, ref)
            change = at.change
            course.permit(tx, actor, "change.roll_back", at.endpoint, ref)
            if change.state == "rolled_back" or at.circumstances.way_back:
                return change
            own = refuse_roll_back(at)
            why = demand_words("a reason", reason, limit=MAX_REASON)
            rollouts.go_back(tx, own, why)
            course.say(tx, change, f"Going back: {why}")
            work.wake(tx, "change", change.id)
            return change


def refuse_start(at: Standing) -> None:
    """Refusal when a person cannot start it now."""
    CHANGE.next(at.change.state, "start")
    if at.change.start_mode == "at_time":
        raise Refusal(
            f"Change {at.change.number} starts by itself at {at.change.start_at:%Y-%m-%d %H:%M} UTC.",
            "Wait for it, or edit the change.",
            code="not-by-hand",
        )
    if at.freeze:
        raise Refusal(f"{at.endpoint.environment} is frozen: {at.freeze}", "Start it when the freeze is lifted.", code="frozen")
    if at.held:
        raise Refusal(at.held, "Look after that finding; it starts once somebody said that it is over.", code="findings")


def refuse_roll_back(at: Standing) -> Rollout:
    """The rollout to go back from. Refusal when there is none, or when something newer is live."""
    CHANGE.next(at.change.state, "roll_back")
    if at.own is None or not at.is_live:
        raise Refusal(
            f"Change {at.change.number} is not what {at.endpoint.name} runs.",
            "Roll back the change that is live now.",
            code="not-live",
        )
    if at.plan.rollback is None and at.endpoint.proved_generation == at.endpoint.generation:
        raise Refusal(
            "Nothing ran before this version, which answers; going back would leave its callers nothing.",
            "Propose another version; until then the present one keeps serving.",
            code="no-rollback-target",
        )
    return at.own
