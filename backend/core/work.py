"""Due work, claimed with leases: any number of workers, one holder an item at a time, and a token that fences late writers.

An item is (kind, key): ("server", id), ("mirror", model), ("evidence", id) ... It is level-triggered: making it due again
while it is being worked on makes it run once more afterwards, and losing a wake-up costs one interval, never the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field, Session, col, select

from backend.core.columns import Row, utc
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure
from backend.core.unit import Unit


class WorkItem(Row, table=True):
    """One thing that is looked after again and again. Not governed: leases and wake-ups are no decisions."""

    __tablename__ = "work_item"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.Index("work_item_due", "kind", "due_at"),)

    kind: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    due_at: datetime = Field(sa_column=utc())
    woken: int = 0
    """Counts wake-ups, so that one that arrives while the item is held is not lost."""
    token: int = Field(default=0, sa_type=sa.BigInteger)
    holder: str | None = None
    deadline: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    failures: int = 0
    last_error: str | None = None


class JobRun(Row, table=True):
    """That a timer's slot was taken: the unique key keeps two workers from running one slot twice."""

    __tablename__ = "job_run"
    __governed__: ClassVar[bool] = False

    job: str = Field(primary_key=True)
    scheduled_for: datetime = Field(sa_column=utc(primary_key=True))
    holder: str


@dataclass(frozen=True)
class Claim:
    """A held item. `token` grows with each claim; every status write compares it in its own transaction."""

    kind: str
    key: str
    token: int
    holder: str
    deadline: datetime
    woken: int
    failures: int


class LeaseLost(ExternalFailure):
    """Another worker holds the item now, or the deadline passed. Whatever was pushed late is found by the next look."""

    def __init__(self, claim: Claim) -> None:
        super().__init__("This worker", f"lost its lease on {claim.kind} {claim.key}", retryable=True)


def wake(tx: Unit, kind: str, key: str, *, at: datetime | None = None) -> None:
    """Makes an item due at `at` (default now), creating it if needed. An earlier due time is kept."""
    due = at or tx.now
    item = tx.session.get(WorkItem, (kind, key), with_for_update=True)
    if item is None:
        tx.add(WorkItem(kind=kind, key=key, due_at=due))
        tx.session.flush()
        return
    item.woken += 1
    item.due_at = min(item.due_at, due)


def claim(database: Database, kind: str, *, holder: str, seconds: float, limit: int = 1) -> list[Claim]:
    """Claims up to `limit` due items of a kind that nobody holds, oldest first."""
    with database.unit(SYSTEM) as tx:
        return claim_in(tx, kind, holder=holder, seconds=seconds, limit=limit)


def claim_in(tx: Unit, kind: str, *, holder: str, seconds: float, limit: int = 1, key: str | None = None) -> list[Claim]:
    """Claims inside an open unit; `key` asks for one named item, due or not."""
    free = sa.or_(col(WorkItem.deadline).is_(None), col(WorkItem.deadline) <= tx.now)
    wanted = col(WorkItem.key) == key if key is not None else col(WorkItem.due_at) <= tx.now
    query = (
        select(WorkItem)
        .where(WorkItem.kind == kind, free, wanted)
        .order_by(col(WorkItem.due_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_take(tx, item, holder, seconds) for item in tx.session.exec(query)]


def _take(tx: Unit, item: WorkItem, holder: str, seconds: float) -> Claim:
    item.token += 1
    item.holder = holder
    item.deadline = tx.now + timedelta(seconds=seconds)
    return Claim(item.kind, item.key, item.token, holder, item.deadline, item.woken, item.failures)


def fence(tx: Unit, held: Claim) -> WorkItem:
    """The item, locked, if `held` is still the newest claim and in time; else LeaseLost, which rolls the unit back."""
    item = tx.session.get(WorkItem, (held.kind, held.key), with_for_update=True, populate_existing=True)
    if item is None or not _holds(item, held, tx.now):
        raise LeaseLost(held)
    return item


def still_held(database: Database, held: Claim) -> bool:
    """Whether the claim is the newest and in time by the database's clock; asked before each outgoing call."""
    with database.read() as session:
        item = session.get(WorkItem, (held.kind, held.key))
        return item is not None and _holds(item, held, database.now(session))


def _holds(item: WorkItem, held: Claim, now: datetime) -> bool:
    return item.token == held.token and item.deadline is not None and now < item.deadline


def renew(database: Database, held: Claim, *, seconds: float) -> Claim:
    """Extends the deadline of a claim that is still held; else LeaseLost."""
    with database.unit(SYSTEM) as tx:
        item = fence(tx, held)
        item.deadline = tx.now + timedelta(seconds=seconds)
        return Claim(held.kind, held.key, held.token, held.holder, item.deadline, held.woken, held.failures)


def finish(tx: Unit, held: Claim, *, next_due: datetime | None, error: str | None = None) -> None:
    """Gives an item back: due again at `next_due`, at once if it was woken meanwhile; None removes it if nobody woke it."""
    item = fence(tx, held)
    woken = item.woken != held.woken
    if next_due is None and not woken:
        tx.session.delete(item)
        return
    item.due_at = tx.now if woken or next_due is None else next_due
    item.holder, item.deadline = None, None
    item.failures = item.failures + 1 if error else 0
    item.last_error = error


def take_slot(tx: Unit, job: str, scheduled_for: datetime, holder: str) -> bool:
    """Whether this worker may run a timer's slot: true for exactly one of any number that ask."""
    if tx.session.get(JobRun, (job, scheduled_for)) is not None:
        return False
    try:
        with tx.session.begin_nested():
            tx.session.add(JobRun(job=job, scheduled_for=scheduled_for, holder=holder))
    except sa.exc.IntegrityError:
        return False
    return True


def overdue(session: Session, now: datetime, *, grace: timedelta) -> Sequence[WorkItem]:
    """Items that were due more than `grace` ago and that nobody holds: work that is not being done (invariant I6)."""
    free = sa.or_(col(WorkItem.deadline).is_(None), col(WorkItem.deadline) <= now)
    return session.exec(select(WorkItem).where(col(WorkItem.due_at) <= now - grace, free).limit(100)).all()


class Heartbeat(Row, table=True):
    """That a worker lives: written every few seconds, so that silence is visible."""

    __tablename__ = "heartbeat"
    __governed__: ClassVar[bool] = False

    worker: str = Field(primary_key=True)
    started_at: datetime = Field(sa_column=utc())
    beat_at: datetime = Field(sa_column=utc())
    leader: bool = False
    version: str = ""
