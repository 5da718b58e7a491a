"""Lists and alias lookups of a large registry: our mirror's queries against MLflow's own store, and against its REST API.

All three answer from SQLite on the same data, and the answers are compared before anything is measured. The store and our
queries run in processes of their own, which measure themselves; of the REST API the server's CPU is counted, not the client's.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from backend.embedded.mlflow import MlflowServer, start_mlflow
from backend.embedded.supervisor import Supervisor
from benchmarks.children import Child
from benchmarks.harness import progress, spending, take_turns
from benchmarks.machine import facts
from benchmarks.registry_rows import ALIAS, asked_for
from benchmarks.results import Figure, Result

OURS, STORE, REST = "countersign", "mlflow store", "mlflow REST server"
QUESTIONS = {
    "newest_models": "the 100 models changed last",
    "newest_versions": "the 100 newest versions of all models",
    "version_by_alias": "the whole version behind an alias",
    "number_by_alias": "the number behind an alias",
}
SHORTER = "number_by_alias"
"""A question that MLflow has no words for: it is asked for the whole version instead."""

Side = Callable[[str, int], tuple[float, Any]]
"""Asks a question so many times; gives CPU seconds for one and the answer to the first."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--models", type=int, default=10_000, help="registered models (%(default)s)")
    parser.add_argument("--versions", type=int, default=5, help="versions of each (%(default)s)")
    parser.add_argument("--lists", type=int, default=20, help="lists a round and side (%(default)s)")
    parser.add_argument("--lookups", type=int, default=200, help="alias lookups a round and side (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side has its turn (%(default)s)")
    parser.add_argument("--no-rest", action="store_true", help="leave out MLflow's server, which takes half a minute to start")


def run(options: argparse.Namespace) -> Result:
    """Fills the registries alike, compares their answers, and measures each question in turn."""
    figures = list[Figure]()
    with _sides(options) as sides:
        _compare(sides)
        for question, what in QUESTIONS.items():
            progress(what)
            times = options.lists if question.startswith("newest") else options.lookups
            rounds = take_turns(options.rounds, {name: _turn(side, question, times) for name, side in sides.items()})
            figures += [Figure(what, name, "ms CPU", tuple(seconds * 1e3 for seconds in each)) for name, each in rounds.items()]
    return Result(
        benchmark="registry",
        settings={name: getattr(options, name) for name in ("models", "versions", "lists", "lookups", "rounds")},
        machine=facts(["mlflow", "sqlalchemy", "sqlmodel"]),
        figures=figures,
        ratios=_ratios(figures),
        notes=(
            "CPU of one question: of the process that asks the database; of the server alone, without its client, for REST.",
            "MLflow's lists come with the tags of every entry; ours leave those to the page of one version.",
            "MLflow cannot be asked for the number alone: it is compared with the whole version.",
        ),
    )


@contextmanager
def _sides(options: argparse.Namespace) -> Iterator[dict[str, Side]]:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="countersign-bench-")))
        (folder / "mlflow").mkdir()
        ours, store = (opened.enter_context(Child(f"benchmarks.registry_{name}")) for name in ("ours", "peer"))
        progress("filling the registries")
        size = {"models": options.models, "versions": options.versions}
        ours.call("fill", url=f"sqlite:///{folder / 'ours.db'}", **size)
        store.call("fill", url=f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}", **size)
        sides = {OURS: _asking(ours, options.models), STORE: _asking(store, options.models)}
        if not options.no_rest:
            server = start_mlflow(opened.enter_context(Supervisor(folder / "runtimes")), folder / "mlflow")
            client = opened.enter_context(httpx.Client(base_url=f"{server.url}/api/2.0/mlflow", trust_env=False, timeout=60))
            sides[REST] = _requesting(server, client, options.models)
        yield sides


def _compare(sides: Mapping[str, Side]) -> None:
    """RuntimeError where two sides answer one question differently: then they did not do the same work."""
    for question in QUESTIONS.keys() - {SHORTER}:
        answers = {name: side(question, 1)[1] for name, side in sides.items()}
        if any(answer != answers[OURS] for answer in answers.values()):
            raise RuntimeError(f"the answers to {question} differ: {answers}")


def _turn(side: Side, question: str, times: int) -> Callable[[], float]:
    return lambda: side(question, times)[0]


def _asking(child: Child, models: int) -> Side:
    def ask(question: str, times: int) -> tuple[float, Any]:
        found = child.call(question, times=times, models=models)
        return found["cpu"], found["answer"]

    return ask


def _requesting(server: MlflowServer, client: httpx.Client, models: int) -> Side:
    pid = server.child.pid
    if pid is None:
        raise RuntimeError("MLflow's server has ended")

    def ask(question: str, times: int) -> tuple[float, Any]:
        first = _request(client, question, 0, models)
        with spending(pid) as spent:
            for call in range(times):
                _request(client, question, call, models)
        return spent.others / times, first

    return ask


def _request(client: httpx.Client, question: str, call: int, models: int) -> Any:
    """The server's answer, in the form that the other sides give theirs."""
    if question == "newest_models":
        found = _get(client, "registered-models/search", max_results=100, order_by="last_updated_timestamp DESC")
        return [one["name"] for one in found["registered_models"]]
    if question == "newest_versions":
        found = _get(client, "model-versions/search", max_results=100, order_by="creation_timestamp DESC")
        return [[one["name"], int(one["version"])] for one in found["model_versions"]]
    one = _get(client, "registered-models/alias", name=asked_for(call, models), alias=ALIAS)["model_version"]
    tags = {tag["key"]: tag["value"] for tag in one["tags"]}
    return [one["name"], int(one["version"]), one["source"], one["run_id"], tags, one["aliases"]]


def _get(client: httpx.Client, path: str, **parameters: str | int) -> dict[str, Any]:
    found: dict[str, Any] = client.get(path, params=parameters).raise_for_status().json()
    return found


def _ratios(figures: list[Figure]) -> dict[str, float]:
    ours = {figure.what: figure.median for figure in figures if figure.side == OURS}
    peers = [figure for figure in figures if figure.side != OURS]
    return {f"{one.what}: {one.side} / {OURS}": one.median / ours[one.what] for one in peers}
