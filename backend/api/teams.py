"""`/teams`: who belongs to which, and what each owns."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field, StringConstraints

from backend.access import teams
from backend.api.asking import Asks, Name, Plain, Sent, Shown

router = APIRouter(prefix="/teams", tags=["teams"])
TeamName = Annotated[str, Path(max_length=63, description="The team's name.", examples=["flights"])]
IdentityName = Annotated[str, Path(max_length=256, description="The identity's name.", examples=["ana"])]
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


@router.get("")
def list_teams(asks: Asks) -> tuple[TeamView, ...]:
    """Teams by name, without retired ones."""
    with asks.reading("team.read") as look:
        return tuple(map(TeamView.model_validate, teams.lines(look.session)))


@router.post("", status_code=201)
def create_team(asks: Asks, sent: NewTeam) -> TeamView:
    """A new team without members."""
    asks.backend.teams.create(asks.actor, sent.name, sent.title)
    return _view(asks, sent.name)


class Owned(Shown):
    """What came of it."""

    done: bool
    request: str | None = Field(description="The request that a second person has to confirm before it is done.")


@router.post("/owner")
def set_owner(asks: Asks, sent: Owning) -> Owned:
    """Gives a model or an endpoint to a team, or to none. Where that moves who may do what, it takes two admins."""
    made = asks.backend.teams.set_owner(asks.actor, sent.kind, sent.name, sent.team)
    return Owned(done=made is None, request=made.id if made is not None else None)


@router.get("/{team}")
def show_team(asks: Asks, team: TeamName) -> TeamView:
    """One team, retired or not."""
    return _view(asks, team)


@router.post("/{team}/rename")
def rename_team(asks: Asks, team: TeamName, sent: Renaming) -> TeamView:
    """Another name or title; grants and what it owns stay with it."""
    asks.backend.teams.rename(asks.actor, team, sent.name, sent.title)
    return _view(asks, sent.name)


@router.post("/{team}/retire")
def retire_team(asks: Asks, team: TeamName) -> TeamView:
    """Ends a team that owns nothing any more."""
    asks.backend.teams.retire(asks.actor, team)
    return _view(asks, team)


@router.put("/{team}/members/{identity}")
def add_member(asks: Asks, team: TeamName, identity: IdentityName) -> TeamView:
    """Somebody belongs to the team from now on."""
    asks.backend.teams.add_member(asks.actor, team, identity)
    return _view(asks, team)


@router.delete("/{team}/members/{identity}")
def remove_member(asks: Asks, team: TeamName, identity: IdentityName) -> TeamView:
    """Somebody does not belong to it any more."""
    asks.backend.teams.remove_member(asks.actor, team, identity)
    return _view(asks, team)


def _view(asks: Asks, name: str) -> TeamView:
    with asks.reading("team.read") as look:
        return TeamView.model_validate(teams.line(look.session, name))
