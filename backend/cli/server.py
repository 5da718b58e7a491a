"""`countersign server` and `countersign router`: where models run, and what splits their traffic."""

from __future__ import annotations

from pathlib import Path

import click

from backend.cli import inputs
from backend.cli.adapter import adapter
from backend.cli.moves import add_moves
from backend.cli.output import emit, facts, guarded, json_option, note, table
from backend.cli.session import Session, acting
from backend.client.results import Inspected, Router, Server
from backend.client.states import ROUTER_KINDS, SERVER_KINDS


@click.group()
def server() -> None:
    """Register, test, move and list servers."""


@server.command()
@acting
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(SERVER_KINDS))
@click.option("--upstream", required=True, metavar="HOST:PORT", help="Where routers reach its inference interface.")
@adapter
@json_option
@guarded
def register(
    opened: Session,
    name: str,
    kind: str,
    upstream: str,
    pairs: tuple[str, ...],
    file: Path | None,
    credential_env: str | None,
    credential_stdin: bool,
    credential_from: str | None,
    as_json: bool,
) -> None:
    """Add a server. Nothing is called yet: `server test` does that."""
    given, secret = inputs.settings(pairs, file), inputs.credential(credential_env, credential_stdin)
    row = opened.client.servers.register(name, kind, upstream, given, secret, credential_from)
    emit(as_json, {"server": _told(row)}, [f"Server {row.name} is registered; try `countersign server test {row.name}`."])


@server.command("list")
@acting
@json_option
@guarded
def list_servers(opened: Session, as_json: bool) -> None:
    """List servers by name, with how many endpoints stand on each and when it last answered."""
    found = opened.client.servers.list()
    rows = [(one.name, one.kind, one.upstream, one.endpoints, one.managed, one.seen_at, one.last_error) for one in found]
    header = ("server", "kind", "upstream", "endpoints", "managed", "answered", "last error")
    emit(as_json, {"servers": found}, table(header, rows))


@server.command("test")
@acting
@click.argument("name")
@json_option
@guarded
def check_server(opened: Session, name: str, as_json: bool) -> None:
    """Ask a server what it is."""
    _tell(as_json, "server", opened.client.servers.test(name))


@click.group()
def router() -> None:
    """Register, test, move and list traffic routers."""


@router.command("register")
@acting
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(ROUTER_KINDS))
@click.option("--public-url", required=True, metavar="URL", help="Where callers reach its endpoints.")
@adapter
@json_option
@guarded
def register_router(
    opened: Session,
    name: str,
    kind: str,
    public_url: str,
    pairs: tuple[str, ...],
    file: Path | None,
    credential_env: str | None,
    credential_stdin: bool,
    credential_from: str | None,
    as_json: bool,
) -> None:
    """Add a router. Nothing is called yet: `router test` does that."""
    given, secret = inputs.settings(pairs, file), inputs.credential(credential_env, credential_stdin)
    row = opened.client.routers.register(name, kind, public_url, given, secret, credential_from)
    emit(as_json, {"router": _told(row)}, [f"Router {row.name} is registered; try `countersign router test {row.name}`."])


@router.command("list")
@acting
@json_option
@guarded
def list_routers(opened: Session, as_json: bool) -> None:
    """List routers by name, with how many endpoints stand behind each."""
    found = opened.client.routers.list()
    rows = [(one.name, one.kind, one.public_url, one.endpoints) for one in found]
    emit(as_json, {"routers": found}, table(("router", "kind", "public URL", "endpoints"), rows))


@router.command("test")
@acting
@click.argument("name")
@json_option
@guarded
def check_router(opened: Session, name: str, as_json: bool) -> None:
    """Ask a router what it is."""
    _tell(as_json, "router", opened.client.routers.test(name))


def _told(row: Server | Router) -> dict[str, object]:
    return {"id": row.id, "name": row.name, "kind": row.kind, "has_credential": row.has_credential}


def _tell(as_json: bool, noun: str, found: Inspected) -> None:
    for warning in found.warnings:
        note(warning)
    able = sorted(name for name, value in found.abilities.items() if value)
    said = facts((("product", f"{found.product} {found.version}"), ("live", found.live), ("able to", ", ".join(able))))
    emit(as_json, {noun: found}, said)


add_moves(server, "server")
add_moves(router, "router")
