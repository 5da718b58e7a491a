"""Tables of time series, of the sources that tell them, and of objectives.

Points are millions and decide nothing, so that they are not governed; what is kept for how long, which sources are read besides
those that servers and routers are, and objectives are decisions, and are.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc

RAW, FINE, COARSE = 0, 300, 3600
"""Seconds that one point stands for: a look, five minutes, an hour."""
STEPS = (RAW, FINE, COARSE)


class Series(Row, table=True):
    """Who a series of points is about, and who tells it.

    Its endpoint is named without a foreign key, so that a removed endpoint does not have to wait until millions of points are
    gone: the keeper takes them away afterwards.
    """

    __tablename__ = "metric_series"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.Index("metric_series_endpoint", "endpoint_id", "metric"), sa.Index("metric_series_source", "source"))

    id: int | None = Field(default=None, sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=True))
    digest: str = Field(unique=True)
    """Of everything below but the time."""
    endpoint_id: str
    source: str
    """`server:<id>`, `router:<id>` or `source:<id>`."""
    teller: str
    """`server`, `router` or `other`; see `figures.PREFERRED`."""
    metric: str
    arm: str = ""
    """"" where it is not known, or not of one arm."""
    version: int | None = None
    shadow: bool = False
    labels: dict[str, str] = Field(sa_column=json())
    bounds: list[float] | None = Field(default=None, sa_column=json(nullable=True))
    """Of a histogram: finite upper bounds of its buckets."""
    created_at: datetime = Field(sa_column=utc())


class Point(Row, table=True):
    """One point of a series: what was found by a look, or what five minutes or an hour come to.

    It stands at the end of the time that it covers. Points of one series lie side by side on the disk: without a rowid on
    SQLite, and on PostgreSQL in a primary key that includes everything that a chart reads (the migration
    says so; SQLAlchemy cannot).
    """

    __tablename__ = "metric_point"
    __seen_through__: ClassVar[str] = "series_id"
    __governed__: ClassVar[bool] = False
    __table_args__ = ({"sqlite_with_rowid": False},)

    series_id: int = Field(sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=False))
    step: int = Field(sa_column=sa.Column(sa.SmallInteger, primary_key=True, autoincrement=False))
    at: int = Field(sa_column=sa.Column(sa.BigInteger, primary_key=True, autoincrement=False))
    """Seconds since the epoch."""
    value: float
    """An increase; a gauge's value, or its mean; the sum of a histogram's values."""
    count: int | None = None
    """Of a gauge's mean: how many looks it is of."""
    low: float | None = None
    high: float | None = None
    counts: bytes | None = Field(default=None, sa_column=sa.Column(sa.LargeBinary, nullable=True))
    """Of a histogram: increases of its buckets; see `packed`."""


class MetricSource(Row, table=True):
    """A source that somebody named for an endpoint, besides the server and the router that it has."""

    __tablename__ = "metric_source"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "metric_source"
    __table_args__ = (sa.UniqueConstraint("endpoint_id", "name"),)

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(sa_column=sa.Column(sa.String, sa.ForeignKey("endpoint.id", ondelete="CASCADE"), nullable=False))
    name: str
    kind: str
    settings: dict[str, Any] = Field(sa_column=json())
    credential: str | None = None
    """`file:NAME` or `env:NAME`, where the worker finds it; a secret itself never stands here."""
    revision: int = 1
    created_by: str
    created_at: datetime = Field(sa_column=utc())


class SourceState(Row, table=True):
    """How reading a source has fared, and what it had counted at the last good look."""

    __tablename__ = "metric_source_state"
    __seen_through__: ClassVar[str] = "metric_source_state"
    __governed__: ClassVar[bool] = False

    id: str = Field(primary_key=True)
    """As in `Series.source`."""
    server_id: str | None = None
    router_id: str | None = None
    endpoint_id: str | None = None
    asked_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """The latest look, good or not."""
    ok_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """The latest good one."""
    problem: str | None = None
    """Why the latest look was none."""
    problem_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    seconds: float = 0.0
    """How long the latest look took."""
    figures: int = 0
    """How many figures it told that have a name of ours."""
    placed: dict[str, int] = Field(default_factory=dict, sa_column=json())
    """Endpoint's id -> how many of them are about it."""
    bad: dict[str, int] = Field(default_factory=dict, sa_column=json())
    """Reason -> how many lines could not be read for it."""
    cut: str = ""
    """Why not everything was read; "" where it was."""
    memory: dict[str, Any] | None = Field(default=None, sa_column=json(nullable=True))
    """`series.Memory` as JSON."""


class Rolled(Row, table=True):
    """How far one resolution has been made from the finer one: every point at or before `until` is there."""

    __tablename__ = "metric_rolled"
    __governed__: ClassVar[bool] = False

    step: int = Field(sa_column=sa.Column(sa.SmallInteger, primary_key=True, autoincrement=False))
    until: int = Field(sa_column=sa.Column(sa.BigInteger, nullable=False))


class Retention(Row, table=True):
    """How long points are kept, in hours by resolution. One row."""

    __tablename__ = "metric_retention"
    __subject__: ClassVar[str] = "metric_retention"

    id: str = Field(default="metrics", primary_key=True)
    raw_hours: int
    fine_hours: int
    coarse_hours: int
    revision: int = 1
    set_by: str
    set_at: datetime = Field(sa_column=utc())


class SloRow(Row, table=True):
    """The objectives of one endpoint. `objectives`: [{"kind", "target", "seconds"}], in order."""

    __tablename__ = "slo"
    __seen_through__: ClassVar[str] = "endpoint_id"
    __subject__: ClassVar[str] = "slo"

    id: str = Field(primary_key=True)
    endpoint_id: str = Field(
        sa_column=sa.Column(sa.String, sa.ForeignKey("endpoint.id", ondelete="CASCADE"), nullable=False, unique=True)
    )
    days: int
    objectives: list[dict[str, Any]] = Field(sa_column=json())
    revision: int = 1
    set_by: str
    set_at: datetime = Field(sa_column=utc())
