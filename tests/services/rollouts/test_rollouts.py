"""Rollouts on a database: a ramp is walked proof by proof, stopped, resumed, and gone back from, each once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlmodel import select

from backend.core import work
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.core.ledger import LedgerRow, first_break
from backend.core.work import WorkItem
from backend.delivery import admission
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.rows import Endpoint, Generation
from backend.rollouts import queries
from backend.rollouts.rows import Rollout
from backend.rollouts.service import At, Rollouts, freeze, settled, start
from tests.databases import Clock
from tests.rules.test_plan import arm
from tests.rules.test_plan import plan as plan_json
from tests.services.delivery import test_admission

WALK: Plan = parse_plan(
    plan_json(
        ramp=[
            {"shares": {"v1": 9_000, "v2": 1_000}, "hold_seconds": 60},
            {"shares": {"v1": 5_000, "v2": 5_000}, "hold_seconds": 0, "person": True},
        ]
    )
)


class Store:
    """The package store's answer to `verify`, by script."""

    def __init__(self) -> None:
        self.damaged: set[str] = set()
        self.down = False
        self.asked = 0

    def verify(self, digest: str) -> bool:
        self.asked += 1
        if self.down:
            raise ExternalFailure("The package store", "cannot be read", retryable=True)
        return digest not in self.damaged


class World(test_admission.World):
    """Admission's world with a rollout service, and a hand that marks what runs as proved."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self.store = Store()
        self.rollouts = Rollouts(database, self.store)
        self.olga, self.ben, self.ana = (self.identities.act_as(name) for name in ("olga", "ben", "ana"))

    def start(self, plan: Plan = WALK, change: str = "chg_1") -> str:
        authorization = self.authorize(plan, change, self.votes(plan_digest=plan.digest()))
        with self.database.unit(SYSTEM) as tx:
            return start(tx, authorization, checked=self.checked()).authorization_id

    def prove(self) -> None:
        with self.database.unit(SYSTEM) as tx:
            row = tx.get(Endpoint, "end_1", lock=True)
            row.proved_generation, row.proved_at, row.state = row.generation, tx.now, "in_sync"
            tx.record("endpoint.prove", row)
            settled(tx, row.id)

    def run(self) -> None:
        """Handles what is due, as a worker does, until nothing is."""
        while claims := work.claim(self.database, "rollout", holder="w1", seconds=30):
            for claim in claims:
                self.rollouts.handle(claim)

    def item(self) -> WorkItem:
        with self.database.read() as session:
            return session.exec(select(WorkItem).where(WorkItem.kind == "rollout")).one()

    def rollout(self) -> Rollout:
        with self.database.read() as session:
            (row,) = queries.of_endpoint(session, "end_1", limit=1)
            return row

    def state(self) -> tuple[str, int, int]:
        row = self.rollout()
        return row.state, row.step, len(self.generations())

    def ledger(self) -> list[str]:
        with self.database.read() as session:
            rows = list(session.exec(select(LedgerRow).order_by(LedgerRow.seq)))
        assert first_break(rows)[0] is None
        return [row.action for row in rows if row.subject_kind == "rollout"]


@pytest.fixture
def world(database: Database, clock: Clock) -> World:
    return World(database, clock)


def _refused(code: str, call: Any, *args: Any, **options: Any) -> None:
    with pytest.raises(Refusal) as refused:
        call(*args, **options)
    assert refused.value.code == code
    assert refused.value.remedy


def test_a_ramp_is_walked_proof_by_proof_to_its_end(world: World, clock: Clock) -> None:
    world.start()
    world.run()
    assert world.state() == ("ramping", 0, 1)
    world.prove()
    world.run()
    assert world.state() == ("holding", 0, 1)
    clock.tick(seconds=59)
    world.run()
    assert world.state() == ("holding", 0, 1)
    clock.tick(seconds=1)
    world.run()
    assert world.state() == ("ramping", 1, 2)
    world.prove()
    world.run()
    assert world.state() == ("holding", 1, 2)
    seen = At(world.rollout().id, 1)
    for other in (At(seen.rollout_id, 0), At("rol_another", 1)):
        with pytest.raises(Refusal, match="Nothing was done") as refused:
            world.rollouts.let_on(world.ben, "flight-delay-production", "a dialog that stood open", at=other)
        assert refused.value.code == "moved-on"
    world.rollouts.let_on(world.ben, "flight-delay-production", "looks good", at=seen)
    world.run()
    assert world.state() == ("ramping", 2, 3)
    world.prove()
    world.run()
    assert world.state() == ("complete", 2, 3)
    assert world.rollout().ended_at == clock.now
    with world.database.read() as session:
        assert session.get(WorkItem, ("rollout", world.rollout().id)) is None
        assert session.get(WorkItem, ("change", "chg_1")) is not None
    assert [one for one in world.ledger() if one != "rollout.wait"] == [
        "rollout.begin", "rollout.step_proved", "rollout.advance", "rollout.step_proved", "rollout.let_on", "rollout.advance",
        "rollout.finished",
    ]  # fmt: skip


def test_a_step_that_is_not_proved_is_never_followed_by_another(world: World, clock: Clock) -> None:
    world.start()
    clock.tick(hours=3)
    world.run()
    assert world.state() == ("ramping", 0, 1)


@pytest.mark.parametrize("state", ["stale", "unreachable", "out_of_sync", "partial"])
def test_a_step_waits_while_its_endpoint_is_not_in_sync(world: World, clock: Clock, state: str) -> None:
    world.start()
    world.prove()
    world.run()
    world.change_endpoint(state=state)
    clock.tick(seconds=61)
    world.run()
    assert world.state() == ("holding", 0, 1)
    assert state.replace("_", " ") in world.rollout().reason
    world.change_endpoint(state="in_sync")
    clock.tick(seconds=5)
    world.run()
    assert world.state() == ("ramping", 1, 2)


def test_damaged_or_unreadable_bytes_hold_a_step_until_they_are_whole(world: World, clock: Clock) -> None:
    world.start()
    world.prove()
    world.run()
    for trouble in ({"damaged": {WALK.arm("v2").package_digest}}, {"down": True}):
        vars(world.store).update(trouble)
        clock.tick(minutes=11)
        world.run()
        assert world.state() == ("holding", 0, 1)
        assert "missing or was changed" in world.rollout().reason
        world.store.damaged, world.store.down = set(), False
    clock.tick(minutes=11)
    world.run()
    assert world.state() == ("ramping", 1, 2)


def test_a_freeze_holds_a_step_without_hashing_anything_and_never_a_way_back(world: World, clock: Clock) -> None:
    world.start()
    world.prove()
    world.run()
    stop = world.policies.freeze(world.olga, "production", "incident 7")
    clock.tick(seconds=60)
    world.run()
    assert (world.state(), world.store.asked) == (("holding", 0, 1), 0)
    assert "incident 7" in world.rollout().reason
    world.policies.lift(world.identities.act_as("otto"), stop.id, "over")
    clock.tick(seconds=5)
    world.run()
    assert world.state() == ("ramping", 1, 2)
    world.policies.freeze(world.olga, "*", "incident 8")
    world.rollouts.roll_back(world.olga, "flight-delay-production", "errors")
    assert world.state() == ("rolled_back", 1, 3)


@pytest.mark.parametrize("proved", [False, True])
def test_a_paused_rollout_stays_where_it_is_and_goes_on_from_there(world: World, clock: Clock, proved: bool) -> None:
    world.start()
    if proved:
        world.prove()
        world.run()
    before = world.state()
    world.rollouts.pause(world.ana, "flight-delay-production", "looks odd")
    world.rollouts.pause(world.ana, "flight-delay-production", "looks odd")
    world.prove()
    clock.tick(hours=1)
    world.run()
    assert world.state() == ("paused", 0, 1)
    _refused("not-allowed", world.rollouts.resume, world.ana, "flight-delay-production", "fine")
    world.rollouts.resume(world.olga, "flight-delay-production", "fine")
    world.rollouts.resume(world.olga, "flight-delay-production", "fine")
    assert world.state() == before
    assert world.ledger().count("rollout.pause") == 1
    world.run()
    assert world.state() == (("ramping", 1, 2) if proved else ("holding", 0, 1))


def test_aborting_goes_back_once(world: World) -> None:
    world.start()
    for _ in range(2):
        world.rollouts.abort(world.ana, "flight-delay-production", "wrong version")
    assert world.state() == ("aborted", 0, 2)
    assert [one.reason for one in world.generations()] == ["start", "rollback"]
    assert world.ledger().count("rollout.abort") == 1
    world.run()
    assert world.state() == ("aborted", 0, 2)


def test_what_is_complete_can_be_rolled_back_once_and_not_aborted(world: World) -> None:
    world.start(parse_plan(plan_json(ramp=[])))
    world.prove()
    world.run()
    assert world.state() == ("complete", 0, 1)
    ended = world.rollout().ended_at
    _refused("no-rollout", world.rollouts.abort, world.olga, "flight-delay-production", "errors")
    for _ in range(2):
        world.rollouts.roll_back(world.olga, "flight-delay-production", "errors")
    assert world.state() == ("rolled_back", 0, 2)
    assert world.rollout().ended_at == ended
    assert world.ledger().count("rollout.roll_back") == 1


def test_a_step_that_is_not_proved_in_time_counts_as_failing(world: World, clock: Clock) -> None:
    world.start()
    world.run()
    assert world.item().failures == 0
    clock.tick(minutes=5)
    world.run()
    assert (world.item().failures, world.item().last_error, world.state()[0]) == (1, "late", "ramping")
    assert "Not proved since" in world.rollout().reason
    assert world.ledger().count("rollout.wait") == 1
    world.prove()
    world.run()
    assert (world.item().failures, world.state()[0]) == (0, "holding")


@pytest.mark.parametrize("way", ["abort", "roll_back"])
def test_a_first_version_goes_back_to_nothing(world: World, way: str) -> None:
    world.start(parse_plan(plan_json(arms=[arm(2, 10_000)], ramp=[], rollback=None)))
    getattr(world.rollouts, way)(world.olga, "flight-delay-production", "it never became ready")
    assert world.state() == ("aborted" if way == "abort" else "rolled_back", 0, 2)
    newest = DesiredEndpoint.model_validate(world.generations()[-1].desired)
    assert (newest.champion, newest.arms, [one.name for one in newest.leaving]) == (None, (), ["v2"])


def test_a_revoked_approval_freezes_the_walk_and_leaves_the_way_back(world: World, clock: Clock) -> None:
    authorization = world.start()
    world.prove()
    world.run()
    with world.database.unit(SYSTEM) as tx:
        admission.revoke(tx, authorization, "a leak")
        freeze(tx, authorization, "a leak")
    assert world.state() == ("paused", 0, 1)
    assert "a leak" in world.rollout().reason
    clock.tick(hours=1)
    world.run()
    assert world.state() == ("paused", 0, 1)
    _refused("revoked", world.rollouts.resume, world.olga, "flight-delay-production", "on")
    world.rollouts.roll_back(world.olga, "flight-delay-production", "a leak")
    assert world.state() == ("rolled_back", 0, 2)


def test_a_revocation_that_nobody_announced_is_noticed(world: World, clock: Clock) -> None:
    authorization = world.start()
    with world.database.unit(SYSTEM) as tx:
        admission.revoke(tx, authorization, "a leak")
    clock.tick(seconds=5)
    world.run()
    assert world.state() == ("paused", 0, 1)


def test_letting_on_needs_a_proved_step_that_asks_for_it(world: World, clock: Clock) -> None:
    world.start()
    rollout = world.rollout().id

    def call(actor: Actor, endpoint: str, reason: str) -> Rollout:
        return world.rollouts.let_on(actor, endpoint, reason, at=At(rollout, world.rollout().step))

    _refused("wrong-state", call, world.ben, "flight-delay-production", "go")
    world.prove()
    world.run()
    _refused("not-asked", call, world.ben, "flight-delay-production", "go")
    _refused("not-allowed", call, world.ana, "flight-delay-production", "go")
    clock.tick(seconds=60)
    world.run()
    world.prove()
    world.run()
    bot = world.identities.create(world.identities.act_as("otto"), "bot", kind="service", owner="ana")
    world.identities.grant(world.identities.act_as("otto"), "bot", "operator")
    _refused("not-a-person", call, bot, "flight-delay-production", "it looks fine to me")
    for _ in range(2):
        call(world.ben, "flight-delay-production", "go")
    assert world.ledger().count("rollout.let_on") == 1


def test_commands_need_a_reason_an_endpoint_and_a_rollout(world: World) -> None:
    _refused("no-rollout", world.rollouts.pause, world.olga, "flight-delay-production", "why")
    _refused("no-rollback-target", world.rollouts.roll_back, world.olga, "flight-delay-production", "why")
    _refused("not-found", world.rollouts.pause, world.olga, "nowhere", "why")
    _refused("not-allowed", world.rollouts.abort, world.identities.act_as("audra"), "flight-delay-production", "why")
    world.start()
    _refused("no-reason", world.rollouts.pause, world.olga, "flight-delay-production", " ")


def test_a_second_rollout_waits_for_the_first(world: World) -> None:
    world.start()
    world.prove()
    _refused("busy", world.start, WALK, "chg_2")
    assert len(world.generations()) == 1


def test_a_late_worker_changes_nothing(world: World, clock: Clock) -> None:
    world.start()
    world.prove()
    (late,) = work.claim(world.database, "rollout", holder="w1", seconds=30)
    clock.tick(seconds=31)
    with pytest.raises(work.LeaseLost):
        world.rollouts.handle(late)
    assert world.state() == ("ramping", 0, 1)


def test_what_a_page_shows(world: World, clock: Clock) -> None:
    world.start()
    world.prove()
    world.run()
    with world.database.read() as session:
        view = queries.view(session, world.rollout(), clock.now)
    assert [one.standing for one in view.steps] == ["now", "ahead", "ahead"]
    assert (view.change_id, view.can_go_back, view.waits_for_person) == ("chg_1", True, False)
    assert (view.hold_until - clock.now).total_seconds() == 60
    assert view.to_json()["steps"][1]["shares"] == {"v1": 5_000, "v2": 5_000}


def test_many_stops_at_once_have_one_effect(real_time_database: Database) -> None:
    world = World(real_time_database, Clock())
    world.start()
    failures: list[BaseException] = []

    def press() -> None:
        try:
            world.rollouts.abort(world.olga, "flight-delay-production", "stop")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=press) for _ in range(20)]
    for thread in threads:
        thread.start()
    world.run()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [one.reason for one in world.generations()] == ["start", "rollback"]
    with world.database.read() as session:
        assert len(session.exec(select(Generation)).all()) == 2
