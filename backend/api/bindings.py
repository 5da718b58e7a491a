"""`/bindings`: which builds and machine clients act as which service, without a secret that anybody would have to keep."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, Field, Strict

from backend.access.rows import Request
from backend.access.rules import Role
from backend.api.asking import Asks, Name, Sent, Shown

router = APIRouter(prefix="/bindings", tags=["bindings"])
BindingId = Annotated[str, Path(pattern=r"^bnd_[0-9a-z]{26}$", description="The binding's id.")]
Claims = Annotated[dict[Name, Name], Field(min_length=1, max_length=12)]


class BindingView(Shown):
    """One binding. Whoever brings a token that says all of `claims` acts as `identity`, within `role` and `scope`."""

    id: str
    profile: str = Field(examples=["github"])
    issuer: str = Field(examples=["https://token.actions.githubusercontent.com"])
    claims: dict[str, str]
    identity: str = Field(examples=["builds"])
    role: str | None = Field(description="At most this role; null for every role of the service.")
    scope: str
    state: str = Field(description="active, expired, ended, or off where the settings do not know its issuer.")
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To within five minutes.")
    last_used_by: dict[str, str] = Field(description="What the job said of itself that used it last, with its token's `jti`.")


class IssuerView(Shown):
    """An issuer whose tokens are taken, as the settings say."""

    name: str
    title: str
    kind: str = Field(description="access, github or gitlab.")
    issuer: str
    audience: str


class Binding(Sent):
    """What shall act as a service."""

    service: Name = Field(examples=["builds"])
    profile: Name = Field(examples=["github"])
    claims: Claims = Field(examples=[{"repository_id": "456789", "ref": "refs/heads/main"}])
    role: Role | None = None
    scope: Name = Field(default="*", examples=["model:flight-delay"])
    expires_at: Annotated[AwareDatetime, Strict(False)] | None = None


class Bound(Shown):
    """What came of it."""

    binding: str | None
    request: str | None = Field(description="The request that a second person has to confirm before it is bound.")


@router.get("")
def list_bindings(asks: Asks, ended: Annotated[bool, Query(description="Ended ones too.")] = False) -> tuple[BindingView, ...]:
    """Every binding, the newest first."""
    return tuple(map(BindingView.model_validate, asks.backend.bindings.lines(asks.actor, ended=ended)))


@router.get("/issuers")
def list_issuers(asks: Asks) -> tuple[IssuerView, ...]:
    """The issuers whose tokens are taken."""
    return tuple(map(IssuerView.model_validate, asks.backend.bindings.profiles(asks.actor)))


@router.get("/{binding}")
def show_binding(asks: Asks, binding: BindingId) -> BindingView:
    """One binding, ended or not."""
    return BindingView.model_validate(asks.backend.bindings.line(asks.actor, binding))


@router.post("")
def make_binding(asks: Asks, sent: Binding) -> Bound:
    """Binds. Where changes need approvals, a second admin has to confirm it. The same claims again are refused."""
    made = asks.backend.bindings.bind(
        asks.actor, sent.service, sent.profile, sent.claims, role=sent.role, scope=sent.scope, expires_at=sent.expires_at
    )
    waits = isinstance(made, Request)
    return Bound(binding=None if waits else made.id, request=made.id if waits else None)


@router.delete("/{binding}")
def end_binding(asks: Asks, binding: BindingId) -> BindingView:
    """Ends a binding at once. Sending it again changes nothing."""
    asks.backend.bindings.unbind(asks.actor, binding)
    return BindingView.model_validate(asks.backend.bindings.line(asks.actor, binding))
