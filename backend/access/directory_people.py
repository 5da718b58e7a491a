"""People of a provider's directory, by SCIM: identities that come, change and are deactivated.

A person that the directory deactivates or deletes is out at the next click. An identity that an admin deactivated by hand is
not activated again from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
import structlog
from sqlmodel import Session, col, select

from backend.access import claimed_roles, directory, endings, scim
from backend.access.claims import PROVISIONED, SOURCE, Person, handle_of
from backend.access.last_admin import ROLES, is_last_admin, refuse_last
from backend.access.names import free_name
from backend.access.rows import DataSetGrant, Identity, RoleGrant, Team, TeamMember
from backend.access.scim_rows import ProvisionedGroup, ProvisionedMember, ProvisionedUser
from backend.access.service import create_identity
from backend.access.session_rows import ExternalLogin, SignInSession
from backend.access.sign_in_file import Provider
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.core.unit import Unit


@dataclass(frozen=True)
class UserLine:
    """A person as it is told to the directory."""

    id: str
    told: scim.User
    created_at: datetime
    changed_at: datetime


class DirectoryPeople(directory.Directory):
    """Commands of a provider's directory on its people."""

    def users(
        self, actor: Actor, provider: str, wanted: tuple[str, str] | None, first: int, most: int
    ) -> tuple[int, list[UserLine]]:
        """How many people there are, and some of them."""
        known = self._provider(provider)
        with self._database.read() as session:
            directory.speaks_in_a_look(session, actor, known, now=self._database.now(session))
            where = directory.where(
                ProvisionedUser, known, wanted, {"username": "user_key", "externalid": "external_id", "id": "id"}
            )
            total, rows = directory.some(session, ProvisionedUser, where, first, most)
            return total, [_user_line(session, one) for one in rows]

    def user(self, actor: Actor, provider: str, user_id: str) -> UserLine:
        """One person. NotFound."""
        known = self._provider(provider)
        with self._database.read() as session:
            directory.speaks_in_a_look(session, actor, known, now=self._database.now(session))
            return _user_line(session, directory.own(session, ProvisionedUser, known, user_id))

    def create_user(self, actor: Actor, provider: str, told: scim.User) -> UserLine:
        """A new identity, or the one that already signed in under this id of the directory."""
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            directory.speaks(tx, actor, known)
            _refuse_taken(tx.session, known, told.user_name)
            identity = _signed_in_before(tx.session, known, told.external_id) or create_identity(
                tx,
                name=free_name(tx, handle_of(told.user_name)),
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
            _write(tx, row, identity, told, demo=self._demo)
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
            directory.speaks(tx, actor, known)
            row = directory.own(tx.session, ProvisionedUser, known, user_id)
            identity = tx.session.get_one(Identity, row.identity_id)
            _set_active(tx, row, identity, active=False, demo=self._demo)
            groups = [tx.session.get_one(ProvisionedGroup, one.group_id) for one in _memberships(tx.session, row)]
            _set_groups(tx, row, frozenset())
            for group in groups:
                tx.record("provisioned_group.change", group)
            claimed_roles.bring_up_to_date(
                tx, identity.id, known, (), source=PROVISIONED + known.name, until=None, demo=self._demo
            )
            tx.session.flush()
            tx.session.delete(row)
            tx.record("identity.unprovision", row, before={"provider": known.name})

    def _changed(self, actor: Actor, provider: str, user_id: str, change: Any) -> UserLine:
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            directory.speaks(tx, actor, known)
            row = directory.own(tx.session, ProvisionedUser, known, user_id)
            identity = tx.session.get_one(Identity, row.identity_id)
            told: scim.User = change(_user_line(tx.session, row).told)
            if told.user_name.casefold() != row.user_key:
                _refuse_taken(tx.session, known, told.user_name)
            if told.external_id != row.external_id:
                known_as = _signed_in_before(tx.session, known, told.external_id)
                if known_as is None:
                    _refuse_somebody_else(tx, identity)
                identity = _meet(tx, known, row, known_as, demo=self._demo) if known_as is not None else identity
            _write(tx, row, identity, told, demo=self._demo)
            tx.record("identity.provision", row, after={"provider": known.name})
            tx.session.flush()
            return _user_line(tx.session, row)


def identity_provisioned(session: Session, provider: Provider, who: Person) -> Identity | None:
    """Whom the directory announced before the first sign-in, by the directory's own id."""
    if not who.external_id:
        return None
    row = _announced(session, provider, who)
    return session.get_one(Identity, row.identity_id) if row is not None and not _has_login(session, row.identity_id) else None


def meet_at_sign_in(tx: Unit, provider: Provider, who: Person, identity: Identity, *, demo: bool) -> None:
    """Whom the directory announced as somebody else, before it was known whom it means, is this identity from now on."""
    row = _announced(tx.session, provider, who)
    if row is not None:
        _meet(tx, provider, row, identity, demo=demo)


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


def _refuse_somebody_else(tx: Unit, identity: Identity) -> None:
    """Refusal for another id of somebody who never signed in and holds what admins gave: the directory would say anew whom they
    meant. What its groups gave follows the directory's person.
    """
    tx.alone(ROLES)
    if not _has_login(tx.session, identity.id) and _holds_by_hand(tx, identity.id):
        raise Refusal(
            "This person has not signed in yet and holds what admins gave: another externalId would give it to somebody else.",
            "Have an admin take that back first, or delete this person and create one anew.",
            code="scim",
            scim_type="mutability",
        )


def _holds_by_hand(tx: Unit, identity_id: str) -> bool:
    """Whether there is anything of an identity's that its groups did not give: a role, a data set, a team, a service."""
    by_groups = sa.or_(*(col(RoleGrant.granted_by).startswith(one) for one in (SOURCE, PROVISIONED)))
    held = (
        select(RoleGrant.id).where(
            RoleGrant.identity_id == identity_id, sa.not_(by_groups), _is_open(RoleGrant.expires_at, tx)
        ),
        select(DataSetGrant.id).where(DataSetGrant.identity_id == identity_id, col(DataSetGrant.until) > tx.now),
        select(TeamMember.team_id).join(Team).where(TeamMember.identity_id == identity_id, col(Team.retired_at).is_(None)),
        select(Identity.id).where(Identity.owner_id == identity_id),
    )
    return any(tx.session.exec(one.limit(1)).first() is not None for one in held)


def _is_open(end: Any, tx: Unit) -> Any:
    return col(end).is_(None) | (col(end) > tx.now)


def _meet(tx: Unit, provider: Provider, row: ProvisionedUser, identity: Identity, *, demo: bool) -> Identity:
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
    claimed_roles.bring_up_to_date(tx, apart.id, provider, (), source=PROVISIONED + provider.name, until=None, demo=demo)
    for one in (apart, identity) if was_off else (apart,):
        if is_last_admin(tx, one.id, demo=demo):
            structlog.get_logger().warning("identity.kept", identity=one.id, says="Nobody else is an admin.")
        else:
            _set_active(tx, row, one, active=False, demo=demo)
    directory.roles_up_to_date(tx, provider, (row.id,), demo=demo)
    return identity


def _write(tx: Unit, row: ProvisionedUser, identity: Identity, told: scim.User, *, demo: bool) -> None:
    row.user_name, row.user_key, row.external_id = told.user_name, told.user_name.casefold(), told.external_id
    row.changed_at = tx.now
    shown = (told.display_name or told.user_name)[:120], told.email or identity.email
    if (identity.display_name, identity.email) != shown:
        identity.display_name, identity.email = shown
        tx.record("identity.describe", identity)
    _set_active(tx, row, identity, active=told.active, demo=demo)


def _set_active(tx: Unit, row: ProvisionedUser, identity: Identity, *, active: bool, demo: bool) -> None:
    source = PROVISIONED + row.provider
    if identity.active and not active:
        if identity.id == tx.actor.id:
            raise Refusal("Nobody deactivates himself.", "Ask an admin.", code="scim", scim_type="mutability")
        refuse_last(tx, identity.id, demo=demo)
        identity.active, identity.off_by = False, source
        tx.record("identity.deactivate", identity, before={"active": True}, after={"active": False})
        endings.end_everywhere(tx, identity, "provider")
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


def _refuse_taken(session: Session, provider: Provider, user_name: str) -> None:
    query = select(ProvisionedUser).where(
        ProvisionedUser.provider == provider.name, ProvisionedUser.user_key == user_name.casefold()
    )
    if session.exec(query).first() is not None:
        raise Refusal("There is already somebody of that userName.", "Choose another.", code="scim", scim_type="uniqueness")


def _user_line(session: Session, row: ProvisionedUser) -> UserLine:
    identity = session.get_one(Identity, row.identity_id)
    told = scim.User(row.user_name, row.external_id, identity.display_name, identity.email or "", identity.active)
    return UserLine(row.id, told, row.created_at, row.changed_at)
