"""A router's own lease: servers share routers, and whoever writes one writes all of its routes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure
from backend.core.work import Claim, LeaseLost, WorkItem
from backend.delivery.lease import Lease
from backend.delivery.timing import Timing

KIND = "router"
SECONDS = 30.0
NEVER = timedelta(days=3650)


@contextmanager
def router_lease(database: Database, router_id: str, lease: Lease, timing: Timing) -> Iterator[Lease]:
    """Holds the router for one write; calls through what it gives are made only while it is held.

    ExternalFailure when another worker keeps it for too long.

    A writer that is stopped past the lease can still write late: its routes name an older generation, which the next look
    of each endpoint finds and repairs.
    """
    held = _wait(database, router_id, lease.claim.holder, timing)
    try:
        yield Lease(database, held)
    finally:
        with suppress(LeaseLost), database.unit(SYSTEM) as tx:
            work.finish(tx, held, next_due=tx.now + NEVER)  # the item stays, so that its tokens only grow


def _wait(database: Database, router_id: str, holder: str, timing: Timing) -> Claim:
    until = time.monotonic() + timing.in_force_seconds
    while True:
        if (held := _claim(database, router_id, holder)) is not None:
            return held
        if time.monotonic() > until:
            raise ExternalFailure("The router", "is being written by another worker", retryable=True)
        time.sleep(timing.poll_seconds)


def _claim(database: Database, router_id: str, holder: str) -> Claim | None:
    """Made on demand, and far from due: nobody is woken by it."""
    with database.unit(SYSTEM) as tx:
        if tx.session.get(WorkItem, (KIND, router_id)) is None:
            work.wake(tx, KIND, router_id, at=tx.now + NEVER)
        return next(iter(work.claim_in(tx, KIND, holder=holder, seconds=SECONDS, key=router_id)), None)
