"""An experiment that runs on a filled installation, for pages and pictures: an hour of looks at a log with outcomes.

On the taxis' endpoint version 2 has 10 % by a rollout that is under way; a draft of an experiment is begun by hand as that
change would, so that its arms are compared. Requests, outcomes and looks are real, under a clock that was set back.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from sqlmodel import col, select

from backend import bootstrap
from backend.bootstrap import Backend
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.named import named
from backend.delivery.plan import parse_plan
from backend.delivery.rows import Authorization, Endpoint, Generation
from backend.experiments.comparing import service as comparing
from backend.experiments.comparing.service import KIND
from backend.experiments.designs import planning
from backend.experiments.designs import service as designs
from backend.experiments.designs.measured import Measured, MetricMeasured
from backend.experiments.designs.spec import Design
from backend.experiments.statistics.planning import Traffic
from backend.inference_log.service import InferenceLog
from backend.settings import Settings
from tests.installations import TAXI_PRODUCTION, Clock

SLUG = "boosted"
TITLE = "Boosted *trees* <img src=x onerror=alert(1)> :red[now] $x$ | `v`"
"""Somebody named it to hurt."""
HYPOTHESIS = "Trees lose **less** <script>alert(1)</script> ![p](https://evil.example/p.png) :material/delete:"
DESIGN: Mapping[str, Any] = {
    "hypothesis": HYPOTHESIS,
    "arms": [{"version": 2, "share": 1_000}],
    "metrics": [
        {"name": "log-loss", "kind": "log_loss", "outcome": "late"},
        {"name": "errors", "kind": "errors"},
        {"name": "p95", "kind": "latency", "quantile": 0.95},
    ],
    "guardrails": [{"metric": "errors", "margin": 0.02}, {"metric": "p95", "margin": 0.02, "on_fail": "hold"}],
    "primary": {"metric": "log-loss", "smallest": 0.05},
    "segments": [
        {"name": "short-haul", "feature": "haul", "value": "short"},
        {"name": "long-haul", "feature": "haul", "value": "long"},
    ],
    "planned_days": 14,
}
MEASURED = Measured(
    version=1,
    units=18_420,
    requests=40_000,
    traffic=Traffic((3_000.0, 6_000.0, 9_000.0)),
    failures=0.01,
    metrics={
        "log-loss": MetricMeasured(0.5, 0.1, 1.0),
        "errors": MetricMeasured(0.01, 0.0099, 1.0),
        "p95": MetricMeasured(0.04, 0.0475, 1.0, curve=((0.5, 0.02), (0.95, 0.04), (0.99, 0.06))),
    },
)


def tried(data: Path, *, looks: int = 6, units: int = 700, gain: float = 0.4, crossed: bool = False) -> None:
    """An experiment with so many looks, and so many new units before each.

    Args:
        gain: how much nearer to the truth version 2's probabilities are.
        crossed: a twentieth of the units is seen in both arms.
    """
    with _past(data) as (backend, clock):
        _begin(backend)
        chance = random.Random(7)
        for place in range(looks):
            clock.on(minutes=10)
            rows, outcomes = _requests(backend, chance, clock.now, place, units, gain, crossed=crossed)
            assert backend.inference_log.append(TAXI_PRODUCTION, rows).rejected == 0
            assert backend.inference_log.append_outcomes(TAXI_PRODUCTION, outcomes).rejected == 0
            backend.inference_log.flush()
            clock.on(seconds=5)
            look(backend)


def begun(data: Path) -> None:
    """The same experiment before its first look."""
    with _past(data) as (backend, _):
        _begin(backend)


def look(backend: Backend) -> None:
    """Handles every comparison, due or not."""
    with backend.database.read() as session:
        found = comparing.keys(session)
    for key in found:
        with backend.database.unit(SYSTEM) as tx:
            work.wake(tx, KIND, key)
            (claim,) = work.claim_in(tx, KIND, holder="worker", seconds=60, key=key)
        backend.comparing.handle(claim)


@contextmanager
def _past(data: Path) -> Iterator[tuple[Backend, Clock]]:
    """The installation about an hour ago."""
    clock = Clock()
    clock.ago(minutes=75)
    with (
        mock.patch.object(bootstrap, "Database", partial(Database, clock=clock)),
        mock.patch.object(bootstrap, "InferenceLog", partial(InferenceLog, clock=clock)),
    ):
        backend = bootstrap.build(Settings(data_dir=data, demo_identities=True))
    try:
        yield backend, clock
    finally:
        backend.close()


def _begin(backend: Backend) -> None:
    """As the change would whose first step is put in force."""
    backend.experiments.create(backend.identities.act_as("ana"), TAXI_PRODUCTION, SLUG, TITLE, DESIGN)
    design = Design.model_validate(DESIGN)
    compared = planning.comparison_of(design, SLUG, MEASURED).model_copy(update={"control": "v1", "stale_seconds": 86_400})
    view = planning.plan(compared, planning.stages_of_design(design), MEASURED)
    with backend.database.unit(SYSTEM) as tx:
        place = named(tx.session, Endpoint, TAXI_PRODUCTION)
        query = select(Authorization).where(Authorization.endpoint_id == place.id)
        newest = tx.session.exec(query.order_by(col(Authorization.created_at).desc())).first()
        assert newest is not None
        plan = parse_plan(newest.plan).model_copy(update={"comparison": compared})
        designs.started(tx, place.id, SLUG, newest.change_id, planned=view.to_json())
        comparing.begin(tx, newest, plan)


def _requests(
    backend: Backend, chance: random.Random, now: datetime, place: int, units: int, gain: float, *, crossed: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with backend.database.read() as session:
        endpoint = named(session, Endpoint, TAXI_PRODUCTION)
        generation = session.exec(
            select(Generation.number).where(Generation.endpoint_id == endpoint.id).order_by(col(Generation.number).desc())
        ).first()
    rows, outcomes = [], []
    for number in range(units):
        arm = "v2" if number % 10 == 9 else "v1"
        late, at = chance.random() < 0.4, now - timedelta(seconds=500 * chance.random())
        own = gain if arm == "v2" else 0.0
        score = 1 / (1 + math.exp(-((1.0 + 2 * own) * (1 if late else -1) + chance.gauss(0, 1.2))))
        for copy, seen in enumerate((arm, "v2") if crossed and number % 20 == 0 else (arm,)):
            key = f"{place}-{number}-{copy}"
            rows.append(_request(key, at + timedelta(seconds=copy), f"u{place}-{number}", seen, generation, chance, score))
            outcomes.append({"request_id": key, "known_at": at + timedelta(seconds=2), "values": {"late": late}})
    return rows, outcomes


def _request(
    key: str, at: datetime, unit: str, arm: str, generation: int | None, chance: random.Random, score: float
) -> dict[str, Any]:
    return {
        "request_id": key,
        "event_time": at.astimezone(UTC),
        "unit": unit,
        "bucket": sum(map(ord, unit)) % 10_000,
        "assigned_arm": arm,
        "served_arm": arm,
        "generation": generation,
        "version": int(arm[1:]),
        "failure": "timeout" if chance.random() < 0.01 else "",
        "latency_seconds": 0.02 * math.exp(chance.gauss(0, 0.3)),
        "prediction": score,
        "features": {"haul": chance.choice(("short", "long"))},
    }
