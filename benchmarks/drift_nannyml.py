"""NannyML's side of the drift benchmark, in an environment of its own. For `benchmarks.children`.

Fitting the calculator on the reference is a call of its own, as the building of our profile is. One chunk: the whole window.
"""

from __future__ import annotations

import os
import resource
import time
from typing import Any

from benchmarks.children import Call

_known: dict[str, Any] = {}


def read(reference: str, current: str) -> dict[str, float]:
    """Reads both files and fits the calculator on the reference, with its four methods for numbers."""
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # it tells its makers of every call, and waits for their answer
    import nannyml
    import pandas as pd

    started = time.process_time()
    frame = pd.read_parquet(reference)
    _known["current"] = pd.read_parquet(current)
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(frame),
        treat_as_categorical=[name for name in frame if name.startswith("text")],
        continuous_methods=["kolmogorov_smirnov", "jensen_shannon", "wasserstein"],
        categorical_methods=["chi2", "jensen_shannon"],
        chunk_number=1,
    )
    _known["calculator"] = calculator.fit(frame)
    return {"cpu": time.process_time() - started}


def score() -> dict[str, float]:
    """The window's scores."""
    started, wall = time.process_time(), time.perf_counter()
    _known["calculator"].calculate(_known["current"])
    return {
        "cpu": time.process_time() - started,
        "wall": time.perf_counter() - wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


CALLS: dict[str, Call] = {"read": read, "score": score}
