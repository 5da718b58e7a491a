"""Due work, claimed with leases: any number of workers, one holder an item at a time, and a token that fences late writers.

An item is (kind, key): ("server", id), ("mirror", model), ("evidence", id) ... It is level-triggered: making it due again
while it is being worked on makes it run once more afterwards, and losing a wake-up costs one interval, never the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
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


_items: sa.Table = WorkItem.__table__  # type: ignore[attr-defined]  # SQLModel adds it


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
    wake_many(tx, kind, [key], at=at)


def wake_many(tx: Unit, kind: str, keys: Sequence[str], *, at: datetime | None = None) -> None:
    """`wake` for many keys of one kind, in one statement a thousand."""
    postgres = tx.session.get_bind().dialect.name == "postgresql"
    insert = postgresql.insert(_items) if postgres else sqlite.insert(_items)
    earliest = sa.func.least if postgres else sa.func.min
    upsert = insert.on_conflict_do_update(
        index_elements=["kind", "key"],
        set_={"woken": _items.c.woken + 1, "due_at": earliest(_items.c.due_at, insert.excluded.due_at)},
    )
    fresh = {"kind": kind, "due_at": at or tx.now, "woken": 0, "token": 0, "failures": 0}
    connection = tx.session.connection()
    for start in range(0, len(keys), 1000):
        connection.execute(upsert, [{**fresh, "key": key} for key in keys[start : start + 1000]])


def claim(database: Database, kind: str, *, holder: str, seconds: float, limit: int = 1) -> list[Claim]:
    """Claims up to `limit` due items of a kind that nobody holds, oldest first."""
    with database.unit(SYSTEM) as tx:
        return claim_in(tx, kind, holder=holder, seconds=seconds, limit=limit)


def claim_in(tx: Unit, kind: str, *, holder: str, seconds: float, limit: int = 1, key: str | None = None) -> list[Claim]:
    """Claims inside an open unit; `key` asks for one named item, due or not."""
    free = sa.or_(_items.c.deadline.is_(None), _items.c.deadline <= tx.now)
    wanted = _items.c.key == key if key is not None else _items.c.due_at <= tx.now
    chosen = (
        sa.select(_items.c.key)
        .where(_items.c.kind == kind, free, wanted)
        .order_by(_items.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")  # locked rows are chosen once; a plain subquery could be run again and take more than the limit
    )
    deadline = tx.now + timedelta(seconds=seconds)
    take = (
        sa.update(_items)
        .where(_items.c.kind == kind, _items.c.key.in_(sa.select(chosen.c.key)))
        .values(token=_items.c.token + 1, holder=holder, deadline=deadline)
        .returning(_items.c.key, _items.c.token, _items.c.woken, _items.c.failures)
    )
    found = tx.session.connection().execute(take)
    return [Claim(kind, key, token, holder, deadline, woken, failures) for key, token, woken, failures in found]


def due(session: Session, kinds: Sequence[str], now: datetime) -> set[str]:
    """Which kinds have something to claim: a cheap look, so that an idle worker takes no write lock."""
    free = sa.or_(_items.c.deadline.is_(None), _items.c.deadline <= now)
    query = sa.select(_items.c.kind).where(_items.c.kind.in_(kinds), _items.c.due_at <= now, free).distinct()
    return set(session.connection().execute(query).scalars())


def fence(tx: Unit, held: Claim) -> None:
    """Locks the item if `held` is still the newest claim and in time; else LeaseLost, which rolls the unit back."""
    lock = sa.select(_items.c.token).where(*_is(held), _items.c.deadline > tx.now).with_for_update()
    if tx.session.connection().execute(lock).first() is None:
        raise LeaseLost(held)


def still_held(database: Database, held: Claim) -> bool:
    """Whether the claim is the newest and in time by the database's clock; asked before each outgoing call."""
    with database.read() as session:
        now = database.now(session)
        query = sa.select(_items.c.token).where(*_is(held), _items.c.deadline > now)
        return session.connection().execute(query).first() is not None


def renew(database: Database, held: Claim, *, seconds: float) -> Claim:
    """Extends the deadline of a claim that is still held; else LeaseLost."""
    with database.unit(SYSTEM) as tx:
        deadline = tx.now + timedelta(seconds=seconds)
        extend = sa.update(_items).where(*_is(held), _items.c.deadline > tx.now).values(deadline=deadline)
        if tx.session.connection().execute(extend).rowcount != 1:
            raise LeaseLost(held)
        return replace(held, deadline=deadline)


def finish(tx: Unit, held: Claim, *, next_due: datetime | None, error: str | None = None) -> None:
    """Gives an item back: due again at `next_due`, at once if it was woken meanwhile; None removes it if nobody woke it."""
    if finish_many(tx, [held], next_due=next_due, error=error):
        raise LeaseLost(held)


def finish_many(tx: Unit, held: Sequence[Claim], *, next_due: datetime | None, error: str | None = None) -> list[Claim]:
    """`finish` for many claims. Returns those that were lost; the others are given back all the same."""
    if next_due is None:
        held = [one for one in held if not _remove(tx, one)]
    if not held:
        return []
    values = {
        "due_at": sa.case((_items.c.woken == sa.bindparam("seen"), next_due or tx.now), else_=tx.now),
        "failures": _items.c.failures + 1 if error else 0,
    }
    give_back = sa.update(_items).where(*_MINE).values(**values, holder=None, deadline=None, last_error=error)

    def given_back(some: Sequence[Claim]) -> int:
        wanted = [{"one": one.kind, "named": one.key, "held": one.token, "now": tx.now, "seen": one.woken} for one in some]
        return tx.session.connection().execute(give_back, wanted).rowcount

    if len(held) == 1:
        return [] if given_back(held) else list(held)
    together = tx.session.begin_nested()
    if given_back(held) == len(held):
        together.commit()
        return []
    together.rollback()  # which ones were lost shows only one by one
    return [one for one in held if not given_back([one])]


_MINE = (
    _items.c.kind == sa.bindparam("one"),
    _items.c.key == sa.bindparam("named"),
    _items.c.token == sa.bindparam("held"),
    _items.c.deadline > sa.bindparam("now"),
)


def _remove(tx: Unit, held: Claim) -> bool:
    """Removes an item that nobody woke meanwhile."""
    quiet = (*_is(held), _items.c.deadline > tx.now, _items.c.woken == held.woken)
    return tx.session.connection().execute(sa.delete(_items).where(*quiet)).rowcount == 1


def _is(held: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return _items.c.kind == held.kind, _items.c.key == held.key, _items.c.token == held.token


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
