"""Every id of every operation of the API, as somebody who sees one model: a foreign one answers as one of nothing.

The operations, their parameters and the fields of their bodies are taken from the OpenAPI document, so that a new one is held
to it by itself. What a parameter that nobody named here may hold is tried with an id and a name of every kind of row that this
person does not see.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select
from starlette.testclient import TestClient

from backend import bootstrap
from backend.access import visible
from backend.access.binding_rows import Binding
from backend.access.checks import see_as
from backend.access.rows import Request
from backend.access.rules import ROLES
from backend.access.session_rows import GroupMapping, SignInSession
from backend.api import app as api
from backend.api.document import EXAMPLES
from backend.bootstrap import Backend
from backend.core.columns import Row
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Endpoint
from backend.notify.rows import Message, Route, Subscription
from backend.settings import Settings
from backend.window_reports import wire
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import Asked, Side
from tests.found import drifted
from tests.installations import CHURN, EU, FLIGHTS, SERVERS, copied, number_of

MISSING = "nothing-there"
FAR = "far-edge"
"""A router of nobody's endpoint."""
NOBODYS = {
    "team": "teams are seen by everybody", "identity": "people are seen by everybody",
    "environment": "they are seen by everybody", "number": "a number of the model that is named beside it",
    "request": "asked for by admins and auditors alone", "grant": "asked for by admins and auditors alone",
    "after": "where a page begins", "since": "where a page begins", "limit": "how long it is", "order": "a word",
    "freeze": "of environments, which are seen by everybody", "file": "what an upload is called", "description": "a text",
    "reason": "a text", "revision": "a number of the card that is named beside it", "kind": "a word", "retired": "a word",
    "ended": "a word", "everybody": "a word",
    "state": "a word", "mode": "a word", "text": "what is searched for among what is seen", "until": "a moment",
    "start": "a moment", "end": "a moment", "moment": "a moment", "registered": "a word", "settled": "a word",
    "removed": "a word",
    "action": "a word", "actor": "people are seen by everybody", "version": "a number of the model that is asked for",
    "step": "a number of seconds", "by": "a word", "source": "a name below the endpoint that is named beside it",
    "severity": "a word", "tests": "a word",
    "role": "a word", "scope": "of grants, which are seen by everybody", "ends": "a word", "active": "a word", "demo": "a word",
    "group": "of a provider, for admins alone", "provider": "of the settings, for admins alone", "mine": "a word",
    "minutes": "a number", "alias": "a word that is searched for among what is seen", "pickled": "a word",
    "live": "an environment, which everybody sees", "requester": "people are seen by everybody",
    "words": "what is searched for among what is seen", "owner": "a word that is searched for among what is seen",
}  # fmt: skip
"""Parameters that name nothing that is somebody's, with the reason. Whoever adds one here has to give one."""
FIELDS = ("model", "endpoint", "server", "router", "supersede", "route", "object_name", "rollout")
"""Fields of bodies that name what may be somebody else's."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, week: Path) -> Iterator[Backend]:
    folder = copied(week, tmp_path_factory.mktemp("foreign") / "data")
    made = bootstrap.build(Settings(data_dir=folder, demo_identities=True))
    memory = {"kind": "memory", "settings": {"path": str(folder / "far.json")}}
    made.servers.register_router(made.identities.act_as("olga"), name=FAR, public_url="memory:far", **memory)
    drifted(made.database, EU)
    drifted(made.database, "churn")
    _report(made.database, EU)
    yield made
    made.close()


def _report(database: Database, endpoint: str) -> None:
    """Somebody's window report, which waits for a worker."""
    with database.unit(SYSTEM) as tx:
        place = tx.session.exec(select(Endpoint).where(Endpoint.name == endpoint)).one()
        asked = wire.told(Asked(Side(tx.now - timedelta(days=1), tx.now)))
        whose = {"endpoint_id": place.id, "endpoint": place.name, "asked_by": SYSTEM.id}
        tx.record("window_report.ask", tx.add(WindowReport(id=tx.new_id("wrp"), asked=asked, asked_at=tx.now, **whose)))


@pytest.fixture(scope="module")
def narrow(filled: Backend) -> tuple[str, str]:
    """(identity id, token) of somebody with every role on one model, and none anywhere else."""
    otto, nora = filled.identities.act_as("otto"), filled.identities.act_as("nora")
    actor = filled.identities.create(otto, "everything-on-churn")
    for role in ROLES:
        asked = filled.identities.grant(otto, "everything-on-churn", role, f"model:{CHURN}")
        assert isinstance(asked, Request)
        filled.identities.confirm_grant(nora, asked.id)
    return actor.id, filled.tokens.create(actor, "tests").text


@pytest.fixture(scope="module")
def private(filled: Backend) -> dict[str, list[str]]:
    """Parameter -> the id of what is somebody's own, or asked for by admins alone: no look at what is seen leaves it out."""
    nora = filled.identities.act_as("nora")
    hers, corp = {"identity_id": nora.id}, {"provider": "corp", "issuer": "https://id.example"}
    with filled.database.unit(SYSTEM) as tx:
        now, by = tx.now, {"created_by": nora.id, "created_at": tx.now}
        waits = {"at": now, "due_at": now, "created_at": now, "state": "dead"}
        made = {"made_by": nora.id, "made_at": now}
        rows: dict[str, Row] = {
            "route": Route(id=tx.new_id("rte"), name="hook", kind="webhook", shown="x", sealed_address="x", **hers, **by),
            "subscription": Subscription(id=tx.new_id("sub"), events=["*"], **hers, **by),
            "message": Message(
                id=tx.new_id("msg"), route_key="mail", event="change.waiting", seq=0, subject_kind="change", subject_id="x",
                told={}, same="x", **hers, **waits,
            ),
            "session": SignInSession(
                id=tx.new_id("ses"), key="k", external_subject="nora", issued_at=now, opened_at=now, **hers, **corp
            ),
            "mapping": GroupMapping(
                id=tx.new_id("map"), provider="corp", value="staff", role="viewer", confirmed_by=nora.id, **made
            ),
            "binding": Binding(
                id=tx.new_id("bnd"), profile="corp", issuer="x", anchor="sub=1", claims={"sub": "1"}, **hers, **made
            ),
        }  # fmt: skip
        for word, row in rows.items():
            tx.add(row)
            if word != "message":
                tx.record("test.fill", row)
    found = {word: [str(row.id)] for word, row in rows.items()}  # type: ignore[attr-defined]
    return {**found, "token": [filled.tokens.create(nora, "private").id]}


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


def test_a_foreign_id_in_any_parameter_answers_as_one_of_nothing(door: Door) -> None:
    assert {"endpoint", "change", "server", "model", "version", "ledger"} <= door.foreign.keys()
    walked: dict[str, int] = {}
    for method, path, operation in operations(door.document):
        for parameter in operation.get("parameters", []):
            name, where = parameter["name"], parameter["in"]
            if name in NOBODYS or where not in ("path", "query"):
                continue
            for value in door.values(name, parameter):
                told = [door.asked(method, path, operation, {name: one}) for one in (value, _nothing(value))]
                assert told[0] == told[1], (method, path, name, value, told)
                walked[name] = walked.get(name, 0) + 1
    assert {
        "model",
        "endpoint",
        "change",
        "finding",
        "report",
        "server",
        "router_name",
        "row",
        "subject",
        *door.private,
    } <= walked.keys()
    assert sum(walked.values()) > 100


def test_a_foreign_name_in_any_body_answers_as_one_of_nothing(door: Door) -> None:
    """Of the bodies that the examples show, with what this person sees in every other field."""
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    walked: set[tuple[str, str]] = set()
    for method, path, operation in operations(door.document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        schema = door.document["components"]["schemas"].get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
        for name in set(FIELDS) & schema.get("properties", {}).keys():
            known = {
                **examples.get(operation["operationId"], {}).get("request", {}),
                "events": ["*"],
                "object_kind": "endpoint",
            }
            body = {word: _OWN.get(word, value) for word, value in known.items() if word in schema["properties"]}
            for value in door.values(name, {"schema": schema["properties"][name]}):
                told = [
                    door.asked(method, path, operation, {}, {**body, name: _typed(one)}) for one in (value, _nothing(value))
                ]
                assert told[0] == told[1], (method, path, name, value, told)
                walked.add((operation["operationId"], name))
    assert {("propose_change", "endpoint"), ("create_endpoint", "server"), ("create_endpoint", "model")} <= walked
    assert {("subscribe", "route"), ("let_rollout_on", "rollout"), ("start_intake", "model")} <= walked


_OWN: dict[str, Any] = {"model": CHURN, "endpoint": "churn", "router": None}


class Door:
    """The API as somebody who sees one model, and what is not his."""

    def __init__(self, backend: Backend, token: str, foreign: dict[str, list[str]], private: dict[str, list[str]]) -> None:
        self._own = {
            "model": CHURN, "endpoint": "churn", "version": "1", "number": "1", "moment": "2026-03-01T00:00:00Z",
            "start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z", "change": str(number_of(backend, "BLOCKED")),
        }  # fmt: skip
        patient = replace(backend, settings=backend.settings.model_copy(update={"api_burst": 100_000}))
        application = api.build(lambda: patient)
        self.document, self.foreign, self.private = application.openapi(), foreign, private
        self._client = TestClient(application, raise_server_exceptions=False)
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def values(self, name: str, parameter: dict[str, Any]) -> list[str]:
        """What a parameter is tried with: what is known of it, else something of every kind."""
        foreign = self.foreign
        known = {
            "model": [FLIGHTS], "endpoint": [EU], "server": [SERVERS[0]], "router": [FAR], "router_name": [FAR],
            "finding": foreign["finding"], "change": foreign["change"][:2], "row": foreign["ledger"][:1], "object_name": [EU],
            "report": foreign["window_report"],
            "subject": [f"{kind}/{foreign[kind][0]}" for kind in ("endpoint", "change", "server") if kind in foreign],
            **self.private,
        }  # fmt: skip
        if name in known:
            return known[name]
        found = list(itertools.chain.from_iterable(foreign.values()))
        numeric = "integer" in str(parameter.get("schema"))
        return [one for one in found if not numeric or one.isdecimal()]

    def asked(
        self, method: str, path: str, operation: dict[str, Any], values: dict[str, str], body: dict[str, Any] | None = None
    ) -> tuple[int, str]:
        """Status and body, without the value itself and the id of what was made; all else names what this person sees."""
        address, query = path, {}
        for one in operation.get("parameters", []):
            mine = values.get(one["name"], self._own.get(one["name"], MISSING))
            if one["in"] == "path":
                address = address.replace("{" + one["name"] + "}", mine)
            elif one["in"] == "query" and (one["name"] in values or one.get("required")):
                query[one["name"]] = mine
        content = json.dumps({"reason": "x"} if body is None else body).encode()
        answer = self._client.request(method, address, params=query, headers=self._headers, content=content)
        said = re.sub(r"req_[0-9a-z]{26}", "", answer.text)
        if answer.status_code == 201:
            said = re.sub(r'^\{"id":"[a-z]{3}_[0-9a-z]{26}"', '{"id":"*"', said)
        for value in (*values.values(), *(str(one) for one in (body or {}).values())):
            for each in (value, value.rpartition("/")[2]):
                said = re.sub(rf"(?<!\w){re.escape(each)}(?!\w)", "*", said)
        return answer.status_code, said


@pytest.fixture(scope="module")
def door(filled: Backend, narrow: tuple[str, str], foreign: dict[str, list[str]], private: dict[str, list[str]]) -> Door:
    return Door(filled, narrow[1], foreign, private)


def _typed(value: str) -> str | int:
    return int(value) if value.isdecimal() else value


def _nothing(value: str) -> str:
    """The same form, of nothing."""
    kind, slash, identifier = value.partition("/")
    if slash and kind.isidentifier():
        return f"{kind}/{_nothing(identifier)}"
    if value.isdecimal():
        return "999999"
    return re.sub(r"(?<=_)[0-9a-z]{26}$", "0" * 26, value) if re.search(r"_[0-9a-z]{26}$", value) else MISSING


def test_every_parameter_without_an_owner_is_still_there() -> None:
    document = api.build(lambda: None).openapi()  # type: ignore[arg-type, return-value]
    named = {one["name"] for _, _, operation in operations(document) for one in operation.get("parameters", [])}
    assert NOBODYS.keys() <= named, NOBODYS.keys() - named


def test_the_file_finds_what_is_not_seen(foreign: dict[str, list[str]]) -> None:
    assert FLIGHTS in foreign["model"] or EU in foreign["endpoint"] or foreign["change"]
    assert _nothing("endpoint/end_" + "a" * 26) == "endpoint/end_" + "0" * 26
