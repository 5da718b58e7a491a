"""Messages: routes, subscriptions, preferences, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class MessageEvent:
    """One thing that one may hear of. `audience`: who hears of it without having asked."""

    name: str
    says: str
    urgent: bool
    audience: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """Where messages go, without anything secret of it.

    `health` is `new`, `ok`, `failing` or `paused`; `waiting` and `dead` count messages that wait and that were given up.
    """

    id: str
    name: str
    kind: str
    shown: str
    owner: str
    state: str
    state_reason: str
    health: str
    says: str
    ok_at: datetime | None
    failing_since: datetime | None
    waiting: int
    dead: int
    two_secrets_until: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class NewRoute(Route):
    """A route that was just made or given another secret. `secret` is what a webhook is signed with, told this once."""

    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Subscription:
    """What a route, or one's own `mail`, hears of."""

    id: str
    route: str
    events: tuple[str, ...]
    object_kind: str
    object_name: str
    created_at: datetime


@dataclass(frozen=True)
class Preferences:
    """How one is told."""

    zone: str
    quiet_from: str | None
    quiet_to: str | None
    urgent_through: bool
    mail: bool
    muted: tuple[str, ...]
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Message:
    """One message. `state` is `waiting`, `sent`, `dead` (given up) or `dropped` (not to be told any more)."""

    id: str
    route: str
    whom: str
    event: str
    says: str
    subject_kind: str
    subject_id: str
    seq: int
    count: int
    state: str
    result: str
    attempts: int
    due_at: datetime
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True)
class MessageTry:
    """One try to send a message."""

    at: datetime
    seconds: float
    ok: bool
    status: int | None
    says: str


@dataclass(frozen=True)
class WholeMessage:
    """A message with every try."""

    line: Message
    tries: tuple[MessageTry, ...]
