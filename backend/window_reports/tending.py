"""What the worker does about window reports by itself: those that are too old, too many, or of rows that were erased, go."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlmodel import Session, col, select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Endpoint
from backend.inference_log.rows import LogErasure
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import MOST_KEPT, MOST_OF_MONITORS
from backend.window_reports.service import taken_away
from backend.window_reports.store import ReportStore

ORPHANED = timedelta(hours=1)
"""A page of this age that no report names was left by a process that died."""
log = structlog.get_logger()


def tend(database: Database, store: ReportStore, *, kept: timedelta) -> None:
    """One run. ExternalFailure where the store does not answer; it is tried again the next time."""
    with database.read() as session:
        now = database.now(session)
        going = due(session, now, kept)
        named = set(session.exec(select(WindowReport.digest).where(col(WindowReport.digest).is_not(None))))
    for report, why in going.items():
        _remove(database, store, report, why)
    for digest in store.digests(now - ORPHANED):
        if digest not in named:
            store.remove(digest)
            log.info("window_reports.swept", digest=digest[:19])


def due(session: Session, now: datetime, kept: timedelta) -> dict[str, str]:
    """Reports that have to go, each with why."""
    found: dict[str, str] = {}
    query = select(WindowReport.id, WindowReport.endpoint_id, WindowReport.asked_at, WindowReport.started_at)
    of_monitors = set(session.exec(select(WindowReport.id).where(col(WindowReport.monitor) != "")))
    there = set(session.exec(select(Endpoint.id)))
    erased = _erased(session)
    counted: Counter[tuple[str, bool]] = Counter()
    for report, endpoint, asked_at, started_at in session.exec(query.order_by(col(WindowReport.asked_at).desc())):
        most = MOST_OF_MONITORS if report in of_monitors else MOST_KEPT
        counted[endpoint, report in of_monitors] += 1
        if endpoint not in there:
            found[report] = "its endpoint is gone"
        elif started_at is not None and started_at <= erased.get(endpoint, started_at - timedelta(1)):
            found[report] = "a unit was erased from the log after its rows were read"
        elif asked_at <= now - kept:
            found[report] = "it is older than reports are kept"
        elif counted[endpoint, report in of_monitors] > most:
            found[report] = f"its endpoint has more than {most}" + (" that monitors had made" if report in of_monitors else "")
    return found


def _erased(session: Session) -> dict[str, datetime]:
    """By endpoint, until when rows of an erased unit may have been read: until its latest erasure was done, or asked for."""
    until = sa.func.max(sa.func.coalesce(col(LogErasure.done_at), col(LogErasure.asked_at)), type_=LogErasure.asked_at.type)  # type: ignore[attr-defined]
    return dict(iter(session.exec(select(LogErasure.endpoint_id, until).group_by(col(LogErasure.endpoint_id)))))


def _remove(database: Database, store: ReportStore, report: str, why: str) -> None:
    with database.unit(SYSTEM) as tx:
        row = tx.session.get(WindowReport, report, with_for_update=True)
        if row is None:
            return
        digest = taken_away(tx, row, why)
    if digest is not None:
        store.remove(digest)
