"""`countersign identity bind` and its like: which builds and clients act as which service, without a secret to keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import click

from backend.cli import inputs
from backend.cli.output import emit, facts, guarded, json_option, note, table
from backend.cli.session import Session, acting
from backend.cli.token import limits
from backend.client.results import Binding
from backend.client.states import ROLES
from backend.core.errors import Refusal

_BINDING = click.argument("binding_id", metavar="BINDING")


@click.command()
@acting
@click.argument("service")
@click.option("--issuer", required=True, metavar="PROFILE", help="A profile of the settings, as `identity issuers` lists them.")
@click.option(
    "--claim", "pairs", multiple=True, required=True, metavar="NAME=VALUE", help="What its tokens must say; each once."
)
@click.option("--role", type=click.Choice(ROLES), help="At most this role; by default every role of the service.")
@click.option(
    "--scope", default="*", show_default=True, help="Nowhere but here: `environment:NAME`, `model:NAME`, `team:NAME`."
)
@click.option("--until", type=inputs.MOMENT, help="When it ends by itself, with its zone.")
@json_option
@guarded
def bind(
    opened: Session,
    service: str,
    issuer: str,
    pairs: tuple[str, ...],
    role: str | None,
    scope: str,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Let tokens of an issuer that say all this act as SERVICE. Where changes need approvals a second admin confirms it."""
    made = opened.client.bindings.make(service, issuer, _claims(pairs), role=role, scope=scope, expires_at=until)
    if made.request is not None and not as_json:
        note("It reaches where changes need approvals, so that a second admin has to confirm this request:")
    emit(as_json, {"binding": made.binding, "request": made.request}, [made.request or made.binding or ""])


@click.command()
@acting
@click.option("--all", "ended", is_flag=True, help="Ended ones too.")
@json_option
@guarded
def bindings(opened: Session, ended: bool, as_json: bool) -> None:
    """List what is bound to which service, the newest first, and when it was last used."""
    found = opened.client.bindings.list(ended=ended)
    rows = [
        (one.id, one.identity, limits(one.role, one.scope), one.profile, _said(one.claims), one.state, one.last_used_at)
        for one in found
    ]
    lines = table(("binding", "acts as", "at most", "issuer", "claims", "state", "last used"), rows)
    emit(as_json, {"bindings": found}, [*lines, *(f"{one.id}: {one.says}" for one in found if one.says)])


@click.command("binding")
@acting
@_BINDING
@json_option
@guarded
def show(opened: Session, binding_id: str, as_json: bool) -> None:
    """Show BINDING, and the job that used it last."""
    found = opened.client.bindings.show(binding_id)
    emit(as_json, {"binding": found}, facts(_facts(found)))


@click.command()
@acting
@_BINDING
@click.option("--reason", default="", help="For the ledger.")
@json_option
@guarded
def unbind(opened: Session, binding_id: str, reason: str, as_json: bool) -> None:
    """End BINDING at once: the next request of its tokens is refused."""
    opened.client.bindings.end(binding_id, reason)
    emit(as_json, {"ended": binding_id}, ["Ended."])


@click.command()
@acting
@json_option
@guarded
def issuers(opened: Session, as_json: bool) -> None:
    """List the issuers whose tokens are taken, as the settings say."""
    found = opened.client.bindings.issuers()
    rows = [(one.name, one.kind, one.issuer, one.audience) for one in found]
    emit(as_json, {"issuers": found}, table(("profile", "kind", "issuer", "audience"), rows))


def _claims(pairs: Iterable[str]) -> dict[str, str]:
    found = dict[str, str]()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in found:
            raise Refusal(f"{pair[:80]!r} is no claim, or one of two.", "Write each once, as NAME=VALUE.", code="bad-binding")
        found[name] = value
    return found


def _said(claims: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in claims.items())


def _facts(one: Binding) -> tuple[tuple[str, object], ...]:
    used = _said(one.last_used_by) or None
    return (
        ("binding", one.id), ("acts as", one.identity), ("at most", limits(one.role, one.scope)), ("issuer", one.issuer),
        ("claims", _said(one.claims)), ("state", one.state), ("says", one.says or None), ("made", one.made_at),
        ("until", one.expires_at),
        ("last used", one.last_used_at), ("by", used),
    )  # fmt: skip
