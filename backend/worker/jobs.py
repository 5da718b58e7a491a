"""The leader's periodic jobs: signed heads, what is overdue, what is missing, and old rows."""

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

EXPORT_SECONDS, SWEEP_SECONDS, RESYNC_SECONDS, PRUNE_SECONDS, WATCH_SECONDS = 60.0, 10.0, 60.0, 3600.0, 21_600.0
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
    """The jobs of an installation whose workers handle `kinds`.

    The registry's mirror needs no timer: it says itself when it is due again, later when a pass is long or the registry fails,
    and `resync` brings it back when its item was lost.
    """
    grace = timedelta(seconds=overdue_seconds)
    return (
        Job("export-head", EXPORT_SECONDS, lambda: export_head(audit)),
        Job("sweep-overdue", SWEEP_SECONDS, lambda: sweep(database, metrics, kinds, grace)),
        Job("resync", RESYNC_SECONDS, lambda: resync(database, resyncs)),
        Job("prune", PRUNE_SECONDS, lambda: prune(database)),
        Job("verify-chain", WATCH_SECONDS, lambda: watch(audit)),
    )


def export_head(audit: Audit) -> None:
    """Signs and exports the ledger's head if it moved."""
    head = audit.export_head()
    if head is not None:
        log.info("ledger.head_exported", seq=head.seq)


def watch(audit: Audit) -> None:
    """Walks the ledger's chain; a break is put into it, from where it is told, and into the log."""
    found = audit.watch()
    if found.broken is not None:
        log.error("ledger.broken", seq=found.broken.seq, reason=found.broken.reason)


def sweep(database: Database, metrics: Metrics, kinds: Sequence[str], grace: timedelta) -> None:
    """Tells of items that were due and that nobody took (invariant I6), and of those that fail again and again."""
    with database.read() as session:
        now = database.now(session)
        late = work.overdue(session, now, grace=grace)
        query = select(WorkItem.kind, sa.func.count()).where(col(WorkItem.failures) >= FAILING_AFTER).group_by(WorkItem.kind)
        failing = dict(iter(session.exec(query)))
    counted = Counter(item.kind for item in late)
    for kind, items in counted.items():
        oldest = min((item for item in late if item.kind == kind), key=lambda item: item.due_at)
        seconds = round((now - oldest.due_at).total_seconds(), 1)
        log.error("work.overdue", kind=kind, items=items, key=oldest.key, seconds=seconds, failures=oldest.failures)
    metrics.waiting(kinds, overdue=counted, failing=failing)


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
