"""`countersign ramp`: ramps by name, which proposals use and policies ask for."""

from __future__ import annotations

from collections.abc import Iterable

import click

from backend.cli import inputs
from backend.cli.output import emit, guarded, json_option, table
from backend.cli.session import Session, acting
from backend.core import durations
from backend.delivery.plan import percent
from backend.policy import ramps
from backend.policy.rules import RampStep

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
    with opened.reading("policy.read") as look:
        found = ramps.lines(look.session)
    rows = [(one.name, _told(one.steps), ", ".join(one.asked_for_by)) for one in found]
    emit(as_json, {"ramps": found}, table(("ramp", "steps", "asked for in"), rows))


@ramp.command("set")
@acting
@_NAME
@click.argument("steps")
@json_option
@guarded
def set_ramp(opened: Session, name: str, steps: str, as_json: bool) -> None:
    """Name a ramp, or change its STEPS, like 1:10m,25:1h,50:1h:person. Changes that were proposed with it stay as they are."""
    made = opened.backend.ramps.set(opened.actor, name, inputs.steps(steps))
    told = {"name": name, "steps": made.steps, "revision": made.revision}
    emit(as_json, {"ramp": told}, [f"{name} has {len(made.steps)} step(s) now."])


@ramp.command()
@acting
@_NAME
@json_option
@guarded
def remove(opened: Session, name: str, as_json: bool) -> None:
    """Forget a ramp that no policy asks for."""
    opened.backend.ramps.remove(opened.actor, name)
    emit(as_json, {"removed": name}, [f"{name} is forgotten."])


def _told(steps: Iterable[RampStep]) -> str:
    return ", ".join(
        f"{percent(one.share)} for {durations.written(one.hold_seconds)}{', then a person' if one.person else ''}"
        for one in steps
    )
