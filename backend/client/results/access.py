"""People, services, roles, tokens, bindings, and what takes two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Identity:
    """A person or a service, with the roles that count everywhere; of a service also who owns it, and whether he is active.

    `holds`: every role that counts now, with its scope. `off_by`: the provider whose directory deactivated it.
    """

    id: str
    name: str
    display_name: str
    kind: str
    owner: str | None
    active: bool
    is_demo: bool
    created_at: datetime
    roles: tuple[str, ...]
    answered_for: bool = True
    off_by: str | None = None
    holds: tuple[str, ...] = ()
    signed_in_at: datetime | None = None
    open_sessions: int = 0
    good_tokens: int = 0
    token_used_at: datetime | None = None


@dataclass(frozen=True)
class Login:
    """Who somebody is at a provider."""

    issuer: str
    subject: str
    first_at: datetime


@dataclass(frozen=True)
class ToldGroups:
    """Groups that a provider told of somebody at the newest sign-in."""

    provider: str
    groups: tuple[str, ...]
    told_at: datetime


@dataclass(frozen=True)
class Known:
    """What is known of somebody besides: the address, who that is at providers, groups, teams."""

    email: str | None
    logins: tuple[Login, ...]
    groups: tuple[ToldGroups, ...]
    teams: tuple[str, ...]


@dataclass(frozen=True)
class Binding:
    """What acts as a service: tokens of an issuer that say all of `claims`.

    `state`: active, expired, ended, off, or not-honoured, where `says` is what it lacks.
    """

    id: str
    profile: str
    issuer: str
    claims: Mapping[str, str]
    identity: str
    role: str | None
    scope: str
    state: str
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_by: Mapping[str, str]
    says: str = ""


@dataclass(frozen=True)
class Issuer:
    """An issuer whose tokens are taken. `kind`: access, github or gitlab."""

    name: str
    title: str
    kind: str
    issuer: str
    audience: str
    scopes: Mapping[str, str] = field(default_factory=dict)
    """A scope of people's access tokens -> the role that it is good for at most."""


@dataclass(frozen=True)
class Bound:
    """What came of binding: the binding, or the request that a second admin has to confirm."""

    binding: str | None
    request: str | None


@dataclass(frozen=True)
class Grant:
    """One role given in one scope.

    `source`: person, groups, directory, settings or system; `given_by` says it in words. Where it took two, whoever may see
    requests is told by which `request`, who `asked_by`, and the `reason` of whoever confirmed it, who is the `giver`.
    """

    identity: str
    name: str
    role: str
    scope: str
    expires_at: datetime | None
    is_in_force: bool
    given_at: datetime
    source: str = "person"
    given_by: str = ""
    giver: str | None = None
    request: str | None = None
    asked_by: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class AdminsLeft:
    """How long there is an admin everywhere, if nobody does anything; `says` and `remedy` where something is wrong."""

    anybody: bool
    until: datetime | None
    is_soon: bool
    says: str
    remedy: str


@dataclass(frozen=True)
class Settled:
    """What came of it: done, or the request that a second person has to confirm first."""

    done: bool
    request: str | None


@dataclass(frozen=True)
class Request:
    """What one admin asked for and a second one has to confirm."""

    id: str
    kind: str
    says: str
    what: Mapping[str, Any]
    state: str
    asked_by: str
    asked_by_name: str
    asked_at: datetime
    expires_at: datetime
    settled_by_name: str | None
    settled_at: datetime | None
    reason: str


@dataclass(frozen=True)
class Team:
    """A team, who belongs to it, and what it owns."""

    id: str
    name: str
    title: str
    members: tuple[str, ...]
    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    created_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True)
class Token:
    """A token in a list, without anything that could be used."""

    id: str
    identity: str
    name: str
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    role: str | None
    scope: str


@dataclass(frozen=True)
class NewToken(Token):
    """A token that was just made. `token` is its text, told this once."""

    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DataSetGrant:
    """Who may read a data set until when."""

    id: str
    identity: str | None
    team: str | None
    data_set: str
    given_by: str
    given_at: datetime
    until: datetime
    is_in_force: bool
