"""One database, two ways in: `unit(actor)` writes, `read()` looks. SQLite in WAL mode by default, PostgreSQL by URL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from backend.core import columns
from backend.core.context import Actor
from backend.core.errors import Raced, Refusal
from backend.core.unit import Unit, writing

BUSY_TIMEOUT_MS = 30_000
IDLE_IN_UNIT_MS = 10_000
"""After so long without a word inside a unit PostgreSQL ends it: a process that was stopped must not keep its row locks."""

_RACES = frozenset(
    {
        "23505", "23503", "40001", "40P01",
        "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_FOREIGNKEY",
    }
)  # fmt: skip
"""What the databases call what two units did to each other: a key that is there already or not there any more, and a deadlock
(PostgreSQL's appendix A, "PostgreSQL Error Codes"; SQLite's extended result codes)."""


class Database:
    """Connections are opened on first use; nothing connects at construction.

    Args:
        url: SQLAlchemy URL (`sqlite:///...` or `postgresql+psycopg://...`).
        clock: for tests; by default the database's own clock (PostgreSQL) or this machine's (SQLite, same host).
        ids: for tests; by default time-sortable random ids.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], datetime] | None = None,
        ids: Callable[[str], str] = columns.new_id,
    ) -> None:
        self.url = make_url(url)
        self._clock = clock
        self._ids = ids
        self._write_engine: sa.Engine | None = None
        self._read_engine: sa.Engine | None = None
        self._opening = threading.Lock()

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded default."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> sa.Engine:
        """The writing engine; each transaction on SQLite begins IMMEDIATE."""
        with self._opening:
            if self._write_engine is None:
                self._write_engine = self._create(begin="BEGIN IMMEDIATE", query_only=False)
            return self._write_engine

    @property
    def reader(self) -> sa.Engine:
        """The reading engine; the database itself refuses a write through it."""
        with self._opening:
            if self._read_engine is None:
                self._read_engine = self._create(begin="BEGIN", query_only=True)
            return self._read_engine

    @contextmanager
    def unit(self, actor: Actor) -> Iterator[Unit]:
        """A unit of work as `actor`: commits on a clean exit with its ledger rows, rolls back on any exception.

        `Raced` where another unit was faster with the same: what a command looked for was not there yet, and is now.
        """
        with Session(self.engine, expire_on_commit=False) as session, writing():
            unit = Unit(session, actor, now=self.now(session), ids=self._ids)
            try:
                unit.open()
                yield unit
                unit.seal()
                session.commit()
            except DBAPIError as error:
                session.rollback()
                if not _is_race(error):
                    raise
                structlog.get_logger().warning("unit.raced", key=_key(error))
                raise Raced from error
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read-only session on one consistent snapshot."""
        with Session(self.reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def glance(self) -> Iterator[sa.Connection]:
        """A read-only connection on one consistent snapshot, without a session: for `core.fixed`, before every request."""
        with self.reader.connect() as connection:
            connection.begin()
            yield connection

    def now(self, session: Session | sa.Connection | None = None) -> datetime:
        """The time in force: the test clock, else the database's (aware, UTC)."""
        if self._clock is not None:
            return self._clock()
        if self.is_sqlite:
            return datetime.now(UTC)
        if session is not None:
            return _database_time(session)
        with self.read() as reading:
            return _database_time(reading)

    def close(self) -> None:
        """Returns every connection; the object can be used again."""
        with self._opening:
            for engine in (self._write_engine, self._read_engine):
                if engine is not None:
                    engine.dispose()
            self._write_engine = self._read_engine = None

    def _create(self, *, begin: str, query_only: bool) -> sa.Engine:
        if self.is_sqlite:
            return _sqlite_engine(self.url, begin=begin, query_only=query_only)
        if self.url.get_backend_name() != "postgresql":
            raise Refusal(
                f"{self.url.get_backend_name()} is not a database that Countersign supports.",
                "Set COUNTERSIGN_DATABASE_URL to a postgresql+psycopg:// URL, or unset it for SQLite.",
                code="bad-setting",
            )
        snapshot = {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        options: dict[str, Any] = snapshot if query_only else {}
        engine = sa.create_engine(
            self.url, pool_size=8, max_overflow=24, pool_pre_ping=True, execution_options=options, hide_parameters=True
        )
        if not query_only:
            event.listen(engine, "connect", _limit_idle_units)
        return engine


def _is_race(error: DBAPIError) -> bool:
    told = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return told in _RACES


def _key(error: DBAPIError) -> str:
    """Which key it was, without what stands in it: a name or an address."""
    told = getattr(error.orig, "diag", None)
    return str(told.constraint_name or told.sqlstate) if told is not None else str(error.orig)


def _limit_idle_units(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_IN_UNIT_MS}")
    connection.commit()


def _database_time(asked: Session | sa.Connection) -> datetime:
    connection = asked.connection() if isinstance(asked, Session) else asked
    value: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    return value.astimezone(UTC)


def _sqlite_engine(url: sa.URL, *, begin: str, query_only: bool) -> sa.Engine:
    """SQLite with WAL; SQLAlchemy's recipe for explicit BEGIN (dialects/sqlite, "Serializable isolation").

    Measured with 8 writers: deferred transactions answer "database is locked" 62 % of the time, immediate ones never.
    """
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, pool_size=8, max_overflow=24, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if query_only:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        driver: Any = connection.connection.dbapi_connection  # past SQLAlchemy's own way, which takes 50 us longer
        driver.execute(begin)

    return engine
