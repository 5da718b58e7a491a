"""Reading one text of Prometheus metrics: our parser against the official one, on the same text, in turn, in one process.

What they read is compared first. Ours is measured as a worker uses it (a parser a source, which has seen the labels before) and
new for each text.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from backend.metrics.exposition import Parser, parse
from benchmarks.harness import take_turns
from benchmarks.machine import facts
from benchmarks.results import Figure, Result

OURS, NEW, OFFICIAL = "countersign", "countersign, a new parser each time", "prometheus_client"
_NAMES = ("success", "failure", "count", "exec_count", "request_duration_us", "queue_duration_us", "compute_infer_duration_us",
          "pending_request_count")  # fmt: skip
WHAT = "one text"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--series", type=int, default=10_000, help="lines with a figure (%(default)s)")
    parser.add_argument("--times", type=int, default=5, help="texts a round and side (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side has its turn (%(default)s)")


def run(options: argparse.Namespace) -> Result:
    """Compares what both read, then measures each in turn."""
    text = written(options.series)
    _compare(text, options.series)
    known = Parser()
    sides: dict[str, Callable[[], float]] = {
        OURS: lambda: _spent(lambda: known.parse(text), options.times),
        NEW: lambda: _spent(lambda: parse(text), options.times),
        OFFICIAL: lambda: _spent(lambda: [*text_string_to_metric_families(text)], options.times),
    }
    found = take_turns(options.rounds, sides)
    figures = [Figure(WHAT, name, "ms CPU", tuple(seconds * 1e3 for seconds in each)) for name, each in found.items()]
    medians = {one.side: one.median for one in figures}
    return Result(
        benchmark="scrape",
        settings={"series": options.series, "bytes": len(text), "times": options.times, "rounds": options.rounds},
        machine=facts(["prometheus-client"]),
        figures=figures,
        ratios={f"{OFFICIAL} / {name}": medians[OFFICIAL] / medians[name] for name in (OURS, NEW)},
        notes=("The aim is 5 times less than the official parser.", "Both give every sample with its labels and its value."),
    )


def written(series: int) -> str:
    """A text like Triton's: eight figures of each version, with their types."""
    lines, models = list[str](), -(-series // len(_NAMES))
    for name in _NAMES:
        lines += [f"# HELP nv_inference_{name} Told by a benchmark", f"# TYPE nv_inference_{name} gauge"]
        for number in range(models):
            lines.append(
                f'nv_inference_{name}{{model="model-{number // 4}",version="{number % 4 + 1}"}} {number * 17 % 9973}.5'
            )
    kept = [one for one in lines if one.startswith("#")], [one for one in lines if not one.startswith("#")][:series]
    return "\n".join([*kept[0], *kept[1]]) + "\n"


def _compare(text: str, series: int) -> None:
    """RuntimeError where they read different things: then they did not do the same work."""
    ours = sorted((one.name, sorted(one.labels.items()), one.value) for one in parse(text).samples)
    families = text_string_to_metric_families(text)
    theirs = sorted((one.name, sorted(one.labels.items()), one.value) for family in families for one in family.samples)
    if ours != theirs or len(ours) != series:
        raise RuntimeError(f"the parsers read different things: {len(ours)} and {len(theirs)} samples")


def _spent(call: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - began) / times
