"""A source in memory, for tests and for trying things out: it tells what it was given, and fails when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backend.core.errors import ExternalFailure
from backend.metrics.port import Figure, Reading

ASKED = "memory@1"


class MemorySource:
    """Tells its figures, as a server that counts from its start would."""

    def __init__(self, *figures: Figure, system: str = "the source in memory") -> None:
        self.figures = figures
        self.fails = ""
        """Why the next looks fail; "" for not at all."""
        self.bad: dict[str, int] = {}
        self._system = system

    def read(self, since: datetime | None, now: datetime) -> Sequence[Reading]:
        """See `port.Source`."""
        if self.fails:
            raise ExternalFailure(self._system, self.fails, retryable=True)
        return (Reading(self.figures, ASKED, bad=dict(self.bad)),)
