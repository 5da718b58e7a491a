"""`/grants`: who holds which role where."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, Strict

from backend.access import last_admin, queries, rosters
from backend.access.rosters import Ends, GrantLine
from backend.access.rows import Request, RoleGrant
from backend.access.rules import Role
from backend.api.asking import Asks, Instant, Name, Page, Paged, Reading, Reasoned, Sent, Shown
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
    source: str = Field(
        description="What it comes from: person; groups that a provider told at a sign-in; directory: its groups by SCIM; "
        "settings: the first admin of sign-in; system: from the beginning."
    )
    given_by: str = Field(description="Who gave it, or what it comes from, in words.", examples=["Nora [nora]"])
    giver: str | None = Field(description="The short name of whoever gave it, or confirmed that; null where nobody did.")
    given_at: datetime = Field(description="When; moving its end moves this not.")
    request: str | None = Field(
        description="The request by which it was given, where it took two; this and the next two for whoever sees requests."
    )
    asked_by: str | None = Field(description="The short name of whoever asked for it, where it took two.")
    reason: str = Field(description="Why it was confirmed, where it took two.")


class GrantsNarrow(Paged):
    """What a list of grants is narrowed by."""

    identity: Annotated[str | None, Field(max_length=256, description="Whose, by the short name.", examples=["ana"])] = None
    role: Role | None = None
    scope: Annotated[
        str | None,
        Field(
            max_length=300,
            pattern=r"^(\*|environment|model|team)(:[^\x00]+)?$",
            description="As it is written, or a kind of scope: environment, model or team.",
            examples=["environment"],
        ),
    ] = None
    ends: Annotated[
        Ends | None,
        Field(description="In force at all, ending within two weeks (soon), over, or open: without an end.", examples=["soon"]),
    ] = None


class AdminsView(Shown):
    """How long there is somebody who may give roles, if nobody does anything."""

    anybody: bool = Field(description="Whether an active person is an admin everywhere now.")
    until: datetime | None = Field(description="From when on nobody is; null for as long as nobody changes that.")
    is_soon: bool = Field(description="Whether it is time to do something about it.")
    says: str = Field(description='What is wrong; "" where nothing is.', examples=[""])
    remedy: str = Field(description="What to do about it.", examples=[""])


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
def list_grants(asks: Asks, narrow: Annotated[GrantsNarrow, Query()]) -> Page[GrantView]:
    """Every grant by identity, ended ones included, with who or what gave it, when, and until when."""
    asked = narrow.model_dump(exclude={"after", "limit"})
    with asks.reading("policy.read") as look:
        found = rosters.all_grants(look.session, now=look.now, **asked)
        with_requests = _sees_requests(asks, look)
    items, following = narrow.cut(found, lambda one: (one.name, one.role, one.scope))
    return Page(items=tuple(_told(one, with_requests=with_requests) for one in items), next=following)


@router.get("/grants/admins")
def show_admins(asks: Asks) -> AdminsView:
    """How long there is an admin everywhere, and what to do before nobody is: nobody could give a role any more."""
    demo = asks.backend.settings.demo_identities
    with asks.reading("policy.read") as look:
        found = last_admin.outlook(look.session, now=look.now, demo=demo)
    says, remedy = found.problem or ("", "")
    return AdminsView(anybody=found.anybody, until=found.until, is_soon=found.is_soon, says=says, remedy=remedy)


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


def _sees_requests(asks: Asks, look: Reading) -> bool:
    return queries.permitted(look.session, asks.actor, "request.list", now=look.now)


def _told(one: GrantLine, *, with_requests: bool) -> GrantView:
    return GrantView(
        identity=one.name,
        name=one.shown,
        role=one.role,
        scope=one.scope,
        expires_at=one.until,
        is_in_force=one.is_in_force,
        source=one.source,
        given_by=one.by,
        giver=one.giver,
        given_at=one.granted_at,
        request=one.request if with_requests else None,
        asked_by=one.asked_by if with_requests else None,
        reason=one.reason if with_requests else "",
    )
