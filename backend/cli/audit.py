"""`countersign audit`: is the record whole, and what does it say."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from backend.cli import inputs
from backend.cli.output import NO, emit, guarded, json_option, plain, table
from backend.cli.session import Session, acting


@click.group()
def audit() -> None:
    """Read the ledger, and check that nobody rewrote it."""


@audit.command()
@acting
@json_option
@guarded
def verify(opened: Session, as_json: bool) -> None:
    """Walk the whole hash chain, and compare it with every signed head; exit code 4 when it does not hold."""
    found = opened.client.audit.verify()
    whole = [f"Intact: {found.rows} rows, {found.heads} signed heads agree.", *filter(None, [found.warning])]
    emit(as_json, plain(found), whole if found.first_bad is None else [f"NOT intact: {found.first_bad.reason}."])
    sys.exit(0 if found.intact else NO)


@audit.command()
@acting
@click.option("--subject", metavar="KIND/ID", help="Only rows about this subject.")
@click.option("--action", metavar="NOUN.VERB", help="Only rows of this action.")
@click.option("--until", type=inputs.MOMENT, help="The ledger as of a moment.")
@click.option("--before", type=click.IntRange(min=1), help="Only rows before this one, for the next page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
@guarded
def log(
    opened: Session,
    subject: str | None,
    action: str | None,
    until: datetime | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List ledger rows, newest first."""
    found = opened.client.audit.events(subject=subject, action=action, until=until, before=before, limit=limit)
    rows = [(one.seq, one.at, one.actor_id, one.action, f"{one.subject_kind}/{one.subject_id}") for one in found]
    emit(as_json, {"events": found}, table(("row", "at", "by", "action", "subject"), rows))
