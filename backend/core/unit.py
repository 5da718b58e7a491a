"""The unit of work: one transaction, as one actor, that cannot change a governed row without its ledger row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import Session, select

from backend.core import context, ledger
from backend.core.canonical import digest
from backend.core.columns import Row
from backend.core.context import Actor
from backend.core.errors import NotFound, StaleWrite

R = TypeVar("R", bound=Row)

LEDGER_LOCK = 0x636F756E74  # "count": the advisory lock on PostgreSQL under which the chain's head moves
_writing: ContextVar[bool] = ContextVar("countersign_writing", default=False)


class UnrecordedChange(RuntimeError):
    """A defect: code changed a governed row without `tx.record` about the same subject."""


@contextmanager
def writing() -> Iterator[None]:
    """Marks this context as inside a unit of work. Units do not nest: a helper joins by taking `tx`."""
    if _writing.get():
        raise RuntimeError("a unit of work was opened inside another; pass the outer one instead")
    token = _writing.set(True)
    try:
        yield
    finally:
        _writing.reset(token)


def assert_outside_unit(what: str) -> None:
    """Raises RuntimeError inside a unit of work: a network call there would hold the database's locks."""
    if _writing.get():
        raise RuntimeError(f"{what} inside a unit of work")


class Joiner(Protocol):
    """What a door has done inside the unit of whichever command it calls: a condition, or a row about the request.

    It belongs to one context, so that commands need not know of it. A command may open several units; each one is joined.
    """

    def opened(self, tx: Unit) -> None:
        """Called before the command does anything; what it raises ends the unit."""
        ...

    def sealing(self, tx: Unit) -> None:
        """Called when the command has done everything, before its ledger rows are written; what it raises rolls all back."""
        ...


_joining: ContextVar[tuple[Joiner, ...]] = ContextVar("countersign_joining", default=())


@contextmanager
def joined(one: Joiner) -> Iterator[None]:
    """Every unit that this context opens meanwhile is joined by `one`."""
    token = _joining.set((*_joining.get(), one))
    try:
        yield
    finally:
        _joining.reset(token)


class Unit:
    """What a command works in.

    Attributes:
        session: the SQLModel session, for queries and `add`.
        actor: on whose behalf.
        now: one time for the whole unit, aware UTC, from the database's clock.
        added: the rows that this unit added, in the order of their flushes.
    """

    def __init__(self, session: Session, actor: Actor, *, now: datetime, ids: Callable[[str], str]) -> None:
        self.session = session
        self.actor = actor
        self.now = now
        self.new_id = ids
        self._entries: list[ledger.Entry] = []
        self._touched: set[tuple[str, str]] = set()
        self._joiners = _joining.get()
        self.added: list[Row] = []
        event.listen(session, "before_flush", self._note_changes)
        event.listen(session, "do_orm_execute", _refuse_bulk_writes)

    def record(
        self,
        action: str,
        subject: Row | tuple[str, str],
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        """Queues one ledger row. `action` is `noun.verb` ("change.approve"); facts are small and hold no secret."""
        kind, identifier = subject.subject() if isinstance(subject, Row) else subject
        self._entries.append(ledger.Entry(action, kind, identifier, before, after))

    def get(self, table: type[R], key: Any, noun: str = "", *, lock: bool = False) -> R:
        """The row by primary key, or NotFound. `lock` takes the row's lock on PostgreSQL (SQLite has one writer anyway)."""
        row = self.session.get(table, key, with_for_update=lock or None)
        if row is None:
            raise NotFound(noun or table.__subject__ or table.__name__.lower(), str(key))
        return row

    def expect(self, row: Row, revision: int | None) -> None:
        """Counts up a row's revision; StaleWrite when the caller looked at an older one. Take the row with `lock=True`."""
        current: int = row.revision  # type: ignore[attr-defined]  # only rows with a revision are expected of
        if revision is not None and revision != current:
            raise StaleWrite(*row.subject())
        row.revision = current + 1

    def alone(self, what: str) -> None:
        """Waits until no other unit holds `what`, and holds it to this unit's end: what is counted after that stays as counted.

        Taken before anything of it is read. SQLite has one writer anyway. Whoever takes several takes them in one order: a
        directory, names, roles, then one request's or one data set's.
        """
        if self.session.get_bind().dialect.name == "postgresql":
            key = int.from_bytes(bytes.fromhex(digest(what)[7:23]), signed=True)
            self.session.connection().execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def add(self, row: R) -> R:
        """Adds a row to this unit and returns it."""
        self.session.add(row)
        return row

    def open(self) -> None:
        """Lets whoever joined look first."""
        for one in self._joiners:
            one.opened(self)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What is refused in here leaves no trace in the unit: neither a row nor a word for the ledger."""
        entries, touched = len(self._entries), set(self._touched)
        try:
            with self.session.begin_nested():
                yield
        except BaseException:
            del self._entries[entries:]
            self._touched = touched
            raise

    def seal(self) -> None:
        """Flushes, checks that every governed change is recorded, and appends the ledger rows, the head locked last."""
        try:
            self.session.flush()
        except StaleDataError as error:
            raise StaleWrite("row", "that you edited") from error
        if missing := self._touched - {(entry.subject_kind, entry.subject_id) for entry in self._entries}:
            raise UnrecordedChange(f"changed without a ledger row: {sorted(missing)}")
        for one in self._joiners:
            one.sealing(self)
        if self._entries:
            self._append()
        self.session.flush()

    def _append(self) -> None:
        head = self._locked_head()
        for entry in self._entries:
            row = ledger.link(
                entry,
                seq=head.seq + 1,
                at=self.now,
                actor_id=self.actor.id,
                actor_kind=self.actor.kind,
                request=context.request_id.get(),
                previous=head.hash,
            )
            self.session.add(row)
            head.seq, head.hash = row.seq, row.hash

    def _locked_head(self) -> ledger.LedgerHead:
        if self.session.get_bind().dialect.name == "postgresql":
            self.session.connection().execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LEDGER_LOCK})
        head = self.session.exec(select(ledger.LedgerHead).with_for_update()).one_or_none()
        return head or self.add(ledger.LedgerHead())

    def _note_changes(self, session: Session, _context: Any, _instances: Any) -> None:
        changed = [row for row in session.dirty if session.is_modified(row)]
        self.added += [row for row in session.new if isinstance(row, Row)]
        for row in [*session.new, *changed, *session.deleted]:
            if isinstance(row, Row) and row.__governed__:
                self._touched.add(row.subject())


def _refuse_bulk_writes(state: ORMExecuteState) -> None:
    """A bulk UPDATE or DELETE would pass the guard by; governed rows change one by one, through their objects."""
    if not (state.is_update or state.is_delete or state.is_insert):
        return
    entity = state.bind_mapper.class_ if state.bind_mapper else None
    if entity is not None and issubclass(entity, Row) and entity.__governed__:
        raise UnrecordedChange(f"bulk write to {entity.__name__}, which is governed")
