"""That somebody is an admin everywhere: nobody takes the last one away, and it is told in time when the last one runs out.

A role that runs out is not kept: whoever never comes back would be an admin for good, by tokens too. A person who signs in with
the group has it again; else whoever holds the machine appoints one (`countersign identity bootstrap`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from backend.access.claims import SOURCE
from backend.access.rows import Identity, RoleGrant
from backend.core.canonical import canonical
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow
from backend.core.unit import Unit

ENDING, NONE = "admins.end_soon", "admins.none"
"""What the ledger says when the last one is about to run out, and when nobody is left."""
SUBJECT = ("installation", "admins")
ROLES = "roles"
"""What a unit holds alone that counts who holds a role, or looks whether somebody holds it, before it changes that."""
SOON = timedelta(days=14)
_AN_INSTANT = timedelta(microseconds=1)
REMEDY = (
    "Give somebody else that role, without an end; or sign in anew, where a group gives it. Later only whoever holds the "
    "machine appoints an admin, with `countersign identity bootstrap NAME`."
)
WAY_BACK = (
    "Whoever holds the machine appoints an admin, with `countersign identity bootstrap NAME`; where a group of a provider, or "
    "`first_administrator` of the settings, says that somebody is one, signing in anew does it."
)


@dataclass(frozen=True)
class Outlook:
    """How long there is an active person who is an admin everywhere, if nobody does anything.

    Args:
        until: None for as long as nobody changes that.
        is_soon: whether it is time to say so. A role that lasts shorter than six weeks is said to end soon in its last third:
            signing in moves its end before that.
    """

    anybody: bool
    until: datetime | None = None
    is_soon: bool = False

    @property
    def problem(self) -> tuple[str, str] | None:
        """What is wrong, and what to do about it; None where nothing is."""
        if not self.anybody:
            return "Nobody is an admin everywhere, so that nobody can give a role.", WAY_BACK
        if self.is_soon and self.until is not None:
            end = f"{self.until.astimezone(UTC):%-d %b %Y %H:%M} UTC"
            return f"From {end} on nobody is an admin everywhere, so that nobody could give a role any more.", REMEDY
        return None


def outlook(session: Session, *, now: datetime, demo: bool) -> Outlook:
    """By the grants of now. `demo`: whether the demo identities count."""
    held = [one for one, _ in _held(session, now=now, demo=demo)]
    ends = [(one.expires_at, one.granted_at) for one in held if one.expires_at is not None]
    if not held or len(ends) < len(held):
        return Outlook(bool(held))
    until, since = max(ends)
    return Outlook(True, until, now >= until - min(SOON, (until - since) / 3))


def watch(database: Database, *, demo: bool) -> Outlook:
    """Looks ahead; what was not said before is put into the ledger, from where it is told, and into the log."""
    with database.unit(SYSTEM) as tx:
        found = outlook(tx.session, now=tx.now, demo=demo)
        if found.problem is None:
            return found
        action = ENDING if found.anybody else NONE
        facts = {"until": found.until.astimezone(UTC).isoformat()} if found.until is not None else {}
        query = select(LedgerRow.action, LedgerRow.after_json).where(col(LedgerRow.action).in_((ENDING, NONE)))
        said = tx.session.exec(query.order_by(col(LedgerRow.seq).desc()).limit(1)).first()
        if said != (action, canonical(facts).decode()):
            tx.record(action, SUBJECT, after=facts)
            structlog.get_logger().warning(action, **facts)
        return found


def admins(tx: Unit, *, demo: bool) -> set[str]:
    """Ids of active people who hold admin everywhere; with those of the demo, where they count.

    Nobody else gives or takes a role meanwhile: two admins who take each other's away at once would both find the other one.
    """
    tx.alone(ROLES)
    return {one.id for _, one in _held(tx.session, now=tx.now, demo=demo)}


def is_last_admin(tx: Unit, identity_id: str, *, demo: bool) -> bool:
    """Whether nobody could give a role any more without this one: now, or before it could be told that everybody else's ends.

    Somebody else's that lasts as long, or until it is told of, is enough: whoever leaves is not kept for longer than that.
    """
    tx.alone(ROLES)
    held = _held(tx.session, now=tx.now, demo=demo)
    mine = next((grant for grant, one in held if one.id == identity_id), None)
    if mine is None:
        return False
    enough = min(mine.expires_at or tx.now + SOON, tx.now + SOON)
    return not any(_lasts(grant, enough) for grant, one in held if one.id != identity_id)


def _lasts(grant: RoleGrant, until: datetime) -> bool:
    """Whether a role lasts at least as long as that. One by the groups of a sign-in has an end that each sign-in moves: whoever
    is in the group is an admin for as long as that is said of him.
    """
    endless = grant.expires_at is None or grant.granted_by.startswith(SOURCE)
    return endless or (grant.expires_at is not None and grant.expires_at >= until)


def refuse_last(tx: Unit, identity_id: str, *, demo: bool) -> None:
    """Refusal `last-admin` for whom the installation cannot do without."""
    if is_last_admin(tx, identity_id, demo=demo):
        raise _last()


def refuse_last_until(tx: Unit, identity_id: str, until: datetime, *, demo: bool) -> None:
    """The same where an admin's role shall end sooner than it does: somebody else's has to last longer than that."""
    tx.alone(ROLES)
    held = _held(tx.session, now=tx.now, demo=demo)
    mine = next((grant for grant, one in held if one.id == identity_id), None)
    is_sooner = mine is not None and (mine.expires_at is None or until < mine.expires_at)
    if is_sooner and not any(one.id != identity_id and _lasts(grant, until + _AN_INSTANT) for grant, one in held):
        raise _last()


def _last() -> Refusal:
    return Refusal(
        "Nobody else is an admin everywhere for as long: without this one nobody could give a role any more.",
        "Make somebody else an admin first, without an end.",
        code="last-admin",
    )


def _held(session: Session, *, now: datetime, demo: bool) -> list[tuple[RoleGrant, Identity]]:
    query = select(RoleGrant, Identity).join(Identity, col(Identity.id) == RoleGrant.identity_id)
    query = query.where(RoleGrant.role == "admin", RoleGrant.scope == "*", Identity.kind == "person", col(Identity.active))
    return [
        (held, one)
        for held, one in session.exec(query.execution_options(populate_existing=True))  # as it is now, whatever was read before
        if (held.expires_at is None or now < held.expires_at) and (demo or not one.is_demo)
    ]
