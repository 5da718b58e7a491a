"""Sends what waits on one route, message by message: outside any unit, and written down in one afterwards.

A process that dies between the two sends the message again under the same id: at least once, never silently not at all.
Messages of a route go in the order of the ledger; one that has to be tried again does not hold up those behind it, so that a
receiver that needs an order takes it from `seq`. A route that fails rests, longer each time, and costs one call after a rest.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlmodel import Session, col, select

from backend.access.queries import some_people
from backend.access.rows import Identity
from backend.core import failpoints, work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.core.sealed import Opener
from backend.core.unit import Unit
from backend.core.work import Claim
from backend.notify import links, rules, webhooks
from backend.notify.answers import Answer
from backend.notify.audience import MAIL, event_of, why_not_person, why_not_route
from backend.notify.letters import Letter
from backend.notify.outbox import about_of, held_until
from backend.notify.port import About, Subjects
from backend.notify.rows import Attempt, Message, Preference, Route, RouteHealth
from backend.notify.services import Services

AT_ONCE = 50
"""Messages that one handling sends at most; the rest follows in the next, so that others come between."""
SENT = "notify-sent"
"""The failpoint between sending and writing down."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Sending:
    """How messages leave.

    Args:
        guard: what every route's address goes through.
        mail_guard: the same for the mail server, which an administrator named.
        opener: opens sealed addresses; None where this process may not.
        mail_url: the mail server in Apprise's form, with its password; "" for none.
        public_url: under which address people see this.
    """

    guard: Guard
    mail_guard: Guard
    opener: Opener | None
    mail_url: str
    public_url: str


@dataclass(frozen=True)
class _Ready:
    """A message that may go now: where to, and all that it says."""

    letter: Letter
    route: Route | None
    email: str | None
    is_link_due: bool


@dataclass(frozen=True)
class _Not:
    """A message that does not go: never (`until` is None), or not before a moment."""

    why: str
    until: datetime | None = None


class Courier:
    """Looks after one route at a time.

    Args:
        lease_seconds: for how long a claim is renewed before each message; a worker renews it besides while one is sent.
    """

    def __init__(self, database: Database, subjects: Subjects, sending: Sending, *, lease_seconds: float = 30.0) -> None:
        self._database = database
        self._subjects = subjects
        self._sending = sending
        self._lease = lease_seconds

    def handle(self, claim: Claim) -> None:
        """Sends what is due on the route, as long as it does not fail, and says when to look again."""
        with Services(self._sending.mail_guard if claim.key == MAIL else self._sending.guard) as services:
            for message_id in self._due(claim.key):
                claim = work.renew(self._database, claim, seconds=self._lease)
                if not self._one(claim, message_id, services):
                    break
        with self._database.unit(SYSTEM) as tx:
            work.finish(tx, claim, next_due=_next_due(tx, claim.key))

    def _due(self, key: str) -> Sequence[str]:
        with self._database.read() as session:
            now = self._database.now(session)
            health, route = session.get(RouteHealth, key), session.get(Route, key)
            query = select(Message.id).where(Message.route_key == key, Message.state == "waiting", col(Message.due_at) <= now)
            rests = health is not None and health.rest_until is not None and now < health.rest_until
            if rests or (route is not None and route.state == "paused"):
                query = query.where(Message.event == "test")  # whoever tests wants to know now
            return session.exec(query.order_by(col(Message.seq), col(Message.id)).limit(AT_ONCE)).all()

    def _one(self, claim: Claim, message_id: str, services: Services) -> bool:
        """Whether the next one may be tried."""
        with self._database.read() as session:
            ready = self._judge(session, message_id, self._database.now(session))
        if isinstance(ready, _Not):
            self._not_sent(claim, message_id, ready)
            return True
        letter = self._with_link(claim, ready) if ready.is_link_due else ready.letter
        started = time.monotonic()
        answer = self._send(ready, letter, services)
        failpoints.reach(SENT)
        return self._write_down(claim, message_id, answer, time.monotonic() - started)

    def _judge(self, session: Session, message_id: str, now: datetime) -> _Ready | _Not:
        """Whether a message goes, with the state of now: whoever may not see it any more gets nothing."""
        message = session.get(Message, message_id)
        if message is None or message.state != "waiting":
            return _Not("It was settled meanwhile.")
        event, route = rules.told_as(event_of(message.event), message.told), session.get(Route, message.route_key)
        about = about_of(session, self._subjects, message.subject_kind, message.subject_id)
        if message.event == "test":
            about = About("A test")
        if about is None:
            return _Not("What it was about is not there any more.")
        if why := self._why_not(session, message, route, about, now):
            return _Not(why)
        preference = session.get(Preference, message.identity_id) if message.identity_id is not None else None
        if message.event != "test" and (until := held_until(preference, event, now)) > now:
            return _Not("It waits for the end of quiet hours.", until)
        whose = session.get(Identity, message.identity_id) if message.identity_id is not None else None
        letter = self._letter(session, message, about, now)
        is_link_due = (
            message.event == "change.waiting"
            and bool(self._sending.public_url)
            and whose is not None
            and self._is_asked(session, message, now)
        )
        return _Ready(letter, route, whose.email if whose is not None else None, is_link_due)

    def _why_not(self, session: Session, message: Message, route: Route | None, about: About, now: datetime) -> str | None:
        event = event_of(message.event)
        if message.route_key != MAIL and (route is None or route.state == "removed"):
            return "The route was removed."
        if message.route_key == MAIL and not self._sending.mail_url:
            return "No mail server is set up."
        if message.event == "change.waiting" and about.state != "review":
            return "The change does not wait for votes any more."
        if message.identity_id is not None:
            if why := why_not_person(session, message.identity_id, event, about, now):
                return why
            if message.told.get("asked") and message.event == "change.waiting" and not self._is_asked(session, message, now):
                return "It does not wait for this person any more."
        elif route is not None and message.event != "test" and (why := why_not_route(session, route, event, about, now)):
            return why
        return None

    def _is_asked(self, session: Session, message: Message, now: datetime) -> bool:
        """Whether this person's vote is what a change waits for."""
        return message.identity_id in self._subjects.voters(session, message.subject_id, now)

    def _letter(self, session: Session, message: Message, about: About, now: datetime) -> Letter:
        actor = str(message.told.get("actor") or "")
        known = some_people(session, [actor], now=now) if actor else {}
        return Letter(
            message_id=message.id,
            event=message.event,
            about=about,
            at=message.at,
            seq=message.seq,
            subject=(message.subject_kind, message.subject_id),
            state=message.told.get("after"),
            count=message.count,
            actor=known[actor].name if actor in known and known[actor].kind != "system" else "",
            public_url=self._sending.public_url,
        )

    def _with_link(self, claim: Claim, ready: _Ready) -> Letter:
        letter = ready.letter
        with self._database.unit(SYSTEM) as tx:
            work.fence(tx, claim)
            message = tx.get(Message, letter.message_id)
            token, until = links.make(tx, message.id, str(message.identity_id), message.subject_id)
        return Letter(**{**vars(letter), "token": token, "token_until": until})

    def _send(self, ready: _Ready, letter: Letter, services: Services) -> Answer:
        """One try. What is sealed is opened here, and is in no message and no log."""
        if ready.route is None:
            return self._mail(ready.email, letter, services)
        opener, route = self._sending.opener, ready.route
        if opener is None:
            return Answer(False, "This worker has no key to open the route's address.")
        try:
            address = opener.open(route.id, route.sealed_address)
            if route.kind == "apprise":
                return services.send(address, letter.title, letter.text)
            secrets = [opener.open(route.id, one) for one in self._sealed_secrets(route)]
        except Refusal as refusal:
            return Answer(False, str(refusal))
        at, guard = int(self._database.now().timestamp()), self._sending.guard
        return webhooks.send(guard, address, secrets, message_id=letter.message_id, timestamp=at, body=letter.body)

    def _mail(self, email: str | None, letter: Letter, services: Services) -> Answer:
        if email is None or not rules.is_mailbox(email):
            return Answer(False, "There is no usable mail address for this person.", final=True)
        return services.send(self._sending.mail_url, letter.title, letter.text, to=email)

    def _sealed_secrets(self, route: Route) -> list[str]:
        still = route.previous_until is not None and self._database.now() < route.previous_until
        return [one for one in (route.sealed_secret, route.sealed_previous if still else None) if one is not None]

    def _not_sent(self, claim: Claim, message_id: str, why: _Not) -> None:
        with self._database.unit(SYSTEM) as tx:
            work.fence(tx, claim)
            message = tx.get(Message, message_id, lock=True)
            if message.state != "waiting":
                return
            message.says = why.why
            if why.until is not None:
                message.due_at = why.until
            else:
                message.state, message.settled_at = "dropped", tx.now

    def _write_down(self, claim: Claim, message_id: str, answer: Answer, seconds: float) -> bool:
        with self._database.unit(SYSTEM) as tx:
            work.fence(tx, claim)
            message = tx.get(Message, message_id, lock=True)
            message.attempts, message.says = message.attempts + 1, answer.says
            tx.add(
                Attempt(
                    id=tx.new_id("try"),
                    message_id=message_id,
                    at=tx.now,
                    seconds=round(seconds, 3),
                    ok=answer.ok,
                    status=answer.status,
                    says=answer.says,
                )
            )
            if answer.ok:
                message.state, message.settled_at = "sent", tx.now
            elif answer.final or message.event == "test" or rules.is_over(message.attempts, message.created_at, tx.now):
                message.state, message.settled_at = "dead", tx.now
            else:
                message.due_at = tx.now + rules.pause_after(message.attempts, random.random())
            _note_health(tx, claim.key, answer)
            if answer.gone:
                _stop(tx, claim.key)
        log.info("notify.tried", message=message_id, ok=answer.ok, status=answer.status)
        return answer.ok or answer.final


def _note_health(tx: Unit, key: str, answer: Answer) -> None:
    row = tx.session.get(RouteHealth, key) or tx.add(RouteHealth(id=key))
    row.says = answer.says
    if answer.ok:
        row.failures, row.rest_until, row.ok_at, row.failing_since = 0, None, tx.now, None
    elif not answer.final:
        row.failures, row.failing_since = row.failures + 1, row.failing_since or tx.now
        row.rest_until = tx.now + rules.rest_after(row.failures, random.random())


def _stop(tx: Unit, key: str) -> None:
    """A receiver that is gone for good is not called again until somebody resumes the route."""
    route = tx.session.get(Route, key, with_for_update=True)
    if route is not None and route.state == "active":
        route.state, route.state_reason, route.revision = (
            "paused",
            "Its receiver says that it is gone (410).",
            route.revision + 1,
        )
        tx.record("route.stop", route, before={"state": "active"}, after=route.facts("state", "state_reason"))


def _next_due(tx: Unit, key: str) -> datetime | None:
    """When the next message of the route may go; None when none waits, or the route is stopped."""
    route, health = tx.session.get(Route, key), tx.session.get(RouteHealth, key)
    query = select(Message.due_at).where(Message.route_key == key, Message.state == "waiting").order_by(col(Message.due_at))
    if (test := tx.session.exec(query.where(Message.event == "test").limit(1)).first()) is not None:
        return test
    due = tx.session.exec(query.limit(1)).first()
    if due is None or (route is not None and route.state == "paused"):
        return None
    rest = health.rest_until if health is not None else None
    return max(due, rest) if rest is not None else due
