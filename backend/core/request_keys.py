"""Keys under which somebody asks, so that a request which is sent again, after a time-out say, has one effect.

The key stands in the transaction of what was made under it. Source of the idea: the IETF draft "The Idempotency-Key HTTP
Header Field" (draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field, Session

from backend.core.canonical import digest
from backend.core.columns import Row, utc
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.unit import Unit, joined

KEPT = timedelta(days=90)
"""How long a key is known; the same request under it makes a new thing afterwards."""
_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class RequestKey(Row, table=True):
    """That an identity asked for something under a key of its own, and what was made.

    Not governed: what it names is, and is written in the same unit.
    """

    __tablename__ = "request_key"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.Index("request_key_at", "at"),)

    identity_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    operation: str
    request_digest: str
    """SHA-256 over what was asked for: another request under the same key is refused."""
    made: str = ""
    """Id of what was made; "" where everything was as asked for already, so that asking again does no harm."""
    at: datetime = Field(sa_column=utc())


_keys: sa.Table = RequestKey.__table__  # type: ignore[attr-defined]  # SQLModel adds it


@dataclass(frozen=True)
class Claim:
    """One request under a key: who asks for which operation, and a digest of all that is asked."""

    actor: Actor
    key: str
    operation: str
    request_digest: str


@dataclass(frozen=True)
class Made:
    """Id of what a request made, and whether it was an earlier request under the same key that did."""

    id: str
    again: bool = False


class _Again(Exception):
    """The very same request was carried out before."""

    def __init__(self, made: str) -> None:
        super().__init__(made)
        self.made = made


def claimed(actor: Actor, key: str, operation: str, asked: Any) -> Claim:
    """What a request claims. Refusal for a text that is no key."""
    if not _KEY.fullmatch(key):
        raise Refusal(
            "This cannot be the key of a request.", "Use up to 128 letters, digits, `_`, `.`, `:` and `-`.", code="bad-key"
        )
    return Claim(actor, key, operation, digest({"operation": operation, "asked": asked}))


def once(database: Database, claim: Claim | None, table: type[Row] | tuple[type[Row], ...], act: Callable[[], str]) -> Made:
    """Does it, unless this very request did it before; two at the same moment do it once.

    Args:
        table: of the row that stands for what is made; the key is written with it, in one transaction.
        act: the command; returns the id of that row.

    Refusal `key-used` where another request used the key.
    """
    if claim is None:
        return Made(act())
    with database.read() as session:
        found = _found(session, claim, database.now(session))
    if found:
        return Made(found, again=True)
    keeper = _Keeper(claim, table)
    try:
        with joined(keeper):
            made = act()
    except _Again as again:
        return Made(again.made, again=True)
    if not keeper.is_kept:
        with database.unit(claim.actor) as tx:
            _found(tx.session, claim, tx.now)
            _keep(tx, claim, "")
    return Made(made)


class _Keeper:
    """Looks for the key when a unit begins, and writes it in the unit that makes the row."""

    def __init__(self, claim: Claim, table: type[Row] | tuple[type[Row], ...]) -> None:
        self._claim, self._table = claim, table
        self.is_kept = False

    def opened(self, tx: Unit) -> None:
        if tx.actor.id != self._claim.actor.id:
            return
        _queue(tx.session, self._claim)
        if (made := _found(tx.session, self._claim, tx.now)) and not self.is_kept:
            raise _Again(made)

    def sealing(self, tx: Unit) -> None:
        mine = [row for row in tx.added if isinstance(row, self._table)] if tx.actor.id == self._claim.actor.id else []
        if mine and not self.is_kept:
            _keep(tx, self._claim, str(getattr(mine[0], "id")))  # noqa: B009 - of tables that have one
            self.is_kept = True


def _queue(session: Session, claim: Claim) -> None:
    """Of requests under one key, one at a time. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        mark = int.from_bytes(bytes.fromhex(digest([claim.actor.id, claim.key])[7:23]), signed=True)
        session.connection().execute(sa.text("SELECT pg_advisory_xact_lock(:mark)"), {"mark": mark})


def _found(session: Session, claim: Claim, now: datetime) -> str | None:
    """What this very request made; None where the key is new or too old. Refusal for another request."""
    query = sa.select(_keys.c.request_digest, _keys.c.made, _keys.c.operation)
    query = query.where(_keys.c.identity_id == claim.actor.id, _keys.c.key == claim.key, _keys.c.at >= now - KEPT)
    row = session.connection().execute(query).one_or_none()
    if row is None:
        return None
    if row.request_digest != claim.request_digest:
        raise Refusal(
            f"This key was used for another request ({row.operation}).", "Use a new key for a new request.", code="key-used"
        )
    return str(row.made)


def _keep(tx: Unit, claim: Claim, made: str) -> None:
    """Writes the key, and forgets those that are old enough."""
    connection = tx.session.connection()
    connection.execute(sa.delete(_keys).where(_keys.c.at < tx.now - KEPT))
    same = (_keys.c.identity_id == claim.actor.id) & (_keys.c.key == claim.key)
    if connection.execute(sa.select(_keys.c.key).where(same)).first() is None:
        tx.session.add(
            RequestKey(
                identity_id=claim.actor.id, key=claim.key, operation=claim.operation, request_digest=claim.request_digest,
                made=made, at=tx.now,
            )
        )  # fmt: skip
