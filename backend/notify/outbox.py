"""From the ledger to messages: a cursor walks over the rows, and each row becomes a message for every way that it goes.

The ledger is the outbox (docs/decisions/0011-the-ledger-is-the-outbox.md): every state change has its row in the same
transaction, rows are numbered in the order in which they became visible, and the cursor moves in the transaction that writes
the messages. So no event is lost or told twice, and a command pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from backend.access import last_admin
from backend.access.rows import Request
from backend.core import work
from backend.core.canonical import loads
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.ledger import LedgerHead, LedgerRow
from backend.core.unit import Unit
from backend.core.work import Claim
from backend.notify import rules
from backend.notify.audience import Readers, Way
from backend.notify.port import About, Subjects
from backend.notify.quiet import quiet
from backend.notify.rows import Cursor, Message, Preference, Route
from backend.notify.rules import EVENTS, Event
from backend.policy.rows import Freeze

KIND, KEY = "notify", "ledger"
"""The one work item that walks the ledger."""
ROUTE = "route"
"""The kind of work item that sends what waits on one route; the key is the route's."""
POLL = timedelta(seconds=2)
BATCH = 200

log = structlog.get_logger()


@dataclass(frozen=True)
class Told:
    """One event, for one way."""

    way: Way
    event: Event
    seq: int
    at: datetime
    subject: tuple[str, str]
    facts: dict[str, Any]

    @property
    def same(self) -> str:
        """What the same again would be: of the same subject, or of what is told together with it."""
        what = ("together", str(self.facts["together"])) if self.facts.get("together") else self.subject
        return "/".join((self.way.route_key, self.way.identity_id or "", self.event.name, *what))


class Outbox:
    """Walks the ledger.

    Args:
        subjects: what stands above this room.
        mails: whether people can be mailed.
    """

    def __init__(self, database: Database, subjects: Subjects, *, mails: bool) -> None:
        self._database = database
        self._subjects = subjects
        self._mails = mails

    def handle(self, claim: Claim) -> None:
        """Tells the next rows of the ledger, and says when to look again: at once while more are there."""
        with self._database.read() as session:
            now = self._database.now(session)
            seq, rows, to = _next_rows(session)
            told = self._told(session, rows, now)
        with self._database.unit(SYSTEM) as tx:
            cursor = tx.session.get(Cursor, KEY, with_for_update=True) or tx.add(Cursor(id=KEY, seq=seq))
            if cursor.seq == seq:  # else another worker was faster, and it is looked at again
                cursor.seq = to
                enqueue(tx, told)
            more = len(rows) == BATCH or cursor.seq != to
            work.finish(tx, claim, next_due=tx.now if more else tx.now + POLL)

    def _told(self, session: Session, rows: Sequence[LedgerRow], now: datetime) -> list[Told]:
        if not rows:
            return []
        readers = Readers(session, self._subjects, now, self._mails)
        found: list[Told] = []
        for row in rows:
            try:
                found += self._of_row(session, readers, row)
            except SQLAlchemyError:
                raise
            except Exception as error:  # one row that cannot be told must not keep all later ones from being told
                log.error("notify.not_told", seq=row.seq, exc_info=error)
        return found

    def _of_row(self, session: Session, readers: Readers, row: LedgerRow) -> list[Told]:
        before, after = loads(row.before_json.encode()), loads(row.after_json.encode())
        found: list[Told] = []
        for name in rules.events_of(row.action, before, after, by_itself=row.actor_id == SYSTEM.id):
            about = about_of(session, self._subjects, row.subject_kind, row.subject_id)
            if about is None:
                continue
            kept = {key: after[key] for key in rules.KEPT_FACTS if isinstance(after, dict) and key in after}
            event = rules.told_as(EVENTS[name], kept)
            facts = {
                **kept,
                "actor": row.actor_id,
                "subject": row.subject_id,
                "before": _state(before),
                "after": _state(after),
            }
            subject = (row.subject_kind, row.subject_id)
            found += [
                Told(way, event, row.seq, row.at, subject, {**facts, "asked": way.is_asked})
                for way in readers.ways(event, about, facts)
            ]
        return found


def about_of(session: Session, subjects: Subjects, kind: str, identifier: str) -> About | None:
    """What a subject is: what stands above is asked for its own, the rest is known here."""
    if (found := subjects.about(session, kind, identifier)) is not None:
        return found
    if kind == "freeze" and (freeze := session.get(Freeze, identifier)) is not None:
        where = None if freeze.scope == "*" else freeze.scope
        says = f"Starts in {where or 'every environment'}"
        return About(says, freeze.reason, environment=where, page="admin", query=("part", "Policies"))
    if kind == "request" and session.get(Request, identifier) is not None:
        return About("A request", page="admin", query=("part", "Grants"))
    if kind == last_admin.SUBJECT[0]:
        return About("Who is an admin", page="admin", query=("part", "Grants"))
    if kind == "ledger":
        return About("The ledger", page="audit")
    if kind == "route" and (route := session.get(Route, identifier)) is not None:
        return About(f"The route {route.name}", page="notifications")
    return None


def enqueue(tx: Unit, told: Sequence[Told]) -> None:
    """Joins: writes the messages, counting what is the same again within its window, and wakes the routes."""
    latest = _latest(tx, [one for one in told if one.event.window])
    preferences = {one.id: one for one in tx.session.exec(select(Preference))} if told else {}
    keys: dict[str, datetime] = {}
    for one in told:
        message = _counted(tx, one, latest)
        if message is None:
            before = latest.get(one.same) if one.event.window else None
            message = tx.add(_message(tx, one, before, preferences.get(one.way.identity_id or "")))
        if one.event.window:
            latest[one.same] = message
        keys[message.route_key] = min(keys.get(message.route_key, message.due_at), message.due_at)
    tx.session.flush()
    for key in sorted(keys):
        work.wake(tx, ROUTE, key, at=keys[key])


def _counted(tx: Unit, one: Told, latest: dict[str, Message]) -> Message | None:
    """The message that waits already for the same, one more counted; None when there is none."""
    before = latest.get(one.same)
    if not one.event.window or before is None or before.state != "waiting" or before.attempts:
        return None
    before.count, before.seq, before.at, before.told = before.count + 1, one.seq, one.at, one.facts
    return before


def _message(tx: Unit, one: Told, before: Message | None, preference: Preference | None) -> Message:
    due = tx.now
    if before is not None and before.settled_at is not None:
        due = max(due, before.settled_at + one.event.window)
    due = held_until(preference, one.event, due)
    kind, identifier = one.subject
    return Message(
        id=tx.new_id("msg"),
        route_key=one.way.route_key,
        identity_id=one.way.identity_id,
        event=one.event.name,
        seq=one.seq,
        at=one.at,
        subject_kind=kind,
        subject_id=identifier,
        told=one.facts,
        same=one.same,
        due_at=due,
        created_at=tx.now,
    )


def held_until(preference: Preference | None, event: Event, due: datetime) -> datetime:
    """When a message may go at the earliest: not in somebody's quiet hours, unless it is urgent and comes through them."""
    if preference is None or (event.urgent and preference.urgent_through):
        return due
    hours = quiet(preference.quiet_from, preference.quiet_to, preference.zone)
    return hours.over_at(due) if hours is not None else due


def _latest(tx: Unit, told: Sequence[Told]) -> dict[str, Message]:
    """The newest message of each sort that is the same, as far back as a window reaches."""
    sames = sorted({one.same for one in told})
    if not sames:
        return {}
    since = tx.now - max(one.event.window for one in told)
    query = select(Message).where(
        col(Message.same).in_(sames),
        sa.or_(col(Message.created_at) >= since, col(Message.settled_at) >= since, col(Message.state) == "waiting"),
    )
    return {one.same: one for one in tx.session.exec(query.order_by(col(Message.created_at), col(Message.id)))}


def _next_rows(session: Session) -> tuple[int, Sequence[LedgerRow], int]:
    """Where the cursor stands, the next rows that may tell something, and where it stands after them."""
    cursor, head = session.get(Cursor, KEY), session.get(LedgerHead, 1)
    end = head.seq if head is not None else 0
    seq = cursor.seq if cursor is not None else end
    telling = sa.or_(
        col(LedgerRow.action).in_(rules.ACTIONS), *(col(LedgerRow.action).startswith(noun) for noun in rules.NOUNS)
    )
    query = select(LedgerRow).where(col(LedgerRow.seq) > seq, telling).order_by(col(LedgerRow.seq)).limit(BATCH)
    rows = session.exec(query).all() if end > seq else []
    return seq, rows, rows[-1].seq if len(rows) == BATCH else end


def _state(facts: Any) -> str | None:
    return str(facts["state"]) if isinstance(facts, dict) and "state" in facts else None
