"""Endpoints, servers and routers by the names that people use."""

from __future__ import annotations

import re
from typing import TypeVar

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit
from backend.delivery.rows import Endpoint, RouterRow, Server

R = TypeVar("R", Endpoint, Server, RouterRow)

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def named(session: Session, table: type[R], name: str, *, lock: bool = False) -> R:
    """The row of that name, else NotFound. `lock` reads it anew under its lock; take it first in a unit."""
    query = select(table).where(col(table.name) == name)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = session.exec(query).one_or_none()
    if row is None:
        raise NotFound(table.__subject__, name[:80])
    return row


def add_named(tx: Unit, row: R) -> R:
    """Adds a row with a name of its own; Refusal for a name that cannot be one, or that is taken.

    The name is part of addresses and commands, so it is a slug.
    """
    if not _SLUG.fullmatch(row.name):
        raise Refusal(
            f"{row.name[:80]!r} cannot be the name of a {row.__subject__}.",
            "Use up to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
            code="bad-name",
        )
    try:
        with tx.session.begin_nested():
            tx.session.add(row)
    except sa.exc.IntegrityError as error:
        raise Refusal(
            f"There is already a {row.__subject__} {row.name}.", "Choose another name, or edit that one.", code="name-taken"
        ) from error
    return row
