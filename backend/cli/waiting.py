"""`--wait SECONDS`: looks again and again until something is so, cannot become so any more, or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import click

from backend.cli.output import note, printable

P = ParamSpec("P")
T = TypeVar("T")

Look = tuple[Literal["reached", "over", "not yet"], str]
"""What a look came to, and what is going on, in a few words."""
_SHORTEST, _LONGEST = 0.2, 1.0


def wait_option(command: Callable[P, T]) -> Callable[P, T]:
    """Adds `--wait`."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0, max=86_400),
        metavar="SECONDS",
        help="Wait until that is reached; exit code 4 if it is not by then.",
    )(command)


def wait_for(look: Callable[[], Look], seconds: float) -> bool:
    """Whether it was reached within `seconds`. What is going on is told on standard error whenever it changes."""
    deadline, pause, told = time.monotonic() + seconds, _SHORTEST, ""
    while True:
        found, says = look()
        if says != told:
            note(printable(says))
            told = says
        left = deadline - time.monotonic()
        if found != "not yet" or left <= 0:
            return found == "reached"
        time.sleep(min(pause, left))
        pause = min(_LONGEST, pause * 1.2)
