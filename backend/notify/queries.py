"""Reads of routes, subscriptions and messages, each for whoever they belong to; an auditor or an admin sees everybody's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.access import rules as rights
from backend.access.checks import refuse_narrow
from backend.access.rows import Identity, Team
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.notify.audience import MAIL
from backend.notify.routes import find
from backend.notify.rows import Attempt, Message, Preference, Route, RouteHealth, Subscription
from backend.notify.rules import EVENTS, SUBSCRIBABLE

MAX_PAGE = 200
"""Messages of a page; one more may be asked for, to see whether another page follows."""


@dataclass(frozen=True)
class EventLine:
    """One thing that one may hear of."""

    name: str
    says: str
    urgent: bool
    audience: tuple[str, ...]


@dataclass(frozen=True)
class RouteLine:
    """One route, without anything secret of it.

    Args:
        owner: `me`, `team NAME`, `everybody`, or the name of another person.
        health: `new` (nothing sent yet), `ok`, `failing` or `paused`.
        waiting, dead: messages.
        manages: whether whoever looks may change it; somebody else's own is his, whoever sees it.
    """

    id: str
    name: str
    kind: str
    shown: str
    owner: str
    state: str
    state_reason: str
    health: str
    says: str
    ok_at: datetime | None
    failing_since: datetime | None
    waiting: int
    dead: int
    two_secrets_until: datetime | None
    created_at: datetime
    manages: bool


@dataclass(frozen=True)
class SubscriptionLine:
    """One subscription. `route` is a route's name, or `mail`."""

    id: str
    route: str
    events: tuple[str, ...]
    object_kind: str
    object_name: str
    created_at: datetime


@dataclass(frozen=True)
class PreferenceView:
    """How somebody wants to be told."""

    zone: str = "UTC"
    quiet_from: str | None = None
    quiet_to: str | None = None
    urgent_through: bool = True
    mail: bool = True
    muted: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttemptLine:
    """One try, and what came of it."""

    at: datetime
    seconds: float
    ok: bool
    status: int | None
    says: str


@dataclass(frozen=True)
class MessageLine:
    """One message in the log. `whom`: the person's name, or the route's."""

    id: str
    route: str
    whom: str
    event: str
    says: str
    subject_kind: str
    subject_id: str
    seq: int
    count: int
    state: str
    result: str
    attempts: int
    due_at: datetime
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True)
class MessageView:
    """One message with every try."""

    line: MessageLine
    tries: tuple[AttemptLine, ...]


def events() -> tuple[EventLine, ...]:
    """Everything that one may subscribe to."""
    return tuple(EventLine(one.name, one.says, one.urgent, one.audience) for one in map(EVENTS.__getitem__, SUBSCRIBABLE))


def preference(session: Session, actor: Actor) -> PreferenceView:
    """One's own."""
    row = session.get(Preference, actor.id)
    if row is None:
        return PreferenceView()
    return PreferenceView(row.zone, row.quiet_from, row.quiet_to, row.urgent_through, row.mail, tuple(row.muted))


def email(session: Session, actor: Actor) -> str:
    """One's own mail address; "" where none is known."""
    row = session.get(Identity, actor.id)
    return (row.email or "") if row is not None else ""


def routes(session: Session, actor: Actor, now: datetime, *, everybodys: bool = False) -> tuple[RouteLine, ...]:
    """One's own routes, and those that one looks after; on request everybody's, for whoever may see them.

    Refusal code: narrow-token, for everybody's by a token that does not reach them.
    """
    held = access.held(session, actor)
    if everybodys and not rights.may(held, "route.list", now=now):
        refuse_narrow(actor)
    query = select(Route).where(Route.state != "removed").order_by(Route.name, Route.id)
    rows = [one for one in session.exec(query) if _may_see(one, actor, held, now, everybodys=everybodys)]
    return _route_lines(session, rows, actor, now)


def route(session: Session, actor: Actor, ref: str, now: datetime) -> RouteLine:
    """One route. NotFound for somebody else's."""
    row, held = find(session, actor, ref), access.held(session, actor)
    if row is None or not _may_see(row, actor, held, now, everybodys=True):
        raise NotFound("route", ref[:80])
    return _route_lines(session, [row], actor, now)[0]


def found_route(session: Session, actor: Actor, ref: str) -> str | None:
    """Id of the route that a reference means to somebody, whether he may see it or not."""
    row = find(session, actor, ref)
    return row.id if row is not None else None


def subscription(session: Session, actor: Actor, subscription_id: str, now: datetime) -> SubscriptionLine:
    """One of them. NotFound for somebody else's."""
    found = next((one for one in subscriptions(session, actor, now) if one.id == subscription_id), None)
    if found is None:
        raise NotFound("subscription", subscription_id[:60])
    return found


def subscriptions(session: Session, actor: Actor, now: datetime) -> tuple[SubscriptionLine, ...]:
    """One's own, and those of the routes that one looks after."""
    names = {one.id: one.name for one in routes(session, actor, now)}
    own = col(Subscription.identity_id) == actor.id if actor.limits is None else sa.false()
    query = select(Subscription).where(sa.or_(own, col(Subscription.route_id).in_(sorted(names))))
    return tuple(
        SubscriptionLine(
            one.id, names.get(one.route_id or "", MAIL), tuple(one.events), one.object_kind, one.object_name, one.created_at
        )
        for one in session.exec(query.order_by(col(Subscription.created_at), col(Subscription.id)))
    )


def messages(
    session: Session,
    actor: Actor,
    now: datetime,
    *,
    route: str | None = None,
    state: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> tuple[MessageLine, ...]:
    """The log, the newest first: one's own messages and those of routes that one may see. `before`: the last id of a page."""
    query = select(Message).where(_mine(session, actor, now, route))
    query = query if state is None else query.where(Message.state == state)
    query = query if before is None else query.where(Message.id < before)
    rows = session.exec(query.order_by(col(Message.id).desc()).limit(min(max(limit, 1), MAX_PAGE + 1))).all()
    return _message_lines(session, rows)


def message(session: Session, actor: Actor, message_id: str, now: datetime) -> MessageView:
    """One message with every try. NotFound for somebody else's."""
    row = session.exec(select(Message).where(Message.id == message_id, _mine(session, actor, now, None))).one_or_none()
    if row is None:
        raise NotFound("message", message_id[:60])
    tries = session.exec(select(Attempt).where(Attempt.message_id == row.id).order_by(col(Attempt.at), col(Attempt.id)))
    told = tuple(AttemptLine(one.at, one.seconds, one.ok, one.status, one.says) for one in tries)
    return MessageView(_message_lines(session, [row])[0], told)


def _mine(session: Session, actor: Actor, now: datetime, route: str | None) -> sa.ColumnElement[bool]:
    """One's own mail, but for a narrowed token, and the messages of routes that one may see."""
    held = access.held(session, actor)
    whose = col(Message.identity_id) == actor.id if actor.limits is None else sa.false()
    own = sa.and_(col(Message.route_key) == MAIL, whose)
    if route == MAIL:
        return own
    rows = session.exec(select(Route)).all()
    ids = [one.id for one in rows if _may_see(one, actor, held, now, everybodys=True)]
    if route is not None:
        found = find(session, actor, route)
        ids = [one for one in ids if found is not None and one == found.id]
        return col(Message.route_key).in_(ids)
    return sa.or_(own, col(Message.route_key).in_(ids))


def _may_see(row: Route, actor: Actor, held: Iterable[rights.Grant], now: datetime, *, everybodys: bool) -> bool:
    """One's own, and what one looks after; everybody's for whoever may see those.

    What is one's own tells of all that one sees, so that a narrowed token is shown only what its limits give a right to.
    """
    if row.identity_id == actor.id and actor.limits is None:
        return True
    grants = tuple(held)
    if everybodys and rights.may(grants, "route.list", now=now):
        return True
    return row.identity_id is None and rights.may(grants, "route.manage", now=now, team=row.team_id)


def _route_lines(session: Session, rows: Sequence[Route], actor: Actor, now: datetime) -> tuple[RouteLine, ...]:
    ids = [one.id for one in rows]
    held = access.held(session, actor)
    mine = {one.id for one in rows if _may_see(one, actor, held, now, everybodys=False)}
    healths = {one.id: one for one in session.exec(select(RouteHealth).where(col(RouteHealth.id).in_(ids)))}
    names = _names(session, rows)
    query = select(Message.route_key, Message.state, sa.func.count()).where(
        col(Message.route_key).in_(ids), col(Message.state).in_(("waiting", "dead")), Message.event != "test"
    )
    counted = {(key, state): number for key, state, number in session.exec(query.group_by(Message.route_key, Message.state))}
    return tuple(_route_line(one, healths.get(one.id), names, counted, actor, now, manages=one.id in mine) for one in rows)


def _route_line(
    row: Route,
    health: RouteHealth | None,
    names: Mapping[str, str],
    counted: Mapping[tuple[str, str], int],
    actor: Actor,
    now: datetime,
    *,
    manages: bool,
) -> RouteLine:
    owner = "me" if row.identity_id == actor.id else names.get(row.identity_id or row.team_id or "", "everybody")
    stands = "new" if health is None else "failing" if health.failures else "ok"
    until = row.previous_until
    return RouteLine(
        id=row.id,
        name=row.name,
        kind=row.kind,
        shown=row.shown,
        owner=owner,
        state=row.state,
        state_reason=row.state_reason,
        health="paused" if row.state == "paused" else stands,
        says=health.says if health is not None else "",
        ok_at=health.ok_at if health is not None else None,
        failing_since=health.failing_since if health is not None else None,
        waiting=counted.get((row.id, "waiting"), 0),
        dead=counted.get((row.id, "dead"), 0),
        two_secrets_until=until if until is not None and now < until else None,
        created_at=row.created_at,
        manages=manages,
    )


def _names(session: Session, rows: Sequence[Route]) -> dict[str, str]:
    people = {one.identity_id for one in rows if one.identity_id}
    teams = {one.team_id for one in rows if one.team_id}
    named = session.exec(select(Identity).where(col(Identity.id).in_(people)))
    grouped = session.exec(select(Team).where(col(Team.id).in_(teams)))
    return {one.id: one.display_name or one.name for one in named} | {one.id: f"team {one.name}" for one in grouped}


def _message_lines(session: Session, rows: Sequence[Message]) -> tuple[MessageLine, ...]:
    keys, people = {one.route_key for one in rows}, {one.identity_id for one in rows if one.identity_id}
    routes_named = {one.id: one.name for one in session.exec(select(Route).where(col(Route.id).in_(keys)))}
    named = session.exec(select(Identity).where(col(Identity.id).in_(people)))
    names = {one.id: one.display_name or one.name for one in named}
    return tuple(
        MessageLine(
            id=one.id,
            route=routes_named.get(one.route_key, one.route_key),
            whom=names.get(one.identity_id or "", routes_named.get(one.route_key, "")),
            event=one.event,
            says=EVENTS[one.event].says if one.event in EVENTS else one.event,
            subject_kind=one.subject_kind,
            subject_id=one.subject_id,
            seq=one.seq,
            count=one.count,
            state=one.state,
            result=one.says,
            attempts=one.attempts,
            due_at=one.due_at,
            created_at=one.created_at,
            settled_at=one.settled_at,
        )
        for one in rows
    )
