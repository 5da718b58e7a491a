"""Commands on identities and the roles that they hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, select

from backend.access import endings, queries, requests, rules, scopes
from backend.access.checks import active_identity, require
from backend.access.claims import PROVISIONED, SOURCE
from backend.access.last_admin import ROLES, admins, refuse_last, refuse_last_until
from backend.access.names import demand_free, demand_name, demand_shown
from backend.access.rows import Identity, Request, RoleGrant
from backend.access.scopes import Exists
from backend.core.context import SYSTEM, Actor, ActorKind
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit
from backend.settings import Settings

DEMO: tuple[tuple[str, str, rules.Role], ...] = (
    ("ana", "Ana (data scientist)", "contributor"),
    ("ben", "Ben (reviewer)", "reviewer"),
    ("carla", "Carla (reviewer)", "reviewer"),
    ("olga", "Olga (platform engineer)", "operator"),
    ("otto", "Otto (administrator)", "admin"),
    ("nora", "Nora (second administrator)", "admin"),
    ("audra", "Audra (auditor)", "auditor"),
)
"""Name, display name and role of the built-in demo identities."""


def seed_system(tx: Unit) -> None:
    """The identity under which the worker itself acts. It holds no role: it settles, it never decides."""
    if tx.session.get(Identity, SYSTEM.id) is None:
        row = tx.add(Identity(id=SYSTEM.id, name=SYSTEM.name, kind="system", created_at=tx.now))
        tx.record("identity.create", row, after=row.facts("kind"))


Protected = Callable[[Session], frozenset[str]]
"""Names of the environments in which it takes two people to widen what somebody may do."""


class Identities:
    """Commands on identities.

    Args:
        database: where they are kept.
        settings: `demo_identities` allows `seed_demo` and `act_as`.
        protected: environments in which a role needs a second person. The rooms that know stand above this one; without it
            there are none.
        exists: whether what a scope names is there; without it whatever is named is taken to be.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        protected: Protected = lambda _: frozenset(),
        exists: Exists = scopes.everything,
    ) -> None:
        self._database = database
        self._settings = settings
        self._protected = protected
        self._exists = exists

    def seed_demo(self) -> None:
        """Creates the system's identity and, where settings allow them, the demo identities. Repeating it changes nothing."""
        with self._database.unit(SYSTEM) as tx:
            seed_system(tx)
            for name, display_name, role in DEMO if self._settings.demo_identities else ():
                if _by_name(tx.session, name) is None:
                    row = create_identity(tx, name=name, display_name=display_name, is_demo=True)
                    _grant(tx, row.id, role, "*", None, action="identity.bootstrap")

    def act_as(self, name: str) -> Actor:
        """The demo identity of that name as an actor; only where settings allow demo identities."""
        if not self._settings.demo_identities:
            raise Refusal(
                "Demo identities are switched off here.",
                "Sign in with a token, or set COUNTERSIGN_DEMO_IDENTITIES=true on a machine of your own.",
                code="demo-identities-off",
            )
        with self._database.read() as session:
            row = _by_name(session, name)
            if row is None or not row.is_demo:
                known = ", ".join(one for one, _, _ in DEMO)
                raise NotFound("demo identity", name, f"Use one of {known}.")
            actor = actor_of(row)
            active_identity(session, actor)
            return actor

    def create(
        self,
        actor: Actor,
        name: str,
        *,
        kind: ActorKind = "person",
        display_name: str = "",
        email: str | None = None,
        owner: str | None = None,
    ) -> Actor:
        """A new identity without any role. A service names the active person who owns it: both are one interest.

        Refusal codes: bad-identity, bad-name, name-taken.
        """
        if kind == "system" or (kind == "service") != (owner is not None):
            raise Refusal(
                "A service has an owner and a person has none.",
                "Name the owner of a service, or create a person.",
                code="bad-identity",
            )
        with self._database.unit(actor) as tx:
            require(tx, actor, "identity.create")
            demand_name(name)
            demand_shown(display_name)
            demand_free(tx, name)
            owner_id = _owner(tx.session, owner).id if owner is not None else None
            return actor_of(
                create_identity(tx, name=name, kind=kind, display_name=display_name, email=email, owner_id=owner_id)
            )

    def grant(
        self, actor: Actor, name: str, role: str, scope: str = "*", *, expires_at: datetime | None = None
    ) -> RoleGrant | Request:
        """Gives an identity a role in a scope, until a time. Giving it again only moves its end, the last admin's no nearer.

        Where the scope reaches an environment whose changes need approvals, that becomes a request, which a second admin has
        to confirm. Nobody gives a role to himself, or to a service of his own: who sets the rules would else do all
        alone. Refusal codes: bad-role, bad-scope, bad-end, own-identity, last-admin.
        """
        rules.check_grant(role, scope)
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "role.grant")
            _check_end(tx.now, expires_at)
            whose, scope = named_identity(tx.session, name), scopes.demanded(tx.session, scope, self._exists)
            refuse_own(tx, whose, _TO_ONESELF)
            if self._needs_second(tx, whose.id, role, scope, expires_at):
                return requests.ask(tx, "role.grant", _asked(tx, whose, role, scope, expires_at))
            self._refuse_last(tx, whose.id, role, scope, expires_at)
            return _grant(tx, whose.id, role, scope, expires_at)

    def confirm_grant(self, actor: Actor, request_id: str, reason: str = "") -> RoleGrant:
        """Gives the role that another admin asked for.

        Refusal codes: not-a-person, own-request, own-identity, settled, expired, stale-request, last-admin.
        """
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "role.grant")
            row = requests.waiting(tx, request_id, "role.grant")
            whose = tx.get(Identity, row.what["identity_id"])
            refuse_own(tx, whose, _TO_ONESELF)
            requests.refuse_more_ways_in(tx, row, whose)
            requests.confirm(tx, row, "role.grant", reason, whose=whose)
            scopes.demand_still(tx.session, row.what["scope"], self._exists)
            until = datetime.fromisoformat(row.what["expires_at"]) if row.what["expires_at"] else None
            if until is not None and until <= tx.now:
                raise Refusal("The role would have ended by now.", "Refuse this request.", code="stale-request")
            self._refuse_last(tx, whose.id, row.what["role"], row.what["scope"], until)
            return _grant(tx, whose.id, row.what["role"], row.what["scope"], until, request_id=row.id)

    def refuse_grant(self, actor: Actor, request_id: str, reason: str) -> None:
        """Refuses it, or takes it back."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "role.grant")
            requests.refuse(tx, requests.waiting(tx, request_id, "role.grant"), reason)

    def bootstrap(self, name: str, *, display_name: str = "", email: str | None = None) -> Actor:
        """Makes somebody an admin without anybody else, for as long as there are not two of them: the one exception.

        It is for whoever holds the machine, and recorded as what it is. Refusal `bootstrapped` once there are two.
        """
        with self._database.unit(SYSTEM) as tx:
            seed_system(tx)
            tx.alone(ROLES)
            row = _by_name(tx.session, name)
            if row is not None and (row.kind != "person" or not row.active):
                raise Refusal(f"{name} is not an active person.", "Name one.", code="bad-identity")
            if len(admins(tx, demo=self._settings.demo_identities) - {row.id if row is not None else ""}) >= 2:
                raise Refusal("There are two admins already.", "One of them grants what is needed.", code="bootstrapped")
            if row is None:
                demand_name(name)
                demand_shown(display_name)
                row = create_identity(tx, name=name, display_name=display_name, email=email)
            held = _held(tx, row.id, "admin", "*")
            if held is None or held.expires_at is not None:  # one that is over, or will be, would not help
                _grant(tx, row.id, "admin", "*", None, action="identity.bootstrap")
            return actor_of(row)

    def _refuse_last(self, tx: Unit, identity_id: str, role: str, scope: str, until: datetime | None) -> None:
        if (role, scope) == ("admin", "*") and until is not None:
            refuse_last_until(tx, identity_id, until, demo=self._settings.demo_identities)

    def _needs_second(self, tx: Unit, identity_id: str, role: str, scope: str, expires_at: datetime | None) -> bool:
        """Whether it reaches a protected environment, and further than what is held already.

        What groups gave is no such thing: it ends with them, and what an admin gives stays.
        """
        held = _held(tx, identity_id, role, scope)
        if (
            held is not None
            and not _of_groups(held)
            and (held.expires_at is None or (expires_at is not None and expires_at <= held.expires_at))
        ):
            return False
        return rules.reaches(scope, self._protected(tx.session))

    def take_back(self, actor: Actor, name: str, role: str, scope: str = "*", *, reason: str = "") -> None:
        """Ends a role at once. Refusal `last-admin` for the role without which nobody could give roles any more."""
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "role.take_back")
            row = _held(tx, named_identity(tx.session, name).id, role, scopes.stored_once(tx.session, scope))
            if row is None:
                raise NotFound("role", f"{role} of {name} in {scope}")
            if (row.role, row.scope) == ("admin", "*"):
                refuse_last(tx, row.identity_id, demo=self._settings.demo_identities)
            tx.session.delete(row)
            said = {"reason": reason} if reason else None
            tx.record("role.take_back", row, before=row.facts("identity_id", "role", "scope"), after=said)

    def deactivate(self, actor: Actor, name: str, reason: str = "") -> None:
        """From now on every command of this identity is refused, its sessions are over for good, and its undecided changes are
        suspended; one that a directory deactivated stays so. Refusal codes: own-identity, last-admin.
        """
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "identity.deactivate")
            row = named_identity(tx.session, name)
            if row.id in actor.interests:
                raise Refusal("You cannot deactivate yourself.", "Ask another admin.", code="own-identity")
            if not row.active:
                _keep_off(tx, row, reason)
                return
            refuse_last(tx, row.id, demo=self._settings.demo_identities)
            row.active, row.off_by = False, None
            said = {"reason": reason} if reason else {}
            tx.record("identity.deactivate", row, before={"active": True}, after={"active": False, **said})
            endings.end_everywhere(tx, row, "deactivated")

    def activate(self, actor: Actor, name: str, reason: str = "") -> None:
        """An identity that was deactivated counts again, with the roles that it still has. It has to sign in anew."""
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "identity.activate")
            row = named_identity(tx.session, name)
            refuse_own(tx, row, _TO_ONESELF)
            if not row.active:
                row.active, row.off_by = True, None
                said = {"reason": reason} if reason else {}
                tx.record("identity.activate", row, before={"active": False}, after={"active": True, **said})


def actor_of(row: Identity) -> Actor:
    """The actor that an identity acts as."""
    kind: ActorKind = "service" if row.kind == "service" else "system" if row.kind == "system" else "person"
    return Actor(id=row.id, name=row.display_name or row.name, kind=kind, owner_id=row.owner_id)


def _by_name(session: Session, name: str) -> Identity | None:
    return session.exec(select(Identity).where(Identity.name == name)).one_or_none()


def named_identity(session: Session, name: str) -> Identity:
    """An identity by its name. NotFound."""
    row = _by_name(session, name)
    if row is None:
        raise NotFound("identity", name)
    return row


def create_identity(
    tx: Unit,
    *,
    name: str,
    kind: str = "person",
    display_name: str = "",
    email: str | None = None,
    owner_id: str | None = None,
    is_demo: bool = False,
) -> Identity:
    """Joins: a new identity without any role, under a name that is free, flushed so that other rows may name it."""
    row = Identity(
        id=tx.new_id("idn"),
        name=name,
        kind=kind,
        display_name=display_name,
        email=email,
        owner_id=owner_id,
        is_demo=is_demo,
        created_at=tx.now,
    )
    tx.record("identity.create", tx.add(row), after=row.facts("kind", "owner_id", "is_demo"))
    tx.session.flush()
    return row


def _held(tx: Unit, identity_id: str, role: str, scope: str) -> RoleGrant | None:
    query = select(RoleGrant).where(RoleGrant.identity_id == identity_id, RoleGrant.role == role, RoleGrant.scope == scope)
    return tx.session.exec(query).one_or_none()


def _keep_off(tx: Unit, row: Identity, reason: str) -> None:
    """Whom a directory switched off stays off from now on, whatever the directory says."""
    if row.off_by is not None:
        before, row.off_by = {"active": False, "off_by": row.off_by}, None
        said = {"reason": reason} if reason else {}
        tx.record("identity.deactivate", row, before=before, after={"active": False, **said})


def _check_end(now: datetime, until: datetime | None) -> None:
    if until is not None and until <= now:
        raise Refusal("A role ends in the future.", "Choose a later end, or take the role back.", code="bad-end")


def _of_groups(row: RoleGrant) -> bool:
    return row.granted_by.startswith((SOURCE, PROVISIONED))


_TO_ONESELF = "You cannot give a role to yourself."


def refuse_own(tx: Unit, whose: Identity, says: str) -> None:
    """Refusal for whoever would do it to himself, or to a service that is his or that he has a token of."""
    if tx.actor.interests & queries.interests_since(tx.session, [whose.id], tx.now):
        raise Refusal(
            says, "Ask another admin. A service counts as yours while a token that you made of it is good.", code="own-identity"
        )


def _owner(session: Session, name: str) -> Identity:
    row = named_identity(session, name)
    refuse_owner(row)
    return row


def refuse_owner(row: Identity) -> None:
    """A service that owned a service would be one interest more than there are people, and so would whatever it owned."""
    if not queries.is_answering(row):
        raise Refusal(f"{row.name} is not an active person.", "Name one who shall answer for the service.", code="bad-identity")


def _asked(tx: Unit, whose: Identity, role: str, scope: str, expires_at: datetime | None) -> dict[str, Any]:
    until = expires_at.astimezone(UTC).isoformat() if expires_at is not None else None
    asked = {"identity_id": whose.id, "role": role, "scope": scope, "expires_at": until}
    return {**asked, **requests.gainer(whose), **requests.ways_in(tx, whose, role, scope)}


def _grant(
    tx: Unit,
    identity_id: str,
    role: str,
    scope: str,
    expires_at: datetime | None,
    *,
    action: str = "role.grant",
    request_id: str | None = None,
) -> RoleGrant:
    row = _held(tx, identity_id, role, scope)
    before = row.facts("expires_at", *(["granted_by"] if _of_groups(row) else [])) if row else None
    if row is not None and _of_groups(row):  # else the next sign-in would take back what an admin gave
        row.granted_by, row.granted_at = tx.actor.id, tx.now
    if row is None:
        row = tx.add(
            RoleGrant(
                id=tx.new_id("grt"),
                identity_id=identity_id,
                role=role,
                scope=scope,
                granted_by=tx.actor.id,
                granted_at=tx.now,
            )
        )
    row.expires_at = expires_at
    asked = {"request_id": request_id} if request_id is not None else {}
    tx.record(action, row, before=before, after={**row.facts("identity_id", "role", "scope", "expires_at"), **asked})
    return row
