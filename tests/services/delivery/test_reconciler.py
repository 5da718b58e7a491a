"""The reconciler on a server and a router in memory: pushed, seen, proved; repaired or reported; and never half done."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from backend.core import failpoints, work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.work import Claim, LeaseLost, WorkItem
from backend.delivery import admission, looking
from backend.delivery.base import restored
from backend.delivery.desired import Packaged
from backend.delivery.rows import Endpoint, Generation, Look, Proof
from backend.delivery.targets.memory_server import Fault
from tests.databases import Clock
from tests.delivery_world import World


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


def test_an_admitted_version_is_loaded_routed_read_back_and_proved(world: World) -> None:
    endpoint_id = world.live()
    assert world.loaded() == {1}
    assert world.proofs() == {"configured": "ok", "answers": "ok", "bytes": "ok", "behaviour": "ok"}
    record = world.pushes()[-1]
    assert record.outcome == "proved"
    assert [one["step"] for one in record.steps] == ["store", "load", "ready", "weight", "prove"]
    route = world.router.routes["flight-delay"]
    assert (route.generation, route.champion) == (2, "v1")
    assert world.settled.count(endpoint_id) >= 2, "told of the baseline and of the version"
    assert "endpoint.prove" in world.actions(endpoint_id)
    world.check_invariants()


def test_an_empty_baseline_is_proved_by_finding_nothing(world: World) -> None:
    world.endpoint()
    world.one_pass()
    assert world.state() == "in_sync"
    assert world.proofs()["answers"] == "impossible"


def test_a_first_version_that_answers_is_not_taken_back_to_nothing(world: World) -> None:
    world.endpoint()
    world.one_pass()
    authorization = world.start("flight-delay", 1)
    world.one_pass()
    with pytest.raises(Refusal) as refused, world.database.unit(SYSTEM) as tx:
        admission.admit_rollback(tx, authorization, "It is not right.")
    assert refused.value.code == "no-rollback-target"
    assert (world.state(), world.loaded()) == ("in_sync", {1})


@pytest.mark.parametrize("loaded", [True, False])
def test_a_first_version_that_is_not_proved_is_taken_back_to_nothing(world: World, clock: Clock, loaded: bool) -> None:
    world.endpoint()
    world.one_pass()
    if not loaded:
        world.package(1, broken=True)
    else:
        world.server.script(Fault("answer", "error"))
    authorization = world.start("flight-delay", 1)
    world.one_pass()
    assert (world.row().proved_generation, 1 in world.loaded()) == (1, loaded)
    with world.database.unit(SYSTEM) as tx:
        admission.admit_rollback(tx, authorization, "It is not right.")
    world.one_pass()
    assert (world.state(), "flight-delay" in world.router.routes) == ("in_sync", False)
    clock.tick(seconds=3)
    world.one_pass()
    assert world.loaded() == set()
    world.check_invariants()
    world.start("flight-delay", 2)
    world.one_pass()
    assert (world.state(), world.loaded()) == ("in_sync", {2})
    world.check_invariants()


def test_a_route_that_shall_go_is_gone_before_anything_is_unloaded(world: World, clock: Clock) -> None:
    world.endpoint()
    world.one_pass()
    world.server.script(Fault("answer", "error"))
    authorization = world.start("flight-delay", 1)
    world.one_pass()
    assert "flight-delay" in world.router.routes
    world.router.script(Fault("push", "lie", times=50))
    with world.database.unit(SYSTEM) as tx:
        admission.admit_rollback(tx, authorization, "It is not right.")
    world.one_pass()
    clock.tick(minutes=1)
    world.one_pass()
    assert ("flight-delay" in world.router.routes, world.loaded()) == (True, {1})
    assert "has not taken the newest routes" in str(world.row().last_error)


def test_what_nobody_looks_after_any_more_does_not_pass(world: World, clock: Clock) -> None:
    world.live()
    clock.tick(minutes=5)
    world.check_invariants()
    assert (world.state(), "is a worker running?" in world.row().state_reason) == ("stale", True)


def test_a_new_version_comes_before_the_old_one_goes(world: World, clock: Clock) -> None:
    world.live()
    world.start("flight-delay", 2, back_to=1)
    world.one_pass()
    assert (world.state(), world.loaded()) == ("in_sync", {1, 2})
    clock.tick(seconds=3)
    world.one_pass()
    assert world.loaded() == {2}
    assert world.pushes()[-1].outcome == "unloaded"
    world.check_invariants()


def test_the_previous_version_stays_warm_until_the_bake_time_is_over(world: World, clock: Clock) -> None:
    world.live()
    world.start("flight-delay", 2, back_to=1, bake=60)
    world.one_pass()
    clock.tick(seconds=50)
    world.one_pass()
    assert world.loaded() == {1, 2}
    clock.tick(seconds=11)
    world.one_pass()
    assert world.loaded() == {2}


def test_it_is_due_again_when_the_bake_time_ends(world: World, clock: Clock) -> None:
    world.live()
    world.start("flight-delay", 2, back_to=1, bake=5)
    world.one_pass()
    clock.tick(seconds=2)
    world.one_pass()
    with world.database.read() as session:
        item = session.get_one(WorkItem, ("server", "srv_1"))
        generation = session.get_one(Generation, "end_flight-delay/3")
    assert item.due_at == generation.bake_until


def test_a_rollback_takes_the_way_that_was_approved(world: World) -> None:
    world.live()
    authorization = world.start("flight-delay", 2, back_to=1, bake=3600)
    world.one_pass()
    with world.database.unit(SYSTEM) as tx:
        admission.admit_rollback(tx, authorization, "it is worse")
    world.one_pass()
    assert world.state() == "in_sync"
    assert world.router.routes["flight-delay"].champion == "v1"
    world.check_invariants()


def test_a_split_reaches_each_arm_and_asks_each(world: World) -> None:
    world.live()
    authorization = world.approve(world.plan("flight-delay", {1: 7_500, 2: 2_500}, back_to=1), "chg_split")
    world.admit(authorization)
    world.one_pass()
    assert world.state() == "in_sync"
    with world.database.read() as session:
        answers = session.get_one(Proof, ("end_flight-delay", "answers"))
    assert {name: one["through"] for name, one in answers.details.items()} == {"v1": "router", "v2": "router"}


# -- another hand


def test_a_hand_made_change_is_on_record_before_it_is_repaired(world: World) -> None:
    endpoint_id = world.live()
    world.server.unload("flight-delay", by="somebody")
    world.one_pass()
    assert (world.state(), world.loaded()) == ("in_sync", {1})
    assert world.pushes()[-1].outcome == "repaired"
    told = world.actions(endpoint_id)
    observed = [n for n, action in enumerate(told) if action == "endpoint.observe"]
    assert any(n < told.index("endpoint.repair") and n > told.index("endpoint.admit") for n in observed)
    assert [one.state for one in world.observations()][-2:] == ["out_of_sync", "in_sync"]
    world.check_invariants()


def test_a_stranger_under_our_name_is_found_and_unloaded(world: World, tmp_path: Path) -> None:
    world.live()
    digest = world.package(7)
    one, seven = world.package(1), Packaged(digest, world.store.local(digest))
    with world.server.state() as state:
        config = state["models"]["flight-delay"]["config_digest"]
    world.server.load("flight-delay", {1: Packaged(one, world.store.local(one)), 7: seven}, config, by="somebody")
    world.one_pass()
    assert world.loaded() == {1}
    assert any("no approval names it" in row.reason for row in world.observations())
    world.check_invariants()


def test_what_is_not_ours_is_never_touched(world: World) -> None:
    digest = world.package(9)
    world.server.load("theirs", {4: Packaged(digest, world.store.local(digest))}, None, by="somebody")
    world.live()
    world.start("flight-delay", 2, back_to=1)
    world.one_pass()
    assert world.loaded("theirs") == {4}


def test_where_policy_says_report_nothing_is_repaired_until_somebody_asks(world: World) -> None:
    world.endpoint(repair="report")
    world.one_pass()
    world.start("flight-delay", 1)
    world.one_pass()
    world.server.unload("flight-delay", by="somebody")
    world.one_pass()
    world.one_pass()
    assert (world.state(), world.loaded()) == ("out_of_sync", set())
    assert world.proofs()["configured"] == "failed"
    with world.database.unit(SYSTEM) as tx:
        row = tx.get(Endpoint, "end_flight-delay")
        row.state = "pushing"
        tx.record("endpoint.repair_now", row)
    world.one_pass()
    assert (world.state(), world.loaded()) == ("in_sync", {1})


def test_a_fight_is_stopped_and_a_person_called(world: World, clock: Clock) -> None:
    endpoint_id = world.live()
    for _ in range(4):
        clock.tick(seconds=5)
        world.server.unload("flight-delay", by="somebody")
        world.one_pass()
    assert world.state() == "fight"
    assert world.loaded() == set()
    assert world.actions(endpoint_id).count("endpoint.repair") == 3
    assert world.actions(endpoint_id)[-1] == "endpoint.call"


def test_repairs_that_lie_far_apart_are_no_fight(world: World, clock: Clock) -> None:
    world.live()
    for _ in range(5):
        clock.tick(minutes=5)
        world.server.unload("flight-delay", by="somebody")
        world.one_pass()
    assert world.state() == "in_sync"


def test_a_paused_endpoint_is_looked_at_and_not_written_to(world: World) -> None:
    world.live()
    _set(world, paused=True, state="paused")
    world.server.unload("flight-delay", by="somebody")
    world.one_pass()
    assert (world.state(), world.loaded()) == ("paused", set())
    assert world.observations()[-1].seen["models"] == {}


def test_a_paused_endpoint_keeps_its_hand_made_route_when_another_one_is_pushed(world: World) -> None:
    world.live("one", 1)
    world.live("two", 1)
    _set(world, "one", paused=True, state="paused")
    world.router.change("one", generation=77)
    world.start("two", 2, back_to=1)
    world.one_pass()
    assert world.state("two") == "in_sync"
    assert world.router.routes["one"].generation == 77


def test_nothing_is_repaired_under_a_revoked_approval(world: World) -> None:
    world.endpoint()
    world.one_pass()
    authorization = world.start("flight-delay", 1)
    world.one_pass()
    with world.database.unit(SYSTEM) as tx:
        admission.revoke(tx, authorization, "found a fault in the data")
    world.server.unload("flight-delay", by="somebody")
    world.one_pass()
    assert (world.state(), world.loaded()) == ("out_of_sync", set())


@pytest.mark.parametrize("moment", ["claim", "store", "ready"])
def test_a_revocation_during_a_push_stops_it(world: World, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    world.live()
    authorization = world.start("flight-delay", 2, back_to=1, bake=3600)

    def reach(name: str) -> None:
        if name == moment:
            with world.database.unit(SYSTEM) as tx:
                admission.revoke(tx, authorization, "found a fault in the data")

    monkeypatch.setattr(failpoints, "reach", reach)
    world.one_pass()
    assert world.row().proved_generation == 2
    assert world.router.routes["flight-delay"].champion == "v1"
    if moment != "ready":
        assert world.package(2) not in world.pushed_digests()
    if moment != "claim":
        assert "revoked" in str(world.row().last_error)


def test_a_neighbours_push_does_not_route_what_was_revoked(world: World) -> None:
    world.live("one", 1)
    world.live("two", 1)
    world.one_pass()
    authorization = world.start("one", 2, back_to=1)
    _set(world, "one", routed_generation=3)
    with world.database.unit(SYSTEM) as tx:
        admission.revoke(tx, authorization, "found a fault in the data")
    world.start("two", 2, back_to=1)
    world.one_pass()
    assert (world.router.routes["one"].champion, world.router.routes["two"].champion) == ("v1", "v2")


def test_a_stranger_under_a_second_name_of_ours_is_found_and_unloaded(world: World) -> None:
    world.live()
    digest = world.package(7)
    seven = {1: Packaged(digest, world.store.local(digest))}
    world.server.load("flight-delay.0123abcd", seven, None, by="somebody")
    world.one_pass()
    assert (world.state(), world.loaded("flight-delay.0123abcd")) == ("in_sync", set())
    assert any("flight-delay.0123abcd is loaded and no approval names it" in row.reason for row in world.observations())


def test_a_route_that_no_approval_names_is_found_and_taken_away(world: World) -> None:
    world.live("one", 1)
    world.endpoint("two")
    world.one_pass()
    route = world.router.routes["one"]
    world.router.put({"one": route, "two": replace(route, endpoint="two")}, by="somebody")
    world.one_pass()
    assert (set(world.router.routes), world.state("two")) == ({"one"}, "in_sync")
    assert any("no approval names" in row.reason for row in world.observations("two"))


def test_a_routers_lease_is_never_the_same_twice(world: World) -> None:
    world.live()
    with world.database.unit(SYSTEM) as tx:
        (first,) = work.claim_in(tx, "router", holder="a", seconds=60, key="rtr_1")
        work.finish(tx, first, next_due=tx.now)
    world.start("flight-delay", 2, back_to=1)
    world.one_pass()
    with world.database.unit(SYSTEM) as tx:
        (later,) = work.claim_in(tx, "router", holder="b", seconds=60, key="rtr_1")
    assert later.token > first.token + 1
    assert not work.still_held(world.database, first)


# -- what fails


def test_a_broken_version_leaves_the_old_one_serving_and_says_why(world: World) -> None:
    world.live()
    world.package(2, broken=True)
    world.start("flight-delay", 2, back_to=1)
    world.one_pass()
    row = world.row()
    assert (row.state, row.proved_generation, world.loaded()) == ("partial", 2, {1})
    assert "could not load" in str(row.last_error)
    assert world.router.routes["flight-delay"].champion == "v1"
    record = world.pushes()[-1]
    assert (record.outcome, [one["step"] for one in record.steps]) == ("failed", ["store", "load"])


def test_a_failed_attempt_waits_and_the_same_reason_is_told_once(world: World, clock: Clock) -> None:
    endpoint_id = world.live()
    world.package(2, broken=True)
    world.start("flight-delay", 2, back_to=1)
    world.one_pass()
    world.one_pass()
    assert [one.outcome for one in world.pushes()][-1:] == ["failed"]
    assert len([one for one in world.pushes() if one.outcome == "failed"]) == 1
    clock.tick(seconds=2)
    world.one_pass()
    assert len([one for one in world.pushes() if one.outcome == "failed"]) == 2
    assert world.actions(endpoint_id).count("endpoint.attempt") == 1
    with world.database.read() as session:
        look = session.get_one(Look, endpoint_id)
    assert look.failures == 2
    assert (look.retry_at - clock.now).total_seconds() == 2


@pytest.mark.parametrize("kind", ["error", "reset", "timeout", "lie"])
def test_a_push_that_fails_is_done_again(world: World, clock: Clock, kind: str) -> None:
    world.endpoint()
    world.one_pass()
    world.server.script(Fault("push", kind))  # type: ignore[arg-type]
    world.start("flight-delay", 1)
    world.one_pass()
    assert world.state() == "pushing"
    assert world.row().proved_generation == 1
    clock.tick(seconds=2)
    world.one_pass()
    assert world.state() == "in_sync"
    world.check_invariants()


def test_a_push_that_took_effect_and_then_timed_out_is_settled_by_looking(world: World) -> None:
    world.endpoint()
    world.one_pass()
    world.server.script(Fault("push", "apply_then_timeout"))
    world.start("flight-delay", 1)
    world.one_pass()
    assert world.state() == "in_sync"
    assert [entry["verb"] for entry in world.server.journal] == ["load"]


def test_only_what_is_read_back_at_the_end_counts_as_proved(world: World, clock: Clock) -> None:
    world.endpoint()
    world.one_pass()
    world.server.script(Fault("observe", times=2), Fault("observe", "lie"))
    world.start("flight-delay", 1)
    world.one_pass()
    assert world.row().proved_generation == 1
    assert "not loaded" in str(world.row().last_error)
    clock.tick(seconds=2)
    world.one_pass()
    assert world.row().proved_generation == 2


def test_an_endpoint_that_fails_does_not_stop_its_neighbour(world: World) -> None:
    world.live("one", 1)
    world.live("two", 1)
    world.package(2, broken=True)
    world.start("one", 2, back_to=1)
    world.start("two", 3, back_to=1)
    world.one_pass()
    assert (world.state("one"), world.state("two")) == ("partial", "in_sync")


def test_a_server_that_does_not_answer_is_unreachable_and_then_mended(world: World, clock: Clock) -> None:
    world.live()
    world.server.stop()
    world.one_pass()
    assert (world.state(), "cannot be reached" in world.row().state_reason) == ("unreachable", True)
    world.server.start()
    clock.tick(seconds=10)
    world.one_pass()
    assert (world.state(), world.loaded()) == ("in_sync", {1})


def test_a_restart_is_told_as_one_and_filled_again_with_what_was_lost(world: World) -> None:
    endpoint_id, before = world.live(), world.row().base
    world.server.stop()
    world.server.start()
    world.server.script(Fault("push", "error"))
    world.one_pass()
    row = world.row()
    assert (row.state, "its server was started anew" in row.state_reason) == ("partial", True)
    assert (row.base["arms"], row.base["lost"], restored(row.base)) == ([], before["arms"], before)
    with world.database.unit(SYSTEM) as tx:
        tx.get(Look, endpoint_id).retry_at = None
    world.one_pass()
    assert (world.state(), world.loaded(), world.row().base) == ("in_sync", {1}, before)
    assert "out_of_sync" not in [one.state for one in world.observations()]
    world.check_invariants()


def test_a_hand_that_unloads_is_told_from_a_restart(world: World) -> None:
    endpoint_id, before = world.live(), world.row().base
    with world.database.unit(SYSTEM) as tx:
        tx.record("endpoint.set_repair", tx.get(Endpoint, endpoint_id))
        tx.get(Endpoint, endpoint_id).repair = "report"
    world.server.unload("flight-delay", by="somebody")
    world.one_pass()
    assert (world.state(), world.loaded(), restored(world.row().base) == before) == ("out_of_sync", set(), False)
    world.server.stop()
    world.server.start()
    world.one_pass()
    assert (world.state(), world.loaded()) == ("out_of_sync", set()), "the restart did not take it away"


def test_a_restart_is_no_hand_made_change_that_is_only_reported(world: World) -> None:
    endpoint_id = world.live()
    with world.database.unit(SYSTEM) as tx:
        tx.record("endpoint.set_repair", tx.get(Endpoint, endpoint_id))
        tx.get(Endpoint, endpoint_id).repair = "report"
    world.server.stop()
    world.server.start()
    world.one_pass()
    assert (world.state(), world.loaded(), world.pushes()[-1].outcome) == ("in_sync", {1}, "repaired")


def test_a_server_that_keeps_starting_anew_calls_for_a_person(world: World) -> None:
    world.live()
    for _ in range(4):
        world.server.stop()
        world.server.start()
        world.one_pass()
    assert (world.state(), world.loaded()) == ("fight", set())


def test_a_damaged_package_is_never_pushed(world: World) -> None:
    world.endpoint()
    world.one_pass()
    world.start("flight-delay", 1)
    folder = world.store.local(world.package(1))
    (folder / "model.onnx").chmod(0o644)
    (folder / "model.onnx").write_bytes(b"other bytes")
    world.one_pass()
    assert world.loaded() == set()
    assert "no longer hashes" in str(world.row().last_error)


def test_changed_bytes_on_the_server_are_found_and_loaded_again(world: World, clock: Clock) -> None:
    world.live()
    world.server.change_byte("flight-delay", 1)
    clock.tick(minutes=6)
    world.one_pass()
    assert any("other bytes" in one.reason for one in world.observations())
    assert (world.state(), world.pushes()[-1].outcome) == ("in_sync", "repaired")


def test_a_lying_answer_fails_the_proof_and_not_the_pass(world: World, clock: Clock) -> None:
    world.live()
    world.server.script(Fault("answer", "error"))
    clock.tick(minutes=2)
    world.one_pass()
    assert world.proofs()["answers"] == "failed"
    assert world.state() == "partial"
    clock.tick(seconds=10)
    world.one_pass()
    assert (world.proofs()["answers"], world.state()) == ("ok", "in_sync")


def test_an_endpoint_cannot_take_the_place_of_its_neighbour(world: World) -> None:
    world.live("one", 1)
    world.endpoint("two")
    world.one_pass()
    _set(world, "two", served_name="one")
    plan = world.plan("two", {2: 10_000})
    taken = plan.arms[0].served_as.model_copy(update={"model": "one", "version": 1})
    authorization = world.approve(
        plan.model_copy(update={"arms": (plan.arms[0].model_copy(update={"served_as": taken}),)}), "chg_conflict"
    )
    world.admit(authorization)
    world.one_pass()
    assert "need different packages" in str(world.row("two").last_error)
    assert world.state("one") == "in_sync"
    assert world.row("two").proved_generation == 1
    assert world.package(2) not in world.pushed_digests()


# -- leases and staleness


def test_a_pass_that_lost_its_lease_writes_nothing_and_its_entry_is_closed_by_the_next(world: World) -> None:
    world.endpoint()
    world.one_pass()
    world.start("flight-delay", 1)
    claims: list[Claim] = []
    with world.database.unit(SYSTEM) as tx:
        claims += work.claim_in(tx, "server", holder="slow", seconds=60, key="srv_1")
    taken_over = Taken(world, claims[0])
    with pytest.raises(LeaseLost):
        taken_over.run()
    assert world.row().proved_generation == 1
    world.one_pass()
    assert [one.outcome for one in world.pushes()][-2:] == ["lost", "proved"]
    world.check_invariants()


class Taken:
    """A pass during whose push another worker takes the server over."""

    def __init__(self, world: World, claim: Claim) -> None:
        self.world, self.claim = world, claim

    def run(self) -> None:
        reconciler = self.world.new_reconciler()
        inner = reconciler._connections.target

        def target(row: object) -> object:
            made = inner(row)  # type: ignore[arg-type]
            push = made.push

            def late(desired: object) -> None:
                push(desired)  # type: ignore[arg-type]
                with self.world.database.unit(SYSTEM) as tx:
                    item = tx.session.get(WorkItem, ("server", "srv_1"))
                    assert item is not None
                    item.token += 1

            made.push = late  # type: ignore[method-assign]
            return made

        reconciler._connections.target = target  # type: ignore[method-assign, assignment]
        try:
            reconciler.handle(self.claim)
        finally:
            with self.world.database.unit(SYSTEM) as tx:
                item = tx.session.get(WorkItem, ("server", "srv_1"))
                assert item is not None
                item.holder, item.deadline = None, None


def test_an_endpoint_that_nobody_looks_at_becomes_stale_and_recovers(world: World, clock: Clock) -> None:
    world.live()
    assert looking.mark_stale(world.database, world.timing) == 0
    clock.tick(seconds=31)
    assert looking.mark_stale(world.database, world.timing) == 1
    assert world.state() == "stale"
    world.one_pass()
    assert world.state() == "in_sync"


def test_looking_at_the_same_again_leaves_no_trace_in_the_ledger(world: World, clock: Clock) -> None:
    world.live()
    world.one_pass()
    before = len(world.ledger())
    for _ in range(3):
        clock.tick(seconds=10)
        world.one_pass()
    assert len(world.ledger()) == before
    with world.database.read() as session:
        look, configured = session.get_one(Look, "end_flight-delay"), session.get_one(Proof, ("end_flight-delay", "configured"))
    assert look.seen_at == configured.checked_at == clock.now


def test_a_server_that_was_removed_is_not_looked_after_any_more(world: World) -> None:
    with world.database.unit(SYSTEM) as tx:
        work.wake(tx, "server", "srv_gone")
        (claim,) = work.claim_in(tx, "server", holder="w", seconds=60, key="srv_gone")
    world.reconciler.handle(claim)
    with world.database.read() as session:
        assert session.exec(select(WorkItem).where(WorkItem.key == "srv_gone")).first() is None


def _set(world: World, name: str = "flight-delay", **values: object) -> None:
    with world.database.unit(SYSTEM) as tx:
        row = tx.get(Endpoint, f"end_{name}")
        for key, value in values.items():
            setattr(row, key, value)
        tx.record("endpoint.test", row)


def test_an_admission_during_a_pass_neither_waits_for_ever_nor_locks_up(real_time_database: Database, tmp_path: Path) -> None:
    world = World(real_time_database, tmp_path)
    world.live()
    failures: list[BaseException] = []
    stop = threading.Event()

    def click() -> None:
        for number in range(30):
            try:
                authorization = world.start("flight-delay", 2 + number % 2, back_to=1, change=f"chg_click_{number}")
                with world.database.unit(SYSTEM) as tx:
                    admission.admit_rollback(tx, authorization, "clicked")
            except Refusal:
                continue
            except BaseException as error:
                failures.append(error)
        stop.set()

    clicking = threading.Thread(target=click)
    clicking.start()
    while not stop.is_set():
        try:
            world.one_pass()
        except LeaseLost:
            continue
    clicking.join()
    assert failures == []
