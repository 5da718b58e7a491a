"""`/grants` and `/policies`: who holds which role where, and what an environment asks for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, Field, Strict

from backend.access import queries
from backend.access.rows import Request
from backend.access.rules import Role
from backend.api.asking import Asks, Name, Sent, Shown

router = APIRouter(tags=["grants"])
EnvironmentName = Annotated[str, Path(max_length=63, description="The environment's name.", examples=["staging"])]
Moment = Annotated[AwareDatetime, Strict(False)]
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


class TakingBack(Sent):
    """A role to be taken back."""

    identity: Name = Field(examples=["ana"])
    role: Role
    scope: Scope = "*"


class Settled(Shown):
    """What came of it."""

    done: bool
    request: str | None = Field(description="The request that a second person has to confirm before it is done.")


class PolicyView(Shown):
    """The policy in force, and what is wrong with the one that was sent."""

    policy: str = Field(description="`ENVIRONMENT@VERSION` that is in force.")
    problems: tuple[str, ...]
    request: str | None = Field(description="The request that a second person has to confirm before it is in force.")


@router.get("/grants")
def list_grants(asks: Asks) -> tuple[GrantView, ...]:
    """Every grant, ended ones included."""
    with asks.reading("policy.read") as look:
        return tuple(map(GrantView.model_validate, queries.grant_lines(look.session, now=look.now)))


@router.post("/grants")
def give_role(asks: Asks, sent: Granting) -> Settled:
    """Gives an identity a role. Where changes need approvals, a second admin has to confirm it."""
    made = asks.backend.identities.grant(asks.actor, sent.identity, sent.role, sent.scope, expires_at=sent.expires_at)
    return Settled(done=not isinstance(made, Request), request=made.id if isinstance(made, Request) else None)


@router.post("/grants/take-back")
def take_role_back(asks: Asks, sent: TakingBack) -> Settled:
    """Ends a role at once; that takes one person."""
    asks.backend.identities.take_back(asks.actor, sent.identity, sent.role, sent.scope)
    return Settled(done=True, request=None)


@router.put("/policies/{environment}")
def set_policy(asks: Asks, environment: EnvironmentName, sent: dict[str, Any]) -> PolicyView:
    """Puts a policy in force. One that asks for less, where changes need approvals, waits for a second person."""
    saved = asks.backend.policies.set_policy(asks.actor, environment, sent)
    problems = tuple(one.says for one in saved.problems)
    return PolicyView(policy=saved.id, problems=problems, request=saved.request_id)
