"""Several workers on the same work: one effect for each approval, and a worker that slept past its lease does no harm."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend.core.database import Database
from backend.delivery.targets.memory_server import Fault
from tests.faults.workers import LEASE_SECONDS, Worker, at_rest, fault_world, start_when_seen, until

MOST_ON_POSTGRES = pytest.mark.parametrize(
    "real_time_database", [pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"], indirect=True
)
"""On SQLite, which has one writer, among the slow tests."""


@MOST_ON_POSTGRES
@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_workers_share_the_work_without_doing_it_twice(real_time_database: Database, tmp_path: Path, count: int) -> None:
    world = fault_world(real_time_database, tmp_path)
    names = [f"flights-{number}" for number in range(6)]
    for name in names:
        world.endpoint(name)
    with ExitStack() as running:
        workers = [running.enter_context(Worker(world, name=f"worker-{number}")) for number in range(count)]
        until(lambda: at_rest(world, *names), workers[0])
        for name in names:
            start_when_seen(world, name, 1)
        until(lambda: at_rest(world, *names), workers[0])
        workers[-1].kill()
        for name in names:
            start_when_seen(world, name, 2, back_to=1)
        until(lambda: at_rest(world, *names), workers[0])
        assert all(worker.end() == 0 for worker in workers[:-1])
    assert {world.row(name).generation for name in names} == {3}
    world.check_invariants()


@MOST_ON_POSTGRES
def test_a_worker_that_slept_past_its_lease_changes_no_record(real_time_database: Database, tmp_path: Path) -> None:
    world = fault_world(real_time_database, tmp_path)
    world.live()
    world.server.script(Fault("push", seconds=1.5))
    world.start("flight-delay", 2, back_to=1, bake=3600)
    with Worker(world, name="sleeper") as sleeper:
        until(lambda: any(one.outcome == "running" for one in world.pushes()), sleeper)
        sleeper.freeze(world)
        time.sleep(LEASE_SECONDS + 0.5)
        with Worker(world, name="heir") as heir:
            until(lambda: at_rest(world), heir)
            proved = world.row().proved_at
            sleeper.thaw()
            until(lambda: '"lease.lost"' in sleeper.words, sleeper)
            until(lambda: at_rest(world), heir)
            assert heir.end() == 0, heir.words
    assert world.row().proved_at == proved
    assert [one.outcome for one in world.pushes()].count("lost") == 1
    world.check_invariants()
