"""Table of window reports."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc
from backend.window_reports.rules import REPORT


class WindowReport(Row, table=True):
    """One report that somebody asked for. What it shows lies in the store, under its digest."""

    __tablename__ = "window_report"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "window_report"
    __table_args__ = (
        sa.CheckConstraint(REPORT.check_sql(), name="window_report_state"),
        sa.Index("window_report_endpoint", "endpoint_id", "asked_at"),
        sa.Index("window_report_asked", "asked_at"),
    )

    id: str = Field(primary_key=True)
    endpoint_id: str
    """No foreign key: an endpoint may be forgotten while its reports wait to be removed."""
    endpoint: str
    monitor: str = ""
    """That had it made of a window in which it alarmed; "" where a person asked."""
    state: str = REPORT.initial
    asked: dict[str, Any] = Field(sa_column=json())
    asked_by: str
    asked_at: datetime = Field(sa_column=utc())
    started_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    finished_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    says: str = ""
    """Why it failed, or what it shows, in a sentence."""
    notes: list[str] = Field(default_factory=list, sa_column=json())
    """What was left out, cut or could not be made."""
    sample: dict[str, Any] = Field(default_factory=dict, sa_column=json())
    """Rows of each side, and how many of them were drawn."""
    digest: str | None = None
    size: int | None = None
    scripts: list[str] = Field(default_factory=list, sa_column=json())
    """Hashes of the only scripts that may run in it."""
