"""Whom a bearer token speaks of: one of Countersign's own, a provider's access token, or the ID token of a CI job.

Of the others, who signed is judged by the keys that the issuer publishes, what for by the profile in the settings, and whom it
speaks of by rows here, read anew at every request: a binding that was ended, an identity that was deactivated and a sign-out
everywhere count at the next call, however long the token says that it is good. The token itself is kept nowhere.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import col, select

from backend.access import bearer_claims
from backend.access.bearer_claims import NotAdmitted, Spoken
from backend.access.bearer_file import Profile
from backend.access.binding_rows import BearerUse, Binding
from backend.access.providers import Providers
from backend.access.rows import Identity
from backend.access.rules import ROLES
from backend.access.session_rows import ExternalLogin
from backend.access.sign_in_file import SignIn
from backend.access.tokens import IS_DEMO, Tokens, is_well_formed, with_owner
from backend.core.behind import at_once
from backend.core.context import SYSTEM, Actor, ActorKind, Limits
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Raced, Refusal
from backend.core.fixed import Fixed

USED_EVERY = timedelta(minutes=5)
"""How coarsely the last use is kept."""
_MOST_KNOWN = 10_000
"""Tokens of other systems that are remembered as good, by their digests."""
_KEPT_AFTER = timedelta(days=30)
"""How long a use is kept after its token ended; the newest of each binding stays, for the list."""

_B: sa.Table = Binding.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_I: sa.Table = Identity.__table__  # type: ignore[attr-defined]
_L: sa.Table = ExternalLogin.__table__  # type: ignore[attr-defined]
_U: sa.Table = BearerUse.__table__  # type: ignore[attr-defined]
_WHO = (IS_DEMO, _I.c.id, _I.c.name, _I.c.display_name, _I.c.kind, _I.c.owner_id, _I.c.active)
_BOUND = Fixed(
    sa.select(_B.c.ended_at, _B.c.expires_at, _B.c.id, _B.c.claims, _B.c.role, _B.c.scope, *_WHO)
    .select_from(with_owner(_B.join(_I, _I.c.id == _B.c.identity_id)))
    .where(
        _B.c.issuer == sa.bindparam("issuer"),
        _B.c.anchor == sa.bindparam("anchor"),
        sa.or_(_B.c.ended_at.is_(None), _B.c.ended_by == sa.literal_column(f"'{SYSTEM.id}'")),
    )
)
"""With those that the system ended, whose tokens are told why (`Bindings.settle`)."""
_PEOPLE = (
    sa.select(_I.c.signed_out_at, *_WHO)
    .distinct()
    .select_from(with_owner(_L.join(_I, _I.c.id == _L.c.identity_id)))
    .where(_L.c.issuer == sa.bindparam("issuer"))
)
_BY_SUBJECT = Fixed(_PEOPLE.where(_L.c.external_subject == sa.bindparam("person")))
_BY_DIRECTORY = Fixed(_PEOPLE.where(_L.c.external_id == sa.bindparam("person")))
_USED = Fixed(sa.select(_U.c.used_at).where(_U.c.id == sa.bindparam("mark")))


class _Means(NamedTuple):
    """What a token of another system acts by: a binding, or a person's own login."""

    actor: Actor
    binding: str | None


class _People(NamedTuple):
    """Whose logins a profile's tokens speak of, and by what they are found."""

    issuers: tuple[str, ...]
    query: Fixed


class Bearers:
    """The door for every bearer token.

    Args:
        database: where it is read whom a token speaks of.
        tokens: those of Countersign's own.
        providers: who asks for keys.
        profiles: the settings of tokens that others sign; none where only Countersign's own count.
        sign_in: the settings of sign-in, whose clients are no audience here.
        later: what notes a last use, so that no request waits for that.
    """

    def __init__(
        self,
        database: Database,
        tokens: Tokens,
        providers: Providers,
        profiles: Sequence[Profile],
        sign_in: SignIn | None = None,
        later: Callable[[str, Callable[[], None]], None] = at_once,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._providers = providers
        self._profiles = {one.issuer: one for one in profiles}
        self._later = later
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._remembering = threading.Lock()
        self._people = {one.issuer: _people_of(one, sign_in) for one in profiles if not one.is_build}
        clients = {one.client_id for one in sign_in.providers} if sign_in is not None else set()
        for profile in profiles:
            if profile.audience in clients:
                raise Refusal(
                    f"The audience of {profile.name} is a client that people sign in by: their ID tokens would be good here.",
                    "Register this API with an audience of its own.",
                    code="bad-setting",
                )

    def could_be(self, text: str) -> bool:
        """Whether a text could be a token at all; asked before anything is looked up."""
        return is_well_formed(text) or (bool(self._profiles) and bearer_claims.is_jws(text))

    def actor_of(self, text: str) -> Actor | None:
        """Whom a token acts as now; None for one of Countersign's own that is not good.

        NotAdmitted says why another one is not good, once its signature is. ExternalFailure where its issuer's keys are not
        known and cannot be asked for: that says nothing about the token.
        """
        if is_well_formed(text):
            return self._tokens.actor_of(text)
        if not self.could_be(text):
            return None
        try:
            found = self._admitted(text)
        except NotAdmitted:
            self._remember(text, good=False)
            raise
        self._remember(text, good=True)
        return found.actor

    def is_known(self, text: str) -> bool:
        """Whether a token is one that there is, or that was good when it was last looked at here, by what is in memory.

        It says nothing of the moment, but that looking at this one is no work for somebody who sends forged ones.
        """
        if is_well_formed(text):
            return self._tokens.is_known(text)
        with self._remembering:
            return _digest(text) in self._good

    def _remember(self, text: str, *, good: bool) -> None:
        with self._remembering:
            self._good.pop(_digest(text), None)
            if good:
                self._good[_digest(text)] = None
                if len(self._good) > _MOST_KNOWN:
                    self._good.popitem(last=False)

    def _admitted(self, text: str) -> _Means:
        profile = self._profiles.get(bearer_claims.told_issuer(text))
        if profile is None:
            raise NotAdmitted("Tokens of this issuer are not taken here.", "Ask an admin to add it.", code="bad-token")
        header = bearer_claims.header_of(text)
        said = bearer_claims.spoken(profile, header, self._payload(profile, text), now=self._database.now())
        found = self._means(profile, said)
        self._note(profile, said, found)
        return found

    def _payload(self, profile: Profile, text: str) -> bytes:
        try:
            return self._providers.payload(profile.publisher, text)
        except ExternalFailure:
            raise
        except Refusal as error:
            if error.code != "bad-signature":  # the address of its keys may not be called: that is for whoever set it up
                raise ExternalFailure(
                    profile.title, "may not be called; look at the allowed networks", retryable=True
                ) from error
            raise NotAdmitted(
                f"This token is not signed by {profile.title}.", "Ask it for another one.", code="bad-token"
            ) from None

    def _means(self, profile: Profile, said: Spoken) -> _Means:
        anchor = said.claims.get(bearer_claims.ANCHORS[profile.kind], "")
        is_persons = not profile.is_build and said.is_persons
        with self._database.glance() as connection:
            now = self._database.now(connection)
            bound = [
                row
                for row in _BOUND.on(connection, issuer=profile.issuer, anchor=anchor)
                if not is_persons and (row[1] is None or now < row[1]) and bearer_claims.fits(profile.kind, row[3], said.claims)
            ]
            people = [] if bound or profile.is_build else self._persons(connection, profile, said)
        if bound:
            return _by_binding(_narrowest(_honoured(profile, bound)), demo=self._tokens.demo)
        if len(people) == 1:
            return _by_login(profile, said, people[0], demo=self._tokens.demo)
        if is_persons:
            raise NotAdmitted(
                f"This is a person's token of {profile.title}, and nobody signed in here as that person.",
                "Sign in here once; an admin looks at sign_in and subject_claim of this profile (docs/machines.md).",
                code="no-binding",
            )
        raise NotAdmitted(
            f"This token is {profile.title}'s, and nothing here is bound to it.",
            f"Ask an admin to bind it to a service; it says {bearer_claims.needed(profile.kind, said.claims)}.",
            code="no-binding",
        )

    def _persons(self, connection: sa.Connection, profile: Profile, said: Spoken) -> Sequence[Sequence[Any]]:
        """Whom it speaks of: as many as one person has logins of several issuers, and more than one is nobody."""
        issuers, query = self._people[profile.issuer]
        found = [row for one in issuers for row in query.on(connection, issuer=one, person=said.person)] if said.person else []
        return list(dict.fromkeys(map(tuple, found)))

    def _note(self, profile: Profile, said: Spoken, found: _Means) -> None:
        """The first use of a token is in the ledger before anything is done with it; later ones move its last use."""
        with self._database.glance() as connection:
            now = self._database.now(connection)
            rows = _USED.on(connection, mark=said.mark)
        if not rows:
            self._note_first(profile, said, found)
        elif rows[0][0] < now - USED_EVERY:
            self._later(said.mark, lambda: self._note_again(found.actor, said.mark))

    def _note_first(self, profile: Profile, said: Spoken, found: _Means) -> None:
        told = bearer_claims.told(profile.kind, said.claims)
        with suppress(Raced), self._database.unit(found.actor) as tx:  # a request at the same time was faster
            if tx.session.get(BearerUse, said.mark, with_for_update=True) is not None:
                return
            tx.add(
                BearerUse(
                    id=said.mark,
                    binding_id=found.binding,
                    identity_id=found.actor.id,
                    jti=said.jti,
                    told=told,
                    first_at=tx.now,
                    used_at=tx.now,
                    expires_at=said.expires_at,
                )
            )
            subject = ("binding", found.binding) if found.binding is not None else ("identity", found.actor.id)
            tx.record("bearer.use", subject, after={"profile": profile.name, "jti": said.jti, "job": told})
            _forget_old(tx.session, found, tx.now)

    def _note_again(self, actor: Actor, mark: str) -> None:
        with self._database.unit(actor) as tx:
            if (row := tx.session.get(BearerUse, mark)) is not None:
                row.used_at = tx.now


def _people_of(profile: Profile, sign_in: SignIn | None) -> _People:
    if not profile.sign_in:
        return _People((profile.issuer,), _BY_SUBJECT)
    provider = sign_in.provider(profile.sign_in) if sign_in is not None else None
    if provider is None:
        raise Refusal(
            f"{profile.name}: nobody signs in at {profile.sign_in!r}.",
            "Name a provider of COUNTERSIGN_SIGN_IN_FILE in `sign_in`, or leave it out.",
            code="bad-setting",
        )
    if profile.subject_claim == "oid" and provider.scim_claim != "oid":
        raise Refusal(
            f"{profile.name}: sign-in at {provider.name} does not keep who has which `oid`.",
            'Say scim_claim = "oid" there.',
            code="bad-setting",
        )
    issuers = provider.issuers or (provider.expected_issuer, provider.expected_issuer + "/")
    return _People(issuers, _BY_DIRECTORY if profile.subject_claim == "oid" else _BY_SUBJECT)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _by_binding(row: Sequence[Any], *, demo: bool) -> _Means:
    binding, _, role, scope, *who = row[2:]
    limits = None if role is None and scope == "*" else Limits(role, scope)
    return _Means(_actor(who, limits=limits, means=binding, demo=demo), binding)


def _by_login(profile: Profile, said: Spoken, row: Sequence[Any], *, demo: bool) -> _Means:
    signed_out_at, *who = row
    if profile.clients and said.client not in profile.clients:
        raise NotAdmitted("This client may not act for people here.", "Use one that the settings name.", code="bad-token")
    if signed_out_at is not None and said.issued_at <= signed_out_at:
        raise NotAdmitted("You were signed out since this token was issued.", "Ask for a fresh one.", code="bad-token")
    return _Means(_actor(who, limits=_limits_of(profile, said), means=f"login:{profile.name}", demo=demo), None)


def _limits_of(profile: Profile, said: Spoken) -> Limits | None:
    """What a person's token was given, of that person's roles; None where the profile reads no scopes."""
    if not profile.scopes:
        return None
    given = {role for scope, role in profile.scopes.items() if scope in said.scopes}
    if not given:
        raise NotAdmitted(
            "This token was given nothing that counts here.",
            f"Have your program ask {profile.title} for one of the scopes {', '.join(sorted(profile.scopes))}.",
            code="insufficient-scope",
        )
    first, *besides = [role for role in ROLES if role in given]
    return Limits(first, "*", tuple(besides))


def _actor(who: Sequence[Any], *, limits: Limits | None, means: str, demo: bool) -> Actor:
    is_demo, identity_id, name, display_name, kind, owner_id, active = who
    if is_demo and not demo:
        says = f"{display_name or name} is a demo identity, or one answers for it, and those are switched off here."
        raise NotAdmitted(says, "Have an admin hand the service to a person.", code="bad-token")
    if not active:
        raise NotAdmitted(f"{display_name or name} was deactivated.", "Ask an admin to activate it again.", code="bad-token")
    known: ActorKind = kind
    return Actor(identity_id, display_name or name, known, owner_id, limits, means, from_outside=True)


def _honoured(profile: Profile, bound: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Those that ask for as much as has to be asked for today."""
    found = [row for row in bound if row[0] is None and bearer_claims.fault_of(profile.kind, row[3]) is None]
    if not found:
        fault = bearer_claims.fault_of(profile.kind, bound[0][3])
        raise NotAdmitted(
            f"The binding {bound[0][2]} is no longer honoured. {fault.message if fault is not None else ''}".rstrip(),
            f"Ask an admin to make it anew. {fault.remedy if fault is not None else ''}".rstrip(),
            code="binding-not-honoured",
        )
    return found


def _narrowest(bound: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """The one that asks for most. Two that ask for as much say two things, and neither is guessed."""
    most = max(len(row[3]) for row in bound)
    found = [row for row in bound if len(row[3]) == most]
    if len(found) > 1:
        raise NotAdmitted(
            f"This token fits several bindings: {', '.join(sorted(str(row[2]) for row in found))}.",
            "Ask an admin to end all but one of them, or to have one ask for more.",
            code="several-bindings",
        )
    return found[0]


def _forget_old(session: Any, found: _Means, now: datetime) -> None:
    """Uses of the same binding, or person, whose tokens ended long ago: as many come as there are builds."""
    same = BearerUse.binding_id == found.binding if found.binding else BearerUse.identity_id == found.actor.id
    old = select(BearerUse).where(same, col(BearerUse.expires_at) < now - _KEPT_AFTER).limit(100)
    for row in session.exec(old).all():
        session.delete(row)
