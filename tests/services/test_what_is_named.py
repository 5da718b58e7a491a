"""What a right names has to be there when it is asked for, by every door."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.access.rows import Request
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.registry.rows import Model
from tests.api_world import Api
from tests.services.changes.world import ENDPOINT, MODEL, World

SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
GITHUB = {"service": "robots", "profile": "github", "claims": {"repository_id": "456789", "ref": "refs/heads/main"}}


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    opened.backend.identities.create(opened.world.otto, "robots", kind="service", owner="ana")
    yield opened
    opened.close()


def _doors(scope: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("/grants", {"identity": "carla", "role": "viewer", "scope": scope}),
        ("/bindings", {**GITHUB, "scope": scope}),
        ("/tokens", {"name": "narrow", "scope": scope}),
        ("/group-mappings", {"provider": "corp", "value": "ml", "role": "viewer", "scope": scope}),
    ]


@SQLITE
def test_no_door_takes_a_scope_or_a_data_set_that_names_nothing(asked: Api) -> None:
    names = {"environment:prod": "countersign policy show", "model:flight-dealy": "Read the registry now", "team:none": "Check"}
    for scope, remedy in names.items():
        for path, sent in _doors(scope):
            answer = asked.asked("POST", path, sent, by="otto")
            said = answer.json()
            assert (answer.status_code, said["code"]) == (404, "not-found"), (path, scope)
            assert remedy in said["remedy"], (path, scope)
    until = (asked.backend.database.now() + timedelta(days=1)).isoformat()
    sets = {"probes/flight-dealy": "model", "requests/nowhere": "endpoint"}
    for data_set, kind in sets.items():
        answer = asked.asked(
            "POST", "/data-sets/grants", {"data_set": data_set, "identity": "carla", "until": until}, by="otto"
        )
        assert (answer.status_code, kind in answer.json()["detail"]) == (404, True)
    asked.backend.teams.create(asked.world.otto, "none")
    for scope in ("environment:production", f"model:{MODEL}", "team:none"):
        for path, sent in _doors(scope):
            assert asked.asked("POST", path, sent, by="otto").status_code in (200, 201), (path, scope)
    for data_set in (f"probes/{MODEL}", f"requests/{ENDPOINT}"):
        sent = {"data_set": data_set, "identity": "carla", "until": until}
        assert asked.asked("POST", "/data-sets/grants", sent, by="otto").status_code in (200, 201), data_set


@SQLITE
def test_a_token_tells_nothing_of_a_model_that_its_identity_does_not_see(asked: Api) -> None:
    """Whether somebody else's model is there would else be found out by the name."""
    vera = asked.backend.identities.create(asked.world.otto, "vera")
    asked.backend.identities.grant(asked.world.otto, "vera", "viewer", "environment:dev")
    said = []
    for name in (MODEL, "flight-dealy"):
        with pytest.raises(NotFound) as refused:
            asked.backend.tokens.create(vera, "narrow", scope=f"model:{name}")
        said.append(str(refused.value).replace(name, "NAME"))
    assert said[0] == said[1]
    asked.backend.tokens.create(vera, "narrow", scope="environment:dev")


@SQLITE
def test_what_went_away_since_it_was_asked_for_is_not_given(asked: Api) -> None:
    world, backend = asked.world, asked.backend
    with backend.database.unit(SYSTEM) as tx:
        moments = {"created_at": tx.now, "updated_at": tx.now, "mirrored_at": tx.now}
        model = tx.add(Model(id="mod_brief", name="brief", **moments))
        tx.record("model.mirror", model)
    role = backend.identities.grant(world.otto, "carla", "operator", "model:brief")
    bound = backend.bindings.bind(world.otto, "robots", "github", GITHUB["claims"], scope="model:brief")
    with backend.database.unit(SYSTEM) as tx:
        gone = tx.get(Model, "mod_brief")
        tx.session.delete(gone)
        tx.record("model.mirror", gone)
    for request in (role, bound):
        assert isinstance(request, Request)
        with pytest.raises(Refusal) as refused:
            backend.confirm_request(world.nora, request.id)
        assert refused.value.code == "stale-request"
        backend.refuse_request(world.nora, request.id, "It is gone.")
