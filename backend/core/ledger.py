"""The append-only, hash-chained record of everything that changed.

Each row's hash covers its own columns and the hash before it, so that changing, removing or reordering one row breaks
every later one. A chain alone cannot show that its end was cut off: `backend.audit` signs the head and keeps it elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.canonical import canonical, digest
from backend.core.columns import Row, utc

GENESIS = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Entry:
    """What a command asks to be recorded: an action on a subject, with the facts before and after."""

    action: str
    subject_kind: str
    subject_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class LedgerRow(Row, table=True):
    """One row of the ledger. `before_json` and `after_json` are canonical JSON text, so that hashes can be recomputed."""

    __tablename__ = "ledger"
    __seen_through__: ClassVar[str] = "ledger"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.Index("ledger_subject", "subject_kind", "subject_id", "seq"), sa.Index("ledger_at", "at"))

    seq: int = Field(sa_column=sa.Column(sa.BigInteger, primary_key=True, autoincrement=False))
    at: datetime = Field(sa_column=utc())
    actor_id: str = Field(index=True)
    actor_kind: str
    request_id: str = ""
    action: str = Field(index=True)
    subject_kind: str
    subject_id: str
    before_json: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    after_json: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    previous: str
    hash: str = Field(unique=True)

    def expected_hash(self) -> str:
        """The hash that this row's own columns demand."""
        return digest(
            {
                "seq": self.seq,
                "at": self.at.isoformat(timespec="microseconds"),
                "actor_id": self.actor_id,
                "actor_kind": self.actor_kind,
                "request_id": self.request_id,
                "action": self.action,
                "subject_kind": self.subject_kind,
                "subject_id": self.subject_id,
                "before": self.before_json,
                "after": self.after_json,
                "previous": self.previous,
            }
        )


class LedgerHead(Row, table=True):
    """The single row that every appending transaction locks last: where the chain ends."""

    __tablename__ = "ledger_head"
    __governed__: ClassVar[bool] = False

    id: int = Field(default=1, primary_key=True)
    seq: int = Field(default=0, sa_type=sa.BigInteger)
    hash: str = Field(default=GENESIS)


def link(entry: Entry, *, seq: int, at: datetime, actor_id: str, actor_kind: str, request: str, previous: str) -> LedgerRow:
    """The row that continues the chain after `previous`."""
    row = LedgerRow(
        seq=seq,
        at=at,
        actor_id=actor_id,
        actor_kind=actor_kind,
        request_id=request,
        action=entry.action,
        subject_kind=entry.subject_kind,
        subject_id=entry.subject_id,
        before_json=canonical(entry.before).decode(),
        after_json=canonical(entry.after).decode(),
        previous=previous,
        hash="",
    )
    row.hash = row.expected_hash()
    return row


@dataclass(frozen=True)
class Break:
    """The first row at which the chain does not hold, and why."""

    seq: int
    reason: str


def first_break(rows: Iterable[LedgerRow], *, seq: int = 0, previous: str = GENESIS) -> tuple[Break | None, int, str]:
    """Walks rows in order from a trusted (seq, hash). Returns (first break or None, last good seq, last good hash)."""
    for row in rows:
        if row.seq != seq + 1:
            return Break(seq + 1, f"row {seq + 1} is missing; the next row is {row.seq}"), seq, previous
        if row.previous != previous:
            return Break(row.seq, f"row {row.seq} does not continue row {seq}"), seq, previous
        if row.hash != row.expected_hash():
            return Break(row.seq, f"row {row.seq} was altered after it was written"), seq, previous
        seq, previous = row.seq, row.hash
    return None, seq, previous
