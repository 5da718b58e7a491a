"""`client.servers` and `client.routers`: where models run, and what splits their traffic. The same verbs for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from backend.client.errors import NotFound
from backend.client.pages import Pages
from backend.client.results import Inspected, Router, Server
from backend.client.shapes import read
from backend.client.wire import Wire

L = TypeVar("L", Server, Router)


class _Places(Generic[L]):
    def __init__(self, wire: Wire, noun: str, kind: type[L]) -> None:
        self._wire = wire
        self._noun = noun
        self._kind: type[L] = kind

    def list(self) -> tuple[L, ...]:
        """All of them, by name. No credential is ever told."""
        return tuple(Pages(self._wire, self._kind, f"{self._noun}s").all())

    def show(self, name: str) -> L:
        """One of them. NotFound."""
        found: L | None = next((one for one in self.list() if one.name == name), None)
        if found is None:
            remedy = "Check the name; it is case-sensitive."
            raise NotFound(f"No {self._noun} is called {name!r}.", remedy, code="not-found", status=404)
        return found

    def register(self, name: str, kind: str, place: str, settings: Mapping[str, Any], credential: str | None = None) -> L:
        """Adds one. Nothing is called yet: `test` does that."""
        sent = {"name": name, "kind": kind, self._place: place, "settings": dict(settings)}
        self._wire.send("POST", (f"{self._noun}s",), sent=sent | _secret(credential), key="")
        return self.show(name)

    def test(self, name: str) -> Inspected:
        """Asks it what it is."""
        return read(Inspected, self._wire.send("POST", (f"{self._noun}s", name, "test"), again=True).content)

    def edit(
        self,
        name: str,
        *,
        revision: int,
        place: str | None = None,
        settings: Mapping[str, Any] | None = None,
        credential: str | None = None,
        forget_credential: bool = False,
    ) -> L:
        """Changes where it is, its settings or its credential. Under managed endpoints that waits for a second person."""
        sent: dict[str, Any] = {"revision": revision, "forget_credential": forget_credential, **_secret(credential)}
        sent |= {} if place is None else {self._place: place}
        sent |= {} if settings is None else {"settings": dict(settings)}
        self._wire.send("PATCH", (f"{self._noun}s", name), sent=sent, key="")
        return self.show(name)

    def confirm_move(self, name: str, revision: int) -> L:
        """Confirms a move that somebody else asked for."""
        self._wire.send("POST", (f"{self._noun}s", name, "confirm-move"), sent={"revision": revision}, key="")
        return self.show(name)

    def drop_move(self, name: str, revision: int) -> L:
        """Gives up a move that waits."""
        self._wire.send("POST", (f"{self._noun}s", name, "drop-move"), sent={"revision": revision}, key="")
        return self.show(name)

    @property
    def _place(self) -> str:
        return "upstream" if self._noun == "server" else "public_url"


class Servers(_Places[Server]):
    """Servers; their place is the upstream, `HOST:PORT`."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire, "server", Server)


class Routers(_Places[Router]):
    """Routers; their place is the public URL."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire, "router", Router)


def _secret(credential: str | None) -> dict[str, str]:
    return {} if credential is None else {"credential": credential}
