"""Tables of messages: where they go, who asked for which, what waits and what was sent, and how far the ledger was read."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from backend.core.columns import Row, json, utc


class Route(Row, table=True):
    """Where messages go: a webhook, or an address in Apprise's form. A person's, a team's, or (neither) the installation's.

    The address and the signing secrets are sealed for the worker; `shown` is the part of the address that is no secret.
    """

    __tablename__ = "notify_route"
    __subject__: ClassVar[str] = "route"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('webhook', 'apprise')", name="notify_route_kind"),
        sa.CheckConstraint("state IN ('active', 'paused', 'removed')", name="notify_route_state"),
        sa.CheckConstraint("identity_id IS NULL OR team_id IS NULL", name="notify_route_owner"),
    )

    id: str = Field(primary_key=True)
    name: str
    kind: str
    shown: str
    identity_id: str | None = Field(default=None, foreign_key="identity.id", index=True)
    team_id: str | None = Field(default=None, foreign_key="team.id", index=True)
    sealed_address: str
    sealed_secret: str | None = None
    sealed_previous: str | None = None
    previous_until: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    """Until when messages are signed with the secret before as well."""
    state: str = "active"
    state_reason: str = ""
    revision: int = 1
    created_by: str
    created_at: datetime = Field(sa_column=utc())


class RouteHealth(Row, table=True):
    """How a route does. `id` is the route's, or `mail`. Not governed: it is no decision."""

    __tablename__ = "notify_health"
    __governed__: ClassVar[bool] = False

    id: str = Field(primary_key=True)
    failures: int = 0
    """In a row."""
    rest_until: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    ok_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    failing_since: datetime | None = Field(default=None, sa_column=utc(nullable=True))
    says: str = ""


class Subscription(Row, table=True):
    """That a route, or a person by mail, hears of some events, of everything or of one object."""

    __tablename__ = "notify_subscription"
    __subject__: ClassVar[str] = "subscription"
    __table_args__ = (
        sa.CheckConstraint("(route_id IS NULL) <> (identity_id IS NULL)", name="notify_subscription_holder"),
        sa.CheckConstraint(
            "object_kind IN ('', 'model', 'endpoint', 'environment', 'change')", name="notify_subscription_object"
        ),
    )

    id: str = Field(primary_key=True)
    route_id: str | None = Field(default=None, foreign_key="notify_route.id", index=True)
    identity_id: str | None = Field(default=None, foreign_key="identity.id", index=True)
    events: list[str] = Field(sa_column=json())
    object_kind: str = ""
    object_name: str = ""
    created_by: str
    created_at: datetime = Field(sa_column=utc())


class Preference(Row, table=True):
    """How one person wants to be told. `id` is the identity's."""

    __tablename__ = "notify_preference"
    __subject__: ClassVar[str] = "preference"

    id: str = Field(primary_key=True, foreign_key="identity.id")
    zone: str = "UTC"
    quiet_from: str | None = None
    quiet_to: str | None = None
    urgent_through: bool = True
    """Whether what is urgent comes through quiet hours."""
    mail: bool = True
    """Whether anything is sent by mail at all."""
    muted: list[str] = Field(default_factory=list, sa_column=json())
    """Events that this person hears of by default and does not want to."""
    updated_at: datetime = Field(sa_column=utc())


class Message(Row, table=True):
    """One message on one route: what waits, and what became of it. Its id stays the same however often it is sent.

    Not governed: what it tells is in the ledger, and whether it arrived is no decision.
    """

    __tablename__ = "notify_message"
    __governed__: ClassVar[bool] = False
    __table_args__ = (
        sa.CheckConstraint("state IN ('waiting', 'sent', 'dead', 'dropped')", name="notify_message_state"),
        sa.Index("notify_message_due", "route_key", "state", "due_at"),
        sa.Index("notify_message_same", "same", "created_at"),
        sa.Index("notify_message_created", "created_at"),
    )

    id: str = Field(primary_key=True)
    route_key: str
    """The route's id, or `mail` for the mail of a person."""
    identity_id: str | None = Field(default=None, foreign_key="identity.id", index=True)
    """Whose it is, where it is for one person."""
    event: str
    seq: int = Field(sa_type=sa.BigInteger)
    """The row of the ledger that it tells of; the newest of those that were counted together. 0: of none."""
    at: datetime = Field(sa_column=utc())
    subject_kind: str
    subject_id: str
    told: dict[str, Any] = Field(sa_column=json())
    """Who did it, and the states before and after; everything else is looked up when it is sent."""
    same: str
    """What the same again would be: route, person, event and subject."""
    count: int = 1
    state: str = "waiting"
    due_at: datetime = Field(sa_column=utc())
    attempts: int = 0
    says: str = ""
    created_at: datetime = Field(sa_column=utc())
    settled_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))


class Attempt(Row, table=True):
    """One try to send a message, and what the receiver answered in our words."""

    __tablename__ = "notify_attempt"
    __governed__: ClassVar[bool] = False

    id: str = Field(primary_key=True)
    message_id: str = Field(foreign_key="notify_message.id", index=True)
    at: datetime = Field(sa_column=utc())
    seconds: float
    ok: bool
    status: int | None = None
    says: str


class Cursor(Row, table=True):
    """How far the ledger was told. One row, moved in the transaction that writes the messages."""

    __tablename__ = "notify_cursor"
    __governed__: ClassVar[bool] = False

    id: str = Field(primary_key=True)
    seq: int = Field(default=0, sa_type=sa.BigInteger)


class Link(Row, table=True):
    """A link in one message that opens a change once, for one person. `id` is the SHA-256 of its token. It gives no right."""

    __tablename__ = "notify_link"
    __governed__: ClassVar[bool] = False

    id: str = Field(primary_key=True)
    message_id: str = Field(foreign_key="notify_message.id", index=True)
    identity_id: str = Field(foreign_key="identity.id")
    subject_id: str
    made_at: datetime = Field(sa_column=utc())
    expires_at: datetime = Field(sa_column=utc())
    used_at: datetime | None = Field(default=None, sa_column=utc(nullable=True))
