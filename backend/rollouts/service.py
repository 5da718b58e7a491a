"""Rollouts: starting one, walking its plan's ramp step by step, and the ways to stop it or to go back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from sqlmodel import select

from backend.access.checks import require
from backend.access.requests import refuse_program
from backend.core import work
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.unit import Unit, assert_outside_unit
from backend.core.work import Claim
from backend.delivery import admission
from backend.delivery.admission import Checked
from backend.delivery.courses import backoff
from backend.delivery.plan import parse_plan
from backend.delivery.rows import Authorization, Endpoint, Generation
from backend.experiments.comparing import service as comparing
from backend.rollouts import queries
from backend.rollouts.rows import Rollout
from backend.rollouts.rules import OPEN, ROLLOUT, Decision, decide


@dataclass(frozen=True)
class At:
    """What whoever acts was looking at: which rollout, and at which step of it, counted from 0."""

    rollout_id: str
    step: int


POLL = timedelta(seconds=5)
"""How long something that nobody announced may go unnoticed."""
RETRY_SECONDS, MAX_RETRY_SECONDS = 15, 600
MAX_REASON = 2_000


class Stored(Protocol):
    """The package store as rollouts need it."""

    def verify(self, digest: str) -> bool:
        """Whether the stored bytes still hash to the digest. Raises ExternalFailure when the store cannot be read."""
        ...


def start(tx: Unit, authorization_id: str, *, checked: Checked) -> Rollout:
    """Admits the first step of an authorized plan and opens its rollout. Starting it again returns the one there is.

    Refusal `busy` while another rollout is under way on the endpoint, and every refusal of `admission.admit`.
    """
    endpoint = tx.get(Endpoint, tx.get(Authorization, authorization_id).endpoint_id, lock=True)
    if (existing := queries.of_authorization(tx.session, authorization_id)) is not None:
        return existing
    if queries.open_on(tx.session, endpoint.id) is not None:
        raise Refusal(
            f"A rollout is under way on {endpoint.name}.",
            "Wait until it is complete, or roll it back.",
            code="busy",
        )
    admission.admit(tx, authorization_id, step=0, reason="start", checked=checked)
    row = Rollout(
        id=tx.new_id("rol"),
        endpoint_id=endpoint.id,
        authorization_id=authorization_id,
        state=ROLLOUT.initial,
        started_at=tx.now,
    )
    tx.add(row)
    _move(tx, row, "begin")
    authorization = tx.get(Authorization, authorization_id)
    comparing.begin(tx, authorization, parse_plan(authorization.plan))
    tx.session.flush()
    work.wake(tx, "rollout", row.id)
    return row


def go_back(tx: Unit, row: Rollout, why: str, *, event: Literal["roll_back", "abort"] = "roll_back") -> Generation:
    """Takes a locked rollout's pre-approved way back. Going back again returns the generation that does it.

    Refusal `not-live` when something newer is live.
    """
    generation = admission.admit_rollback(tx, row.authorization_id, why)
    if row.state not in ("aborted", "rolled_back"):
        _move(tx, row, event, why)
        _wake(tx, row)
    return generation


def freeze(tx: Unit, authorization_id: str, why: str) -> None:
    """Stops the walk of a rollout whose approval was revoked. What runs stays until somebody rolls it back."""
    row = queries.of_authorization(tx.session, authorization_id)
    if row is not None and row.state in ("ramping", "holding"):
        _move(tx, row, "pause", f"Its approval was revoked: {why}")
        work.wake(tx, "rollout", row.id)


def settled(tx: Unit, endpoint_id: str) -> None:
    """To be called when an endpoint's newest generation was proved or its state changed: wakes whoever waits for that.

    Wakes the rollout that is under way there, and the change that the newest generation belongs to.
    """
    if (row := queries.open_on(tx.session, endpoint_id)) is not None:
        work.wake(tx, "rollout", row.id)
    if (change_id := queries.live_change(tx.session, endpoint_id)) is not None:
        work.wake(tx, "change", change_id)


def judged(tx: Unit, authorization_id: str) -> None:
    """To be called when what arms did beside each other was looked at: wakes the rollout that waits for it.

    A complete one too: arms that go on sharing the traffic are compared until something newer is live.
    """
    row = queries.of_authorization(tx.session, authorization_id)
    if row is not None and (row.state in OPEN or row.state == "complete"):
        work.wake(tx, "rollout", row.id)


class Rollouts:
    """Commands on rollouts, by the name of their endpoint, and the worker's handler.

    Args:
        packages: the package store; its bytes are hashed anew before each further step.
        lease_seconds: how long a claim is renewed for while bytes are hashed.
    """

    def __init__(self, database: Database, packages: Stored, *, lease_seconds: float = 30.0) -> None:
        self._database = database
        self._packages = packages
        self._lease_seconds = lease_seconds

    def handle(self, claim: Claim) -> None:
        """Looks after one rollout: notes that a step was proved, goes on to the next, or says what it waits for."""
        checked = self._check(claim)
        try:
            with self._database.unit(SYSTEM) as tx:
                decision, next_due = _advance(tx, claim.key, checked)
                work.finish(tx, claim, next_due=next_due, error="late" if decision.late else None)
        except Refusal as refusal:
            with self._database.unit(SYSTEM) as tx:
                _say(tx, _locked(tx, claim.key), str(refusal))
                seconds = backoff(claim.failures, base=RETRY_SECONDS, cap=MAX_RETRY_SECONDS, jitter=0)
                work.finish(tx, claim, next_due=tx.now + timedelta(seconds=seconds), error=refusal.code)

    def pause(self, actor: Actor, endpoint: str, reason: str, *, at: At | None = None) -> Rollout:
        """No further step is admitted until it is resumed; the present one stays as it is.

        Here as elsewhere `at` is what whoever acts looked at: another rollout is left alone (Refusal code `moved-on`).
        """
        with self._database.unit(actor) as tx:
            row = _under_way(tx, actor, endpoint, "rollout.pause", reason, at=at)
            if row.state != "paused":
                _move(tx, row, "pause", reason)
                _wake(tx, row)
            return row

    def resume(self, actor: Actor, endpoint: str, reason: str, *, at: At | None = None) -> Rollout:
        """Goes on where it was paused. Refusal when its approval was revoked, and while findings hold it (code `findings`)."""
        with self._database.unit(actor) as tx:
            row = _under_way(tx, actor, endpoint, "rollout.resume", reason, at=at)
            if tx.get(Authorization, row.authorization_id).revoked_at is not None:
                raise Refusal("The approval of this rollout was revoked.", "Roll it back, or propose anew.", code="revoked")
            _refuse_held(tx, row)
            if row.state == "paused":
                _move(tx, row, f"resume_{row.state_before_pause}", reason)
                _wake(tx, row)
            return row

    def let_on(self, actor: Actor, endpoint: str, reason: str, *, at: At) -> Rollout:
        """Says, for a step that asks for it, that a person looked at just that step and that the rollout may go on.

        Refusal `not-a-person` for a program: it looked at nothing.
        """
        with self._database.unit(actor) as tx:
            row = _under_way(tx, actor, endpoint, "rollout.let_on", reason, at=at)
            refuse_program(tx.actor)
            if row.step != at.step:
                raise _moved_on(f"The rollout of {endpoint} stands at step {row.step + 1}; you looked at step {at.step + 1}.")
            if row.let_on < row.step:
                _refuse_letting_on(tx, row)
                row.let_on, row.revision = row.step, row.revision + 1
                tx.record("rollout.let_on", row, after={"step": row.step, "reason": reason})
                _wake(tx, row)
            return row

    def skip(self, actor: Actor, endpoint: str, reason: str, *, at: At) -> Rollout:
        """Has the steps skipped up to the next one after which a person looks: their times and samples are not waited for.

        The worker does it, once the stored bytes were hashed anew. Refusal `not-a-person` for a program, and `not-skipped`
        where the policy lets none be skipped, a guardrail failed or cannot be judged, or no step ahead asks for a person.
        """
        with self._database.unit(actor) as tx:
            row = _under_way(tx, actor, endpoint, "rollout.skip", reason, at=at)
            refuse_program(tx.actor)
            if row.step != at.step:
                raise _moved_on(f"The rollout of {endpoint} stands at step {row.step + 1}; you looked at step {at.step + 1}.")
            found = queries.skipping(tx.session, queries.stand(tx.session, row, tx.now))
            if found.to is None:
                raise Refusal(found.refusal, found.remedy, code="not-skipped")
            if row.skip_to != found.to:
                row.skip_to, row.revision = found.to, row.revision + 1
                tx.record("rollout.skip_to", row, after={"from": row.step, "to": row.skip_to, "reason": reason})
                _wake(tx, row)
            return row

    def abort(self, actor: Actor, endpoint: str, reason: str, *, at: At | None = None) -> Rollout:
        """Ends a rollout that is under way, and goes back; from a first version that is to nothing."""
        with self._database.unit(actor) as tx:
            row = _under_way(tx, actor, endpoint, "rollout.abort", reason, or_already="aborted", at=at)
            go_back(tx, row, reason, event="abort")
            return row

    def roll_back(self, actor: Actor, endpoint: str, reason: str) -> Rollout:
        """Goes back from what is live, whether its rollout is under way or complete."""
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "change.roll_back", reason)
            row = queries.live(tx.session, place.id)
            if row is None:
                raise Refusal(
                    f"{endpoint} runs its baseline; there is nothing to go back to.",
                    "Propose the version that shall run instead.",
                    code="no-rollback-target",
                )
            row = _locked(tx, row.id)
            go_back(tx, row, reason)
            return row

    def _check(self, claim: Claim) -> Checked | None:
        """Hashes the stored packages of the plan, when the next thing to do is a further step. Outside any unit."""
        assert_outside_unit("hashing packages")
        with self._database.read() as session:
            row = session.get(Rollout, claim.key)
            if row is None:
                return None
            now = self._database.now(session)
            found = queries.stand(session, row, now)
            if _decide(found, now).event not in ("advance", "skip"):
                return None
        whole = set()
        for digest in sorted({arm.package_digest for arm in found.plan.arms}):
            claim = work.renew(self._database, claim, seconds=self._lease_seconds)
            if self._verify(digest):
                whole.add(digest)
        return Checked({}, frozenset(whole), self._database.now())

    def _verify(self, digest: str) -> bool:
        """A store that cannot be read proves nothing, so its package does not count as whole."""
        try:
            return self._packages.verify(digest)
        except ExternalFailure:
            return False


def _advance(tx: Unit, rollout_id: str, checked: Checked | None) -> tuple[Decision, datetime | None]:
    """Does what is to be done now; returns what was decided, and when to look again (None: somebody will wake it)."""
    if tx.session.get(Rollout, rollout_id) is None:
        return Decision(), None
    row = _locked(tx, rollout_id)
    found = queries.stand(tx.session, row, tx.now)
    decision = _decide(found, tx.now)
    if decision.event is None:
        _say(tx, row, decision.reason or row.reason)
        return decision, decision.look_at
    if decision.event in ("advance", "skip"):
        if checked is None:
            return decision, tx.now
        step = row.step + 1 if decision.event == "advance" else row.skip_to
        admission.admit(tx, row.authorization_id, step=step, after=row.step, reason="ramp", checked=checked)
    if decision.event == "roll_back" and not found.position.went_back:
        admission.admit_rollback(tx, row.authorization_id, decision.reason)
    _move(tx, row, decision.event, decision.reason)
    if row.state not in OPEN or row.state == "paused":
        work.wake(tx, "change", found.change_id)
    return decision, None if row.state not in OPEN else tx.now


def _decide(found: queries.Stand, now: datetime) -> Decision:
    return decide(found.position, now, poll=POLL)


def _move(tx: Unit, row: Rollout, event: str, reason: str = "") -> None:
    """One transition with all that goes with it, and its ledger row."""
    before = row.facts("state", "step", "reason")
    if event == "pause":
        row.state_before_pause = row.state
    row.state, row.reason, row.revision = ROLLOUT.next(row.state, event), reason, row.revision + 1
    if event in ("advance", "skip"):
        row.step, row.step_since = row.step + 1 if event == "advance" else row.skip_to, None
    if event in ("step_proved", "finished"):
        row.step_since = tx.now
    if row.state not in OPEN and row.ended_at is None:
        row.ended_at = tx.now
    if row.state in ("aborted", "rolled_back") or (row.state == "complete" and not _shares_on(tx, row)):
        comparing.end(tx, row.authorization_id, reason or f"The rollout is {row.state.replace('_', ' ')}.")
    tx.record(f"rollout.{event}", row, before=before, after=row.facts("state", "step", "reason", "authorization_id"))


def _shares_on(tx: Unit, row: Rollout) -> bool:
    """Whether arms go on sharing the traffic after the last step, as in an experiment."""
    final = parse_plan(tx.get(Authorization, row.authorization_id).plan).shares
    return sum(1 for share in final.values() if share) > 1


def _say(tx: Unit, row: Rollout, reason: str) -> None:
    """What it waits for; a ledger row only when that changed."""
    if row.reason != reason:
        before, row.reason = row.facts("reason"), reason
        tx.record("rollout.wait", row, before=before, after=row.facts("state", "reason"))


def _wake(tx: Unit, row: Rollout) -> None:
    work.wake(tx, "change", tx.get(Authorization, row.authorization_id).change_id)
    work.wake(tx, "rollout", row.id)


def _locked(tx: Unit, rollout_id: str) -> Rollout:
    """The rollout's lock, then its endpoint's: the order in which every unit takes them."""
    row = tx.get(Rollout, rollout_id, lock=True)
    tx.session.refresh(row)
    tx.session.refresh(tx.get(Endpoint, row.endpoint_id, lock=True))
    return row


def _permitted(tx: Unit, actor: Actor, endpoint: str, action: str, reason: str) -> Endpoint:
    found = tx.session.exec(select(Endpoint).where(Endpoint.name == endpoint)).one_or_none()
    if found is None:
        raise NotFound("endpoint", endpoint)
    require(tx, actor, action, environment=found.environment, model=found.model, endpoint=found.name)
    if not reason.strip() or len(reason) > MAX_REASON:
        raise Refusal("This needs a reason.", f"Say in a sentence why (at most {MAX_REASON} characters).", code="no-reason")
    return found


def _under_way(
    tx: Unit, actor: Actor, endpoint: str, action: str, reason: str, *, or_already: str | None = None, at: At | None = None
) -> Rollout:
    """The endpoint's open rollout, locked; or its newest one when that is what was asked for already."""
    place = _permitted(tx, actor, endpoint, action, reason)
    row = queries.open_on(tx.session, place.id)
    if row is None and or_already is not None:
        newest: Sequence[Rollout] = queries.of_endpoint(tx.session, place.id, limit=1)
        row = next((one for one in newest if one.state == or_already), None)
    if row is None:
        raise Refusal(
            f"No rollout is under way on {endpoint}.",
            "Look at its history; a complete one can be rolled back.",
            code="no-rollout",
        )
    if at is not None and at.rollout_id != row.id:
        raise _moved_on(f"Another rollout is under way on {endpoint} than the one you looked at.")
    return _locked(tx, row.id)


def _moved_on(message: str) -> Refusal:
    return Refusal(f"{message} Nothing was done.", "Look at it as it is now, then decide.", code="moved-on")


def _refuse_held(tx: Unit, row: Rollout) -> None:
    at = queries.stand(tx.session, row, tx.now).position
    if at.held and at.held_for_person and row.state == "paused":
        raise Refusal(at.held, "Look after that finding first; resume it once somebody said that it is over.", code="findings")


def _refuse_letting_on(tx: Unit, row: Rollout) -> None:
    if row.state != "holding":
        raise Refusal("This step is not proved yet.", "Look at it once it is, then let it go on.", code="wrong-state")
    if not queries.stand(tx.session, row, tx.now).position.gates.person:
        raise Refusal("This step goes on by itself.", "Pause the rollout to stop it.", code="not-asked")
