"""`countersign ramp`: ramps by name, which proposals use and policies ask for."""

from __future__ import annotations

from collections.abc import Iterable

import click

from backend.cli import inputs
from backend.cli.gates import gates_say
from backend.cli.output import emit, guarded, json_option, percent, table
from backend.cli.session import Session, acting
from backend.client.errors import NotFound
from backend.client.results import RampStep

_NAME = click.argument("name")


@click.group()
def ramp() -> None:
    """Ramps by name, which proposals use and policies ask for."""


@ramp.command("list")
@acting
@json_option
@guarded
def list_ramps(opened: Session, as_json: bool) -> None:
    """List ramps with their steps, and which environments ask for them."""
    found = opened.client.ramps.list()
    rows = [(one.name, _told(one.steps), "" if one.revision else "template", ", ".join(one.asked_for_by)) for one in found]
    emit(as_json, {"ramps": found}, table(("ramp", "steps", "", "asked for in"), rows))


@ramp.command("set")
@acting
@_NAME
@click.argument("steps")
@json_option
@guarded
def set_ramp(opened: Session, name: str, steps: str, as_json: bool) -> None:
    """Name a ramp, or change its STEPS, like shadow:30m:person,1:10m,25:1h:person. Changes that were proposed with it stay as they are."""
    told = inputs.steps(steps)
    made = opened.client.ramps.set(name, told, if_match=_seen(opened, name))
    emit(as_json, {"ramp": made}, [f"{name} has {len(made.steps)} step(s) now."])


@ramp.command()
@acting
@_NAME
@json_option
@guarded
def remove(opened: Session, name: str, as_json: bool) -> None:
    """Forget a ramp that no policy asks for."""
    opened.client.ramps.remove(name)
    emit(as_json, {"removed": name}, [f"{name} is forgotten."])


def _seen(opened: Session, name: str) -> str:
    """What there is under that name; "" for nothing yet."""
    try:
        return opened.client.ramps.show(name).etag
    except NotFound:
        return ""


def _told(steps: Iterable[RampStep]) -> str:
    return "; ".join(f"{'copies' if one.shadow else percent(one.share)} for {gates_say(one)}" for one in steps)
