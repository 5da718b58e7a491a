"""Quiet hours, by the clock on somebody's wall. Pure: moments and zones in, moments out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backend.core.errors import Refusal

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Quiet:
    """From a time of day to another, which may lie beyond midnight, in a time zone.

    When clocks are changed the wall counts: an hour that is skipped is not waited for, one that comes twice is quiet twice.
    """

    begins: time
    ends: time
    zone: ZoneInfo

    def holds_at(self, moment: datetime) -> bool:
        """Whether it is quiet then."""
        local = moment.astimezone(self.zone).time().replace(tzinfo=None)
        if self.begins <= self.ends:
            return self.begins <= local < self.ends
        return local >= self.begins or local < self.ends

    def over_at(self, moment: datetime) -> datetime:
        """The first moment, from this one on, at which it is not quiet."""
        at = moment.astimezone(UTC)
        while self.holds_at(at):
            before, at = at, at + self._left(at)
            skipped = self._offset(at) - self._offset(before)
            if skipped > timedelta(0):  # clocks went forward on the way: the end came sooner than the wall had it
                at = max(before, at - skipped)
                while self.holds_at(at):
                    at += _MINUTE
        return at

    def _left(self, moment: datetime) -> timedelta:
        """What the wall shows between this moment and the end."""
        local = moment.astimezone(self.zone)
        now = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        end = timedelta(hours=self.ends.hour, minutes=self.ends.minute)
        return (end - now) % timedelta(days=1) or timedelta(days=1)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta(0)


def zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA database. Refusal."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Refusal(
            f"{name[:60]!r} is not a time zone.", "Use a name such as Europe/Berlin or UTC.", code="bad-zone"
        ) from error


def quiet(begins: str | None, ends: str | None, zone_name: str) -> Quiet | None:
    """Quiet hours from `22:00` to `07:00`; None without them. Refusal for what is none."""
    where = zone(zone_name)
    if begins is None and ends is None:
        return None
    first, last = _time(begins or ""), _time(ends or "")
    if first == last:
        raise Refusal("Quiet hours that end when they begin would be all or nothing.", "Choose two times.", code="bad-time")
    return Quiet(first, last, where)


def _time(text: str) -> time:
    try:
        hours, minutes = text.split(":")
        if len(text) == 5 and text.isascii():
            return time(int(hours), int(minutes))
    except ValueError:
        pass
    raise Refusal(f"{text[:20]!r} is not a time of day.", "Write it as 22:00.", code="bad-time")
