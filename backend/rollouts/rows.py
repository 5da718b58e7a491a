"""Table of rollouts."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, utc
from backend.rollouts.rules import ROLLOUT


class Rollout(Row, table=True):
    """One walk through one authorization's ramp; at most one that is not over on an endpoint."""

    __tablename__ = "rollout"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "rollout"
    __table_args__ = (
        sa.CheckConstraint(ROLLOUT.check_sql(), name="rollout_state"),
        sa.UniqueConstraint("authorization_id"),
        sa.Index(
            "rollout_one_open",
            "endpoint_id",
            unique=True,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(foreign_key="endpoint.id")
    authorization_id: str = Field(foreign_key="authorization.id")
    state: str
    state_before_pause: str | None = None
    reason: str = ""
    step: int = 0
    """Index into `plan.steps` of the newest admitted step."""
    step_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """When the newest step was proved; holding counts from here."""
    let_on: int = -1
    """Highest step after which a person let it go on."""
    skip_to: int = -1
    """Step up to which somebody had the ones before it skipped."""
    revision: int = 1
    started_at: datetime = Field(sa_column=utc())
    ended_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
