"""Authorizations and generations: the only way in which anything becomes desired. Joiners: they take the unit first.

Everything that must hold is checked here once, when a generation is written. What was admitted is then made true, repaired
and rolled back without asking the registry or any clock again; only a revocation and the stored bytes still count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlmodel import Session, col, select

from backend.core import work
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery import courses
from backend.delivery.generations import DesiredEndpoint, generation_from, is_own_name, refuse_taken_places, rollback_from
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.rows import Authorization, Endpoint, Generation, Look
from backend.policy import service as policy
from backend.policy.rules import fewest_approvers

CHECKED_FOR = timedelta(minutes=5)
"""How old the caller's re-hashing may be."""


@dataclass(frozen=True)
class Checked:
    """What the caller re-hashed just before, outside the unit of work.

    Args:
        artifact_digests: registered version number -> digest of its artifact as the registry holds it now.
        package_digests: packages whose stored bytes still hash to their digest.
        at: when that was.
    """

    artifact_digests: dict[int, str]
    package_digests: frozenset[str]
    at: datetime


def authorize(
    tx: Unit,
    *,
    endpoint_id: str,
    change_id: str,
    plan: Plan,
    base_digest: str,
    votes: list[dict[str, Any]],
    start_by: datetime,
) -> Authorization:
    """What delivery will demand before it moves anything for this change. Asking again returns the one in force."""
    endpoint = tx.get(Endpoint, endpoint_id, lock=True)
    existing = _authorization_in_force(tx.session, change_id)
    if existing is not None and existing.plan_digest == plan.digest():
        return existing
    if existing is not None:
        raise _refusal("This change was authorized with another plan.", "Revoke that approval first.", "already-authorized")
    _refuse_misplaced(plan, endpoint)
    row = Authorization(
        id=tx.new_id("aut"),
        endpoint_id=endpoint_id,
        change_id=change_id,
        plan=plan.to_json(),
        plan_digest=plan.digest(),
        base_digest=base_digest,
        votes=votes,
        policy=plan.policy,
        start_by=start_by,
        created_at=tx.now,
    )
    _refuse_missing_votes(tx.session, row)
    tx.add(row)
    tx.record("authorization.grant", row, after=row.facts("endpoint_id", "change_id", "plan_digest", "base_digest", "start_by"))
    return row


def admit(
    tx: Unit,
    authorization_id: str,
    *,
    step: int,
    reason: Literal["start", "ramp"],
    checked: Checked,
    after: int | None = None,
) -> Generation:
    """Writes one step of an authorized plan as the endpoint's newest generation and wakes its server.

    A step follows the one before it, or `after`, where those between are skipped.

    The same step of the same authorization is admitted once (invariant I3). Refusal codes: revoked, expired, stale-base,
    digest-mismatch, frozen, votes-missing, paused, busy, not-managed, not-seen, out-of-order, place-taken.
    """
    authorization, endpoint = _locked(tx, authorization_id)
    if (existing := _admitted(tx.session, authorization_id, step)) is not None:
        return existing
    plan = _plan(authorization)
    _refuse_revoked(authorization)
    _refuse_standstill(tx, endpoint)
    _refuse_missing_votes(tx.session, authorization)
    _refuse_misplaced(plan, endpoint)
    previous = _newest(tx.session, endpoint)
    if reason == "start":
        _refuse_late_or_stale(tx, authorization, endpoint, step)
    else:
        _refuse_out_of_order(authorization, previous, step - 1 if after is None else after)
    _refuse_unchecked(plan, checked, reason, previous, tx.now)
    clean = _is_clean(tx.session, endpoint)
    desired = generation_from(plan, step, _desired(previous), clean=clean)
    refuse_taken_places(desired)
    return _write(tx, endpoint, desired, reason=reason, authorization_id=authorization_id)


def admit_rollback(tx: Unit, authorization_id: str, why: str) -> Generation:
    """Writes the plan's pre-approved way back as the newest generation. Asking again returns it.

    It is allowed although the authorization is revoked or expired, the environment frozen or the endpoint paused (which it
    ends): going back is always possible, as long as nothing newer went live since.
    """
    authorization, endpoint = _locked(tx, authorization_id)
    previous = _newest(tx.session, endpoint)
    if previous is None or previous.authorization_id != authorization_id:
        raise _refusal(
            f"{endpoint.name} no longer runs what this change approved.", "Roll back the change that is live now.", "not-live"
        )
    if previous.reason == "rollback":
        return previous
    plan = _plan(authorization)
    if plan.rollback is None and endpoint.proved_generation == endpoint.generation:
        raise _refusal(
            f"Nothing ran before the version that {endpoint.name} serves, so that going back would leave its callers nothing.",
            "Propose another version; until then the present one keeps serving.",
            "no-rollback-target",
        )
    desired = rollback_from(plan, _desired(previous))
    return _write(tx, endpoint, desired, reason="rollback", authorization_id=authorization_id, why=why)


def revoke(tx: Unit, authorization_id: str, why: str) -> None:
    """From now on nothing is admitted or repaired under this authorization. What runs is left to a rollback."""
    authorization, endpoint = _locked(tx, authorization_id)
    if authorization.revoked_at is not None:
        return
    authorization.revoked_at, authorization.revoked_by, authorization.revoked_reason = tx.now, tx.actor.id, why
    tx.record("authorization.revoke", authorization, after={"reason": why, "endpoint_id": endpoint.id})
    work.wake(tx, "server", endpoint.server_id)


def admit_baseline(tx: Unit, endpoint: Endpoint, desired: DesiredEndpoint) -> Generation:
    """Generation 1 of an endpoint whose running version was signed off; the caller has locked it and checked who signs."""
    return _write(tx, endpoint, desired, reason="baseline", authorization_id=None)


def _write(
    tx: Unit, endpoint: Endpoint, desired: DesiredEndpoint, *, reason: str, authorization_id: str | None, why: str = ""
) -> Generation:
    event = {"baseline": "sign_off", "rollback": "roll_back"}.get(reason, "admit")
    before = endpoint.facts("generation", "state", "paused")
    endpoint.generation += 1
    endpoint.state, endpoint.state_since = courses.ENDPOINT.next(endpoint.state, event), tx.now
    endpoint.state_reason, endpoint.last_error, endpoint.repairs = why, None, []
    endpoint.paused = False
    endpoint.revision += 1
    row = tx.add(
        Generation(
            id=f"{endpoint.id}/{endpoint.generation}",
            endpoint_id=endpoint.id,
            number=endpoint.generation,
            authorization_id=authorization_id,
            reason=reason,
            step=desired.step,
            desired=desired.to_json(),
            digest=desired.digest(),
            admitted_at=tx.now,
            admitted_by=tx.actor.id,
        )
    )
    _forget_failures(tx.session, endpoint.id)
    facts = {"digest": row.digest, "step": row.step, "reason": reason, "authorization_id": authorization_id, "why": why}
    tx.record("generation.admit", row, after=facts)
    tx.record("endpoint.admit", endpoint, before=before, after=endpoint.facts("generation", "state", "paused"))
    work.wake(tx, "server", endpoint.server_id)
    return row


def _forget_failures(session: Session, endpoint_id: str) -> None:
    """A new generation does not wait for the retry of an older one."""
    look = session.get(Look, endpoint_id, with_for_update=True)
    if look is not None:
        look.failures, look.retry_at = 0, None


def _locked(tx: Unit, authorization_id: str) -> tuple[Authorization, Endpoint]:
    """The endpoint's lock makes admissions of one endpoint take turns; the authorization is read after it."""
    found = tx.get(Authorization, authorization_id)
    endpoint = tx.get(Endpoint, found.endpoint_id, lock=True)
    tx.session.refresh(endpoint)
    return tx.get(Authorization, authorization_id, lock=True), endpoint


def _authorization_in_force(session: Session, change_id: str) -> Authorization | None:
    query = select(Authorization).where(Authorization.change_id == change_id, col(Authorization.revoked_at).is_(None))
    return session.exec(query).one_or_none()


def _admitted(session: Session, authorization_id: str, step: int) -> Generation | None:
    query = select(Generation).where(
        Generation.authorization_id == authorization_id, Generation.step == step, Generation.reason != "rollback"
    )
    return session.exec(query).one_or_none()


def _newest(session: Session, endpoint: Endpoint) -> Generation | None:
    return session.get(Generation, f"{endpoint.id}/{endpoint.generation}") if endpoint.generation else None


def _desired(generation: Generation | None) -> DesiredEndpoint | None:
    return DesiredEndpoint.model_validate(generation.desired) if generation is not None else None


def _is_clean(session: Session, endpoint: Endpoint) -> bool:
    look = session.get(Look, endpoint.id)
    return look is not None and look.clean_generation == endpoint.generation


def _plan(authorization: Authorization) -> Plan:
    """The stored plan, if it still is the one that was voted on."""
    plan = parse_plan(authorization.plan)
    if plan.digest() != authorization.plan_digest:
        raise _mismatch("The stored plan is not the one that was approved.", plan_digest=authorization.plan_digest)
    return plan


def _refuse_revoked(authorization: Authorization) -> None:
    if authorization.revoked_at is not None:
        raise _refusal("This approval was revoked.", "Propose the change again if it is still wanted.", "revoked")


def _refuse_standstill(tx: Unit, endpoint: Endpoint) -> None:
    if endpoint.mode != "managed":
        raise _refusal(f"{endpoint.name} is only observed.", "Sign off its baseline first.", "not-managed")
    if endpoint.paused:
        raise _refusal(f"{endpoint.name} is paused.", "Resume it first.", "paused")
    if endpoint.state == "fight":
        raise _refusal(
            f"Somebody else keeps changing {endpoint.name}.", "Find who does, then choose `repair now` or pause it.", "fight"
        )
    if (stop := policy.freeze_in_force(tx.session, endpoint.environment)) is not None:
        raise _refusal(
            f"{endpoint.environment} is frozen: {stop.reason}",
            "Wait until the freeze is lifted; a rollback is possible.",
            "frozen",
        )


def _refuse_missing_votes(session: Session, authorization: Authorization) -> None:
    """Counts the votes that are bound to these very digests; who may vote was the policy's question when they were cast."""
    needed = fewest_approvers(policy.version(session, authorization.policy).policy)
    bound = {"plan_digest": authorization.plan_digest, "base_digest": authorization.base_digest}
    if not courses.votes_hold(authorization.votes, needed=needed, **bound):
        raise _refusal(
            "The votes do not carry this plan on this base.", "Ask the reviewers to look at it as it is now.", "votes-missing"
        )


def _refuse_misplaced(plan: Plan, endpoint: Endpoint) -> None:
    """A plan speaks of one endpoint, and serves its versions under that endpoint's own names only."""
    if (plan.endpoint, plan.environment, plan.model) != (endpoint.name, endpoint.environment, endpoint.model):
        raise _mismatch(f"This plan is for {plan.endpoint} in {plan.environment}, not for {endpoint.name}.")
    for arm in plan.arms:
        if not is_own_name(endpoint.served_name, arm.served_as.model):
            raise _mismatch(f"{arm.served_as.model} is not a served name of {endpoint.name}.")


def _refuse_late_or_stale(tx: Unit, authorization: Authorization, endpoint: Endpoint, step: int) -> None:
    if step != 0:
        raise _out_of_order()
    if tx.now > authorization.start_by:
        raise _refusal(
            f"This approval could be used until {authorization.start_by:%Y-%m-%d %H:%M} UTC.",
            "Ask for a new approval.",
            "expired",
        )
    if endpoint.base_digest != authorization.base_digest:
        raise _refusal(
            f"{endpoint.name} changed since this was approved.", "Rebase the change and let it be reviewed again.", "stale-base"
        )
    if endpoint.state in ("stale", "unreachable"):
        raise _refusal(
            f"Nobody has seen {endpoint.name} lately: {endpoint.state_reason}.", "Bring its server back first.", "not-seen"
        )
    if endpoint.proved_generation != endpoint.generation:
        raise _refusal(
            f"Generation {endpoint.generation} of {endpoint.name} is not proved yet.", "Wait for it, or roll it back.", "busy"
        )


def _refuse_out_of_order(authorization: Authorization, previous: Generation | None, after: int) -> None:
    """A later step follows that step of the same authorization, and nothing else."""
    if previous is None or previous.reason == "rollback" or previous.authorization_id != authorization.id:
        raise _out_of_order()
    if previous.step != after:
        raise _out_of_order()


def _refuse_unchecked(plan: Plan, checked: Checked, reason: str, previous: Generation | None, now: datetime) -> None:
    if not timedelta(0) <= now - checked.at + timedelta(seconds=5) <= CHECKED_FOR + timedelta(seconds=5):
        raise _mismatch("The stored bytes were not checked just now.", "Try again.")
    for arm in plan.arms:
        if arm.package_digest not in checked.package_digests:
            raise _mismatch(
                f"The stored package of version {arm.version} is missing or was changed.", package_digest=arm.package_digest
            )
        found = checked.artifact_digests.get(arm.version)
        if found not in (None, arm.artifact_digest) or (found is None and reason == "start" and _is_new(arm, previous)):
            raise _mismatch(
                f"The artifact of version {arm.version} is not the one that was approved.", artifact_digest=arm.artifact_digest
            )


def _is_new(arm: Any, previous: Generation | None) -> bool:
    """Whether a version is not on the endpoint yet; one that is was checked when it came, and may have left the registry."""
    desired = _desired(previous)
    return desired is None or arm.package_digest not in {known.package_digest for known in desired.arms}


def _mismatch(message: str, remedy: str = "Propose the change again from what is registered now.", **facts: object) -> Refusal:
    return Refusal(message, remedy, code="digest-mismatch", **facts)


def _out_of_order() -> Refusal:
    return _refusal("This step does not follow the one that is live.", "Look at the rollout's state.", "out-of-order")


def _refusal(message: str, remedy: str, code: str) -> Refusal:
    return Refusal(message, remedy, code=code)
