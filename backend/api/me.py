"""`/me`: whom a token acts as, for whoever sets one up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from backend.access import queries, rules
from backend.access.checks import standing
from backend.api.asking import Asks, Shown

router = APIRouter(tags=["me"])


class Me(Shown):
    """The identity that acts, and what its roles allow now."""

    id: str
    name: str
    kind: str
    owner_id: str | None = Field(description="Of a service: who owns it. Both are one interest.")
    roles: tuple[str, ...]
    may: tuple[str, ...] = Field(examples=[["change.propose", "model.read", "version.register"]])


@router.get("/me")
def show_me(
    asks: Asks,
    environment: Annotated[str | None, Query(max_length=63, description="Count roles in this environment too.")] = None,
    model: Annotated[str | None, Query(max_length=256, description="Count roles on this model too.")] = None,
) -> Me:
    """Whom this token acts as, with which roles."""
    database = asks.backend.database
    with database.read() as session:
        held, now = standing(session, asks.actor).held, database.now(session)
        team = queries.owner(session, model=model)
    roles = rules.roles_in_force(held, now=now, environment=environment, model=model, team=team)
    may = tuple(sorted(rules.allowed(roles)))
    actor = asks.actor
    return Me(id=actor.id, name=actor.name, kind=actor.kind, owner_id=actor.owner_id, roles=tuple(sorted(roles)), may=may)
