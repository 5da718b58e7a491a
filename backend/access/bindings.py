"""Bindings: which builds and machine clients act as which service, without a secret that anybody would have to keep.

A binding lets whoever controls a repository act as a service, as a token would. It is therefore an admin's to make, never for a
service of his own, and where it reaches an environment whose changes need approvals a second admin confirms it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import bearer_claims, queries, requests, rules, scopes
from backend.access.bearer_file import Profile
from backend.access.binding_rows import BearerUse, Binding
from backend.access.checks import require, require_to_read
from backend.access.last_admin import ROLES
from backend.access.rows import Identity, Request
from backend.access.scopes import Exists
from backend.access.service import Protected, named_identity, refuse_own
from backend.access.session_rows import ExternalLogin
from backend.core.context import SYSTEM, Actor, Limits
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

MOST_LINES = 1_000
_NOT_ENDED = sa.or_(col(Binding.ended_at).is_(None), col(Binding.ended_by) == SYSTEM.id)
"""With what the system ended: it stays in lists until an admin has seen it and unbinds it."""
FACTS = ("profile", "issuer", "claims", "identity_id", "role", "scope", "expires_at")


@dataclass(frozen=True)
class BindingLine:
    """One binding in a list.

    `state` is active, expired, ended, off where the settings do not know its issuer any more, or not-honoured where it asks for
    less than has to be asked for today; `says` is then what it lacks.
    """

    id: str
    profile: str
    issuer: str
    claims: Mapping[str, str]
    identity: str
    role: str | None
    scope: str
    state: str
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_by: Mapping[str, str]
    """What the job said of itself that used it last; its token's number is `jti`."""
    says: str = ""


class Bindings:
    """Commands on bindings.

    Args:
        database: where they are kept.
        profiles: the settings of bearer tokens.
        protected: environments in which a role needs a second person.
        exists: whether what a scope names is there.
    """

    def __init__(
        self,
        database: Database,
        profiles: Sequence[Profile],
        protected: Protected = lambda _: frozenset(),
        exists: Exists = scopes.everything,
    ) -> None:
        self._exists = exists
        self._database = database
        self._profiles = {one.name: one for one in profiles}
        self._protected = protected

    def bind(
        self,
        actor: Actor,
        service: str,
        profile: str,
        claims: Mapping[str, str],
        *,
        role: str | None = None,
        scope: str = "*",
        expires_at: datetime | None = None,
    ) -> Binding | Request:
        """Lets tokens of a profile with these claims act as a service, within a role and a scope.

        Refusal codes: bad-binding, bad-role, bad-scope, bad-identity, own-identity, name-taken. A request where it takes two.
        """
        rules.check_grant(role or "viewer", scope)
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "binding.make")
            found = self._profile(profile)
            bearer_claims.check_binding(found.kind, claims)
            whose = named_identity(tx.session, service)
            limits = Limits(role, scopes.demanded(tx.session, scope, self._exists))
            _refuse_unfit(tx, whose, found, claims, expires_at)
            what = _what(found, claims, whose, limits, expires_at)
            if rules.reaches(limits.scope, self._protected(tx.session)):
                return requests.ask(tx, "binding.make", what)
            return _make(tx, what)

    def confirm(self, actor: Actor, request_id: str, reason: str = "") -> Binding:
        """Makes the binding that another admin asked for.

        Refusal codes: not-a-person, own-request, own-identity, settled, expired, stale-request.
        """
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "binding.make")
            row = requests.waiting(tx, request_id, "binding.make")
            whose = tx.get(Identity, row.what["identity_id"])
            found = self._profiles.get(row.what["profile"])
            if found is None or found.issuer != row.what["issuer"]:
                raise Refusal("The settings do not know this issuer any more.", "Ask for it anew.", code="stale-request")
            bearer_claims.check_binding(found.kind, row.what["claims"])
            until = datetime.fromisoformat(row.what["expires_at"]) if row.what["expires_at"] else None
            _refuse_unfit(tx, whose, found, row.what["claims"], until)
            requests.confirm(tx, row, "binding.make", reason, whose=whose)
            scopes.demand_still(tx.session, row.what["scope"], self._exists)
            return _make(tx, row.what, request_id=row.id)

    def refuse(self, actor: Actor, request_id: str, reason: str) -> None:
        """Refuses it, or takes it back."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "binding.make")
            requests.refuse(tx, requests.waiting(tx, request_id, "binding.make"), reason)

    def unbind(self, actor: Actor, binding_id: str, reason: str = "") -> None:
        """Ends a binding at once: the next request of its tokens is refused. One that is not honoured leaves the list by it."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "binding.end")
            row = tx.get(Binding, binding_id, lock=True)
            if row.ended_at is None or row.ended_by == SYSTEM.id:
                row.ended_at, row.ended_by = row.ended_at or tx.now, actor.id
                said = {"reason": reason.strip()[: requests.MAX_REASON]} if reason.strip() else {}
                tx.record("binding.end", row, before=row.facts(*FACTS), after={**row.facts("ended_at", "ended_by"), **said})

    def settle(self) -> None:
        """Ends what was bound when less had to be asked for. It is refused at use, whether this was done or not.

        Only where the settings know its issuer as a system of the kind that it was made for: a slip in a file ends nothing.
        """
        with self._database.unit(SYSTEM) as tx:
            rows = tx.session.exec(select(Binding).where(col(Binding.ended_at).is_(None)).order_by(col(Binding.id)))
            for row in [one for one in rows if self._lacking(one) is not None]:
                row.ended_at, row.ended_by = tx.now, SYSTEM.id
                said = {"reason": "More has to be asked for than when it was made."}
                tx.record("binding.end", row, before=row.facts(*FACTS), after={**row.facts("ended_at", "ended_by"), **said})

    def lines(self, actor: Actor, *, ended: bool = False) -> tuple[BindingLine, ...]:
        """Every binding, the newest first, with those that are not honoured any more; on request the ended ones too."""
        with self._database.read() as session:
            now = self._database.now(session)
            require_to_read(session, actor, "binding.list", now=now)
            return self._lines(session, now, *([] if ended else [_NOT_ENDED]))

    def line(self, actor: Actor, binding_id: str) -> BindingLine:
        """One binding, ended or not. NotFound."""
        with self._database.read() as session:
            now = self._database.now(session)
            require_to_read(session, actor, "binding.list", now=now)
            return self.seen(session, binding_id, now=now)

    def seen(self, session: Session, binding_id: str, *, now: datetime) -> BindingLine:
        """The same, in a look of somebody who may. NotFound."""
        found = self._lines(session, now, Binding.id == binding_id)
        if not found:
            raise NotFound("binding", binding_id[:40], "Look at the list of bindings.")
        return found[0]

    def profiles(self, actor: Actor) -> tuple[Profile, ...]:
        """The settings as loaded."""
        with self._database.read() as session:
            require_to_read(session, actor, "binding.list", now=self._database.now(session))
        return tuple(self._profiles.values())

    def _profile(self, name: str) -> Profile:
        if (found := self._profiles.get(name)) is None:
            known = ", ".join(sorted(self._profiles)) or "none; set COUNTERSIGN_BEARER_FILE"
            raise NotFound("profile of bearer tokens", name[:40], f"There are: {known}.")
        return found

    def _lines(self, session: Session, now: datetime, *where: Any) -> tuple[BindingLine, ...]:
        query = select(Binding, Identity).join(Identity, col(Identity.id) == Binding.identity_id).where(*where)
        rows = session.exec(query.order_by(col(Binding.made_at).desc(), col(Binding.id).desc()).limit(MOST_LINES)).all()
        uses, shown = _latest(session, [row.id for row, _ in rows]), queries.scope_names(session)
        return tuple(self._line(row, whose, uses.get(row.id), shown, now) for row, whose in rows)

    def _line(
        self, row: Binding, whose: Identity, use: BearerUse | None, shown: Mapping[str, str], now: datetime
    ) -> BindingLine:
        return BindingLine(
            id=row.id,
            profile=row.profile,
            issuer=row.issuer,
            claims=row.claims,
            identity=whose.name,
            role=row.role,
            scope=shown.get(row.scope, row.scope),
            state=self._state(row, now),
            made_by=row.made_by,
            made_at=row.made_at,
            expires_at=row.expires_at,
            last_used_at=use.used_at if use is not None else None,
            last_used_by={**use.told, "jti": use.jti} if use is not None else {},
            says=self._says(row),
        )

    def _state(self, row: Binding, now: datetime) -> str:
        if row.ended_at is not None and row.ended_by != SYSTEM.id:
            return "ended"
        if row.ended_at is not None:
            return "not-honoured"
        if row.expires_at is not None and now >= row.expires_at:
            return "expired"
        if self._lacking(row) is not None:
            return "not-honoured"
        return "active" if self._profile_of(row) is not None else "off"

    def _profile_of(self, row: Binding) -> Profile | None:
        known = self._profiles.get(row.profile)
        return known if known is not None and known.issuer == row.issuer else None

    def _lacking(self, row: Binding) -> Refusal | None:
        """What would be refused of it today, by the rules for the kind of issuer that it was made for."""
        known = self._profile_of(row)
        if known is None or bearer_claims.ANCHORS[known.kind] not in row.claims:
            return None
        return bearer_claims.fault_of(known.kind, row.claims)

    def _says(self, row: Binding) -> str:
        if row.ended_at is not None and row.ended_by != SYSTEM.id:
            return ""
        lacking = self._lacking(row)
        return f"No longer honoured. {lacking.message} Make it anew: {lacking.remedy}" if lacking is not None else ""


def _latest(session: Session, ids: Sequence[str]) -> dict[str, BearerUse]:
    newest = (
        select(BearerUse.binding_id, sa.func.max(BearerUse.used_at).label("used_at"))
        .where(col(BearerUse.binding_id).in_(ids))
        .group_by(col(BearerUse.binding_id))
        .subquery()
    )
    same = sa.and_(newest.c.binding_id == BearerUse.binding_id, newest.c.used_at == BearerUse.used_at)
    return {str(one.binding_id): one for one in session.exec(select(BearerUse).join(newest, same))}


def _refuse_unfit(tx: Unit, whose: Identity, profile: Profile, claims: Mapping[str, str], expires_at: datetime | None) -> None:
    if whose.kind != "service" or not whose.active:
        raise Refusal(f"{whose.name} is not an active service.", "Create one that somebody owns.", code="bad-identity")
    refuse_own(tx, whose, "You cannot bind anything to a service of your own.")
    if expires_at is not None and expires_at <= tx.now:
        raise Refusal("This binding would have ended already.", "Choose a later end.", code="bad-end")
    anchor = claims[bearer_claims.ANCHORS[profile.kind]]
    if profile.kind == "access" and _is_persons(tx.session, anchor):
        raise Refusal("This subject is a person's.", "Bind a machine client; people act as themselves.", code="bad-binding")
    query = select(Binding).where(Binding.issuer == profile.issuer, Binding.anchor == anchor, col(Binding.ended_at).is_(None))
    if any(one.claims == dict(claims) for one in tx.session.exec(query)):
        raise Refusal("These claims are bound already.", "End that binding first, or ask for more.", code="name-taken")


def _is_persons(session: Session, subject: str) -> bool:
    """Whether a subject is somebody's who signed in here at any provider, or has the form of a person's login.

    `sub` of Okta's access tokens is one. Auth0 calls machine clients ID@clients.
    """
    if "@" in subject and not subject.endswith("@clients"):
        return True
    same = (col(ExternalLogin.external_subject) == subject) | (col(ExternalLogin.external_id) == subject)
    return session.exec(select(ExternalLogin.identity_id).where(same).limit(1)).first() is not None


def _what(
    profile: Profile, claims: Mapping[str, str], whose: Identity, limits: Limits, expires_at: datetime | None
) -> dict[str, Any]:
    return {
        "profile": profile.name,
        "issuer": profile.issuer,
        "claims": dict(sorted(claims.items())),
        "identity_id": whose.id,
        "role": limits.role,
        "scope": limits.scope,
        "expires_at": expires_at.astimezone(UTC).isoformat() if expires_at is not None else None,
        **requests.gainer(whose),
    }


def _make(tx: Unit, what: Mapping[str, Any], *, request_id: str | None = None) -> Binding:
    row = Binding(
        id=tx.new_id("bnd"),
        profile=what["profile"],
        issuer=what["issuer"],
        anchor=next(what["claims"][one] for one in bearer_claims.ANCHORS.values() if one in what["claims"]),
        claims=what["claims"],
        identity_id=what["identity_id"],
        role=what["role"],
        scope=what["scope"],
        made_by=tx.actor.id,
        made_at=tx.now,
        expires_at=datetime.fromisoformat(what["expires_at"]) if what["expires_at"] else None,
    )
    asked = {"request_id": request_id} if request_id is not None else {}
    tx.record("binding.make", tx.add(row), after={**row.facts(*FACTS), **asked})
    return row
