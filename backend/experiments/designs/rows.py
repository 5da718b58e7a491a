"""Table of experiments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc
from backend.experiments.designs.rules import EXPERIMENT, OUTCOMES

_RUNS = sa.text("state = 'running'")


class Experiment(Row, table=True):
    """One experiment on one endpoint; at most one of an endpoint runs, and of a layer."""

    __tablename__ = "experiment"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "experiment"
    __table_args__ = (
        sa.CheckConstraint(EXPERIMENT.check_sql(), name="experiment_state"),
        sa.CheckConstraint(
            f"outcome IS NULL OR outcome IN ({', '.join(repr(one) for one in OUTCOMES)})", name="experiment_outcome"
        ),
        sa.UniqueConstraint("endpoint_id", "slug"),
        sa.Index("experiment_one_running", "endpoint_id", unique=True, sqlite_where=_RUNS, postgresql_where=_RUNS),
        sa.Index("experiment_one_of_layer", "layer", unique=True, sqlite_where=_RUNS, postgresql_where=_RUNS),
    )

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(sa_column=sa.Column(sa.String, sa.ForeignKey("endpoint.id", ondelete="CASCADE"), nullable=False))
    slug: str
    """Seeds the assignment of units, so that it is never used again on its endpoint."""
    title: str
    hypothesis: str
    owner: str
    """Identity id of who designed it."""
    layer: str | None = None
    """Running ones of one layer exclude each other; NULL is no layer, and as many as one likes may have none."""
    design: dict[str, Any] = Field(sa_column=json())
    """`spec.Design` as JSON."""
    planned: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    """`planning.PlanView` as JSON, as it was when it started; None before, or where nobody could say."""
    state: str
    changes: list[str] = Field(default_factory=list, sa_column=json())
    """Ids of the changes that started it and moved its split, in order."""
    outcome: str | None = None
    reason: str = ""
    """Why it was decided or withdrawn so."""
    decided_by: str | None = None
    revision: int = 1
    created_at: datetime = Field(sa_column=utc())
    edited_at: datetime = Field(sa_column=utc())
    started_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    ended_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
