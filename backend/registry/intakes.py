"""Reads of versions being taken in: how far each is, and what was kept where one did not come through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from backend.access.queries import some_people
from backend.core.errors import NotFound
from backend.registry import rules
from backend.registry.rows import IntakeRow


@dataclass(frozen=True)
class IntakeView:
    """One version being taken in.

    Args:
        kind: registry (the registry has it) or upload.
        state: running, done, refused, failed, or interrupted: its process ended before it did.
        fraction, doing: how far it is, from 0 to 1, and with what.
        message, remedy: why it did not come through, and what to do.
        kept: what of it there is, in a sentence.
        tried_again: whether another one has taken its place.
    """

    id: str
    kind: str
    model: str
    number: int | None
    file: str
    started_by: str
    started_by_name: str
    started_at: datetime
    finished_at: datetime | None
    state: str
    fraction: float
    doing: str
    message: str
    remedy: str
    kept: str
    tried_again: bool = False

    @property
    def may_be_tried_again(self) -> bool:
        """Whether another try may come through without anything being corrected first."""
        return self.state in ("failed", "interrupted") and not self.tried_again


def latest(
    session: Session, *, now: datetime, model: str | None = None, since: datetime | None = None, limit: int = 10
) -> tuple[IntakeView, ...]:
    """The latest ones, the newest first."""
    query = select(IntakeRow).order_by(col(IntakeRow.started_at).desc()).limit(limit)
    query = query.where(IntakeRow.model == model) if model is not None else query
    query = query.where(col(IntakeRow.started_at) >= since) if since is not None else query
    return _views(session, session.exec(query), now)


def one(session: Session, identifier: str, *, now: datetime) -> IntakeView:
    """One of them. NotFound."""
    row = session.get(IntakeRow, identifier)
    if row is None:
        raise missing(identifier)
    return _views(session, [row], now)[0]


def missing(identifier: str) -> NotFound:
    """That there is no such registration: also the answer to whoever may not see its model."""
    return NotFound("registration", identifier[:60], "Open the list of registrations.")


def _views(session: Session, rows: Iterable[IntakeRow], now: datetime) -> tuple[IntakeView, ...]:
    found = list(rows)
    people = some_people(session, {row.started_by for row in found}, now=now) if found else {}
    names = {key: person.name for key, person in people.items()}
    return tuple(_view(row, names.get(row.started_by, row.started_by), now) for row in found)


def _view(row: IntakeRow, name: str, now: datetime) -> IntakeView:
    interrupted = row.state == "running" and rules.is_interrupted(row.beat_at, now)
    state = "interrupted" if interrupted else row.state
    tried_again = row.code == rules.TRIED_AGAIN
    return IntakeView(
        id=row.id,
        kind=row.kind,
        model=row.model,
        number=row.number,
        file=row.file,
        started_by=row.started_by,
        started_by_name=name,
        started_at=row.started_at,
        finished_at=row.finished_at,
        state=state,
        fraction=row.fraction,
        doing=row.doing,
        message="Its process ended before it did." if interrupted else row.message,
        remedy="" if tried_again else "Try again." if interrupted else row.remedy,
        kept="It was tried again." if tried_again else rules.kept_of(row.kind, state, row.number),
        tried_again=tried_again,
    )
