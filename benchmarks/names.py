"""The benchmarks by name. A new one is a module here with `add_options` and `run`, and its line below."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Protocol, cast

from benchmarks.results import Result

BENCHMARKS = {
    "registry": "lists and alias lookups at 10,000 models x 5 versions, against MLflow's own store and its REST API",
    "scheduling": "registering, claiming and finishing 10,000 due items, against APScheduler with a SQL job store",
    "delivery": "from the approval to the proof on Triton behind Envoy, with 1,000 other endpoints, against a load by hand",
    "access": "permission and token checks, lists as far as one may see them, and the API's list of 100 models under load",
    "drift": "all scores of 100,000 x 50 and more against Evidently's ValueDrift and preset, and if asked NannyML and frouros",
    "scrape": "reading one text of 10,000 Prometheus series, against the official parser",
    "timeseries": "a day's chart out of 10 million points in SQLite",
    "aa_simulation": "2,000 A/A experiments of each kind looked at on every tick: false alarms; planted regressions",
    "xds": "a push by ADS to 200 simulated Envoys and two real ones, beside files for the two",
    "answers": "what a caller waits for and Envoy spends where the answers of a shadow are heard, against where they are not",
    "experiments": "one look at 10 million exposures of two arms by 20 metrics, against pandas on the same raw rows",
    "web": "every page over 10,000 models, 1,000 endpoints and 5,000 changes in Chromium, against MLflow's list of models",
}


class Benchmark(Protocol):
    """What a benchmark's module has. It imports its libraries in `run`, so that `--help` costs nothing."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Its sizes, each with a default."""

    def run(self, options: argparse.Namespace) -> Result:
        """Measures. Progress goes to standard error."""


def load(name: str) -> Benchmark:
    """The benchmark of that name."""
    return cast(Benchmark, import_module(f"benchmarks.{name}"))
