"""Reads of identities and what they may do, with the state of the moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from backend.access import rules
from backend.access.rows import Identity, RoleGrant
from backend.access.rules import Grant
from backend.core.context import Actor


@dataclass(frozen=True)
class Person:
    """An identity as decisions see it: who it is, whose interest it serves, which roles count here and now."""

    id: str
    name: str
    kind: str
    active: bool
    owner_id: str | None
    roles: frozenset[str]

    @property
    def interests(self) -> frozenset[str]:
        """Ids that count as this one interest: a service and its owner are the same."""
        return frozenset(one for one in (self.id, self.owner_id) if one)


def grants(session: Session, identity_id: str) -> tuple[Grant, ...]:
    """Every grant of an identity, expired ones included."""
    rows = session.exec(select(RoleGrant).where(RoleGrant.identity_id == identity_id))
    return tuple(Grant(row.role, row.scope, row.expires_at) for row in rows)


def permitted(
    session: Session,
    actor: Actor,
    action: str,
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
) -> bool:
    """Whether a page should offer the action. Commands ask `access.service.require`, whatever a page showed."""
    identity = session.get(Identity, actor.id)
    if identity is None or not identity.active:
        return False
    return rules.may(grants(session, actor.id), action, now=now, environment=environment, model=model)


def people(session: Session, *, now: datetime, environment: str | None = None, model: str | None = None) -> tuple[Person, ...]:
    """Every person and service, with the roles that count in this environment and on this model."""
    held: dict[str, list[Grant]] = {}
    for row in session.exec(select(RoleGrant)):
        held.setdefault(row.identity_id, []).append(Grant(row.role, row.scope, row.expires_at))
    identities = session.exec(select(Identity).where(Identity.kind != "system").order_by(Identity.name))
    return tuple(_person(one, held.get(one.id, ()), now, environment, model) for one in identities)


def some_people(
    session: Session, ids: Iterable[str], *, now: datetime, environment: str | None = None, model: str | None = None
) -> Mapping[str, Person]:
    """The named identities by id; ids that nobody has are left out."""
    identities = session.exec(select(Identity).where(col(Identity.id).in_(set(ids)))).all()
    return {one.id: _person(one, grants(session, one.id), now, environment, model) for one in identities}


def _person(row: Identity, held: Iterable[Grant], now: datetime, environment: str | None, model: str | None) -> Person:
    roles = rules.roles_in_force(held, now=now, environment=environment, model=model)
    return Person(row.id, row.display_name or row.name, row.kind, row.active, row.owner_id, roles)
