"""The rows of the benchmark of experiments: a log of requests of two arms, with as many outcomes as metrics, written as Parquet
files at the places where the log has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backend.delivery.comparison import Comparison
from backend.experiments.comparing.counts import Asked, Stratum
from backend.inference_log import layout
from backend.inference_log.layout import Partition

ENDPOINT, GENERATION, ARMS = "bench", 1, ("v1", "v2")
BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
REQUESTS_A_UNIT = 4
HOURS = 24


def write(root: str, rows: int, metrics: int, *, seed: int = 5) -> dict[str, float]:
    """Writes a day of requests and their outcomes; one unit comes four times on average."""
    random, size = np.random.default_rng(seed), 0
    for hour in range(HOURS):
        many = rows // HOURS
        at = BEGAN + timedelta(hours=hour)
        unit = random.integers(0, max(rows // REQUESTS_A_UNIT, 2), many)
        ids = pa.array(np.char.add(f"{hour:02}-", np.arange(many).astype(str)))
        times = pa.array(
            int(at.timestamp() * 1e6) + np.sort(random.integers(0, 3_600_000_000, many)), pa.timestamp("us", "UTC")
        )
        for arm, name in enumerate(ARMS):
            mine = pa.array(unit % 2 == arm)
            told = {
                "event_time": times,
                "received_at": times,
                "request_id": ids,
                "unit": pa.array(unit.astype(str)),
                "bucket": pa.array((unit % 10_000).astype(np.int32)),
                "assigned_arm": pa.array([name] * many),
                "served_arm": pa.array([name] * many),
                "generation": pa.array(np.full(many, GENERATION)),
                "version": pa.array(np.full(many, arm + 1, dtype=np.int32)),
                "prediction": pa.array(random.random(many)),
                "latency_seconds": pa.array(random.lognormal(-3, 0.5, many)),
                "failure": pa.array(np.where(random.random(many) < 0.01, "timeout", "")),
            }
            size += _put(root, Partition("requests", ENDPOINT, arm + 1, at), pa.table(told).filter(mine))
        outcomes = {"known_at": times, "received_at": times, "request_id": ids}
        outcomes |= {f"o.y{n}": pa.array(random.normal(size=many) + 0.01 * n) for n in range(metrics - 3)}
        size += _put(root, Partition("outcomes", ENDPOINT, None, at), pa.table(outcomes))
    return {"mib": size / 2**20}


def asked(metrics: int) -> Asked:
    """What is compared: errors, slow requests, a mean loss, and means of outcomes."""
    told = [
        {"name": "errors", "kind": "errors"},
        {"name": "slow", "kind": "slow", "above_seconds": 0.1},
        {"name": "loss", "kind": "squared_error", "outcome": "y0"},
        *({"name": f"y{n}", "kind": "outcome", "outcome": f"y{n}"} for n in range(metrics - 3)),
    ]
    comparison = Comparison.model_validate(
        {"control": "v1", "metrics": told, "guardrails": [{"metric": "errors", "margin": 0.01, "eta": 100.0}]}
    )
    stratum = Stratum(GENERATION, dict.fromkeys(ARMS, 5_000), BEGAN)
    return Asked(ENDPOINT, comparison, ARMS, (stratum,), BEGAN, BEGAN + timedelta(hours=HOURS))


def _put(root: str, partition: Partition, table: pa.Table) -> int:
    folder = Path(root, partition.folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / layout.data_name("part", layout.new_stem(BEGAN + timedelta(days=2)))
    pq.write_table(table, path, compression="zstd")
    return path.stat().st_size
