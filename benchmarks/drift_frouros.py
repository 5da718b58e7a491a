"""frouros' side of the drift benchmark, in an environment of its own. For `benchmarks.children`.

Its batch detectors for numbers, one a column: PSI, Jensen-Shannon, the earth mover's distance and Kolmogorov-Smirnov. It has
chi-squared for texts.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from benchmarks.children import Call

_known: dict[str, Any] = {}


def read(reference: str, current: str) -> dict[str, float]:
    """Reads both files and fits the detectors on the reference."""
    import pyarrow.parquet as pq
    from frouros.detectors.data_drift.batch import EMD, JS, PSI, ChiSquareTest, KSTest

    started = time.process_time()
    sides = [pq.read_table(path) for path in (reference, current)]
    _known["pairs"] = []
    for name in sides[0].column_names:
        columns = [one[name].drop_null().to_numpy() for one in sides]
        for kind in (ChiSquareTest,) if name.startswith("text") else (PSI, JS, EMD, KSTest):
            detector = kind()
            detector.fit(X=columns[0])
            _known["pairs"].append((detector, columns[1]))
    return {"cpu": time.process_time() - started}


def score() -> dict[str, float]:
    """The window's scores."""
    started, wall = time.process_time(), time.perf_counter()
    for detector, values in _known["pairs"]:
        detector.compare(X=values)
    return {
        "cpu": time.process_time() - started,
        "wall": time.perf_counter() - wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


CALLS: dict[str, Call] = {"read": read, "score": score}
