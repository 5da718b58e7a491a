"""`/teams`: who belongs to which, and what each owns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints
from sqlmodel import col, select

from backend.access import teams
from backend.access.rows import Team
from backend.api.asking import Asks, Name, Page, Paged, Plain, Reading, Sent, Shown, name_of
from backend.api.identities import IdentityName
from backend.api.once import Making
from backend.api.tags import Fresh, Held, Tagged
from backend.core.context import Actor

router = APIRouter(prefix="/teams", tags=["teams"])
TeamName = Annotated[str, Path(max_length=63, description="The team's name.", examples=["flights"])]
Title = Annotated[str, StringConstraints(max_length=teams.MAX_TITLE), Plain]


class TeamView(Shown):
    """One team."""

    id: str
    name: str
    title: str
    members: tuple[str, ...] = Field(description="Names of the identities that belong to it.")
    models: tuple[str, ...] = Field(description="Models that it owns, as far as you may see them.")
    endpoints: tuple[str, ...] = Field(description="Endpoints that it owns, as far as you may see them.")
    created_at: datetime
    retired_at: datetime | None


class NewTeam(Sent):
    """A team to be made."""

    name: Name = Field(examples=["flights"])
    title: Title = ""


class Renaming(Sent):
    """What a team is called from now on."""

    name: Name = Field(examples=["flights"])
    title: Title | None = Field(default=None, description="Null leaves it.")


class Owning(Sent):
    """Whose a model or an endpoint is from now on."""

    kind: Literal["model", "endpoint"]
    name: Name = Field(examples=["flight-delay"])
    team: Name | None = Field(description="Null: no team's.", examples=["flights"])


class TeamsNarrow(Paged):
    """Which teams."""

    retired: Annotated[bool, Field(description="Retired ones too.")] = False


@router.get("")
def list_teams(asks: Asks, narrow: Annotated[TeamsNarrow, Query()]) -> Page[TeamView]:
    """Teams by name."""
    with asks.reading("team.read") as look:
        found = teams.lines(look.session, retired=narrow.retired)
    items, following = narrow.cut(found, lambda one: (one.name,))
    return Page(items=tuple(map(TeamView.model_validate, items)), next=following)


@router.post("", status_code=201)
def create_team(asks: Asks, fresh: Fresh, once: Making, sent: NewTeam, response: Response) -> TeamView:
    """A new team without members."""
    made = once.make(Team, lambda: asks.backend.teams.create(asks.actor, sent.name, sent.title).id)
    with asks.reading("team.read") as look:
        name = name_of(look, Team, made.id)
    response.headers["location"] = f"/api/v1/teams/{name}"
    return fresh(_view(asks, name))


class Owned(Shown):
    """What came of it."""

    done: bool
    request: str | None = Field(description="The request that a second person has to confirm before it is done.")


@router.post("/owner")
def set_owner(asks: Asks, sent: Owning) -> Owned:
    """Gives a model or an endpoint to a team, or to none. Where changes need approvals it takes two admins."""
    made = asks.backend.teams.set_owner(asks.actor, sent.kind, sent.name, sent.team)
    return Owned(done=made is None, request=made.id if made is not None else None)


@router.get("/{team}")
def show_team(asks: Asks, team: TeamName, tagged: Tagged) -> TeamView:
    """One team, retired or not."""
    return tagged(_view(asks, team))


@router.post("/{team}/rename")
def rename_team(asks: Asks, held: Held, team: TeamName, sent: Renaming) -> TeamView:
    """Another name or title; grants and what it owns stay with it."""
    with _seen(held, team):
        asks.backend.teams.rename(asks.actor, team, sent.name, sent.title)
    return held.answer(_view(asks, sent.name))


@router.post("/{team}/retire")
def retire_team(asks: Asks, held: Held, team: TeamName) -> TeamView:
    """Ends a team that owns nothing any more."""
    with _seen(held, team):
        asks.backend.teams.retire(asks.actor, team)
    return held.answer(_view(asks, team))


@router.put("/{team}/members/{identity}")
def add_team_member(asks: Asks, held: Held, team: TeamName, identity: IdentityName) -> TeamView:
    """Somebody belongs to the team from now on."""
    with _seen(held, team):
        asks.backend.teams.add_member(asks.actor, team, identity)
    return held.answer(_view(asks, team))


@router.delete("/{team}/members/{identity}")
def remove_team_member(asks: Asks, held: Held, team: TeamName, identity: IdentityName) -> TeamView:
    """Somebody does not belong to it any more."""
    with _seen(held, team):
        asks.backend.teams.remove_member(asks.actor, team, identity)
    return held.answer(_view(asks, team))


def _view(asks: Asks, name: str) -> TeamView:
    with asks.reading("team.read") as look:
        return _shown(name)(look, asks.actor)


def _shown(name: str) -> Callable[[Reading, Actor], TeamView]:
    return lambda look, _actor: TeamView.model_validate(teams.line(look.session, name))


def _seen(held: Held, name: str) -> AbstractContextManager[None]:
    return held.held("team.read", _shown(name), select(col(Team.id)).where(Team.name == name))
