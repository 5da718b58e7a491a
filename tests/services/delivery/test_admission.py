"""Admission: every way in which something could become desired without being approved is refused, each with its own code."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select, update

from backend.access.service import Identities
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow, first_break
from backend.core.work import WorkItem
from backend.delivery.admission import Checked, admit, admit_rollback, authorize, revoke
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.rows import Authorization, Endpoint, Generation, Server
from backend.policy.service import Policies
from backend.settings import Settings
from tests.databases import Clock
from tests.rules.test_plan import plan as plan_json
from tests.services.delivery.surroundings import BY_GROUP

PLAN: Plan = parse_plan(plan_json(ramp=[{"shares": {"v1": 9000, "v2": 1000}}]))
BASE = "sha256:" + "b" * 64


class World:
    """One managed endpoint whose generation is proved, and the words to approve and start a plan on it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database, self.clock = database, clock
        self.identities = Identities(database, Settings(demo_identities=True))
        self.identities.seed_demo()
        self.policies = Policies(database)
        self.policies.seed()
        with database.unit(SYSTEM) as tx:
            server = tx.add(
                Server(
                    id="srv_1", name="s", kind="memory", settings={}, upstream="", created_by="idn_system", created_at=tx.now
                )
            )
            tx.record("server.register", server)
            tx.session.flush()
            endpoint = tx.add(
                Endpoint(
                    id="end_1", name=PLAN.endpoint, environment=PLAN.environment, model=PLAN.model, server_id="srv_1",
                    served_name="flight-delay", mode="managed", state="in_sync", state_since=tx.now, base_digest=BASE,
                    created_by="idn_system", created_at=tx.now,
                )
            )  # fmt: skip
            tx.record("endpoint.create", endpoint)

    def votes(self, **changes: Any) -> list[dict[str, Any]]:
        who = self.identities.act_as("ben").id
        vote = {"identity_id": who, "verdict": "approve", "plan_digest": PLAN.digest(), "base_digest": BASE, "at": ""}
        return [{**vote, **changes}]

    def authorize(self, plan: Plan = PLAN, change: str = "chg_1", votes: list[dict[str, Any]] | None = None) -> str:
        with self.database.unit(SYSTEM) as tx:
            return authorize(
                tx, endpoint_id="end_1", change_id=change, plan=plan, base_digest=BASE,
                votes=self.votes() if votes is None else votes, start_by=tx.now + timedelta(hours=1),
            ).id  # fmt: skip

    def checked(self, **changes: Any) -> Checked:
        whole = Checked(
            {arm.version: arm.artifact_digest for arm in PLAN.arms},
            frozenset(arm.package_digest for arm in PLAN.arms),
            self.database.now(),
        )
        return replace(whole, **changes)

    def admit(self, authorization: str, step: int = 0, **changes: Any) -> int:
        with self.database.unit(SYSTEM) as tx:
            reason: Any = "ramp" if step else "start"
            return admit(tx, authorization, step=step, reason=reason, checked=self.checked(**changes)).number

    def change_endpoint(self, **values: Any) -> None:
        with self.database.unit(SYSTEM) as tx:
            row = tx.get(Endpoint, "end_1")
            for name, value in values.items():
                setattr(row, name, value)
            tx.record("endpoint.test", row)

    def generations(self) -> list[Generation]:
        with self.database.read() as session:
            return list(session.exec(select(Generation).order_by(Generation.number)))


@pytest.fixture
def world(database: Database, clock: Clock) -> World:
    return World(database, clock)


def _refused(code: str, call: Any, *args: Any, **options: Any) -> None:
    with pytest.raises(Refusal) as refused:
        call(*args, **options)
    assert refused.value.code == code
    assert refused.value.remedy


def test_an_approved_plan_becomes_a_generation_and_wakes_its_server(world: World) -> None:
    assert world.admit(world.authorize()) == 1
    with world.database.read() as session:
        assert session.get(WorkItem, ("server", "srv_1")) is not None
        assert session.get(Endpoint, "end_1").state == "pushing"
        rows = list(session.exec(select(LedgerRow).order_by(LedgerRow.seq)))
    assert {"authorization.grant", "generation.admit", "endpoint.admit"} <= {row.action for row in rows}
    assert first_break(rows)[0] is None


def test_asking_again_changes_nothing(world: World) -> None:
    first = world.authorize()
    assert world.authorize() == first
    assert world.admit(first) == world.admit(first) == 1
    assert len(world.generations()) == 1


@pytest.mark.parametrize(
    "votes",
    [
        [],
        [{"plan_digest": "sha256:" + "0" * 64}],
        [{"base_digest": "sha256:" + "0" * 64}],
        [{"verdict": "reject"}],
    ],
)
def test_votes_that_do_not_carry_exactly_this_are_refused(world: World, votes: list[dict[str, Any]]) -> None:
    cast = [world.votes(**changes)[0] for changes in votes]
    _refused("votes-missing", world.authorize, votes=cast)
    assert world.generations() == []


def test_approvals_by_groups_alone_are_demanded_too(world: World) -> None:
    """Whatever was counted before: nothing moves without a single vote where the policy asks for one."""
    saved = world.policies.set_policy(world.identities.act_as("otto"), "staging", BY_GROUP)
    plan = parse_plan({**PLAN.to_json(), "policy": saved.id})
    _refused("votes-missing", world.authorize, plan, votes=[])
    assert world.authorize(plan, votes=world.votes(plan_digest=plan.digest()))


def test_a_plan_for_another_endpoint_or_name_is_refused(world: World) -> None:
    elsewhere = parse_plan({**PLAN.to_json(), "endpoint": "other"})
    _refused("digest-mismatch", world.authorize, plan=elsewhere, votes=world.votes(plan_digest=elsewhere.digest()))


def test_one_byte_more_in_the_stored_plan_is_refused(world: World) -> None:
    authorization = world.authorize()
    with world.database.unit(SYSTEM) as tx:
        row = tx.get(Authorization, authorization)
        row.plan = {**row.plan, "bake_seconds": 1}
        tx.record("authorization.test", row)
    _refused("digest-mismatch", world.admit, authorization)


@pytest.mark.parametrize(
    "forge",
    [
        lambda votes: [],
        lambda votes: [{**votes[0], "verdict": "reject"}],
        lambda votes: [{**votes[0], "plan_digest": "sha256:" + "0" * 64}],
        lambda votes: [{**votes[0], "base_digest": "sha256:" + "0" * 64}],
    ],
)
def test_votes_that_were_altered_since_they_were_counted_are_refused(world: World, forge: Callable[[Any], list[Any]]) -> None:
    """As somebody with access to the database could, without a word in the ledger."""
    authorization = world.authorize()
    with world.database.engine.begin() as connection:
        stored = update(Authorization).where(col(Authorization.id) == authorization)
        connection.execute(stored.values(votes=forge(world.votes())))
    _refused("votes-missing", world.admit, authorization)
    assert world.generations() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"package_digests": frozenset()},
        {"artifact_digests": {}},
        {"artifact_digests": {1: PLAN.arm("v1").artifact_digest, 2: "sha256:" + "0" * 64}},
    ],
)
def test_bytes_that_are_not_the_approved_ones_are_refused(world: World, changes: dict[str, Any]) -> None:
    _refused("digest-mismatch", world.admit, world.authorize(), **changes)
    assert world.generations() == []


def test_an_old_look_at_the_bytes_is_refused(world: World) -> None:
    old = world.database.now() - timedelta(minutes=6)
    _refused("digest-mismatch", world.admit, world.authorize(), at=old)


def test_a_revoked_or_expired_approval_is_refused(world: World, clock: Clock) -> None:
    authorization = world.authorize()
    clock.tick(minutes=61)
    _refused("expired", world.admit, authorization)
    with world.database.unit(SYSTEM) as tx:
        revoke(tx, authorization, "found a leak")
    _refused("revoked", world.admit, authorization)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"base_digest": "sha256:" + "c" * 64}, "stale-base"),
        ({"mode": "observe"}, "not-managed"),
        ({"paused": True}, "paused"),
        ({"state": "fight"}, "fight"),
        ({"state": "stale"}, "not-seen"),
        ({"state": "unreachable"}, "not-seen"),
        ({"proved_generation": 5}, "busy"),
    ],
)
def test_an_endpoint_that_is_not_ready_for_it_is_refused(world: World, values: dict[str, Any], code: str) -> None:
    authorization = world.authorize()
    world.change_endpoint(**values)
    _refused(code, world.admit, authorization)
    assert world.generations() == []


def test_a_freeze_stops_starts_and_never_a_way_back(world: World) -> None:
    authorization = world.authorize()
    world.admit(authorization)
    world.policies.freeze(world.identities.act_as("olga"), "*", "incident")
    _refused("frozen", world.admit, authorization, 1)
    with world.database.unit(SYSTEM) as tx:
        revoke(tx, authorization, "bad")
    with world.database.unit(SYSTEM) as tx:
        assert admit_rollback(tx, authorization, "incident").number == 2
    with world.database.unit(SYSTEM) as tx:
        assert admit_rollback(tx, authorization, "again").number == 2


def test_steps_come_in_their_order(world: World) -> None:
    authorization = world.authorize()
    _refused("out-of-order", world.admit, authorization, 1)
    assert (world.admit(authorization), world.admit(authorization, 1)) == (1, 2)
    assert [one.step for one in world.generations()] == [0, 1]


def test_only_what_is_live_is_rolled_back(world: World) -> None:
    authorization = world.authorize()
    with world.database.unit(SYSTEM) as tx, pytest.raises(Refusal) as refused:
        admit_rollback(tx, authorization, "why")
    assert refused.value.code == "not-live"


def test_fifty_starts_at_once_have_one_effect(real_time_database: Database) -> None:
    world = World(real_time_database, Clock())
    authorization = world.authorize()
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(world.admit(authorization))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers == [1] * 50
    assert len(world.generations()) == 1
