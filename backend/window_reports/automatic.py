"""Reports that a monitor has made of a window in which it alarmed. Nobody asks for rows by it: making one takes no grant, and
opening one takes the grant that it always takes. So one is there when somebody comes to look, and no use to who may not.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import get_args

import structlog
from sqlmodel import col, select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery.rows import Endpoint
from backend.window_reports import wire
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import LONGEST, Asked, Part, Side, check
from backend.window_reports.service import KIND, refuse_too_many

EVERY = timedelta(days=1)
"""A monitor has at most one made in this time."""
_PARTS: dict[str, Part] = {one: one for one in get_args(Part)}
log = structlog.get_logger()


def ask(
    tx: Unit,
    *,
    endpoint_id: str,
    monitor: str,
    part: str,
    current: tuple[datetime, datetime],
    version: int | None,
    arm: str | None,
    reference: tuple[datetime, datetime],
    reference_version: int | None,
    outcome: str | None,
) -> str | None:
    """Joins: has a report made for a monitor, unless it had one made within a day. The id of either; None where there is none.

    Args:
        current, reference: spans; of longer ones the end is shown, as much as a report may have.
    """
    tx.alone(f"window reports {endpoint_id}")
    place = tx.get(Endpoint, endpoint_id)
    if (latest := _latest(tx, place, monitor)) is not None:
        return latest
    asked = Asked(
        current=Side(*_end_of(current), version, arm),
        reference=Side(*_end_of(reference), reference_version, arm if reference_version is None else None),
        parts=(_PARTS[part],),
        outcome=outcome,
    )
    try:
        check(asked, tx.now)
        refuse_too_many(tx, place)
    except Refusal as refusal:
        log.info("window_report.not_asked_for", endpoint=place.name, monitor=monitor, why=str(refusal))
        return None
    row = WindowReport(
        id=tx.new_id("wrp"),
        endpoint_id=place.id,
        endpoint=place.name,
        monitor=monitor,
        asked=wire.told(asked),
        asked_by=SYSTEM.id,
        asked_at=tx.now,
    )
    tx.add(row)
    tx.record("window_report.ask", row, after=row.facts("endpoint", "monitor", "asked"))
    work.wake(tx, KIND, row.id)
    return row.id


def _latest(tx: Unit, place: Endpoint, monitor: str) -> str | None:
    query = select(WindowReport.id).where(
        WindowReport.endpoint_id == place.id, WindowReport.monitor == monitor, col(WindowReport.asked_at) > tx.now - EVERY
    )
    return tx.session.exec(query.order_by(col(WindowReport.asked_at).desc())).first()


def _end_of(span: tuple[datetime, datetime]) -> tuple[datetime, datetime]:
    start, end = span
    return max(start, end - LONGEST), end
