"""Reads of changes for lists: by urgency with filters, page by page, and what waits for one person's vote."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.access.rows import Identity
from backend.changes import standing
from backend.changes.rows import Change
from backend.changes.voting import refuse_vote
from backend.core.canonical import canonical, loads
from backend.core.columns import UtcDateTime
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.core.moments import in_utc
from backend.delivery.rows import Endpoint

MAX_PAGE = 200
MAX_QUEUE = 200
"""Changes in review that are looked through for one person's queue, those with the earliest deadline first."""

_RANKS: Mapping[str, int] = {
    "applying": 0, "review": 1, "approved": 2, "blocked": 3, "suspended": 3, "checking": 4, "draft": 4,
}  # fmt: skip
"""What needs somebody comes first: what is moving, what waits for votes, for a start, for its requester. The rest is over."""
OPEN = tuple(_RANKS)
"""States of a change that is not over."""


@dataclass(frozen=True)
class ChangeLine:
    """One change in a list."""

    id: str
    number: int
    title: str
    state: str
    state_reason: str
    endpoint: str
    environment: str
    model: str
    version: int
    requester: str
    decide_by: datetime | None
    updated_at: datetime

    def to_json(self) -> dict[str, Any]:
        """JSON-able form; times are ISO 8601 in UTC."""
        by = self.decide_by.isoformat() if self.decide_by else None
        return {**vars(self), "decide_by": by, "updated_at": self.updated_at.isoformat()}


@dataclass(frozen=True)
class Page:
    """Some changes in order of urgency, and the opaque token of the next page; None at the end."""

    items: tuple[ChangeLine, ...]
    next: str | None = None


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; an empty one lets everything through. `text` looks into titles and endpoints' names.

    Args:
        within: whether `endpoint` and `model` are parts of names, as somebody types them, and not whole names.
    """

    states: Sequence[str] = ()
    environment: str = ""
    endpoint: str = ""
    model: str = ""
    requester_id: str = ""
    text: str = ""
    within: bool = False


def page(session: Session, filters: Filters | None = None, *, after: str | None = None, limit: int = 50) -> Page:
    """One page of changes: open ones by rank and deadline, then those that are over, the latest first.

    Refusal `bad-page` for a token that is none.
    """
    limit = min(max(limit, 1), MAX_PAGE)
    wanted, start = filters or Filters(), _parse(after)
    found = _open_part(session, wanted, start, limit + 1)
    if len(found) <= limit:
        found += _over_part(session, wanted, start, limit + 1 - len(found))
    lines = _lines(session, found[:limit])
    return Page(lines, _token(found[limit - 1][0]) if len(found) > limit else None)


def counts(session: Session) -> dict[str, int]:
    """How many changes are in each state; states without any are left out."""
    query = select(Change.state, sa.func.count()).group_by(Change.state)
    return {state: int(number) for state, number in session.exec(query)}


def queue(session: Session, actor: Actor, now: datetime, *, most: int = MAX_QUEUE) -> tuple[ChangeLine, ...]:
    """Changes that this person may vote on now and has not voted on as they are, those with the earliest deadline first.

    Args:
        most: how many are wanted; what is later is then not looked at.
    """
    query = _joined(Filters(states=("review",))).order_by(col(Change.decide_by), col(Change.number)).limit(MAX_QUEUE)
    may_vote: dict[tuple[str, str, str], bool] = {}
    mine = []
    for change, endpoint in session.exec(query):
        where = (endpoint.environment, endpoint.model, endpoint.name)
        if where not in may_vote:
            named = {"environment": endpoint.environment, "model": endpoint.model, "endpoint": endpoint.name}
            may_vote[where] = access.permitted(session, actor, "change.vote", now=now, **named)
        if may_vote[where] and _waits_for(session, change, actor, now):
            mine.append((change, endpoint))
        if len(mine) >= most:
            break
    return _lines(session, mine)


def _waits_for(session: Session, change: Change, actor: Actor, now: datetime) -> bool:
    at = standing.read(session, change, now)
    if any(vote.identity_id == actor.id for vote in at.votes):
        return False
    where = {"environment": at.endpoint.environment, "model": at.endpoint.model, "endpoint": at.endpoint.name}
    person = access.some_people(session, [actor.id], now=now, **where)[actor.id]
    try:
        refuse_vote(at, person, "approve")
    except Refusal:
        return False
    return True


Pair = tuple[Change, Endpoint]


@dataclass(frozen=True)
class _Start:
    """Where a page begins: after this rank, time and number."""

    rank: int
    when: datetime
    number: int


def _open_part(session: Session, filters: Filters, start: _Start | None, limit: int) -> list[Pair]:
    rank = sa.case(*((col(Change.state) == state, value) for state, value in _RANKS.items()), else_=9)
    query = _joined(filters).where(col(Change.state).in_(OPEN))
    if start is not None:
        later = _beyond(col(Change.decide_by), start, forward=True)
        query = query.where(sa.or_(rank > start.rank, sa.and_(rank == start.rank, later)))
    ordered = query.order_by(rank, col(Change.decide_by), col(Change.number))
    return [(change, endpoint) for change, endpoint in session.exec(ordered.limit(limit))]


def _over_part(session: Session, filters: Filters, start: _Start | None, limit: int) -> list[Pair]:
    query = _joined(filters).where(col(Change.state).not_in(OPEN))
    if start is not None and start.rank == _OVER:
        query = query.where(_beyond(col(Change.updated_at), start, forward=False))
    ordered = query.order_by(col(Change.updated_at).desc(), col(Change.number).desc())
    return [(change, endpoint) for change, endpoint in session.exec(ordered.limit(limit))]


_OVER = 9


def _beyond(column: Any, start: _Start, *, forward: bool) -> sa.ColumnElement[bool]:
    when, number = sa.literal(start.when, UtcDateTime()), col(Change.number)
    if forward:
        return sa.or_(column > when, sa.and_(column == when, number > start.number))
    return sa.or_(column < when, sa.and_(column == when, number < start.number))


def _joined(filters: Filters) -> Any:
    query = select(Change, Endpoint).join(Endpoint, col(Endpoint.id) == Change.endpoint_id)
    exact = (
        (Endpoint.environment, filters.environment),
        (Endpoint.name, filters.endpoint),
        (Endpoint.model, filters.model),
        (Change.requester_id, filters.requester_id),
    )
    for column, value in exact:
        if value and filters.within and column in (Endpoint.name, Endpoint.model):
            query = query.where(col(column).icontains(value, autoescape=True))
        elif value:
            query = query.where(col(column) == value)
    if filters.states:
        query = query.where(col(Change.state).in_(filters.states))
    if filters.text:
        inside = [col(one).icontains(filters.text, autoescape=True) for one in (Change.title, Endpoint.name)]
        query = query.where(sa.or_(*inside))
    return query


def _lines(session: Session, pairs: Sequence[Pair]) -> tuple[ChangeLine, ...]:
    names = names_of(session, {change.requester_id for change, _ in pairs})
    return tuple(line_of(change, endpoint, names.get(change.requester_id, change.requester_id)) for change, endpoint in pairs)


def line_of(change: Change, endpoint: Endpoint, requester: str) -> ChangeLine:
    """One line of a list."""
    return ChangeLine(
        id=change.id,
        number=change.number,
        title=change.title,
        state=change.state,
        state_reason=change.state_reason,
        endpoint=endpoint.name,
        environment=endpoint.environment,
        model=endpoint.model,
        version=int(change.wanted["version"]),
        requester=requester,
        decide_by=change.decide_by,
        updated_at=change.updated_at,
    )


def names_of(session: Session, ids: set[str]) -> dict[str, str]:
    """Display names by identity id."""
    rows = session.exec(select(Identity).where(col(Identity.id).in_(ids)))
    return {row.id: row.display_name or row.name for row in rows}


def _token(change: Change) -> str:
    rank = _RANKS.get(change.state, _OVER)
    when = change.updated_at if rank == _OVER else change.decide_by or datetime.max.replace(tzinfo=UTC)
    return base64.urlsafe_b64encode(canonical([rank, when.isoformat(), change.number])).decode()


def _parse(token: str | None) -> _Start | None:
    if token is None:
        return None
    try:
        rank, when, number = loads(base64.b64decode(token, altchars=b"-_", validate=True))
        return _Start(int(rank), in_utc(datetime.fromisoformat(when)), int(number))
    except (ValueError, TypeError, binascii.Error, Refusal) as error:
        raise Refusal("This is not a page of the list.", "Begin with the first page.", code="bad-page") from error
