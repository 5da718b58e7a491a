"""A router that is several Envoys: an endpoint is partial until all took its routes, and what each said is on record."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backend.core.database import Database
from backend.delivery.desired import EndpointRoute
from backend.delivery.routers.memory import MemoryRouter
from backend.delivery.routers.port import EnvoyAnswer, SeenRouter
from backend.delivery.timing import Timing
from tests.databases import Clock
from tests.delivery_world import World

BRIEF = Timing(ready_seconds=2.0, in_force_seconds=0.05, poll_seconds=0.01)


@dataclass
class Late:
    """What the second of two Envoys still has, and what it said; nothing while both agree."""

    routes: dict[str, EndpointRoute] | None = None
    answer: EnvoyAnswer = field(default_factory=lambda: EnvoyAnswer("edge-2", "waiting"))


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path, timing=BRIEF)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    found, observe = Late(), MemoryRouter.observe

    def told(router: MemoryRouter) -> SeenRouter:
        seen = observe(router)
        if found.routes is None:
            return replace(seen, answers=(EnvoyAnswer("edge-1", "taken"), EnvoyAnswer("edge-2", "taken")))
        return replace(seen, routes=found.routes, answers=(EnvoyAnswer("edge-1", "taken"), found.answer))

    monkeypatch.setattr(MemoryRouter, "observe", told)
    return found


def test_an_endpoint_is_partial_until_every_envoy_has_its_routes(world: World, late: Late, clock: Clock) -> None:
    world.live()
    late.routes, late.answer = dict(world.router.routes), EnvoyAnswer("edge-2", "refused", "unknown cluster")
    world.start("flight-delay", 2, back_to=1)
    world.one_pass()
    row = world.row()
    assert (row.state, row.proved_generation < row.generation) == ("partial", True)
    assert "1 of 2 Envoys without the newest routes: edge-2 refused them: unknown cluster" in row.state_reason
    assert "edge-2 refused them: unknown cluster" in str(world.pushes()[-1].error)
    assert world.observations()[-1].seen["envoys"] == {"edge-2": "refused: unknown cluster"}
    assert world.router.routes["flight-delay"].generation == row.generation, "the first has them"

    before = len(world.observations())
    world.one_pass()
    assert len(world.observations()) == before, "what was said before is no news"

    late.routes = None
    clock.tick(minutes=5)
    world.one_pass()
    assert world.state() == "in_sync"
    assert "envoys" not in world.observations()[-1].seen
    world.check_invariants()


def test_another_endpoint_of_the_same_router_is_in_sync_all_the_while(world: World, late: Late) -> None:
    world.live()
    world.live("other", 3)
    late.routes = dict(world.router.routes)
    world.start("flight-delay", 2, back_to=1)
    world.one_pass()
    assert (world.state(), world.state("other")) == ("partial", "in_sync")
