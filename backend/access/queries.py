"""Reads of identities and what they may do, with the state of the moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from backend.access import rules
from backend.access.rows import Identity, Ownership, RoleGrant, Team
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


@dataclass(frozen=True)
class GrantLine:
    """One grant as people read it: a team by its name."""

    identity: str
    name: str
    role: str
    scope: str
    expires_at: datetime | None
    is_in_force: bool


def grants(session: Session, identity_id: str) -> tuple[Grant, ...]:
    """Every grant of an identity, expired ones included."""
    query = select(RoleGrant.role, RoleGrant.scope, RoleGrant.expires_at).where(RoleGrant.identity_id == identity_id)
    return tuple(Grant(role, scope, expires_at) for role, scope, expires_at in session.exec(query))


def owner(session: Session, *, endpoint: str | None = None, model: str | None = None) -> str | None:
    """Id of the team that owns an endpoint; where none does, of the team that owns the model."""
    keys = [f"{kind}/{name}" for kind, name in (("endpoint", endpoint), ("model", model)) if name is not None]
    if not keys:
        return None
    found = dict(session.exec(select(Ownership.id, Ownership.team_id).where(col(Ownership.id).in_(keys))).all())
    return next((found[key] for key in keys if key in found), None)


def owner_among(
    session: Session, held: Iterable[Grant], *, endpoint: str | None = None, model: str | None = None
) -> str | None:
    """The same, asked only where it decides: some grant is in the scope of a team."""
    return owner(session, endpoint=endpoint, model=model) if any(one.scope.startswith("team:") for one in held) else None


def permitted(
    session: Session,
    actor: Actor,
    action: str,
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> bool:
    """Whether a page should offer the action. Commands ask `access.service.require`, whatever a page showed."""
    identity = session.get(Identity, actor.id)
    if identity is None or not identity.active:
        return False
    held = grants(session, actor.id)
    team = owner_among(session, held, endpoint=endpoint, model=model)
    return rules.may(held, action, now=now, environment=environment, model=model, team=team)


def people(
    session: Session,
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> tuple[Person, ...]:
    """Every person and service, with the roles that count in this environment, on this model and at this endpoint."""
    held: dict[str, list[Grant]] = {}
    for row in session.exec(select(RoleGrant)):
        held.setdefault(row.identity_id, []).append(Grant(row.role, row.scope, row.expires_at))
    team = owner(session, endpoint=endpoint, model=model)
    identities = session.exec(select(Identity).where(Identity.kind != "system").order_by(Identity.name))
    return tuple(_person(one, held.get(one.id, ()), now, environment, model, team) for one in identities)


def some_people(
    session: Session,
    ids: Iterable[str],
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> Mapping[str, Person]:
    """The named identities by id; ids that nobody has are left out."""
    identities = session.exec(select(Identity).where(col(Identity.id).in_(set(ids)))).all()
    team = owner(session, endpoint=endpoint, model=model)
    return {one.id: _person(one, grants(session, one.id), now, environment, model, team) for one in identities}


def grant_lines(session: Session, *, now: datetime) -> tuple[GrantLine, ...]:
    """Every grant, expired ones included, by identity, role and scope."""
    query = select(RoleGrant, Identity).join(Identity, col(Identity.id) == RoleGrant.identity_id)
    rows = session.exec(query.order_by(Identity.name, RoleGrant.role, RoleGrant.scope)).all()
    shown = scope_names(session)
    return tuple(
        GrantLine(
            one.name,
            one.display_name or one.name,
            row.role,
            shown.get(row.scope, row.scope),
            row.expires_at,
            row.expires_at is None or now < row.expires_at,
        )
        for row, one in rows
    )


def scope_names(session: Session, *, retired: bool = True) -> dict[str, str]:
    """`team:<id>` -> `team:<name>`, for whoever reads a scope; without `retired`, only of teams that are still there."""
    query = select(Team.id, Team.name)
    query = query if retired else query.where(col(Team.retired_at).is_(None))
    return {f"team:{key}": f"team:{name}" for key, name in session.exec(query)}


def _person(
    row: Identity, held: Iterable[Grant], now: datetime, environment: str | None, model: str | None, team: str | None
) -> Person:
    roles = rules.roles_in_force(held, now=now, environment=environment, model=model, team=team)
    return Person(row.id, row.display_name or row.name, row.kind, row.active, row.owner_id, roles)
