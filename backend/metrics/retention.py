"""How long points are kept, and the policy about it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from backend.core.errors import Refusal
from backend.metrics.rows import Retention

_MOST_HOURS = 20 * 366 * 24


@dataclass(frozen=True)
class Kept:
    """Hours, by resolution: each look; five minutes; an hour. `revision` 0: nobody has set anything yet."""

    raw_hours: int = 48
    fine_hours: int = 30 * 24
    coarse_hours: int = 400 * 24
    revision: int = 0

    def check(self) -> None:
        """Refusal `bad-retention` where it could not answer what is asked of it: budgets take ninety days of hours, burn rates
        three of five minutes and six hours of looks."""
        hours = (self.raw_hours, self.fine_hours, self.coarse_hours)
        if not (hours[0] >= 12 and hours[1] >= 96 and 91 * 24 <= hours[2] <= _MOST_HOURS and hours[0] <= hours[1] <= hours[2]):
            raise Refusal(
                "Points cannot be kept like that.",
                "Keep looks for 12 hours or more, five minutes for 4 days or more, hours for 91 days to 20 years, and what is "
                "coarser no shorter than what is finer.",
                code="bad-retention",
            )


def kept(session: Session) -> Kept:
    """The policy in force."""
    row = session.get(Retention, "metrics")
    return Kept(row.raw_hours, row.fine_hours, row.coarse_hours, row.revision) if row is not None else Kept()
