"""Recorded requests: no role shows them, a grant does until its end, and each read is in the ledger before a row is shown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.access.data_sets import DataSets, holds, lines
from backend.access.rows import RoleGrant
from backend.access.teams import Teams
from backend.core.canonical import loads
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.delivery.endpoints import Endpoints
from backend.delivery.recorded import Recorded
from backend.delivery.rows import Package, Server
from backend.inference_log.service import InferenceLog
from tests.databases import Clock
from tests.services.changes.world import ENDPOINT, MODEL, World, package

LOG, INSIDE = f"requests/{ENDPOINT}", f"probes/{MODEL}"


class Store:
    def read(self, digest: str, path: str, limit: int) -> bytes:
        assert digest == package(1)
        return b'{"schema": 1, "inputs": [{"x": 1.5}], "outputs": [{"y": 2.5}], "tolerance": 0.0}'


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def recorded(world: World, tmp_path: Path, clock: Clock) -> Any:
    with InferenceLog(tmp_path / "log", clock=clock) as log:
        row = {"request_id": "r1", "event_time": clock.now, "version": 1, "features": {"age": 44.0}, "prediction": 0.5}
        assert log.append(ENDPOINT, [row]).kept == 1
        log.flush()
        with world.database.unit(world.otto) as tx:
            found = tx.session.get_one(Package, package(1))
            found.probes = {"digest": "x", "count": 1}
            tx.record("package.keep", found)
        yield Recorded(world.database, Store(), log)


def _reads(world: World) -> list[Any]:
    with world.database.read() as session:
        rows = session.exec(select(LedgerRow).where(LedgerRow.action == "data_set.read").order_by(LedgerRow.seq)).all()
        return [(row.actor_id, row.subject_id, loads(row.after_json)) for row in rows]


def _both(recorded: Recorded, world: World, who: Any, clock: Clock) -> tuple[Any, Any]:
    start = clock.now - timedelta(hours=1)
    return recorded.requests(who, ENDPOINT, start, start + timedelta(hours=2)), recorded.probes(who, MODEL, 1)


def test_no_role_shows_a_recorded_request_and_what_was_refused_shows_none(
    world: World, recorded: Recorded, clock: Clock
) -> None:
    for who in (world.ana, world.ben, world.olga, world.otto, world.audra):
        with pytest.raises(Refusal) as refused:
            _both(recorded, world, who, clock)
        assert refused.value.code == "data-set"
        with pytest.raises(Refusal) as refused:
            recorded.probes(who, MODEL, 1)
        assert refused.value.code == "data-set"
    assert _reads(world) == []


def test_a_grant_shows_them_until_its_end_and_each_read_is_on_record(world: World, recorded: Recorded, clock: Clock) -> None:
    sets = DataSets(world.database)
    for name in (LOG, INSIDE):
        sets.grant(world.otto, name, until=clock.now + timedelta(days=1), identity="ana")
    rows, probes = _both(recorded, world, world.ana, clock)
    (row,) = rows
    assert (row["request_id"], [value for name, value in row.items() if name.endswith(".age")]) == ("r1", [44.0])
    assert probes == ({"request": {"x": 1.5}, "answer": {"y": 2.5}},)
    assert [(who, what) for who, what, _ in _reads(world)] == [(world.ana.id, LOG), (world.ana.id, INSIDE)]
    assert _reads(world)[1][2] == {"version": 1, "limit": 1000}
    with world.database.read() as session:
        assert {one.data_set for one in lines(session, now=clock.now)} == {LOG, INSIDE}
    clock.tick(days=1)
    with pytest.raises(Refusal):
        recorded.probes(world.ana, MODEL, 1)


def test_a_team_holds_it_for_its_members_and_it_can_be_taken_back(world: World, recorded: Recorded, clock: Clock) -> None:
    sets, teams = DataSets(world.database), Teams(world.database, lambda *_: True)
    teams.create(world.nora, "flights")
    given = sets.grant(world.otto, INSIDE, until=clock.now + timedelta(days=1), team="flights")
    with pytest.raises(Refusal):
        recorded.probes(world.ana, MODEL, 1)
    teams.add_member(world.nora, "flights", "ana")
    assert recorded.probes(world.ana, MODEL, 1)
    sets.take_back(world.otto, given.id)
    with pytest.raises(Refusal):
        recorded.probes(world.ana, MODEL, 1)
    with pytest.raises(NotFound):
        sets.take_back(world.otto, given.id)


def test_who_may_give_it_gives_none_to_himself(world: World, clock: Clock) -> None:
    sets, teams = DataSets(world.database), Teams(world.database, lambda *_: True)
    teams.create(world.nora, "admins")
    teams.add_member(world.nora, "admins", "otto")
    bot = world.identities.create(world.nora, "bot", kind="service", owner="otto")
    soon = clock.now + timedelta(days=1)
    for holder in ({"identity": "otto"}, {"identity": "bot"}, {"team": "admins"}):
        with pytest.raises(Refusal) as refused:
            sets.grant(world.otto, LOG, until=soon, **holder)  # type: ignore[arg-type]
        assert refused.value.code == "own-identity"
    world.identities.create(world.nora, "sibling", kind="service", owner="otto")
    with world.database.unit(world.nora) as tx:
        held = RoleGrant(id="grt_x", identity_id=bot.id, role="admin", granted_by=world.nora.id, granted_at=tx.now)
        tx.record("role.grant", tx.add(held))
    teams.create(world.nora, "siblings")
    teams.add_member(world.nora, "siblings", "sibling")
    for holder in ({"identity": "otto"}, {"team": "admins"}, {"team": "siblings"}):
        with pytest.raises(Refusal) as refused:
            sets.grant(bot, LOG, until=soon, **holder)  # type: ignore[arg-type]
        assert refused.value.code == "own-identity"
    with pytest.raises(Refusal) as refused:
        sets.grant(world.ana, LOG, until=soon, identity="ben")
    assert refused.value.code == "not-allowed"


@pytest.mark.parametrize(("name", "days"), [("all", 1), ("probes/", 1), (LOG, 0), (LOG, 367)])
def test_a_bad_data_set_or_one_without_an_end_is_refused(world: World, clock: Clock, name: str, days: int) -> None:
    with pytest.raises(Refusal):
        DataSets(world.database).grant(world.otto, name, until=clock.now + timedelta(days=days), identity="ana")


def test_whoever_reads_an_endpoints_requests_does_not_read_those_of_a_new_one_of_its_name(world: World, clock: Clock) -> None:
    endpoints = Endpoints(world.database, {}, {}, lambda *_: None)
    with world.database.read() as session:
        server = session.exec(select(Server)).one().name
    told = {"server": server, "served_name": "toy", "model": MODEL}
    endpoints.create(world.olga, name="toy", environment="dev", **told)
    DataSets(world.database).grant(world.otto, "requests/toy", until=clock.now + timedelta(days=300), identity="ana")
    endpoints.remove(world.olga, "toy", "Not needed any more.")
    endpoints.create(world.olga, name="toy", environment="production", **told)
    with world.database.read() as session:
        assert not holds(session, world.ana.id, "requests/toy", now=clock.now)
        assert session.exec(select(LedgerRow.action).where(LedgerRow.action == "data_set.take_back")).all()


def test_who_may_not_see_an_endpoint_is_told_that_there_is_none(world: World, recorded: Recorded, clock: Clock) -> None:
    mona = world.identities.create(world.otto, "mona")
    world.identities.grant(world.otto, "mona", "viewer", "model:other")
    DataSets(world.database).grant(world.otto, LOG, until=clock.now + timedelta(days=1), identity="mona")
    with pytest.raises(NotFound) as foreign:
        recorded.requests(mona, ENDPOINT, clock.now, clock.now + timedelta(hours=1))
    with pytest.raises(NotFound) as missing:
        recorded.requests(mona, "nothing", clock.now, clock.now + timedelta(hours=1))
    assert str(foreign.value) == str(missing.value).replace("nothing", ENDPOINT)
    assert _reads(world) == []
