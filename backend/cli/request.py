"""`countersign request`: what one admin asked for and a second one has to confirm."""

from __future__ import annotations

from collections.abc import Sequence

import click

from backend.cli.output import emit, facts, guarded, json_option, table
from backend.cli.session import Session, acting
from backend.cli.sign_in import touches
from backend.client.errors import NotAllowed
from backend.client.results import Request, Touched

_REQUEST = click.argument("request_id", metavar="REQUEST")


@click.group()
def request() -> None:
    """What waits for a second person: roles where changes need approvals, groups that give one, weaker policies, owners."""


def _touched(opened: Session, found: Request) -> Sequence[Touched] | None:
    """Whom a mapping would touch; None for other requests, and for whoever may not make one and so is not told."""
    if found.kind != "group_mapping.make":
        return None
    try:
        return opened.client.requests.touched(found.id)
    except NotAllowed:
        return None


def _whom(touched: Sequence[Touched] | None) -> list[str]:
    return [] if touched is None else touches(touched)


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
    lines = facts((*said, ("until", found.expires_at), *settled))
    touched = _touched(opened, found)
    told = {} if touched is None else {"touched": touched}
    emit(as_json, {"request": found, **told}, [*lines, *_whom(touched)])


@request.command()
@acting
@_REQUEST
@click.option("--reason", default="", help="For the ledger.")
@json_option
@guarded
def confirm(opened: Session, request_id: str, reason: str, as_json: bool) -> None:
    """Confirm what another admin asked for; it is done at once. Whom a group that gives a role touches, `show` says first."""
    touched = _touched(opened, opened.client.requests.show(request_id))
    opened.client.requests.confirm(request_id, reason)
    told = {} if touched is None else {"touched": touched}
    emit(as_json, {"confirmed": request_id, **told}, [*_whom(touched), "Confirmed, and done."])


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
