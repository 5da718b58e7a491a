"""How sessions of sign-in end, and with them what a provider gave out before: in one place, each with its row of the ledger."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from backend.access.rows import Identity
from backend.access.session_rows import SignInSession
from backend.core.unit import Unit


def running(session: Session, *where: Any) -> list[SignInSession]:
    """Sessions that have not ended, locked until the unit's end."""
    query = select(SignInSession).where(col(SignInSession.ended_at).is_(None), *where).with_for_update()
    return list(session.exec(query))


def end(tx: Unit, row: SignInSession, why: str, reason: str = "") -> None:
    """Ends one for good: it never comes to life again, whatever becomes of its identity. One that has ended stays as it is."""
    if row.ended_at is None:
        row.ended_at, row.ended_why = tx.now, why
        said = {"reason": reason} if reason else {}
        tx.record("session.end", row, after={**row.facts("identity_id", "ended_why"), **said})


def end_all(tx: Unit, why: str, *where: Any, reason: str = "") -> int:
    """Ends every session of which this holds. Returns how many were running."""
    found = running(tx.session, *where)
    for row in found:
        end(tx, row, why, reason)
    return len(found)


def sign_out(tx: Unit, identity: Identity, why: str) -> None:
    """From now on no access token that a provider gave this person before is good, whether a session was running or not."""
    if identity.signed_out_at is None or identity.signed_out_at < tx.now:
        identity.signed_out_at = tx.now
        tx.record("identity.sign_out", identity, after={"why": why})


def end_everywhere(tx: Unit, identity: Identity, why: str, reason: str = "") -> int:
    """Ends every session of one identity, and what it was given before. Returns how many sessions were running."""
    sign_out(tx, identity, why)
    return end_all(tx, why, SignInSession.identity_id == identity.id, reason=reason)
