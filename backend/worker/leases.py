"""Keeps the leases of long handlers: renews each claim in time, and stops when it is lost or its handler hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import sqlalchemy as sa
import structlog

from backend.core import work
from backend.core.database import Database
from backend.core.unit import Unit
from backend.core.work import Claim, LeaseLost, WorkItem
from backend.worker.holdings import Holding, Holdings
from backend.worker.metrics import Metrics

log = structlog.get_logger()
_items: sa.Table = WorkItem.__table__  # type: ignore[attr-defined]  # SQLModel adds it


def take_away(tx: Unit, claims: Sequence[Claim]) -> list[Claim]:
    """Takes items from handlers that still run: due at once for anybody. Returns those that were held until now.

    The token grows, as if somebody else had claimed the item: whatever the old handler still wants to write is fenced off
    even before the next one begins.
    """
    taken = []
    for one in claims:
        mine = (_items.c.kind == one.kind, _items.c.key == one.key, _items.c.token == one.token, _items.c.deadline > tx.now)
        free = sa.update(_items).where(*mine).values(token=one.token + 1, holder=None, deadline=None, due_at=tx.now)
        if tx.session.connection().execute(free).rowcount == 1:
            taken.append(one)
    return taken


class Renewer:
    """A thread that renews what this worker holds once a third of the lease has passed.

    A handler is told of a lost lease by its own next `fence` or `still_held`; nothing that it does then is committed.

    Args:
        seconds: the lease's length.
        hold_max: seconds after which a handler counts as hung; its item then goes to whoever claims it next.
    """

    def __init__(self, database: Database, holdings: Holdings, metrics: Metrics, *, seconds: float, hold_max: float) -> None:
        self._database = database
        self._holdings = holdings
        self._metrics = metrics
        self._seconds = seconds
        self._hold_max = hold_max
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Begins renewing."""
        self._thread.start()

    def stop(self) -> None:
        """Renews no more."""
        self._stop.set()
        self._thread.join(self._seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds / 6):
            for holding in self._holdings.all():
                if not holding.hung and time.monotonic() - holding.renewed >= self._seconds / 3:
                    self._keep(holding)

    def _keep(self, holding: Holding) -> None:
        claim, now = holding.claim, time.monotonic()
        say = log.bind(kind=claim.kind, key=claim.key, token=claim.token, seconds=round(now - holding.since, 3))
        if now - holding.since > self._hold_max:
            holding.hung = True
            self._metrics.hung(claim.kind)
            say.error("handler.hangs", remedy="Its item goes to another handler. Restart this worker to free its thread.")
            return
        try:
            work.renew(self._database, claim, seconds=self._seconds)
            holding.renewed = now
        except LeaseLost:
            holding.hung = True  # nothing is left to renew
            if self._holdings.holds(claim):
                say.warning("lease.lost")
        except Exception as error:  # the database may be back before the lease ends
            say.warning("lease.not_renewed", problem=type(error).__name__)
