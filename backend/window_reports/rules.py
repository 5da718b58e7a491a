"""What may be asked of a window report, and the states of one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from backend.core.errors import Refusal
from backend.core.machine import Machine

Part = Literal["drift", "summary", "classification", "regression"]
PARTS: tuple[Part, ...] = get_args(Part)
NEED_OUTCOMES = frozenset({"classification", "regression"})

LONGEST = timedelta(days=31)
"""Of a window, and of a reference: all of it is read to draw the sample."""
WEEK = timedelta(weeks=1)
FIRST_YEAR = 1970
LEAST_ROWS, MOST_ROWS, ROWS = 100, 20_000, 5_000
MOST_FEATURES = 100
MOST_UNFINISHED, MOST_KEPT, MOST_OF_MONITORS = 5, 50, 20
"""Of one endpoint: reports that wait or are being made; reports that people asked for; reports that monitors had made."""
MOST_BEGINS = 3
"""How often a report is begun before it counts as one that takes its worker down."""
LONGEST_NAME = 256

REPORT = Machine(
    noun="window report",
    initial="queued",
    states=("queued", "running", "done", "failed"),
    table={
        ("queued", "begin"): "running",
        ("running", "begin"): "running",  # the worker that made it is gone; another begins again
        ("running", "done"): "done",
        ("running", "fail"): "failed",
    },
    remedies={"done": "Ask for another report.", "failed": "Ask for another report."},
)
UNFINISHED = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Side:
    """Which requests: those from `start` on and before `end`, of one version and arm where they are named."""

    start: datetime
    end: datetime
    version: int | None = None
    arm: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One report as it was asked for.

    Args:
        current: the window.
        reference: what it is compared with; None for the same hours a week earlier, of the same version and arm.
        parts: what Evidently is to show.
        rows: the most that are drawn of each side.
        features: only these; None for all, as long as they are not too many.
        outcome: the outcome's name, where a part compares predictions with outcomes.
        threshold: from which probability on a prediction is a call of 1.
    """

    current: Side
    reference: Side | None = None
    parts: tuple[Part, ...] = ("drift", "summary")
    rows: int = ROWS
    features: tuple[str, ...] | None = None
    outcome: str | None = None
    threshold: float = 0.5

    @property
    def compared_with(self) -> Side:
        """The reference."""
        if self.reference is not None:
            return self.reference
        one = self.current
        return Side(one.start - WEEK, one.end - WEEK, one.version, one.arm)


def check(asked: Asked, now: datetime) -> None:
    """Refusal for what cannot be made: `bad-window`, `bad-parts`, `bad-sample`, `bad-features`, `outcome-needed`,
    `bad-threshold`."""
    _check_side(asked.current, now)
    _check_side(asked.compared_with, now)
    if asked.current == asked.compared_with:
        raise Refusal("A window is not compared with itself.", "Give another time, version or arm.", code="bad-window")
    _check_parts(asked)
    if not LEAST_ROWS <= asked.rows <= MOST_ROWS:
        raise Refusal(
            f"A sample has {LEAST_ROWS} to {MOST_ROWS:,} rows.", f"Give a number such as {ROWS:,}.", code="bad-sample"
        )
    if asked.features is not None:
        _check_features(asked.features)


def _check_side(side: Side, now: datetime) -> None:
    zoned = side.start.tzinfo is not None and side.end.tzinfo is not None
    if not zoned or side.start.year < FIRST_YEAR or not timedelta() < side.end - side.start <= LONGEST:
        raise Refusal(
            f"A window is a span of at most {LONGEST.days} days, from {FIRST_YEAR} on.",
            "Give a start before its end, both with their time zones.",
            code="bad-window",
        )
    if side.start >= now:
        raise Refusal("This window has not begun.", "Give one that lies in the past.", code="bad-window")


def _check_parts(asked: Asked) -> None:
    if not asked.parts or len(set(asked.parts)) < len(asked.parts) or set(asked.parts) - set(PARTS):
        raise Refusal("These are no parts of a report.", f"Name some of {', '.join(PARTS)}, each once.", code="bad-parts")
    wanting = [one for one in asked.parts if one in NEED_OUTCOMES]
    if len(wanting) > 1:
        raise Refusal("A prediction is a class or a number.", "Name one of classification and regression.", code="bad-parts")
    if wanting and not (asked.outcome and len(asked.outcome) <= LONGEST_NAME):
        raise Refusal(
            f"The part {wanting[0]} compares predictions with outcomes.",
            "Name the outcome, as it is called in the inference log.",
            code="outcome-needed",
        )
    if not 0 <= asked.threshold <= 1:
        raise Refusal("A threshold lies between 0 and 1.", "Give one such as 0.5.", code="bad-threshold")


def _check_features(features: Sequence[str]) -> None:
    if not 1 <= len(features) <= MOST_FEATURES or any(not 1 <= len(one) <= LONGEST_NAME for one in features):
        raise Refusal(
            f"A report shows 1 to {MOST_FEATURES} features.", "Name those that you want to look at.", code="bad-features"
        )
