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

from backend.access import queries
from backend.access.rows import Identity, Request
from backend.access.service import named_identity
from backend.api.asking import NO_REASON, Asks, Name, Page, Paged, Plain, Reading, Reasoned, Sent, Shown, name_of
from backend.api.grants import Settled
from backend.api.once import Making
from backend.api.tags import Fresh, Held, Tagged
from backend.core.context import Actor

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
    is_demo: bool
    created_at: datetime
    roles: tuple[str, ...] = Field(description="Roles that count everywhere now.")


class NewIdentity(Sent):
    """Somebody, or a service, without any role yet."""

    name: Name = Field(examples=["builds"])
    kind: Literal["person", "service"] = "person"
    display_name: Shortly = Field(default="", examples=["Builds"])
    email: Shortly | None = Field(default=None, description="Of a person. No answer tells it.")
    owner: Name | None = Field(default=None, description="Of a service: the name of who owns it.", examples=["ana"])


class HandingOver(Sent):
    """Who shall answer for a service."""

    owner: Name = Field(description="The name of an active person.", examples=["ana"])


@router.get("")
def list_identities(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[IdentityView]:
    """People and services by name, deactivated ones included."""
    with asks.reading("policy.read") as look:
        rows = look.session.exec(select(Identity).where(Identity.kind != "system")).all()
        items, following = narrow.cut(rows, lambda one: (one.name,))
        return Page(items=tuple(_told(look, row) for row in items), next=following)


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


@router.post("/{identity}/owner")
def hand_over_identity(asks: Asks, held: Held, identity: IdentityName, sent: HandingOver) -> Settled:
    """Hands a service to another owner. Where a role of its reaches changes that need approvals, a second admin confirms it."""
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
    """From now on every command of this identity is refused, its tokens too, and its undecided changes are suspended."""
    with _seen(held, identity):
        asks.backend.identities.deactivate(asks.actor, identity, sent.reason)
    return held.answer(_view(asks, identity))


def _view(asks: Asks, identity: str) -> IdentityView:
    with asks.reading("policy.read") as look:
        return _shown(identity)(look, asks.actor)


def _shown(identity: str) -> Callable[[Reading, Actor], IdentityView]:
    return lambda look, _actor: _told(look, named_identity(look.session, identity))


def _told(look: Reading, row: Identity) -> IdentityView:
    owner = look.session.get(Identity, row.owner_id) if row.owner_id is not None else None
    person = queries.some_people(look.session, [row.id], now=look.now)[row.id]
    return IdentityView(
        id=row.id,
        name=row.name,
        display_name=row.display_name,
        kind=row.kind,
        owner=owner.name if owner is not None else None,
        active=row.active,
        answered_for=queries.answers_for(look.session, row),
        is_demo=row.is_demo,
        created_at=row.created_at,
        roles=tuple(sorted(person.roles)),
    )


def _seen(held: Held, identity: str) -> AbstractContextManager[None]:
    return held.held("policy.read", _shown(identity), select(col(Identity.id)).where(Identity.name == identity))
