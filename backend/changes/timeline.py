"""What happened to a change, from the ledger: its own rows and those of its checks, approval, rollout and generations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.changes.queries import names_of
from backend.changes.rows import Change
from backend.core.canonical import loads
from backend.core.context import SYSTEM
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Authorization, Generation
from backend.evidence import queries as evidence
from backend.rollouts.rows import Rollout

QUIET = ("change.wait", "rollout.wait", "evidence.begin")
"""Rows that say what is waited for; left out unless they are asked for."""


@dataclass(frozen=True)
class Moment:
    """One row of the ledger about a change: when, who, what, why, and the facts that were recorded."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**vars(self), "at": self.at.isoformat(), "facts": dict(self.facts)}


def timeline(session: Session, change: Change, *, quiet: bool = True, limit: int = 500) -> tuple[Moment, ...]:
    """What happened, the first first.

    Args:
        quiet: leave out what only says what is waited for.
        limit: of the latest rows.
    """
    query = select(LedgerRow).where(_about(_subjects(session, change)))
    if quiet:
        query = query.where(col(LedgerRow.action).not_in(QUIET))
    rows = session.exec(query.order_by(col(LedgerRow.seq).desc()).limit(limit)).all()
    names = {SYSTEM.id: SYSTEM.name, **names_of(session, {row.actor_id for row in rows})}
    return tuple(_moment(row, names) for row in reversed(rows))


def _subjects(session: Session, change: Change) -> dict[str, set[str]]:
    approvals = set(session.exec(select(Authorization.id).where(Authorization.change_id == change.id)))
    return {
        "change": {change.id},
        "evidence": {row.id for row in evidence.runs(session, change.id)},
        "authorization": approvals,
        "rollout": set(session.exec(select(Rollout.id).where(col(Rollout.authorization_id).in_(approvals)))),
        "generation": set(session.exec(select(Generation.id).where(col(Generation.authorization_id).in_(approvals)))),
    }


def _about(subjects: Mapping[str, Iterable[str]]) -> sa.ColumnElement[bool]:
    return sa.or_(
        *(
            sa.and_(col(LedgerRow.subject_kind) == kind, col(LedgerRow.subject_id).in_(sorted(ids)))
            for kind, ids in subjects.items()
            if ids
        )
    )


def _moment(row: LedgerRow, names: Mapping[str, str]) -> Moment:
    facts = loads(row.after_json) or {}
    reason = next((str(facts[one]) for one in ("state_reason", "why", "reason", "summary") if facts.get(one)), "")
    return Moment(
        seq=row.seq,
        at=row.at,
        actor=names.get(row.actor_id, row.actor_id),
        action=row.action,
        subject=f"{row.subject_kind} {row.subject_id}",
        reason=reason,
        facts=facts,
    )
