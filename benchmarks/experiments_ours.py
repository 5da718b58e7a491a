"""One look at a comparison, and the same by pandas from the same raw rows. For `benchmarks.children`."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.experiments.comparing.counting import count
from backend.experiments.comparing.judging import Before, judge
from backend.inference_log.service import InferenceLog
from benchmarks import experiments_rows
from benchmarks.children import Call


def look(root: str, metrics: int) -> dict[str, Any]:
    """Counts and judges once; differences by metric."""
    return _measured(lambda: _ours(root, metrics))


def by_pandas(root: str, metrics: int) -> dict[str, Any]:
    """Reads the same columns, joins outcomes, sums up by unit, and takes ratios with the delta method."""
    return _measured(lambda: _pandas(root, metrics))


def _ours(root: str, metrics: int) -> dict[str, float]:
    with InferenceLog(Path(root)) as log:
        found = count(log, experiments_rows.asked(metrics))
        if found is None:
            raise RuntimeError("nothing was found in the log")
        figures = judge(found, {}, Before()).figures
    return {one.metric: one.difference or 0.0 for one in figures.effects}


def _pandas(root: str, metrics: int) -> dict[str, float]:
    import numpy as np
    import pandas as pd

    columns = ["request_id", "unit", "assigned_arm", "prediction", "latency_seconds", "failure"]
    requests = pd.concat(pd.read_parquet(one, columns=columns) for one in sorted(Path(root).glob("requests/**/*.parquet")))
    outcomes = pd.concat(pd.read_parquet(one) for one in sorted(Path(root).glob("outcomes/**/*.parquet")))
    rows = requests.merge(outcomes.drop(columns=["known_at", "received_at"]), on="request_id", how="left")
    values = {
        "errors": (rows["failure"] != "").astype(float),
        "slow": (rows["latency_seconds"] > 0.1).astype(float),
        "loss": (rows["prediction"] - rows["o.y0"]) ** 2,
        **{f"y{n}": rows[f"o.y{n}"] for n in range(metrics - 3)},
    }
    wide = pd.DataFrame(values).assign(unit=rows["unit"], arm=rows["assigned_arm"])
    by_unit = wide.groupby(["unit", "arm"]).agg(["sum", "count"]).reset_index()
    found = dict[str, float]()
    for name in values:
        levels, variance = [], 0.0
        for arm in experiments_rows.ARMS:
            mine = by_unit[by_unit["arm"] == arm][name]
            level = mine["sum"].sum() / mine["count"].sum()
            residual = (mine["sum"] - level * mine["count"]) / mine["count"].mean()
            levels.append(level)
            variance += residual.var() / len(residual)
        found[name] = float(levels[1] - levels[0])
        if not np.isfinite(variance):
            raise RuntimeError(f"{name} has no variance")
    return found


def _measured(work: Callable[[], dict[str, float]]) -> dict[str, Any]:
    started, wall = time.process_time(), time.perf_counter()
    found = work()
    return {
        "cpu": time.process_time() - started,
        "wall": time.perf_counter() - wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "found": found,
    }


CALLS: dict[str, Call | Any] = {"write": experiments_rows.write, "look": look, "by_pandas": by_pandas}
