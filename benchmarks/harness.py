"""Measuring: CPU seconds of a block or of other processes, and rounds in which the sides take turns.

CPU seconds and not wall time, because they mean the same on a machine that others use too. The sides take turns within each
round, and swap who goes first from round to round, so that a busy minute falls on both.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import psutil

S = TypeVar("S")


@dataclass
class Spent:
    """What a block took.

    Args:
        cpu: seconds of this process, all its threads.
        others: seconds of the processes that were watched, with all their children.
        wall: seconds that passed.
    """

    cpu: float = 0.0
    others: float = 0.0
    wall: float = 0.0


@contextmanager
def spending(*others: int) -> Iterator[Spent]:
    """Measures a block; the figures are there once it is over. `others`: process ids to watch, to 0.01 s."""
    spent = Spent()
    watched, wall, cpu = sum(map(cpu_of, others)), time.perf_counter(), time.process_time()
    yield spent
    spent.cpu, spent.wall = time.process_time() - cpu, time.perf_counter() - wall
    spent.others = sum(map(cpu_of, others)) - watched


def progress(what: str) -> None:
    """Says on standard error what is going on; standard output is for results."""
    print(f"  {what}", file=sys.stderr, flush=True)


def cpu_of(pid: int) -> float:
    """CPU seconds that a process and all its descendants, the ended ones that were waited for included, have used so far."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it ended just now; its parent has its time, or will have it
        total += times.user + times.system + times.children_user + times.children_system
    return total


def take_turns(rounds: int, sides: Mapping[str, Callable[[], S]]) -> dict[str, list[S]]:
    """Runs every side once a round, the first one last in the next round, and returns what each gave by side."""
    found: dict[str, list[S]] = defaultdict(list)
    names = list(sides)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            found[name].append(sides[name]())
    return dict(found)
