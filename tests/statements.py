"""Compiled statements are kept once a process: every test opens databases of its own, and SQLAlchemy keeps them by engine.

Its caches are keyed by the dialect too, of which each engine has one. Those of one kind compile alike here: one version of each
server, and no options. Source: https://docs.sqlalchemy.org/en/21/core/connections.html#sql-compilation-caching
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_SHARED: LRUCache[object, object] = LRUCache(2_000)


def share() -> None:
    """From now on, in this process."""
    for kind in (SQLiteDialect_pysqlite, PGDialect_psycopg):
        kind.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign, assignment]
        kind.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign, assignment]
    sa.event.listen(sa.Engine, "engine_connect", _put)


def _put(connection: sa.Connection) -> None:
    connection.engine._compiled_cache = _SHARED  # type: ignore[assignment]
