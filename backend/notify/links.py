"""Links that open a change once, for one person: made when a message is sent, used by whoever it was sent to, signed in.

A link gives no right and replaces no sign-in. It is used up by its recipient's session and by nothing else, so that the GET of
a mail scanner or a preview burns nothing; a link that was used, is too old or was somebody else's says so.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from backend.access.checks import active_identity
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.notify.port import Subjects
from backend.notify.rows import Link

GOOD_FOR = timedelta(hours=24)
_BYTES = 32
_LONGEST = 100


@dataclass(frozen=True)
class Opened:
    """Where a link leads, and whether it did so: `code` is empty, `used` or `expired`. Without a number there is no way."""

    number: int | None
    code: str = ""
    used_at: datetime | None = None


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def make(tx: Unit, message_id: str, identity_id: str, change_id: str) -> tuple[str, datetime]:
    """Joins: a new token and until when it is good. Earlier ones of the message stay good: either may have arrived."""
    token, until = secrets.token_urlsafe(_BYTES), tx.now + GOOD_FOR
    tx.add(
        Link(
            id=digest_of(token),
            message_id=message_id,
            identity_id=identity_id,
            subject_id=change_id,
            made_at=tx.now,
            expires_at=until,
        )
    )
    return token, until


class Links:
    """Opening them.

    Args:
        subjects: asked for the number of the change.
    """

    def __init__(self, database: Database, subjects: Subjects) -> None:
        self._database = database
        self._subjects = subjects

    def open(self, actor: Actor, token: str) -> Opened:
        """Uses a link up, and says where it leads. One that was used or is too old still says where, and why it did not open.

        Refusal `not-found` for a token that was never made and for somebody else's alike.
        """
        with self._database.unit(actor) as tx:
            active_identity(tx.session, actor)
            row = tx.session.get(Link, digest_of(token), with_for_update=True) if 0 < len(token) <= _LONGEST else None
            if row is None or row.identity_id != actor.id:
                raise Refusal(
                    "This link is not one of yours.",
                    "Links in messages are for their recipient alone: sign in as whoever it was sent to, or open Approvals.",
                    code="not-found",
                )
            number = self._number(tx.session, row.subject_id)
            if row.used_at is not None:
                return Opened(number, "used", row.used_at)
            if tx.now >= row.expires_at:
                return Opened(number, "expired", row.expires_at)
            for one in tx.session.exec(select(Link).where(Link.message_id == row.message_id, col(Link.used_at).is_(None))):
                one.used_at = tx.now
            return Opened(number)

    def _number(self, session: Session, change_id: str) -> int | None:
        about = self._subjects.about(session, "change", change_id)
        return about.number if about is not None else None
