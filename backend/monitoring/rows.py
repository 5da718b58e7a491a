"""Tables of monitoring: monitors and reference profiles, which are decisions; counted hours, runs and scores, which are not."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc
from backend.monitoring.rules import KINDS, RUN_STATES

NO_VERSION = 0
"""Stands for requests of which nothing says which version answered."""


def _of_endpoint(**options: Any) -> Any:
    """Whatever is kept of an endpoint goes with it."""
    return sa.Column(sa.String, sa.ForeignKey("endpoint.id", ondelete="CASCADE"), nullable=False, **options)


class Monitor(Row, table=True):
    """What is looked at again and again at one endpoint, against what, how often, and when it is news."""

    __tablename__ = "monitor"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "monitor"
    __table_args__ = (
        sa.UniqueConstraint("endpoint_id", "name"),
        sa.CheckConstraint(f"kind IN ({', '.join(repr(one) for one in KINDS)})", name="monitor_kind"),
    )

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(sa_column=_of_endpoint())
    name: str
    kind: str
    spec: dict[str, Any] = Field(sa_column=json())
    """`rules.MonitorSpec` as JSON."""
    paused: bool = False
    paused_reason: str = ""
    begins_at: datetime = Field(sa_column=utc())
    """Slots from here on are run; set anew when it is resumed, so that what was paused is not made up for."""
    revision: int = 1
    set_by: str
    set_at: datetime = Field(sa_column=utc())
    created_at: datetime = Field(sa_column=utc())


class ReferenceProfile(Row, table=True):
    """What a version was made from, as aggregates. The cells of its counts never change; another profile has other ones."""

    __tablename__ = "reference_profile"
    __seen_through__: ClassVar[str] = "model_name"
    __subject__: ClassVar[str] = "reference_profile"
    __table_args__ = (sa.UniqueConstraint("model", "version"),)

    id: str = Field(primary_key=True)
    model: str
    version: int
    digest: str
    """Of its cells (`drift.layout.Layout.digest`)."""
    content_digest: str
    """Of all of it."""
    rows: int = Field(sa_type=sa.BigInteger)
    columns: int
    timed: bool
    """Whether it says how much its hours and days differ."""
    source: str
    """What it was made from, in words."""
    revision: int = 1
    set_by: str
    set_at: datetime = Field(sa_column=utc())


class ProfileContent(Row, table=True):
    """The bytes of a profile (`drift.stored`), apart, so that lists do not read them."""

    __tablename__ = "reference_profile_content"
    __seen_through__: ClassVar[str] = "profile_id"
    __governed__: ClassVar[bool] = False

    profile_id: str = Field(
        sa_column=sa.Column(sa.String, sa.ForeignKey("reference_profile.id", ondelete="CASCADE"), primary_key=True)
    )
    content: bytes = Field(sa_column=sa.Column(sa.LargeBinary, nullable=False))


class CountedHour(Row, table=True):
    """What one hour of an endpoint's requests came to, by version and arm, in one set of cells. Any window is a sum of them.

    An hour in which nothing was asked has a row too (`NO_VERSION`, no arm, no content): that it was counted is known.
    """

    __tablename__ = "counted_hour"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.Index("counted_hour_age", "hour"),)

    endpoint_id: str = Field(sa_column=_of_endpoint(primary_key=True))
    what: str = Field(primary_key=True)
    """`drift:<digest of the cells>` or `quality:<digest of the task>`."""
    hour: datetime = Field(sa_column=utc(primary_key=True))
    version: int = Field(primary_key=True)
    arm: str = Field(primary_key=True)
    rows: int = Field(sa_type=sa.BigInteger)
    content: bytes = Field(sa_column=sa.Column(sa.LargeBinary, nullable=False))
    counted_at: datetime = Field(sa_column=utc())


class CountingState(Row, table=True):
    """How counting an endpoint's hours fares."""

    __tablename__ = "counting_state"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False

    endpoint_id: str = Field(sa_column=_of_endpoint(primary_key=True))
    looked_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """When the latest whole look for late rows began; the next one asks for what came since."""
    counted_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    recounted: int = 0
    """Hours that were counted again because rows came late."""
    problem: str | None = None
    problem_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class MonitorRun(Row, table=True):
    """One slot of one monitor. Not governed: a look decides nothing; what it finds becomes findings, which are."""

    __tablename__ = "monitor_run"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = (
        sa.CheckConstraint(f"state IN ({', '.join(repr(one) for one in RUN_STATES)})", name="monitor_run_state"),
        sa.Index("monitor_run_endpoint", "endpoint_id", "slot"),
    )

    monitor_id: str = Field(sa_column=sa.Column(sa.String, sa.ForeignKey("monitor.id", ondelete="CASCADE"), primary_key=True))
    slot: datetime = Field(sa_column=utc(primary_key=True))
    """The end of its window."""
    endpoint_id: str = Field(sa_column=_of_endpoint())
    revision: int
    """The monitor's, by which it ran."""
    begins: int = 1
    """How often it was begun; more than once where a worker died over it."""
    asked: bool = False
    """That somebody had it look beside its slots: no slot counts as run by it."""
    late: int = Field(default=0, sa_type=sa.BigInteger)
    """Requests that came to its hours, were sent again with other values, or were erased, since it was begun."""
    state: str = "running"
    why: str = ""
    window_start: datetime = Field(sa_column=utc())
    rows: int = Field(default=0, sa_type=sa.BigInteger)
    figures: dict[str, Any] = Field(default_factory=dict, sa_column=json())
    found: list[dict[str, Any]] = Field(default_factory=list, sa_column=json())
    """What it found, notices included: {"kind", "severity", "feature", "version", "says"}."""
    started_at: datetime = Field(sa_column=utc())
    ended_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class MonitorScore(Row, table=True):
    """One column's scores in one run. Not points of `metrics`: a score comes with its own threshold, what was made of it, and
    why it is missing, and is never averaged into coarser ones."""

    __tablename__ = "monitor_score"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.Index("monitor_score_endpoint", "endpoint_id", "slot"),)

    monitor_id: str = Field(sa_column=sa.Column(sa.String, sa.ForeignKey("monitor.id", ondelete="CASCADE"), primary_key=True))
    slot: datetime = Field(sa_column=utc(primary_key=True))
    version: int = Field(primary_key=True)
    arm: str = Field(primary_key=True)
    """"" for all arms of the version."""
    role: str = Field(primary_key=True)
    column: str = Field(sa_column=sa.Column("feature", sa.String, primary_key=True))
    endpoint_id: str = Field(sa_column=_of_endpoint())
    rows: int = Field(sa_type=sa.BigInteger)
    missing: float | None = None
    """Share of the rows without a value."""
    score: str = ""
    """Which of the scores stands furthest above its threshold; "" where there is none."""
    value: float | None = None
    threshold: float | None = None
    scores: dict[str, float] = Field(default_factory=dict, sa_column=json())
    adjusted: float | None = None
    severity: str = ""
    """The worst of what was found of it, notices included; "" for nothing."""
    why: str = ""
    """Why there is no score."""


class KeptThresholds(Row, table=True):
    """Thresholds by resampling, which take seconds, made once for a reference and a length of window."""

    __tablename__ = "kept_thresholds"
    __seen_through__: ClassVar[str] = ""
    __governed__: ClassVar[bool] = False

    reference: str = Field(primary_key=True)
    """Digest of the cells, the reference's counts and both lengths."""
    made: dict[str, Any] = Field(sa_column=json())
    """`<place>/<class of sizes>` -> score -> [resampled, usual]."""
    used_at: datetime = Field(sa_column=utc())
