"""Every id of every operation of the API, as somebody who sees one model: a foreign one answers as one of nothing.

The operations and their parameters are taken from the OpenAPI document, so that a new one is held to it by itself. What a
parameter that nobody named here may hold is tried with an id and a name of every kind of row that this person does not see.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select
from starlette.testclient import TestClient

from backend import bootstrap
from backend.access import visible
from backend.access.checks import see_as
from backend.access.rows import Request
from backend.access.rules import ROLES
from backend.api import app as api
from backend.bootstrap import Backend
from backend.core.columns import Row
from backend.settings import Settings
from tests.installations import CHURN, EU, FLIGHTS, ROUTER, SERVERS, populated

MISSING = "nothing-there"
NOBODYS = {
    "team": "teams are seen by everybody", "identity": "people are seen by everybody",
    "environment": "they are seen by everybody", "number": "a number of the model that is named beside it",
    "request": "asked for by admins and auditors alone", "grant": "asked for by admins and auditors alone",
    "after": "where a page begins", "before": "where a page begins", "limit": "how long it is", "order": "a word",
    "state": "a word", "mode": "a word", "text": "what is searched for among what is seen", "until": "a moment",
    "start": "a moment", "end": "a moment", "moment": "a moment", "registered": "a word", "settled": "a word",
    "removed": "a word",
    "action": "a word", "actor": "people are seen by everybody", "version": "a number of the model that is asked for",
    "words": "what is searched for among what is seen", "owner": "a word that is searched for among what is seen",
}  # fmt: skip
"""Parameters that name nothing that is somebody's, with the reason. Whoever adds one here has to give one."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("foreign") / "data"
    populated(folder)
    made = bootstrap.build(Settings(data_dir=folder, demo_identities=True))
    yield made
    made.close()


@pytest.fixture(scope="module")
def narrow(filled: Backend) -> tuple[str, str]:
    """(identity id, token) of somebody with every role on one model, and none anywhere else."""
    otto, nora = filled.identities.act_as("otto"), filled.identities.act_as("nora")
    actor = filled.identities.create(otto, "everything on churn")
    for role in ROLES:
        asked = filled.identities.grant(otto, "everything on churn", role, f"model:{CHURN}")
        assert isinstance(asked, Request)
        filled.identities.confirm_grant(nora, asked.id)
    return actor.id, filled.tokens.create(actor, "tests").text


@pytest.fixture(scope="module")
def foreign(filled: Backend, narrow: tuple[str, str]) -> dict[str, list[str]]:
    """Kind of row -> the ids, numbers and names of one that this person does not see."""
    actor = filled.tokens.actor_of(narrow[1])
    assert actor is not None
    found: dict[str, list[str]] = {}
    with filled.database.read() as everything, filled.database.read() as some:
        see_as(some, actor, now=filled.database.now(some))
        for table in visible.tables():
            if table.__seen_through__ and (row := _unseen(everything, some, table)) is not None:
                known = (getattr(row, name, None) for name in ("id", "name", "number", "seq"))
                found[str(table.__tablename__)] = [str(one) for one in known if one is not None]
    return found


def _unseen(everything: Session, some: Session, table: type[Row]) -> Any:
    seen = {_key(row) for row in some.exec(select(table))}
    return next((row for row in everything.exec(select(table)) if _key(row) not in seen), None)


def _key(row: Row) -> tuple[object, ...]:
    return tuple(str(getattr(row, column.name)) for column in type(row).__table__.primary_key)  # type: ignore[attr-defined]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_a_foreign_id_in_any_parameter_answers_as_one_of_nothing(
    filled: Backend, narrow: tuple[str, str], foreign: dict[str, list[str]]
) -> None:
    assert {"endpoint", "change", "server", "model", "version", "ledger"} <= foreign.keys()
    application = api.build(lambda: filled)
    client = TestClient(application, raise_server_exceptions=False)
    headers = {"authorization": f"Bearer {narrow[1]}", "content-type": "application/json"}
    walked: dict[str, int] = {}
    for method, path, operation in operations(application.openapi()):
        for parameter in operation.get("parameters", []):
            name, where = parameter["name"], parameter["in"]
            if name in NOBODYS or where not in ("path", "query"):
                continue
            for value in _values(name, parameter, foreign):
                told = [_asked(client, headers, method, path, operation, name, where, one) for one in (value, _nothing(value))]
                assert told[0] == told[1], (method, path, name, value, told)
                walked[name] = walked.get(name, 0) + 1
    assert {"model", "endpoint", "change", "server", "row", "subject"} <= walked.keys()
    assert sum(walked.values()) > 40


def _values(name: str, parameter: dict[str, Any], foreign: dict[str, list[str]]) -> list[str]:
    """What a parameter is tried with: what is known of it, else something of every kind."""
    known = {
        "model": [FLIGHTS], "endpoint": [EU], "server": [SERVERS[0]], "router": [ROUTER], "change": foreign["change"][:2],
        "row": foreign["ledger"][:1],
        "subject": [f"{kind}/{foreign[kind][0]}" for kind in ("endpoint", "change", "server") if kind in foreign],
    }  # fmt: skip
    if name in known:
        return known[name]
    found = list(itertools.chain.from_iterable(foreign.values()))
    numeric = "integer" in str(parameter.get("schema"))
    return [one for one in found if not numeric or one.isdecimal()]


def _nothing(value: str) -> str:
    """The same form, of nothing."""
    kind, slash, identifier = value.partition("/")
    if slash and kind.isidentifier():
        return f"{kind}/{_nothing(identifier)}"
    if value.isdecimal():
        return "999999"
    return re.sub(r"(?<=_)[0-9a-z]{26}$", "0" * 26, value) if re.search(r"_[0-9a-z]{26}$", value) else MISSING


def _asked(
    client: TestClient,
    headers: dict[str, str],
    method: str,
    path: str,
    operation: dict[str, Any],
    name: str,
    where: str,
    value: str,
) -> tuple[int, str]:
    """Status and body, with the value itself blotted out; every other parameter names something that this person sees."""
    address, query = path, {}
    for one in operation.get("parameters", []):
        mine = value if one["name"] == name else _own(one)
        if one["in"] == "path":
            address = address.replace("{" + one["name"] + "}", mine)
        elif one["in"] == "query" and (one["name"] == name or one.get("required")):
            query[one["name"]] = mine
    answer = client.request(method, address, params=query, headers=headers, content=b'{"reason": "x"}')
    said = re.sub(r"req_[0-9a-z]{26}", "", answer.text)
    for each in (value, value.rpartition("/")[2]):
        said = said.replace(each, "*")
    return answer.status_code, said


def _own(parameter: dict[str, Any]) -> str:
    own = {"model": CHURN, "endpoint": "churn", "version": "1", "number": "1", "moment": "2026-03-01T00:00:00Z"}
    dates = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}
    return {**own, **dates}.get(parameter["name"], MISSING)


def test_every_parameter_without_an_owner_is_still_there() -> None:
    document = api.build(lambda: None).openapi()  # type: ignore[arg-type, return-value]
    named = {one["name"] for _, _, operation in operations(document) for one in operation.get("parameters", [])}
    assert NOBODYS.keys() <= named, NOBODYS.keys() - named


def test_the_file_finds_what_is_not_seen(foreign: dict[str, list[str]], tmp_path: Path) -> None:
    assert FLIGHTS in foreign["model"] or EU in foreign["endpoint"] or foreign["change"]
    assert _nothing("endpoint/end_" + "a" * 26) == "endpoint/end_" + "0" * 26
