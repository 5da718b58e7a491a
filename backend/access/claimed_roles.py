"""Roles that follow from a provider's groups: which group gives which role, and the grants that a sign-in brings up to date.

Such a grant is given by `claims:<provider>`. A sign-in gives and takes back only those; what a person gave stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from backend.access import claims, queries, rules
from backend.access.checks import require
from backend.access.claims import PROVISIONED, SOURCE, Person
from backend.access.rows import Identity, RoleGrant
from backend.access.scim_rows import ProvisionedGroup, ProvisionedMember, ProvisionedUser
from backend.access.service import is_last_admin, stored_scope
from backend.access.session_rows import GroupMapping, ToldGroups
from backend.access.sign_in_file import Provider, SignIn
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

BOOTSTRAP = "settings:first_administrator"
"""Who gave the first administrator's role."""
_LONGEST_VALUE = 256
_MOST_KEPT = 500
"""Groups of one person that are kept to be looked at; all of them count at the sign-in."""


@dataclass(frozen=True)
class MappingLine:
    """One mapping in a list. `id` is None for one that stands in the settings file; `waits` for a second admin."""

    id: str | None
    provider: str
    value: str
    role: str
    scope: str
    made_by: str | None
    waits: bool = False


class GroupMappings:
    """Commands on mappings.

    Args:
        database: where they are kept.
        sign_in: the settings, which hold mappings of their own; None where nobody signs in.
        demo: whether demo identities count as admins.
    """

    def __init__(self, database: Database, sign_in: SignIn | None, *, demo: bool = False) -> None:
        self._database = database
        self._sign_in = sign_in
        self._demo = demo

    def map(self, actor: Actor, provider: str, value: str, role: str, scope: str = "*") -> GroupMapping:
        """This group shall give this role once another admin confirmed it: of a directory at once, else at the next sign-in.

        It would else be a way to give roles alone, to oneself too.
        """
        rules.check_grant(role, scope)
        if self._sign_in is None or self._sign_in.provider(provider) is None:
            raise NotFound("provider", provider[:40], "Look at the settings of sign-in.")
        if not value.strip() or len(value) > _LONGEST_VALUE or not value.isprintable():
            raise Refusal("A mapping needs a group.", "Write it as the provider tells it.", code="bad-group")
        with self._database.unit(actor) as tx:
            require(tx, actor, "role.grant")
            scope = stored_scope(tx.session, scope)
            query = select(GroupMapping).where(
                GroupMapping.provider == provider,
                GroupMapping.value == value,
                GroupMapping.role == role,
                GroupMapping.scope == scope,
            )
            if tx.session.exec(query).one_or_none() is not None:
                raise Refusal("This mapping is there already.", "Choose another role or scope.", code="name-taken")
            row = GroupMapping(
                id=tx.new_id("map"),
                provider=provider,
                value=value,
                role=role,
                scope=scope,
                made_by=actor.id,
                made_at=tx.now,
            )
            tx.record("group_mapping.make", tx.add(row), after=row.facts("provider", "role", "scope"))
            return row

    def confirm(self, actor: Actor, mapping_id: str) -> None:
        """Another admin's word for a mapping; not of whoever made it, nor of a service of theirs."""
        with self._database.unit(actor) as tx:
            who = require(tx, actor, "role.grant")
            row = tx.get(GroupMapping, mapping_id, "mapping", lock=True)
            maker = tx.session.get(Identity, row.made_by)
            if {who.id, who.owner_id} & {row.made_by, maker.owner_id if maker else None} - {None}:
                raise Refusal("You made this mapping.", "Ask another admin to confirm it.", code="conflict-of-interest")
            if row.confirmed_at is None:
                row.confirmed_by, row.confirmed_at = actor.id, tx.now
                tx.record("group_mapping.confirm", row, after=row.facts("provider", "role", "scope"))
                self._tell_members(tx, row)

    def unmap(self, actor: Actor, mapping_id: str) -> None:
        """The group gives this role no longer: whoever has it by the directory loses it at once, others at the next sign-in."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "role.take_back")
            row = tx.get(GroupMapping, mapping_id, "mapping")
            tx.session.delete(row)
            tx.record("group_mapping.take_back", row, before=row.facts("provider", "role", "scope"))
            tx.session.flush()
            self._tell_members(tx, row)

    def settle(self) -> None:
        """Brings what directories gave up to date with the settings: mappings and providers may have left the file.

        Where nobody signs in, nothing is known of either, and everything stays: a command may lack the file that others have.
        """
        if self._sign_in is None:
            return
        with self._database.unit(SYSTEM) as tx:
            for provider in self._sign_in.providers:
                query = select(ProvisionedUser.identity_id).where(ProvisionedUser.provider == provider.name)
                directory_up_to_date(tx, provider, set(tx.session.exec(query)), demo=self._demo)
            there = {PROVISIONED + one.name for one in self._sign_in.providers}
            given = tx.session.exec(select(RoleGrant).where(col(RoleGrant.granted_by).startswith(PROVISIONED))).all()
            for row in given:
                if row.granted_by not in there:
                    _take_back(tx, row, demo=self._demo)

    def _tell_members(self, tx: Unit, mapping: GroupMapping) -> None:
        provider = self._sign_in.provider(mapping.provider) if self._sign_in is not None else None
        if provider is None:
            return
        query = select(ProvisionedUser.identity_id).join(
            ProvisionedMember, col(ProvisionedMember.user_id) == ProvisionedUser.id
        )
        query = query.join(ProvisionedGroup, col(ProvisionedGroup.id) == ProvisionedMember.group_id)
        mapped = ProvisionedGroup.provider == mapping.provider, ProvisionedGroup.display_name == mapping.value
        directory_up_to_date(tx, provider, set(tx.session.exec(query.where(*mapped))), demo=self._demo)

    def lines(self, session: Session) -> tuple[MappingLine, ...]:
        """Those of the settings file first. A team's scope is shown by its name."""
        shown = queries.scope_names(session)
        fixed = [
            MappingLine(None, provider.name, one.value, one.role, one.scope, None)
            for provider in (self._sign_in.providers if self._sign_in else ())
            for one in provider.roles
        ]
        rows = session.exec(select(GroupMapping).order_by(GroupMapping.provider, GroupMapping.value, col(GroupMapping.id)))
        return (
            *fixed,
            *(
                MappingLine(
                    one.id,
                    one.provider,
                    one.value,
                    one.role,
                    shown.get(one.scope, one.scope),
                    one.made_by,
                    one.confirmed_at is None,
                )
                for one in rows
            ),
        )


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
    tx: Unit, identity_id: str, provider: Provider, groups: Iterable[str], *, source: str, until: datetime | None, demo: bool
) -> None:
    """Gives and takes back the roles from one source, by the groups that it tells.

    Args:
        demo: whether demo identities count as admins: the last one keeps that role, and it is said.
    """
    wanted = claims.roles_for(groups, _mapped(tx.session, provider, identity_id))
    held = {
        (one.role, one.scope): one for one in tx.session.exec(select(RoleGrant).where(RoleGrant.identity_id == identity_id))
    }
    for place, row in held.items():
        if row.granted_by == source and place not in wanted:
            _take_back(tx, row, demo=demo)
    for role, scope in sorted(wanted):
        give(tx, identity_id, (role, scope), held.get((role, scope)), source=source, until=until)


def directory_up_to_date(tx: Unit, provider: Provider, identity_ids: Iterable[str], *, demo: bool) -> None:
    """Brings the roles that follow from the directory's groups up to date for some people."""
    keepers, source = _keeps_it(tx.session, provider), PROVISIONED + provider.name
    query = select(ProvisionedGroup.display_name).join(
        ProvisionedMember, col(ProvisionedMember.group_id) == ProvisionedGroup.id
    )
    query = query.join(ProvisionedUser, col(ProvisionedUser.id) == ProvisionedMember.user_id)
    query = query.where(ProvisionedUser.provider == provider.name)
    for one in sorted(identity_ids):
        told = tx.session.exec(query.where(ProvisionedUser.identity_id == one)).all() if one not in keepers else ()
        bring_up_to_date(tx, one, provider, told, source=source, until=None, demo=demo)


def _keeps_it(session: Session, provider: Provider) -> frozenset[str]:
    """Ids of the service of this directory and of whoever owns it, who would give roles to himself."""
    row = session.exec(select(Identity).where(Identity.name == provider.scim_identity)).one_or_none()
    return frozenset(one for one in (row.id, row.owner_id) if one) if row is not None else frozenset()


def _take_back(tx: Unit, row: RoleGrant, *, demo: bool) -> None:
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
    """A grant from a source that is no person. One that a person gave and that is in force is left as it is."""
    if row is not None and row.granted_by != source and (row.expires_at is None or tx.now < row.expires_at):
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


def _runs_out(row: RoleGrant, now: datetime, until: datetime | None) -> bool:
    """Whether its end should be moved: not at every sign-in, which would fill the ledger with it."""
    if row.expires_at is None or until is None:
        return row.expires_at != until
    return row.expires_at - now < (until - now) / 2


def _mapped(session: Session, provider: Provider, identity_id: str) -> Iterable[tuple[str, str, str]]:
    """Mappings that count for this person: those of the settings, and confirmed ones that neither the person nor a service
    of the person made or confirmed.

    The settings name teams; a name that no team has gives nothing.
    """
    teams = {name: key for key, name in queries.scope_names(session, retired=False).items()}
    fixed = [(one.value, one.role, teams.get(one.scope, one.scope)) for one in provider.roles]
    rows = session.exec(select(GroupMapping).where(GroupMapping.provider == provider.name)).all()
    own = {identity_id, *session.exec(select(Identity.id).where(Identity.owner_id == identity_id))}
    return [
        *(one for one in fixed if not one[2].startswith("team:") or one[2] in teams.values()),
        *(
            (one.value, one.role, one.scope)
            for one in rows
            if one.confirmed_at and own.isdisjoint((one.made_by, one.confirmed_by))
        ),
    ]
