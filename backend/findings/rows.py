"""Tables of findings: what was found and what people said of it; and, apart, how often and when it was last seen."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc
from backend.findings.rules import FINDING, SEVERITIES

_IS_LIVE = sa.text("state <> 'resolved'")


class Finding(Row, table=True):
    """One problem, from when its cause was first seen until it is over. The next time makes another one, which names it.

    `endpoint`, `environment` and `model` are the names of the place; `endpoint_id` is None where it is about a model alone. It
    is no foreign key: an endpoint that is only observed may be forgotten, and what was found there stays told.
    """

    __tablename__ = "finding"
    __seen_through__: ClassVar[str] = "endpoint_or_model"
    __subject__: ClassVar[str] = "finding"
    __table_args__ = (
        sa.CheckConstraint(FINDING.check_sql(), name="finding_state"),
        sa.CheckConstraint(f"severity IN ({', '.join(repr(one) for one in SEVERITIES)})", name="finding_severity"),
        sa.CheckConstraint("owner_id IS NULL OR owner_team_id IS NULL", name="finding_owner"),
        sa.Index("finding_one_live", "fingerprint", unique=True, sqlite_where=_IS_LIVE, postgresql_where=_IS_LIVE),
        sa.Index("finding_fingerprint", "fingerprint", "opened_at"),
        sa.Index("finding_list", "rank", "state_since", "id"),
        sa.Index("finding_endpoint", "endpoint_id", "state"),
        sa.Index("finding_found_by", "found_by", "state"),
    )

    id: str = Field(primary_key=True)
    number: int = Field(unique=True)
    fingerprint: str
    """What tells causes apart; at most one that is not over has it."""
    kind: str
    endpoint_id: str | None = None
    endpoint: str | None = None
    environment: str | None = None
    model: str
    about: str = ""
    """Of what there, such as a feature's name."""
    found_by: str
    says: str
    severity: str
    """The worst since it was opened."""
    state: str
    state_since: datetime = Field(sa_column=utc())
    rank: int
    """Its place in a list that has the worst first (`rules.rank`)."""
    former_id: str | None = Field(default=None, foreign_key="finding.id")
    """The one before of the same cause, where this was opened again."""
    test: bool = False
    owner_team_id: str | None = Field(default=None, foreign_key="team.id", index=True)
    owner_id: str | None = Field(default=None, foreign_key="identity.id", index=True)
    assigned: bool = False
    """Whether somebody said whose it is; else it is the team's that owns the place."""
    first_evidence: dict[str, Any] = Field(sa_column=json())
    clear_after_seconds: int = 0
    needs_person: bool = False
    open_since: datetime = Field(sa_column=utc())
    """From when somebody was to answer; the escalation counts from here."""
    escalated: int = 0
    """Steps of the escalation that are behind it."""
    snoozed_until: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    outcome: str | None = None
    reason: str = ""
    """What was said with the newest act."""
    by_id: str | None = None
    """Whose act that was."""
    revision: int = 1
    opened_at: datetime = Field(sa_column=utc())
    resolved_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class FindingSight(Row, table=True):
    """When and how often the cause of a finding was seen. Not governed: seeing it again decides nothing."""

    __tablename__ = "finding_sight"
    __seen_through__: ClassVar[str] = "finding_id"
    __governed__: ClassVar[bool] = False

    finding_id: str = Field(primary_key=True, foreign_key="finding.id")
    first_seen_at: datetime = Field(sa_column=utc())
    last_seen_at: datetime = Field(sa_column=utc())
    times: int = 1
    says: str
    severity: str
    """Of the newest look that saw it."""
    evidence: dict[str, Any] = Field(sa_column=json())
    clean_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """Of the first look since then that did not see it."""


class FindingFinder(Row, table=True):
    """One of those who found it and do not say yet that it is over: it is over by itself once all of them do. Not governed, as
    its sight is not."""

    __tablename__ = "finding_finder"
    __seen_through__: ClassVar[str] = "finding_id"
    __governed__: ClassVar[bool] = False

    finding_id: str = Field(primary_key=True, foreign_key="finding.id")
    found_by: str = Field(primary_key=True, index=True)
    last_seen_at: datetime = Field(sa_column=utc())
    """Of its newest look that saw it."""
    clean_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """Of its first look since then that did not."""
    clear_after_seconds: int = 0
    needs_person: bool = False
    evidence: dict[str, Any] = Field(sa_column=json())
    """Of its newest look that saw it."""
