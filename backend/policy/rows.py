"""Tables of environments, their policy versions, and freezes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc


class Environment(Row, table=True):
    """`dev`, `staging`, `production`, ... in promotion order, each with the policy in force."""

    __tablename__ = "environment"
    __subject__: ClassVar[str] = "environment"

    id: str = Field(primary_key=True)
    """The name itself."""
    position: int
    policy_version: int


class PolicyVersion(Row, table=True):
    """One immutable version of an environment's policy; `rules` is the JSON of `policy.rules.Policy`."""

    __tablename__ = "policy_version"
    __subject__: ClassVar[str] = "policy"
    __table_args__ = (sa.UniqueConstraint("environment", "version"),)

    id: str = Field(primary_key=True)
    """`<environment>@<version>`."""
    environment: str = Field(foreign_key="environment.id", index=True)
    version: int
    rules: dict[str, Any] = Field(sa_column=json())
    digest: str
    created_by: str
    created_at: datetime = Field(sa_column=utc())


class Freeze(Row, table=True):
    """A stop of all starts in a scope (`*` or an environment), never of a rollback. In force until lifted."""

    __tablename__ = "freeze"
    __subject__: ClassVar[str] = "freeze"

    id: str = Field(primary_key=True)
    scope: str = Field(default="*", index=True)
    reason: str
    set_by: str
    set_at: datetime = Field(sa_column=utc())
    lifted_by: str | None = None
    lifted_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class Ramp(Row, table=True):
    """Steps under a name, which a proposal may use and a policy may ask for.

    `steps`: [{"share": buckets, "hold_seconds", "person"}], in order.
    """

    __tablename__ = "ramp"
    __subject__: ClassVar[str] = "ramp"

    id: str = Field(primary_key=True)
    """The name itself."""
    steps: list[dict[str, Any]] = Field(sa_column=json())
    revision: int = 1
    set_by: str
    set_at: datetime = Field(sa_column=utc())
