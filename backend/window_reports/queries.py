"""Reads of window reports. They show that there is one and of what, and nothing of its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.access.rows import Identity
from backend.core.errors import NotFound
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.window_reports import wire
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import Asked, Side


@dataclass(frozen=True)
class SideLine:
    """One side: which requests, how many there were, and how many of them were drawn (None until it was read)."""

    start: datetime
    end: datetime
    version: int | None
    arm: str | None
    rows: int | None
    drawn: int | None


@dataclass(frozen=True)
class ReportLine:
    """One report as people read it; see `rows.WindowReport` and `rules.Asked`."""

    id: str
    endpoint: str
    state: str
    says: str
    notes: Sequence[str]
    parts: Sequence[str]
    current: SideLine
    reference: SideLine
    features: Sequence[str] | None
    outcome: str | None
    threshold: float
    most_rows: int
    monitor: str
    asked_by: str
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    digest: str | None
    size: int | None


def lines(session: Session, endpoint: str) -> tuple[ReportLine, ...]:
    """Every report of an endpoint, the newest first. NotFound for one that is not there."""
    place = named(session, Endpoint, endpoint)
    query = select(WindowReport, Identity.name).outerjoin(Identity, col(Identity.id) == WindowReport.asked_by)
    query = query.where(WindowReport.endpoint_id == place.id)
    found = session.exec(query.order_by(col(WindowReport.asked_at).desc(), col(WindowReport.id).desc())).all()
    return tuple(_line(row, name) for row, name in found)


def line(session: Session, endpoint: str, report: str) -> ReportLine:
    """One report. NotFound."""
    for one in lines(session, endpoint):
        if one.id == report:
            return one
    raise NotFound("window report", report[:60], "Look at the list of reports; old ones are removed.")


def unfinished(session: Session) -> list[str]:
    """Ids of those that the worker has to make."""
    return list(session.exec(select(WindowReport.id).where(col(WindowReport.state).in_(("queued", "running")))))


def _line(row: WindowReport, name: str | None) -> ReportLine:
    asked: Asked = wire.read_asked(row.asked)
    return ReportLine(
        id=row.id,
        endpoint=row.endpoint,
        state=row.state,
        says=row.says,
        notes=tuple(row.notes),
        parts=asked.parts,
        current=_side(asked.current, row.sample.get("current")),
        reference=_side(asked.compared_with, row.sample.get("reference")),
        features=asked.features,
        outcome=asked.outcome,
        threshold=asked.threshold,
        most_rows=asked.rows,
        monitor=row.monitor,
        asked_by=f"monitor {row.monitor}" if row.monitor else name or row.asked_by,
        asked_at=row.asked_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        digest=row.digest,
        size=row.size,
    )


def _side(side: Side, counted: Mapping[str, Any] | None) -> SideLine:
    found = counted or {}
    return SideLine(side.start, side.end, side.version, side.arm, found.get("rows"), found.get("drawn"))
