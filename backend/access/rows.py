"""Tables of identities, the roles they hold, the tokens by which programs act as them, and teams with what they own."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc


class Identity(Row, table=True):
    """A person, a service (bot, CI) or the system. The ledger knows it by `id` alone; names and addresses stay here.

    `off_by` names the directory (`scim:<provider>`) that switched it off, and may switch it on again; None where an admin did.
    `signed_out_at` is when it was last signed out everywhere: what a provider gave a person before that counts no more, whether
    a session was running then or not.
    """

    __tablename__ = "identity"
    __subject__: ClassVar[str] = "identity"
    __table_args__ = (sa.CheckConstraint("kind IN ('person', 'service', 'system')", name="identity_kind"),)

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    kind: str = "person"
    display_name: str = ""
    email: str | None = None
    owner_id: str | None = Field(default=None, foreign_key="identity.id")
    is_demo: bool = False
    active: bool = True
    off_by: str | None = None
    signed_out_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    created_at: datetime = Field(sa_column=utc())


class FormerOwner(Row, table=True):
    """Who owned a service until when: what it asked for while it was his stays his interest."""

    __tablename__ = "former_owner"
    __subject__: ClassVar[str] = "identity"

    id: str = Field(primary_key=True)
    identity_id: str = Field(foreign_key="identity.id", index=True)
    owner_id: str = Field(foreign_key="identity.id")
    until: datetime = Field(sa_column=utc())

    def subject(self) -> tuple[str, str]:
        """It is spoken of as the service's."""
        return self.__subject__, self.identity_id


class RoleGrant(Row, table=True):
    """One role held by one identity in one scope: `*`, or `environment:<name>`, `model:<name>`, `team:<id of the team>`."""

    __tablename__ = "role_grant"
    __subject__: ClassVar[str] = "role_grant"
    __table_args__ = (sa.UniqueConstraint("identity_id", "role", "scope"),)

    id: str = Field(primary_key=True)
    identity_id: str = Field(foreign_key="identity.id", index=True)
    role: str
    scope: str = "*"
    granted_by: str
    granted_at: datetime = Field(sa_column=utc())
    expires_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class Token(Row, table=True):
    """A token of an identity, as the SHA-256 of its text; the text itself is kept nowhere.

    `role` and `scope` are what it is good for at most, whatever its identity may do.
    """

    __tablename__ = "token"
    __subject__: ClassVar[str] = "token"

    id: str = Field(primary_key=True)
    identity_id: str = Field(foreign_key="identity.id", index=True)
    name: str
    digest: str
    role: str | None = None
    scope: str = Field(default="*", sa_column_kwargs={"server_default": "*"})
    created_by: str
    created_at: datetime = Field(sa_column=utc())
    expires_at: datetime = Field(sa_column=utc())
    revoked_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    revoked_by: str | None = None


class TokenUse(Row, table=True):
    """About when a token was last used. Not governed: it is no decision, and it is written without a ledger row."""

    __tablename__ = "token_use"
    __governed__: ClassVar[bool] = False

    token_id: str = Field(primary_key=True, foreign_key="token.id")
    used_at: datetime = Field(sa_column=utc())


class Team(Row, table=True):
    """People who look after models and endpoints together. Known to scopes by its id, so that it may be renamed."""

    __tablename__ = "team"
    __subject__: ClassVar[str] = "team"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    title: str = ""
    created_by: str
    created_at: datetime = Field(sa_column=utc())
    retired_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class TeamMember(Row, table=True):
    """That an identity belongs to a team. It gives no role: roles are granted in the scope of what the team owns."""

    __tablename__ = "team_member"
    __subject__: ClassVar[str] = "team"

    team_id: str = Field(primary_key=True, foreign_key="team.id")
    identity_id: str = Field(primary_key=True, foreign_key="identity.id", index=True)
    added_by: str
    added_at: datetime = Field(sa_column=utc())

    def subject(self) -> tuple[str, str]:
        """A member is spoken of as its team's."""
        return self.__subject__, self.team_id


class Ownership(Row, table=True):
    """That a team owns a model or an endpoint. Kept apart from both: a model is mirrored, and what mirrors it decides nothing.

    `id` is `model/<name>` or `endpoint/<name>`, so that each has one owner at most.
    """

    __tablename__ = "ownership"
    __seen_through__: ClassVar[str] = "ownership"
    __subject__: ClassVar[str] = "ownership"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('model', 'endpoint')", name="ownership_kind"),
        sa.Index("ownership_team", "team_id", "kind", "name"),
    )

    id: str = Field(primary_key=True)
    kind: str
    name: str
    team_id: str = Field(foreign_key="team.id")
    set_by: str
    set_at: datetime = Field(sa_column=utc())


class Request(Row, table=True):
    """What one person asked for and a second one has to confirm: a role where changes need approvals, a mapping of a group to
    a role, another owner, a binding, or a weaker policy.

    `what` says all of it, so that exactly this is confirmed; `interests` are the ids that count as whoever asked.
    """

    __tablename__ = "request"
    __subject__: ClassVar[str] = "request"
    __table_args__ = (
        sa.CheckConstraint(
            "kind IN ('role.grant', 'policy.set', 'owner.set', 'binding.make', 'identity.hand_over', 'group_mapping.make')",
            name="request_kind",
        ),
        sa.CheckConstraint("state IN ('waiting', 'confirmed', 'refused')", name="request_state"),
        sa.Index("request_state_at", "state", "asked_at"),
    )

    id: str = Field(primary_key=True)
    kind: str
    what: dict[str, Any] = Field(sa_column=json())
    digest: str
    """SHA-256 over kind and `what`: asking again finds the request that waits."""
    state: str = "waiting"
    asked_by: str = Field(foreign_key="identity.id")
    interests: list[str] = Field(sa_column=json())
    asked_at: datetime = Field(sa_column=utc())
    expires_at: datetime = Field(sa_column=utc())
    settled_by: str | None = Field(default=None, foreign_key="identity.id")
    settled_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    reason: str = ""


class DataSetGrant(Row, table=True):
    """That an identity, or whoever belongs to a team, may read a data set row by row until a time. No role brings that.

    `data_set` is `probes/<model>` (recorded requests inside a model's packages) or `requests/<endpoint>` (its inference log).
    """

    __tablename__ = "data_set_grant"
    __subject__: ClassVar[str] = "data_set_grant"
    __table_args__ = (
        sa.CheckConstraint("(identity_id IS NULL) <> (team_id IS NULL)", name="data_set_grant_holder"),
        sa.Index("data_set_grant_set", "data_set", "until"),
    )

    id: str = Field(primary_key=True)
    identity_id: str | None = Field(default=None, foreign_key="identity.id")
    team_id: str | None = Field(default=None, foreign_key="team.id")
    data_set: str
    given_by: str
    given_at: datetime = Field(sa_column=utc())
    until: datetime = Field(sa_column=utc())
