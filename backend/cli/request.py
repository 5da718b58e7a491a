"""`countersign request`: what one admin asked for and a second one has to confirm."""

from __future__ import annotations

import click

from backend.cli.output import emit, facts, guarded, json_option, table
from backend.cli.session import Session, acting

_REQUEST = click.argument("request_id", metavar="REQUEST")


@click.group()
def request() -> None:
    """What waits for a second person: roles where changes need approvals, groups that give one, weaker policies, owners."""


@request.command("list")
@acting
@click.option("--all", "all_of_them", is_flag=True, help="What was settled or ran out, too.")
@json_option
@guarded
def list_requests(opened: Session, all_of_them: bool, as_json: bool) -> None:
    """List what waits, the oldest first."""
    found = opened.client.requests.list(settled=all_of_them)
    rows = [(one.id, one.state, one.asked_by_name, one.expires_at, one.says) for one in found]
    emit(as_json, {"requests": found}, table(("request", "state", "asked by", "until", "for"), rows))


@request.command()
@acting
@_REQUEST
@json_option
@guarded
def show(opened: Session, request_id: str, as_json: bool) -> None:
    """Show what exactly is asked for."""
    found = opened.client.requests.show(request_id)
    settled = (("settled by", found.settled_by_name), ("at", found.settled_at), ("reason", found.reason))
    said = (("request", found.id), ("for", found.says), ("state", found.state), ("asked by", found.asked_by_name))
    emit(as_json, {"request": found}, facts((*said, ("until", found.expires_at), *settled)))


@request.command()
@acting
@_REQUEST
@json_option
@guarded
def confirm(opened: Session, request_id: str, as_json: bool) -> None:
    """Confirm what another admin asked for; it is done at once."""
    opened.client.requests.confirm(request_id)
    emit(as_json, {"confirmed": request_id}, ["Confirmed, and done."])


@request.command()
@acting
@_REQUEST
@click.option("--reason", required=True)
@json_option
@guarded
def refuse(opened: Session, request_id: str, reason: str, as_json: bool) -> None:
    """Refuse what was asked for, or take back what you asked for."""
    opened.client.requests.refuse(request_id, reason)
    emit(as_json, {"refused": request_id}, ["Refused."])
