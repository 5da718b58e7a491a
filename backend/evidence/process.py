"""One check in a process of its own: started without secrets in its arguments, listened to, bounded, ended with its group."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from backend.core import bounded
from backend.core.bounded import Talk, Trouble
from backend.evidence.wire import Doing, Order, Result, line_of, parse_answer
from backend.settings import Settings

_COMMAND = (sys.executable, "-P", "-m", "backend.evidence.child")
_PREFIX = "COUNTERSIGN_"


@dataclass
class Outcome:
    """How a check's process ended.

    Args:
        result: what it answered last; None where it did not answer or `trouble` says why the answer does not count.
        status: exit status, negative for a signal.
        tail: the end of what it wrote to stderr, for the log alone.
    """

    result: Result | None = None
    trouble: Trouble = ""
    status: int = 0
    tail: str = ""


def run(order: Order, environment: Mapping[str, str], *, seconds: float, tick: Callable[[Doing | None], bool]) -> Outcome:
    """Runs one check to its end, to a limit, or until `tick` says False.

    Args:
        seconds: wall clock.
        tick: called about five times a second with the newest progress. An exception of it ends the process and goes on.
    """
    talk: Talk[Doing | Result] = Talk(
        order=line_of(order),
        read=parse_answer,
        is_last=lambda message: isinstance(message, Result),
        tick=lambda newest: tick(newest if isinstance(newest, Doing) else None),
    )
    ended = bounded.run(_COMMAND, environment, talk, seconds=seconds)
    return Outcome(ended.last if isinstance(ended.last, Result) else None, ended.trouble, ended.status, ended.tail)


def environment_of(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment from which `Settings()` reads exactly these settings; nothing else of ours is handed on."""
    kept = {name: value for name, value in inherited.items() if not name.upper().startswith(_PREFIX)}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            told = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            kept[f"{_PREFIX}{name.upper()}"] = told
    return kept
