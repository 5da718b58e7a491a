"""Evidently's side of the drift benchmark, with its defaults. For `benchmarks.children`.

Reading is a call of its own, and the definition of the data is told, so that neither is in what it takes to score.
"""

from __future__ import annotations

import resource
import time
import warnings
from typing import Any

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset

from benchmarks.children import Call

_data: dict[str, Any] = {}


def read(reference: str, current: str) -> dict[str, float]:
    """Reads both files into what Evidently takes."""
    started = time.process_time()
    frames = {"reference": pd.read_parquet(reference), "current": pd.read_parquet(current)}
    texts = [name for name in frames["reference"] if name.startswith("text")]
    numbers = [name for name in frames["reference"] if name not in texts]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    for side, frame in frames.items():
        _data[side] = Dataset.from_pandas(frame, data_definition=definition)
    _data["columns"] = [*numbers, *texts]
    return {"cpu": time.process_time() - started}


def value_drift() -> dict[str, float]:
    """One `ValueDrift` a column: one score each, the one that Evidently chooses."""
    return _run([ValueDrift(column=name) for name in _data["columns"]])


def preset() -> dict[str, float]:
    """`DataDriftPreset`."""
    return _run([DataDriftPreset()])


def _run(metrics: list[Any]) -> dict[str, float]:
    started, wall = time.process_time(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Report(metrics).run(_data["current"], _data["reference"]).dict()
    return {
        "cpu": time.process_time() - started,
        "wall": time.perf_counter() - wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "columns": len(found["metrics"]),
    }


CALLS: dict[str, Call] = {"read": read, "value_drift": value_drift, "preset": preset}
