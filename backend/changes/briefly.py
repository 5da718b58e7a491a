"""Changes for whoever only points at them: number and title by id, and how long approved ones took to be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from sqlmodel import Session, col, select

from backend.changes.rows import Change

MOST = 500


class Named(NamedTuple):
    """What a link to a change says."""

    number: int
    title: str
    state: str


def named(session: Session, ids: Iterable[str | None]) -> Mapping[str, Named]:
    """Change id -> its number, title and state; ids that no change has are left out."""
    wanted = {one for one in ids if one}
    query = select(Change.id, Change.number, Change.title, Change.state).where(col(Change.id).in_(wanted))
    return {key: Named(number, title, state) for key, number, title, state in session.exec(query)}


def approval_to_done(session: Session, since: datetime) -> timedelta | None:
    """The median time from approval to done of the changes that came through since then; None where there are none."""
    query = (
        select(Change.approved_at, Change.finished_at)
        .where(Change.state == "done", col(Change.updated_at) >= since)
        .order_by(col(Change.updated_at).desc())
    )
    pairs = session.exec(query.limit(MOST)).all()
    taken = [(end - begin).total_seconds() for begin, end in pairs if begin is not None and end is not None]
    return timedelta(seconds=median(taken)) if taken else None
