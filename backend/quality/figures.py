"""What a user reads: a figure with its interval and with how much is still missing, or the words why there is none. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

LEVEL = 0.95
PROVISIONAL_BELOW = 0.95
"""Share of outcomes that has to be known before a figure counts as settled."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number and how sure it is.

    Args:
        value: the number.
        low, high: its interval, at 95 % unless another level was asked for.
        n: outcomes that it was made of; of an estimate: requests. Of precision and recall those that were called, or came true.
        missing: requests of the same window whose outcome is not known yet.
        estimated: nothing was known of the outcomes; the value rests on assumptions (docs/quality.md).
        method: how the interval was made.
        within: how far the value may lie from the exact one because scores were kept in bins; 0 where it is exact. The interval
            contains it.
        outcomes: known outcomes of the window, where `n` counts only some of them; None where it counts them all.
    """

    value: float
    low: float
    high: float
    n: int
    missing: int = 0
    estimated: bool = False
    method: str = ""
    within: float = 0.0
    outcomes: int | None = None

    @property
    def known(self) -> float:
        """Share of the window's requests whose outcome is known; 0 for an estimate."""
        outcomes = self.n if self.outcomes is None else self.outcomes
        return 0.0 if self.estimated or not outcomes else outcomes / (outcomes + self.missing)

    @property
    def provisional(self) -> bool:
        """Whether so many outcomes are missing that the value may still move by more than its interval says."""
        return self.estimated or self.known < PROVISIONAL_BELOW

    @property
    def label(self) -> str:
        """What has to stand beside the number; "" for a settled one."""
        if self.estimated:
            return "estimated before outcomes are known"
        # Rounded down: 94.9 % known is never shown as the 95 % that would settle it.
        return f"provisional: {math.floor(100 * self.known)} % of outcomes known" if self.provisional else ""


@dataclass(frozen=True, slots=True)
class NotPossible:
    """Why there is no figure, as a value: nothing else fails because of it.

    Args:
        reason: a stable word for machines.
        words: for a person, with what would make it possible.
    """

    reason: str
    words: str


Value = Figure | NotPossible

NO_REQUESTS = NotPossible("no-requests", "No request with a usable prediction lies in this window.")
NO_OUTCOMES = NotPossible("no-outcomes", "No outcome is known yet for the requests of this window.")
ONE_CLASS = NotPossible("one-class", "All known outcomes are the same; this figure needs both kinds.")
NONE_CALLED = NotPossible("none-called", "No prediction with a known outcome reached the threshold.")
NO_POSITIVES = NotPossible("no-positives", "None of the known outcomes is positive.")
CONSTANT = NotPossible("constant-predictions", "All predictions are the same; this figure needs different ones.")


def labelled(value: Value, missing: int) -> Value:
    """The same figure over a window in which so many outcomes are missing."""
    return replace(value, missing=missing) if isinstance(value, Figure) else value
