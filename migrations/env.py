"""Alembic's entry: run by `backend.migrate`, which passes the open connection in `attributes`."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel import AutoString, SQLModel

from backend import schema  # imports every table
from backend.core.columns import JSON_TYPE, UtcDateTime

assert schema  # noqa: S101 - the import is the point


def render(kind: str, value: Any, autogenerate: AutogenContext) -> str | Literal[False]:
    """How a new migration names our column types, so that old migrations never depend on today's classes."""
    if kind == "type" and isinstance(value, AutoString):
        return "sa.String()"
    if kind == "type" and isinstance(value, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and value is JSON_TYPE:
        autogenerate.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


context.configure(
    render_item=render,
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
