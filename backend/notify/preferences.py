"""Commands on how one person wants to be told: quiet hours, and what is not wanted at all."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import col, select

from backend.access.checks import active_identity, refuse_narrow
from backend.access.rows import Identity
from backend.core import work
from backend.core.context import Actor
from backend.core.database import Database
from backend.notify import quiet, rules
from backend.notify.audience import event_of
from backend.notify.outbox import ROUTE, held_until
from backend.notify.rows import Message, Preference

_FACTS = ("zone", "quiet_from", "quiet_to", "urgent_through", "mail", "muted")


class Preferences:
    """How one wants to be told. Everybody sets one's own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(
        self,
        actor: Actor,
        *,
        zone: str = "UTC",
        quiet_from: str | None = None,
        quiet_to: str | None = None,
        urgent_through: bool = True,
        mail: bool = True,
        muted: Sequence[str] = (),
    ) -> None:
        """All of it, at once. What waits is held or let go accordingly. Refusal codes: bad-zone, bad-time, bad-event."""
        refuse_narrow(actor)
        quiet.quiet(quiet_from, quiet_to, zone)
        if muted:
            rules.check_events(tuple(muted))
        with self._database.unit(actor) as tx:
            active_identity(tx.session, actor)
            tx.session.get(Identity, actor.id, with_for_update=True)  # of two first times, one waits for the other
            row = tx.session.get(Preference, actor.id, with_for_update=True)
            before = row.facts(*_FACTS) if row is not None else None
            row = row or tx.add(Preference(id=actor.id, updated_at=tx.now))
            row.zone, row.quiet_from, row.quiet_to = zone, quiet_from, quiet_to
            row.urgent_through, row.mail, row.muted = urgent_through, mail, sorted(set(muted))
            if row.facts(*_FACTS) == before:
                return
            row.updated_at = tx.now
            tx.record("preference.set", row, before=before, after=row.facts(*_FACTS))
            query = select(Message).where(
                Message.identity_id == actor.id, Message.state == "waiting", Message.attempts == 0, col(Message.event) != "test"
            )
            keys = set()
            for message in tx.session.exec(query):
                message.due_at = held_until(row, rules.told_as(event_of(message.event), message.told), tx.now)
                keys.add(message.route_key)
            tx.session.flush()
            work.wake_many(tx, ROUTE, sorted(keys))
