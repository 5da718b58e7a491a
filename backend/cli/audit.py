"""`countersign audit`: is the record whole, and what does it say."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from backend.audit.queries import events
from backend.cli.output import NO, emit, guarded, json_option, table
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
    opened.permit("audit.verify")
    found = opened.backend.audit.verify()
    broken = None if found.broken is None else {"row": found.broken.seq, "reason": found.broken.reason}
    content = {
        "rows": found.rows,
        "heads": found.heads,
        "signed_to": found.signed_to,
        "intact": found.intact,
        "first_bad": broken,
        "warning": found.warning,
    }
    whole = [f"Intact: {found.rows} rows, {found.heads} signed heads agree.", *filter(None, [found.warning])]
    emit(as_json, content, whole if broken is None else [f"NOT intact: {broken['reason']}."])
    sys.exit(0 if found.intact else NO)


@audit.command()
@acting
@click.option("--subject", metavar="KIND/ID", help="Only rows about this subject.")
@click.option("--action", metavar="NOUN.VERB", help="Only rows of this action.")
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="The ledger as of a moment.")
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
    kind, _, identifier = (subject or "").partition("/")
    with opened.reading("audit.read") as look:
        found = events(
            look.session,
            subject=(kind, identifier) if subject else None,
            action=action,
            until=until,
            before_seq=before,
            limit=limit,
        )
    rows = [(one.seq, one.at, one.actor_id, one.action, f"{one.subject_kind}/{one.subject_id}") for one in found]
    emit(as_json, {"events": found}, table(("row", "at", "by", "action", "subject"), rows))
