"""Waiting for what others decide or a worker does: patiently, over lost connections, to one of few clear ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from backend.client.errors import ClientError, OtherSystemFailed, TooOften, Unreachable
from backend.client.results import Change

End = Literal["reached", "rejected", "expired", "over", "time over"]
"""`reached`; `rejected`: somebody said no (rejected, withdrawn, revoked); `expired`: nobody decided, or started it, in time;
`over`: it ended otherwise and does not come by itself any more; `time over`: it may still come."""
Look: TypeAlias = tuple[End | None, str]
"""What a look came to, None while it may still come; and what is going on, in a few words."""

_CHECKED = frozenset({"review", "approved", "applying", "done"})
_DECIDED = frozenset({"approved", "applying", "done"})
_GOALS = {
    "checked": _CHECKED,
    "decided": _DECIDED,
    "live": frozenset({"done"}),
    "rolled_back": frozenset({"rolled_back"}),
}
_SAID_NO = frozenset({"rejected", "withdrawn", "revoked"})
_OVER = frozenset({"suspended", "failed", "blocked", "superseded", "rolled_back"})
SHORTEST, LONGEST = 0.5, 10.0


@dataclass(frozen=True)
class Clock:
    """Seconds that only grow, and how a pause is made; `longest` bounds the pause between two looks."""

    now: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    shortest: float = SHORTEST
    longest: float = LONGEST


@dataclass(frozen=True)
class Outcome:
    """How waiting ended, and what was last going on."""

    end: End
    says: str

    @property
    def reached(self) -> bool:
        """Whether what was waited for is so."""
        return self.end == "reached"


def judged(change: Change, goal: str) -> Look:
    """What a look at a change comes to."""
    line = change.line
    says = f"{line.state}: {line.state_reason}" if line.state_reason else line.state
    return end_of(line.state, goal), says


def end_of(state: str, goal: str) -> End | None:
    """To what a state ends the wait for a goal; None while it goes on."""
    if state in _GOALS[goal]:
        return "reached"
    if goal == "rolled_back":
        return None
    if state in _SAID_NO:
        return "rejected"
    if state == "expired":
        return "expired"
    return "over" if state in _OVER else None


def wait(
    look: Callable[[], Look], seconds: float, *, told: Callable[[str], None] | None = None, clock: Clock | None = None
) -> Outcome:
    """Looks again and again.

    A server that cannot be reached, is busy, or lost its database meanwhile is asked again; what it says no to is raised. Where
    nobody could be asked when the time is over, that failure is raised: nothing is known then.
    """
    by = clock or Clock()
    deadline, pause, last, failure = by.now() + seconds, by.shortest, "", None
    while True:
        end, says, failure = _look(look)
        if told is not None and says != last:
            told(says)
        last = says
        left = deadline - by.now()
        if end is not None:
            return Outcome(end, says)
        if left <= 0:
            if failure is not None:
                raise failure
            return Outcome("time over", says)
        by.sleep(min(pause, left))
        pause = min(by.longest, pause * 1.3)


def _look(look: Callable[[], Look]) -> tuple[End | None, str, ClientError | None]:
    try:
        end, says = look()
    except (Unreachable, TooOften, OtherSystemFailed) as failure:
        return None, failure.message, failure
    return end, says, None
