"""Tokens: how a program, or a person at a shell, acts as an identity through the API.

A token is `cst_<id>_<secret>`. The database holds the SHA-256 of the whole text and never the text: it has 260 random bits, so
that a slow hash would protect nothing. It carries no right of its own: whoever brings it acts as its identity, with the state
and the roles of that moment. Only the identity itself, or the owner of a service, makes one; who sets the rules may not thereby
act as somebody else.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from backend.access import queries, rules
from backend.access.rows import Identity, Token, TokenUse
from backend.access.service import active_identity, actor_of, named_identity
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
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
_NOBODY = sha256(b"nobody").hexdigest()


@dataclass(frozen=True)
class NewToken:
    """A token that was just made. `text` is shown once and is kept nowhere."""

    text: str
    id: str
    identity: str
    name: str
    expires_at: datetime


@dataclass(frozen=True)
class TokenLine:
    """One token in a list, without anything that could be used. `state` is active, expired or revoked."""

    id: str
    identity: str
    name: str
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def is_well_formed(text: str) -> bool:
    """Whether a text could be a token at all; asked before any database is."""
    return _TEXT.fullmatch(text) is not None


class Tokens:
    """Commands on tokens.

    Args:
        database: where they are kept.
        settings: tokens of the demo identities are good for as long as `demo_identities` allows those.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def create(self, actor: Actor, name: str, *, identity: str | None = None, lifetime: timedelta = USUAL) -> NewToken:
        """A new token of the actor itself, or of a service that it owns. Refusal codes: not-yours, bad-name, bad-lifetime."""
        label = _checked_name(name)
        _check_lifetime(lifetime)
        with self._database.unit(actor) as tx:
            whose = _whose(tx, actor, identity)
            _refuse_too_many(tx, whose)
            row_id, secret = tx.new_id("tok"), _secret()
            text = f"cst_{row_id.removeprefix('tok_')}_{secret}"
            row = Token(
                id=row_id,
                identity_id=whose.id,
                name=label,
                digest=_digest(text),
                created_by=actor.id,
                created_at=tx.now,
                expires_at=tx.now + lifetime,
            )
            tx.record("token.create", tx.add(row), after=row.facts("identity_id", "expires_at"))
            return NewToken(text, row.id, whose.name, label, row.expires_at)

    def list(self, actor: Actor, *, everybody: bool = False) -> tuple[TokenLine, ...]:
        """Tokens of the actor and of its services, the newest first; those of everybody for whoever may list them."""
        with self._database.read() as session:
            identity, now = active_identity(session, actor), self._database.now(session)
            if everybody and not rules.may(queries.grants(session, actor.id), "token.list", now=now):
                raise rules.refusal(identity.display_name or identity.name, "token.list", None, None)
            return _lines(session, None if everybody else actor.id, now)

    def revoke(self, actor: Actor, token_id: str) -> None:
        """Ends a token at once. One's own, a service's that one owns, or anybody's for whoever may revoke them."""
        with self._database.unit(actor) as tx:
            active_identity(tx.session, actor)
            row = tx.session.get(Token, token_id, with_for_update=True)
            allowed = rules.may(queries.grants(tx.session, actor.id), "token.revoke", now=tx.now)
            if row is None or not (allowed or _is_own(tx.session.get_one(Identity, row.identity_id), actor)):
                raise NotFound("token", token_id[:40], "Look at the list of your tokens.")
            if row.revoked_at is None:
                row.revoked_at, row.revoked_by = tx.now, actor.id
                tx.record("token.revoke", row, after=row.facts("identity_id", "revoked_at"))

    def actor_of(self, text: str) -> Actor | None:
        """Whom a token acts as now; None for one that is malformed, unknown, expired, revoked, or of nobody who is active.

        Reads one row, and at most every few minutes notes that the token was used.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            return None
        with self._database.read() as session:
            now = self._database.now(session)
            query = select(Token, Identity, TokenUse).join(Identity, col(Identity.id) == Token.identity_id)
            query = query.outerjoin(TokenUse, col(TokenUse.token_id) == Token.id).where(Token.id == f"tok_{match[1]}")
            found = session.exec(query).one_or_none()
        if found is None:
            hmac.compare_digest(_digest(text), _NOBODY)  # an unknown id takes as long as a wrong secret
            return None
        token, identity, use = found
        good = hmac.compare_digest(_digest(text), token.digest)
        if not (good and _state(token, now) == "active" and self._counts(identity)):
            return None
        actor = actor_of(identity)
        if use is None or use.used_at < now - USED_EVERY:
            self._note_use(actor, token.id)
        return actor

    def _counts(self, identity: Identity) -> bool:
        return identity.active and (self._settings.demo_identities or not identity.is_demo)

    def _note_use(self, actor: Actor, token_id: str) -> None:
        """Two requests that come at once may both note it."""
        with self._database.unit(actor) as tx:
            insert = postgresql.insert(_uses) if not self._database.is_sqlite else sqlite.insert(_uses)
            note = insert.values(token_id=token_id, used_at=tx.now)
            tx.session.connection().execute(
                note.on_conflict_do_update(index_elements=["token_id"], set_={"used_at": note.excluded.used_at})
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


def _lines(session: Session, owner: str | None, now: datetime) -> tuple[TokenLine, ...]:
    query = select(Token, Identity, TokenUse).join(Identity, col(Identity.id) == Token.identity_id)
    query = query.outerjoin(TokenUse, col(TokenUse.token_id) == Token.id)
    if owner is not None:
        query = query.where((col(Identity.id) == owner) | (col(Identity.owner_id) == owner))
    rows = session.exec(query.order_by(col(Token.created_at).desc(), col(Token.id).desc()).limit(1000)).all()
    return tuple(_line(token, identity, use, now) for token, identity, use in rows)


def line(session: Session, token_id: str, now: datetime) -> TokenLine | None:
    """One token, for whoever was let near it; None where there is none of that id."""
    query = select(Token, Identity, TokenUse).join(Identity, col(Identity.id) == Token.identity_id)
    query = query.outerjoin(TokenUse, col(TokenUse.token_id) == Token.id).where(Token.id == token_id)
    found = session.exec(query).one_or_none()
    return _line(*found, now) if found is not None else None


def _line(token: Token, identity: Identity, use: TokenUse | None, now: datetime) -> TokenLine:
    return TokenLine(
        id=token.id,
        identity=identity.name,
        name=token.name,
        state=_state(token, now),
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        last_used_at=use.used_at if use is not None else None,
        revoked_at=token.revoked_at,
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
