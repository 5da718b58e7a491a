"""The leader's periodic jobs: signed heads, the mirror, what is overdue, what is missing, and old rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
import structlog
from sqlmodel import col, select

from backend.audit.service import Audit
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.work import Heartbeat, JobRun, WorkItem
from backend.worker.metrics import Metrics
from backend.worker.resync import Resync, wake_missing
from backend.worker.timers import Job

log = structlog.get_logger()

EXPORT_SECONDS, MIRROR_SECONDS, SWEEP_SECONDS, RESYNC_SECONDS, PRUNE_SECONDS = 60.0, 60.0, 10.0, 60.0, 3600.0
KEPT = timedelta(days=1)
FAILING_AFTER = 3
"""Attempts in a row after which an item counts as failing."""


def standard(
    database: Database,
    audit: Audit,
    metrics: Metrics,
    resyncs: Sequence[Resync],
    *,
    overdue_seconds: float,
    kinds: Sequence[str],
) -> tuple[Job, ...]:
    """The jobs of an installation whose workers handle `kinds`; without a registry there is no mirror to wake."""
    grace = timedelta(seconds=overdue_seconds)
    mirror = [Job("wake-mirror", MIRROR_SECONDS, lambda: wake_mirror(database))] if "mirror" in kinds else []
    return (
        Job("export-head", EXPORT_SECONDS, lambda: export_head(audit)),
        *mirror,
        Job("sweep-overdue", SWEEP_SECONDS, lambda: sweep(database, metrics, kinds, grace)),
        Job("resync", RESYNC_SECONDS, lambda: resync(database, resyncs)),
        Job("prune", PRUNE_SECONDS, lambda: prune(database)),
    )


def export_head(audit: Audit) -> None:
    """Signs and exports the ledger's head if it moved."""
    head = audit.export_head()
    if head is not None:
        log.info("ledger.head_exported", seq=head.seq)


def wake_mirror(database: Database) -> None:
    """Makes the registry's mirror look for what is new."""
    with database.unit(SYSTEM) as tx:
        work.wake(tx, "mirror", "*")


def sweep(database: Database, metrics: Metrics, kinds: Sequence[str], grace: timedelta) -> None:
    """Tells of items that were due and that nobody took (invariant I6), and of those that fail again and again."""
    with database.read() as session:
        now = database.now(session)
        late = work.overdue(session, now, grace=grace)
        query = select(WorkItem.kind, sa.func.count()).where(col(WorkItem.failures) >= FAILING_AFTER).group_by(WorkItem.kind)
        failing = dict(iter(session.exec(query)))
    for item in late:
        seconds = round((now - item.due_at).total_seconds(), 1)
        log.error("work.overdue", kind=item.kind, key=item.key, seconds=seconds, failures=item.failures)
    metrics.waiting(kinds, overdue=Counter(item.kind for item in late), failing=failing)


def resync(database: Database, resyncs: Sequence[Resync]) -> None:
    """Wakes whatever must have a work item and has none."""
    found = wake_missing(database, resyncs)
    if found:
        log.warning("work.was_missing", **found)


def prune(database: Database) -> None:
    """Forgets timers' slots and silent workers of more than a day ago."""
    with database.unit(SYSTEM) as tx:
        connection, before = tx.session.connection(), tx.now - KEPT
        connection.execute(sa.delete(JobRun).where(col(JobRun.scheduled_for) < before))
        connection.execute(sa.delete(Heartbeat).where(col(Heartbeat.beat_at) < before))
