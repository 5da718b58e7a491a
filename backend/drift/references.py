"""What a window is compared with: which hours of the log, or the profile's own counts. A choice of hours, and nothing is read.

| reference | is |
|---|---|
| training | the profile's own counts |
| period | a named time, such as the first week in production |
| season | the same hours a week, or a year (52 weeks: the same weekdays), earlier |
| champion | the same hours of another version or arm, counted in this profile's cells |

Training-serving skew is the same comparison: the first days of serving against training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from backend.core.errors import Refusal
from backend.drift.counts import Counts, total
from backend.drift.layout import Layout

HOUR = timedelta(hours=1)
Season = Literal["week", "year"]
SEASONS: Mapping[Season, timedelta] = {"week": timedelta(weeks=1), "year": timedelta(weeks=52)}
FIRST_DAYS = 3
LEAST_COVERED = 0.5
"""The share of a reference's hours that must have been counted."""


@dataclass(frozen=True, slots=True)
class Window:
    """Hours (UTC) from `start` on and before `end`. Refusal `bad-window` for any that are no whole hours."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        times = (self.start, self.end)
        if any(one.tzinfo is None for one in times) or any(_hour(one) != one for one in times) or self.end <= self.start:
            remedy = "Give a beginning and a later end, at full hours."
            raise Refusal("This window is not made of whole hours.", remedy, code="bad-window")

    @property
    def hours(self) -> int:
        """How many they are."""
        return int((self.end - self.start) / HOUR)

    def each(self) -> Iterator[datetime]:
        """The beginning of each."""
        return (self.start + number * HOUR for number in range(self.hours))

    def earlier(self, by: timedelta) -> Window:
        """The same hours, earlier."""
        return Window(self.start - by, self.end - by)


@dataclass(frozen=True, slots=True)
class Training:
    """The profile's own counts."""


@dataclass(frozen=True, slots=True)
class Period:
    """A named time."""

    name: str
    window: Window


@dataclass(frozen=True, slots=True)
class SameSeason:
    """The same hours, earlier."""

    season: Season


@dataclass(frozen=True, slots=True)
class Champion:
    """The same hours of the version (or arm) that is champion meanwhile."""

    version: int | None
    arm: str | None = None


Reference = Training | Period | SameSeason | Champion


@dataclass(frozen=True, slots=True)
class Choice:
    """Which counts a reference is summed from.

    Args:
        window: its hours; None for the profile's own counts.
        version, arm: whose; None for those of the version that is watched.
        concurrent: whether it was at the same time, so that both share what days do (`judging.judged` with `hours=0`).
        words: for people: what the window is compared with.
    """

    window: Window | None
    words: str
    version: int | None = None
    arm: str | None = None
    concurrent: bool = False


def choice(reference: Reference, current: Window) -> Choice:
    """Which counts a window is compared with."""
    match reference:
        case Training():
            return Choice(None, "the data that it was trained on")
        case Period(name, window):
            return Choice(window, name)
        case SameSeason(season):
            return Choice(current.earlier(SEASONS[season]), f"the same hours a {season} earlier")
        case Champion(version, arm):
            return Choice(current, "the champion at the same time", version, arm, concurrent=True)


def counts_of(chosen: Choice, layout: Layout, hours: Mapping[datetime, Counts]) -> Counts | None:
    """A chosen reference's counts, from hours that were counted; None for the profile's own.

    Refusal `reference-not-counted` where fewer than half of its hours were counted, or nothing was logged in them.
    """
    if chosen.window is None:
        return None
    found = [hours[hour] for hour in chosen.window.each() if hour in hours]
    summed = total(layout, found)
    if len(found) < LEAST_COVERED * chosen.window.hours or not summed.rows:
        raise Refusal(
            f"Of {chosen.words}, only {len(found)} of {chosen.window.hours} hours were counted, with {summed.rows:,} requests.",
            "Choose another reference, or wait until there are enough.",
            code="reference-not-counted",
        )
    return summed


def first_days(since: datetime, days: int = FIRST_DAYS) -> Window:
    """The first days of serving, for training-serving skew: from the first full hour on."""
    start = _hour(since)
    start = start if start == since else start + HOUR
    return Window(start, start + timedelta(days=days))


def last_hours(now: datetime, hours: int = 24) -> Window:
    """The latest hours that are over."""
    end = _hour(now)
    return Window(end - hours * HOUR, end)


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
