"""`countersign token`: make, list and revoke the tokens by which programs use the API."""

from __future__ import annotations

import click

from backend.cli import inputs
from backend.cli.output import emit, facts, guarded, json_option, note, plain, table
from backend.cli.session import Session, acting
from backend.core.errors import Refusal


@click.group()
def token() -> None:
    """Make, list and revoke tokens for the API."""


@token.command()
@acting
@click.argument("name")
@click.option("--for", "identity", metavar="SERVICE", help="A service that you own; by default yourself.")
@click.option("--lifetime", default="90d", show_default=True, help="How long it is good for, up to 366d.")
@json_option
@guarded
def create(opened: Session, name: str, identity: str | None, lifetime: str, as_json: bool) -> None:
    """Make a token called NAME. It is printed once and kept nowhere; whoever has it acts as its identity."""
    seconds = inputs.seconds(lifetime)
    if not 60 <= seconds <= 366 * 86_400:
        raise Refusal(f"{lifetime} is no lifetime of a token.", "Choose between 1m and 366d.", code="bad-lifetime")
    made = opened.client.tokens.create(name, identity=identity, lifetime_seconds=seconds)
    if not as_json:
        note("Keep it as a secret: it is shown only now.")
        note("\n".join(facts((("token", made.id), ("acts as", made.identity), ("good until", made.expires_at)))))
    told = {"text": made.token, **{name: one for name, one in plain(made).items() if name != "token"}}
    emit(as_json, {"token": told}, [made.token or ""])


@token.command("list")
@acting
@click.option("--all", "everybody", is_flag=True, help="Everybody's, for an admin.")
@json_option
@guarded
def list_tokens(opened: Session, everybody: bool, as_json: bool) -> None:
    """List your tokens and those of services that you own, the newest first."""
    found = opened.client.tokens.list(everybody=everybody)
    rows = [(one.id, one.identity, one.name, one.state, one.expires_at, one.last_used_at) for one in found]
    emit(as_json, {"tokens": found}, table(("token", "acts as", "name", "state", "until", "last used"), rows))


@token.command()
@acting
@click.argument("token_id", metavar="TOKEN")
@json_option
@guarded
def revoke(opened: Session, token_id: str, as_json: bool) -> None:
    """End TOKEN (its id, as `token list` shows it) at once."""
    opened.client.tokens.revoke(token_id)
    emit(as_json, {"revoked": token_id}, ["Revoked."])
