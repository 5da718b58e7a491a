"""Ten million points in SQLite: what a day's chart takes, of one line and of a whole endpoint, and what writing takes.

Everything goes through the functions that the pages and the worker use. The time that passes is measured, since somebody
waits; and processor time besides, since a machine may be busy.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backend import migrate
from backend.core import memory
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Endpoint, Server
from backend.metrics import queries
from backend.metrics.packed import packed
from backend.metrics.reading import points, rolled, segments, streams_of
from backend.metrics.rows import FINE, RAW, Rolled
from backend.metrics.storing import Identity, series_ids, write
from backend.policy.service import Policies
from benchmarks.harness import progress, take_turns
from benchmarks.machine import facts
from benchmarks.results import Figure, Result

OURS = "countersign"
LINE, CHART, WRITE = "24 h of one line", "24 h of a whole endpoint's chart", "writing one point"
FIGURES = ("requests", "errors", "latency", "covered")
BOUNDS = tuple(float(f"{one:.3g}") for one in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10))
EVERY = 60
Spent = tuple[float, float]
"""Seconds that passed, and of processor time."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--points", type=int, default=10_000_000, help="points in all (%(default)s)")
    parser.add_argument("--endpoints", type=int, default=250, help="endpoints, each with four series (%(default)s)")
    parser.add_argument("--asks", type=int, default=40, help="charts a round, each of another endpoint (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each question has its turn (%(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder in which the database stays, for further runs of the same sizes")


def run(options: argparse.Namespace) -> Result:
    """Fills a database, then asks for a day of one series and of one endpoint."""
    with _folder(options.keep) as folder:
        now = datetime(2026, 3, 2, 9, tzinfo=UTC)
        file = folder / f"points-{options.points}-{options.endpoints}.db"
        wrote = None if file.exists() else _filled(file, options, now)
        size = file.stat().st_size
        database = Database(f"sqlite:///{file}")
        memory.settle()  # as every process that answers does
        asked = random.Random(1)
        sides: dict[str, Callable[[], list[Spent]]] = {
            LINE: lambda: [_line(database, asked.randrange(options.endpoints), now) for _ in range(options.asks)],
            CHART: lambda: [_chart(database, asked.randrange(options.endpoints), now) for _ in range(options.asks)],
        }
        rounds = take_turns(options.rounds, sides)
        database.close()
    figures = [
        Figure(
            f"{what}, {name}",
            OURS,
            unit,
            tuple(1e3 * sorted(spent[of] for spent in one)[int(share * len(one))] for one in each),
        )
        for what, each in rounds.items()
        for of, unit in enumerate(("ms", "ms CPU"))
        for name, share in (("median", 0.5), ("p95", 0.95))
    ]
    return Result(
        benchmark="timeseries",
        settings={name: getattr(options, name) for name in ("points", "endpoints", "asks", "rounds")},
        machine=facts(["sqlalchemy", "sqlmodel"]),
        figures=[
            *figures,
            *(Figure(WRITE, OURS, unit, (one * 1e6,)) for one, unit in zip(wrote or (), ("us", "us CPU"), strict=False)),
            Figure("the file", OURS, "bytes a point", (size / options.points,)),
        ],
        notes=(
            "The aim is 5 ms for 24 h of a chart at 10 million points.",
            "A line is 288 points of five minutes; the chart has four, one a histogram of 14 buckets with its quantiles.",
        ),
    )


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        yield Path(folder)


def _filled(file: Path, options: argparse.Namespace, now: datetime) -> Spent:
    """Fills a database that gets its name when it is whole; what writing one point took."""
    begun = file.with_suffix(".begun")
    begun.unlink(missing_ok=True)
    database = Database(f"sqlite:///{begun}")
    wrote = _fill(database, options, now)
    database.close()
    begun.rename(file)
    return wrote


def _fill(database: Database, options: argparse.Namespace, now: datetime) -> Spent:
    progress("filling the database")
    migrate.upgrade(database)
    Policies(database).seed()
    per_series: int = options.points // (options.endpoints * len(FIGURES))
    ids: list[tuple[str, int]] = []
    with database.unit(SYSTEM) as tx:
        server = Server(id="srv_1", name="s", kind="memory", settings={}, upstream="", created_by=SYSTEM.id, created_at=tx.now)
        tx.record("server.register", tx.add(server))
        tx.session.flush()
        for number in range(options.endpoints):
            row = Endpoint(
                id=f"end_{number}", name=f"e-{number}", environment="production", model="m", server_id="srv_1",
                served_name=f"e-{number}", state_since=tx.now, created_by=SYSTEM.id, created_at=tx.now,
            )  # fmt: skip
            tx.record("endpoint.create", tx.add(row))
        tx.session.flush()
        wanted = [
            Identity(f"end_{number}", "router:r", "router", metric, "" if metric == "covered" else "v1", None, False, (),
                     BOUNDS if metric == "latency" else None)
            for number in range(options.endpoints)
            for metric in FIGURES
        ]  # fmt: skip
        found = series_ids(tx, "router:r", wanted)
        ids = [(one.metric, found[one]) for one in wanted]
        tx.add(Rolled(step=FINE, until=int(now.timestamp()) // FINE * FINE))
    began = _clocks()
    for batch in _batches(ids, per_series, int(now.timestamp())):
        with database.unit(SYSTEM) as tx:
            write(tx, batch)
    passed, cpu = _since(began)
    many = per_series * len(ids)
    return passed / many, cpu / many


def _batches(ids: list[tuple[str, int]], per_series: int, now: int) -> Iterator[list[dict[str, Any]]]:
    """Of each series four parts of looks and one of five minutes, the newest last."""
    counts = packed([5, 9, 40, 80, 60, 30, 9, 4, 2, 1, 0, 0, 0, 0])
    fine = per_series // 5
    for metric, one in ids:
        rows = list[dict[str, Any]]()
        for step, width, many in ((RAW, EVERY, per_series - fine), (FINE, FINE, fine)):
            end = now // width * width
            empty = {"count": None, "low": None, "high": None, "counts": counts if metric == "latency" else None}
            rows += [
                {"series_id": one, "step": step, "at": end - width * (many - 1 - place), "value": float(place % 97), **empty}
                for place in range(many)
            ]
        yield rows


def _clocks() -> Spent:
    return time.perf_counter(), time.process_time()


def _since(began: Spent) -> Spent:
    now = _clocks()
    return now[0] - began[0], now[1] - began[1]


def _line(database: Database, number: int, now: datetime) -> Spent:
    began = _clocks()
    with database.read() as session:
        (stream,) = streams_of(session, f"end_{number}", ["requests"])
        start, end = int((now - timedelta(hours=24)).timestamp()), int(now.timestamp())
        found = list(points(session, stream, segments(FINE, start, end, rolled(session))))
    spent = _since(began)
    if len(found) != 24 * 12:
        raise RuntimeError(f"a day has {len(found)} points")
    return spent


def _chart(database: Database, number: int, now: datetime) -> Spent:
    began = _clocks()
    with database.read() as session:
        found = queries.chart(session, f"e-{number}", now - timedelta(hours=24), now)
    spent = _since(began)
    if len(found.groups[0].moments) != 24 * 12 or not found.groups[0].moments[0].latency:
        raise RuntimeError("a chart lacks something")
    return spent
