"""What is asked of one person at this moment: votes, starts, changes of one's own that cannot go on, steps that wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.changes import course, standing
from backend.changes.queries import ChangeLine, line_of, names_of, queue
from backend.changes.rows import Change
from backend.changes.view import missing
from backend.core.context import Actor
from backend.delivery.rows import Authorization, Endpoint
from backend.rollouts import queries as rollouts
from backend.rollouts.rows import Rollout

What = Literal["vote", "start", "let_on", "redraw", "mend"]


@dataclass(frozen=True)
class Asked:
    """One change that waits for this person, what is asked, and what it still takes until it is live."""

    line: ChangeLine
    what: What
    missing: tuple[str, ...]


def asked_of(session: Session, actor: Actor, now: datetime, *, most: int = 20) -> tuple[Asked, ...]:
    """What waits for this person: at most so many of each kind, in the order in which they are decided."""
    votes: list[tuple[ChangeLine, What]] = [(line, "vote") for line in queue(session, actor, now, most=most)]
    others = [*_starts(session, actor, now, most), *_steps(session, actor, now, most), *_own(session, actor, most)]
    return tuple(_asked(session, line, what, now) for line, what in (*votes, *others))


def _asked(session: Session, line: ChangeLine, what: What, now: datetime) -> Asked:
    at = standing.read(session, course.find(session, line.number), now)
    return Asked(line, what, missing(session, at) or ((at.change.state_reason,) if at.change.state_reason else ()))


def _starts(session: Session, actor: Actor, now: datetime, most: int) -> Iterator[tuple[ChangeLine, What]]:
    """Approved changes that wait for somebody's hand."""
    waits = sa.and_(col(Change.state) == "approved", col(Change.start_mode) == "by_hand", col(Change.start_at).is_(None))
    yield from ((line, "start") for line in _permitted(session, actor, now, waits, "change.start", most))


def _steps(session: Session, actor: Actor, now: datetime, most: int) -> Iterator[tuple[ChangeLine, What]]:
    """Rollouts at a step after which a person has to look, which no program does."""
    if actor.kind != "person":
        return
    held = session.exec(select(Rollout).where(Rollout.state == "holding").order_by(col(Rollout.started_at)).limit(200))
    waiting = [row.authorization_id for row in held if rollouts.view(session, row, now).waits_for_person]
    named = select(Authorization.change_id).where(col(Authorization.id).in_(waiting))
    mine = col(Change.id).in_(named)
    yield from ((line, "let_on") for line in _permitted(session, actor, now, mine, "rollout.let_on", most) if waiting)


def _own(session: Session, actor: Actor, most: int) -> Iterator[tuple[ChangeLine, What]]:
    """The person's own changes that go on only when their requester does something."""
    stopped = sa.and_(col(Change.requester_id) == actor.id, col(Change.state).in_(("blocked", "suspended")))
    for change, endpoint in _rows(session, stopped, most):
        line = _line(session, change, endpoint)
        yield line, "redraw" if change.state == "suspended" else "mend"


def _permitted(
    session: Session, actor: Actor, now: datetime, wanted: sa.ColumnElement[bool], action: str, most: int
) -> Iterator[ChangeLine]:
    for change, endpoint in _rows(session, wanted, most):
        where = {"environment": endpoint.environment, "model": endpoint.model, "endpoint": endpoint.name}
        if access.permitted(session, actor, action, now=now, **where):
            yield _line(session, change, endpoint)


def _rows(session: Session, wanted: sa.ColumnElement[bool], most: int) -> list[tuple[Change, Endpoint]]:
    query = select(Change, Endpoint).join(Endpoint, col(Endpoint.id) == Change.endpoint_id).where(wanted)
    return list(session.exec(query.order_by(col(Change.decide_by), col(Change.number)).limit(most)))


def _line(session: Session, change: Change, endpoint: Endpoint) -> ChangeLine:
    return line_of(change, endpoint, names_of(session, {change.requester_id}).get(change.requester_id, change.requester_id))
