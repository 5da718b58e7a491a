"""Tables of comparisons: what is compared at one endpoint, what was seen of it at each look, and how the looking goes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc

_RUNS = sa.text("state = 'running'")


class ComparisonRow(Row, table=True):
    """Arms beside each other under one or several authorizations of one endpoint. One endpoint has one that runs.

    `spec`: {"comparison", "arms": {name: version}, "treatments"}, of the newest plan. `facts_kept`: what was seen once and
    stays, such as {"mismatch_at": ISO time}. `verdicts`: "guardrail/treatment/segment" -> verdict, of the newest decision.
    """

    __tablename__ = "comparison"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "comparison"
    __table_args__ = (
        sa.CheckConstraint("state IN ('running', 'ended')", name="comparison_state"),
        sa.Index("comparison_one_running", "endpoint_id", unique=True, sqlite_where=_RUNS, postgresql_where=_RUNS),
        sa.Index("comparison_endpoint", "endpoint_id", "began_at"),
    )

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(sa_column=sa.Column(sa.String, sa.ForeignKey("endpoint.id", ondelete="CASCADE"), nullable=False))
    experiment: str | None = None
    salt: str
    control: str
    authorizations: list[str] = Field(sa_column=json())
    spec: dict[str, Any] = Field(sa_column=json())
    state: str = "running"
    why: str = ""
    """Why it ended."""
    decision: str | None = None
    reasons: list[str] = Field(default_factory=list, sa_column=json())
    person: bool = False
    """Whether the decision waits for nothing but somebody's word."""
    verdicts: dict[str, str] = Field(default_factory=dict, sa_column=json())
    facts_kept: dict[str, str] = Field(default_factory=dict, sa_column=json())
    revision: int = 1
    began_at: datetime = Field(sa_column=utc())
    ended_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class ComparisonState(Row, table=True):
    """How the looking goes. Not governed: what follows of it is written in the comparison.

    `failures`: guardrail's key -> looks one after the other that it failed. `spent`: treatment -> looks of a group-sequential
    design as they were taken, [weight, clock, low, high]. `standing`: what a ramp has to know, `standing.Kept`.
    """

    __tablename__ = "comparison_state"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False

    comparison_id: str = Field(
        sa_column=sa.Column(sa.String, sa.ForeignKey("comparison.id", ondelete="CASCADE"), primary_key=True)
    )
    endpoint_id: str = Field(sa_column=sa.Column(sa.String, sa.ForeignKey("endpoint.id", ondelete="CASCADE"), nullable=False))
    looked_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    took_seconds: float = 0.0
    problem: str | None = None
    problem_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    failures: dict[str, int] = Field(default_factory=dict, sa_column=json())
    spent: dict[str, list[list[float]]] = Field(default_factory=dict, sa_column=json())
    standing: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))


class ComparisonLook(Row, table=True):
    """One look with its figures (`figures.Figures` as JSON). Older ones are thinned out."""

    __tablename__ = "comparison_look"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False

    comparison_id: str = Field(
        sa_column=sa.Column(sa.String, sa.ForeignKey("comparison.id", ondelete="CASCADE"), primary_key=True)
    )
    endpoint_id: str = Field(sa_column=sa.Column(sa.String, sa.ForeignKey("endpoint.id", ondelete="CASCADE"), nullable=False))
    at: datetime = Field(sa_column=utc(primary_key=True))
    generation: int
    figures: dict[str, Any] = Field(sa_column=json())
