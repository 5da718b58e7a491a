"""Column types and the base of every table: UTC times, JSON, prefixed sortable ids, revisions, governed rows."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time with microseconds. A naive value is a defect and raises ValueError."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone reached the database")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


JSON_TYPE = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def new_id(prefix: str) -> str:
    """`<prefix>_<26 characters>`: 48 bits of milliseconds, then 80 random bits, in Crockford's base 32 (as ULID does)."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return f"{prefix}_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


class Row(SQLModel):
    """Base of every table.

    `__governed__` rows may change only together with a ledger row about the same subject in the same transaction;
    the unit of work refuses to commit otherwise. `subject()` names that subject as (kind, id). `__seen_through__` says through
    what its rows belong to somebody, in the words of `backend.access.visible`; "" where everybody may see all of them.
    """

    __governed__: ClassVar[bool] = True
    __seen_through__: ClassVar[str] = ""
    __subject__: ClassVar[str] = ""

    def subject(self) -> tuple[str, str]:
        """(kind, id) under which the ledger speaks of this row."""
        return self.__subject__, str(getattr(self, "id"))  # noqa: B009 - every governed table has an id, the base has none

    def facts(self, *names: str) -> dict[str, Any]:
        """The named columns as JSON-able values, for `before` and `after` of a ledger row."""
        return {name: _plain(getattr(self, name)) for name in names}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def utc(nullable: bool = False, **options: Any) -> Any:
    """A UTC time column."""
    return sa.Column(UtcDateTime(), nullable=nullable, **options)


def json(nullable: bool = False) -> Any:
    """A JSON column (JSONB on PostgreSQL). Values are replaced whole, never mutated in place."""
    return sa.Column(JSON_TYPE, nullable=nullable)
