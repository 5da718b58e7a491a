"""The API's door: without a token nothing behind it is touched; health and readiness say little and are honest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from backend import bootstrap
from backend.api import app as api
from backend.api import asking, guard
from backend.api.document import operations
from backend.bootstrap import Backend
from backend.core import context
from backend.core.errors import ExternalFailure, NotFound, Refusal, StaleWrite
from backend.settings import Settings


def untouchable() -> Backend:
    raise AssertionError("the backend was touched")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/openapi.json", "/", "/docs", "/v1/health/", "/v1//health", "/v1/healthy"])
@pytest.mark.parametrize("token", [None, "Bearer x", "Basic eDp4"])
def test_without_a_token_everything_is_401_before_the_backend(method: str, path: str, token: str | None) -> None:
    client = TestClient(api.build(untouchable))
    answer = client.request(method, path, headers={"authorization": token} if token else {}, content=b"{" * 1000)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"].startswith("req_")
    if method != "HEAD":
        assert answer.json()["code"] == "no-token"


def test_a_head_is_answered_where_a_get_is_public(tmp_path: Path) -> None:
    client = TestClient(api.build(lambda: bootstrap.build(Settings(data_dir=tmp_path / "data"))))
    assert client.head("/v1/health").status_code == 200
    assert client.head("/v1/ready").status_code == 503


def test_health_looks_at_nothing() -> None:
    answer = TestClient(api.build(untouchable)).get("/v1/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("prefix", ["/api", ""])
def test_the_door_knows_its_paths_where_it_is_mounted(prefix: str) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    client = TestClient(Starlette(routes=[Mount(prefix or "/", app=api.build(untouchable))]))
    assert client.get(f"{prefix}/v1/health").status_code == 200
    assert client.get(f"{prefix}/v1/versions").status_code == 401


def test_ready_tells_a_missing_database_from_an_old_one_and_makes_none(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    backend = bootstrap.build(Settings(data_dir=folder))
    asked = TestClient(api.build(lambda: backend)).get("/v1/ready")
    assert (asked.status_code, asked.json()) == (503, {"ready": False, "lacks": "no-database"})
    assert not folder.exists()
    folder.mkdir()
    (folder / "countersign.db").touch()
    assert TestClient(api.build(lambda: backend)).get("/v1/ready").json()["lacks"] == "schema"
    bootstrap.prepare(backend)
    assert TestClient(api.build(lambda: backend)).get("/v1/ready").json() == {"ready": True, "lacks": None}
    backend.close()


def test_ready_says_so_when_the_database_does_not_answer() -> None:
    backend = bootstrap.build(Settings(database_url="postgresql+psycopg://nobody@127.0.0.1:1/nothing"))
    asked = TestClient(api.build(lambda: backend)).get("/v1/ready")
    assert (asked.status_code, asked.json()) == (503, {"ready": False, "lacks": "database"})
    backend.close()


def test_ready_is_asked_of_the_database_once_a_second(tmp_path: Path) -> None:
    made: list[int] = []
    backend = bootstrap.build(Settings(data_dir=tmp_path))

    def counted() -> Backend:
        made.append(1)
        return backend

    client = TestClient(api.build(counted))
    for _ in range(20):
        client.get("/v1/ready")
    assert len(made) < 20


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("model", "x"), 404, "not-found"),
        (StaleWrite("change", "7"), 409, "stale-write"),
        (Refusal("Not so.", "Do this.", code="not-allowed"), 403, "not-allowed"),
        (Refusal("Not so.", "Do this.", code="bad-plan"), 422, "bad-plan"),
        (ExternalFailure("MLflow", "answered 500", retryable=True), 503, "external-failure"),
        (ExternalFailure("MLflow", "refused the token", retryable=False), 502, "external-failure"),
        (RuntimeError("password=hunter2"), 500, "defect"),
    ],
)
def test_each_error_has_its_status_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    router = APIRouter()

    @router.get("/broken")
    def broken() -> None:
        raise error

    monkeypatch.setattr(api, "ROUTERS", (*api.ROUTERS, router))
    monkeypatch.setattr(api, "_routes", api._routes.__wrapped__)  # made anew, not once a process
    monkeypatch.setattr(guard, "PUBLIC", frozenset({"/v1/broken"}))
    answer = TestClient(api.build(untouchable), raise_server_exceptions=False).get("/v1/broken")
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, code)
    assert told["remedy"]
    assert "hunter2" not in answer.text


def test_what_is_done_in_a_request_carries_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()

    @router.get("/who")
    def who() -> str:
        return context.request_id.get()

    monkeypatch.setattr(api, "ROUTERS", (*api.ROUTERS, router))
    monkeypatch.setattr(api, "_routes", api._routes.__wrapped__)  # made anew, not once a process
    monkeypatch.setattr(guard, "PUBLIC", frozenset({"/v1/who"}))
    answer = TestClient(api.build(untouchable)).get("/v1/who")
    assert answer.json() == answer.headers["x-request-id"]
    assert context.request_id.get() == ""


def test_what_is_refused_in_an_address_is_what_the_document_does_not_name() -> None:
    application = api.build(untouchable)
    told = {
        operation["operationId"]: {
            one["name"]: "array" in json.dumps(one["schema"]) for one in operation["parameters"] if one["in"] == "query"
        }
        for _, _, operation in operations(application.openapi())
    }
    routes = {one.name: one.route for one in iter_route_contexts(application.routes)}
    assert {name: asking._query_of(routes[name].dependant) for name in told} == told
    assert any(several for each in told.values() for several in each.values())
