"""`/grants`: who holds which role where."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, Strict

from backend.access import queries
from backend.access.rows import Request, RoleGrant
from backend.access.rules import Role
from backend.api.asking import Asks, Instant, Name, Page, Paged, Reasoned, Sent, Shown
from backend.api.once import Making

router = APIRouter(tags=["grants"])
Moment = Annotated[Instant, Strict(False)]
Scope = Annotated[
    Name, Field(description="`*`, `environment:NAME`, `model:NAME` or `team:NAME`.", examples=["environment:dev"])
]


class GrantView(Shown):
    """One grant."""

    identity: str
    name: str = Field(description="What pages call the identity.")
    role: str
    scope: str
    expires_at: datetime | None
    is_in_force: bool


class Granting(Sent):
    """A role to be given."""

    identity: Name = Field(examples=["ana"])
    role: Role
    scope: Scope = "*"
    expires_at: Moment | None = Field(default=None, description="When it ends by itself.")


class TakingBack(Reasoned):
    """A role to be taken back."""

    identity: Name = Field(examples=["ana"])
    role: Role
    scope: Scope = "*"


class Settled(Shown):
    """What came of it."""

    done: bool
    request: str | None = Field(description="The request that a second person has to confirm before it is done.")


@router.get("/grants")
def list_grants(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[GrantView]:
    """Every grant by identity, ended ones included."""
    with asks.reading("policy.read") as look:
        found = queries.grant_lines(look.session, now=look.now)
    items, following = narrow.cut(found, lambda one: (one.identity, one.role, one.scope))
    return Page(items=tuple(map(GrantView.model_validate, items)), next=following)


@router.post("/grants")
def grant_role(asks: Asks, once: Making, sent: Granting) -> Settled:
    """Gives an identity a role. Where changes need approvals, a second admin has to confirm it. Again only moves its end."""

    def make() -> str:
        return asks.backend.identities.grant(asks.actor, sent.identity, sent.role, sent.scope, expires_at=sent.expires_at).id

    made = once.make((RoleGrant, Request), make)
    asked = made.id.startswith("ask_")
    return Settled(done=not asked, request=made.id if asked else None)


@router.post("/grants/take-back")
def take_back_role(asks: Asks, sent: TakingBack) -> Settled:
    """Ends a role at once; that takes one person."""
    asks.backend.identities.take_back(asks.actor, sent.identity, sent.role, sent.scope, reason=sent.reason)
    return Settled(done=True, request=None)
