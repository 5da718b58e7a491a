"""An endpoint that is watched, for pages and pictures: counted hours, one of which drifts, outcomes, latency, and promises."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import select

from backend.bootstrap import Backend
from backend.core import work
from backend.core.context import SYSTEM
from backend.delivery.rows import Endpoint
from backend.drift.stored import profile_bytes
from backend.metrics.quantiles import Histogram
from backend.metrics.slo import Objective
from backend.metrics.storing import Added, Identity, Looked, store
from backend.monitoring import counting, runs
from backend.monitoring.rules import parse_spec
from backend.monitoring.windows import closed_until
from tests.drift_data import letters, normal, profile_of
from tests.installations import FLIGHTS, PRODUCTION

HOUR = timedelta(hours=1)
ROWS = 200
HOSTILE = "carrier <b>$x$</b>"
"""A feature that somebody named to hurt."""


def watched(backend: Backend) -> datetime:
    """Three hours of requests to production, the newest of which drifts; the end of that hour."""
    ana, olga = backend.identities.act_as("ana"), backend.identities.act_as("olga")
    end = closed_until(datetime.now(UTC))
    reference = {**columns(2_000, 1), "score": normal(2_000, 3, 0.5, 0.1).clip(0, 1)}
    backend.reference_profiles.set(ana, FLIGHTS, 1, profile_bytes(profile_of(reference, prediction="score")))
    hourly = {"window_hours": 1, "every_hours": 1, "wait_minutes": 5, "min_rows": 30}
    task = {"kind": "binary", "outcome": "late"}
    backend.monitors.set(olga, PRODUCTION, "drift", parse_spec({"kind": "drift", **hourly}), since=end - 3 * HOUR)
    backend.monitors.set(
        olga, PRODUCTION, "quality", parse_spec({"kind": "quality", "task": task, "segments": [HOSTILE], **hourly}),
        since=end - 3 * HOUR,
    )  # fmt: skip
    backend.slos.set(olga, PRODUCTION, [Objective("availability", 0.99), Objective("latency", 0.95, 0.1)])
    for back in (3, 2, 1):
        _asked(backend, end - back * HOUR, seed=back, shift=3.0 if back == 1 else 0.0)
    backend.inference_log.flush()
    _measured(backend, datetime.now(UTC))
    _work(backend)
    return end


def columns(rows: int, seed: int) -> dict[str, Any]:
    """Two numbers and a letter."""
    return {"dep_delay": normal(rows, seed), "distance": normal(rows, seed + 50, 10, 2), HOSTILE: letters(rows, seed)}


def _asked(backend: Backend, at: datetime, *, seed: int, shift: float) -> None:
    told = columns(ROWS, 10 * seed)
    scores = normal(ROWS, seed, 0.5, 0.1).clip(0, 1)
    rows = [
        {
            "request_id": f"{seed}-{place}",
            "event_time": at + timedelta(seconds=10 * place),
            "version": 1,
            "assigned_arm": "v1",
            "features": {
                "dep_delay": float(told["dep_delay"][place]) + shift,
                "distance": float(told["distance"][place]) if place % 10 else None,
                HOSTILE: str(told[HOSTILE][place]),
            },
            "prediction": float(scores[place]),
        }
        for place in range(ROWS)
    ]
    outcomes = [
        {"request_id": row["request_id"], "known_at": at + HOUR / 2, "values": {"late": bool(score > 0.5)}}
        for row, score in zip(rows, scores, strict=True)
    ]
    assert backend.inference_log.append(PRODUCTION, rows).rejected == 0
    backend.inference_log.append_outcomes(PRODUCTION, outcomes)


def _measured(backend: Backend, now: datetime) -> None:
    """Two looks at latency and errors of version 1."""
    with backend.database.unit(SYSTEM) as tx:
        place = tx.session.exec(select(Endpoint).where(Endpoint.name == PRODUCTION)).one()
        store(tx, "server:of-tests", [Looked(at, at - timedelta(minutes=5), list(_figures(place.id)))
                                      for at in (now - timedelta(minutes=10), now - timedelta(minutes=5))])  # fmt: skip


def _figures(endpoint_id: str) -> Iterator[Added]:
    def of(metric: str, **more: Any) -> Identity:
        return Identity(endpoint_id, "server:of-tests", "server", metric, "v1", 1, **more)

    yield Added(of("requests"), 100.0)
    yield Added(of("errors"), 3.0)
    yield Added(of("latency", bounds=(0.1, 0.5)), Histogram((0.1, 0.5), (90.0, 10.0, 0.0), 6.0))


def _work(backend: Backend) -> None:
    """What is due of counting and monitors is done, as a worker does."""
    handlers = {counting.KIND: backend.counting.handle, runs.KIND: backend.monitoring.handle}
    for _ in range(100):
        for kind, handle in handlers.items():
            if claims := work.claim(backend.database, kind, holder="tests", seconds=600):
                handle(claims[0])
                break
        else:
            return
    raise AssertionError("there is always something due")
