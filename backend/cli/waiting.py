"""`--wait SECONDS`: looks again and again until something is so, cannot become so any more, or the time is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from backend.cli.exits import DONE, EXPIRED, NO, REJECTED, TIME_OVER
from backend.cli.output import note, printable

if TYPE_CHECKING:
    from backend.client.waiting import End, Outcome

P = ParamSpec("P")
T = TypeVar("T")

_ENDS: Mapping[End, int] = {
    "reached": DONE,
    "rejected": REJECTED,
    "expired": EXPIRED,
    "over": NO,
    "time over": TIME_OVER,
}


def wait_option(command: Callable[P, T]) -> Callable[P, T]:
    """Adds `--wait`."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0, max=30 * 86_400),
        metavar="SECONDS",
        help="Wait until that is reached; exit code 4 to 7 says why it is not.",
    )(command)


def told(says: str) -> None:
    """What is going on, on standard error, whenever it changes."""
    note(printable(says))


def exit_of(outcome: Outcome) -> int:
    """The exit code that tells how waiting ended."""
    return _ENDS[outcome.end]
