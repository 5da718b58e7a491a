"""`countersign policy`: what an environment asks of a change before it may go live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from backend.cli import inputs
from backend.cli.output import emit, guarded, json_option, note, printable
from backend.cli.session import Session, acting
from backend.core.errors import NotFound
from backend.policy import queries
from backend.policy.queries import EnvironmentView


@click.group()
def policy() -> None:
    """See and set what an environment asks of a change."""


@policy.command()
@acting
@click.argument("environment", required=False)
@json_option
@guarded
def show(opened: Session, environment: str | None, as_json: bool) -> None:
    """Show the policies in force, with what is wrong with each, and the freeze if there is one."""
    with opened.reading("policy.read") as look:
        found = [one for one in queries.environments(look.session, look.now) if environment in (None, one.name)]
    if not found:
        raise NotFound("environment", str(environment))
    emit(as_json, {"environments": [_told(one) for one in found]}, [line for one in found for line in _lines(one)])


@policy.command("set")
@acting
@click.argument("environment")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@json_option
@guarded
def set_policy(opened: Session, environment: str, file: Path, as_json: bool) -> None:
    """Put the policy in FILE (JSON, as `policy show` prints it; `-` is standard input) in force in ENVIRONMENT at once.

    One that asks for less, where changes need approvals, waits for a second person: see `countersign request`.
    """
    saved = opened.backend.policies.set_policy(opened.actor, environment, inputs.json_object(file))
    problems = [printable(one.says) for one in saved.problems]
    told = {"policy": saved.id, "problems": saved.problems, "request": saved.request_id}
    if saved.request_id is not None and not as_json:
        note("It asks for less where changes need approvals, so that a second person has to confirm this request:")
    emit(as_json, told, [saved.request_id or f"{saved.id} is in force.", *problems])


def _told(one: EnvironmentView) -> dict[str, Any]:
    return {**vars(one), "policy": one.policy.to_json()}


def _lines(one: EnvironmentView) -> list[str]:
    frozen = [f"  Frozen: {printable(one.frozen)}"] if one.frozen else []
    problems = [f"  {printable(problem.says)}" for problem in one.problems]
    return [f"{one.name} ({one.policy_id})", *frozen, *problems, f"  {json.dumps(one.policy.to_json())}"]
