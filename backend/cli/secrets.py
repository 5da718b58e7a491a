"""`countersign secrets`: which keys are in force, and putting others in their place where the worker's keys are."""

from __future__ import annotations

import click

from backend.cli.output import emit, facts, guarded, json_option, note, table
from backend.cli.session import Session, acting


@click.group()
def secrets() -> None:
    """The keys that secrets are sealed to and that sign the ledger's heads."""


@secrets.command()
@acting
@json_option
@guarded
def status(opened: Session, as_json: bool) -> None:
    """List the sealing keys, the one in force first, with whose secrets are sealed to each; and the key that signs the ledger.

    At a server too: there "here" is that machine.
    """
    found, signs = opened.client.keys.sealing(), opened.client.keys.ledger()
    rows = [
        (one.id, _due(one.state, one.is_due), one.secrets, ", ".join(one.used_by), one.is_here, one.made_at, one.destroyed_at)
        for one in found
    ]
    heads = ("key", "state", "secrets", "of", "here", "made", "destroyed")
    ledger = (("ledger", signs.id), ("state", _due("current", signs.is_due)), ("signs after row", signs.after_row))
    emit(as_json, {"keys": found, "ledger": signs}, [*table(heads, rows), "", *facts((*ledger, ("since", signs.since)))])


def _due(state: str, is_due: bool) -> str:
    return "current, another is due" if is_due else state


@secrets.command()
@acting
@json_option
@guarded
def rotate(opened: Session, as_json: bool) -> None:
    """Put a new sealing key in force, seal every secret to it anew, and destroy the old key once nothing needs it.

    It may be ended at any moment: whatever is left is done by the worker, or by running it again.
    """
    keys = opened.backend.sealing_keys
    name = keys.rotate(opened.actor)
    done = keys.tend(opened.actor)
    for kind, row in done.unreadable:
        note(f"A credential of the {kind} {row} could not be opened; enter it again. Its key is kept.")
    said = [f"{name} is in force; {done.resealed} rows were sealed anew."]
    said += [f"Destroyed: {', '.join(done.destroyed)}."] if done.destroyed else ["The old key is kept until nothing needs it."]
    content = {"key": name, "resealed": done.resealed, "destroyed": done.destroyed, "unreadable": done.unreadable}
    emit(as_json, content, said)


@secrets.command("rotate-ledger-key")
@acting
@json_option
@guarded
def rotate_ledger_key(opened: Session, as_json: bool) -> None:
    """Let another key sign the ledger's heads from now on. Heads that the key before signed stay good."""
    made = opened.backend.audit.rotate_key(opened.actor)
    emit(as_json, {"key": made.next_id, "after_row": made.last_seq}, [f"{made.next_id} signs heads after row {made.last_seq}."])
