"""`client.servers`, `.routers`: where models run, and what splits their traffic; `.outgoing`, `.keys`: where calls may go,
and what credentials are sealed to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from backend.client.pages import MOST, Pages
from backend.client.results import Inspected, JudgedAddress, LedgerKey, Outgoing, Router, SealingKey, Server
from backend.client.shapes import read
from backend.client.wire import Answer, Wire

L = TypeVar("L", Server, Router)


class _Places(Generic[L]):
    def __init__(self, wire: Wire, noun: str, kind: type[L]) -> None:
        self._wire = wire
        self._noun = noun
        self._kind: type[L] = kind

    def list(self) -> tuple[L, ...]:
        """All of them, by name. No credential is ever told."""
        return tuple(Pages(self._wire, self._kind, self._nouns).all(limit=MOST))

    def show(self, name: str) -> L:
        """One of them, with the `etag` that an edit is bound to."""
        return self._told(self._wire.get(self._nouns, name))

    def register(
        self,
        name: str,
        kind: str,
        place: str,
        settings: Mapping[str, Any],
        credential: str | None = None,
        credential_from: str | None = None,
    ) -> L:
        """Adds one. Nothing is called yet: `test` does that."""
        sent = {"name": name, "kind": kind, self._place: place, "settings": dict(settings)}
        sent |= _secret(credential, credential_from)
        return self._told(self._wire.send("POST", (self._nouns,), sent=sent, key=""))

    def test(self, name: str) -> Inspected:
        """Asks it what it is."""
        return read(Inspected, self._wire.send("POST", (self._nouns, name, "test"), again=True).content)

    def edit(
        self,
        name: str,
        *,
        if_match: str,
        place: str | None = None,
        settings: Mapping[str, Any] | None = None,
        credential: str | None = None,
        credential_from: str | None = None,
        forget_credential: bool = False,
    ) -> L:
        """Changes where it is, its settings or its credential. Under managed endpoints that waits for a second person."""
        sent: dict[str, Any] = {"forget_credential": forget_credential, **_secret(credential, credential_from)}
        sent |= {} if place is None else {self._place: place}
        sent |= {} if settings is None else {"settings": dict(settings)}
        return self._told(self._wire.send("PATCH", (self._nouns, name), sent=sent, if_match=if_match))

    def confirm_move(self, name: str, *, if_match: str) -> L:
        """Confirms a move that somebody else asked for, as it was looked at."""
        return self._told(self._wire.send("POST", (self._nouns, name, "move", "confirm"), if_match=if_match))

    def drop_move(self, name: str, *, if_match: str) -> L:
        """Gives up a move that waits."""
        return self._told(self._wire.send("POST", (self._nouns, name, "move", "drop"), if_match=if_match))

    def _told(self, answer: Answer) -> L:
        told = answer.content
        inner = told.get(self._noun, told) if isinstance(told, dict) else told
        return replace(read(self._kind, inner), etag=answer.etag)

    @property
    def _nouns(self) -> str:
        return f"{self._noun}s"

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


class WaysOut:
    """Where one server may call; its settings say so, and nothing here changes them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def show(self) -> Outgoing:
        """Private ranges for servers and for messages, and ports."""
        return read(Outgoing, self._wire.get("outgoing").content)

    def check(self, url: str) -> JudgedAddress:
        """Would this address of a server be called? Its name is looked up, and nothing is called."""
        return read(JudgedAddress, self._wire.send("POST", ("outgoing", "check"), sent={"url": url}, again=True).content)


class Keys:
    """The keys of one server, by their names. Others take their place where the keys are: `countersign secrets`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def sealing(self) -> tuple[SealingKey, ...]:
        """Those that secrets are sealed to, the one in force first."""
        return tuple(Pages(self._wire, SealingKey, "keys", "sealing").all(limit=MOST))

    def ledger(self) -> LedgerKey:
        """The one that signs the ledger's heads."""
        return read(LedgerKey, self._wire.get("keys", "ledger").content)


def _secret(credential: str | None, credential_from: str | None) -> dict[str, str]:
    """What is given, and no more."""
    given = {"credential": credential, "credential_from": credential_from}
    return {name: one for name, one in given.items() if one is not None}
