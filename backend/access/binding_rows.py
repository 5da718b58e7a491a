"""Tables of bindings: which tokens of other systems act as which service, and which of those tokens came."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc


class Binding(Row, table=True):
    """That whoever brings a token of an issuer with these claims acts as a service, within a role and a scope.

    `anchor` is the one claim that tells the repository, project or client by a number that nobody else ever gets.
    """

    __tablename__ = "binding"
    __subject__: ClassVar[str] = "binding"
    __table_args__ = (sa.Index("binding_anchor", "issuer", "anchor"),)

    id: str = Field(primary_key=True)
    profile: str
    issuer: str
    anchor: str
    claims: dict[str, Any] = Field(sa_column=json())
    identity_id: str = Field(foreign_key="identity.id", index=True)
    role: str | None = None
    scope: str = "*"
    made_by: str
    made_at: datetime = Field(sa_column=utc())
    expires_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    ended_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    ended_by: str | None = None


class BearerUse(Row, table=True):
    """About when a token of another system was last used, by the digest of its issuer and number. The token is kept nowhere.

    Not governed: it is no decision. Its first use is a ledger row all the same, which says which job it was.
    """

    __tablename__ = "bearer_use"
    __governed__: ClassVar[bool] = False
    __table_args__ = (sa.Index("bearer_use_binding", "binding_id", "used_at"),)

    id: str = Field(primary_key=True)
    binding_id: str | None = Field(default=None, foreign_key="binding.id")
    identity_id: str = Field(foreign_key="identity.id")
    jti: str = ""
    told: dict[str, Any] = Field(sa_column=json())
    first_at: datetime = Field(sa_column=utc())
    used_at: datetime = Field(sa_column=utc())
    expires_at: datetime = Field(sa_column=utc())
