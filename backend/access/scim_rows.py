"""Tables of what a directory provisions by SCIM: its people, each an identity here, and its groups."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, utc


class ProvisionedUser(Row, table=True):
    """A person of a provider's directory, and which identity it is here."""

    __tablename__ = "provisioned_user"
    __subject__: ClassVar[str] = "identity"
    __table_args__ = (
        sa.UniqueConstraint("provider", "user_key"),
        sa.Index("provisioned_user_external", "provider", "external_id"),
    )

    id: str = Field(primary_key=True)
    provider: str
    user_name: str
    user_key: str
    external_id: str = ""
    identity_id: str = Field(foreign_key="identity.id", index=True)
    created_at: datetime = Field(sa_column=utc())
    changed_at: datetime = Field(sa_column=utc())

    def subject(self) -> tuple[str, str]:
        """Spoken of as its identity: names and addresses stay here."""
        return self.__subject__, self.identity_id


class ProvisionedGroup(Row, table=True):
    """A group of a provider's directory, by whose name roles are mapped."""

    __tablename__ = "provisioned_group"
    __subject__: ClassVar[str] = "provisioned_group"
    __table_args__ = (sa.UniqueConstraint("provider", "display_name"),)

    id: str = Field(primary_key=True)
    provider: str
    display_name: str
    external_id: str = ""
    created_at: datetime = Field(sa_column=utc())
    changed_at: datetime = Field(sa_column=utc())


class ProvisionedMember(Row, table=True):
    """That somebody is in a group."""

    __tablename__ = "provisioned_member"
    __subject__: ClassVar[str] = "provisioned_group"

    group_id: str = Field(primary_key=True, foreign_key="provisioned_group.id")
    user_id: str = Field(primary_key=True, foreign_key="provisioned_user.id", index=True)

    def subject(self) -> tuple[str, str]:
        """Spoken of as its group's."""
        return self.__subject__, self.group_id
