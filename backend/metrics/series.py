"""From what a source has counted since it began to what happened between two looks. Pure.

A counter only grows until its process is started anew; then it begins at 0 again, and what it shows is what happened since. So
an increase is never negative. What happened between the last look and the restart nobody counted: increases err low, by at most
one interval's worth.

A figure that was never told before began after the last look, if the source was asked for it then too, and counts whole; else
it is where counting begins. One that vanished is remembered for a day: if it comes back, with as much or more, it is the same
counter, and a gap in what a source tells is no burst of requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from backend.metrics.quantiles import Histogram

REMEMBERED = timedelta(days=1)
Key = str
Value = float | Histogram


@dataclass(frozen=True)
class Counted:
    """A figure as it stood when it was last told."""

    value: Value
    seen_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Memory:
    """What one source had counted at the last good look.

    Args:
        read_at: when that was, in seconds since the epoch; None before the first one.
        asked: which figures it was asked for then.
        counted: by a key of the figure, those that vanished less than a day ago among them.
    """

    read_at: float | None = None
    asked: str = ""
    counted: Mapping[Key, Counted] = field(default_factory=dict)

    def after(self, at: datetime, asked: str, told: Mapping[Key, Value]) -> Memory:
        """What is remembered after a look."""
        moment = at.timestamp()
        kept = {key: one for key, one in self.counted.items() if moment - one.seen_at < REMEMBERED.total_seconds()}
        return Memory(moment, asked, {**kept, **{key: Counted(value, moment) for key, value in told.items()}})

    def increases(self, asked: str, told: Mapping[Key, Value]) -> dict[Key, Value]:
        """What was added to each figure since the last look. Those of which that cannot be said are left out."""
        found: dict[Key, Value] = {}
        for key, now in told.items():
            before = self.counted.get(key)
            if before is None:
                if self.read_at is not None and self.asked == asked:
                    found[key] = now
                continue
            found[key] = increase(before.value, now)
        return found


def increase(before: Value, now: Value) -> Value:
    """What was added; all of `now` where the counter began anew meanwhile."""
    if isinstance(now, Histogram):
        return _increase_of_buckets(before, now)
    return now - before if not isinstance(before, Histogram) and now >= before else now


def _increase_of_buckets(before: Value, now: Histogram) -> Histogram:
    if not isinstance(before, Histogram) or before.bounds != now.bounds or now.count < before.count:
        return now
    pairs = list(zip(before.counts, now.counts, strict=True))
    if any(one > other for one, other in pairs):
        return now
    return Histogram(now.bounds, tuple(other - one for one, other in pairs), max(0.0, now.total - before.total))


def is_countable(value: Value) -> bool:
    """Whether it can be kept at all: finite, and not below 0."""
    if isinstance(value, Histogram):
        return all(math.isfinite(one) and one >= 0 for one in value.counts) and math.isfinite(value.total)
    return math.isfinite(value) and value >= 0


def to_json(memory: Memory) -> dict[str, Any]:
    """JSON-able, as its row keeps it. Equal bounds are written once."""
    bounds: dict[tuple[float, ...], int] = {}
    told: dict[str, Any] = {}
    for key, one in memory.counted.items():
        if isinstance(one.value, Histogram):
            place = bounds.setdefault(one.value.bounds, len(bounds))
            told[key] = [one.seen_at, place, list(one.value.counts), one.value.total]
        else:
            told[key] = [one.seen_at, one.value]
    return {"read_at": memory.read_at, "asked": memory.asked, "bounds": [list(one) for one in bounds], "counted": told}


def from_json(told: Mapping[str, Any] | None) -> Memory:
    """Back again; nothing is remembered where a row has none."""
    if not told:
        return Memory()
    bounds = [tuple(map(float, one)) for one in told["bounds"]]
    counted = {key: Counted(_value(one, bounds), float(one[0])) for key, one in told["counted"].items()}
    return Memory(told["read_at"], told["asked"], counted)


def _value(told: list[Any], bounds: list[tuple[float, ...]]) -> Value:
    if len(told) == 2:
        return float(told[1])
    return Histogram(bounds[told[1]], tuple(map(float, told[2])), float(told[3]))
