"""Brings a database to the schema of this code, and tells whether it is there. Alembic owns the schema."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from backend import schema
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.unit import LEDGER_LOCK

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"


def upgrade(database: Database) -> None:
    """Runs what is missing, one process at a time, all in one transaction."""
    with database.engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LEDGER_LOCK + 1})
        if _current(connection) == newest():
            return
        command.upgrade(_config(connection), "head")


def require_current(database: Database) -> None:
    """Refusal when the database is behind or ahead of this code; every process asks before it serves."""
    with database.reader.connect() as connection:
        current = _current(connection)
    if current != newest():
        raise Refusal(
            f"The database is at schema {current or 'none'}, this program needs {newest()}.",
            "Run `countersign migrate`, with the program version that you want to use.",
            code="schema",
        )


@cache
def newest() -> str | None:
    """The schema of this code; its files do not change while a process runs."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def differences(database: Database) -> list[Any]:
    """What the models say and the database lacks, or the other way round; empty when they agree (a test asserts it)."""
    assert schema  # noqa: S101 - the import fills the metadata
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, SQLModel.metadata))


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: sa.Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    return config
