"""How sessions of sign-in end: in one place, locked, each with its row of the ledger."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

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


def end_those_of(tx: Unit, identity_id: str, why: str, reason: str = "") -> int:
    """Ends every session of one identity."""
    return end_all(tx, why, SignInSession.identity_id == identity_id, reason=reason)
