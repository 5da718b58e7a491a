"""How often servers are looked at and proofs renewed, and how long a push may wait. One value, so that tests can hurry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from backend.delivery.courses import STALE_INTERVALS
from backend.delivery.seen import ProofKind


def _renewals() -> dict[ProofKind, timedelta]:
    return {
        "configured": timedelta(days=3650),  # every look that finds nothing new is one
        "answers": timedelta(seconds=60),
        "bytes": timedelta(minutes=5),
        "behaviour": timedelta(minutes=15),
    }


@dataclass(frozen=True)
class Timing:
    """Intervals of delivery.

    Args:
        observe: between two looks at a server that is in sync.
        ready_seconds: how long a push waits for a load that is under way.
        in_force_seconds: how long a push waits for a router to take what was handed to it.
        poll_seconds: between two looks while waiting.
        drain: how long versions that no router names any more stay, for requests that are on their way.
        retry_base, retry_cap: seconds of the backoff between attempts that failed.
        renew: how old each proof may grow before it is taken anew.
    """

    observe: timedelta = timedelta(seconds=10)
    ready_seconds: float = 120.0
    in_force_seconds: float = 5.0
    poll_seconds: float = 0.05
    drain: timedelta = timedelta(seconds=2)
    retry_base: float = 1.0
    retry_cap: float = 60.0
    renew: dict[ProofKind, timedelta] = field(default_factory=_renewals)

    @property
    def stale_after(self) -> timedelta:
        """Age at which the newest look says nothing of now."""
        return STALE_INTERVALS * self.observe
