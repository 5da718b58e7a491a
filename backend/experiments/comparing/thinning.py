"""Which looks are kept: the newest ones all, older ones the further apart the older they are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

MOST, NEWEST = 500, 150


def superfluous(times: Sequence[datetime]) -> list[datetime]:
    """Those to take out of looks in their order, so that at most `MOST` stay: of the older ones every second."""
    if len(times) <= MOST:
        return []
    return list(times[1 : len(times) - NEWEST : 2])
