"""What a provider's directory says by SCIM: who may say it, and what people and groups of it have in common.

As a directory gives roles without a second person, only the service speaks for it that the settings name for the provider, and
whoever owns that service gets no role by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, func, select

from backend.access import claimed_roles
from backend.access.checks import require, require_to_read
from backend.access.rows import Identity
from backend.access.scim_rows import ProvisionedUser
from backend.access.sign_in_file import Provider, SignIn
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

ACTION = "identity.provision"


class Directory:
    """What commands of a provider's directory stand on.

    Args:
        database: where identities are kept.
        sign_in: the settings, which name the providers.
        demo: whether demo identities count as admins.
    """

    def __init__(self, database: Database, sign_in: SignIn | None, *, demo: bool = False) -> None:
        self._database = database
        self._sign_in = sign_in
        self._demo = demo

    def _provider(self, name: str) -> Provider:
        found = self._sign_in.provider(name) if self._sign_in is not None else None
        if found is None:
            raise NotFound("provider", name[:40], "Look at the settings of sign-in.")
        return found


def speaks(tx: Unit, actor: Actor, provider: Provider) -> None:
    """Refusal for whoever does not speak for this directory, which says one thing after the other."""
    tx.alone(f"directory of {provider.name}")
    who = require(tx, actor, ACTION)
    _refuse_other(provider, who.kind, who.name)


def speaks_in_a_look(session: Session, actor: Actor, provider: Provider, *, now: datetime) -> None:
    """The same for a look."""
    require_to_read(session, actor, ACTION, now=now)
    who = session.get_one(Identity, actor.id)
    _refuse_other(provider, who.kind, who.name)


def _refuse_other(provider: Provider, kind: str, name: str) -> None:
    """An admin could else make up a group and give roles in production alone."""
    if kind != "service" or not provider.scim_identity or name != provider.scim_identity:
        raise Refusal(
            f"{name} is not the service by which the directory of {provider.name} tells of its people.",
            f"Name that service in the settings of sign-in (scim_identity of {provider.name}), and use a token of it.",
            code="not-allowed",
        )


def roles_up_to_date(tx: Unit, provider: Provider, user_ids: Iterable[str], *, demo: bool) -> None:
    """Joins: gives and takes back what follows from the groups of these people."""
    whose = set(tx.session.exec(select(ProvisionedUser.identity_id).where(col(ProvisionedUser.id).in_(set(user_ids)))))
    claimed_roles.directory_up_to_date(tx, provider, whose, demo=demo)


def own(session: Session, table: Any, provider: Provider, row_id: str) -> Any:
    """A row of this provider's directory: what another directory holds is not there for it."""
    row = session.get(table, row_id)
    if row is None or row.provider != provider.name:
        raise NotFound("resource", row_id[:80], "Look at the list.")
    return row


def demand_own(session: Session, provider: Provider, user_ids: Collection[str]) -> None:
    """NotFound where one of these people is not this directory's; in one query, as a group may have thousands."""
    query = select(ProvisionedUser.id).where(col(ProvisionedUser.id).in_(user_ids), ProvisionedUser.provider == provider.name)
    known = set(session.exec(query))
    if missing := set(user_ids) - known:
        raise NotFound("resource", min(missing)[:80], "Look at the list.")


def where(table: Any, provider: Provider, wanted: tuple[str, str] | None, columns: dict[str, str]) -> list[Any]:
    """What of a table is this directory's, and is wanted."""
    found = [table.provider == provider.name]
    if wanted is not None:
        column = columns.get(wanted[0])
        if column is None:
            raise Refusal("This attribute cannot be searched for.", "Leave it out.", code="scim", scim_type="invalidFilter")
        found.append(getattr(table, column) == (wanted[1].casefold() if column == "user_key" else wanted[1]))
    return found


def some(session: Session, table: Any, of: list[Any], first: int, most: int) -> tuple[int, list[Any]]:
    """How many rows there are of these, and some of them."""
    total = session.exec(select(func.count()).select_from(table).where(*of)).one()
    query = select(table).where(*of).order_by(table.created_at, table.id)
    return total, list(session.exec(query.offset(max(first, 1) - 1).limit(most)))
