"""`countersign freeze`: stop all starts in an environment, or everywhere. A rollback is never stopped."""

from __future__ import annotations

import click

from backend.cli.output import emit, guarded, json_option, table
from backend.cli.session import Session, acting

_reason = click.option("--reason", required=True, help="Why, in a sentence.")


@click.group()
def freeze() -> None:
    """Stop all starts in an environment, or everywhere."""


@freeze.command("set")
@acting
@click.argument("scope", metavar="ENVIRONMENT|*")
@_reason
@json_option
@guarded
def set_freeze(opened: Session, scope: str, reason: str, as_json: bool) -> None:
    """Stop all starts in ENVIRONMENT, or everywhere (`*`), until it is lifted."""
    row = opened.client.freezes.set(scope, reason)
    emit(as_json, {"freeze": row}, [f"Frozen; lift it with `countersign freeze lift {row.id} --reason ...`."])


@freeze.command()
@acting
@click.argument("freeze_id", metavar="FREEZE")
@_reason
@json_option
@guarded
def lift(opened: Session, freeze_id: str, reason: str, as_json: bool) -> None:
    """Lift a freeze; what waited for it may start."""
    opened.client.freezes.lift(freeze_id, reason)
    emit(as_json, {"lifted": freeze_id}, ["Lifted."])


@freeze.command("list")
@acting
@json_option
@guarded
def list_freezes(opened: Session, as_json: bool) -> None:
    """List freezes, those in force first."""
    found = opened.client.freezes.list()
    rows = [(one.id, one.scope, one.reason, one.set_at, one.lifted_at) for one in found]
    emit(as_json, {"freezes": found}, table(("freeze", "scope", "reason", "set", "lifted"), rows))
