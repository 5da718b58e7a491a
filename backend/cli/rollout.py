"""`countersign rollout`: the walk through an approved ramp that is under way on an endpoint."""

from __future__ import annotations

import click
from sqlmodel import select

from backend.cli.change_show import rollout_lines
from backend.cli.output import emit, guarded, json_option
from backend.cli.session import Session, acting
from backend.core.errors import NotFound
from backend.delivery.rows import Endpoint
from backend.rollouts import queries
from backend.rollouts.queries import RolloutView
from backend.rollouts.service import At

_NAME = click.argument("name", metavar="ENDPOINT")
_reason = click.option("--reason", required=True, help="Why, in a sentence.")


@click.group()
def rollout() -> None:
    """See, pause, resume, let on or abort the rollout of an endpoint."""


@rollout.command()
@acting
@_NAME
@json_option
@guarded
def show(opened: Session, name: str, as_json: bool) -> None:
    """Show the newest rollout of an endpoint, step by step."""
    _emit(opened, name, as_json)


@rollout.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def pause(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Take no further step until it is resumed; the present one stays."""
    opened.backend.rollouts.pause(opened.actor, name, reason)
    _emit(opened, name, as_json)


@rollout.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def resume(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Go on where it was paused."""
    opened.backend.rollouts.resume(opened.actor, name, reason)
    _emit(opened, name, as_json)


@rollout.command("let-on")
@acting
@_NAME
@click.option("--step", type=click.IntRange(min=1), required=True, help="The step that you looked at, as `show` counts it.")
@_reason
@json_option
@guarded
def let_on(opened: Session, name: str, step: int, reason: str, as_json: bool) -> None:
    """Let it on after a step that waits for a person."""
    found = _newest(opened, name)
    opened.backend.rollouts.let_on(opened.actor, name, reason, at=At(found.id if found else "", step - 1))
    _emit(opened, name, as_json)


@rollout.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def abort(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """End it, and go back to what ran before."""
    opened.backend.rollouts.abort(opened.actor, name, reason)
    _emit(opened, name, as_json)


def _newest(opened: Session, name: str) -> RolloutView | None:
    with opened.reading("endpoint.read") as look:
        endpoint_id = look.session.exec(select(Endpoint.id).where(Endpoint.name == name)).one_or_none()
        if endpoint_id is None:
            raise NotFound("endpoint", name)
        newest = queries.of_endpoint(look.session, endpoint_id, limit=1)
        return queries.view(look.session, newest[0]) if newest else None


def _emit(opened: Session, name: str, as_json: bool) -> None:
    found = _newest(opened, name)
    content = {"endpoint": name, "rollout": found.to_json() if found else None}
    emit(as_json, content, rollout_lines(found) if found else [f"There was no rollout on {name} yet."])
