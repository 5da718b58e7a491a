"""Table of evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc


class Evidence(Row, table=True):
    """One run of one gate on one plan digest. A new run is a new row; the newest of a gate counts."""

    __tablename__ = "evidence"
    __seen_through__: ClassVar[str] = "change_id"
    __subject__: ClassVar[str] = "evidence"
    __table_args__ = (
        sa.CheckConstraint("verdict IN ('queued', 'running', 'passed', 'failed', 'error', 'void')", name="evidence_verdict"),
        sa.Index("evidence_change", "change_id", "gate", "requested_at"),
    )

    id: str = Field(primary_key=True)
    change_id: str
    """Opaque here: evidence knows nothing of changes."""
    gate: str
    plan: dict[str, Any] = Field(sa_column=json())
    plan_digest: str
    verdict: str = "queued"
    summary: str = ""
    findings: list[dict[str, Any]] = Field(default_factory=list, sa_column=json())
    requested_at: datetime = Field(sa_column=utc())
    started_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    finished_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    valid_until: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class EvidenceProgress(Row, table=True):
    """How far a run has come. Not governed: it decides nothing and goes with the process that reports it."""

    __tablename__ = "evidence_progress"
    __seen_through__: ClassVar[str] = "evidence_id"
    __governed__: ClassVar[bool] = False

    evidence_id: str = Field(primary_key=True, foreign_key="evidence.id")
    fraction: float = 0.0
    says: str = ""
    at: datetime = Field(sa_column=utc())
