"""Engines that Ibis speaks to: connected to within the outgoing guard, and asked by one statement at a time.

PostgreSQL is connected to at the very address that was checked; other drivers resolve the name once more themselves.
Source: https://ibis-project.org/reference (`ibis.connect`, `Backend.compile`, `Backend.raw_sql`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from backend.core.errors import Refusal
from backend.core.outbound import Guard

_PORTS = {"postgres": 5432, "postgresql": 5432, "mysql": 3306, "clickhouse": 8123, "mssql": 1433, "trino": 8080, "oracle": 1521}
_ELSEWHERE = ("host", "hostaddr", "service", "servicefile", "passfile")
"""Parameters of a URL by which libpq would go elsewhere than the URL says."""


def connect(url: str, guard: Guard) -> Any:
    """A connection to an engine. Refusal for an address that nobody allowed.

    Args:
        url: Ibis's, such as `postgres://user:password@host:5432/database` or `duckdb:///file`.
    """
    import ibis

    parsed = urlsplit(url)
    scheme = parsed.scheme.partition("+")[0]
    told = dict(parse_qsl(parsed.query))
    refused = [name for name in _ELSEWHERE if name in told and not told[name].startswith("/")]
    if refused:
        raise Refusal(
            f"The URL of an engine says {refused[0]} besides its host.", "Name one host, before the path.", code="bad-setting"
        )
    more: dict[str, Any] = {}
    if parsed.hostname:
        address = guard.address(parsed.hostname, parsed.port or _PORTS.get(scheme, 443))
        more = {"hostaddr": address} if scheme in ("postgres", "postgresql") else {}
    con = ibis.connect(url, **more)
    if scheme in ("postgres", "postgresql", "duckdb"):
        con.raw_sql("SET TIME ZONE 'UTC'" if scheme != "duckdb" else "SET TimeZone = 'UTC'")
    return con


class _Kept:
    """A cursor that is the connection itself, and stays open."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def __enter__(self) -> Any:
        return self._cursor

    def __exit__(self, *_: object) -> None:
        return None


def _closes(con: Any) -> bool:
    return str(con.name) != "duckdb"


def table_of(con: Any, name: str) -> Any:
    """`schema.table`, or a table of the engine's usual schema."""
    schema, _, table = name.rpartition(".")
    return con.table(table, database=schema) if schema else con.table(table)


def fetch(con: Any, asked: Any) -> list[Sequence[Any]]:
    """The rows of an expression, as the engine makes them."""
    sql = str(con.compile(asked))
    with closing(con.raw_sql(sql)) if _closes(con) else _Kept(con.raw_sql(sql)) as cursor:
        return list(cursor.fetchall())
