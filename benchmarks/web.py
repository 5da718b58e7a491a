"""Every page of the web app over a large installation, in Chromium, against MLflow's own list of models in the same Chromium.

The web app, the worker and MLflow run as they do under `countersign up`, as children of one group; both sides hold the same
models and versions. Times are what somebody waits: from asking for an address, or clicking, until the page is drawn whole and
nothing is still being drawn. Warm: the browser has the application's files and the identity already, and the tab is at the site
(pages ask for a process of their own by `Cross-Origin-Opener-Policy`, which a tab from elsewhere waits for: measured apart).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks.children import Child
from benchmarks.harness import progress, take_turns
from benchmarks.machine import facts
from benchmarks.registry_rows import model_name
from benchmarks.results import Figure, Result

T = TypeVar("T")
OURS, PEER = "countersign", "mlflow"
IDENTITY = "otto"
LIST = "list of models"
SETTINGS = {
    "COUNTERSIGN_DEMO_IDENTITIES": "true",
    "COUNTERSIGN_ALLOWED_NETWORKS": "127.0.0.0/8",
    "COUNTERSIGN_OBSERVE_SECONDS": "1000000",  # nobody looks at these servers, and what was seen shall not be stale
}
SIZES = ("models", "versions", "endpoints", "changes", "rounds", "clicks", "sessions", "seconds")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--models", type=int, default=10_000, help="registered models (%(default)s)")
    parser.add_argument("--versions", type=int, default=10, help="versions of each (%(default)s)")
    parser.add_argument("--endpoints", type=int, default=1_000, help="endpoints (%(default)s)")
    parser.add_argument("--changes", type=int, default=5_000, help="changes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="loads of each page (%(default)s)")
    parser.add_argument("--clicks", type=int, default=20, help="clicks on each list (%(default)s)")
    parser.add_argument("--sessions", type=int, default=50, help="live sessions at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the sessions are measured (%(default)s)")
    parser.add_argument("--no-peer", action="store_true", help="leave out MLflow, which takes half a minute to start")


def run(options: argparse.Namespace) -> Result:
    """Fills both sides alike, starts them, and measures page by page."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as name, _started(Path(name), options) as sides:
        figures = [*sides.starting, *_pages(sides, options), *_sessions(sides, options)]
        figures += sides.memory("after all of it")
    return Result(
        benchmark="web",
        settings={each: getattr(options, each) for each in SIZES},
        machine=facts(["streamlit", "mlflow", "playwright", "sqlmodel", "fastapi"]),
        figures=figures,
        ratios=_ratios(figures),
        notes=(
            "Wall time, in one Chromium on the machine that also serves: a busy machine raises all of it.",
            "The rows were copied straight into SQLite from a small installation; no ledger row speaks of the copies.",
            "p95 is the nearest rank of all values of that line.",
            "Memory is PSS (shared pages divided among those who share them), children included.",
        ),
    )


@dataclass(frozen=True)
class Sides:
    """What runs, and what starting it took."""

    url: str
    peer_url: str | None
    pids: Mapping[str, int]
    starting: tuple[Figure, ...]

    def memory(self, when: str) -> list[Figure]:
        """MiB of each of our processes, and of both."""
        each = {name: _mebibytes(pid) for name, pid in self.pids.items()}
        found = {**each, " and ".join(each): sum(each.values())}
        return [Figure(f"memory of {what}, {when}", OURS, "MiB", (value,)) for what, value in found.items()]


@contextmanager
def _started(folder: Path, options: argparse.Namespace) -> Iterator[Sides]:
    """Our web app and worker and, if it is wanted, MLflow, each over its own SQLite with the same registry."""
    from backend.embedded.mlflow import start_mlflow
    from backend.embedded.own import start_web, web_port, worker_spec
    from backend.embedded.supervisor import Supervisor
    from benchmarks import web_rows

    data = folder / "data"
    progress("filling the installation")
    web_rows.fill(data, models=options.models, versions=options.versions, endpoints=options.endpoints, changes=options.changes)
    with ExitStack() as opened:
        group = opened.enter_context(Supervisor(folder / "runtimes"))
        settings = {**SETTINGS, "COUNTERSIGN_DATA_DIR": str(data)}
        progress("starting the web app and the worker")
        began = time.perf_counter()
        web = start_web(group, folder, web_port(0, folder / "runtimes"), settings)
        ready = time.perf_counter() - began
        worker = group.start(worker_spec(folder, settings))
        peer = None
        if not options.no_peer:
            progress("filling and starting MLflow")
            _fill_peer(folder / "mlflow", options)
            peer = start_mlflow(group, folder / "mlflow").url
        time.sleep(3)  # until both have imported what they need when nobody asks
        pids = {"web app": web.child.pid or 0, "worker": worker.pid or 0}
        sides = Sides(web.url, peer, pids, ())
        starting = (Figure("start until it answers", OURS, "s", (ready,)), *sides.memory("idle"))
        yield replace(sides, starting=starting)


def _fill_peer(folder: Path, options: argparse.Namespace) -> None:
    folder.mkdir()
    with Child("benchmarks.registry_peer") as child:
        child.call("fill", url=f"sqlite:///{folder / 'mlflow.db'}", models=options.models, versions=options.versions)


def _pages(sides: Sides, options: argparse.Namespace) -> list[Figure]:
    """Loads and navigation of every page; the list of models takes turns with MLflow's."""
    from app.menu import PAGES
    from benchmarks.web_browser import browsing

    figures = list[Figure]()
    with browsing(sides.url, sides.peer_url, IDENTITY) as seen:
        for entry in PAGES:
            progress(entry.title)
            load = partial(seen.load, _address(entry.file, options, default=entry is PAGES[0]))
            figures += _loads(entry.title, _measured(load, options.rounds))
            if not entry.hidden:
                figures.append(_navigation(seen, entry.title, PAGES[0].title, PAGES[1].title, options.rounds))
            if clicks := seen.clicks(options.clicks):
                figures += _told(f"{entry.title}: from a click to the change", clicks)
        if sides.peer_url is not None and any(entry.file == "models" for entry in PAGES):
            figures += _against(seen, options.rounds)
    return figures


def _navigation(seen: Any, title: str, first: str, second: str, rounds: int) -> Figure:
    """Through the menu, from another page each time."""
    away = first if title != first else second

    def once() -> float:
        seen.go(away)
        return float(seen.go(title))

    return Figure(f"{title}: in the app", OURS, "s", _measured(once, rounds))


def _against(seen: Any, rounds: int) -> list[Figure]:
    """Both lists of models, in turn, first loaded and then reached within the application."""
    progress("both lists of models, in turn")
    loads = take_turns(rounds, {OURS: lambda: float(seen.load("/models").whole), PEER: seen.load_peer})
    tabs = take_turns(rounds, {OURS: lambda: float(seen.load_in_new_tab("/models").whole), PEER: seen.load_peer_in_new_tab})
    steps = take_turns(rounds, {OURS: lambda: _step(seen), PEER: seen.go_peer})
    return [
        *(Figure(f"{LIST}, in turn: warm load", side, "s", tuple(each)) for side, each in loads.items()),
        *(Figure(f"{LIST}, in turn: in a new tab", side, "s", tuple(each)) for side, each in tabs.items()),
        *(Figure(f"{LIST}, in turn: in the app", side, "s", tuple(each)) for side, each in steps.items()),
    ]


def _step(seen: Any) -> float:
    seen.load("/audit")
    return float(seen.go("Models"))


def _sessions(sides: Sides, options: argparse.Namespace) -> list[Figure]:
    """Runs of many live sessions at once."""
    from benchmarks.web_browser import cookie_of
    from benchmarks.web_sessions import measure

    progress(f"{options.sessions} live sessions")
    cookie = cookie_of(sides.url, IDENTITY)
    runs = measure(sides.url, cookie, sessions=options.sessions, seconds=options.seconds)
    return [*_told("live sessions: first run of the page", runs.first), *_told("live sessions: a refresh", runs.later)]


def _address(file: str, options: argparse.Namespace, *, default: bool) -> str:
    """Where a page is; details are of something in the middle of the installation."""
    from tests.installations import PRODUCTION

    model = model_name(options.models // 2)
    queries = {
        "model": f"?model={model}&version={options.versions}",
        "change": f"?change={max(1, options.changes // 2)}",
        "endpoint": f"?endpoint={PRODUCTION}",  # of the small installation, with a history of its own
        "propose": f"?endpoint={PRODUCTION}",
        "server": "?server=server-000",
        "ledger_row": "?row=20",
    }
    return "/" if default else f"/{file}{queries.get(file, '')}"


def _loads(title: str, loads: Sequence[Any]) -> list[Figure]:
    return [
        Figure(f"{title}: warm load, readable", OURS, "s", tuple(one.readable for one in loads)),
        Figure(f"{title}: warm load, whole", OURS, "s", tuple(one.whole for one in loads)),
    ]


def _measured(once: Callable[[], T], rounds: int) -> tuple[T, ...]:
    """One unmeasured, then the rounds."""
    once()
    return tuple(once() for _ in range(rounds))


def _told(what: str, seconds: list[float]) -> list[Figure]:
    """All values in milliseconds, and their 95th hundredth."""
    values = tuple(each * 1e3 for each in seconds)
    return [Figure(what, OURS, "ms", values), Figure(f"{what}, p95", OURS, "ms", (_rank(values, 0.95),))] if values else []


def _rank(values: tuple[float, ...], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)]


def _ratios(figures: list[Figure]) -> dict[str, float]:
    ours = {one.what: one.median for one in figures if one.side == OURS}
    peers = [one for one in figures if one.side == PEER]
    return {f"{one.what}: {one.side} / {OURS}": one.median / ours[one.what] for one in peers}


def _mebibytes(pid: int) -> float:
    process = psutil.Process(pid)
    pages = [float(one.memory_full_info().pss) for one in (process, *process.children(recursive=True))]
    return sum(pages) / 2**20
