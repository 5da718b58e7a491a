"""`countersign sign-in`: the providers that people sign in at, and which of their groups give which role."""

from __future__ import annotations

from collections.abc import Sequence

import click

from backend.access.names import beside
from backend.cli.output import emit, facts, guarded, json_option, note, table
from backend.cli.session import Session, acting
from backend.client.results import Touched
from backend.client.states import ROLES

_PROVIDER = click.argument("provider")
_GROUP = click.argument("group")
_ROLE = click.argument("role", type=click.Choice(ROLES))
_SCOPE = click.option("--scope", default="*", show_default=True, help="`*`, `environment:NAME`, `model:NAME` or `team:NAME`.")


@click.group("sign-in")
def sign_in() -> None:
    """The providers that people sign in at, and which of their groups give which role."""


@sign_in.command()
@acting
@json_option
@guarded
def settings(opened: Session, as_json: bool) -> None:
    """Show how people sign in, as the settings were loaded."""
    found = opened.client.sign_in.settings()
    said = (
        ("seen at", found.seen_at), ("redirect", found.redirect_uri), ("back-channel logout", found.backchannel_logout_uri),
        ("cookies", "by TLS alone" if found.is_secure else "also without TLS"),
        ("a session ends", f"{found.idle_minutes} min after the last click, {found.absolute_hours} h after the sign-in"),
        ("roles of groups", f"lapse {found.claims_days} days after the last sign-in"),
        ("first admin", found.first_administrator),
    )  # fmt: skip
    emit(as_json, {"sign_in": found}, facts(said) if found.signs_in else ["Nobody signs in here."])


@sign_in.command()
@acting
@_PROVIDER
@json_option
@guarded
def groups(opened: Session, provider: str, as_json: bool) -> None:
    """List the groups that PROVIDER told of somebody, or that its directory has, as they are spelled."""
    found = opened.client.sign_in.groups(provider)
    emit(as_json, {"groups": found}, table(("group", "people"), [(one.value, one.people) for one in found]))


@sign_in.command()
@acting
@json_option
@guarded
def providers(opened: Session, as_json: bool) -> None:
    """List the providers, as the settings were loaded."""
    found = opened.client.sign_in.providers()
    rows = [(one.name, one.title, one.server_metadata_url, one.scim_identity) for one in found]
    emit(as_json, {"providers": found}, table(("provider", "title", "metadata", "directory sent by"), rows))


@sign_in.command()
@acting
@_PROVIDER
@json_option
@guarded
def ask(opened: Session, provider: str, as_json: bool) -> None:
    """Ask PROVIDER what it publishes now, and say what of it does not fit the settings."""
    found = opened.client.sign_in.ask(provider)
    said = (
        ("calls itself", found.issuer), ("keys", found.keys), ("signs out", "yes" if found.ends_sessions else "no"),
        ("tells of logouts", "yes" if found.tells_of_logout else "it does not say so"),
    )  # fmt: skip
    emit(as_json, {"provider": found}, [*facts(said), *found.problems])


@sign_in.command()
@acting
@json_option
@guarded
def mappings(opened: Session, as_json: bool) -> None:
    """List which group gives which role, those of the settings file included."""
    found = opened.client.sign_in.mappings()
    rows = [
        (one.id or "settings file", one.provider, one.value, one.role, one.scope, "" if one.reaches else "names nothing here")
        for one in found
    ]
    emit(as_json, {"mappings": found}, table(("mapping", "provider", "group", "role", "scope", ""), rows))


@sign_in.command()
@acting
@_PROVIDER
@_GROUP
@_ROLE
@_SCOPE
@json_option
@guarded
def touched(opened: Session, provider: str, group: str, role: str, scope: str, as_json: bool) -> None:
    """Say whom it touches that GROUP of PROVIDER gives ROLE."""
    found = opened.client.sign_in.touched(provider, group, role, scope)
    emit(as_json, {"touched": found}, touches(found))


@sign_in.command("map")
@acting
@_PROVIDER
@_GROUP
@_ROLE
@_SCOPE
@json_option
@guarded
def map_group(opened: Session, provider: str, group: str, role: str, scope: str, as_json: bool) -> None:
    """Ask that GROUP of PROVIDER gives ROLE. A second admin confirms it: see `countersign request`."""
    request = opened.client.sign_in.map(provider, group, role, scope).request
    if not as_json:
        note("A second admin has to confirm this request; it gives nothing to either of you:")
    emit(as_json, {"request": request}, [request or ""])


@sign_in.command()
@acting
@click.argument("mapping")
@json_option
@guarded
def unmap(opened: Session, mapping: str, as_json: bool) -> None:
    """Take MAPPING back: its group gives the role no longer."""
    opened.client.sign_in.unmap(mapping)
    emit(as_json, {"taken_back": mapping}, ["Taken back: by a directory at once, else at the next sign-in."])


def touches(found: Sequence[Touched]) -> list[str]:
    """Whom a mapping touches, a line each; who has the role already comes last."""
    if not found:
        return ["Nobody is known in this group yet; whoever comes with it gets the role then."]
    return [_touched(one) for one in sorted(found, key=lambda one: (one.has, one.name))]


def _touched(one: Touched) -> str:
    said = "holds it already" if one.has else "would get it at the next sign-in, by a directory at once"
    return f"{beside(one.name, one.shown)}{'' if one.active else ' (deactivated)'} {said}"
