"""Sessions of people who signed in at a provider: opened once, asked about at every click, ended for good.

Streamlit keeps the claims of a sign-in in a signed cookie and judges neither their age nor a logout. Here each sign-in is a row
that is found by a digest of the claims. A cookie is worth what its row says: without one, only a sign-in of the last minutes
opens a session, and only with an ID token whose signature, issuer, audience and algorithm were checked by ourselves.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, or_, select

from backend.access import claimed_roles, claims, endings, queries, rules
from backend.access.checks import active_identity, refuse_narrow
from backend.access.claims import Logout, Person, SignedOut
from backend.access.directory_people import identity_provisioned, meet_at_sign_in
from backend.access.last_admin import admins
from backend.access.names import free_name
from backend.access.providers import Providers
from backend.access.rows import Identity, RoleGrant
from backend.access.service import actor_of, create_identity, named_identity
from backend.access.session_rows import ExternalLogin, ProviderLogout, SessionUse, SignInSession
from backend.access.sign_in_file import Provider, SignIn
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Raced, Refusal
from backend.core.unit import Unit

USED_EVERY = timedelta(minutes=1)
"""How coarsely the last click is kept: one small write in so long."""
MOST_LINES = 500
MAX_DEVICE = 80

_uses: sa.Table = SessionUse.__table__  # type: ignore[attr-defined]  # SQLModel adds it


@dataclass(frozen=True)
class SignedIn:
    """Somebody who is signed in now.

    Args:
        provider: its title.
        overflow: the provider left the groups out, because there are too many, so that no role follows from them.
    """

    actor: Actor
    session_id: str
    provider: str
    overflow: bool


@dataclass(frozen=True)
class SessionLine:
    """One session in a list, without anything that could be used. `state` is active, idle, expired or ended."""

    id: str
    identity_id: str
    provider: str
    state: str
    opened_at: datetime
    used_at: datetime
    ended_why: str | None
    device: str = ""


class Sessions:
    """Commands on sessions.

    Args:
        database: where they are kept.
        providers: who judges signatures.
        sign_in: the settings; None where nobody signs in.
        demo: whether demo identities count as admins.
    """

    def __init__(self, database: Database, providers: Providers, sign_in: SignIn | None, *, demo: bool = False) -> None:
        self._database = database
        self._providers = providers
        self._sign_in = sign_in
        self._demo = demo

    def resume(self, told: Mapping[str, Any], *, by_click: bool = True) -> SignedIn | None:
        """Who the claims of a cookie stand for now; None when no session was opened with them yet. SignedOut, Refusal.

        Args:
            by_click: whether a person did something, which keeps the session from ending idle.
        """
        provider = self._provider(told.get("provider"))
        with self._database.read() as session:
            now = self._database.now(session)
            query = select(SignInSession, Identity, SessionUse).join(Identity, col(Identity.id) == SignInSession.identity_id)
            query = query.outerjoin(SessionUse, col(SessionUse.session_id) == SignInSession.id)
            found = session.exec(query.where(SignInSession.key == claims.key_of(told))).one_or_none()
        if found is None:
            return None
        row, identity, use = found
        used_at = use.used_at if use is not None else row.opened_at
        if row.provider != provider.name:
            raise SignedOut("This session is of another provider.", "Sign in again.", code="signed-out")
        _require_active(identity)
        if (why := self._over(row, used_at, now)) is not None:
            raise why
        if by_click and used_at < now - USED_EVERY:
            self._note_use(actor_of(identity), row.id)
        return SignedIn(actor_of(identity), row.id, provider.title, row.overflow)

    def open(self, told: Mapping[str, Any], id_token: str, *, device: str = "") -> SignedIn:
        """Begins a session with a sign-in of the last minutes: finds or creates the person, and brings its roles up to date.

        Args:
            told: the claims of the cookie.
            id_token: what they were taken from; it is checked anew. SignedOut, Refusal, ExternalFailure.
            device: what the browser calls itself, in words; it tells nobody apart and decides nothing.
        """
        try:
            return self._open(told, id_token, device)
        except Refusal as refusal:
            provider = str(told.get("provider"))[:MAX_DEVICE]
            structlog.get_logger().warning("sign_in.refused", provider=provider, code=refusal.code, says=refusal.message)
            raise

    def _open(self, told: Mapping[str, Any], id_token: str, device: str) -> SignedIn:
        provider = self._provider(told.get("provider"))
        signed = self._providers.signed(provider, id_token)
        if str(signed.header.get("typ") or "JWT").lower() not in ("jwt", "application/jwt"):
            raise SignedOut("This is no ID token.", "Sign in again.", code="bad-claims")
        who = claims.person(signed.provider, signed.claims, now=self._database.now())
        if who.key != claims.key_of(told):
            raise SignedOut("This is the token of another sign-in.", "Sign in again.", code="bad-claims")
        self._meet(provider, who)
        with suppress(Raced):  # another window of the same browser was faster; anything else is met again below
            self._begin(provider, who, device[:MAX_DEVICE])
        found = self.resume(told, by_click=False)
        if found is None:
            raise SignedOut("The session could not be opened.", "Sign in again.", code="signed-out")
        return found

    def end(self, told: Mapping[str, Any]) -> None:
        """Signs out: the cookie is worth nothing from now on, whoever kept a copy of it."""
        with self._database.unit(SYSTEM) as tx:
            row = tx.session.exec(select(SignInSession).where(SignInSession.key == claims.key_of(told))).one_or_none()
            if row is not None:
                endings.end(tx, row, "signed-out")

    def revoke(self, actor: Actor, session_id: str, reason: str = "") -> None:
        """Ends one session: one's own, or anybody's for whoever may, with a reason for the ledger."""
        with self._database.unit(actor) as tx:
            active_identity(tx.session, actor)
            row = tx.session.get(SignInSession, session_id, with_for_update=True)
            own = row is not None and row.identity_id == actor.id
            if own:
                refuse_narrow(actor)
            if row is None or not (own or _may(tx.session, actor, "session.revoke", tx.now)):
                raise NotFound("session", session_id[:40], "Look at the list of sessions.")
            if not own and row.ended_at is None:
                endings.sign_out(tx, tx.get(Identity, row.identity_id), "revoked")
            endings.end(tx, row, "signed-out" if own else "revoked", reason)

    def end_everywhere(self, actor: Actor, identity: str | None = None, reason: str = "") -> int:
        """Ends every session of oneself, or of somebody else for whoever may, with a reason for the ledger. Returns how many
        were running.
        """
        with self._database.unit(actor) as tx:
            whose = active_identity(tx.session, actor) if identity is None else named_identity(tx.session, identity)
            return _end_all(tx, whose, reason)

    def end_of(self, actor: Actor, identity_id: str, reason: str = "") -> int:
        """The same by the id of an identity."""
        with self._database.unit(actor) as tx:
            active_identity(tx.session, actor)
            return _end_all(tx, tx.get(Identity, identity_id), reason)

    def lines(self, actor: Actor, *, everybody: bool = False, of: str | None = None) -> tuple[SessionLine, ...]:
        """Sessions of the actor, the newest first; everybody's, or those `of` one identity, for whoever may list them.

        A narrowed token is shown those alone that its limits give a right to: it ends none of its identity's either.
        """
        with self._database.read() as session:
            identity, now = active_identity(session, actor), self._database.now(session)
            others = everybody or (of is not None and of != actor.id)
            if others and not _may(session, actor, "session.list", now):
                raise rules.refusal(identity.display_name or identity.name, "session.list", None, None)
            if not others and actor.limits is not None and not _may(session, actor, "session.list", now):
                return ()
            query = select(SignInSession, SessionUse).outerjoin(SessionUse, col(SessionUse.session_id) == SignInSession.id)
            if not everybody:
                query = query.where(SignInSession.identity_id == (of or actor.id))
            rows = session.exec(query.order_by(col(SignInSession.opened_at).desc()).limit(MOST_LINES)).all()
            return tuple(self._line(row, use, now) for row, use in rows)

    def provider_logout(self, token: str) -> int:
        """Ends what a provider's logout token names. Returns how many sessions that were. Refusal, ExternalFailure."""
        provider = self._addressed(token)
        signed = self._providers.signed(provider, token)
        asked = claims.logout(signed.provider, signed.claims, signed.header, now=self._database.now())
        try:
            with self._database.unit(SYSTEM) as tx:
                return _take_logout(tx, provider, asked)
        except Raced:
            raise _taken_before() from None

    def _meet(self, provider: Provider, who: Person) -> None:
        """Whom the directory announced apart from a login is one with it from now on, even where this sign-in is refused."""
        if not who.external_id:
            return
        with self._database.unit(SYSTEM) as tx:
            login = tx.session.get(ExternalLogin, (who.issuer, who.subject))
            if login is not None:
                meet_at_sign_in(tx, provider, who, tx.session.get_one(Identity, login.identity_id), demo=self._demo)

    def _begin(self, provider: Provider, who: Person, device: str) -> None:
        settings = self._required()
        with self._database.unit(SYSTEM) as tx:
            if tx.session.exec(select(SignInSession).where(SignInSession.key == who.key)).one_or_none() is not None:
                return
            _refuse_logged_out(tx.session, who)
            identity = _identity(tx, provider, who)
            _require_active(identity)
            lasts = timedelta(days=settings.claims_days)
            claimed_roles.after_sign_in(tx, identity.id, provider, who, lasts=lasts, demo=self._demo)
            claimed_roles.directory_up_to_date(tx, provider, {identity.id}, demo=self._demo)
            _appoint_first(tx, settings, provider, who, identity)
            row = SignInSession(
                id=tx.new_id("ses"),
                key=who.key,
                identity_id=identity.id,
                provider=provider.name,
                issuer=who.issuer,
                external_subject=who.subject,
                sid=who.sid,
                overflow=who.overflow,
                device=device,
                issued_at=who.issued_at,
                opened_at=tx.now,
            )
            tx.record("session.open", tx.add(row), after=row.facts("identity_id", "provider"))

    def _over(self, row: SignInSession, used_at: datetime, now: datetime) -> SignedOut | None:
        settings = self._required()
        return claims.over(
            now=now,
            issued_at=row.opened_at,
            seen_at=used_at,
            idle=settings.idle,
            absolute=settings.absolute,
            ended=row.ended_why,
        )

    def _line(self, row: SignInSession, use: SessionUse | None, now: datetime) -> SessionLine:
        used_at = use.used_at if use is not None else row.opened_at
        over = self._sign_in is None or self._over(row, used_at, now) is not None
        state = "ended" if row.ended_at is not None else "expired" if over else "active"
        return SessionLine(row.id, row.identity_id, row.provider, state, row.opened_at, used_at, row.ended_why, row.device)

    def _note_use(self, actor: Actor, session_id: str) -> None:
        """Two windows that click at once may both note it."""
        with self._database.unit(actor) as tx:
            insert = postgresql.insert(_uses) if not self._database.is_sqlite else sqlite.insert(_uses)
            note = insert.values(session_id=session_id, used_at=tx.now)
            tx.session.connection().execute(
                note.on_conflict_do_update(index_elements=["session_id"], set_={"used_at": note.excluded.used_at})
            )

    def _required(self) -> SignIn:
        if self._sign_in is None:
            raise SignedOut("Nobody signs in here.", "Set COUNTERSIGN_SIGN_IN_FILE.", code="no-sign-in")
        return self._sign_in

    def _provider(self, name: object) -> Provider:
        found = self._required().provider(name)
        if found is None:
            raise SignedOut("This way of signing in is not offered any more.", "Sign in again.", code="signed-out")
        return found

    def _addressed(self, token: str) -> Provider:
        """The provider that a token claims to be from. Nothing vouches for that yet: it only chooses whose keys are asked."""
        told = _unverified(token)
        issuer, audience = told.get("iss"), told.get("aud")
        named = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        for provider in self._sign_in.providers if self._sign_in else ():
            issuers = provider.issuers or (provider.expected_issuer, provider.expected_issuer + "/")
            if provider.client_id in named and issuer in issuers:
                return provider
        raise Refusal("This token is of no provider here.", "Look at issuer and audience.", code="bad-logout-token")


def _may(session: Session, actor: Actor, action: str, now: datetime) -> bool:
    return rules.may(queries.held(session, actor), action, now=now)


def _require_active(identity: Identity) -> None:
    if not identity.active:
        raise SignedOut(
            f"{identity.display_name or identity.name} was deactivated.",
            "Ask an admin to activate the identity again.",
            code="deactivated",
        )


def _end_all(tx: Unit, whose: Identity, reason: str = "") -> int:
    own = whose.id == tx.actor.id
    if own:
        refuse_narrow(tx.actor)
    if not own and not _may(tx.session, tx.actor, "session.revoke", tx.now):
        raise rules.refusal(tx.actor.name, "session.revoke", None, None)
    return endings.end_everywhere(tx, whose, "everywhere" if own else "revoked", reason)


def _identity(tx: Unit, provider: Provider, who: Person) -> Identity:
    """Whoever signed in, as it is known here; created at the first sign-in, with its name brought up to date later."""
    login = tx.session.get(ExternalLogin, (who.issuer, who.subject))
    if login is None:
        row = identity_provisioned(tx.session, provider, who) or create_identity(
            tx, name=free_name(tx, who.handle), display_name=who.name, email=who.email
        )
        login = tx.add(ExternalLogin(issuer=who.issuer, external_subject=who.subject, identity_id=row.id, first_at=tx.now))
        tx.record("identity.link", login, after={"provider": provider.name})
    if who.external_id and login.external_id != who.external_id:
        login.external_id = who.external_id
        tx.record("identity.link", login, after={"provider": provider.name})
    row = tx.session.get_one(Identity, login.identity_id)
    shown = who.name, who.email or row.email
    if (row.display_name, row.email) != shown:
        row.display_name, row.email = shown
        tx.record("identity.describe", row)  # the ledger holds no names and no addresses
    return row


def _appoint_first(tx: Unit, settings: SignIn, provider: Provider, who: Person, identity: Identity) -> None:
    """Whom the settings name is an admin, as long as nobody else is one: no one would be there to appoint anybody."""
    if not claims.is_first_administrator(settings.first_administrator, provider.name, who):
        return
    if not admins(tx, demo=False):
        old = tx.session.exec(
            select(RoleGrant).where(
                RoleGrant.identity_id == identity.id, RoleGrant.role == claims.FIRST_ROLE, RoleGrant.scope == "*"
            )
        ).one_or_none()
        place = (claims.FIRST_ROLE, "*")
        claimed_roles.give(tx, identity.id, place, old, source=claimed_roles.BOOTSTRAP, until=None, action="identity.bootstrap")


def _refuse_logged_out(session: Session, who: Person) -> None:
    """A provider may have ended its session before the first page was drawn with it."""
    query = select(ProviderLogout).where(ProviderLogout.issuer == who.issuer)
    of_session = (col(ProviderLogout.sid) == who.sid) & (col(ProviderLogout.sid) != "")
    of_person = (
        (col(ProviderLogout.external_subject) == who.subject)
        & (col(ProviderLogout.sid) == "")
        & (col(ProviderLogout.issued_at) >= who.issued_at)
    )
    if session.exec(query.where(or_(of_session, of_person)).limit(1)).first() is not None:
        raise SignedOut(claims.ENDED["provider"], "Sign in again.", code="signed-out")


def _take_logout(tx: Unit, provider: Provider, asked: Logout) -> int:
    digest = sha256(f"{asked.issuer}\n{asked.jti}".encode()).hexdigest()
    if tx.session.exec(select(ProviderLogout).where(ProviderLogout.jti_digest == digest)).one_or_none() is not None:
        raise _taken_before()
    where: list[Any] = [SignInSession.issuer == asked.issuer]
    where += [SignInSession.sid == asked.sid] if asked.sid else []
    where += [SignInSession.external_subject == asked.subject] if asked.subject else []
    for whose in _logged_out(tx.session, asked, where):
        endings.sign_out(tx, whose, "provider")
    ended = endings.end_all(tx, "provider", *where)
    note = ProviderLogout(
        id=tx.new_id("plo"),
        issuer=asked.issuer,
        jti_digest=digest,
        external_subject=asked.subject,
        sid=asked.sid,
        issued_at=asked.issued_at,
        taken_at=tx.now,
    )
    tx.record("provider_logout.take", tx.add(note), after={"provider": provider.name, "sessions": ended})
    return ended


def _logged_out(session: Session, asked: Logout, where: list[Any]) -> list[Identity]:
    """Whom a logout is about, by the login or by a session that may have ended long ago."""
    known = set(session.exec(select(SignInSession.identity_id).where(*where)))
    login = session.get(ExternalLogin, (asked.issuer, asked.subject)) if asked.subject else None
    ids = known | ({login.identity_id} if login is not None else set())
    return list(session.exec(select(Identity).where(col(Identity.id).in_(ids)).order_by(col(Identity.id))))


def _taken_before() -> Refusal:
    return Refusal("This logout token was taken before.", "Send a fresh one.", code="bad-logout-token")


def _unverified(token: str) -> dict[str, Any]:
    try:
        payload = token.split(".")[1]
        told = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
