"""Tables of an endpoint's rules for its inference log, and of units that were erased from it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc

ERASURE_STATES = ("asked", "done")


class LogRules(Row, table=True):
    """What is kept of an endpoint's requests, and for how long. An endpoint without a row keeps everything.

    `redactions`: [{"column", "how", "length"}]. `kept_days`: table -> days; a table that is not named is kept for good."""

    __tablename__ = "inference_log_rules"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "inference_log"

    id: str = Field(primary_key=True)
    """The endpoint's own id."""
    endpoint_id: str = Field(foreign_key="endpoint.id", unique=True)
    sample_every: int = 1
    redactions: list[dict[str, Any]] = Field(default_factory=list, sa_column=json())
    kept_days: dict[str, int] = Field(default_factory=dict, sa_column=json())
    unit_header: str = "x-unit-id"
    revision: int = 1
    set_by: str
    set_at: datetime = Field(sa_column=utc())


class LogHorizon(Row, table=True):
    """How far back an endpoint's rows of one table are whole. It never goes back, even where more is kept by now."""

    __tablename__ = "inference_log_horizon"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False

    endpoint_id: str = Field(sa_column=sa.Column(sa.String, sa.ForeignKey("endpoint.id", ondelete="CASCADE"), primary_key=True))
    table: str = Field(sa_column=sa.Column("log_table", sa.String, primary_key=True))
    before: datetime = Field(sa_column=utc())
    """Hours that were over before it were taken out, or are being taken out right now."""


class LogErasure(Row, table=True):
    """One unit whose rows go from an endpoint's log. The unit stands here, and in the ledger, by its pseudonym alone."""

    __tablename__ = "inference_log_erasure"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "inference_log_erasure"
    __table_args__ = (
        sa.CheckConstraint(f"state IN ({', '.join(repr(one) for one in ERASURE_STATES)})", name="inference_log_erasure_state"),
        sa.Index("inference_log_erasure_open", "state", "asked_at"),
    )

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(foreign_key="endpoint.id", index=True)
    unit: str
    """Its pseudonym (`handling.pseudonym`)."""
    later: bool = False
    """Whether rows that come later are left out too."""
    reason: str
    state: str = "asked"
    asked_by: str
    asked_at: datetime = Field(sa_column=utc())
    done_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    removed: int = 0
    """Rows that were taken out so far."""
