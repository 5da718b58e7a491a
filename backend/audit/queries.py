"""Reads of the ledger: search by subject, action, identity and time, newest first, paged by key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.access.visible import seen_endpoints
from backend.core.canonical import loads
from backend.core.ledger import LedgerRow

NAME_ENDPOINTS = ("server.ask_move", "router.ask_move")
"""Rows about what many share, which name endpoints in `endpoints`."""


@dataclass(frozen=True)
class Event:
    """One ledger row as pages and the API show it."""

    seq: int
    at: datetime
    actor_id: str
    action: str
    subject_kind: str
    subject_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    hash: str


def events(
    session: Session,
    *,
    subject: tuple[str, str] | None = None,
    action: str | None = None,
    actor_id: str | None = None,
    until: datetime | None = None,
    before_seq: int | None = None,
    limit: int = 100,
) -> list[Event]:
    """Newest first. `before_seq` is the last seq of the page before; `until` shows the ledger as of a moment."""
    query = select(LedgerRow).order_by(col(LedgerRow.seq).desc()).limit(min(limit, 1000))
    if subject is not None:
        query = query.where(LedgerRow.subject_kind == subject[0], LedgerRow.subject_id == subject[1])
    if action is not None:
        query = query.where(LedgerRow.action == action)
    if actor_id is not None:
        query = query.where(LedgerRow.actor_id == actor_id)
    if until is not None:
        query = query.where(col(LedgerRow.at) <= until)
    if before_seq is not None:
        query = query.where(col(LedgerRow.seq) < before_seq)
    return [_event(row, session) for row in session.exec(query)]


def _event(row: LedgerRow, session: Session) -> Event:
    return Event(
        seq=row.seq,
        at=row.at,
        actor_id=row.actor_id,
        action=row.action,
        subject_kind=row.subject_kind,
        subject_id=row.subject_id,
        before=loads(row.before_json),
        after=_shown(row.action, loads(row.after_json), session),
        hash=row.hash,
    )


def _shown(action: str, after: dict[str, Any] | None, session: Session) -> dict[str, Any] | None:
    """What a row says, without the names of endpoints that a narrowed look does not show: others share a server with them."""
    if after is None or action not in NAME_ENDPOINTS or "endpoints" not in after:
        return after
    return {**after, "endpoints": seen_endpoints(session, after["endpoints"])}
