"""Window reports: Evidently's page of one window, as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ReportSide:
    """One side of a report: which requests, how many there were, and how many of them are shown."""

    start: datetime
    end: datetime
    version: int | None
    arm: str | None
    rows: int | None
    drawn: int | None


@dataclass(frozen=True)
class WindowReport:
    """One report: `queued`, `running`, `done` or `failed`. `says` is why it failed, or what it shows."""

    id: str
    endpoint: str
    state: str
    says: str
    notes: tuple[str, ...]
    parts: tuple[str, ...]
    current: ReportSide
    reference: ReportSide
    features: tuple[str, ...] | None
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
