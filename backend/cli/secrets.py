"""`countersign secrets`: which keys are in force, and putting others in their place. Run where the worker's keys are."""

from __future__ import annotations

import click

from backend.cli.output import emit, guarded, json_option, note, table
from backend.cli.session import Session, acting


@click.group()
def secrets() -> None:
    """The keys that secrets are sealed to and that sign the ledger's heads."""


@secrets.command()
@acting
@json_option
@guarded
def status(opened: Session, as_json: bool) -> None:
    """List the sealing keys, newest first, with how many secrets are sealed to each."""
    with opened.reading("sealing_key.list") as look:
        found = opened.backend.sealing_keys.status(look.session)
    rows = [(one.id, one.state, one.secrets, "yes" if one.is_here else "", one.made_at, one.destroyed_at) for one in found]
    emit(as_json, {"keys": found}, table(("key", "state", "secrets", "here", "made", "destroyed"), rows))


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
