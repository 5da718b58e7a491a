"""What an operator does to a managed endpoint by hand. Joiners: they take the unit first, and doing it twice is harmless.

None of these moves anything itself: each says what shall be, and wakes the server's work.
"""

from __future__ import annotations

from typing import Literal, get_args

from sqlmodel import Session

from backend.access.checks import require
from backend.core import work
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery import courses
from backend.delivery.named import named
from backend.delivery.rows import Authorization, Endpoint, Generation, Look

Repair = Literal["repair", "report"]
MAX_REASON = 1_000


def pause(tx: Unit, name: str, reason: str) -> Endpoint:
    """From now on nothing is pushed or repaired there; it is still looked at. A rollback stays possible and ends the pause."""
    endpoint = _opened(tx, name, "endpoint.pause", reason)
    return endpoint if endpoint.paused else _step(tx, endpoint, "pause", reason, paused=True)


def resume(tx: Unit, name: str, reason: str) -> Endpoint:
    """Looks again, and makes the newest generation true. What was repaired before the pause no longer counts as a fight."""
    endpoint = _opened(tx, name, "endpoint.resume", reason)
    return _step(tx, endpoint, "resume", reason, paused=False) if endpoint.paused else endpoint


def repair_now(tx: Unit, name: str, reason: str) -> Endpoint:
    """Makes the newest generation true once more: ends a fight, does not wait for the next attempt, and repairs where the
    endpoint otherwise only reports.
    """
    endpoint = _opened(tx, name, "endpoint.repair", reason)
    _refuse_revoked(tx.session, endpoint)
    look = tx.session.get(Look, endpoint.id)
    waiting = look is not None and look.retry_at is not None
    if endpoint.state == "pushing" and not waiting:
        return endpoint
    return _step(tx, endpoint, "repair_now", reason, paused=endpoint.paused)


def set_repair(tx: Unit, name: str, repair: Repair, reason: str) -> Endpoint:
    """Whether a hand-made change there is repaired, or only reported until somebody asks for the repair."""
    if repair not in get_args(Repair):
        raise Refusal(f"{repair!r} is not a way to repair.", "Choose `repair` or `report`.", code="bad-setting")
    endpoint = _opened(tx, name, "endpoint.set_repair", reason)
    if endpoint.repair == repair:
        return endpoint
    before = endpoint.facts("repair")
    endpoint.repair = repair
    endpoint.revision += 1
    tx.record("endpoint.set_repair", endpoint, before=before, after={"repair": repair, "reason": reason})
    work.wake(tx, "server", endpoint.server_id)
    return endpoint


def check_reason(reason: str) -> None:
    """Refusal without a reason that a later reader can use."""
    if not reason.strip() or len(reason) > MAX_REASON:
        raise Refusal("This needs a reason of at most 1,000 characters.", "Say in a sentence why you do it.", code="no-reason")


def _opened(tx: Unit, name: str, action: str, reason: str) -> Endpoint:
    check_reason(reason)
    endpoint = named(tx.session, Endpoint, name, lock=True)
    require(tx, tx.actor, action, environment=endpoint.environment, model=endpoint.model, endpoint=endpoint.name)
    return endpoint


def _step(tx: Unit, endpoint: Endpoint, event: str, reason: str, *, paused: bool) -> Endpoint:
    """One move of the state machine, with a clean slate for the attempts that follow it."""
    before = endpoint.facts("state", "paused")
    endpoint.state = courses.ENDPOINT.next(endpoint.state, event)
    endpoint.state_since, endpoint.state_reason = tx.now, reason
    endpoint.paused, endpoint.repairs = paused, []
    endpoint.revision += 1
    look = tx.session.get(Look, endpoint.id, with_for_update=True)
    if look is not None:
        look.failures, look.retry_at = 0, None
    tx.record(f"endpoint.{event}", endpoint, before=before, after={**endpoint.facts("state", "paused"), "reason": reason})
    work.wake(tx, "server", endpoint.server_id)
    return endpoint


def _refuse_revoked(session: Session, endpoint: Endpoint) -> None:
    """Nothing is pushed under a revoked approval, so asking for it would wait for ever."""
    newest = session.get(Generation, f"{endpoint.id}/{endpoint.generation}")
    if newest is None or newest.reason == "rollback" or newest.authorization_id is None:
        return
    authorization = session.get(Authorization, newest.authorization_id)
    if authorization is not None and authorization.revoked_at is not None:
        raise Refusal(
            f"The approval behind {endpoint.name} was revoked, so nothing is pushed under it.",
            "Roll the change back; that way was approved in advance.",
            code="revoked",
        )
