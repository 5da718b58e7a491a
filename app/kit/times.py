"""Times as people read them: always with their zone (UTC) and their age. `now` is passed in, from the database's clock."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from backend.core.errors import Refusal

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def stamp(at: datetime) -> str:
    """`23 Nov 2026 10:13:48 UTC`."""
    return f"{_in_utc(at):%-d %b %Y %H:%M:%S} UTC"


def short(at: datetime) -> str:
    """`23 Nov 10:13`, for a column whose header names the zone."""
    return f"{_in_utc(at):%-d %b %H:%M}"


def span(length: timedelta | float) -> str:
    """A length of time (a timedelta, or seconds) in its two largest units: `2 d 4 h`, `12 s`."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    left = max(0, round(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or (parts and left):
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part) or "0 s"


def age(at: datetime, now: datetime) -> str:
    """`12 s ago`, `1 h 14 min ago`, or `in 2 h 28 min` for what is still to come."""
    seconds = (now - at).total_seconds()
    return f"in {span(-seconds)}" if seconds < 0 else f"{coarse(seconds)} ago"


def both(at: datetime, now: datetime) -> str:
    """`23 Nov 2026 10:13:48 UTC, 12 s ago`."""
    return f"{stamp(at)}, {age(at, now)}"


def coarse(seconds: float) -> str:
    """A length of time as an age is told. The smaller unit only where it still says something: seconds of an hour do not."""
    size = next((size for size, _ in _UNITS if seconds >= size), 1)
    if size == 3_600 and seconds < 6 * size:
        return span(seconds - seconds % 60)
    return span(seconds - seconds % size)


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a time without a zone reached a page")
    return at.astimezone(UTC)


WRITTEN = r"^(|\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2})?)?)$"
"""What `moment` reads: a date, a minute or a second."""


def moment(text: str) -> datetime | None:
    """The end of the date, minute or second that somebody wrote, so that what happened in it is included; None for ""."""
    begin, length = _read(text)
    return begin + timedelta(seconds=length, microseconds=-1) if begin is not None else None


def entered(text: str) -> datetime | None:
    """The beginning of the date, minute or second that somebody wrote; None for "". Refusal for what is no time."""
    return _read(text)[0]


def written(at: datetime) -> str:
    """A moment to the second, as `moment` reads it."""
    return f"{_in_utc(at):%Y-%m-%d %H:%M:%S}"


def _read(text: str) -> tuple[datetime | None, int]:
    """(begin, length in seconds). Text, because Streamlit's own field for a time is too small for axe-core to pass."""
    said = text.strip().replace("T", " ")
    for shape, length in (("%Y-%m-%d %H:%M:%S", 1), ("%Y-%m-%d %H:%M", 60), ("%Y-%m-%d", 86_400)):
        with suppress(ValueError):
            return _of_our_time(datetime.strptime(said, shape).replace(tzinfo=UTC)), length
    if not said:
        return None, 0
    raise Refusal(f"{text[:40]!r} is not a time.", "Write it like 2026-11-25 19:14, in UTC.", code="bad-time")


def _of_our_time(at: datetime) -> datetime:
    """With years to spare on both sides: pages add and take off days and months, which must stay times."""
    if 1900 <= at.year <= 9900:
        return at
    raise Refusal(f"The year {at.year} is out of reach.", "Write a time like 2026-11-25 19:14, in UTC.", code="bad-time")


def measured(start: datetime, end: datetime, at: Iterable[datetime]) -> tuple[datetime, datetime]:
    """The part of a span in which something was measured, with a little room before it; the span where nothing was."""
    inside = [one for one in at if one >= start]
    if not inside:
        return start, end
    last = max(end, *inside)
    first = min(inside)
    return max(start, first - (last - first) * 0.03), last
