"""A rollout that compares two arms, a log of its requests, and a worker's hands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlmodel import select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery import admission
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.rows import Endpoint
from backend.experiments.comparing import queries
from backend.experiments.comparing.counting import count
from backend.experiments.comparing.counts import Counts
from backend.experiments.comparing.figures import Figures
from backend.experiments.comparing.looking import Comparing, open_look
from backend.experiments.comparing.rows import ComparisonLook, ComparisonRow
from backend.experiments.comparing.service import KIND
from backend.experiments.comparing.standing import Standing
from backend.inference_log.service import InferenceLog
from tests.databases import Clock
from tests.rules.test_plan import arm
from tests.rules.test_plan import plan as plan_json
from tests.services.rollouts import test_rollouts

ENDPOINT = "flight-delay-production"
ERRORS: dict[str, Any] = {"name": "errors", "kind": "errors"}
GUARD: dict[str, Any] = {"metric": "errors", "margin": 0.05, "eta": 20.0}


def plan(
    metrics: Iterable[Mapping[str, Any]] = (ERRORS,), guardrails: Iterable[Mapping[str, Any]] = (GUARD,), **comparison: Any
) -> Plan:
    """Half and half at the first step."""
    told = {"control": "v1", "metrics": list(metrics), "guardrails": list(guardrails), **comparison}
    ramp = [{"shares": {"v1": 5_000, "v2": 5_000}, "hold_seconds": 60}, {"shares": {"v1": 4_000, "v2": 6_000}}]
    return parse_plan(plan_json(arms=[arm(1, 0), arm(2, 10_000)], ramp=ramp, comparison=told))


class Compared:
    """The commands and handlers over a world. `clock` begins at 9 o'clock on 2 March 2026."""

    def __init__(self, database: Database, clock: Clock, folder: Path) -> None:
        self.world, self.database, self.clock = test_rollouts.World(database, clock), database, clock
        self.log = InferenceLog(folder / "log", clock=clock)
        self.woken: list[str] = []
        self.comparing = Comparing(database, self.log, judged=lambda _, one: self.woken.append(one))

    def start(self, asked: Plan, change: str = "chg_1") -> str:
        return self.world.start(asked, change)

    def ramp(self, authorization: str, step: int = 1) -> int:
        """Admits the next step; its generation."""
        self.world.prove()
        with self.database.unit(SYSTEM) as tx:
            admission.admit(tx, authorization, step=step, reason="ramp", checked=self.world.checked())
            return tx.get(Endpoint, "end_1").generation

    @property
    def generation(self) -> int:
        with self.database.read() as session:
            return session.get_one(Endpoint, "end_1").generation

    def add(self, rows: Iterable[Mapping[str, object]], outcomes: Iterable[Mapping[str, object]] = ()) -> None:
        """Into the log, and onto its disk."""
        assert self.log.append(ENDPOINT, rows).rejected == 0
        assert self.log.append_outcomes(ENDPOINT, outcomes).rejected == 0
        self.log.flush()

    def rows(self, units: int, failing: Mapping[str, float] = {}, *, name: str = "u", **more: Any) -> list[dict[str, Any]]:
        """One request each of so many units, every second one in v2; the first part of each arm's fails."""
        made = []
        for place in range(units):
            own, number = ("v1", "v2")[place % 2], place // 2
            fails = number < failing.get(own, 0.0) * units / 2
            made.append(
                request(
                    f"{name}{place}",
                    self.clock.now - timedelta(milliseconds=units - place),
                    own,
                    self.generation,
                    fails=fails,
                    **more,
                )
            )
        return made

    def look(self) -> None:
        """Handles what is due at comparisons, once each."""
        for claim in work.claim(self.database, KIND, holder="w1", seconds=60, limit=10):
            self.comparing.handle(claim)

    def counts(self) -> Counts:
        with self.database.read() as session:
            opened = open_look(session, self.row.id, self.database.now(session))
        assert opened is not None
        found = count(self.log, opened.asked)
        assert found is not None
        return found

    @property
    def row(self) -> ComparisonRow:
        with self.database.read() as session:
            return session.exec(select(ComparisonRow).order_by("began_at")).all()[-1]

    @property
    def figures(self) -> Figures:
        with self.database.read() as session:
            newest = session.exec(select(ComparisonLook).order_by("at")).all()[-1]
            return Figures.from_json(newest.figures)

    def standing(self, authorization: str, generation: int | None = None) -> Standing:
        with self.database.read() as session:
            found = queries.standing(session, authorization, generation or self.generation, self.database.now(session))
        assert found is not None
        return found


def request(unit: str, at: Any, own: str, generation: int, *, fails: bool = False, **more: Any) -> dict[str, Any]:
    """One request of a unit."""
    return {
        "request_id": f"r-{unit}-{at:%d%H%M%S%f}",
        "event_time": at,
        "unit": unit,
        "bucket": sum(map(ord, unit)) % 10_000,
        "assigned_arm": own,
        "served_arm": own,
        "generation": generation,
        "version": int(own[1:]),
        "failure": "timeout" if fails else "",
        "latency_seconds": 0.02,
        "prediction": 0.5,
        **more,
    }
