"""Who runs the periodic jobs: whoever holds the lease on the work item ("leader", "worker"), on either database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.unit import Unit
from backend.core.work import Claim, LeaseLost, WorkItem

KIND, KEY = "leader", "worker"


@dataclass(frozen=True)
class _Term:
    claim: Claim
    until: float
    """Monotonic time after which this worker no longer believes that it leads."""


class Leadership:
    """This worker's part in the lead.

    Args:
        holder: this worker's name.
        seconds: how long a leader that fell silent keeps the lead.
    """

    def __init__(self, database: Database, holder: str, seconds: float) -> None:
        self._database = database
        self._holder = holder
        self._seconds = seconds
        self._term: _Term | None = None

    @property
    def held(self) -> bool:
        """Whether this worker leads, as far as it knows; `fence` knows for certain."""
        term = self._term
        return term is not None and time.monotonic() < term.until

    def seek(self) -> bool:
        """Renews the lead, or takes it when nobody has it. True when it was gained just now."""
        asked = time.monotonic()
        try:
            before, claim = self._term, self._claim()
        except LeaseLost:
            before, claim = None, None
        self._term = _Term(claim, asked + self._seconds) if claim else None
        return claim is not None and before is None

    def fence(self, tx: Unit) -> None:
        """Makes this unit fail unless this worker leads by the database's clock."""
        term = self._term
        if term is None:
            raise LeaseLost(Claim(KIND, KEY, 0, self._holder, tx.now, 0, 0))
        work.fence(tx, term.claim)

    def resign(self) -> None:
        """Gives the lead back, so that another takes it at its next heartbeat."""
        term, self._term = self._term, None
        if term is None:
            return
        with self._database.unit(SYSTEM) as tx:
            work.finish_many(tx, [term.claim], next_due=tx.now)

    def _claim(self) -> Claim | None:
        if self._term is not None:
            return work.renew(self._database, self._term.claim, seconds=self._seconds)
        if self._is_taken():
            return None
        with self._database.unit(SYSTEM) as tx:
            if tx.session.get(WorkItem, (KIND, KEY)) is None:
                work.wake(tx, KIND, KEY)
            claimed = work.claim_in(tx, KIND, holder=self._holder, seconds=self._seconds, key=KEY)
        return claimed[0] if claimed else None

    def _is_taken(self) -> bool:
        """A look first, so that followers take no write lock."""
        with self._database.read() as session:
            item = session.get(WorkItem, (KIND, KEY))
            return item is not None and _in_time(item.deadline, self._database.now(session))


def _in_time(deadline: datetime | None, now: datetime) -> bool:
    return deadline is not None and deadline > now
