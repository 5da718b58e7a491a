"""`client.sessions` and `client.sign_in`: who is signed in where, the providers, and which of their groups give which role."""

from __future__ import annotations

from typing import Any

from backend.client.pages import MOST, Pages
from backend.client.results import (
    Examined,
    GroupMapping,
    KnownGroup,
    Provider,
    SessionLine,
    SessionsEnded,
    Settled,
    SignInSettings,
    Touched,
)
from backend.client.shapes import read
from backend.client.wire import Wire


class Sessions:
    """Who is signed in where, and ending it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, *, everybody: bool = False, identity: str | None = None) -> tuple[SessionLine, ...]:
        """One's own, the newest first; everybody's, or one identity's, for an admin."""
        narrow: dict[str, Any] = {"everybody": everybody or None, "identity": identity}
        return tuple(Pages(self._wire, SessionLine, "sessions").all(limit=MOST, **narrow))

    def end(self, session: str, reason: str = "") -> None:
        """Ends one session: one's own, or anybody's for an admin."""
        self._wire.send("DELETE", ("sessions", session), query={"reason": reason})

    def end_all(self, identity: str | None = None, reason: str = "") -> int:
        """Ends every session of oneself, or of somebody else for an admin. Returns how many were running."""
        sent = {"identity": identity, "reason": reason}
        return read(SessionsEnded, self._wire.send("POST", ("sessions", "end"), sent=sent).content).ended


class SignIn:
    """The providers that people sign in at, and which of their groups give which role."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def settings(self) -> SignInSettings:
        """How people sign in, as the server's settings were loaded."""
        return read(SignInSettings, self._wire.get("sign-in").content)

    def groups(self, provider: str) -> tuple[KnownGroup, ...]:
        """Groups that a provider told of somebody, or that its directory has, as they are spelled."""
        return tuple(Pages(self._wire, KnownGroup, "group-mappings", "groups").all(provider=provider, limit=MOST))

    def providers(self) -> tuple[Provider, ...]:
        """As the server's settings were loaded."""
        return tuple(Pages(self._wire, Provider, "sign-in", "providers").all(limit=MOST))

    def ask(self, provider: str) -> Examined:
        """What a provider publishes now, and what of it does not fit the settings."""
        return read(Examined, self._wire.send("POST", ("sign-in", "providers", provider, "ask")).content)

    def mappings(self) -> tuple[GroupMapping, ...]:
        """Every mapping that counts, those of the settings file included."""
        return tuple(Pages(self._wire, GroupMapping, "group-mappings").all(limit=MOST))

    def touched(self, provider: str, value: str, role: str, scope: str = "*") -> tuple[Touched, ...]:
        """Whom such a mapping touches, as far as that is known."""
        asked = {"provider": provider, "value": value, "role": role, "scope": scope}
        return tuple(Pages(self._wire, Touched, "group-mappings", "touched").all(**asked, limit=MOST))

    def map(self, provider: str, value: str, role: str, scope: str = "*") -> Settled:
        """Asks that this group gives this role, which a second admin confirms."""
        sent = {"provider": provider, "value": value, "role": role, "scope": scope}
        return read(Settled, self._wire.send("POST", ("group-mappings",), sent=sent, key="").content)

    def unmap(self, mapping: str) -> None:
        """The group gives this role no longer."""
        self._wire.send("DELETE", ("group-mappings", mapping))
