"""What is measured of an endpoint before a plan: beside the same by hand from the raw rows, and what stays unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.experiments.designs.measured import Measured
from backend.experiments.designs.measuring import Champion, Wanted, measure
from backend.experiments.designs.spec import MetricAsked
from backend.inference_log.service import InferenceLog

END = datetime(2026, 3, 9, 9, tzinfo=UTC)
DAY = timedelta(days=1)
ENDPOINT, CHAMPION = "flight-delay", Champion("v1", 1)
METRICS = (
    MetricAsked(name="errors", kind="errors"),
    MetricAsked(name="slow", kind="slow", above_seconds=0.2),
    MetricAsked(name="p90", kind="latency", quantile=0.9),
    MetricAsked(name="spread", kind="predictions", cuts=(0.3,)),
    MetricAsked(name="late", kind="outcome", outcome="late", horizon_seconds=3_600),
    MetricAsked(name="capped", kind="outcome", outcome="late", cap=(0.2, 0.8)),
    MetricAsked(name="loss", kind="log_loss", outcome="late"),
    MetricAsked(name="brier", kind="brier", outcome="late"),
    MetricAsked(name="apart", kind="absolute_error", outcome="late"),
)
Rows = list[dict[str, Any]]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[InferenceLog]:
    with InferenceLog(tmp_path / "log", clock=lambda: END) as opened:
        yield opened


def rows(units: int = 300, days: int = 3, seed: int = 1) -> tuple[Rows, Rows]:
    """Requests of units that come two or three times a day, and their outcomes."""
    rng, requests, outcomes = np.random.default_rng(seed), [], []
    for unit in range(units):
        own = rng.normal(0, 0.1)
        for place in range(int(rng.integers(1, 3 * days))):
            at = END - float(rng.uniform(0.1, days - 0.1)) * DAY
            failed = bool(rng.random() < 0.05)
            score = float(np.clip(0.5 + own + rng.normal(0, 0.2), 0, 1))
            one = f"{unit}-{place}"
            requests.append({
                "request_id": one, "event_time": at, "unit": f"u{unit}", "assigned_arm": "v1", "version": 1,
                "served_arm": "v1", "failure": "timeout" if failed else "", "latency_seconds": float(rng.exponential(0.1)),
                "prediction": None if failed else score,
            })  # fmt: skip
            if rng.random() < 0.8:
                known_at = at + timedelta(minutes=20)
                outcomes.append({"request_id": one, "known_at": known_at, "values": {"late": rng.random() < score}})
    return requests, outcomes


def put(log: InferenceLog, requests: Rows, outcomes: Rows = ()) -> None:  # type: ignore[assignment]
    assert log.append(ENDPOINT, requests).rejected == 0
    assert log.append_outcomes(ENDPOINT, outcomes).rejected == 0
    log.flush()


def measured(log: InferenceLog, now: datetime = END, **told: Any) -> Measured:
    most = told.pop("most_rows", 2_000_000)
    return measure(log, ENDPOINT, CHAMPION, Wanted(**{"metrics": METRICS, "window_seconds": 0, **told}), now, most_rows=most)


def by_hand(requests: Rows, outcomes: Rows, window: int | None) -> dict[str, tuple[float, float, float]]:
    """Level, unit variance and requests a unit of each metric, by plain loops."""
    came = {one["request_id"]: float(one["values"]["late"]) for one in outcomes}
    times = [one["event_time"] for one in requests]
    end = max(times).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    start = end - (end - min(times)) // DAY * DAY
    latencies = [one["latency_seconds"] for one in requests if one["event_time"] >= start]
    q90 = float(np.quantile(latencies, 0.9))
    clip = lambda p: min(max(p, 2.0**-52), 1 - 2.0**-52)  # noqa: E731
    of: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "errors": lambda r: float(r["failure"] != ""),
        "slow": lambda r: float(r["latency_seconds"] > 0.2),
        "p90": lambda r: float(r["latency_seconds"] > q90),
        "spread": lambda r: float(r["prediction"] < 0.3) if r["prediction"] is not None else None,
        "late": lambda r: came.get(r["request_id"]),
        "capped": lambda r: min(max(came[r["request_id"]], 0.2), 0.8) if r["request_id"] in came else None,
        "loss": lambda r: -math.log(clip(r["prediction"]) if came[r["request_id"]] else 1 - clip(r["prediction"])),
        "brier": lambda r: (r["prediction"] - came[r["request_id"]]) ** 2,
        "apart": lambda r: abs(r["prediction"] - came[r["request_id"]]),
    }
    losses = ("loss", "brier", "apart")
    units: dict[Any, Rows] = {}
    for one in sorted(requests, key=lambda r: (r["event_time"], r["request_id"])):
        if one["event_time"] >= start:
            day = (one["event_time"] - start) // DAY if window is None else 0
            units.setdefault((one["unit"], day), []).append(one)
    found = {}
    for name, value in of.items():
        horizon = 3_600 if name == "late" else 0
        v, d = [], []
        for mine in units.values():
            first = mine[0]["event_time"]
            if window is None:
                kept = [r for r in mine if r["event_time"] + timedelta(seconds=horizon) <= END]
            elif first + timedelta(seconds=window + horizon) > END:
                continue
            else:
                kept = mine[:1] if window == 0 else [r for r in mine if r["event_time"] <= first + timedelta(seconds=window)]
            if name in losses:
                kept = [r for r in kept if r["request_id"] in came and r["prediction"] is not None]
            values = [one for r in kept if (one := value(r)) is not None]
            if values:
                v.append(sum(values))
                d.append(len(values))
        va, da = np.array(v), np.array(d, dtype=float)
        ratio = va.sum() / da.sum()
        found[name] = (ratio, float(np.var((va - ratio * da) / da.mean(), ddof=1)), float(da.mean()))
    return found


@pytest.mark.parametrize("window", [0, 36 * 3_600, None])
def test_levels_and_variances_are_those_of_the_raw_rows(log: InferenceLog, window: int | None) -> None:
    told = rows()
    put(log, *told)
    found, wanted = measured(log, window_seconds=window), by_hand(*told, window)
    for name, (level, variance, requests) in wanted.items():
        one = found.metrics[name]
        if name == "p90":
            assert one.level == pytest.approx(np.quantile([r["latency_seconds"] for r in told[0]], 0.9), rel=0.05)
        else:
            assert one.level == pytest.approx(level), name
        assert (one.unit_variance, one.requests) == (pytest.approx(variance), pytest.approx(requests)), name
