"""`countersign team`: teams, who belongs to them, and which models and endpoints they own."""

from __future__ import annotations

import click

from backend.cli.output import emit, facts, guarded, json_option, note, table
from backend.cli.session import Session, acting

_NAME = click.argument("name")
_PERSON = click.argument("identity", metavar="IDENTITY")
_MODEL = click.option("--model", help="A registered model.")
_ENDPOINT = click.option("--endpoint", help="An endpoint; without an owner of its own it is its model's team's.")


@click.group()
def team() -> None:
    """Teams, who belongs to them, and what they own."""


@team.command("list")
@acting
@json_option
@guarded
def list_teams(opened: Session, as_json: bool) -> None:
    """List teams by name."""
    found = opened.client.teams.list()
    rows = [(one.name, one.title, len(one.members), len(one.models), len(one.endpoints)) for one in found]
    emit(as_json, {"teams": found}, table(("team", "", "members", "models", "endpoints"), rows))


@team.command()
@acting
@_NAME
@json_option
@guarded
def show(opened: Session, name: str, as_json: bool) -> None:
    """Show a team: who belongs to it, and what it owns."""
    found = opened.client.teams.show(name)
    owned = (("models", ", ".join(found.models)), ("endpoints", ", ".join(found.endpoints)))
    said = (("team", found.name), ("title", found.title), ("members", ", ".join(found.members)), *owned)
    emit(as_json, {"team": found}, facts((*said, ("retired", found.retired_at))))


@team.command()
@acting
@_NAME
@click.option("--title", default="", help="What people call it.")
@json_option
@guarded
def create(opened: Session, name: str, title: str, as_json: bool) -> None:
    """Create a team; without members yet."""
    made = opened.client.teams.create(name, title)
    emit(as_json, {"team": {"id": made.id, "name": made.name, "title": made.title}}, [f"{name} is a team now."])


@team.command()
@acting
@_NAME
@click.argument("to")
@click.option("--title", help="Another title, too.")
@json_option
@guarded
def rename(opened: Session, name: str, to: str, title: str | None, as_json: bool) -> None:
    """Rename a team; its grants and what it owns stay with it."""
    made = opened.client.teams.rename(name, to, title)
    emit(as_json, {"team": {"id": made.id, "name": made.name, "title": made.title}}, [f"{name} is {to} now."])


@team.command()
@acting
@_NAME
@json_option
@guarded
def retire(opened: Session, name: str, as_json: bool) -> None:
    """End a team that owns nothing any more."""
    opened.client.teams.retire(name)
    emit(as_json, {"retired": name}, [f"{name} is retired."])


@team.command()
@acting
@_NAME
@_PERSON
@json_option
@guarded
def add(opened: Session, name: str, identity: str, as_json: bool) -> None:
    """Make an identity a member of a team."""
    opened.client.teams.add_member(name, identity)
    emit(as_json, {"added": {"team": name, "identity": identity}}, [f"{identity} belongs to {name} now."])


@team.command()
@acting
@_NAME
@_PERSON
@json_option
@guarded
def remove(opened: Session, name: str, identity: str, as_json: bool) -> None:
    """End an identity's membership."""
    opened.client.teams.remove_member(name, identity)
    emit(as_json, {"removed": {"team": name, "identity": identity}}, [f"{identity} does not belong to {name} any more."])


@team.command()
@acting
@_NAME
@_MODEL
@_ENDPOINT
@json_option
@guarded
def own(opened: Session, name: str, model: str | None, endpoint: str | None, as_json: bool) -> None:
    """Give a model or an endpoint to a team."""
    request = _set(opened, name, model, endpoint)
    told = {"team": name, "model": model, "endpoint": endpoint}
    emit(as_json, {"owner": told, "request": request}, [request or f"{name} owns {model or endpoint} now."])


@team.command()
@acting
@_MODEL
@_ENDPOINT
@json_option
@guarded
def disown(opened: Session, model: str | None, endpoint: str | None, as_json: bool) -> None:
    """Leave a model or an endpoint without an owner of its own."""
    request = _set(opened, None, model, endpoint)
    told = {"team": None, "model": model, "endpoint": endpoint}
    emit(as_json, {"owner": told, "request": request}, [request or f"No team owns {model or endpoint} now."])


def _set(opened: Session, team: str | None, model: str | None, endpoint: str | None) -> str | None:
    """The request that a second admin has to confirm first, if one has to."""
    if (model is None) == (endpoint is None):
        raise click.UsageError("Name a model or an endpoint.")
    kind, name = ("model", model) if model is not None else ("endpoint", endpoint)
    request = opened.client.teams.set_owner(kind, str(name), team).request
    if request is not None:
        note("It says who may do what where changes need approvals, so that a second admin has to confirm this request:")
    return request
