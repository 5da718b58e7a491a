"""`countersign policy`: what an environment asks of a change before it may go live."""

from __future__ import annotations

import json
from pathlib import Path

import click

from backend.cli import inputs
from backend.cli.output import emit, guarded, json_option, note, plain, printable
from backend.cli.session import Session, acting
from backend.client.results import Environment
from backend.core.errors import NotFound


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
    found = [one for one in opened.client.policies.list() if environment in (None, one.name)]
    if not found:
        raise NotFound("environment", str(environment))
    emit(as_json, {"environments": found}, [line for one in found for line in _lines(one)])


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
    saved = opened.client.policies.set(environment, inputs.json_object(file))
    problems = [printable(one) for one in saved.problems]
    if saved.request is not None and not as_json:
        note("It asks for less where changes need approvals, so that a second person has to confirm this request:")
    emit(as_json, plain(saved), [saved.request or f"{saved.policy} is in force.", *problems])


def _lines(one: Environment) -> list[str]:
    frozen = [f"  Frozen: {printable(one.frozen)}"] if one.frozen else []
    problems = [f"  {printable(problem.says)}" for problem in one.problems]
    return [f"{one.name} ({one.policy_id})", *frozen, *problems, f"  {json.dumps(plain(one.policy))}"]
