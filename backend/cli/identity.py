"""`countersign identity`: people and services, and which roles they hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from backend.cli import binding, inputs
from backend.cli.output import emit, facts, guarded, json_option, note, table
from backend.cli.session import Session, acting, data_option
from backend.client.results import Grant, Identity, Known
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
@click.option("--text", default="", help="Part of a short name, or of what pages call them.")
@click.option("--kind", type=click.Choice(["person", "service"]))
@click.option("--role", type=click.Choice(ROLES), help="Who holds this role now, in any scope.")
@click.option("--active/--deactivated", default=None, help="Only those who count, or only those who do not.")
@click.option("--demo/--no-demo", default=None, help="Only built-in demo identities, or none of them.")
@click.option("--group", help="Who is known in this group of a provider; for an admin.")
@click.option("--provider", help="Whose group that is; by default anybody's.")
@json_option
@guarded
def list_identities(opened: Session, /, as_json: bool, **narrow: Any) -> None:
    """List people and services with the roles that they hold, and when they were last seen."""
    found = opened.client.identities.list(**narrow)
    rows = [(one.name, one.display_name, one.kind, _state(one), ", ".join(one.holds), one.signed_in_at) for one in found]
    emit(as_json, {"identities": found}, table(("identity", "name", "kind", "", "roles", "signed in"), rows))


def _state(one: Identity) -> str:
    off = f"deactivated by the directory of {one.off_by}" if one.off_by is not None else "deactivated"
    return off if not one.active else "" if one.answered_for else "nobody answers for it"


@identity.command("show")
@acting
@_NAME
@click.option("--known", is_flag=True, help="With the address, logins, groups and teams: your own, or anybody's for an admin.")
@json_option
@guarded
def show_identity(opened: Session, name: str, known: bool, as_json: bool) -> None:
    """Show one person or service, and by whom each of its roles was given."""
    found, held = opened.client.identities.show(name), opened.client.identities.grants(identity=name)
    more = opened.client.identities.known(name) if known else None
    told = (
        ("identity", found.name), ("name", found.display_name), ("kind", found.kind), ("owner", found.owner),
        ("state", _state(found) or "active"), ("signed in", found.signed_in_at), ("open sessions", found.open_sessions),
        ("good tokens", found.good_tokens), ("token used", found.token_used_at), *(_known(more) if more is not None else ()),
    )  # fmt: skip
    content = {"identity": found, "grants": held} | ({"known": more} if more is not None else {})
    emit(as_json, content, [*facts(told), "", *_grants(held)])


def _known(one: Known) -> tuple[tuple[str, str | None], ...]:
    return (
        ("address", one.email),
        ("signs in", ", ".join(f"{each.issuer} as {each.subject}" for each in one.logins)),
        ("groups", ", ".join(f"{each.provider}: {', '.join(each.groups)}" for each in one.groups)),
        ("teams", ", ".join(one.teams)),
    )


def _grants(found: Sequence[Grant]) -> list[str]:
    rows = [
        (one.identity, one.role, one.scope, one.expires_at, "" if one.is_in_force else "over", one.given_by, one.given_at)
        for one in found
    ]
    return table(("identity", "role", "scope", "until", "", "given by", "given"), rows)


@identity.command()
@acting
@_NAME
@_ROLE
@_SCOPE
@click.option("--until", type=inputs.MOMENT, help="When it ends by itself, with its zone.")
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
@click.option("--of", "identity", metavar="NAME", help="Those of this identity.")
@click.option("--role", type=click.Choice(ROLES))
@click.option("--scope", metavar="SCOPE|KIND", help="As it is written, or environment, model or team for all of a kind.")
@click.option(
    "--ends", type=click.Choice(["in-force", "soon", "over", "open"]), help="Soon: within two weeks; open: without an end."
)
@json_option
@guarded
def grants(opened: Session, identity: str | None, role: str | None, scope: str | None, ends: str | None, as_json: bool) -> None:
    """List every grant with its scope, its end, and who gave it."""
    when = ends.replace("-", " ") if ends is not None else None
    found = opened.client.identities.grants(identity=identity, role=role, scope=scope, ends=when)
    emit(as_json, {"grants": found}, _grants(found))


@identity.command()
@acting
@json_option
@guarded
def admins(opened: Session, as_json: bool) -> None:
    """Say how long there is an admin everywhere, and what to do before nobody is."""
    found = opened.client.identities.admins()
    emit(as_json, {"admins": found}, [f"{found.says} {found.remedy}".strip() or "Somebody is an admin everywhere."])


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
    """Refuse every command of an identity, and every token of its or that it made, from now on."""
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
    """Hand service NAME to another OWNER. Where its roles reach changes that need approvals, a second admin confirms it. Its
    tokens go on, but those that somebody made who is deactivated end, and all of them where it holds no role.
    """
    request = opened.client.identities.hand_over(name, owner).request
    if request is not None and not as_json:
        note("Its roles reach where changes need approvals, so that a second admin has to confirm this request:")
    told = {"identity": name, "owner": owner}
    emit(as_json, {"handed_over": None if request else told, "request": request}, [request or f"{owner} owns {name} now."])


for each in (binding.bind, binding.bindings, binding.show, binding.unbind, binding.issuers):
    identity.add_command(each)
