"""Which keys secrets are sealed to, as the database knows it: the keys themselves are files (`backend.core.sealed`).

What seals a secret and what destroys an old key exclude each other inside the database, so that a process that still seals to
the key before may do so until that key is destroyed, and is refused afterwards: nothing is ever sealed to a key that is gone.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, utc
from backend.core.errors import Refusal
from backend.core.sealed import Sealer, key_of
from backend.core.unit import LEDGER_LOCK, Unit

_LOCK = LEDGER_LOCK + 2


class SealingKey(Row, table=True):
    """One pair of keys, by the name of its public half."""

    __tablename__ = "sealing_key"
    __subject__: ClassVar[str] = "sealing_key"
    __table_args__ = (sa.CheckConstraint("state IN ('current', 'old', 'destroyed')", name="sealing_key_state"),)

    id: str = Field(primary_key=True)
    state: str = "current"
    made_by: str
    made_at: datetime = Field(sa_column=utc())
    """When the database first named it: the first key is older."""
    replaced_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    destroyed_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


def seal(tx: Unit, sealer: Sealer, row_id: str, secret: str) -> str:
    """A secret sealed to the key in force. Joiner: the row that keeps it is written in the same unit.

    Refusal `sealing-key` in a process whose public key was destroyed meanwhile.
    """
    exclude(tx, shared=True)
    sealed = sealer.seal(row_id, secret)
    known = tx.session.get(SealingKey, key_of(sealed), populate_existing=True)
    if known is not None and known.state == "destroyed":
        raise Refusal(
            "The key that this process seals with was destroyed when another took its place.",
            "Give this process the sealing.pub of the worker's keys folder, then enter the secret again.",
            code="sealing-key",
        )
    return sealed


def exclude(tx: Unit, *, shared: bool) -> None:
    """Until this unit ends no key is destroyed (`shared`), or nothing is sealed either. SQLite has one writer anyway."""
    if tx.session.get_bind().dialect.name == "postgresql":
        lock = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        tx.session.connection().execute(sa.text(f"SELECT {lock}(:key)"), {"key": _LOCK})
