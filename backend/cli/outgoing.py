"""`countersign outgoing`: where the installation may call, and whether one address would be called."""

from __future__ import annotations

import click

from backend.cli.output import emit, facts, guarded, json_option
from backend.cli.session import Session, acting
from backend.client.results import WayOut


@click.group()
def outgoing() -> None:
    """Where the installation may call, as its settings say."""


@outgoing.command()
@acting
@json_option
@guarded
def show(opened: Session, as_json: bool) -> None:
    """Show which private ranges and which ports are called."""
    found = opened.client.outgoing.show()
    ports = f"{found.ports.allowed or 'all but those of other protocols'} ({found.ports.setting})"
    said = (("servers", _way(found.servers)), ("messages", _way(found.messages)), ("ports", ports))
    emit(as_json, {"outgoing": found}, facts(said))


@outgoing.command()
@acting
@click.argument("address", metavar="ADDRESS")
@json_option
@guarded
def check(opened: Session, address: str, as_json: bool) -> None:
    """Say whether the ADDRESS (a URL) of a server would be called. Its name is looked up, and nothing is called."""
    found = opened.client.outgoing.check(address)
    no = f"It would not be called. {found.says} {found.remedy}"
    emit(as_json, {"check": found}, [f"It would be called, at {found.address}." if found.allowed else no])


def _way(one: WayOut) -> str:
    return f"public addresses{', and ' if one.allowed else ' only'}{', '.join(one.allowed)} ({one.setting})"
