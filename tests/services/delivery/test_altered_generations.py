"""Desired state that somebody writes into the database past admission: it is found before a push, and nothing is pushed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, update

from backend.core.canonical import digest
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.delivery.pushing import Pusher
from backend.delivery.rows import Endpoint, Generation
from tests.delivery_world import World

Forge = Callable[[World, str], None]


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


def _stored(world: World, generation_id: str) -> dict[str, Any]:
    with world.database.read() as session:
        return session.get_one(Generation, generation_id).desired


def _write(world: World, generation_id: str, **values: Any) -> None:
    with world.database.engine.begin() as connection:
        connection.execute(update(Generation).where(col(Generation.id) == generation_id).values(**values))


def _other_package(world: World, generation_id: str) -> dict[str, Any]:
    desired = _stored(world, generation_id)
    return {**desired, "arms": [{**arm, "package_digest": world.package(9)} for arm in desired["arms"]]}


def _desired(world: World, generation_id: str) -> None:
    _write(world, generation_id, desired=_other_package(world, generation_id))


def _desired_and_digest(world: World, generation_id: str) -> None:
    desired = _other_package(world, generation_id)
    _write(world, generation_id, desired=desired, digest=digest(desired))


def _digest(world: World, generation_id: str) -> None:
    _write(world, generation_id, digest="sha256:" + "0" * 64)


def _without_ledger(world: World, generation_id: str) -> None:
    """A generation that nobody admitted: a copy under the next number."""
    endpoint_id, _, number = generation_id.partition("/")
    with world.database.engine.begin() as connection:
        with world.database.read() as session:
            found = session.get_one(Generation, generation_id).model_dump()
        copy = {**found, "id": f"{endpoint_id}/{int(number) + 1}", "number": int(number) + 1, "reason": "rollback"}
        connection.execute(Generation.__table__.insert().values(**copy))  # type: ignore[attr-defined]
        connection.execute(update(Endpoint).where(col(Endpoint.id) == endpoint_id).values(generation=int(number) + 1))


@pytest.mark.parametrize("forge", [_desired, _desired_and_digest, _digest, _without_ledger])
def test_what_was_not_admitted_like_that_is_not_pushed(world: World, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[str] = []
    check = Pusher._refuse_altered

    def note(self: Pusher, attempt: Any) -> None:
        try:
            check(self, attempt)
        except Refusal as refusal:
            codes.append(refusal.code)
            raise

    world.endpoint()
    world.one_pass()
    world.start("flight-delay", 1)
    forge(world, "end_flight-delay/2")
    monkeypatch.setattr(Pusher, "_refuse_altered", note)
    world.one_pass()
    assert (world.loaded(), world.state(), codes) == (set(), "pushing", ["altered"])
    assert "not as it was admitted" in str(world.row().last_error)
    assert "flight-delay" not in world.router.routes


def test_what_was_not_admitted_does_not_come_as_a_repair(world: World) -> None:
    world.live()
    _desired_and_digest(world, "end_flight-delay/2")
    world.server.unload("flight-delay", by="somebody")
    world.one_pass()
    assert world.package(9) not in world.pushed_digests()
    assert world.state() != "in_sync"


def test_another_endpoint_on_the_router_does_not_carry_an_altered_route_along(world: World) -> None:
    world.live()
    before = world.router.routes["flight-delay"]
    world.endpoint("other")
    world.one_pass()
    desired = _stored(world, "end_flight-delay/2")
    _write(world, "end_flight-delay/2", desired={**desired, "salt": "forged"})
    world.start("other", 2)
    world.one_pass()
    assert world.state("other") == "in_sync"
    assert world.router.routes["flight-delay"] == before
