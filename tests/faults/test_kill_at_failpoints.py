"""kill -9 of the worker at each named step of a push: another worker finishes it, and every invariant holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.core import failpoints
from backend.core.database import Database
from tests.faults.workers import Worker, at_rest, fault_world, until

STEPS = [
    pytest.param(kind, failpoint, marks=[pytest.mark.slow] if (number + turn) % 2 else [])
    for turn, kind in enumerate(("sqlite", "postgresql"))
    for number, failpoint in enumerate(failpoints.DELIVERY)
]
"""Each step on one of the two databases every time, and on the other among the slow tests."""


@pytest.mark.parametrize(("real_time_database", "failpoint"), STEPS, indirect=["real_time_database"])
def test_a_worker_that_dies_at_a_step_leaves_nothing_half_done(
    real_time_database: Database, tmp_path: Path, failpoint: str
) -> None:
    world = fault_world(real_time_database, tmp_path)
    world.live()
    world.start("flight-delay", 2, back_to=1, bake=3600)
    with Worker(world, failpoint=failpoint) as victim:
        assert victim.killed_itself(), victim.words
    route = world.router.routes["flight-delay"]
    assert {arm.served_version for arm in route.arms} <= world.loaded(), "I4: routed to what is not loaded"
    assert world.row().proved_generation == 2, "nothing may be called proved before it was read back"
    with Worker(world, name="heir") as heir:
        until(lambda: at_rest(world), heir)
        assert heir.end() == 0, heir.words
    assert world.row().proved_generation == 3
    assert world.router.routes["flight-delay"].champion == "v2"
    assert world.loaded() == {1, 2}
    world.check_invariants()
