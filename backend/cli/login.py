"""`countersign login`, `whoami`, `logout`: at which server commands act, and as whom."""

from __future__ import annotations

import sys

import click

from backend.cli import saved
from backend.cli.output import emit, facts, guarded, json_option
from backend.cli.session import Session, acting
from backend.core.errors import Refusal

_MOST = 16_384


@click.command()
@click.option("--url", required=True, metavar="URL", help="The server, like https://countersign.example.com.")
@json_option
@guarded
def login(url: str, as_json: bool) -> None:
    """Keep a token for a server, and act there from now on. The token is asked for, or read from standard input.

    It is tried first, and kept in a file that you alone can read. `countersign logout` forgets it.
    """
    from backend.cli import remote
    from backend.client.wire import address

    where, text = address(url), _text()
    with remote.client(where, token=text) as client:
        me = client.me()
    path = saved.keep(where, text)
    content = {"url": where, "identity": me.name, "kind": me.kind, "roles": me.roles, "kept_in": str(path)}
    emit(as_json, content, [f"Commands act at {where} as {me.name} now.", f"The token is in {path}."])


@click.command()
@acting
@json_option
@guarded
def whoami(opened: Session, as_json: bool) -> None:
    """Say where commands act, as whom, and with which roles."""
    me, where = opened.client.me(), opened.where.url or "this machine"
    content = {"where": where, "id": me.id, "identity": me.name, "kind": me.kind, "owner_id": me.owner_id, "roles": me.roles}
    roles = ", ".join(me.roles) or "none that counts everywhere"
    emit(as_json, content, facts((("where", where), ("identity", me.name), ("kind", me.kind), ("roles", roles))))


@click.command()
@click.option("--url", metavar="URL", help="The server; by default the one that you logged in at last.")
@json_option
@guarded
def logout(url: str | None, as_json: bool) -> None:
    """Forget the token of a server here. It stays good elsewhere: `countersign token revoke` ends it."""
    from backend.client.wire import address

    where = address(url) if url is not None else saved.current()
    if where is None or not saved.forget(where):
        raise Refusal("No token is kept for that server.", "`countersign whoami` says where commands act.", code="not-found")
    emit(as_json, {"logged_out": where}, [f"The token for {where} is forgotten here."])


def _text() -> str:
    """The token, without echo on a terminal; never an argument, which other processes can read."""
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True)).strip()
    text = sys.stdin.read(_MOST).strip()
    if not text:
        raise Refusal("Standard input holds no token.", "Pipe it in, like `... login --url URL < token`.", code="bad-token")
    return text
