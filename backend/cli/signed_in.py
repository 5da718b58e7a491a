"""`countersign session`: who is signed in where, and ending it."""

from __future__ import annotations

import click

from backend.cli.output import emit, guarded, json_option, table
from backend.cli.session import Session, acting

_REASON = click.option("--reason", default="", help="For the ledger.")


@click.group()
def session() -> None:
    """Who is signed in where, and ending it."""


@session.command("list")
@acting
@click.option("--all", "everybody", is_flag=True, help="Everybody's, for an admin.")
@click.option("--of", "identity", metavar="NAME", help="Those of this identity, for an admin.")
@json_option
@guarded
def list_sessions(opened: Session, everybody: bool, identity: str | None, as_json: bool) -> None:
    """List your sessions, the newest first."""
    found = opened.client.sessions.list(everybody=everybody, identity=identity)
    names = {one.id: one.name for one in opened.client.identities.list()} if everybody or identity else {}
    rows = [
        (one.id, names.get(one.identity_id, ""), one.device, one.provider, one.state, one.opened_at, one.used_at)
        for one in found
    ]
    heads = ("session", "whose", "device", "provider", "state", "signed in", "last click")
    emit(as_json, {"sessions": found}, table(heads, rows))


@session.command()
@acting
@click.argument("session_id", metavar="SESSION")
@_REASON
@json_option
@guarded
def end(opened: Session, session_id: str, reason: str, as_json: bool) -> None:
    """End SESSION at once: your own, or anybody's for an admin."""
    opened.client.sessions.end(session_id, reason)
    emit(as_json, {"ended": session_id}, ["Ended."])


@session.command("end-all")
@acting
@click.argument("name", required=False)
@_REASON
@json_option
@guarded
def end_all(opened: Session, name: str | None, reason: str, as_json: bool) -> None:
    """End every session of yourself, or of NAME for an admin."""
    ended = opened.client.sessions.end_all(name, reason)
    emit(as_json, {"ended": ended}, [f"{ended} ended."])
