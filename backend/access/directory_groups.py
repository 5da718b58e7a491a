"""Groups of a provider's directory, by SCIM. They give roles by the same mappings as those of a sign-in, at once and without an
end, as grants given by `scim:<provider>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.access import directory, scim
from backend.access.scim_rows import ProvisionedGroup, ProvisionedMember
from backend.access.sign_in_file import Provider
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.core.unit import Unit


@dataclass(frozen=True)
class GroupLine:
    """A group as it is told to the directory."""

    id: str
    told: scim.Group
    created_at: datetime
    changed_at: datetime


class DirectoryGroups(directory.Directory):
    """Commands of a provider's directory on its groups."""

    def groups(
        self, actor: Actor, provider: str, wanted: tuple[str, str] | None, first: int, most: int
    ) -> tuple[int, list[GroupLine]]:
        """How many groups there are, and some of them."""
        known = self._provider(provider)
        with self._database.read() as session:
            directory.speaks_in_a_look(session, actor, known, now=self._database.now(session))
            names = {"displayname": "display_name", "externalid": "external_id", "id": "id"}
            total, rows = directory.some(
                session, ProvisionedGroup, directory.where(ProvisionedGroup, known, wanted, names), first, most
            )
            return total, [_group_line(session, one) for one in rows]

    def group(self, actor: Actor, provider: str, group_id: str) -> GroupLine:
        """One group. NotFound."""
        known = self._provider(provider)
        with self._database.read() as session:
            directory.speaks_in_a_look(session, actor, known, now=self._database.now(session))
            return _group_line(session, directory.own(session, ProvisionedGroup, known, group_id))

    def create_group(self, actor: Actor, provider: str, told: scim.Group) -> GroupLine:
        """A group, with whoever is in it."""
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            directory.speaks(tx, actor, known)
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
            directory.speaks(tx, actor, known)
            row = directory.own(tx.session, ProvisionedGroup, known, group_id)
            touched = _members_of(tx.session, row)
            for one in tx.session.exec(select(ProvisionedMember).where(ProvisionedMember.group_id == row.id)):
                tx.session.delete(one)
            tx.session.flush()
            tx.session.delete(row)
            tx.record("provisioned_group.delete", row, before={"provider": known.name})
            tx.session.flush()
            directory.roles_up_to_date(tx, known, touched, demo=self._demo)

    def _group_changed(self, actor: Actor, provider: str, group_id: str, change: Any) -> GroupLine:
        known = self._provider(provider)
        with self._database.unit(actor) as tx:
            directory.speaks(tx, actor, known)
            row = directory.own(tx.session, ProvisionedGroup, known, group_id)
            self._write_group(tx, known, row, change(_group_line(tx.session, row).told), is_new=False)
            return _group_line(tx.session, row)

    def _write_group(self, tx: Unit, provider: Provider, row: ProvisionedGroup, told: scim.Group, *, is_new: bool) -> None:
        query = select(ProvisionedGroup).where(
            ProvisionedGroup.provider == provider.name, ProvisionedGroup.display_name == told.display_name
        )
        if any(one.id != row.id for one in tx.session.exec(query)):
            raise Refusal("There is already a group of that name.", "Choose another.", code="scim", scim_type="uniqueness")
        before = frozenset() if is_new else _members_of(tx.session, row)
        is_other = row.display_name != told.display_name  # mappings go by the name
        row.display_name, row.external_id, row.changed_at = told.display_name, told.external_id, tx.now
        tx.add(row)
        tx.record("provisioned_group.change", row, after={"provider": provider.name, "members": len(told.members)})
        tx.session.flush()
        come = sorted(told.members - before)
        directory.demand_own(tx.session, provider, come)
        tx.session.add_all(ProvisionedMember(group_id=row.id, user_id=one) for one in come)
        gone = col(ProvisionedMember.user_id).in_(before - told.members)
        for one in tx.session.exec(select(ProvisionedMember).where(ProvisionedMember.group_id == row.id, gone)):
            tx.session.delete(one)
        tx.session.flush()
        touched = before | told.members if is_other else before ^ told.members
        directory.roles_up_to_date(tx, provider, touched, demo=self._demo)


def _members_of(session: Session, row: ProvisionedGroup) -> frozenset[str]:
    return frozenset(session.exec(select(ProvisionedMember.user_id).where(ProvisionedMember.group_id == row.id)))


def _group_line(session: Session, row: ProvisionedGroup) -> GroupLine:
    told = scim.Group(row.display_name, row.external_id, _members_of(session, row))
    return GroupLine(row.id, told, row.created_at, row.changed_at)
