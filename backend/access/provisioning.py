"""What a provider's directory says by SCIM of its people and groups: identities that come, change and are deactivated.

A person that the directory deactivates or deletes is out at the next click. Groups give roles by the same mappings as those of
a sign-in, at once and without an end, as grants given by `scim:<provider>`. An identity that an admin deactivated by hand is
not activated again from outside.

As it gives roles without a second person, only the service does it that the settings name for the provider, and whoever owns
that service gets no role by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, func, select

from backend.access import claimed_roles, endings, scim
from backend.access.checks import require, require_to_read
from backend.access.claims import PROVISIONED, Person, handle_of
from backend.access.names import free_name
from backend.access.rows import Identity
from backend.access.scim_rows import ProvisionedGroup, ProvisionedMember, ProvisionedUser
from backend.access.service import create_identity
from backend.access.session_rows import ExternalLogin, SignInSession
from backend.access.sign_in_file import Provider, SignIn
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

ACTION = "identity.provision"


@dataclass(frozen=True)
class UserLine:
    """A person as it is told to the directory."""

    id: str
    told: scim.User
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True)
class GroupLine:
    """A group as it is told to the directory."""

    id: str
    told: scim.Group
    created_at: datetime
    changed_at: datetime


class Provisioning:
    """Commands of a provider's directory.

    Args:
        database: where identities are kept.
        sign_in: the settings, which name the providers.
    """

    def __init__(self, database: Database, sign_in: SignIn | None) -> None:
        self._database = database
        self._sign_in = sign_in

    def users(
        self, actor: Actor, provider: str, wanted: tuple[str, str] | None, first: int, most: int
    ) -> tuple[int, list[UserLine]]:
        """How many people there are, and some of them."""
        known = self._provider(provider)
        with self._database.read() as session:
            _require_to_read(session, actor, known, now=self._database.now(session))
            where = _where(ProvisionedUser, known, wanted, {"username": "user_key", "externalid": "external_id", "id": "id"})
            total, rows = _some(session, ProvisionedUser, where, first, most)
            return total, [_user_line(session, one) for one in rows]

    def user(self, actor: Actor, provider: str, user_id: str) -> UserLine:
        """One person. NotFound."""
        known = self._provider(provider)
        with self._database.read() as session:
            _require_to_read(session, actor, known, now=self._database.now(session))
            return _user_line(session, _own(session, ProvisionedUser, known, user_id))

    def create_user(self, actor: Actor, provider: str, told: scim.User) -> UserLine:
        """A new identity, or the one that already signed in under this id of the directory."""
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            _require(tx, actor, known)
            _refuse_taken(tx.session, known, told.user_name)
            identity = _signed_in_before(tx.session, known, told.external_id) or create_identity(
                tx,
                name=free_name(tx.session, handle_of(told.user_name)),
                display_name=told.display_name or told.user_name,
            )
            row = ProvisionedUser(
                id=tx.new_id("scu"),
                provider=known.name,
                user_name=told.user_name,
                user_key=told.user_name.casefold(),
                identity_id=identity.id,
                created_at=tx.now,
                changed_at=tx.now,
            )
            tx.record("identity.provision", tx.add(row), after={"provider": known.name})
            _write(tx, row, identity, told)
            tx.session.flush()
            return _user_line(tx.session, row)

    def replace_user(self, actor: Actor, provider: str, user_id: str, told: scim.User) -> UserLine:
        """What the directory says of a person now; a person that is not active is out at the next click."""
        return self._changed(actor, provider, user_id, lambda _before: told)

    def patch_user(self, actor: Actor, provider: str, user_id: str, body: object) -> UserLine:
        """The same by a PATCH."""
        return self._changed(actor, provider, user_id, lambda before: scim.patched_user(before, body))

    def delete_user(self, actor: Actor, provider: str, user_id: str) -> None:
        """Deactivates the identity, which stays for the ledger, and forgets the directory's person."""
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            _require(tx, actor, known)
            row = _own(tx.session, ProvisionedUser, known, user_id)
            identity = tx.session.get_one(Identity, row.identity_id)
            _set_active(tx, row, identity, active=False)
            groups = [tx.session.get_one(ProvisionedGroup, one.group_id) for one in _memberships(tx.session, row)]
            _set_groups(tx, row, frozenset())
            for group in groups:
                tx.record("provisioned_group.change", group)
            claimed_roles.bring_up_to_date(tx, identity.id, known, (), source=PROVISIONED + known.name, until=None)
            tx.session.flush()
            tx.session.delete(row)
            tx.record("identity.unprovision", row, before={"provider": known.name})

    def groups(
        self, actor: Actor, provider: str, wanted: tuple[str, str] | None, first: int, most: int
    ) -> tuple[int, list[GroupLine]]:
        """How many groups there are, and some of them."""
        known = self._provider(provider)
        with self._database.read() as session:
            _require_to_read(session, actor, known, now=self._database.now(session))
            names = {"displayname": "display_name", "externalid": "external_id", "id": "id"}
            total, rows = _some(session, ProvisionedGroup, _where(ProvisionedGroup, known, wanted, names), first, most)
            return total, [_group_line(session, one) for one in rows]

    def group(self, actor: Actor, provider: str, group_id: str) -> GroupLine:
        """One group. NotFound."""
        known = self._provider(provider)
        with self._database.read() as session:
            _require_to_read(session, actor, known, now=self._database.now(session))
            return _group_line(session, _own(session, ProvisionedGroup, known, group_id))

    def create_group(self, actor: Actor, provider: str, told: scim.Group) -> GroupLine:
        """A group, with whoever is in it."""
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            _require(tx, actor, known)
            row = ProvisionedGroup(
                id=tx.new_id("scg"), provider=known.name, display_name="", created_at=tx.now, changed_at=tx.now
            )
            self._write_group(tx, known, row, told, is_new=True)
            return _group_line(tx.session, row)

    def replace_group(self, actor: Actor, provider: str, group_id: str, told: scim.Group) -> GroupLine:
        """What the directory says of a group now; roles that follow from it are given and taken back at once."""
        return self._group_changed(actor, provider, group_id, lambda _before: told)

    def patch_group(self, actor: Actor, provider: str, group_id: str, body: object) -> GroupLine:
        """The same by a PATCH."""
        return self._group_changed(actor, provider, group_id, lambda before: scim.patched_group(before, body))

    def delete_group(self, actor: Actor, provider: str, group_id: str) -> None:
        """The group is no more, and gives nothing."""
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            _require(tx, actor, known)
            row = _own(tx.session, ProvisionedGroup, known, group_id)
            touched = _members_of(tx.session, row)
            for one in tx.session.exec(select(ProvisionedMember).where(ProvisionedMember.group_id == row.id)):
                tx.session.delete(one)
            tx.session.flush()
            tx.session.delete(row)
            tx.record("provisioned_group.delete", row, before={"provider": known.name})
            tx.session.flush()
            _grant(tx, known, touched)

    def _changed(self, actor: Actor, provider: str, user_id: str, change: Any) -> UserLine:
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            _require(tx, actor, known)
            row = _own(tx.session, ProvisionedUser, known, user_id)
            identity = tx.session.get_one(Identity, row.identity_id)
            told: scim.User = change(_user_line(tx.session, row).told)
            if told.user_name.casefold() != row.user_key:
                _refuse_taken(tx.session, known, told.user_name)
            if told.external_id != row.external_id:
                known_as = _signed_in_before(tx.session, known, told.external_id)
                identity = _meet(tx, known, row, known_as) if known_as is not None else identity
            _write(tx, row, identity, told)
            tx.record("identity.provision", row, after={"provider": known.name})
            tx.session.flush()
            return _user_line(tx.session, row)

    def _group_changed(self, actor: Actor, provider: str, group_id: str, change: Any) -> GroupLine:
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            _require(tx, actor, known)
            row = _own(tx.session, ProvisionedGroup, known, group_id)
            self._write_group(tx, known, row, change(_group_line(tx.session, row).told), is_new=False)
            return _group_line(tx.session, row)

    def _write_group(self, tx: Unit, provider: Provider, row: ProvisionedGroup, told: scim.Group, *, is_new: bool) -> None:
        query = select(ProvisionedGroup).where(
            ProvisionedGroup.provider == provider.name, ProvisionedGroup.display_name == told.display_name
        )
        if any(one.id != row.id for one in tx.session.exec(query)):
            raise Refusal("There is already a group of that name.", "Choose another.", code="scim", scim_type="uniqueness")
        before = frozenset() if is_new else _members_of(tx.session, row)
        row.display_name, row.external_id, row.changed_at = told.display_name, told.external_id, tx.now
        tx.add(row)
        tx.record("provisioned_group.change", row, after={"provider": provider.name, "members": len(told.members)})
        tx.session.flush()
        for user_id in told.members - before:
            _own(tx.session, ProvisionedUser, provider, user_id)
            tx.add(ProvisionedMember(group_id=row.id, user_id=user_id))
        for user_id in before - told.members:
            tx.session.delete(tx.session.get_one(ProvisionedMember, (row.id, user_id)))
        tx.session.flush()
        _grant(tx, provider, before | told.members)

    def _provider(self, name: str) -> Provider:
        found = self._sign_in.provider(name) if self._sign_in is not None else None
        if found is None:
            raise NotFound("provider", name[:40], "Look at the settings of sign-in.")
        return found


def _require(tx: Unit, actor: Actor, provider: Provider) -> None:
    who = require(tx, actor, ACTION)
    _refuse_other(provider, who.kind, who.name)


def _require_to_read(session: Session, actor: Actor, provider: Provider, *, now: datetime) -> None:
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


def _keeps_it(session: Session, provider: Provider) -> frozenset[str]:
    """Ids of the service of this directory and of whoever owns it, who would give roles to himself."""
    row = session.exec(select(Identity).where(Identity.name == provider.scim_identity)).one_or_none()
    return frozenset(one for one in (row.id, row.owner_id) if one) if row is not None else frozenset()


def identity_provisioned(session: Session, provider: Provider, who: Person) -> Identity | None:
    """Whom the directory announced before the first sign-in, by the directory's own id."""
    if not who.external_id:
        return None
    row = _announced(session, provider, who)
    return session.get_one(Identity, row.identity_id) if row is not None and not _has_login(session, row.identity_id) else None


def meet_at_sign_in(tx: Unit, provider: Provider, who: Person, identity: Identity) -> None:
    """Whom the directory announced as somebody else, before it was known whom it means, is this identity from now on."""
    row = _announced(tx.session, provider, who)
    if row is not None:
        _meet(tx, provider, row, identity)


def roles_of_directory(tx: Unit, provider: Provider, identity_id: str) -> None:
    """Brings the roles that follow from the directory's groups up to date for one person."""
    query = select(ProvisionedUser.id).where(
        ProvisionedUser.provider == provider.name, ProvisionedUser.identity_id == identity_id
    )
    _grant(tx, provider, tx.session.exec(query).all())


def _grant(tx: Unit, provider: Provider, user_ids: Iterable[str]) -> None:
    keepers = _keeps_it(tx.session, provider)
    for user_id in sorted(user_ids):
        row = tx.session.get_one(ProvisionedUser, user_id)
        query = select(ProvisionedGroup.display_name).join(
            ProvisionedMember, col(ProvisionedMember.group_id) == ProvisionedGroup.id
        )
        query = query.join(ProvisionedUser, col(ProvisionedUser.id) == ProvisionedMember.user_id)
        mine = ProvisionedUser.provider == provider.name, ProvisionedUser.identity_id == row.identity_id
        told = tx.session.exec(query.where(*mine)).all()
        names = told if row.identity_id not in keepers else ()
        source = PROVISIONED + provider.name
        claimed_roles.bring_up_to_date(tx, row.identity_id, provider, names, source=source, until=None)


def _announced(session: Session, provider: Provider, who: Person) -> ProvisionedUser | None:
    query = select(ProvisionedUser).where(
        ProvisionedUser.provider == provider.name, ProvisionedUser.external_id == who.external_id
    )
    found = session.exec(query.limit(2)).all()
    return found[0] if len(found) == 1 else None


def _has_login(session: Session, identity_id: str) -> bool:
    return session.exec(select(ExternalLogin).where(ExternalLogin.identity_id == identity_id)).first() is not None


def _signed_in_before(session: Session, provider: Provider, external_id: str) -> Identity | None:
    """Whoever signed in under this id of the directory already, the first one where several did."""
    if not provider.scim_claim or not external_id:
        return None
    same = (col(SignInSession.issuer) == ExternalLogin.issuer) & (
        col(SignInSession.external_subject) == ExternalLogin.external_subject
    )
    known = col(ExternalLogin.external_id) == external_id
    if provider.scim_claim == "sub":
        known |= col(ExternalLogin.external_subject) == external_id
    query = select(ExternalLogin.identity_id).join(SignInSession, same).where(SignInSession.provider == provider.name, known)
    found = session.exec(query.order_by(col(ExternalLogin.first_at)).limit(1)).first()
    return session.get_one(Identity, found) if found is not None else None


def _meet(tx: Unit, provider: Provider, row: ProvisionedUser, identity: Identity) -> Identity:
    """Makes the directory's person the identity that signs in, unless it is one that signs in itself. Returns which it is.

    What stood for the person till then loses what groups gave it, and is switched off. Whom the directory had deactivated there
    is deactivated here.
    """
    apart = tx.session.get_one(Identity, row.identity_id)
    if apart.id == identity.id or _has_login(tx.session, apart.id):
        return apart
    was_off = not apart.active and apart.off_by == PROVISIONED + provider.name
    row.identity_id = identity.id
    tx.record("identity.provision", row, after={"provider": provider.name, "instead_of": apart.id})
    tx.session.flush()
    claimed_roles.bring_up_to_date(tx, apart.id, provider, (), source=PROVISIONED + provider.name, until=None)
    _set_active(tx, row, apart, active=False)
    if was_off:
        _set_active(tx, row, identity, active=False)
    _grant(tx, provider, (row.id,))
    return identity


def _write(tx: Unit, row: ProvisionedUser, identity: Identity, told: scim.User) -> None:
    row.user_name, row.user_key, row.external_id = told.user_name, told.user_name.casefold(), told.external_id
    row.changed_at = tx.now
    shown = (told.display_name or told.user_name)[:120], told.email or identity.email
    if (identity.display_name, identity.email) != shown:
        identity.display_name, identity.email = shown
        tx.record("identity.describe", identity)
    _set_active(tx, row, identity, active=told.active)


def _set_active(tx: Unit, row: ProvisionedUser, identity: Identity, *, active: bool) -> None:
    source = PROVISIONED + row.provider
    if identity.active and not active:
        if identity.id == tx.actor.id:
            raise Refusal("Nobody deactivates himself.", "Ask an admin.", code="scim", scim_type="mutability")
        identity.active, identity.off_by = False, source
        tx.record("identity.deactivate", identity, before={"active": True}, after={"active": False})
        endings.end_those_of(tx, identity.id, "provider")
    elif active and not identity.active and identity.off_by == source:
        identity.active, identity.off_by = True, None
        tx.record("identity.activate", identity, before={"active": False}, after={"active": True})


def _set_groups(tx: Unit, row: ProvisionedUser, kept: frozenset[str]) -> None:
    for one in _memberships(tx.session, row):
        if one.group_id not in kept:
            tx.session.delete(one)
    tx.session.flush()


def _memberships(session: Session, row: ProvisionedUser) -> list[ProvisionedMember]:
    return list(session.exec(select(ProvisionedMember).where(ProvisionedMember.user_id == row.id)))


def _members_of(session: Session, row: ProvisionedGroup) -> frozenset[str]:
    return frozenset(session.exec(select(ProvisionedMember.user_id).where(ProvisionedMember.group_id == row.id)))


def _refuse_taken(session: Session, provider: Provider, user_name: str) -> None:
    query = select(ProvisionedUser).where(
        ProvisionedUser.provider == provider.name, ProvisionedUser.user_key == user_name.casefold()
    )
    if session.exec(query).first() is not None:
        raise Refusal("There is already somebody of that userName.", "Choose another.", code="scim", scim_type="uniqueness")


def _own(session: Session, table: Any, provider: Provider, row_id: str) -> Any:
    """A row of this provider's directory: what another directory holds is not there for it."""
    row = session.get(table, row_id)
    if row is None or row.provider != provider.name:
        raise NotFound("resource", row_id[:80], "Look at the list.")
    return row


def _where(table: Any, provider: Provider, wanted: tuple[str, str] | None, columns: dict[str, str]) -> list[Any]:
    where = [table.provider == provider.name]
    if wanted is not None:
        column = columns.get(wanted[0])
        if column is None:
            raise Refusal("This attribute cannot be searched for.", "Leave it out.", code="scim", scim_type="invalidFilter")
        where.append(getattr(table, column) == (wanted[1].casefold() if column == "user_key" else wanted[1]))
    return where


def _some(session: Session, table: Any, where: list[Any], first: int, most: int) -> tuple[int, list[Any]]:
    total = session.exec(select(func.count()).select_from(table).where(*where)).one()
    query = select(table).where(*where).order_by(table.created_at, table.id)
    return total, list(session.exec(query.offset(max(first, 1) - 1).limit(most)))


def _user_line(session: Session, row: ProvisionedUser) -> UserLine:
    identity = session.get_one(Identity, row.identity_id)
    told = scim.User(row.user_name, row.external_id, identity.display_name, identity.email or "", identity.active)
    return UserLine(row.id, told, row.created_at, row.changed_at)


def _group_line(session: Session, row: ProvisionedGroup) -> GroupLine:
    told = scim.Group(row.display_name, row.external_id, _members_of(session, row))
    return GroupLine(row.id, told, row.created_at, row.changed_at)
