"""`countersign ramp`: ramps by name, which proposals use and policies ask for."""

from __future__ import annotations

import click

from backend.cli import inputs
from backend.cli.gates import gates_say
from backend.cli.output import emit, guarded, json_option, percent, table
from backend.cli.session import Session, acting
from backend.client.errors import NotFound
from backend.client.results import NamedRamp

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
    rows = [row for one in found for row in _rows(one)]
    emit(as_json, {"ramps": found}, table(("ramp", "step", "gets", "goes on after", ""), rows))


@ramp.command("set")
@acting
@_NAME
@click.argument("steps")
@json_option
@guarded
def set_ramp(opened: Session, name: str, steps: str, as_json: bool) -> None:
    """Name a ramp, or change its STEPS, like shadow:30m:person,1:10m:units=100,25:1h:proved:person.

    Changes that were proposed with it stay as they are.
    """
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


def _rows(one: NamedRamp) -> list[tuple[str, int, str, str, str]]:
    """A line a step; whose it is stands at the first."""
    asked = ", ".join(one.asked_for_by)
    whose = f"asked for in {asked}" if asked else "" if one.revision else "template"
    return [
        (
            one.name * (number == 1),
            number,
            "copies" if step.shadow else percent(step.share),
            gates_say(step),
            whose * (number == 1),
        )
        for number, step in enumerate(one.steps, 1)
    ]
