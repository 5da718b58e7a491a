"""Sessions, providers, groups that give roles, and whom these touch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class SessionLine:
    """One sign-in of one person in one browser. `state`: active, idle, expired or ended."""

    id: str
    identity_id: str
    provider: str
    state: str
    opened_at: datetime
    used_at: datetime
    ended_why: str | None
    device: str = ""


@dataclass(frozen=True)
class SessionsEnded:
    """How many sessions were running."""

    ended: int


@dataclass(frozen=True)
class Provider:
    """One provider as the server's settings were loaded."""

    name: str
    title: str
    client_id: str
    server_metadata_url: str
    issuers: tuple[str, ...]
    scope: str
    prompt: str
    algorithms: tuple[str, ...]
    require_verified_email: bool
    groups_claim: str
    scim_claim: str
    scim_identity: str


@dataclass(frozen=True)
class SignInSettings:
    """How people sign in, as the server's settings were loaded; None, or 0, where nobody does."""

    signs_in: bool
    seen_at: str | None
    redirect_uri: str | None
    backchannel_logout_uri: str | None
    is_secure: bool | None
    idle_minutes: int
    absolute_hours: int
    claims_days: int
    first_administrator: str | None


@dataclass(frozen=True)
class KnownGroup:
    """A group that a provider told of somebody, or that its directory has, and how many people are known in it."""

    value: str
    people: int


@dataclass(frozen=True)
class Examined:
    """What a provider publishes of itself now. `problems`: what does not fit the settings."""

    issuer: str
    keys: int
    ends_sessions: bool
    tells_of_logout: bool
    problems: tuple[str, ...]


@dataclass(frozen=True)
class GroupMapping:
    """Which group gives which role. `id` is None for one that stands in the settings file."""

    id: str | None
    provider: str
    value: str
    role: str
    scope: str
    made_by: str | None
    reaches: bool


@dataclass(frozen=True)
class Touched:
    """One person who is in the group. `has`: whether the role in that scope is held already, by whatever way."""

    name: str
    shown: str
    active: bool
    has: bool
    told_by: str
