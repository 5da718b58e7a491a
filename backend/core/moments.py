"""A moment that came from outside, in UTC: converted once, where it can be refused."""

from __future__ import annotations

from datetime import UTC, datetime

from backend.core.errors import Refusal


def in_utc(at: datetime) -> datetime:
    """The same moment in UTC. Refusal `bad-time` without a zone, or where UTC has no year for it."""
    if at.tzinfo is None:
        raise Refusal("A time without a zone is no moment.", "Write its zone, such as Z for UTC.", code="bad-time")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise Refusal(
            "This moment lies before the year 1 or after the year 9999 in UTC.", "Write another time.", code="bad-time"
        ) from None
