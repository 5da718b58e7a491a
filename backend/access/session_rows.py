"""Tables of sign-in: who a provider's people are here, their sessions, the providers' messages, and groups mapped to roles."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc


class ExternalLogin(Row, table=True):
    """That a provider's subject is an identity here. Issuer and subject together tell people apart, never an address.

    `external_id` is what the provider's directory calls this person, by the newest sign-in that told it.
    """

    __tablename__ = "external_login"
    __subject__: ClassVar[str] = "identity"

    issuer: str = Field(primary_key=True)
    external_subject: str = Field(primary_key=True)
    identity_id: str = Field(foreign_key="identity.id", index=True)
    first_at: datetime = Field(sa_column=utc())
    external_id: str | None = Field(default=None, index=True)

    def subject(self) -> tuple[str, str]:
        """Spoken of as its identity: what the provider calls it stays here."""
        return self.__subject__, self.identity_id


class SignInSession(Row, table=True):
    """One sign-in of one person in one browser, by the digest of what tells it from every other (`claims.key_of`).

    A row stays after its end, so that a cookie that is sent again is known for what it is.
    """

    __tablename__ = "sign_in_session"
    __subject__: ClassVar[str] = "session"
    __table_args__ = (sa.Index("sign_in_session_sid", "issuer", "sid"),)

    id: str = Field(primary_key=True)
    key: str = Field(unique=True)
    identity_id: str = Field(foreign_key="identity.id", index=True)
    provider: str
    issuer: str
    external_subject: str
    sid: str = ""
    overflow: bool = False
    device: str = ""
    issued_at: datetime = Field(sa_column=utc())
    opened_at: datetime = Field(sa_column=utc())
    ended_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    ended_why: str | None = None


class SessionUse(Row, table=True):
    """About when somebody last did something in a session. Not governed: it is no decision."""

    __tablename__ = "session_use"
    __governed__: ClassVar[bool] = False

    session_id: str = Field(primary_key=True, foreign_key="sign_in_session.id")
    used_at: datetime = Field(sa_column=utc())


class ToldGroups(Row, table=True):
    """Which groups a provider told of somebody at the newest sign-in: whom a mapping would touch is seen before it is made.

    Not governed, and no right follows from it: roles are given and taken back in the sign-in itself.
    """

    __tablename__ = "told_groups"
    __governed__: ClassVar[bool] = False

    identity_id: str = Field(primary_key=True, foreign_key="identity.id")
    provider: str = Field(primary_key=True)
    groups: list[Any] = Field(sa_column=json())
    told_at: datetime = Field(sa_column=utc())


class ProviderLogout(Row, table=True):
    """A provider's message that sessions ended, by the digest of its number, which is taken once.

    A session that would be opened later, with a sign-in from before the message, does not begin.
    """

    __tablename__ = "provider_logout"
    __subject__: ClassVar[str] = "provider_logout"
    __table_args__ = (sa.Index("provider_logout_issuer", "issuer", "issued_at"),)

    id: str = Field(primary_key=True)
    issuer: str
    jti_digest: str = Field(unique=True)
    external_subject: str = ""
    sid: str = ""
    issued_at: datetime = Field(sa_column=utc())
    taken_at: datetime = Field(sa_column=utc())


class GroupMapping(Row, table=True):
    """That a value among a provider's groups gives a role in a scope: one admin asked for it, and a second one confirmed it.

    Besides those in the settings file, which are whoever runs the machine's. `made_at` is when it began to count.
    """

    __tablename__ = "group_mapping"
    __subject__: ClassVar[str] = "group_mapping"
    __table_args__ = (sa.UniqueConstraint("provider", "value", "role", "scope"),)

    id: str = Field(primary_key=True)
    provider: str
    value: str
    role: str
    scope: str = "*"
    made_by: str
    confirmed_by: str
    made_at: datetime = Field(sa_column=utc())
