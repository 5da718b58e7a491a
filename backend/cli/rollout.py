"""`countersign rollout`: the walk through an approved ramp that is under way on an endpoint."""

from __future__ import annotations

import click

from backend.cli import names
from backend.cli.change_show import rollout_lines
from backend.cli.output import emit, guarded, json_option, table
from backend.cli.session import Session, acting
from backend.client.results import Rollout
from backend.core.errors import Refusal

_NAME = click.argument("name", metavar="ENDPOINT", shell_complete=names.endpoints)
_reason = click.option("--reason", required=True, help="Why, in a sentence.")


@click.group()
def rollout() -> None:
    """See, pause, resume, let on, skip or abort the rollout of an endpoint."""


@rollout.command("list")
@acting
@json_option
@guarded
def list_rollouts(opened: Session, as_json: bool) -> None:
    """List the rollouts that are under way on any endpoint, the newest first."""
    found = opened.client.fleet.rollouts()
    rows = [(one.endpoint, one.environment, *_walk(one.rollout)) for one in found]
    emit(as_json, {"rollouts": found}, table(("endpoint", "environment", "state", "step", "waits"), rows))


def _walk(one: Rollout) -> tuple[str, str, str]:
    waits = "for a person" if one.waits_for_person else f"until {one.hold_until:%Y-%m-%d %H:%M}" if one.hold_until else ""
    return one.state, f"{one.step + 1} of {len(one.steps)}", waits


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
    opened.client.rollouts.pause(name, reason)
    _emit(opened, name, as_json)


@rollout.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def resume(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Go on where it was paused."""
    opened.client.rollouts.resume(name, reason)
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
    opened.client.rollouts.let_on(name, _there(opened, name).id, step - 1, reason)
    _emit(opened, name, as_json)


@rollout.command()
@acting
@_NAME
@click.option("--step", type=click.IntRange(min=1), required=True, help="The step that you looked at, as `show` counts it.")
@_reason
@json_option
@guarded
def skip(opened: Session, name: str, step: int, reason: str, as_json: bool) -> None:
    """Skip the steps up to the next one after which a person looks; their times and samples are not waited for."""
    opened.client.rollouts.skip(name, _there(opened, name).id, step - 1, reason)
    _emit(opened, name, as_json)


@rollout.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def abort(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """End it, and go back to what ran before."""
    opened.client.rollouts.abort(name, reason)
    _emit(opened, name, as_json)


def _there(opened: Session, name: str) -> Rollout:
    found = opened.client.rollouts.newest(name)
    if found is None:
        raise Refusal(f"There was no rollout on {name} yet.", "Look at its changes.", code="no-rollout")
    return found


def _emit(opened: Session, name: str, as_json: bool) -> None:
    found = opened.client.rollouts.newest(name)
    content = {"endpoint": name, "rollout": found}
    emit(as_json, content, rollout_lines(found) if found else [f"There was no rollout on {name} yet."])
