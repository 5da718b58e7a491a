"""Servers and routers: registering them, and the adapters that speak to them, built once per revision of their row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sqlmodel import select

from backend.access.service import require
from backend.core import work
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.core.sealed import Opener, Sealer
from backend.core.unit import Unit
from backend.delivery.door import Door, HttpDoor
from backend.delivery.routers import names as router_names
from backend.delivery.routers.port import Router, RouterFacts
from backend.delivery.rows import RouterRow, Server
from backend.delivery.targets import names as target_names
from backend.delivery.targets.port import Answer, SeenServer, ServerFacts, Target

A = TypeVar("A")


class Servers:
    """Commands on servers and routers, and the adapters behind their rows.

    Args:
        guard: every outgoing call goes through it.
        sealer: seals credentials; None where they cannot be entered.
        opener: opens them; only the worker has one.
    """

    def __init__(self, database: Database, guard: Guard, sealer: Sealer | None, opener: Opener | None) -> None:
        self._database = database
        self._guard = guard
        self._sealer = sealer
        self._opener = opener
        self._targets: dict[tuple[str, int], Target] = {}
        self._routers: dict[tuple[str, int], Router] = {}
        self._lock = threading.Lock()

    def register(
        self, actor: Actor, name: str, kind: str, settings: Mapping[str, Any], *, upstream: str, credential: str | None = None
    ) -> Server:
        """Adds a server after looking at it once.

        Args:
            kind: the target adapter's name; `settings` are its own Settings.
            upstream: `host:port` at which routers reach its inference address.
            credential: sealed to the worker's key before it is stored.
        """
        _require(self._database, actor, "server.register")
        _refuse_bad_upstream(upstream)
        target = target_names.build(kind, settings, credential, self._guard, name=name)
        target.inspect()
        with self._database.unit(actor) as tx:
            require(tx, actor, "server.register")
            _refuse_taken(tx, Server, name)
            row = Server(id=tx.new_id("srv"), name=name, kind=kind, settings=dict(settings), upstream=upstream,
                         created_by=actor.id, created_at=tx.now)  # fmt: skip
            row.sealed_credential = self._sealed(row.id, credential)
            tx.add(row)
            tx.record("server.register", row, after=row.facts("name", "kind", "upstream"))
            return row

    def register_router(
        self, actor: Actor, name: str, kind: str, settings: Mapping[str, Any], *, public_url: str, credential: str | None = None
    ) -> RouterRow:
        """Adds a router after looking at it once. `public_url` is where callers reach it."""
        _require(self._database, actor, "server.register")
        router_names.build(kind, settings, credential, self._guard, name=name).inspect()
        with self._database.unit(actor) as tx:
            require(tx, actor, "server.register")
            _refuse_taken(tx, RouterRow, name)
            row = RouterRow(id=tx.new_id("rtr"), name=name, kind=kind, settings=dict(settings), public_url=public_url,
                            created_by=actor.id, created_at=tx.now)  # fmt: skip
            row.sealed_credential = self._sealed(row.id, credential)
            tx.add(row)
            tx.record("router.register", row, after=row.facts("name", "kind", "public_url"))
            return row

    def edit(
        self,
        actor: Actor,
        server_id: str,
        *,
        settings: Mapping[str, Any],
        upstream: str,
        credential: str | None = None,
        revision: int | None = None,
    ) -> Server:
        """New settings or address of a server; a credential that is not given stays."""
        _refuse_bad_upstream(upstream)
        with self._database.unit(actor) as tx:
            require(tx, actor, "server.edit")
            row = tx.get(Server, server_id, lock=True)
            target_names.build(row.kind, settings, credential, self._guard, name=row.name)
            tx.expect(row, revision)
            before = row.facts("upstream", "settings")
            row.settings, row.upstream = dict(settings), upstream
            row.sealed_credential = self._sealed(row.id, credential) or row.sealed_credential
            tx.record("server.edit", row, before=before, after=row.facts("upstream", "settings"))
            work.wake(tx, "server", row.id)
            return row

    def target(self, row: Server) -> Target:
        """The adapter for a server, made once per revision of its row."""
        return self._cached(self._targets, row, target_names.build)

    def router(self, row: RouterRow) -> Router:
        """The adapter for a router, made once per revision of its row."""
        return self._cached(self._routers, row, router_names.build)

    def door(self, row: RouterRow) -> Door | None:
        """Where callers reach a router's endpoints; None for one that cannot be called over HTTP."""
        return HttpDoor(self._guard, row.public_url, row.name) if row.public_url.startswith(("http://", "https://")) else None

    def inspect(self, row: Server) -> ServerFacts:
        """What a server says of itself now."""
        return self.target(row).inspect()

    def inspect_router(self, row: RouterRow) -> RouterFacts:
        """What a router says of itself now."""
        return self.router(row).inspect()

    def observe(self, row: Server) -> SeenServer:
        """Everything that runs on a server now, ours or not."""
        return self.target(row).observe()

    def answer(self, row: Server, model: str, version: int, inputs: Mapping[str, Any]) -> Answer:
        """One inference, pinned to a version."""
        return self.target(row).answer(model, version, inputs)

    def _cached(self, cache: dict[tuple[str, int], A], row: Server | RouterRow, build: Callable[..., A]) -> A:
        key = (row.id, row.revision)
        with self._lock:
            if key not in cache:
                for old in [one for one in cache if one[0] == row.id]:
                    del cache[old]
                cache[key] = build(row.kind, row.settings, self._opened(row), self._guard, name=row.name)
            return cache[key]

    def _opened(self, row: Server | RouterRow) -> str | None:
        if row.sealed_credential is None:
            return None
        if self._opener is None:
            raise Refusal(
                f"The credential of {row.name} can only be opened by the worker.", "Let the worker do this.", code="sealed"
            )
        return self._opener.open(row.id, row.sealed_credential)

    def _sealed(self, row_id: str, credential: str | None) -> str | None:
        if credential is None:
            return None
        if self._sealer is None:
            raise Refusal("There is no key to seal a credential with.", "Run `countersign migrate` first.", code="sealing-key")
        return self._sealer.seal(row_id, credential)


def _require(database: Database, actor: Actor, action: str) -> None:
    """Asked before anything is called on the actor's behalf, and again in the unit that writes."""
    with database.unit(actor) as tx:
        require(tx, actor, action)


def _refuse_taken(tx: Unit, table: type[Server] | type[RouterRow], name: str) -> None:
    if tx.session.exec(select(table).where(table.name == name)).first() is not None:
        raise Refusal(f"A {table.__subject__} {name!r} exists already.", "Choose another name, or edit it.", code="taken")


def _refuse_bad_upstream(upstream: str) -> None:
    """`host:port` and nothing else: it becomes part of the routers' configuration."""
    try:
        parsed = urlsplit(f"//{upstream}")
        sound = bool(parsed.hostname) and parsed.port is not None and parsed.netloc == upstream and "@" not in upstream
    except ValueError:
        sound = False
    if not sound:
        raise Refusal(
            f"{upstream!r} is not an address of the form host:port.", "Write it as 10.2.0.7:8000.", code="bad-upstream"
        )
