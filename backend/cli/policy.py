"""`countersign policy`: what an environment asks of a change before it may go live."""

from __future__ import annotations

import json
from pathlib import Path

import click

from backend.cli import inputs
from backend.cli.output import emit, guarded, json_option, note, plain, printable
from backend.cli.session import Session, acting
from backend.client.results import EnvironmentLine, Policy
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
    client = opened.client.policies
    lines = [one for one in client.environments() if environment in (None, one.name)]
    if not lines:
        raise NotFound("environment", str(environment))
    found = [(one, client.show(one.name)) for one in lines]
    told = [
        {"name": one.name, "policy_id": one.policy, "policy": held.rules, "problems": held.problems, "frozen": one.frozen}
        for one, held in found
    ]
    emit(as_json, {"environments": told}, [line for one, held in found for line in _lines(one, held)])


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
    client = opened.client.policies
    saved = client.set(environment, inputs.json_object(file), if_match=client.show(environment).etag)
    problems = [printable(one) for one in saved.problems]
    if saved.request is not None and not as_json:
        note("It asks for less where changes need approvals, so that a second person has to confirm this request:")
    emit(as_json, plain(saved), [saved.request or f"{saved.policy} is in force.", *problems])


def _lines(one: EnvironmentLine, held: Policy) -> list[str]:
    frozen = [f"  Frozen: {printable(one.frozen)}"] if one.frozen else []
    problems = [f"  {printable(problem)}" for problem in held.problems]
    return [f"{one.name} ({one.policy})", *frozen, *problems, f"  {json.dumps(plain(held.rules))}"]
