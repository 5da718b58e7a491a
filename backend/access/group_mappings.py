"""Which group of a provider gives which role: mappings that are asked for here, beside those of the settings file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlmodel import Session, col, select

from backend.access import queries, requests, rules, scopes
from backend.access.checks import require
from backend.access.claimed_roles import directory_up_to_date, take_back
from backend.access.claims import PROVISIONED
from backend.access.rows import Request, RoleGrant
from backend.access.scim_rows import ProvisionedGroup, ProvisionedMember, ProvisionedUser
from backend.access.scopes import Exists
from backend.access.session_rows import GroupMapping
from backend.access.sign_in_file import Provider, SignIn
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

_LONGEST_VALUE = 256
_FACTS = ("provider", "value", "role", "scope")


@dataclass(frozen=True)
class MappingLine:
    """One mapping in a list. `id` is None for one that stands in the settings file.

    `reaches`: whether what its scope names is there; the settings file may name what comes later.
    """

    id: str | None
    provider: str
    value: str
    role: str
    scope: str
    made_by: str | None
    reaches: bool = True


class GroupMappings:
    """Commands on mappings.

    Args:
        database: where they are kept.
        sign_in: the settings, which hold mappings of their own; None where nobody signs in.
        demo: whether demo identities count as admins.
        exists: whether what a scope names is there.
    """

    def __init__(
        self, database: Database, sign_in: SignIn | None, *, demo: bool = False, exists: Exists = scopes.everything
    ) -> None:
        self._database = database
        self._sign_in = sign_in
        self._demo = demo
        self._exists = exists

    def map(self, actor: Actor, provider: str, value: str, role: str, scope: str = "*") -> Request:
        """Asks that this group gives this role, which another admin confirms: it would else be a way to give roles alone.

        Refusal codes: bad-role, bad-scope, bad-group, name-taken.
        """
        rules.check_grant(role, scope)
        if not value.strip() or len(value) > _LONGEST_VALUE or not value.isprintable():
            raise Refusal("A mapping needs a group.", "Write it as the provider tells it.", code="bad-group")
        with self._database.unit(actor) as tx:
            require(tx, actor, "group_mapping.make")
            self._provider(provider)
            what = {"provider": provider, "value": value, "role": role}
            what["scope"] = scopes.demanded(tx.session, scope, self._exists)
            if _mapped(tx.session, what):
                raise Refusal("This mapping is there already.", "Choose another role or scope.", code="name-taken")
            return requests.ask(tx, "group_mapping.make", what)

    def confirm(self, actor: Actor, request_id: str, reason: str = "") -> GroupMapping:
        """Makes the mapping that another admin asked for: it counts at once for a directory, else from the next sign-in on.

        It gives nothing to the two. Refusal codes: not-a-person, own-request, settled, expired, stale-request.
        """
        with self._database.unit(actor) as tx:
            require(tx, actor, "group_mapping.make")
            row = requests.waiting(tx, request_id, "group_mapping.make")
            requests.confirm(tx, row, "group_mapping.make", reason)
            self._refuse_stale(tx, row.what)
            return self._make(tx, row)

    def refuse(self, actor: Actor, request_id: str, reason: str) -> None:
        """Refuses it, or takes it back."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "group_mapping.make")
            requests.refuse(tx, requests.waiting(tx, request_id, "group_mapping.make"), reason)

    def unmap(self, actor: Actor, mapping_id: str) -> None:
        """The group gives this role no longer: whoever has it by the directory loses it at once, others at the next sign-in."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "group_mapping.take_back")
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
                    take_back(tx, row, demo=self._demo)

    def lines(self, session: Session) -> tuple[MappingLine, ...]:
        """Those of the settings file first. A team's scope is shown by its name."""
        shown = queries.scope_names(session)
        found = [
            MappingLine(None, provider.name, one.value, one.role, one.scope, None)
            for provider in (self._sign_in.providers if self._sign_in else ())
            for one in provider.roles
        ]
        rows = session.exec(select(GroupMapping).order_by(GroupMapping.provider, GroupMapping.value, col(GroupMapping.id)))
        for one in rows:
            scope = shown.get(one.scope, one.scope)
            found.append(MappingLine(one.id, one.provider, one.value, one.role, scope, one.made_by))
        there = {scope: scopes.is_written_there(session, scope, self._exists) for scope in {one.scope for one in found}}
        return tuple(replace(one, reaches=there[one.scope]) for one in found)

    def _make(self, tx: Unit, asked: Request) -> GroupMapping:
        row = GroupMapping(
            id=tx.new_id("map"),
            **{name: asked.what[name] for name in _FACTS},
            made_by=asked.asked_by,
            confirmed_by=tx.actor.id,
            made_at=tx.now,
        )
        tx.record("group_mapping.make", tx.add(row), after={**row.facts("provider", "role", "scope"), "request_id": asked.id})
        self._tell_members(tx, row)
        return row

    def _refuse_stale(self, tx: Unit, what: Mapping[str, str]) -> None:
        scopes.demand_still(tx.session, what["scope"], self._exists)
        if self._sign_in is None or self._sign_in.provider(what["provider"]) is None:
            raise Refusal("The settings do not name this provider any more.", "Refuse this request.", code="stale-request")
        if _mapped(tx.session, what):
            raise Refusal("This mapping is there already.", "Refuse this request.", code="stale-request")

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

    def _provider(self, name: str) -> Provider:
        found = self._sign_in.provider(name) if self._sign_in is not None else None
        if found is None:
            raise NotFound("provider", name[:40], "Look at the settings of sign-in.")
        return found


def _mapped(session: Session, what: Mapping[str, str]) -> bool:
    query = select(GroupMapping.id).where(*(getattr(GroupMapping, name) == what[name] for name in _FACTS))
    return session.exec(query).first() is not None
