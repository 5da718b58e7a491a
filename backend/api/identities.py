"""`/identities`: the people and services that there are, making them, and ending what they may do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints
from sqlmodel import col, select

from backend.access import rosters, touched
from backend.access.checks import require_to_read
from backend.access.rosters import PersonLine
from backend.access.rows import Identity, Request
from backend.access.rules import ROLES, Role
from backend.access.service import named_identity
from backend.api.asking import NO_REASON, Asks, Name, Page, Paged, Plain, Reading, Reasoned, Sent, Shown, name_of
from backend.api.grants import Settled
from backend.api.once import Making
from backend.api.tags import Fresh, Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.registry.keys import read_key, write_key

router = APIRouter(prefix="/identities", tags=["identities"])
IdentityName = Annotated[str, Path(max_length=256, description="The identity's name.", examples=["ana"])]
Shortly = Annotated[str, StringConstraints(max_length=256), Plain]


class IdentityView(Shown):
    """One identity."""

    id: str
    name: str
    display_name: str = Field(description="What pages call it.")
    kind: str = Field(description="person, service or system.")
    owner: str | None = Field(description="Of a service: the name of who owns it. Both are one interest.")
    active: bool
    answered_for: bool = Field(
        description="Of a service: whether its owner is an active person. It does nothing here while nobody is."
    )
    off_by: str | None = Field(description="The provider whose directory deactivated it; null where an admin did, or nobody.")
    is_demo: bool
    created_at: datetime
    roles: tuple[str, ...] = Field(description="Roles that count everywhere now.")
    holds: tuple[str, ...] = Field(
        description="Every role that counts now, with its scope where it has one.", examples=[["reviewer in environment:dev"]]
    )
    signed_in_at: datetime | None = Field(description="The newest sign-in at a provider.")
    open_sessions: int = Field(description="Neither ended nor forgotten; some may have run out meanwhile.")
    good_tokens: int
    token_used_at: datetime | None = Field(description="When one of its tokens was last used, to within five minutes.")


class LoginView(Shown):
    """Who somebody is at a provider: issuer and subject together tell people apart, never a name or an address."""

    issuer: str
    subject: str
    first_at: datetime


class GroupsView(Shown):
    """What a provider told of somebody at the newest sign-in."""

    provider: str
    groups: tuple[str, ...]
    told_at: datetime


class KnownView(Shown):
    """What is known of somebody besides."""

    email: str | None = Field(description="Of a person, where a provider verified it or an admin entered it.")
    logins: tuple[LoginView, ...]
    groups: tuple[GroupsView, ...]
    teams: tuple[str, ...]


class IdentitiesNarrow(Paged):
    """What a list of people and services is narrowed by."""

    text: Annotated[str, Field(max_length=120, description="Part of a short name, or of what pages call them.")] = ""
    kind: Literal["person", "service"] | None = None
    role: Annotated[Role | None, Field(description="Who holds this role now, in any scope.")] = None
    active: Annotated[bool | None, Field(description="Only those who count, or only those who were deactivated.")] = None
    demo: Annotated[bool | None, Field(description="Only built-in demo identities, or none of them.")] = None
    group: Annotated[
        str | None,
        Field(max_length=256, description="Who is known in this group of a provider; for whoever may list sessions."),
    ] = None
    provider: Annotated[str | None, Field(max_length=40, description="Whose group that is; by default anybody's.")] = None


class NewIdentity(Sent):
    """Somebody, or a service, without any role yet."""

    name: Name = Field(examples=["builds"])
    kind: Literal["person", "service"] = "person"
    display_name: Shortly = Field(default="", examples=["Builds"])
    email: Shortly | None = Field(default=None, description="Of a person; told to itself, and to whoever may list sessions.")
    owner: Name | None = Field(default=None, description="Of a service: the name of who owns it.", examples=["ana"])


class HandingOver(Sent):
    """Who shall answer for a service."""

    owner: Name = Field(description="The name of an active person.", examples=["ana"])


@router.get("")
def list_identities(asks: Asks, narrow: Annotated[IdentitiesNarrow, Query()]) -> Page[IdentityView]:
    """People and services by short name, deactivated ones included, with what counts of them now."""
    after = str(read_key(narrow.after, str)[0]) if narrow.after is not None else ""
    asked = narrow.model_dump(include={"text", "kind", "role", "active", "demo", "limit"})
    with asks.reading("policy.read") as look:
        found = rosters.people(look.session, now=look.now, after=after, among=_in_group(asks, look, narrow), **asked)
    return Page(items=tuple(map(_told, found.rows)), next=write_key(found.after) if found.after is not None else None)


@router.post("", status_code=201)
def create_identity(asks: Asks, fresh: Fresh, once: Making, sent: NewIdentity, response: Response) -> IdentityView:
    """A new identity without any role. A service names the person who owns it."""
    asked = sent.model_dump(exclude={"name"})
    made = once.make(Identity, lambda: asks.backend.identities.create(asks.actor, sent.name, **asked).id)
    with asks.reading("policy.read") as look:
        name = name_of(look, Identity, made.id)
    response.headers["location"] = f"/api/v1/identities/{quote(name, safe='')}"
    return fresh(_view(asks, name))


@router.get("/{identity}")
def show_identity(asks: Asks, identity: IdentityName, tagged: Tagged) -> IdentityView:
    """One identity."""
    return tagged(_view(asks, identity))


@router.get("/{identity}/known")
def show_known(asks: Asks, identity: IdentityName) -> KnownView:
    """What is known of somebody besides: address, who it is at its providers, groups, teams; of others for whoever may list
    sessions.
    """
    with asks.reading("policy.read") as look:
        row = named_identity(look.session, identity)
        if row.id != asks.actor.id or asks.actor.limits is not None:
            require_to_read(look.session, asks.actor, "session.list", now=look.now)
        found = rosters.known(look.session, row.id)
    groups = tuple(GroupsView(provider=provider, groups=told, told_at=at) for provider, told, at in found.groups)
    logins = tuple(map(LoginView.model_validate, found.logins))
    return KnownView(email=found.email, logins=logins, groups=groups, teams=found.teams)


@router.post("/{identity}/owner")
def hand_over_identity(asks: Asks, held: Held, identity: IdentityName, sent: HandingOver) -> Settled:
    """Hands a service to another owner. Where a role of its reaches changes that need approvals, a second admin confirms it.

    Its tokens go on, but those that somebody made who is deactivated end, and all of them where it holds no role.
    """
    with _seen(held, identity):
        made = asks.backend.service_owners.hand_over(asks.actor, identity, sent.owner)
    waits = isinstance(made, Request)
    return Settled(done=not waits, request=made.id if waits else None)


@router.post("/{identity}/activate")
def activate_identity(asks: Asks, held: Held, identity: IdentityName, sent: Reasoned = NO_REASON) -> IdentityView:
    """An identity that was deactivated counts again, with the roles that it still has. Sending it again changes nothing."""
    with _seen(held, identity):
        asks.backend.identities.activate(asks.actor, identity, sent.reason)
    return held.answer(_view(asks, identity))


@router.post("/{identity}/deactivate")
def deactivate_identity(asks: Asks, held: Held, identity: IdentityName, sent: Reasoned = NO_REASON) -> IdentityView:
    """From now on its commands are refused, its tokens and those that it made too, and its undecided changes are suspended."""
    with _seen(held, identity):
        asks.backend.identities.deactivate(asks.actor, identity, sent.reason)
    return held.answer(_view(asks, identity))


def _view(asks: Asks, identity: str) -> IdentityView:
    with asks.reading("policy.read") as look:
        return _shown(identity)(look, asks.actor)


def _shown(identity: str) -> Callable[[Reading, Actor], IdentityView]:
    def shown(look: Reading, _actor: Actor) -> IdentityView:
        if (line := rosters.person(look.session, identity, now=look.now)) is None:
            raise NotFound("identity", identity)
        return _told(line)

    return shown


def _in_group(asks: Asks, look: Reading, narrow: IdentitiesNarrow) -> frozenset[str] | None:
    """Ids of whoever is known in the group that is asked for, by whoever may list sessions; None where none is asked for."""
    if narrow.group is None:
        return None
    require_to_read(look.session, asks.actor, "session.list", now=look.now)
    return touched.in_group(look.session, narrow.group, narrow.provider)


def _told(one: PersonLine) -> IdentityView:
    return IdentityView(
        id=one.id,
        name=one.name,
        display_name=one.display_name,
        kind=one.kind,
        owner=one.owner,
        active=one.active,
        answered_for=one.answered_for,
        off_by=one.off_by,
        is_demo=one.is_demo,
        created_at=one.created_at,
        roles=tuple(role for role in one.roles if role in ROLES),
        holds=one.roles,
        signed_in_at=one.signed_in_at,
        open_sessions=one.sessions,
        good_tokens=one.tokens,
        token_used_at=one.token_used_at,
    )


def _seen(held: Held, identity: str) -> AbstractContextManager[None]:
    return held.held("policy.read", _shown(identity), select(col(Identity.id)).where(Identity.name == identity))
