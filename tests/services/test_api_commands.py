"""That the API leaves nothing out: every command of every service has an operation, or a reason; and every route a door."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient

import backend.api
from backend.api import app as api
from backend.api.guard import PUBLIC
from backend.bootstrap import Backend

SOURCES = Path(backend.api.__file__).parent

WITHOUT_OPERATION = {
    "changes.approve": "a vote: votes.py chooses between approving and rejecting",
    "changes.reject": "the same",
    "links.open": "a link is opened by the browser of whoever signed in, and leads to a page",
    "changes.material": "what proposing and previewing begin with",
    "identities.confirm_grant": "Backend.confirm_request chooses by the request's kind",
    "service_owners.confirm": "Backend.confirm_request",
    "service_owners.refuse": "Backend.refuse_request",
    "group_mappings.confirm": "Backend.confirm_request",
    "group_mappings.refuse": "Backend.refuse_request",
    "bindings.confirm": "Backend.confirm_request",
    "bindings.refuse": "Backend.refuse_request",
    "identities.refuse_grant": "Backend.refuse_request chooses by the request's kind",
    "policies.confirm_policy": "Backend.confirm_request",
    "policies.refuse_policy": "Backend.refuse_request",
    "teams.confirm_owner": "Backend.confirm_request",
    "teams.refuse_owner": "Backend.refuse_request",
    "packaging.build": "commands call it that have checked; proposing builds what is missing",
    "packaging.keep": "commands call it that have checked",
    "sealing_keys.rotate": "done where the keys are: `countersign secrets rotate`",
    "audit.rotate_key": "done where the keys are: `countersign secrets rotate-ledger-key`",
    "sessions.end_of": "end_everywhere by the identity's name is offered",
    "changes.begin_experiment": "propose_change that names it does the same",
    "experiments.decide": "decide_experiment says it together with the change that follows",
    "versions.upload": "an upload is an intake, which goes on after the answer",
}
"""Commands that no operation calls by their own name, with the reason."""


def _commands() -> set[str]:
    """Every public method of a wired service that takes an actor, but for the unit of work itself."""
    found, hints = {"confirm_request", "refuse_request"}, typing.get_type_hints(Backend)
    for field in fields(Backend):
        for name, method in inspect.getmembers(hints[field.name], inspect.isfunction):
            if not name.startswith("_") and "actor" in inspect.signature(method).parameters:
                found.add(f"{field.name}.{name}")
    return found - {"database.unit"}


def _called() -> set[str]:
    """What the operations call, as their own files say it."""
    text = "\n".join(file.read_text() for file in sorted(SOURCES.glob("*.py")))
    names = set(re.findall(r"backend\.((?:\w+\.)?\w+)\(", text))
    return names | {f"changes.{one}" for one in re.findall(r"\bchanges\.(approve|reject)\b", text)}


def test_every_command_of_every_service_has_an_operation_or_a_reason() -> None:
    reasons = {name for name, why in WITHOUT_OPERATION.items() if why}
    lacking = _commands() - _called() - reasons
    assert not lacking, f"write an operation, or the reason why there is none: {sorted(lacking)}"
    assert reasons <= _commands(), "a reason for a command that is not there any more"
    assert len(_commands()) > 80


# -- routes


def untouchable() -> Backend:
    raise AssertionError("the backend was touched")


def _routes(routes: typing.Iterable[BaseRoute], prefix: str = "") -> Iterator[str]:
    """Every path that the application knows, those of mounted applications too, filled with something."""
    for route in routes:
        if isinstance(route, Mount):
            yield prefix + route.path
            yield from _routes(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            yield re.sub(r"\{[^}]+\}", "1", prefix + route.path)
        elif (included := getattr(route, "original_router", None)) is not None:  # how FastAPI keeps an included router
            yield from _routes(included.routes, prefix + route.include_context.prefix)  # type: ignore[attr-defined]
        else:  # a route of another kind would be one that this test does not know
            raise AssertionError(f"what is {route!r}?")


METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "QUERY", "X-UNKNOWN",
)  # fmt: skip


@pytest.fixture(scope="module")
def application() -> typing.Any:
    return api.build(untouchable)


def test_no_route_of_any_application_answers_any_method_without_a_token(application: typing.Any) -> None:
    client = TestClient(application, raise_server_exceptions=False)
    paths = set(_routes(application.routes))
    assert paths >= {re.sub(r"\{[^}]+\}", "1", path) for path in application.openapi()["paths"]}
    assert len(paths) > 80
    assert "/v1/scim/v2/1/Users/1" in paths
    assert "/v1/openapi.json" in paths
    for path in sorted(paths - PUBLIC):
        for method in METHODS:
            answer = client.request(method, path, content=b"{}")
            assert answer.status_code == 401, (method, path, answer.status_code)
            assert answer.headers["www-authenticate"] == "Bearer"


PUBLIC_METHODS = {
    "/v1/health": {"GET", "HEAD"}, "/v1/ready": {"GET", "HEAD"}, "/v1/sign-in/backchannel-logout": {"POST"},
    "/v1/hooks/mlflow": {"POST"},
}  # fmt: skip


def test_what_is_public_runs_nothing_by_another_method(application: typing.Any) -> None:
    assert PUBLIC_METHODS.keys() == PUBLIC
    client = TestClient(application, raise_server_exceptions=False)
    for path, takes in PUBLIC_METHODS.items():
        for method in METHODS:
            if method not in takes:
                answer = client.request(method, path, content=b"{}")
                expected = 204 if method == "OPTIONS" else 405
                assert answer.status_code == expected, (method, path, answer.status_code)
                assert set(answer.headers["allow"].split(", ")) == takes | {"OPTIONS"}


def test_a_websocket_is_closed_before_anything_runs(application: typing.Any) -> None:
    from starlette.websockets import WebSocketDisconnect

    client = TestClient(Starlette(routes=[Mount("/api", app=application)]))
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/api/v1/changes"):
        pass
    assert closed.value.code == 1008
