"""From approved to done and back: starting, what stops a start, revoking, going back, and what the worker does alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.errors import Refusal
from backend.core.work import WorkItem
from backend.delivery import admission
from backend.policy.rules import GateRule
from tests.databases import Clock
from tests.services.changes.world import MODEL, OTHER, World, package, refused

RAMP = [{"share": 1_000, "hold_seconds": 60}]


def test_a_change_is_walked_to_its_end_and_back(world: World, clock: Clock) -> None:
    number = world.applied(ramp=RAMP)
    assert (world.state(number), world.generations(), world.versions.aliases) == ("applying", ["start"], [])
    refused("wrong-state", world.changes.withdraw, world.ana, number, "no")
    world.prove()
    world.run()
    assert "Holds this step" in world.rollout().reason
    clock.tick(seconds=60)
    world.run()
    world.prove()
    world.run()
    row = world.change(number)
    assert (row.state, row.finished_at, world.generations()) == ("done", clock.now, ["start", "ramp"])
    assert world.versions.aliases == [(MODEL, "production", 2)]
    with world.database.read() as session:
        assert session.get(WorkItem, ("change", row.id)) is None
    for _ in range(2):
        world.changes.roll_back(world.olga, number, "errors")
    world.run()
    assert (world.state(number), world.generations()) == ("done", ["start", "ramp", "rollback"])
    world.prove()
    world.run()
    assert world.state(number) == "rolled_back"
    assert world.versions.aliases == [(MODEL, "production", 2), (MODEL, "production", 1)]
    world.changes.roll_back(world.olga, number, "errors")
    transitions = [one.removeprefix("change.") for one in world.ledger() if one not in ("change.wait", "change.vote")]
    assert transitions == ["propose", "submit", "checked", "approve", "start", "prove", "roll_back"]


def test_going_back_on_the_way_and_aborting(world: World) -> None:
    number = world.applied(ramp=RAMP)
    world.changes.roll_back(world.ana, number, "wrong version")
    world.run()
    assert (world.state(number), world.rollout().state) == ("applying", "rolled_back")
    world.prove()
    world.run()
    assert world.state(number) == "rolled_back"
    second = world.applied(3, ramp=RAMP)
    world.rollouts.abort(world.ana, "flight-delay-production", "errors")
    world.run()
    assert (world.state(second), world.change(second).state_reason) == ("failed", "errors")
    world.prove()
    world.run()
    assert world.state(second) == "rolled_back"


def test_starting_by_hand_is_asked_once_and_done_by_the_worker(world: World) -> None:
    number = world.approved()
    world.run()
    assert (world.state(number), world.change(number).state_reason) == ("approved", "Waits for somebody to start it.")
    refused("not-allowed", world.changes.start, world.ben, number)
    stop = world.policies.freeze(world.olga, "*", "incident 7")
    refused("frozen", world.changes.start, world.olga, number)
    world.policies.lift(world.otto, stop.id, "over")
    for _ in range(2):
        world.changes.start(world.olga, number)
    world.run()
    world.changes.start(world.olga, number)
    assert (world.state(number), world.generations()) == ("applying", ["start"])
    assert world.ledger().count("change.ask_start") == 1


def test_starting_at_a_time(world: World, clock: Clock) -> None:
    at = clock.now + timedelta(hours=2)
    number = world.approved(start_mode="at_time", start_at=at)
    refused("not-by-hand", world.changes.start, world.olga, number)
    clock.tick(hours=1, minutes=59, seconds=59)
    world.run()
    assert world.state(number) == "approved"
    clock.tick(seconds=1)
    world.run()
    assert world.state(number) == "applying"


def test_an_approval_that_nobody_uses_and_a_change_that_nobody_decides_expire(world: World, clock: Clock) -> None:
    approved, undecided = world.approved(), world.reviewed(3)
    clock.tick(hours=24)
    world.run()
    assert (world.state(approved), world.state(undecided)) == ("expired", "review")
    assert "started" in world.change(approved).state_reason
    clock.tick(days=6)
    world.run()
    assert world.state(undecided) == "expired"
    refused("wrong-state", world.changes.start, world.olga, approved)
    assert "authorization.revoke" in world.ledger("authorization")


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"paused": True, "state": "paused"}, "paused"),
        ({"state": "fight"}, "Somebody else"),
        ({"state": "unreachable", "state_reason": "no answer"}, "no answer"),
        ({"state": "pushing", "proved_generation": 0}, "is proved"),
    ],
)
def test_what_stops_a_start_leaves_it_approved_and_is_said(world: World, clock: Clock, trouble: dict, says: str) -> None:
    number = world.reviewed()
    world.touch(**trouble)
    world.vote(number)
    world.run()
    assert world.state(number) == "approved"
    assert says in world.change(number).state_reason
    world.touch(state="in_sync", paused=False, proved_generation=1)
    clock.tick(seconds=15)
    world.run()
    assert world.state(number) == "applying"


@pytest.mark.parametrize("state", ["partial", "out_of_sync", "paused", "fight"])
def test_a_server_that_was_started_anew_moves_nothing_and_voids_no_vote(world: World, clock: Clock, state: str) -> None:
    world.policy(approvals_needed=2)
    waiting, approved = world.reviewed(2), world.reviewed(3)
    for number in (waiting, approved):
        world.vote(number)
    world.restart()
    world.touch(state=state)
    world.vote(approved, world.carla)
    clock.tick(seconds=15)
    world.run()
    assert (world.state(waiting), world.state(approved), world.generations()) == ("review", "approved", [])
    assert [len(world.votes(one)) for one in (waiting, approved)] == [1, 2]
    world.prove()
    clock.tick(seconds=15)
    world.run()
    assert (world.state(approved), world.generations()) == ("applying", ["start"])


def test_what_a_hand_did_beside_a_restart_suspends(world: World) -> None:
    number = world.approved()
    world.restart()
    world.touch(base={**world.endpoint().base, "strangers": [[MODEL, 9]]}, state="out_of_sync")
    world.run()
    assert (world.state(number), world.votes(number)) == ("suspended", [])


def test_a_change_proposed_while_a_server_is_filled_again_is_drawn_on_what_it_lost(world: World) -> None:
    base = world.endpoint().base
    world.restart()
    row = world.change(world.propose())
    assert (row.base, row.plan["rollback"]["champion"]) == (base, "v1")


def test_a_freeze_stops_a_start_and_never_a_way_back(world: World, clock: Clock) -> None:
    running = world.done()
    number = world.reviewed(3)
    stop = world.policies.freeze(world.olga, "production", "incident 7")
    world.vote(number)
    world.run()
    assert (world.state(number), world.change(number).state_reason) == ("approved", "production is frozen: incident 7")
    world.policies.lift(world.otto, stop.id, "over")
    world.policies.freeze(world.olga, "*", "incident 8")
    world.changes.roll_back(world.olga, running, "errors")
    world.prove()
    clock.tick(seconds=15)
    world.run()
    assert (world.state(running), world.state(number)) == ("rolled_back", "suspended")


def test_bytes_that_changed_since_the_approval_block_the_start(world: World) -> None:
    number = world.approved()
    world.changes.start(world.olga, number)
    world.versions.digests[2] = OTHER
    world.run()
    assert world.state(number) == "blocked"
    assert "not the one that was approved" in world.change(number).state_reason
    world.versions.digests = {}
    world.changes.recheck(world.olga, number)
    world.check()
    assert world.state(number) == "approved"
    assert world.change(number).start_at is None
    world.changes.start(world.olga, number)
    world.run()
    assert world.state(number) == "blocked"
    assert world.generations() == []


def test_a_damaged_package_blocks_and_a_silent_registry_only_delays(world: World, clock: Clock) -> None:
    number = world.approved()
    world.versions.down = True
    world.changes.start(world.olga, number)
    world.run()
    assert (world.state(number), world.generations()) == ("approved", [])
    assert "does not answer" in world.change(number).state_reason
    world.versions.down, world.store.damaged = False, {package(2)}
    clock.tick(seconds=15)
    world.run()
    assert (world.state(number), world.generations()) == ("blocked", [])


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("stale-base", "suspended"),
        ("expired", "expired"),
        ("place-taken", "blocked"),
        ("busy", "approved"),
        ("new", "approved"),
    ],
)
def test_what_a_refused_start_leads_to(world: World, monkeypatch: pytest.MonkeyPatch, code: str, state: str) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise Refusal("It cannot start.", "Do something.", code=code)

    number = world.approved()
    world.changes.start(world.olga, number)
    monkeypatch.setattr("backend.rollouts.service.start", refuse)
    world.run()
    row = world.change(number)
    assert (row.state, row.state_reason) == (state, "It cannot start. Do something.")
    assert ("authorization.revoke" in world.ledger("authorization")) == (state != "approved")


def test_checks_that_are_out_of_date_are_repeated_before_the_start(world: World, clock: Clock) -> None:
    world.policy(start_within_seconds=7 * 86_400, gates=(GateRule(gate="preflight", max_age_seconds=3_600),))
    number = world.approved()
    clock.tick(hours=1)
    world.changes.start(world.olga, number)
    world.run()
    assert (world.state(number), world.generations()) == ("approved", [])
    world.check("failed")
    assert world.state(number) == "blocked"


def test_revoking_stops_what_has_not_started_and_what_is_under_way(world: World, clock: Clock) -> None:
    number = world.approved()
    refused("not-allowed", world.changes.revoke, world.ana, number, "a leak")
    refused("no-reason", world.changes.revoke, world.ben, number, "")
    for _ in range(2):
        world.changes.revoke(world.ben, number, "a leak")
    world.run()
    assert (world.state(number), world.generations(), world.ledger().count("change.revoke")) == ("revoked", [], 1)
    refused("not-live", world.changes.roll_back, world.olga, number, "a leak")
    second = world.applied(3, ramp=RAMP)
    world.prove()
    world.run()
    world.changes.revoke(world.otto, second, "a leak")
    clock.tick(hours=1)
    world.run()
    assert (world.state(second), world.rollout().state, world.generations()) == ("revoked", "paused", ["start"])
    world.changes.roll_back(world.otto, second, "a leak")
    world.prove()
    world.run()
    assert (world.state(second), world.generations()) == ("rolled_back", ["start", "rollback"])


def test_what_is_done_can_be_revoked_and_then_gone_back_from(world: World) -> None:
    number = world.done()
    world.changes.revoke(world.ben, number, "a leak")
    world.run()
    assert (world.state(number), world.generations()) == ("revoked", ["start"])
    world.changes.roll_back(world.ben, number, "a leak")
    world.prove()
    world.run()
    assert (world.state(number), world.versions.aliases[-1]) == ("rolled_back", (MODEL, "production", 1))


def test_a_revocation_that_came_from_elsewhere_is_noticed(world: World, clock: Clock) -> None:
    number = world.approved()
    with world.database.unit(SYSTEM) as tx:
        admission.revoke(tx, world.change(number).authorization_id, "by hand")
    clock.tick(seconds=15)
    world.run()
    assert world.state(number) == "revoked"


def test_only_what_is_live_is_gone_back_from(world: World) -> None:
    first, second = world.done(), world.done(3)
    refused("not-live", world.changes.roll_back, world.olga, first, "errors")
    refused("wrong-state", world.changes.roll_back, world.olga, world.propose(4), "errors")
    world.changes.roll_back(world.olga, second, "errors")
    world.prove()
    world.run()
    assert (world.state(first), world.state(second)) == ("done", "rolled_back")
    assert world.versions.aliases[-1] == (MODEL, "production", 2)


def test_a_worker_that_lost_its_lease_changes_nothing(world: World, clock: Clock) -> None:
    number = world.reviewed()
    world.vote(number)
    (late,) = world.claims("change")
    clock.tick(seconds=31)
    with pytest.raises(work.LeaseLost):
        world.changes.handle(late)
    assert (world.state(number), world.generations()) == ("approved", [])
    world.run()
    assert world.state(number) == "applying"
