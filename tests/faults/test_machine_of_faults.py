"""Random actions and faults against a small reference model: whatever happens, what was approved is what runs in the end."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import first_break
from backend.core.work import LeaseLost
from backend.delivery import admission
from backend.delivery.desired import Packaged
from backend.delivery.rows import Endpoint
from backend.delivery.targets.memory_server import Fault
from tests.databases import Clock
from tests.delivery_world import QUICK, World

NAME = "flight-delay"
FAULTS = ("error", "reset", "timeout", "apply_then_timeout", "lie")
HASTY = QUICK.__class__(
    observe=timedelta(seconds=10), ready_seconds=0.05, in_force_seconds=0.1, poll_seconds=0.005, retry_base=1.0, retry_cap=8.0
)


class Deliveries(RuleBasedStateMachine):
    """One endpoint, seven versions. The model knows what shall run: the version that was admitted last, or gone back to."""

    template: Path

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="countersign-machine-")
        root = Path(self.folder.name)
        shutil.copy(self.template, root / "countersign.db")
        self.clock = Clock()
        self.clock.now = datetime(2026, 3, 2, tzinfo=UTC)
        self.database = Database(f"sqlite:///{root / 'countersign.db'}", clock=self.clock)
        self.world = World(self.database, root, timing=HASTY)
        self.world.live(NAME, 1)
        self.champion, self.authorization, self.previous = 1, "", 0
        self.changes = 0

    # -- what people do

    @rule(version=st.integers(1, 7), share=st.sampled_from([10_000, 5_000, 1]))
    def start(self, version: int, share: int) -> None:
        """Approves and starts: all the traffic, or a split with the present champion."""
        if version == self.champion:
            return
        self.changes += 1
        shares = {version: share} if share == 10_000 else {version: share, self.champion: 10_000 - share}
        try:
            authorization = self.world.approve(
                self.world.plan(NAME, shares, back_to=self.champion, bake=30), f"chg_{self.changes}"
            )
            self.world.admit(authorization)
        except Refusal as refusal:
            if refusal.code not in ("stale-base", "busy", "not-seen", "paused", "fight", "place-taken"):
                raise
            return
        self.previous, self.champion = self.champion, max(shares, key=lambda one: shares[one])
        self.authorization, self.shares = authorization, shares

    @precondition(lambda self: self.authorization)
    @rule()
    def roll_back(self) -> None:
        with self.database.unit(SYSTEM) as tx:
            admission.admit_rollback(tx, self.authorization, "it is worse")
        self.champion = self.previous if self.previous else self.champion
        self.previous = 0

    @rule()
    def double_click(self) -> None:
        if self.authorization and self.previous:
            self.world.admit(self.authorization)

    # -- what others do

    @rule()
    def unload_by_hand(self) -> None:
        self.world.server.unload(NAME, by="somebody")

    @rule(version=st.integers(8, 9))
    def load_a_stranger(self, version: int) -> None:
        digest = self.world.package(version)
        with self.world.server.state() as state:
            config = state["models"].get(NAME, {"config_digest": None})["config_digest"]
        self.world.server.load(NAME, {version: Packaged(digest, self.world.store.local(digest))}, config, by="somebody")

    @rule()
    def change_a_byte(self) -> None:
        for version in self.world.loaded() & {self.champion}:
            self.world.server.change_byte(NAME, version)

    # -- what breaks

    @rule(kind=st.sampled_from(FAULTS), verb=st.sampled_from(["push", "observe", "answer"]))
    def break_the_server(self, kind: Any, verb: str) -> None:
        self.world.server.script(Fault(verb, kind))

    @rule()
    def restart_the_server(self) -> None:
        self.world.server.stop()
        self.world.server.start()

    # -- time and the worker

    @rule(seconds=st.integers(1, 400))
    def wait(self, seconds: int) -> None:
        self.clock.tick(seconds=seconds)

    @rule()
    def one_pass(self) -> None:
        with contextlib.suppress(LeaseLost):
            self.world.one_pass()

    @rule()
    def come_to_rest(self) -> None:
        """Faults end, a person lets go on what was fought over: within a bound, what was approved is what runs (I1)."""
        with self.world.server.state() as state:
            state["faults"], state["up"] = [], True
        for _ in range(8):
            self._calm()
            self.clock.tick(seconds=130)
            self.one_pass()
        row = self.world.row(NAME)
        assert (row.state, row.proved_generation) == ("in_sync", row.generation), row
        assert self.world.router.routes[NAME].champion == f"v{self.champion}"
        self.world.check_invariants()

    def _calm(self) -> None:
        if self.world.state(NAME) == "fight":
            with self.database.unit(SYSTEM) as tx:
                row = tx.get(Endpoint, f"end_{NAME}")
                row.state, row.repairs = "pushing", []
                tx.record("endpoint.repair_now", row)

    @invariant()
    def nothing_unapproved_was_pushed_and_the_ledger_holds(self) -> None:
        if not hasattr(self, "world"):
            return
        strangers = {self.world.packages[one] for one in (8, 9) if one in self.world.packages}
        assert not self.world.pushed_digests() & strangers, "I2"
        assert first_break(self.world.ledger())[0] is None, "I5"

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.come_to_rest()
            self.database.close()
            self.folder.cleanup()


def test_whatever_happens_what_was_approved_is_what_runs(sqlite_template: Path) -> None:
    Deliveries.template = sqlite_template
    run_state_machine_as_test(
        Deliveries,
        settings=settings(
            max_examples=12, stateful_step_count=18, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
        ),
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whatever_happens_at_length(sqlite_template: Path) -> None:
    Deliveries.template = sqlite_template
    run_state_machine_as_test(
        Deliveries,
        settings=settings(max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
