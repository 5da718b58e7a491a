"""What is kept of messages, and for how long; and which texts of a route are sealed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlmodel import col

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.notify.rows import Attempt, Link, Message, Route

KEPT = timedelta(days=90)
"""How long a message that was sent, given up or dropped stays in the log, with its tries and links."""
_SEALED = ("sealed_address", "sealed_secret", "sealed_previous")


def prune(database: Database) -> None:
    """Forgets messages that were settled long ago. What they told of stays in the ledger."""
    with database.unit(SYSTEM) as tx:
        old = sa.select(col(Message.id)).where(col(Message.settled_at) < tx.now - KEPT)
        connection = tx.session.connection()
        for table in (Attempt, Link):
            connection.execute(sa.delete(table).where(col(table.message_id).in_(old)))
        connection.execute(sa.delete(Message).where(col(Message.settled_at) < tx.now - KEPT))


def sealed_texts(row: Route) -> Sequence[str]:
    """What of a route is sealed for the worker, for whoever puts another key in the place of the present one."""
    return [text for name in _SEALED if (text := getattr(row, name))]


def renew_sealed(row: Route, again: Callable[[str], str]) -> None:
    """Puts what is sealed anew in the place of each of them."""
    for name in _SEALED:
        if text := getattr(row, name):
            setattr(row, name, again(text))
