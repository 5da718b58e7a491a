"""One look at a comparison: counting and judging requests of two arms by many metrics from the log's files, against pandas.

Both read the same Parquet files, join outcomes to requests, and sum up by unit; what each finds is compared before any figure
is told. Each run is a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from typing import Any

from benchmarks.children import Child
from benchmarks.harness import progress, take_turns
from benchmarks.machine import facts
from benchmarks.results import Figure, Result


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--rows", type=int, default=10_000_000, help="exposures, over both arms (%(default)s)")
    parser.add_argument("--metrics", type=int, default=20, help="errors, slow requests, a loss, and outcomes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each side has its turn (%(default)s)")
    parser.add_argument("--no-pandas", action="store_true", help="leave out pandas, which holds all rows in memory")


def run(options: argparse.Namespace) -> Result:
    """Measures one size."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        progress(f"{options.rows:,} x {options.metrics}: writing the rows")
        with Child("benchmarks.experiments_ours") as child:
            written = child.call("write", root=folder, rows=options.rows, metrics=options.metrics)
        calls = {"countersign": "look"} | ({} if options.no_pandas else {"pandas": "by_pandas"})
        sides = {name: lambda call=call: _turn(call, folder, options.metrics) for name, call in calls.items()}
        found = take_turns(options.rounds, sides)
    _alike(found)
    figures = [
        Figure(what, side, unit, tuple(each[key] for each in turns))
        for side, turns in found.items()
        for what, unit, key in (("one look", "s CPU", "cpu"), ("one look", "s", "wall"), ("peak memory", "MiB", "peak_mib"))
    ]
    cpu = {one.side: one.median for one in figures if one.unit == "s CPU"}
    ratios = {"cpu_ratio_pandas": cpu["pandas"] / cpu["countersign"]} if "pandas" in cpu else {}
    return Result(
        benchmark="experiments",
        settings={name: getattr(options, name) for name in ("rows", "metrics", "rounds")},
        machine=facts(["duckdb", "pyarrow", "numpy", "pandas"]),
        figures=figures,
        ratios=ratios,
        notes=(f"the log's files are {written['mib']:,.0f} MiB; DuckDB may hold 1 GB and spills what is more",),
        headline=ratios,
    )


def _turn(call: str, folder: str, metrics: int) -> dict[str, Any]:
    with Child("benchmarks.experiments_ours") as child:
        found: dict[str, Any] = child.call(call, root=folder, metrics=metrics)
    return found


def _alike(found: dict[str, list[dict[str, Any]]]) -> None:
    """Figures of work that came to something else mean nothing."""
    if "pandas" not in found:
        return
    ours, theirs = found["countersign"][0]["found"], found["pandas"][0]["found"]
    apart = [name for name in theirs if not math.isclose(ours[name], theirs[name], rel_tol=1e-6, abs_tol=1e-9)]
    if apart:
        raise RuntimeError(f"the sides differ in {', '.join(apart)}")
