"""`countersign identity`: people and services, and which roles they hold."""

from __future__ import annotations

from datetime import datetime

import click

from backend.cli import binding
from backend.cli.output import emit, guarded, json_option, note, table
from backend.cli.session import Session, acting, data_option
from backend.client.results import Identity
from backend.client.states import ROLES

_NAME = click.argument("name")
_REASON = click.option("--reason", default="", help="For the ledger.")
_ROLE = click.argument("role", type=click.Choice(ROLES))
_SCOPE = click.option("--scope", default="*", show_default=True, help="`*`, `environment:NAME`, `model:NAME` or `team:NAME`.")


@click.group()
def identity() -> None:
    """People and services, and which roles they hold."""


@identity.command()
@acting
@_NAME
@click.option("--owner", metavar="PERSON", help="It is a service, and this person owns it: both are one interest.")
@click.option("--display-name", default="")
@json_option
@guarded
def create(opened: Session, name: str, owner: str | None, display_name: str, as_json: bool) -> None:
    """Create a person, or a service with its owner; without any role yet."""
    made = opened.client.identities.create(name, owner=owner, display_name=display_name)
    emit(as_json, {"identity": made}, [f"{name} is a {made.kind} now."])


@identity.command("list")
@acting
@json_option
@guarded
def list_identities(opened: Session, as_json: bool) -> None:
    """List people and services with the roles that they hold everywhere."""
    found = opened.client.identities.list()
    rows = [(one.name, one.kind, _state(one), ", ".join(sorted(one.roles))) for one in found]
    emit(as_json, {"identities": found}, table(("identity", "kind", "", "roles"), rows))


def _state(one: Identity) -> str:
    return "deactivated" if not one.active else "" if one.answered_for else "nobody answers for it"


@identity.command()
@acting
@_NAME
@_ROLE
@_SCOPE
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="When it ends by itself, with its zone.")
@json_option
@guarded
def grant(opened: Session, name: str, role: str, scope: str, until: datetime | None, as_json: bool) -> None:
    """Give an identity a role. Where changes need approvals, a second admin has to confirm it: see `countersign request`."""
    request = opened.client.identities.grant(name, role, scope, expires_at=until).request
    told = {"identity": name, "role": role, "scope": scope, "until": until}
    if request is not None and not as_json:
        note("It reaches where changes need approvals, so that a second admin has to confirm this request:")
    emit(as_json, {"granted": None if request else told, "request": request}, [request or "Granted."])


@identity.command()
@acting
@json_option
@guarded
def grants(opened: Session, as_json: bool) -> None:
    """List every grant with its scope and its end."""
    found = opened.client.identities.grants()
    rows = [(one.identity, one.role, one.scope, one.expires_at, "" if one.is_in_force else "over") for one in found]
    emit(as_json, {"grants": found}, table(("identity", "role", "scope", "until", ""), rows))


@identity.command()
@data_option
@_NAME
@click.option("--display-name", default="")
@json_option
@guarded
def bootstrap(opened: Session, name: str, display_name: str, as_json: bool) -> None:
    """Make NAME an admin without anybody else: for whoever holds this machine, until there are two admins."""
    opened.require_ready()
    made = opened.backend.identities.bootstrap(name, display_name=display_name)
    emit(as_json, {"identity": {"id": made.id, "name": name}}, [f"{name} is an admin now; the ledger says how."])


@identity.command("take-back")
@acting
@_NAME
@_ROLE
@_SCOPE
@_REASON
@json_option
@guarded
def take_back(opened: Session, name: str, role: str, scope: str, reason: str, as_json: bool) -> None:
    """Take a role back at once."""
    opened.client.identities.take_back(name, role, scope, reason=reason)
    emit(as_json, {"taken_back": {"identity": name, "role": role, "scope": scope}}, ["Taken back."])


@identity.command()
@acting
@_NAME
@_REASON
@json_option
@guarded
def deactivate(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Refuse every command of an identity, and every token of its, from now on."""
    opened.client.identities.deactivate(name, reason)
    emit(as_json, {"deactivated": name}, [f"{name} is deactivated."])


@identity.command()
@acting
@_NAME
@_REASON
@json_option
@guarded
def activate(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Let an identity that was deactivated act again, with the roles that it still has."""
    opened.client.identities.activate(name, reason)
    emit(as_json, {"activated": name}, [f"{name} counts again."])


@identity.command("hand-over")
@acting
@_NAME
@click.argument("owner")
@json_option
@guarded
def hand_over(opened: Session, name: str, owner: str, as_json: bool) -> None:
    """Hand service NAME to another OWNER. Where its roles reach changes that need approvals, a second admin confirms it."""
    request = opened.client.identities.hand_over(name, owner).request
    if request is not None and not as_json:
        note("Its roles reach where changes need approvals, so that a second admin has to confirm this request:")
    told = {"identity": name, "owner": owner}
    emit(as_json, {"handed_over": None if request else told, "request": request}, [request or f"{owner} owns {name} now."])


for each in (binding.bind, binding.bindings, binding.show, binding.unbind, binding.issuers):
    identity.add_command(each)
