"""Pure rules on what an OpenID provider tells of somebody: whether it is good, who it is, and which roles follow from it.

Signatures are judged elsewhere (`backend.access.providers`); here the claims are values, and `now` is passed in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from backend.access.rules import Role
from backend.access.sign_in_file import Provider
from backend.core.canonical import canonical
from backend.core.errors import Refusal

FRESH = timedelta(minutes=10)
"""How old a token may be when a session is opened with it: it comes straight from the provider."""
AHEAD = timedelta(minutes=2)
"""How far a provider's clock may go before ours."""
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
SOURCE, PROVISIONED = "claims:", "scim:"
"""Before a provider's name, who gave a role that follows from its claims, or from the groups of its directory."""

_LONGEST_ID = 255
_MOST_VALUES, _LONGEST_VALUE = 2_000, 256
_UNSAFE = re.compile(r"[^a-z0-9._-]+")


class SignedOut(Refusal):
    """A session does not count any more, or never did."""


@dataclass(frozen=True)
class Person:
    """Who a provider says it is.

    Args:
        issuer, subject: these two together, and nothing else, tell one person from another.
        sid: the provider's own number of its session, for its messages about a logout; "" where it tells none.
        key: digest that tells this one sign-in from every other.
        email: only an address that the provider says it verified.
        values: what stands in the claim of groups.
        overflow: the provider left the groups out, because there are too many.
        external_id: what the provider's directory calls the person; "" where that is not used.
    """

    issuer: str
    subject: str
    sid: str
    key: str
    issued_at: datetime
    name: str
    handle: str
    email: str | None
    values: frozenset[str]
    overflow: bool
    external_id: str = ""


def key_of(claims: Mapping[str, Any]) -> str:
    """The digest of one sign-in: a replayed cookie has the key of the session that was ended. "" where claims are lacking."""
    parts = [claims.get(name) for name in ("iss", "sub", "nonce")]
    issued = _number(claims.get("iat"))
    if not all(isinstance(one, str) and one for one in parts) or issued is None:
        return ""
    return sha256(canonical([*parts, int(issued)])).hexdigest()


def person(provider: Provider, claims: Mapping[str, Any], *, now: datetime) -> Person:
    """Who the claims of an ID token speak of. Refusal for a token that is not for us, from somebody else, or not fresh."""
    check_recipient(provider, claims)
    issued = _time(claims.get("iat"))
    expires = _time(claims.get("exp"))
    if issued is None or expires is None or not now - FRESH <= issued <= now + AHEAD or expires <= now - AHEAD:
        raise SignedOut("This sign-in is too old to begin with.", "Sign in again.", code="stale-sign-in")
    subject, key = claims.get("sub"), key_of(claims)
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_ID or not key:
        raise SignedOut(f"{provider.title} did not say who you are.", "Ask whoever runs it.", code="bad-claims")
    email = _email(claims)
    if provider.require_verified_email and email is None:
        raise SignedOut(
            f"{provider.title} has not verified your e-mail address.",
            "Verify it there, then sign in again.",
            code="unverified-email",
        )
    values, overflow = values_of(provider.groups_claim, claims)
    name = _text(claims.get("name")) or _text(claims.get("preferred_username")) or email or "Somebody"
    return Person(
        issuer=str(claims["iss"]),
        subject=subject,
        sid=sid_of(claims),
        key=key,
        issued_at=issued,
        name=name,
        handle=_handle(claims, email),
        email=email,
        values=values,
        overflow=overflow,
        external_id=_text(claims.get(provider.scim_claim)) if provider.scim_claim else "",
    )


def check_recipient(provider: Provider, claims: Mapping[str, Any]) -> None:
    """Refusal unless the token is by an issuer that this provider may use, and for this client."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer not in provider.issuers:
        raise SignedOut(
            f"What {provider.title} sent names another issuer.",
            "Ask an administrator to look at `issuers` in the settings of sign-in.",
            code="wrong-issuer",
        )
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    party = claims.get("azp")
    several = isinstance(named, list) and len(named) > 1
    if not isinstance(named, list) or provider.client_id not in named or party not in (None, provider.client_id):
        raise _not_for_us(provider)
    if several and party is None:
        raise _not_for_us(provider)


def sid_of(claims: Mapping[str, Any]) -> str:
    """The provider's number of its session, or ""."""
    sid = claims.get("sid")
    return sid if isinstance(sid, str) and len(sid) <= _LONGEST_ID else ""


def values_of(claim: str, claims: Mapping[str, Any]) -> tuple[frozenset[str], bool]:
    """The groups or roles in a claim, and whether the provider left them out because there are too many (Entra ID).

    A claim named by an address has dots of its own: the whole name is tried first, then the way into nested claims.
    """
    found: Any = claims.get(claim)
    if found is None and "." in claim:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    elsewhere = claims.get("_claim_names")
    overflow = found is None and (
        claims.get("hasgroups") in (True, "true") or (isinstance(elsewhere, Mapping) and claim in elsewhere)
    )
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    good = (one for one in listed[:_MOST_VALUES] if isinstance(one, str) and 0 < len(one) <= _LONGEST_VALUE)
    return frozenset(good), overflow


def roles_for(values: Iterable[str], mapped: Iterable[tuple[str, str, str]]) -> frozenset[tuple[str, str]]:
    """(role, scope) that follow from values, by (value, role, scope) of each mapping. Values are compared as they are."""
    held = set(values)
    return frozenset((role, scope) for value, role, scope in mapped if value in held)


def is_first_administrator(setting: str, provider: str, who: Person) -> bool:
    """Whether the settings name this person: by subject, or by an address that the provider verified."""
    name, _, wanted = setting.partition(":")
    if not wanted or name != provider:
        return False
    return wanted == who.subject or (who.email is not None and wanted.casefold() == who.email.casefold())


FIRST_ROLE: Role = "admin"


@dataclass(frozen=True)
class Logout:
    """What a provider's logout token says: which of its sessions, or whose."""

    issuer: str
    subject: str
    sid: str
    jti: str
    issued_at: datetime


def logout(provider: Provider, claims: Mapping[str, Any], header: Mapping[str, Any], *, now: datetime) -> Logout:
    """What a logout token asks for (OpenID Connect Back-Channel Logout 1.0, 2.6). Refusal for anything else."""
    check_recipient(provider, claims)
    kind = str(header.get("typ") or "").lower().removeprefix("application/")
    events = claims.get("events")
    event = events.get(LOGOUT_EVENT) if isinstance(events, Mapping) else None
    if kind not in ("", "jwt", "logout+jwt") or not isinstance(event, Mapping) or "nonce" in claims:
        raise _no_logout("It is no logout token.")
    issued, expires = _time(claims.get("iat")), _time(claims.get("exp"))
    if issued is None or not now - FRESH <= issued <= now + AHEAD:
        raise _no_logout("It was not issued just now.")
    if ("exp" in claims and expires is None) or (expires is not None and expires <= now - AHEAD):
        raise _no_logout("It has expired.")
    subject, sid, jti = claims.get("sub"), sid_of(claims), claims.get("jti")
    named = subject if isinstance(subject, str) else ""
    if ("sid" in claims and not sid) or not (named or sid) or len(named) > _LONGEST_ID:
        raise _no_logout("It names neither a session nor a person.")
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_ID:
        raise _no_logout("It has no number of its own.")
    return Logout(str(claims["iss"]), named, sid, jti, issued)


def over(
    *, now: datetime, issued_at: datetime, seen_at: datetime, idle: timedelta, absolute: timedelta, ended: str | None
) -> SignedOut | None:
    """Why a session does not count any more; None while it does."""
    if ended is not None:
        return SignedOut(ENDED.get(ended, ENDED["signed-out"]), "Sign in again to go on.", code="signed-out")
    if now >= issued_at + absolute:
        return SignedOut("You signed in long ago.", "Sign in again to go on.", code="signed-out")
    if now >= seen_at + idle:
        return SignedOut("Nothing was done here for a while.", "Sign in again to go on.", code="signed-out")
    return None


ENDED = {
    "signed-out": "You signed out.",
    "everywhere": "You were signed out everywhere.",
    "revoked": "An administrator ended your session.",
    "provider": "Your provider ended your session.",
    "deactivated": "Your identity was deactivated.",
}
"""Why a session was ended -> what its person is told."""


def _not_for_us(provider: Provider) -> SignedOut:
    return SignedOut(
        f"What {provider.title} sent is meant for another application.",
        "Ask an administrator to look at `client_id` in the settings of sign-in.",
        code="wrong-audience",
    )


def _no_logout(message: str) -> Refusal:
    return Refusal(message, "Send a fresh logout token.", code="bad-logout-token")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time(value: object) -> datetime | None:
    number = _number(value)
    if number is None or not 0 < number < 1e11:  # beyond, it is no time in seconds
        return None
    return datetime.fromtimestamp(number, UTC)


def _email(claims: Mapping[str, Any]) -> str | None:
    email = claims.get("email")
    verified = claims.get("email_verified") in (True, "true")
    good = isinstance(email, str) and len(email) <= 254 and email.count("@") == 1 and email.isprintable() and " " not in email
    return str(email) if verified and good else None


def _text(value: object) -> str:
    """A name on one line, without what would not be seen or would turn others around."""
    if not isinstance(value, str):
        return ""
    plain = "".join(one for one in value if one == " " or unicodedata.category(one)[0] not in "CZ")
    return " ".join(plain.split())[:120]


def _handle(claims: Mapping[str, Any], email: str | None) -> str:
    return handle_of(_text(claims.get("preferred_username")) or email or _text(claims.get("name")))


def handle_of(text: str) -> str:
    """A short name for the command line, out of a user name or an address; it tells nobody apart."""
    short = _UNSAFE.sub("-", text.partition("@")[0].casefold()).strip("-._")
    return short[:40].rstrip("-._") or "somebody"
