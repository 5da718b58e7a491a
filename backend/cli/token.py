"""`countersign token`: make, list and revoke the tokens by which programs use the API."""

from __future__ import annotations

import click

from backend.cli import inputs
from backend.cli.output import emit, facts, guarded, json_option, note, plain, table
from backend.cli.session import Session, acting
from backend.client.states import TOKEN_ROLES
from backend.core.errors import Refusal


def limits(role: str | None, scope: str) -> str:
    """What a token or a binding is narrowed to, in words."""
    return f"{role or 'every role'} in {scope}" if role is not None or scope != "*" else "all that it may"


@click.group()
def token() -> None:
    """Make, list and revoke tokens for the API."""


@token.command()
@acting
@click.argument("name")
@click.option("--for", "identity", metavar="SERVICE", help="A service that you own; by default yourself.")
@click.option("--lifetime", default="90d", show_default=True, help="How long it is good for, up to 366d.")
@click.option(
    "--role",
    type=click.Choice(TOKEN_ROLES),
    help="At most this role (feeder: only send to inference logs); by default every one.",
)
@click.option(
    "--scope", default="*", show_default=True, help="Nowhere but here: `environment:NAME`, `model:NAME`, `team:NAME`."
)
@json_option
@guarded
def create(
    opened: Session, name: str, identity: str | None, lifetime: str, role: str | None, scope: str, as_json: bool
) -> None:
    """Make a token called NAME. It is printed once and kept nowhere; whoever has it acts as its identity, within its limits."""
    seconds = inputs.seconds(lifetime)
    if not 60 <= seconds <= 366 * 86_400:
        raise Refusal(f"{lifetime} is no lifetime of a token.", "Choose between 1m and 366d.", code="bad-lifetime")
    made = opened.client.tokens.create(name, identity=identity, lifetime_seconds=seconds, role=role, scope=scope)
    if not as_json:
        note("Keep it as a secret: it is shown only now.")
        told = (("token", made.id), ("acts as", made.identity), ("good until", made.expires_at))
        note("\n".join(facts((*told, ("at most", limits(made.role, made.scope))))))
    shown = {"text": made.token, **{name: one for name, one in plain(made).items() if name != "token"}}
    emit(as_json, {"token": shown}, [made.token or ""])


@token.command("list")
@acting
@click.option("--all", "everybody", is_flag=True, help="Everybody's, for an admin.")
@click.option("--of", "identity", metavar="NAME", help="Of these, those of this identity.")
@json_option
@guarded
def list_tokens(opened: Session, everybody: bool, identity: str | None, as_json: bool) -> None:
    """List your tokens and those of services that you own, the newest first."""
    found = opened.client.tokens.list(everybody=everybody, identity=identity)
    rows = [
        (one.id, one.identity, limits(one.role, one.scope), one.name, one.state, one.expires_at, one.last_used_at)
        for one in found
    ]
    emit(as_json, {"tokens": found}, table(("token", "acts as", "at most", "name", "state", "until", "last used"), rows))


@token.command()
@acting
@click.argument("token_id", metavar="TOKEN")
@json_option
@guarded
def revoke(opened: Session, token_id: str, as_json: bool) -> None:
    """End TOKEN (its id, as `token list` shows it) at once."""
    opened.client.tokens.revoke(token_id)
    emit(as_json, {"revoked": token_id}, ["Revoked."])
