"""What asking costs: the rule alone, a whole check in an open unit, a token, narrowed lists; and the API's list under load.

The list is asked for at a steady rate, whatever the answers take (an open loop), of a server in a process of its own. It is
measured from the moment at which a request was due to the end of its answer, so that waiting in a queue counts.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any

import httpx

from benchmarks.children import Child
from benchmarks.harness import progress, take_turns
from benchmarks.machine import facts
from benchmarks.results import Figure, Result

PEOPLE = {"everywhere": "role everywhere", "team": "role on a team's models"}
CHECKS = {
    "rule": "a permission check: the decision, on grants at hand",
    "check": "a permission check: identity and grants read, and the decision",
    "token": "a token check",
}
LISTS = {"listing": "the first 100 models", "count": "the number of models"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--models", type=int, default=10_000, help="registered models (%(default)s)")
    parser.add_argument("--versions", type=int, default=5, help="versions of each (%(default)s)")
    parser.add_argument("--owned", type=int, default=200, help="models that the team owns (%(default)s)")
    parser.add_argument("--checks", type=int, default=1_000, help="checks a round (%(default)s)")
    parser.add_argument("--lists", type=int, default=50, help="lists a round and person (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a round of them lasts (%(default)s)")


def run(options: argparse.Namespace) -> Result:
    """Fills an installation and measures each question in turn."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder, Child("benchmarks.access_ours") as child:
        progress(f"filling an installation with {options.models} models")
        child.call("fill", folder=folder, models=options.models, versions=options.versions, owned=options.owned)
        if (sees := child.call("seen", who="team")) != min(options.owned, options.models):
            raise RuntimeError(f"the member of the team sees {sees} models")
        figures = [*_checks(child, options), *_lists(child, options), *_load(child, options)]
    return Result(
        benchmark="access",
        settings={one: getattr(options, one) for one in ("models", "versions", "owned", "checks", "lists", "rate", "seconds")},
        machine=facts(["fastapi", "sqlalchemy", "uvicorn"]),
        figures=figures,
        notes=(
            "Checks and lists are CPU of the process that asks SQLite. A list includes opening and narrowing its look.",
            "Under load the client runs on the same machine as the server; requests that come while it is busy wait in line.",
        ),
    )


def _checks(child: Child, options: argparse.Namespace) -> list[Figure]:
    progress("checks")
    sides = {name: _turn(child, name, times=options.checks) for name in CHECKS}
    rounds = take_turns(options.rounds, sides)
    return [Figure(CHECKS[name], "countersign", "us CPU", tuple(one * 1e6 for one in each)) for name, each in rounds.items()]


def _lists(child: Child, options: argparse.Namespace) -> list[Figure]:
    figures = []
    for name, what in LISTS.items():
        progress(what)
        rounds = take_turns(options.rounds, {who: _turn(child, name, times=options.lists, who=who) for who in PEOPLE})
        figures += [Figure(what, PEOPLE[who], "ms CPU", tuple(one * 1e3 for one in each)) for who, each in rounds.items()]
    return figures


def _load(child: Child, options: argparse.Namespace) -> list[Figure]:
    served = child.call("serve")
    figures = []
    for who, side in PEOPLE.items():
        progress(f"the API at {options.rate:g} requests a second, {side}")
        asyncio.run(_asked(served, who, options.rate, min(2.0, options.seconds)))  # warm
        rounds = [asyncio.run(_asked(served, who, options.rate, options.seconds)) for _ in range(options.rounds)]
        for share, named in ((50, "p50"), (99, "p99")):
            values = tuple(quantiles(each, n=100)[share - 1] * 1e3 for each in rounds)
            figures.append(Figure(f"the API's list of 100 models, {named}", side, "ms", values))
    return figures


async def _asked(served: dict[str, Any], who: str, rate: float, seconds: float) -> list[float]:
    """Seconds from when each request was due to the end of its answer. RuntimeError for any other answer than 200."""
    headers = {"authorization": f"Bearer {served['tokens'][who]}"}
    begin = time.perf_counter() + 0.05
    async with httpx.AsyncClient(base_url=served["url"], headers=headers, trust_env=False, timeout=30) as client:
        due = [begin + number / rate for number in range(max(3, round(rate * seconds)))]
        return list(await asyncio.gather(*(_one(client, moment) for moment in due)))


async def _one(client: httpx.AsyncClient, due: float) -> float:
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    answer = await client.get("/models", params={"limit": 100})
    if answer.status_code != 200 or not answer.json()["items"]:
        raise RuntimeError(f"the API answered {answer.status_code}")
    return time.perf_counter() - due


def _turn(child: Child, name: str, **arguments: Any) -> Callable[[], float]:
    return lambda: float(child.call(name, **arguments))
