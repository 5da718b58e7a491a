"""The process that the access benchmark measures: an installation with a large registry, and its API."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

from backend import bootstrap
from backend.access import queries, rules
from backend.access.checks import require_now, require_to_read
from backend.access.rows import Ownership, RoleGrant
from backend.access.rules import Grant
from backend.api import app as api
from backend.bootstrap import Backend
from backend.core import memory
from backend.core.context import SYSTEM, Actor
from backend.registry import catalog
from backend.settings import Settings
from benchmarks import registry_ours
from benchmarks.children import Call, per_call
from benchmarks.registry_rows import model_name

_open: dict[str, Backend] = {}
_actors: dict[str, Actor] = {}
_tokens: dict[str, str] = {}


def fill(folder: str, models: int, versions: int, owned: int) -> None:
    """An installation with that registry; one person with a role everywhere, one with a role on what a team owns."""
    data = Path(folder)
    registry_ours.fill(f"sqlite:///{data / 'countersign.db'}", models, versions)
    backend = _open["*"] = bootstrap.install(Settings(data_dir=data, demo_identities=True))
    otto = backend.identities.act_as("otto")
    backend.teams.create(otto, "team")
    _actors["everywhere"] = backend.identities.act_as("ana")
    _actors["team"] = backend.identities.create(otto, "tess")
    with backend.database.unit(SYSTEM) as tx:
        team = queries.scope_names(tx.session)
        (scope,) = team
        row = RoleGrant(
            id="grt_t", identity_id=_actors["team"].id, role="viewer", scope=scope, granted_by="x", granted_at=tx.now
        )
        tx.record("role.grant", tx.add(row))
        for number in range(owned):
            name = model_name(number * max(1, models // owned))
            own = Ownership(
                id=f"model/{name}", kind="model", name=name, team_id=scope.removeprefix("team:"), set_by="x", set_at=tx.now
            )
            tx.record("owner.set", tx.add(own))
    for who, actor in _actors.items():
        _tokens[who] = backend.tokens.create(actor, "bench").text


def rule(times: int) -> float:
    """The decision alone, on the grants of somebody who holds five."""
    held = [Grant("viewer", f"model:m{number}") for number in range(4)] + [Grant("operator", "environment:production")]
    now = _open["*"].database.now()
    return per_call(lambda _: rules.may(held, "change.start", now=now, environment="production", model="m"), times)


def check(times: int) -> float:
    """The whole check of a command: identity and grants read in its unit, and the decision."""
    backend, actor = _open["*"], _actors["everywhere"]
    with backend.database.unit(actor) as tx:
        return per_call(
            lambda _: require_now(
                tx.session, actor, "change.propose", now=tx.now, environment="production", model="m", endpoint="e"
            ),
            times,
        )


def token(times: int) -> float:
    """Whom a token acts as: its digest, its identity and its state."""
    backend = _open["*"]
    if backend.tokens.actor_of(_tokens["everywhere"]) is None:
        raise RuntimeError("the token is not good")
    return per_call(lambda _: backend.tokens.actor_of(_tokens["everywhere"]), times)


def listing(times: int, who: str) -> float:
    """The first 100 models that this person may see, the look opened and narrowed each time."""
    return per_call(lambda _: _look(who, lambda session: catalog.page(session, catalog.Wanted(), limit=100)), times)


def count(times: int, who: str) -> float:
    """How many models there are for this person."""
    return per_call(lambda _: _look(who, lambda session: catalog.count(session, catalog.Wanted())), times)


def seen(who: str) -> int:
    """How many models this person sees."""
    return int(_look(who, lambda session: catalog.count(session, catalog.Wanted())))


def serve() -> dict[str, Any]:
    """Starts the API on a port of its own; its address and the tokens."""
    backend = _open["*"]
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(api.build(lambda: backend), log_level="error", access_log=False))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    memory.settle()
    return {"url": f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "tokens": _tokens}


def _look(who: str, query: Any) -> Any:
    database = _open["*"].database
    with database.read() as session:
        require_to_read(session, _actors[who], "model.read", now=database.now(session))
        return query(session)


CALLS: dict[str, Call] = {
    "fill": fill,
    "rule": rule,
    "check": check,
    "token": token,
    "listing": listing,
    "count": count,
    "seen": seen,
    "serve": serve,
}
