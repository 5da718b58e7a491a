"""`/bindings`: which builds and machine clients act as which service, without a secret that anybody would have to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlmodel import col, select

from backend.access.binding_rows import Binding
from backend.access.rows import Request
from backend.access.rules import Role
from backend.api.asking import Asks, Name, Page, Paged, Reading, Sent, Shown, Why
from backend.api.grants import Moment, Scope
from backend.api.once import Making
from backend.api.tags import Held, Tagged
from backend.core.context import Actor

router = APIRouter(prefix="/bindings", tags=["bindings"])
BindingId = Annotated[str, Path(pattern=r"^bnd_[0-9a-z]{26}$", description="The binding's id.")]
Claims = Annotated[dict[Name, Name], Field(min_length=1, max_length=12)]


class BindingView(Shown):
    """One binding. Whoever brings a token that says all of `claims` acts as `identity`, within `role` and `scope`."""

    id: str
    profile: str = Field(examples=["github"])
    issuer: str = Field(examples=["https://token.actions.githubusercontent.com"])
    claims: Mapping[str, str]
    identity: str = Field(examples=["builds"])
    role: str | None = Field(description="At most this role; null for every role of the service.")
    scope: str
    state: str = Field(
        description="active, expired, ended, off where the settings do not know its issuer, or not-honoured where it asks for "
        "less than has to be asked for today."
    )
    says: str = Field(description="Of one that is not honoured: what it lacks, and what to ask for when it is made anew.")
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To within five minutes.")
    last_used_by: Mapping[str, str] = Field(
        description="What the job said of itself that used it last, with its token's `jti`."
    )


class IssuerView(Shown):
    """An issuer whose tokens are taken, as the settings say."""

    name: str
    title: str
    kind: str = Field(description="access, github or gitlab.")
    issuer: str
    audience: str
    scopes: Mapping[str, str] = Field(
        description="A scope of people's access tokens, and the role that it is good for at most; empty: every role of theirs."
    )


class NewBinding(Sent):
    """What shall act as a service."""

    service: Name = Field(examples=["builds"])
    profile: Name = Field(description="Whose tokens: a profile of the settings.", examples=["github"])
    claims: Claims = Field(
        description="What its tokens must say, each exactly.", examples=[{"repository_id": "456789", "ref": "refs/heads/main"}]
    )
    role: Role | None = Field(default=None, description="At most this role; null for every role of the service.")
    scope: Scope = "*"
    expires_at: Moment | None = Field(default=None, description="When it ends by itself.")


class BindingsNarrow(Paged):
    """Which bindings."""

    ended: Annotated[bool, Field(description="Ended ones too.")] = False


class Bound(Shown):
    """What came of it: the binding, or the request that a second person has to confirm before it is bound."""

    binding: str | None
    request: str | None


@router.get("")
def list_bindings(asks: Asks, narrow: Annotated[BindingsNarrow, Query()]) -> Page[BindingView]:
    """Every binding, the newest first."""
    found = asks.backend.bindings.lines(asks.actor, ended=narrow.ended)
    items, following = narrow.cut(found, lambda one: (one.made_at, one.id), newest_first=True)
    return Page(items=tuple(map(BindingView.model_validate, items)), next=following)


@router.get("/issuers")
def list_issuers(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[IssuerView]:
    """The issuers whose tokens are taken, by the names of their profiles."""
    items, following = narrow.cut(asks.backend.bindings.profiles(asks.actor), lambda one: (one.name,))
    return Page(items=tuple(map(IssuerView.model_validate, items)), next=following)


@router.get("/{binding}")
def show_binding(asks: Asks, binding: BindingId, tagged: Tagged) -> BindingView:
    """One binding, ended or not."""
    return tagged(_view(asks, binding))


@router.post("")
def make_binding(asks: Asks, once: Making, sent: NewBinding) -> Bound:
    """Binds. Where changes need approvals, a second admin has to confirm it. The same claims again are refused."""
    limits = sent.model_dump(include={"role", "scope", "expires_at"})

    def make() -> str:
        return asks.backend.bindings.bind(asks.actor, sent.service, sent.profile, sent.claims, **limits).id

    made = once.make((Binding, Request), make)
    asked = made.id.startswith("ask_")
    return Bound(binding=None if asked else made.id, request=made.id if asked else None)


@router.delete("/{binding}")
def end_binding(asks: Asks, held: Held, binding: BindingId, reason: Why = "") -> BindingView:
    """Ends a binding at once: the next request of its tokens is refused. Sending it again changes nothing."""
    with held.held("binding.list", _shown(asks, binding), select(col(Binding.id)).where(Binding.id == binding)):
        asks.backend.bindings.unbind(asks.actor, binding, reason)
    return held.answer(_view(asks, binding))


def _view(asks: Asks, binding: str) -> BindingView:
    return BindingView.model_validate(asks.backend.bindings.line(asks.actor, binding))


def _shown(asks: Asks, binding: str) -> Callable[[Reading, Actor], BindingView]:
    return lambda look, _: BindingView.model_validate(asks.backend.bindings.seen(look.session, binding, now=look.now))
