"""The worker's part: a change is settled by level, again and again, on what is so now; no announcement is relied on."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from sqlmodel import col, select

from backend.changes import champion, course, standing
from backend.changes.course import APPLYING_POLL, POLL, go_on, move, say
from backend.changes.desk import Desk
from backend.changes.rows import Change
from backend.changes.rules import STARTED, UNDECIDED, due
from backend.changes.standing import Standing
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.errors import ExternalFailure, Refusal
from backend.core.unit import Unit, assert_outside_unit
from backend.core.work import Claim
from backend.delivery.admission import Checked
from backend.delivery.courses import backoff
from backend.experiments.designs import service as designs
from backend.rollouts import service as rollouts

OWN = (
    "checked", "check_failed", "approve", "expire", "suspend", "revoke", "prove", "fail", "roll_back",
)  # fmt: skip
"""Events that are no more than a transition."""
_AFTER_REFUSAL = {
    "stale-base": "suspend",
    "expired": "expire",
    "digest-mismatch": "check_failed",
    "place-taken": "check_failed",
    "votes-missing": "check_failed",
    "bad-plan": "check_failed",
}
"""What a refused start leads to; any other refusal leaves the change approved, to be tried again."""
MAX_RETRY_SECONDS = 600


class Settling(Desk):
    """Looks after one change at a time."""

    def handle(self, claim: Claim) -> None:
        """Does what is due for a change, in one unit, and says when to look again. Bytes are hashed outside, before."""
        try:
            checked = self._check(claim)
            with self._database.unit(SYSTEM) as tx:
                next_due = self._settle(tx, claim.key, checked)
                work.finish(tx, claim, next_due=next_due)
        except Refusal as refusal:
            self._refused(claim, refusal)
        except work.LeaseLost:
            raise
        except ExternalFailure as failure:
            self._put_off(claim, failure)

    def _settle(self, tx: Unit, change_id: str, checked: Checked | None) -> datetime | None:
        if tx.session.get(Change, change_id) is None:
            return None
        at = course.stand(tx, change_id)
        state = at.change.state
        at, next_due = go_on(tx, at, events=OWN)
        if at.change.state != state:
            self._follow(tx, at)
        if next_due.event == "take_over":
            _take_over(tx, at)
            return tx.now + APPLYING_POLL
        if next_due.event == "start":
            return self._start(tx, at, checked)
        return _sooner(next_due.look_at, tx.now + APPLYING_POLL if at.change.state in STARTED else None)

    def _start(self, tx: Unit, at: Standing, checked: Checked | None) -> datetime | None:
        """Only with bytes that were hashed just before; else the next turn, at once, hashes them."""
        if checked is None or at.change.authorization_id is None:
            return tx.now
        row = rollouts.start(tx, at.change.authorization_id, checked=checked)
        _start_experiment(tx, at)
        move(tx, at.change, "start", rollout_id=row.id)
        return tx.now + APPLYING_POLL

    def _follow(self, tx: Unit, at: Standing) -> None:
        """What a proved change, or a proved way back, means for the registry's alias, and for changes that wait."""
        if at.change.state not in ("done", "rolled_back"):
            return
        if at.change.state == "rolled_back":
            _end_experiment(tx, at)
        if at.is_live:  # whatever is live since has a say of its own
            self._follow_alias(tx, at, _champion_after(at))
        _wake_waiting(tx, at.endpoint.id)

    def _follow_alias(self, tx: Unit, at: Standing, number: int | None) -> None:
        """A way back was approved together with its change, so that the alias always follows it."""
        if at.change.state == "done" and not champion.may_follow(at):
            champion.withhold(tx, at, number)
            return
        self._versions.want_alias(tx, at.endpoint.model, at.endpoint.environment, number)

    def _check(self, claim: Claim) -> Checked | None:
        """Hashes the artifacts that are new on the endpoint and every package of the plan, when a start is due."""
        assert_outside_unit("hashing artifacts")
        with self._database.read() as session:
            change = session.get(Change, claim.key)
            if change is None:
                return None
            at = standing.read(session, change, self._database.now(session))
        if due(at.circumstances, poll=POLL).event != "start":
            return None
        known = {one["package_digest"] for one in (at.endpoint.base or {}).get("arms", ())}
        artifacts, whole = {}, set()
        for arm in at.plan.arms:
            claim = work.renew(self._database, claim, seconds=self._lease_seconds)
            if arm.package_digest not in known:
                with suppress(Refusal):  # what cannot be hashed is not the approved bytes: admission refuses the start
                    artifacts[arm.version] = self._versions.digest_now(at.endpoint.model, arm.version)
            if self._packages.verify(arm.package_digest):
                whole.add(arm.package_digest)
        return Checked(artifacts, frozenset(whole), self._database.now())

    def _refused(self, claim: Claim, refusal: Refusal) -> None:
        """A start that was refused: the change is suspended, blocked or expired, or stays approved and is tried again."""
        with self._database.unit(SYSTEM) as tx:
            at = course.stand(tx, claim.key)
            if at.change.state != "approved":
                say(tx, at.change, str(refusal))
            elif event := _AFTER_REFUSAL.get(refusal.code):
                move(tx, at.change, event, str(refusal), code=refusal.code)
            else:
                say(tx, at.change, str(refusal))
            work.finish(tx, claim, next_due=_retry_at(tx, claim), error=refusal.code)

    def _put_off(self, claim: Claim, failure: ExternalFailure) -> None:
        """Something that has to be asked does not answer: nothing is known, so nothing is decided."""
        with self._database.unit(SYSTEM) as tx:
            at = course.stand(tx, claim.key)
            say(tx, at.change, f"{failure}. It is tried again.")
            work.finish(tx, claim, next_due=_retry_at(tx, claim), error=str(failure)[:300])


def _start_experiment(tx: Unit, at: Standing) -> None:
    """A designed experiment begins with the change that names it, or gets another split by it."""
    compared = at.plan.comparison
    if compared is None or compared.experiment is None:
        return
    if designs.designed(tx.session, at.endpoint.id, compared.experiment) is not None:
        designs.started(tx, at.endpoint.id, compared.experiment, at.change.id, planned=at.change.planned)


def _end_experiment(tx: Unit, at: Standing) -> None:
    """An experiment is over once the way back left one version alone, by a guardrail or by somebody's word."""
    compared, target = at.plan.comparison, at.plan.rollback
    if compared is None or compared.experiment is None or target is None:
        return
    alone = sum(1 for share in target.shares.values() if share) == 1
    if alone and designs.designed(tx.session, at.endpoint.id, compared.experiment) is not None:
        why = at.own.reason if at.own is not None and at.own.reason else f"Change {at.change.number} was rolled back."
        designs.ended(tx, at.endpoint.id, compared.experiment, "roll_back", why)


def settled(tx: Unit, endpoint_id: str) -> None:
    """To be called in the unit that proves a generation, or that sees another base: wakes all who wait for that.

    Those are the rollout there, the change that is live, and every change of the endpoint that has not started.
    """
    rollouts.settled(tx, endpoint_id)
    _wake_waiting(tx, endpoint_id)


def _wake_waiting(tx: Unit, endpoint_id: str) -> None:
    query = select(Change.id).where(Change.endpoint_id == endpoint_id, col(Change.state).in_(UNDECIDED))
    work.wake_many(tx, "change", sorted(tx.session.exec(query)))


def _take_over(tx: Unit, at: Standing) -> None:
    """Ends the rollout in the way by its own pre-approved way back. This change starts once that is proved."""
    if at.other is None:
        return
    why = f"Superseded by change {at.change.number}."
    change = tx.get(Change, at.other.change_id)
    if change.state == "applying":
        change.superseded_by = at.change.id
        move(tx, change, "supersede", why)
    rollouts.go_back(tx, at.other.rollout, why)  # last: it wakes others, and work items come after every row
    say(tx, at.change, f"Waits until the way back of change {change.number} is proved.")


def _champion_after(at: Standing) -> int | None:
    """The version that the environment's alias shall name after this transition; None when nothing answers any more."""
    plan = at.plan
    if at.change.state == "done":
        return plan.arm(plan.champion).version
    return plan.arm(plan.rollback.champion).version if plan.rollback is not None else None


def _sooner(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(one, other) if one is not None and other is not None else one


def _retry_at(tx: Unit, claim: Claim) -> datetime:
    seconds = backoff(claim.failures, base=POLL.total_seconds(), cap=MAX_RETRY_SECONDS, jitter=0)
    return tx.now + timedelta(seconds=seconds)
