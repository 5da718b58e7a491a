"""Roles that follow from a provider's groups: the grants that a sign-in, or a directory, brings up to date.

Such a grant is given by `claims:<provider>`. A sign-in gives and takes back only those; what a person gave stands beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from backend.access import claims, queries, requests
from backend.access.claims import PROVISIONED, SOURCE, Person
from backend.access.last_admin import is_last_admin
from backend.access.rows import Identity, RoleGrant
from backend.access.scim_rows import ProvisionedGroup, ProvisionedMember, ProvisionedUser
from backend.access.session_rows import GroupMapping, ToldGroups
from backend.access.sign_in_file import Provider
from backend.core.unit import Unit

BOOTSTRAP = "settings:first_administrator"
"""Who gave the first administrator's role."""
_MOST_KEPT = 500
"""Groups of one person that are kept to be looked at; all of them count at the sign-in."""


def after_sign_in(tx: Unit, identity_id: str, provider: Provider, who: Person, *, lasts: timedelta, demo: bool) -> None:
    """Gives and takes back the roles that follow from what the provider told at this sign-in."""
    _note(tx, identity_id, provider, who)
    bring_up_to_date(tx, identity_id, provider, who.values, source=SOURCE + provider.name, until=tx.now + lasts, demo=demo)


def _note(tx: Unit, identity_id: str, provider: Provider, who: Person) -> None:
    """Keeps which groups were told, so that a mapping can be looked at before it is made."""
    row = tx.session.get(ToldGroups, (identity_id, provider.name))
    told = sorted(who.values)[:_MOST_KEPT]
    if row is None:
        tx.add(ToldGroups(identity_id=identity_id, provider=provider.name, groups=told, told_at=tx.now))
    else:
        row.groups, row.told_at = told, tx.now


def bring_up_to_date(
    tx: Unit,
    identity_id: str,
    provider: Provider,
    groups: Iterable[str],
    *,
    source: str,
    until: datetime | None,
    demo: bool,
    mapped: Sequence[_Mapped] | None = None,
    held: Iterable[RoleGrant] | None = None,
) -> None:
    """Gives and takes back the roles from one source, by the groups that it tells.

    Args:
        demo: whether demo identities count as admins: the last one keeps that role, and it is said.
        mapped, held: what counts, and what the identity holds, where it was read already.
    """
    wanted = _roles(identity_id, groups, _mappings(tx.session, provider) if mapped is None else mapped)
    rows = tx.session.exec(select(RoleGrant).where(RoleGrant.identity_id == identity_id)) if held is None else held
    held_at = {(one.role, one.scope): one for one in rows}
    for place, row in held_at.items():
        if row.granted_by == source and place not in wanted:
            take_back(tx, row, demo=demo)
    for role, scope in sorted(wanted):
        give(tx, identity_id, (role, scope), held_at.get((role, scope)), source=source, until=until)


def directory_up_to_date(tx: Unit, provider: Provider, identity_ids: Iterable[str], *, demo: bool) -> None:
    """Brings the roles that follow from the directory's groups up to date for some people.

    What is known of them is read of all at once: a group of a thousand is one command, and holds SQLite's write lock.
    """
    keepers, source = _keeps_it(tx.session, provider), PROVISIONED + provider.name
    mapped, ids = _mappings(tx.session, provider), sorted(set(identity_ids))
    told, held = _all_in_directory(tx.session, provider, ids), _all_held(tx.session, ids)
    for one in ids:
        groups = told.get(one, ()) if one not in keepers else ()
        bring_up_to_date(tx, one, provider, groups, source=source, until=None, demo=demo, mapped=mapped, held=held.get(one, ()))


def _all_in_directory(session: Session, provider: Provider, ids: Collection[str]) -> dict[str, list[str]]:
    """Identity -> the directory's groups that it is in."""
    query = select(ProvisionedUser.identity_id, ProvisionedGroup.display_name).join(
        ProvisionedMember, col(ProvisionedMember.user_id) == ProvisionedUser.id
    )
    query = query.join(ProvisionedGroup, col(ProvisionedGroup.id) == ProvisionedMember.group_id)
    query = query.where(ProvisionedUser.provider == provider.name, col(ProvisionedUser.identity_id).in_(ids))
    found: dict[str, list[str]] = {}
    for whose, group in session.exec(query):
        found.setdefault(whose, []).append(group)
    return found


def _all_held(session: Session, ids: Collection[str]) -> dict[str, list[RoleGrant]]:
    """Identity -> its grants."""
    found: dict[str, list[RoleGrant]] = {}
    for one in session.exec(select(RoleGrant).where(col(RoleGrant.identity_id).in_(ids))):
        found.setdefault(one.identity_id, []).append(one)
    return found


def may_come(session: Session, providers: Iterable[Provider], identity_ids: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Roles, as (role, scope), that groups give to these people by what is known of them, held by now or from the next sign-in
    on.
    """
    ids, found = tuple(identity_ids), set[tuple[str, str]]()
    for provider in providers:
        mapped = _mappings(session, provider)
        for one in ids:
            row = session.get(ToldGroups, (one, provider.name))
            told = {*_in_directory(session, provider, one), *(map(str, row.groups) if row is not None else ())}
            found |= _roles(one, told, mapped)
    return frozenset(found)


def _in_directory(session: Session, provider: Provider, identity_id: str) -> Sequence[str]:
    query = select(ProvisionedGroup.display_name).join(
        ProvisionedMember, col(ProvisionedMember.group_id) == ProvisionedGroup.id
    )
    query = query.join(ProvisionedUser, col(ProvisionedUser.id) == ProvisionedMember.user_id)
    return session.exec(
        query.where(ProvisionedUser.provider == provider.name, ProvisionedUser.identity_id == identity_id)
    ).all()


def _keeps_it(session: Session, provider: Provider) -> frozenset[str]:
    """Ids of the service of this directory and of whoever owns it, or ever did: he would give roles to himself, or have told of
    himself what counts once somebody else owns it.
    """
    found = session.exec(select(Identity.id).where(Identity.name == provider.scim_identity)).one_or_none()
    return queries.interests_since(session, [found], None) if found is not None else frozenset()


def take_back(tx: Unit, row: RoleGrant, *, demo: bool) -> None:
    """Ends a grant from a source that is no person; the last admin keeps it, and it is said."""
    if (row.role, row.scope) == ("admin", "*") and is_last_admin(tx, row.identity_id, demo=demo):
        says = "Nobody else is an admin."
        structlog.get_logger().warning("role.kept", identity=row.identity_id, source=row.granted_by, says=says)
        tx.record("role.keep", row, after={**row.facts("identity_id", "role", "scope"), "why": "last-admin"})
        return
    tx.session.delete(row)
    tx.record("role.take_back", row, before=row.facts("identity_id", "role", "scope", "granted_by"))


def give(
    tx: Unit,
    identity_id: str,
    place: tuple[str, str],
    row: RoleGrant | None,
    *,
    source: str,
    until: datetime | None,
    action: str = "role.grant",
) -> None:
    """A grant from a source that is no person. One that somebody else gave and that is in force is left as it is, but that a
    directory says is so is the directory's: a sign-in has told it before, and would else keep what the directory takes back.
    """
    stands = row is not None and row.granted_by != source and (row.expires_at is None or tx.now < row.expires_at)
    if stands and row is not None and not _tells_the_same(row.granted_by, source):
        return
    if row is not None and row.granted_by == source and not _runs_out(row, tx.now, until):
        return
    before = row.facts("expires_at", "granted_by") if row else None
    if row is None:
        row = tx.add(RoleGrant(id=tx.new_id("grt"), identity_id=identity_id, role=place[0], scope=place[1], granted_by=source,
                               granted_at=tx.now))  # fmt: skip
    row.granted_by, row.granted_at, row.expires_at = source, tx.now, until
    facts = row.facts("identity_id", "role", "scope", "expires_at", "granted_by")
    tx.record(action, row, before=before, after=facts)


def _tells_the_same(giver: str, source: str) -> bool:
    """Whether a directory now tells what a sign-in at its provider told."""
    return source.startswith(PROVISIONED) and giver == SOURCE + source.removeprefix(PROVISIONED)


def _runs_out(row: RoleGrant, now: datetime, until: datetime | None) -> bool:
    """Whether its end should be moved: not at every sign-in, which would fill the ledger with it."""
    if row.expires_at is None or until is None:
        return row.expires_at != until
    return row.expires_at - now < (until - now) / 2


@dataclass(frozen=True)
class _Mapped:
    """One mapping that counts, but for those who asked for it or confirmed it."""

    value: str
    role: str
    scope: str
    not_for: frozenset[str] = frozenset()


def _roles(identity_id: str, groups: Iterable[str], mapped: Iterable[_Mapped]) -> set[tuple[str, str]]:
    counts = [(one.value, one.role, one.scope) for one in mapped if identity_id not in one.not_for]
    return set(claims.roles_for(groups, counts))


def _mappings(session: Session, provider: Provider) -> list[_Mapped]:
    """Mappings of the settings, and those that two admins made.

    The settings name teams; a name that no team has, and a team that is retired, gives nothing. The name of an environment or
    a model that is not there gives a role that reaches nothing until it is.
    """
    teams = {name: key for key, name in queries.scope_names(session, retired=False).items()}
    fixed = [_Mapped(one.value, one.role, teams.get(one.scope, one.scope)) for one in provider.roles]
    rows = session.exec(select(GroupMapping).where(GroupMapping.provider == provider.name)).all()
    made = [_Mapped(one.value, one.role, one.scope, _the_two(session, one)) for one in rows]
    return [one for one in (*fixed, *made) if not one.scope.startswith("team:") or one.scope in teams.values()]


def _the_two(session: Session, mapping: GroupMapping) -> frozenset[str]:
    """Who counts as having asked for a mapping or confirmed it, by a service too: whoever owned that then, or does now."""
    two = (mapping.made_by, mapping.confirmed_by)
    return queries.interests_since(session, two, mapping.made_at - requests.GOOD_FOR)
