"""Tokens: how a program, or a person at a shell, acts as an identity through the API.

A token is `cst_<id>_<secret>`. The database holds the SHA-256 of the whole text and never the text: it has 260 random bits, so
that a slow hash would protect nothing. It carries no right of its own: whoever brings it acts as its identity, with the state
and the roles of that moment, and never with more than the role and the scope that the token was narrowed to. Only the identity
itself, or the owner of a service, makes one; who sets the rules may not thereby act as somebody else.
"""

from __future__ import annotations

import hmac
import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from backend.access import queries, rules, scopes
from backend.access.checks import active_identity, refuse_narrow
from backend.access.last_admin import ROLES
from backend.access.rows import Identity, Token, TokenUse
from backend.access.rules import Grant
from backend.access.scopes import Exists
from backend.access.service import named_identity
from backend.core.behind import at_once
from backend.core.context import Actor, ActorKind, Limits
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.fixed import Fixed
from backend.core.unit import Unit
from backend.settings import Settings

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=366)
USUAL = timedelta(days=90)
MOST_ACTIVE = 20
"""Tokens of one identity that are neither expired nor revoked."""
MAX_NAME = 80
USED_EVERY = timedelta(minutes=5)
"""How coarsely the last use is kept: one small write in so long, however often a token is used."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TEXT = re.compile(rf"cst_([{_ALPHABET}]{{26}})_([{_ALPHABET}]{{52}})")
_uses: sa.Table = TokenUse.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_T: sa.Table = Token.__table__  # type: ignore[attr-defined]
_I: sa.Table = Identity.__table__  # type: ignore[attr-defined]
_O = _I.alias("owner")
IS_DEMO = sa.or_(_I.c.is_demo, sa.func.coalesce(_O.c.is_demo, sa.false()))
"""Whether an identity is one of the demo's, or the service of one, who then answers for it to nobody (`with_owner`)."""


def with_owner(found: sa.FromClause) -> sa.FromClause:
    """Identities with whoever owns them."""
    return found.outerjoin(_O, _O.c.id == _I.c.owner_id)


_M = _I.alias("maker")
_WITH_MAKER = with_owner(_T.join(_I, _I.c.id == _T.c.identity_id)).outerjoin(_M, _M.c.id == _T.c.created_by)
_MAKER_ACTIVE = sa.func.coalesce(_M.c.active, sa.true())
_MAY_ACT = sa.or_(_MAKER_ACTIVE, _M.c.id == _I.c.owner_id)
"""Of a service whose owner is deactivated every command says so (`no-owner`), which its builds show to whoever can help."""
_OF_DEMO = sa.or_(IS_DEMO, sa.func.coalesce(_M.c.is_demo, sa.false()))
"""Whoever made a token may have kept it, whosever the service is by now."""
_FOUND = Fixed(
    sa.select(
        _T.c.digest, _T.c.revoked_at, _T.c.expires_at, _T.c.role, _T.c.scope, _T.c.created_by, _uses.c.used_at,
        sa.and_(_I.c.active, _MAY_ACT), _OF_DEMO, _I.c.id, _I.c.name, _I.c.display_name, _I.c.kind, _I.c.owner_id,
    )
    .select_from(_WITH_MAKER.outerjoin(_uses, _uses.c.token_id == _T.c.id))
    .where(_T.c.id == sa.bindparam("token"))
)  # fmt: skip
_KNOWN = Fixed(sa.select(_T.c.digest).where(_T.c.revoked_at.is_(None)))
KNOWN_SECONDS = 1.0
"""How old what is known of all tokens may be before it is read anew for one that is not among them."""
_NOBODY = sha256(b"nobody").hexdigest()


@dataclass(frozen=True)
class NewToken:
    """A token that was just made. `text` is shown once and is kept nowhere."""

    text: str
    id: str
    identity: str
    name: str
    expires_at: datetime
    role: str | None = None
    scope: str = "*"


@dataclass(frozen=True)
class TokenLine:
    """One token in a list, without anything that could be used.

    `state` is active, expired, revoked, or off for as long as whoever made it is deactivated: he may have kept it.
    `role` and `scope` are what it was narrowed to: None and `*` for all that its identity may do.
    """

    id: str
    identity: str
    name: str
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    role: str | None = None
    scope: str = "*"


def is_well_formed(text: str) -> bool:
    """Whether a text could be a token at all; asked before any database is."""
    return _TEXT.fullmatch(text) is not None


class Tokens:
    """Commands on tokens.

    Args:
        database: where they are kept.
        settings: tokens of the demo identities, and of their services, are good for as long as `demo_identities` allows those.
        later: what notes a token's last use, so that no request waits for that.
        clock: seconds that only grow.
        exists: whether what a scope names is there.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        later: Callable[[str, Callable[[], None]], None] = at_once,
        clock: Callable[[], float] = time.monotonic,
        exists: Exists = scopes.everything,
    ) -> None:
        self._database = database
        self._settings = settings
        self._later = later
        self._clock = clock
        self._exists = exists
        self._reading = threading.Lock()
        self._known, self._known_at = frozenset[str](), -math.inf

    @property
    def demo(self) -> bool:
        """Whether demo identities act here, and what they answer for."""
        return self._settings.demo_identities

    def create(
        self,
        actor: Actor,
        name: str,
        *,
        identity: str | None = None,
        lifetime: timedelta = USUAL,
        role: str | None = None,
        scope: str = "*",
    ) -> NewToken:
        """A new token of the actor itself, or of a service that it owns.

        Args:
            role, scope: what it is good for at most; by default for all that its identity may do, at any moment.

        Refusal codes: not-yours, bad-name, bad-lifetime, narrow-token, and good-for-nothing where none of the identity's roles
        counts within these limits.
        """
        label = _checked_name(name)
        _check_lifetime(lifetime)
        rules.check_grant(role or "viewer", scope, among=rules.TOKEN_ROLES)
        refuse_narrow(actor)
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)  # else the service could be handed over, and its tokens ended, between this look and the new one
            whose = _whose(tx, actor, identity)
            _refuse_too_many(tx, whose)
            held = [one for one in queries.grants(tx.session, whose.id) if one.in_force(tx.now)]
            sight = rules.sight(held, now=tx.now)  # a name that its identity does not see tells nothing
            limits = Limits(role, scopes.demanded(tx.session, scope, self._exists, sight=sight))
            _refuse_useless(whose, held, limits, scope)
            row_id, secret = tx.new_id("tok"), _secret()
            text = f"cst_{row_id.removeprefix('tok_')}_{secret}"
            row = Token(
                id=row_id,
                identity_id=whose.id,
                name=label,
                digest=_digest(text),
                role=limits.role,
                scope=limits.scope,
                created_by=actor.made_by or actor.id,  # by a token that was kept one does not make one that is new
                created_at=tx.now,
                expires_at=tx.now + lifetime,
            )
            tx.record("token.create", tx.add(row), after=row.facts("identity_id", "expires_at", "role", "scope"))
            return NewToken(text, row.id, whose.name, label, row.expires_at, role, scope)

    def list(self, actor: Actor, *, everybody: bool = False) -> tuple[TokenLine, ...]:
        """Tokens of the actor and of its services, the newest first; those of everybody for whoever may list them.

        A narrowed token is shown itself alone, which is what it may revoke.
        """
        with self._database.read() as session:
            identity, now = active_identity(session, actor), self._database.now(session)
            if everybody and not rules.may(queries.held(session, actor), "token.list", now=now):
                raise rules.refusal(identity.display_name or identity.name, "token.list", None, None)
            itself = actor.means if actor.limits is not None and not everybody else None
            return _lines(session, None if everybody else actor.id, now, itself=itself)

    def revoke(self, actor: Actor, token_id: str) -> None:
        """Ends a token at once. One's own, a service's that one owns, or anybody's for whoever may revoke them.

        A token of limits revokes itself and no other: whoever found it must not end the others.
        """
        with self._database.unit(actor) as tx:
            active_identity(tx.session, actor)
            row = tx.session.get(Token, token_id, with_for_update=True)
            allowed = rules.may(queries.held(tx.session, actor), "token.revoke", now=tx.now)
            if row is not None and row.id != actor.means and (actor.limits is not None or not allowed):
                refuse_narrow(actor)
            if row is None or not (allowed or _is_own(tx.session.get_one(Identity, row.identity_id), actor)):
                raise NotFound("token", token_id[:40], "Look at the list of your tokens.")
            if row.revoked_at is None:
                row.revoked_at, row.revoked_by = tx.now, actor.id
                tx.record("token.revoke", row, after=row.facts("identity_id", "revoked_at"))

    def actor_of(self, text: str) -> Actor | None:
        """Whom a token acts as now; None for one that is malformed, unknown, expired, revoked, or of nobody who is active, and
        for one that a former owner of a service made who is not active any more.

        Reads one row, and at most every few minutes has it noted that the token was used.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            return None
        token_id = f"tok_{match[1]}"
        with self._database.glance() as connection:
            now = self._database.now(connection)
            rows = _FOUND.on(connection, token=token_id)
        if not rows:
            hmac.compare_digest(_digest(text), _NOBODY)  # an unknown id takes as long as a wrong secret
            return None
        digest, revoked_at, expires_at, role, scope, made_by, used_at, active, is_demo, *who = rows[0]
        good = hmac.compare_digest(_digest(text), digest) and revoked_at is None and now < expires_at
        if not (good and active and (self.demo or not is_demo)):
            return None
        limits = None if role is None and scope == "*" else Limits(role, scope)
        actor = _actor(*who, limits=limits, means=token_id, made_by=made_by)
        if used_at is None or used_at < now - USED_EVERY:
            self._later(token_id, lambda: self._note_use(actor, token_id))
        return actor

    def is_known(self, text: str) -> bool:
        """Whether it is one that was made and not revoked, from memory; one that was made a second ago may not be known yet.

        However often it is asked, and by whatever texts, the database is asked once a second.
        """
        digest = _digest(text)
        if digest not in self._known and self._reading.acquire(blocking=False):
            try:
                if self._clock() >= self._known_at + KNOWN_SECONDS:
                    self._known_at = self._clock()
                    with self._database.glance() as connection:
                        self._known = frozenset(row[0] for row in _KNOWN.on(connection))
            finally:
                self._reading.release()
        return digest in self._known

    def _note_use(self, actor: Actor, token_id: str) -> None:
        """Two requests that come at once may both note it."""
        with self._database.unit(actor) as tx:
            insert = postgresql.insert(_uses) if not self._database.is_sqlite else sqlite.insert(_uses)
            note = insert.values(token_id=token_id, used_at=tx.now)
            tx.session.connection().execute(
                note.on_conflict_do_update(index_elements=["token_id"], set_={"used_at": note.excluded.used_at})
            )


def _actor(
    identity_id: str,
    name: str,
    display_name: str,
    kind: ActorKind,
    owner_id: str | None,
    *,
    limits: Limits | None,
    means: str,
    made_by: str,
) -> Actor:
    return Actor(identity_id, display_name or name, kind, owner_id, limits, means, made_by=made_by)


def _refuse_useless(whose: Identity, held: Sequence[Grant], limits: Limits, scope: str) -> None:
    """A token that could do nothing would be found out only where it is used."""
    if limits == Limits():
        return
    if not rules.narrowed(held, limits):
        what = f"the role {limits.role}" if limits.role else "a role"
        raise Refusal(
            f"{whose.name} holds nothing that counts for a token of {what} in {scope}.",
            "Narrow it to a role that the identity holds, and to a scope that has something in common with that role's.",
            code="good-for-nothing",
        )


def _whose(tx: Unit, actor: Actor, name: str | None) -> Identity:
    own = active_identity(tx.session, actor)
    row = own if name is None else named_identity(tx.session, name)
    if not _is_own(row, actor):
        raise Refusal(
            f"A token of {name} lets whoever has it act as {name}.",
            "Only that person, or the owner of a service, makes one.",
            code="not-yours",
        )
    return row


def _is_own(identity: Identity, actor: Actor) -> bool:
    return identity.id == actor.id or identity.owner_id == actor.id


def _refuse_too_many(tx: Unit, whose: Identity) -> None:
    query = select(Token).where(Token.identity_id == whose.id)
    if sum(_state(one, tx.now) == "active" for one in tx.session.exec(query)) >= MOST_ACTIVE:
        raise Refusal(
            f"{whose.name} has {MOST_ACTIVE} tokens already.", "Revoke those that nobody uses.", code="too-many-tokens"
        )


def _lines(session: Session, owner: str | None, now: datetime, *, itself: str | None = None) -> tuple[TokenLine, ...]:
    query = _all()
    if owner is not None:
        query = query.where((col(Identity.id) == owner) | (col(Identity.owner_id) == owner))
    if itself is not None:
        query = query.where(Token.id == itself)
    rows = session.exec(query.order_by(col(Token.created_at).desc(), col(Token.id).desc()).limit(1000)).all()
    shown = queries.scope_names(session)
    return tuple(_line(token, identity, use, answers, now, shown) for token, identity, use, answers in rows)


def _all() -> Any:
    """Tokens, whose each is, when it was used, and whether whoever made it is active."""
    query = select(Token, Identity, TokenUse, _MAKER_ACTIVE).join(Identity, col(Identity.id) == Token.identity_id)
    return query.outerjoin(TokenUse, col(TokenUse.token_id) == Token.id).outerjoin(_M, _M.c.id == Token.created_by)


def line(session: Session, token_id: str, now: datetime) -> TokenLine | None:
    """One token, for whoever was let near it; None where there is none of that id."""
    found = session.exec(_all().where(Token.id == token_id)).one_or_none()
    if found is None:
        return None
    token, identity, use, answers = found
    return _line(token, identity, use, answers, now, queries.scope_names(session))


def _line(
    token: Token,
    identity: Identity,
    use: TokenUse | None,
    answers: bool,
    now: datetime,
    shown: Mapping[str, str],
) -> TokenLine:
    state = _state(token, now)
    return TokenLine(
        id=token.id,
        identity=identity.name,
        name=token.name,
        state="off" if state == "active" and not answers else state,
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        last_used_at=use.used_at if use is not None else None,
        revoked_at=token.revoked_at,
        role=token.role,
        scope=shown.get(token.scope, token.scope),
    )


def _state(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "active" if now < token.expires_at else "expired"


def _checked_name(name: str) -> str:
    label = " ".join(name.split())
    if not label or len(label) > MAX_NAME or not label.isprintable():
        raise Refusal(
            "A token needs a name.",
            f"Say in up to {MAX_NAME} characters where it is used.",
            code="bad-name",
        )
    return label


def _check_lifetime(lifetime: timedelta) -> None:
    if not SHORTEST <= lifetime <= LONGEST:
        raise Refusal("A token cannot be good for that long.", "Choose from a minute to 366 days.", code="bad-lifetime")


def _secret() -> str:
    number = secrets.randbits(260)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(255, -1, -5))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
