"""Whom a mapping of a group to a role would touch, as far as is known before it counts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from backend.access import scopes
from backend.access.names import beside
from backend.access.rows import Identity, RoleGrant
from backend.access.scim_rows import ProvisionedGroup, ProvisionedMember, ProvisionedUser
from backend.access.session_rows import ToldGroups

FIELDS = ("provider", "value", "role", "scope")
"""What a request for a mapping holds, in the order of `by_place`."""


@dataclass(frozen=True)
class Touched:
    """One person who is in the group. `has` says whether the role in that scope is held already, by whatever way."""

    name: str
    shown: str
    active: bool
    has: bool
    told_by: str

    @property
    def named(self) -> str:
        """With the short name, of which there is one only."""
        return beside(self.name, self.shown)


def by_group(session: Session, provider: str, value: str, role: str, scope: str = "*") -> tuple[Touched, ...]:
    """People of whom the provider told this group at their newest sign-in, or whom its directory has in it.

    Whoever never signed in, and is in no directory, is not known yet. NotFound for a team that is not there.
    """
    return by_place(session, provider, value, role, scopes.stored(session, scope))


def by_place(session: Session, provider: str, value: str, role: str, place: str) -> tuple[Touched, ...]:
    """The same by a scope as grants hold it."""
    found = dict.fromkeys(_in_directory(session, provider, value), "directory")
    found |= dict.fromkeys(_told(session, provider, value), "sign-in")
    held = select(RoleGrant.identity_id).where(RoleGrant.role == role, RoleGrant.scope == place)
    having = set(session.exec(held.where(col(RoleGrant.identity_id).in_(found))))
    rows = session.exec(select(Identity).where(col(Identity.id).in_(found)).order_by(Identity.name))
    return tuple(Touched(one.name, one.display_name or one.name, one.active, one.id in having, found[one.id]) for one in rows)


def in_group(session: Session, value: str, provider: str | None = None) -> frozenset[str]:
    """Ids of whoever is known to be in a group: by the newest sign-in, or by the directory, of this provider or of any."""
    told = select(ToldGroups).where(ToldGroups.provider == provider) if provider is not None else select(ToldGroups)
    query = select(ProvisionedUser.identity_id).join(ProvisionedMember, col(ProvisionedMember.user_id) == ProvisionedUser.id)
    query = query.join(ProvisionedGroup, col(ProvisionedGroup.id) == ProvisionedMember.group_id)
    query = query.where(ProvisionedGroup.display_name == value)
    query = query.where(ProvisionedGroup.provider == provider) if provider is not None else query
    return frozenset(session.exec(query)) | {one.identity_id for one in session.exec(told) if value in one.groups}


def groups_told(session: Session, provider: str) -> tuple[tuple[str, int], ...]:
    """Groups that the provider told of somebody, or that its directory has, with how many people are known in each."""
    people: dict[str, set[str]] = {}
    for row in session.exec(select(ToldGroups).where(ToldGroups.provider == provider)):
        for group in row.groups:
            people.setdefault(str(group), set()).add(row.identity_id)
    query = select(ProvisionedGroup.display_name, ProvisionedUser.identity_id).where(ProvisionedGroup.provider == provider)
    query = query.outerjoin(ProvisionedMember, col(ProvisionedMember.group_id) == ProvisionedGroup.id)
    query = query.outerjoin(ProvisionedUser, col(ProvisionedUser.id) == ProvisionedMember.user_id)
    for name, identity_id in session.exec(query):
        people.setdefault(name, set()).update([identity_id] if identity_id is not None else [])
    return tuple(sorted(((name, len(ids)) for name, ids in people.items()), key=lambda one: one[0].casefold()))


def _told(session: Session, provider: str, value: str) -> list[str]:
    rows = session.exec(select(ToldGroups).where(ToldGroups.provider == provider))
    return [one.identity_id for one in rows if value in one.groups]


def _in_directory(session: Session, provider: str, value: str) -> list[str]:
    query = select(ProvisionedUser.identity_id).join(ProvisionedMember, col(ProvisionedMember.user_id) == ProvisionedUser.id)
    query = query.join(ProvisionedGroup, col(ProvisionedGroup.id) == ProvisionedMember.group_id)
    return list(session.exec(query.where(ProvisionedGroup.provider == provider, ProvisionedGroup.display_name == value)))
