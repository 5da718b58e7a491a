"""What the overview says of changes and rollouts without opening them."""

from __future__ import annotations

from datetime import timedelta

from backend.changes.briefly import approval_to_done, named
from backend.rollouts.running import count, running
from tests.databases import Clock
from tests.services.changes.world import ENDPOINT, World


def test_a_link_names_its_change_and_an_unknown_one_is_left_out(world: World) -> None:
    change = world.change(world.propose(2, title="Newer *and* <b>better</b>"))
    with world.database.read() as session:
        found = named(session, [change.id, None, "chg_none"])
    assert list(found) == [change.id]
    assert (found[change.id].number, found[change.id].title, found[change.id].state) == (
        change.number, "Newer *and* <b>better</b>", "checking",
    )  # fmt: skip


def test_the_median_from_approval_to_done_is_of_the_changes_that_came_through(world: World, clock: Clock) -> None:
    with world.database.read() as session:
        assert approval_to_done(session, clock.now - timedelta(days=30)) is None
    number = world.applied(2)
    clock.tick(seconds=90)
    world.prove()
    world.run()
    assert world.state(number) == "done"
    with world.database.read() as session:
        assert approval_to_done(session, clock.now - timedelta(days=30)) == timedelta(seconds=90)
        assert approval_to_done(session, clock.now + timedelta(seconds=1)) is None


def test_a_rollout_is_running_until_it_is_over(world: World) -> None:
    ramp = [{"share": 1_000, "hold_seconds": 3_600}]
    world.applied(2, ramp=ramp)
    with world.database.read() as session:
        (one,) = running(session, world.database.now(session))
        assert (one.endpoint, one.environment, one.rollout.step, count(session)) == (ENDPOINT, "production", 0, 1)
    world.changes.roll_back(world.olga, 1, "It is slow.")
    world.prove()
    world.run()
    with world.database.read() as session:
        assert (running(session, world.database.now(session)), count(session)) == ((), 0)
