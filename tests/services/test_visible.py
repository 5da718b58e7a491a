"""What a look shows to somebody whose grants reach a part only: lists, counts, names, numbers and ids."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import Session, select
from starlette.testclient import TestClient

from backend import bootstrap
from backend.access import queries, rules, visible
from backend.access.checks import require_to_read, see_as
from backend.access.rules import ROLES
from backend.api import app as api
from backend.audit import queries as audit
from backend.bootstrap import Backend
from backend.changes import course
from backend.changes import queries as changes
from backend.changes.rows import Change
from backend.changes.timeline import timeline
from backend.changes.view import view
from backend.core.context import SYSTEM, Actor, Limits
from backend.core.errors import NotFound
from backend.delivery import fleet, lines, places
from backend.delivery import queries as delivery
from backend.delivery.rows import Endpoint, Generation, Server
from backend.drift.stored import profile_bytes
from backend.registry import catalog, freshness
from backend.registry import queries as registry
from backend.registry.rows import Model
from backend.schema import access
from backend.settings import Settings
from tests.designs import DESIGN
from tests.drift_data import profile_of
from tests.installations import CHURN, EU, FLIGHTS, SERVERS, STAGING, TAXI, TAXI_STAGING, copied

INTERVAL = timedelta(seconds=3600)
ENVIRONMENT, ONE_MODEL, OF_TEAM = "environment:staging", f"model:{CHURN}", "team:europe"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, week: Path) -> Iterator[Backend]:
    folder = copied(week, tmp_path_factory.mktemp("visible") / "data")
    backend = bootstrap.build(Settings(data_dir=folder, demo_identities=True, api_requests_per_minute=0))
    otto = backend.identities.act_as("otto")
    backend.teams.create(otto, "europe")
    owning = backend.teams.set_owner(otto, "endpoint", EU, "europe")
    assert owning is not None
    backend.teams.confirm_owner(backend.identities.act_as("nora"), owning.id)
    for name, scope in (("stella", ENVIRONMENT), ("mona", ONE_MODEL), ("tess", OF_TEAM)):
        backend.identities.create(otto, name)
        for role in ("auditor", "viewer"):
            asked = backend.identities.grant(otto, name, role, scope)
            if isinstance(asked, access.Request):
                backend.identities.confirm_grant(backend.identities.act_as("nora"), asked.id)
    backend.identities.create(otto, "nobody")
    yield backend
    backend.close()


def _actor(backend: Backend, name: str) -> Actor:
    with backend.database.read() as session:
        row = session.exec(select(access.Identity).where(access.Identity.name == name)).one()
        return Actor(row.id, row.name)


@contextmanager
def looking(backend: Backend, name: str) -> Iterator[Session]:
    with backend.database.read() as session:
        require_to_read(session, _actor(backend, name), "endpoint.read", now=backend.database.now())
        yield session


def test_a_token_for_a_model_shows_that_model_alone_where_its_identity_looks(filled: Backend) -> None:
    with filled.database.read() as session:
        there = {(one.name, one.environment, one.model) for one in session.exec(select(Endpoint))}
    model = next(model for name, _, model in there if name == TAXI_STAGING)
    narrow = replace(_actor(filled, "stella"), limits=Limits(None, f"model:{model}"))
    with filled.database.read() as session:
        see_as(session, narrow, now=filled.database.now(session))
        shown = {(one.name, one.environment, one.model) for one in session.exec(select(Endpoint))}
        now = filled.database.now(session)
    wanted = {one for one in there if one[1:] == ("staging", model)}
    assert shown == wanted
    assert wanted < {one for one in there if one[1] == "staging"}
    assert wanted < {one for one in there if one[2] == model}
    sight = rules.sight(queries.held(session, narrow), now=now)
    assert [visible.shows_endpoint(session, sight, name) for name in (TAXI_STAGING, TAXI, STAGING)] == [True, False, False]


def _seen(backend: Backend, name: str) -> dict[str, Any]:
    """What every list and count shows."""
    now = backend.database.now()
    with looking(backend, name) as session:
        endpoints = delivery.endpoints(session, now=now, interval=INTERVAL).rows
        ranked = fleet.fleet(session, fleet.Filters(), now=now, interval=INTERVAL).rows
        assert {one.name for one in ranked} == {one.name for one in endpoints}
        assert sum(fleet.counts(session, fleet.Filters(), now=now, interval=INTERVAL).values()) == len(endpoints)
        assert sum(lines.counts(session, now=now, interval=INTERVAL).values()) == len(endpoints)
        models = catalog.page(session, catalog.Wanted()).items
        assert catalog.count(session, catalog.Wanted()) == len(models)
        listed = changes.page(session, limit=200).items
        assert sum(changes.counts(session).values()) == len(listed)
        newest = registry.newest_versions(session).items
        return {
            "endpoints": {one.name for one in endpoints},
            "models": {one.name for one in models},
            "versions": {one.model for one in newest},
            "fleet models": set(fleet.models(session)),
            "changes": {one.endpoint for one in listed},
            "servers": {one.name for one in places.servers(session)},
            "ledger": {(one.subject_kind, one.subject_id) for one in audit.events(session, limit=5_000)},
        }


@pytest.mark.parametrize(
    ("name", "endpoints", "models"),
    [
        ("stella", {STAGING, TAXI_STAGING}, {FLIGHTS, TAXI}),
        ("mona", None, {CHURN}),
        ("tess", {EU}, {FLIGHTS}),
    ],
)
def test_lists_and_counts_show_what_the_scope_reaches_and_nothing_else(
    filled: Backend, name: str, endpoints: set[str] | None, models: set[str]
) -> None:
    whole, seen = _seen(filled, "audra"), _seen(filled, name)
    with filled.database.read() as session:
        everything = {one.name: one for one in session.exec(select(Endpoint))}
    wanted = endpoints or {one.name for one in everything.values() if one.model == CHURN}
    assert seen["endpoints"] == wanted < whole["endpoints"]
    assert seen["models"] == seen["versions"] == models < whole["models"]
    assert seen["fleet models"] == {everything[one].model for one in wanted}
    assert seen["changes"] == wanted & whole["changes"]
    ids = {everything[one].server_id for one in wanted}
    assert len(seen["servers"]) == len(ids) < len(SERVERS)
    assert seen["ledger"] < whole["ledger"]
    about = {identifier for kind, identifier in seen["ledger"] if kind == "endpoint"}
    assert about == {everything[one].id for one in wanted}
    assert not {kind for kind, _ in seen["ledger"]} & {"identity", "role_grant", "token"}


def test_who_has_a_role_everywhere_sees_all_and_who_has_none_nothing(filled: Backend) -> None:
    whole = _seen(filled, "ana")
    assert len(whole["endpoints"]) == 9
    with filled.database.read() as session:
        see_as(session, _actor(filled, "nobody"), now=filled.database.now())
        assert session.exec(select(Endpoint)).all() == []
        assert catalog.count(session, catalog.Wanted()) == 0
    with filled.database.read() as session:
        see_as(session, None, now=filled.database.now())
        assert session.exec(select(Change)).all() == []


@pytest.mark.parametrize("name", ["stella", "mona", "tess"])
def test_what_is_not_seen_answers_by_every_key_as_what_is_not_there(filled: Backend, name: str) -> None:
    now, actor = filled.database.now(), _actor(filled, name)
    with filled.database.read() as session:
        everything = [(one.id, one.name) for one in session.exec(select(Endpoint))]
        asked = [(one.id, one.number, one.endpoint_id) for one in session.exec(select(Change))]
        models = {one.name for one in catalog.page(session, catalog.Wanted()).items}
    seen, met = _seen(filled, name), 0
    for identifier, endpoint in everything:
        if endpoint in seen["endpoints"]:
            continue
        with looking(filled, name) as session:
            for ask in (
                partial(delivery.endpoint, session, endpoint, now=now, interval=INTERVAL),
                partial(delivery.history, session, endpoint),
                partial(delivery.at, session, endpoint, now),
            ):
                with pytest.raises(NotFound) as told:
                    ask()
                assert str(told.value) == str(NotFound("endpoint", endpoint))
            assert session.get(Endpoint, identifier) is None
            assert session.get(Generation, f"{identifier}/1") is None
        met += 1
    for change_id, number, endpoint_id in asked:
        with looking(filled, name) as session:
            if session.get(Endpoint, endpoint_id) is not None:
                found = view(session, actor, number, now)
                assert {one.subject for one in timeline(session, course.find(session, number))} >= {f"change {change_id}"}
                assert set(found.impact.on_the_same_server) <= seen["endpoints"]
                continue
            for ref in (number, change_id):
                with pytest.raises(NotFound) as told:
                    view(session, actor, ref, now)
                assert str(told.value) == str(course.missing(ref))
        met += 1
    for model in models - seen["models"]:
        with looking(filled, name) as session:
            for ask in (
                partial(registry.version, session, model, 1),
                partial(registry.versions, session, model),
                partial(registry.by_alias, session, model, "champion"),
            ):
                with pytest.raises(NotFound):
                    ask()
            assert catalog.one(session, model) is None
        met += 1
    assert met > 10


def test_the_ledger_and_a_move_name_no_model_and_no_endpoint_that_is_not_seen(filled: Backend) -> None:
    """A champion is told to whoever sees the model, wherever its row stands; of a shared server one sees one's own part."""
    champion, asked = "alias.set_champion", "server.ask_move"
    with filled.database.unit(SYSTEM) as tx:
        place = tx.session.exec(select(Server).join(Endpoint).where(Endpoint.name == EU)).one()
        names = list(tx.session.exec(select(Endpoint.name).where(Endpoint.server_id == place.id).order_by(Endpoint.name)))
        models = {one.name: one.id for one in tx.session.exec(select(Model))}
        asked_for = {"settings": {}, "place": "http://127.0.0.1:9", "by": "x", "by_name": "x", "at": tx.now.isoformat()}
        place.move = {**asked_for, "endpoints": names}
        tx.record(asked, place, after={"endpoints": names})
        tx.record(champion, ("environment", "production"), after={"model": TAXI, "version": 1})  # as it once was written
        for model in (TAXI, CHURN):
            tx.record(champion, ("model", models[model]), after={"model": model, "version": 1})

    def told(name: str) -> tuple[list[str], list[str], list[list[str]]]:
        with looking(filled, name) as session:
            champions = [(one.after or {})["model"] for one in audit.events(session, action=champion)]
            moves = [list((one.after or {})["endpoints"]) for one in audit.events(session, action=asked)]
            lines = [one.move.endpoints for one in places.servers(session) if one.name == place.name and one.move]
            return champions, [end for one in lines for end in one], moves

    assert len(names) > 1
    assert told("audra") == ([CHURN, TAXI, TAXI], names, [names])
    assert told("tess") == ([], [EU], [[EU]])
    assert told("mona")[0] == [CHURN]
    with filled.database.unit(SYSTEM) as tx:
        again = tx.get(Server, place.id)
        again.move = None
        tx.record("server.drop_move", again)


def test_a_query_past_the_filter_is_a_defect_and_not_an_answer(filled: Backend) -> None:
    with looking(filled, "mona") as session, pytest.raises(visible.UnseenQuery):
        session.execute(sa.select(Endpoint.__table__.c.name))  # type: ignore[attr-defined]


def test_every_table_says_whose_its_rows_are(filled: Backend) -> None:
    everybodys = {
        "environment", "policy_version", "freeze", "ramp", "identity", "role_grant", "token", "token_use", "team",
        "team_member", "former_owner", "external_login", "sign_in_session", "session_use", "provider_logout", "group_mapping",
        "provisioned_user", "told_groups",
        "provisioned_group", "provisioned_member", "request", "data_set_grant", "binding", "bearer_use",
        "package", "mirror_state", "ledger_head",
        "request_key", "work_item", "job_run", "heartbeat", "sealing_key",
        "notify_route", "notify_health", "notify_subscription", "notify_preference",
        "notify_message", "notify_attempt", "notify_cursor", "notify_link", "registry_hook",
        "metric_rolled", "metric_retention", "kept_thresholds",
    }  # fmt: skip
    assert {str(one.__tablename__) for one in visible.tables() if not one.__seen_through__} == everybodys


# -- through the API


@pytest.fixture(scope="module")
def client(filled: Backend) -> TestClient:
    return TestClient(api.build(lambda: filled), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def token(filled: Backend) -> str:
    """Of somebody who holds every role on one model, and none anywhere else."""
    otto, nora = filled.identities.act_as("otto"), filled.identities.act_as("nora")
    actor = filled.identities.create(otto, "everything-on-churn")
    for role in ROLES:
        asked = filled.identities.grant(otto, "everything-on-churn", role, ONE_MODEL)
        filled.identities.confirm_grant(nora, asked.id)
    return filled.tokens.create(actor, "tests").text


NUL = "sha256:" + "0" * 64
PROFILE = base64.b64encode(profile_bytes(profile_of({"x": [1.0, 2.0, 3.0]}))).decode()
BODIES: dict[str, Any] = {
    "/v1/inference-log": {"endpoint": "{endpoint}", "requests": [{}]},
    "/v1/endpoints/{endpoint}/inference-log": {"sample_every": 2},
    "/v1/endpoints/{endpoint}/inference-log/erasures": {"unit": "u1", "reason": "x"},
    "/v1/endpoints/{endpoint}/window-reports": {
        "current": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"},
    },
    "/v1/changes": {"endpoint": "{endpoint}", "version": 1, "title": "x", "reason": "x"},
    "/v1/changes/preview": {"endpoint": "{endpoint}", "version": 1},
    "/v1/changes/{change}/votes": {"verdict": "approve", "plan_digest": NUL, "base_digest": NUL},
    "/v1/changes/{change}/comments": {"text": "x"},
    "/v1/changes/{change}": {"title": "x"},
    "/v1/models/{model}/champion": {"environment": "production", "version": 1},
    "/v1/teams/owner": {"kind": "endpoint", "name": "{endpoint}", "team": None},
    "/v1/models/{model}/card": {"text": "x"},
    "/v1/intakes": {"model": "{model}", "version": 1},
    "/v1/registry/refresh": {"model": "{model}"},
    "/v1/endpoints": {"name": "x", "environment": "production", "model": CHURN, "server": "{server}"},
    "/v1/endpoints/{endpoint}": {"repair": "report", "reason": "x"},
    "/v1/endpoints/{endpoint}/sign-off": {"digest": NUL, "versions": []},
    "/v1/endpoints/{endpoint}/rollout/let-on": {"reason": "x", "rollout": f"rol_{'0' * 26}", "step": 0},
    "/v1/endpoints/{endpoint}/rollout/skip": {"reason": "x", "rollout": f"rol_{'0' * 26}", "step": 0},
    "/v1/servers/{server}": {"upstream": "memory:x"},
    "/v1/endpoints/{endpoint}/metrics/sources": {
        "name": "x",
        "kind": "text",
        "settings": {"url": "https://1.1.1.1/x", "preset": "mlserver", "model": "m"},
    },
    "/v1/endpoints/{endpoint}/monitors/{monitor}": {"spec": {"kind": "drift"}},
    "/v1/endpoints/{endpoint}/monitors/{monitor}/pause": {"reason": "x"},
    "/v1/models/{model}/versions/{number}/profile": {"content": PROFILE},
    "/v1/endpoints/{endpoint}/experiments": {"slug": "x", "title": "x", "design": DESIGN},
    "/v1/endpoints/{endpoint}/experiments/plan": {"design": DESIGN},
    "/v1/endpoints/{endpoint}/experiments/{experiment}": {"title": "x"},
    "/v1/endpoints/{endpoint}/experiments/{experiment}/decide": {"outcome": "ship", "reason": "x"},
    "/v1/endpoints/{endpoint}/slo": {"objectives": [{"kind": "availability", "target": 0.99}]},
}
QUERIES = {
    "/v1/models/{model}/compare": "?version=1&version=2",
    "/v1/endpoints/{endpoint}/at": "?moment=2026-03-01T00:00:00Z",
    "/v1/models/{model}/uploads": "?file=model.zip",
    "/v1/endpoints/{endpoint}/drift/feature": "?name=hour",
    "/v1/endpoints/{endpoint}/requests": "?start=2026-03-01T00:00:00Z&end=2026-03-02T00:00:00Z",
}
PLACES = ("{endpoint}", "{change}", "{model}", "{server}")


def test_every_address_of_the_api_with_a_foreign_name_answers_as_one_with_a_name_of_nothing(
    filled: Backend, client: TestClient, token: str
) -> None:
    with filled.database.read() as session:
        change = session.exec(select(Change).join(Endpoint).where(Endpoint.name == EU)).first()
    assert change is not None
    foreign = {"{endpoint}": EU, "{model}": FLIGHTS, "{server}": SERVERS[0]}
    missing = {"{endpoint}": "nothing-there", "{model}": "nothing-there", "{server}": "nothing-there"}
    walked = set()
    for path, each in client.app.openapi()["paths"].items():  # type: ignore[attr-defined]  # an ASGI application to the client
        if not any(place in path or place in str(BODIES.get(path)) for place in PLACES):
            continue
        for ref, other in ((str(change.number), "999999"), (change.id, f"chg_{'0' * 26}")):
            for method in each.keys() - ({"get"} if "{" not in path else set()):
                body = BODIES.get(path, {"reason": "x"}) if "requestBody" in each[method] else None
                told = _asked(client, token, method, path, body, {**foreign, "{change}": ref})
                assert told == _asked(client, token, method, path, body, {**missing, "{change}": other}), (method, path)
                assert told[0] in (403, 404), (method, path, told)
                walked.add((method, path))
    assert len(walked) > 50


def _asked(client: TestClient, token: str, method: str, path: str, body: object, names: dict[str, str]) -> tuple[int, str]:
    sent, address = json.dumps(body) if body is not None else "", path
    for place, name in names.items():
        sent, address = sent.replace(place, name), address.replace(place, name)
    query = "?reason=x" if (method, path) == ("delete", "/v1/endpoints/{endpoint}") else QUERIES.get(path, "")
    address = address.replace("{number}", "1").replace("{erasure}", f"ers_{'0' * 26}")
    address = address.replace("{report}", f"wrp_{'0' * 26}").replace("{monitor}", "drift").replace("{experiment}", "x") + query
    headers = {"authorization": f"Bearer {token}", "x-request-id": "walking-along"}
    kind = {"content-type": "application/json"} if sent else {}
    answer = client.request(method, address, content=sent, headers={**headers, **kind})
    said = answer.text
    for name in sorted(names.values(), key=len, reverse=True):
        said = said.replace(name, "*")
    return answer.status_code, said


def test_lists_of_the_api_show_the_one_model(client: TestClient, token: str) -> None:
    def listed(path: str) -> list[Any]:
        content = client.get(f"/v1/{path}", headers={"authorization": f"Bearer {token}"}).json()
        return list(content["items"] if isinstance(content, dict) else content)

    assert {one["name"] for one in listed("models")} == {CHURN}
    assert {one["model"] for one in listed("versions")} == {CHURN}
    assert {one["model"] for one in listed("endpoints")} == {CHURN}
    assert {one["model"] for one in listed("changes?limit=200")} == {CHURN}
    assert len(listed("servers")) == 1
    assert {one["subject_kind"] for one in listed("audit/events?limit=500")} >= {"endpoint", "change", "version"}


def test_whoever_sees_a_part_is_told_no_number_of_all(filled: Backend) -> None:
    with looking(filled, "mona") as session:
        found = freshness.reading(session, filled.database.now(session))
        assert (found.is_counted, found.models, found.versions) == (False, 0, 0)
    with looking(filled, "ana") as session:
        assert freshness.reading(session, filled.database.now(session)).models == 3
