"""What OpenID providers publish of themselves, and whether a token carries their signature.

Everything is asked for through the outgoing guard and kept for a while. A key that is not known yet is asked for anew, at most
every few seconds, and the less often the more often that found nothing new: whoever sends tokens with invented key numbers
makes a call a minute, whatever he sends. Which algorithms count is said by the settings and never by a token, and where keys
are found by what a provider publishes: `jku`, `x5u` and `jwk` of a token are not read (RFC 8725, 3.10).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from backend.access.sign_in_file import Provider
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard, bounds

KEPT_SECONDS = 600.0
ASKED_EVERY, ASKED_SELDOM = 2.0, 60.0
"""How soon an unknown key lets the keys be asked for anew, and how soon once that found nothing new again and again."""
FAILED_SECONDS = 3.0
"""How long a failure stands for the next attempts: many who wait must not each wait for a provider that is away."""
_LONGEST_TOKEN = 64 << 10
_FORBIDDEN = frozenset({"crit", "b64", "enc", "zip"})
"""What no header of ours holds: it would change what is signed."""
_MOST_KEYS = 100
_TIMEOUT = 5.0
_PLAIN = {"accept": "application/json", "accept-encoding": "identity"}
_KINDS: dict[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}

Key = RSAKey | ECKey | OKPKey


@dataclass(frozen=True)
class Published:
    """What one provider publishes, as it was read."""

    issuer: str
    keys: tuple[Key, ...]
    read_at: float
    in_vain: int = 0
    """How many times in a row it was asked anew because of an unknown key and had no other keys than before."""


class Publisher(Protocol):
    """Whoever publishes keys, by its settings: a provider of sign-in, or a profile of bearer tokens."""

    @property
    def name(self) -> str:
        """What its keys are kept under."""
        ...

    @property
    def title(self) -> str:
        """What people read."""
        ...

    @property
    def server_metadata_url(self) -> str:
        """Where it publishes."""
        ...

    @property
    def issuers(self) -> tuple[str, ...]:
        """Who may stand in its metadata as the issuer; empty: whoever its address says."""
        ...

    @property
    def expected_issuer(self) -> str:
        """Whom its address says, without a slash at the end."""
        ...

    @property
    def algorithms(self) -> tuple[str, ...]:
        """How it may sign."""
        ...


@dataclass(frozen=True)
class Examined:
    """What a provider publishes of itself, for an admin who looks.

    Args:
        ends_sessions: whether it has an address to sign out at.
        tells_of_logout: whether it says that it sends back-channel logout tokens.
        problems: sentences that say what does not fit, and what to do.
    """

    issuer: str
    keys: int
    ends_sessions: bool
    tells_of_logout: bool
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Signed:
    """A token whose signature is good: its provider, with the issuers that count, and what it says."""

    provider: Provider
    claims: Mapping[str, Any]
    header: Mapping[str, Any]


class Providers:
    """The providers of one installation.

    Args:
        guard: what every call goes through.
        clock: seconds that only grow; for tests.
    """

    def __init__(self, guard: Guard, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = guard
        self._clock = clock
        self._published: dict[str, Published] = {}
        self._failed: dict[str, tuple[float, ExternalFailure]] = {}
        self._locks: dict[str, threading.Lock] = {}

    def ask(self, provider: Publisher) -> None:
        """Asks a provider whether it is there. ExternalFailure while it does not answer, Refusal for an address that may not
        be called.
        """
        self._get(provider, provider.server_metadata_url)

    def examine(self, provider: Provider) -> Examined:
        """Reads what a provider publishes and says what of it does not fit the settings. ExternalFailure, Refusal."""
        metadata = self._get(provider, provider.server_metadata_url)
        published = self._found(provider, metadata)
        return Examined(
            issuer=published.issuer,
            keys=len(published.keys),
            ends_sessions=bool(metadata.get("end_session_endpoint")),
            tells_of_logout=bool(metadata.get("backchannel_logout_supported")),
            problems=tuple(_misfits(provider, published, metadata)),
        )

    def signed(self, provider: Provider, token: str) -> Signed:
        """What a token says, if this provider signed it. Refusal (`bad-signature`), ExternalFailure."""
        header = _header(token, provider.algorithms)
        published = self._known_for(provider, header)
        claims = _claims(token, _candidates(published.keys, header), provider.algorithms)
        issuers = provider.issuers or (published.issuer,)
        return Signed(provider.model_copy(update={"issuers": issuers}), claims, header)

    def payload(self, publisher: Publisher, token: str) -> bytes:
        """What a token carries, if this publisher signed it, to be read by the caller. Refusal, ExternalFailure."""
        header = _header(token, publisher.algorithms)
        published = self._known_for(publisher, header)
        return _payload(token, _candidates(published.keys, header), publisher.algorithms)

    def _known_for(self, provider: Publisher, header: Mapping[str, Any]) -> Published:
        published = self._current(provider)
        return published if _candidates(published.keys, header) else self._renewed(provider, published)

    def _current(self, provider: Publisher) -> Published:
        known = self._published.get(provider.name)
        if known is not None and self._clock() < known.read_at + KEPT_SECONDS:
            return known
        with self._lock_of(provider):
            return self._read(provider, -1.0 if known is None else known.read_at)

    def _renewed(self, provider: Publisher, known: Published) -> Published:
        """The keys anew, if it is time. Nobody waits for somebody else's question: a flood would hold every thread with it."""
        if self._clock() < known.read_at + min(ASKED_EVERY * 2**known.in_vain, ASKED_SELDOM):
            return known
        lock = self._lock_of(provider)
        if not lock.acquire(blocking=False):
            raise ExternalFailure(provider.title, "is being asked for its keys", retryable=True)
        try:
            found = self._read(provider, known.read_at)
            if {one.thumbprint() for one in found.keys} == {one.thumbprint() for one in known.keys}:
                found = replace(found, in_vain=known.in_vain + 1)
                self._published[provider.name] = found
            return found
        finally:
            lock.release()

    def _lock_of(self, provider: Publisher) -> threading.Lock:
        return self._locks.setdefault(provider.name, threading.Lock())

    def _read(self, provider: Publisher, known_at: float) -> Published:
        """Asked by one thread at a time; whoever waited takes what the first one got, or meets the same failure."""
        known = self._published.get(provider.name)
        if known is not None and known.read_at > known_at:
            return known
        failed_at, failure = self._failed.get(provider.name, (0.0, None))
        if failure is not None and self._clock() < failed_at + FAILED_SECONDS:
            raise failure
        try:
            found = self._asked(provider)
        except ExternalFailure as error:
            self._failed[provider.name] = (self._clock(), error)
            raise
        self._published[provider.name] = found
        return found

    def _asked(self, provider: Publisher) -> Published:
        return self._found(provider, self._get(provider, provider.server_metadata_url))

    def _found(self, provider: Publisher, metadata: Mapping[str, Any]) -> Published:
        issuer, keys = metadata.get("issuer"), metadata.get("jwks_uri")
        if not isinstance(issuer, str) or not isinstance(keys, str):
            raise ExternalFailure(provider.title, "publishes no issuer or no keys", retryable=False)
        if not provider.issuers and issuer.rstrip("/") != provider.expected_issuer:
            raise ExternalFailure(
                provider.title, "calls itself otherwise than its address; list `issuers` in the settings", retryable=False
            )
        return Published(issuer, _keys(self._get(provider, keys)), self._clock())

    def _get(self, provider: Publisher, url: str) -> dict[str, Any]:
        parts = urlsplit(url)
        if parts.scheme == "http" and urlsplit(provider.server_metadata_url).scheme == "https":
            raise ExternalFailure(provider.title, "publishes an address without TLS", retryable=False)
        try:
            client = self._guard.client(f"{parts.scheme}://{parts.netloc}", headers=_PLAIN, timeout=_TIMEOUT)
            answer = client.get(url, extensions=bounds(max_bytes=1 << 20, max_seconds=2 * _TIMEOUT))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ExternalFailure(provider.title, "does not answer", retryable=True) from error
        if answer.status_code != 200:
            raise ExternalFailure(provider.title, f"answered {answer.status_code}", retryable=answer.status_code >= 500)
        try:
            found = answer.json()
        except ValueError as error:
            raise ExternalFailure(provider.title, "answered something unreadable", retryable=False) from error
        if not isinstance(found, dict):
            raise ExternalFailure(provider.title, "answered something unreadable", retryable=False)
        return found


def _misfits(provider: Provider, published: Published, metadata: Mapping[str, Any]) -> list[str]:
    """What a sign-in would fail by, as far as it can be told without one."""
    found = list[str]()
    if not published.keys:
        found.append("It publishes no key that a signature can be checked with: nobody can sign in. Ask whoever runs it.")
    if provider.issuers and published.issuer not in provider.issuers:
        found.append(
            f"It calls itself {published.issuer[:200]}, which is not among `issuers` in the settings: every token would be "
            "refused. Add it there."
        )
    signs = metadata.get("id_token_signing_alg_values_supported")
    if isinstance(signs, list) and not set(provider.algorithms) & {str(one) for one in signs}:
        said = ", ".join(str(one)[:12] for one in signs[:8])
        found.append(f"It signs with {said}, and the settings take none of these: set `algorithms`, or use RS256 there.")
    scopes = metadata.get("scopes_supported")
    missing = set(provider.scope.split()) - {str(one) for one in scopes} if isinstance(scopes, list) else set()
    if missing:
        found.append(f"It does not list the scope {', '.join(sorted(missing))}, which is asked for: look at `scope`.")
    told, claim = metadata.get("claims_supported"), provider.groups_claim.partition(".")[0]
    if isinstance(told, list) and told and claim not in told and not claim.startswith("http"):
        found.append(
            f"It does not list the claim {claim}. Some providers never list such claims; where groups give nobody a role, "
            "add it to the ID token there."
        )
    return found


def _header(token: str, algorithms: Sequence[str]) -> dict[str, Any]:
    """The header of a token, which nothing vouches for yet. Its algorithm is judged before anything else is done with it."""
    if not 0 < len(token) <= _LONGEST_TOKEN or token.count(".") != 2:
        raise _not_good()
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise _not_good() from error
    if header.get("alg") not in algorithms or not _FORBIDDEN.isdisjoint(header):
        raise _not_good()
    return dict(header)


def _candidates(keys: Sequence[Key], header: Mapping[str, Any]) -> list[Key]:
    """The keys that may have signed it: of the kind of its algorithm, and of its number if it names one."""
    kind = _FAMILIES.get(str(header["alg"])[:2])
    fitting = [one for one in keys if one.key_type == kind and one.get("alg") in (None, header["alg"])]
    return fitting if header.get("kid") is None else [one for one in fitting if one.get("kid") == header["kid"]]


def _payload(token: str, keys: Sequence[Key], algorithms: Sequence[str]) -> bytes:
    registry = JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
    for key in keys:
        try:
            return bytes(jws.deserialize_compact(token, key, registry=registry).payload)
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
    raise _not_good()


def _claims(token: str, keys: Sequence[Key], algorithms: Sequence[str]) -> dict[str, Any]:
    registry = JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
    for key in keys:
        try:
            return dict(jwt.decode(token, key, registry=registry).claims)
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
    raise _not_good()


def _keys(published: Mapping[str, Any]) -> tuple[Key, ...]:
    """The signing keys in a set; whatever cannot be read, or is a shared secret, is left out."""
    listed = published.get("keys")
    found = list[Key]()
    for one in listed[:_MOST_KEYS] if isinstance(listed, list) else []:
        kind = _KINDS.get(str(one.get("kty"))) if isinstance(one, dict) else None
        if kind is None or one.get("use", "sig") != "sig":
            continue
        try:
            found.append(kind.import_key(one))
        except (JoseError, ValueError, TypeError):
            continue
    return tuple(found)


def _not_good() -> Refusal:
    return Refusal("This token is not signed by the provider.", "Sign in again.", code="bad-signature")
