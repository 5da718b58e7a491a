"""A large installation for the web benchmark: what people did in a small one, copied straight into the tables many times.

The small one is made by the real services (tests/installations.py). The copies are rows and nothing else: no ledger row, no
package and no work item speaks of them; the worker finds those that are open by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from backend.changes.rows import Change, Comment, Vote
from backend.changes.rules import UNDECIDED
from backend.core.database import Database
from backend.delivery.rows import Endpoint, Generation, Look, Observation, Proof, PushRecord, Server
from backend.evidence.rows import Evidence
from benchmarks import registry_ours
from benchmarks.registry_rows import model_name
from tests.installations import populated

ENDPOINTS_A_SERVER = 50
_OF_ENDPOINT = (Look, Generation, Observation, Proof, PushRecord)
_OF_CHANGE = (Evidence, Vote, Comment)
_OPEN = 25
"""One change in so many is not ended; the worker looks after each of those."""
Row = dict[str, Any]


def fill(data: Path, *, models: int, versions: int, endpoints: int, changes: int) -> None:
    """Makes the small installation and copies it until there is so much of everything."""
    populated(data)
    url = f"sqlite:///{data / 'countersign.db'}"
    registry_ours.fill(url, models, versions)
    database = Database(url)
    with database.engine.begin() as connection:
        servers = _servers(connection, endpoints)
        made = _endpoints(connection, endpoints, servers, models)
        _changes(connection, changes, made)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    database.close()


def _servers(connection: sa.Connection, endpoints: int) -> list[str]:
    template = _rows(connection, Server)[0]
    count = -(-endpoints // ENDPOINTS_A_SERVER)
    made = [{**template, "id": f"srv_{number:026d}", "name": f"server-{number:03d}"} for number in range(count)]
    _insert(connection, Server, made)
    return [one["id"] for one in made]


def _endpoints(connection: sa.Connection, count: int, servers: Sequence[str], models: int) -> list[str]:
    """Copies of every endpoint in turn, each with what was admitted for it and seen of it."""
    templates = _rows(connection, Endpoint)
    made = [_endpoint(templates[number % len(templates)], number, servers, models) for number in range(count)]
    _insert(connection, Endpoint, made)
    for table in _OF_ENDPOINT:
        belonging = _by(_rows(connection, table), "endpoint_id")
        pairs = ((templates[number % len(templates)]["id"], one["id"]) for number, one in enumerate(made))
        _insert(connection, table, [each for old, new in pairs for each in _copies(belonging, "endpoint_id", old, new)])
    return [one["id"] for one in made]


def _endpoint(template: Row, number: int, servers: Sequence[str], models: int) -> Row:
    return {
        **template,
        "id": f"end_{number:026d}",
        "name": f"{template['name'][:40]}-{number:04d}",
        "served_name": f"served-{number:04d}",
        "server_id": servers[number % len(servers)],
        "model": model_name(number * 7919 % models),
    }


def _changes(connection: sa.Connection, count: int, endpoints: Sequence[str]) -> None:
    """Copies of every change in turn, each with its votes, remarks and checks; one in 25 is not ended."""
    templates = _rows(connection, Change)
    first = max(one["number"] for one in templates) + 1
    ended = [one for one in templates if one["state"] not in (*UNDECIDED, "applying")]
    chosen = [each[number % len(each)] for number in range(count) for each in (ended if number % _OPEN else templates,)]
    made = [
        {
            **chosen[number],
            "id": f"chg_{number:026d}",
            "number": first + number,
            "endpoint_id": endpoints[number % len(endpoints)],
        }
        for number in range(count)
    ]
    _insert(connection, Change, made)
    for table in _OF_CHANGE:
        belonging = _by(_rows(connection, table), "change_id")
        pairs = ((old["id"], new["id"]) for old, new in zip(chosen, made, strict=True))
        _insert(connection, table, [each for old, new in pairs for each in _copies(belonging, "change_id", old, new)])


def _copies(belonging: Mapping[str, list[Row]], column: str, old: str, new: str) -> Iterator[Row]:
    """The rows that belong to one thing, as rows of its copy; their ids are told apart by the copy's number."""
    for one in belonging.get(old, ()):
        copy = {**one, column: new}
        if "id" in one:
            copy["id"] = one["id"].replace(old, new) if old in one["id"] else f"{one['id']}-{new.lstrip('chgend_0')}"
        yield copy


def _by(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for one in rows:
        found.setdefault(one[column], []).append(one)
    return found


def _rows(connection: sa.Connection, table: Any) -> list[Row]:
    return [dict(one) for one in connection.execute(sa.select(table.__table__)).mappings()]


def _insert(connection: sa.Connection, table: Any, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), 5_000):
        connection.execute(table.__table__.insert(), rows[start : start + 5_000])
