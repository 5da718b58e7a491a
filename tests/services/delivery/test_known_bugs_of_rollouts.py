"""Known bugs of other rollout controllers, by their names: each is walked here on a server and a router in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.access.service import Identities
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery import admission, buckets
from backend.delivery.admission import Checked
from backend.delivery.plan import parse_plan
from backend.delivery.rows import Authorization
from backend.delivery.targets.memory_server import Fault
from backend.rollouts import queries
from backend.rollouts.service import Rollouts, settled, start
from backend.settings import Settings
from tests.databases import Clock
from tests.delivery_world import World

NAME = "flight-delay"
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


@pytest.fixture
def rollouts(world: World) -> Rollouts:
    return Rollouts(world.database, world.store)


@pytest.fixture
def olga(world: World) -> Actor:
    return Identities(world.database, Settings(demo_identities=True)).act_as("olga")


def shares(world: World) -> dict[str, int]:
    """Buckets by arm, as the router has them."""
    return {one.arm: buckets.share(one.ranges) for one in world.router.routes[NAME].arms}


def checked(tx: Unit, authorization_id: str) -> Checked:
    plan = parse_plan(tx.get(Authorization, authorization_id).plan)
    artifacts = {one.version: one.artifact_digest for one in plan.arms}
    return Checked(artifacts, frozenset(one.package_digest for one in plan.arms), tx.now)


def canary(world: World) -> str:
    """A rollout at whose only step version 2 has a quarter; it is on the router."""
    authorization = world.approve(world.plan(NAME, {1: 7_500, 2: 2_500}, back_to=1), "chg_canary")
    with world.database.unit(SYSTEM) as tx:
        start(tx, authorization, checked=checked(tx, authorization))
    world.one_pass()
    assert shares(world) == {"v1": 7_500, "v2": 2_500}
    return authorization


def test_the_weight_returns_to_0_after_an_abort(world: World, rollouts: Rollouts, olga: Actor) -> None:
    world.live()
    canary(world)
    rollouts.abort(olga, NAME, "Worse")
    world.one_pass()
    assert shares(world).get("v2", 0) == 0
    assert shares(world)["v1"] == 10_000
    assert {one["name"]: one["buckets"] for one in world.row().base["arms"] if one["buckets"]} == {"v1": 10_000}
    world.check_invariants()


def test_a_fast_rollback_switches_the_target_before_the_weight(world: World, clock: Clock) -> None:
    """Version 1 was unloaded by then: as long as it is not loaded again, version 2 goes on answering."""
    world.live()
    authorization = world.start(NAME, 2, back_to=1)
    world.one_pass()
    clock.tick(seconds=3)
    world.one_pass()
    assert world.loaded() == {2}
    with world.database.unit(SYSTEM) as tx:
        admission.admit_rollback(tx, authorization, "It is worse")
    world.server.script(Fault("push", "error"))
    world.one_pass()
    assert world.router.routes[NAME].champion == "v2", "the weight did not move before its target was there"
    clock.tick(minutes=5)
    world.one_pass()
    assert (world.state(), world.router.routes[NAME].champion) == ("in_sync", "v1")
    steps = [one["step"] for one in world.pushes()[-1].steps]
    assert steps.index("ready") < steps.index("weight")
    world.check_invariants()


def test_an_abort_when_idle_leaves_the_stable_one_as_it_is(world: World, rollouts: Rollouts, olga: Actor) -> None:
    """Before anything started, and after it was complete, there is nothing to abort: nothing is scaled away."""
    world.live()
    world.approve(world.plan(NAME, {1: 7_500, 2: 2_500}, back_to=1), "chg_waits")
    before = world.row().generation
    with pytest.raises(Refusal) as refused:
        rollouts.abort(olga, NAME, "Never mind")
    assert refused.value.code == "no-rollout"
    world.one_pass()
    assert (world.row().generation, world.loaded(), shares(world)) == (before, {1}, {"v1": 10_000})
    world.check_invariants()


def test_a_restart_after_an_abort_sends_nothing_to_the_bad_canary(world: World, rollouts: Rollouts, olga: Actor) -> None:
    """Of the server, of the worker, and of the rollout: what was aborted cannot be started once more."""
    world.live()
    authorization = canary(world)
    rollouts.abort(olga, NAME, "Worse")
    world.one_pass()
    world.server.stop()
    world.server.start()
    world.one_pass(world.new_reconciler())
    with world.database.unit(SYSTEM) as tx:
        settled(tx, "end_flight-delay")
    assert shares(world) == {"v1": 10_000}
    with world.database.unit(SYSTEM) as tx:
        assert start(tx, authorization, checked=checked(tx, authorization)).state == "aborted", "it is not begun once more"
    world.one_pass(world.new_reconciler())
    assert (shares(world), 2 in world.loaded()) == ({"v1": 10_000}, False)
    with world.database.read() as session:
        (row,) = queries.of_endpoint(session, "end_flight-delay")
    assert row.state == "aborted"
    world.check_invariants()
