"""Two changes on one endpoint: the second waits for the first, or takes over through its pre-approved way back."""

from __future__ import annotations

import pytest

from backend.core.database import Database
from tests.databases import Clock
from tests.services.changes.world import World, refused

RAMP = [{"share": 1_000, "hold_seconds": 3_600}]


def test_a_second_change_waits_and_is_suspended_once_something_else_is_live(world: World, clock: Clock) -> None:
    second = world.reviewed(3)
    first = world.applied(2, ramp=RAMP)
    world.vote(second)
    clock.tick(seconds=15)
    world.run()
    assert (world.state(second), world.generations()) == ("approved", ["start"])
    assert f"change {first}" in world.change(second).state_reason
    world.prove()
    world.run()
    assert world.state(second) == "approved"
    clock.tick(hours=1)
    world.run()
    world.prove()
    world.run()
    assert (world.state(first), world.state(second)) == ("done", "suspended")


def test_a_second_change_starts_when_the_first_went_back(world: World, clock: Clock) -> None:
    second = world.reviewed(3)
    first = world.applied(2, ramp=RAMP)
    world.prove()
    world.run()
    world.vote(second)
    world.changes.roll_back(world.olga, first, "errors")
    world.run()
    assert world.state(second) == "approved"
    world.prove()
    world.run()
    clock.tick(seconds=15)
    world.run()
    assert (world.state(first), world.state(second)) == ("rolled_back", "applying")
    assert world.generations() == ["start", "rollback", "start"]


def test_what_is_proposed_meanwhile_is_drawn_on_where_the_first_leads(world: World, clock: Clock) -> None:
    first = world.applied(2, ramp=RAMP)
    world.prove()
    world.run()
    second = world.reviewed(3)
    row = world.change(second)
    assert {one["name"]: one["buckets"] for one in row.base["arms"]} == {"v2": 10_000}
    assert (row.plan["rollback"]["champion"], world.standing(second).drawn_on_what_is_to_come) == (
        "v2", f"It is drawn on where change {first}, which is under way, leads.",
    )  # fmt: skip
    world.vote(second)
    clock.tick(hours=1)
    world.run()
    world.prove()
    world.run()
    clock.tick(seconds=15)
    world.run()
    assert (world.state(first), world.state(second)) == ("done", "applying")


def test_a_change_that_may_takes_over_through_the_way_back_of_the_first(world: World, clock: Clock) -> None:
    first = world.applied(2, ramp=RAMP)
    world.prove()
    world.run()
    second = world.reviewed(3, supersede=True)
    assert "way back" in world.standing(second).drawn_on_what_is_to_come
    world.vote(second)
    world.run()
    assert (world.state(first), world.change(first).superseded_by) == ("superseded", world.change(second).id)
    assert (world.state(second), world.generations()) == ("approved", ["start", "rollback"])
    world.prove()
    world.run()
    clock.tick(seconds=15)
    world.run()
    assert (world.state(second), world.generations()) == ("applying", ["start", "rollback", "start"])
    world.prove()
    world.run()
    assert (world.state(second), world.versions.aliases) == ("done", [("flight-delay", "production", 3)])


def test_nothing_is_taken_over_during_a_freeze_or_without_leave(world: World, clock: Clock) -> None:
    first = world.applied(2, ramp=RAMP)
    world.prove()
    world.run()
    second = world.reviewed(3, supersede=True)
    world.policies.freeze(world.olga, "*", "incident 7")
    world.vote(second)
    clock.tick(seconds=15)
    world.run()
    assert (world.state(first), world.state(second)) == ("applying", "approved")
    assert world.generations() == ["start"]


def test_the_revoked_change_in_the_way_is_taken_over_and_counts_as_rolled_back(world: World, clock: Clock) -> None:
    first = world.applied(2, ramp=RAMP)
    world.prove()
    world.run()
    world.changes.revoke(world.ben, first, "a leak")
    second = world.reviewed(3)
    assert "way back" in world.standing(second).drawn_on_what_is_to_come
    world.vote(second)
    world.run()
    assert (world.state(first), world.state(second)) == ("revoked", "approved")
    world.changes.edit(world.ana, second, supersede=True)
    world.check()
    world.vote(second)
    world.run()
    world.prove()
    world.run()
    clock.tick(seconds=15)
    world.run()
    assert (world.state(first), world.state(second)) == ("rolled_back", "applying")


def test_a_change_under_way_takes_no_second_start(world: World) -> None:
    first = world.applied(2, ramp=RAMP)
    world.changes.start(world.olga, first)
    world.run()
    assert world.generations() == ["start"]
    refused("wrong-state", world.changes.edit, world.ana, first, share=100)


def test_the_alias_follows_what_is_live_however_late_the_first_is_noticed(world: World, clock: Clock) -> None:
    first = world.applied(2, ramp=RAMP)
    world.prove()
    world.run()
    second = world.reviewed(3)
    world.vote(second)
    clock.tick(hours=1)
    world.run()
    world.prove()
    for _ in range(4):  # a worker holds the first change and does nothing with it
        for claim in world.claims("rollout"):
            world.rollouts.handle(claim)
        for claim in world.claims("change"):
            if claim.key == world.change(second).id:
                world.changes.handle(claim)
        clock.tick(seconds=15)
    assert (world.state(first), world.state(second)) == ("applying", "applying")
    world.prove()
    clock.tick(seconds=31)
    world.run()
    assert (world.state(first), world.state(second)) == ("done", "done")
    assert world.versions.aliases == [("flight-delay", "production", 3)]


@pytest.mark.parametrize("superseding", [True, False])
def test_a_first_version_that_is_never_ready_can_be_taken_back(database: Database, clock: Clock, superseding: bool) -> None:
    world = World(database, empty=True)
    first = world.applied(2)
    assert world.generations() == ["start"]
    if not superseding:
        world.changes.roll_back(world.olga, first, "It is never ready.")
        world.run()
    second = world.reviewed(3, supersede=superseding)
    assert world.change(second).plan["rollback"] is None, "nothing runs before it"
    world.vote(second)
    world.run()
    assert (world.generations(), world.desired_champion()) == (["start", "rollback"], None)
    world.prove()
    world.run()
    clock.tick(seconds=15)
    world.run()
    assert (world.state(second), world.generations()) == ("applying", ["start", "rollback", "start"])
    world.prove()
    world.run()
    assert world.state(second) == "done"
    assert world.versions.aliases[-1] == ("flight-delay", "production", 3)
    assert superseding or world.versions.aliases == [("flight-delay", "production", None), ("flight-delay", "production", 3)]
