"""Servers and routers as commands: registering, editing, testing and removing them. Credentials go in and never come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from sqlmodel import col, select

from backend.access.checks import require
from backend.core import sealing
from backend.core.context import Actor
from backend.core.credentials import check_reference
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.outbound import Guard, host_of
from backend.core.sealed import Sealer
from backend.core.unit import Unit
from backend.delivery import advisories, moves
from backend.delivery.addresses import check_upstream, check_url, check_urls, is_in_memory, origins
from backend.delivery.advisories import Advisory
from backend.delivery.apart import add_apart, refuse_reserved
from backend.delivery.baselines import Unmanaged, unmanaged
from backend.delivery.entered import entered
from backend.delivery.named import named
from backend.delivery.routers.port import Router, RouterAbilities, RouterFacts
from backend.delivery.rows import Endpoint, RouterRow, Server
from backend.delivery.targets.names import target_type
from backend.delivery.targets.port import Abilities, ServerFacts, Target

MAX_CREDENTIAL = 16 << 10
R = TypeVar("R", Server, RouterRow)
T = TypeVar("T")
_LOOPBACK = ("http://127.", "http://localhost", "http://[::1]")


class Connect(Protocol):
    """From a row to its adapter, with the credential opened; nothing is called yet. `connections.Connections` is one."""

    def target(self, server: Server) -> Target:
        """The adapter of a server."""
        ...

    def router(self, router: RouterRow) -> Router:
        """The adapter of a router."""
        ...


@dataclass(frozen=True)
class InspectedServer(ServerFacts):
    """What a server said of itself when it was tested, what its kind is able to do, and what is known against its version."""

    abilities: Abilities = field(kw_only=True)
    advisories: tuple[Advisory, ...] = ()


@dataclass(frozen=True)
class InspectedRouter(RouterFacts):
    """The same of a router."""

    abilities: RouterAbilities = field(kw_only=True)
    advisories: tuple[Advisory, ...] = ()


class Servers:
    """Commands on servers and routers.

    Args:
        guard: decides which addresses may be called.
        sealer: seals credentials to the worker's key; None where nobody can enter one.
        connect: from rows to adapters.
        router_type: from a router's kind to its adapter's class; Refusal for an unknown kind.
        in_memory: whether servers and routers in memory may be added: they serve nobody, and keep a file where they are told.
        reserved: files and folders that Countersign keeps for itself; no server's or router's may lie there.
        resolve: whether addresses are looked up when they are entered. False for commands that join a unit of work, after
            `check` did it outside.
    """

    def __init__(
        self,
        database: Database,
        guard: Guard,
        sealer: Sealer | None,
        connect: Connect,
        router_type: Callable[[str], type[Router]],
        *,
        in_memory: bool = True,
        reserved: Iterable[Path] = (),
        resolve: bool = True,
    ) -> None:
        self._database = database
        self._guard = guard
        self._sealer = sealer
        self._connect, self._router_type = connect, router_type
        self._in_memory, self._reserved, self._resolve = in_memory, tuple(reserved), resolve

    def check(self, noun: str, kind: str, settings: Mapping[str, Any], place: str) -> None:
        """Refusal for what could not be kept as a server or a router. Resolves names, outside any unit; writes nothing."""
        self._refuse_memory(kind)
        is_server = noun == "server"
        self._checked((target_type(kind) if is_server else self._router_type(kind)).Settings, kind, settings, place)
        (self._check_upstream if is_server else self._check_public_url)(kind, place)

    def register(
        self,
        actor: Actor,
        *,
        name: str,
        kind: str,
        settings: Mapping[str, Any],
        upstream: str,
        credential: str | None = None,
        credential_from: str | None = None,
    ) -> Server:
        """Adds a server. Nothing is called: `test` does.

        Args:
            kind: the target adapter's name; `settings` are its own Settings.
            upstream: `host:port` at which routers reach its inference interface.
            credential: a secret, which is sealed; or `credential_from`: `file:NAME` or `env:NAME`, where the worker finds it.
        """
        self._demand(actor, "server.register")
        self._refuse_memory(kind)
        checked = self._checked(target_type(kind).Settings, kind, settings, upstream)
        self._check_upstream(kind, upstream)
        with self._database.unit(actor) as tx:
            require(tx, actor, "server.register")
            row = Server(
                id=tx.new_id("srv"), name=name, kind=kind, settings=checked, upstream=upstream,
                created_by=actor.id, created_at=tx.now,
            )  # fmt: skip
            row.sealed_credential = self._kept(tx, row.id, credential, credential_from)
            add_apart(tx, row)
            tx.record("server.register", row, after=moves.told(row))
            return row

    def register_router(
        self,
        actor: Actor,
        *,
        name: str,
        kind: str,
        settings: Mapping[str, Any],
        public_url: str,
        credential: str | None = None,
        credential_from: str | None = None,
    ) -> RouterRow:
        """Adds a router. `public_url` is where callers reach its endpoints."""
        self._demand(actor, "server.register")
        self._refuse_memory(kind)
        checked = self._checked(self._router_type(kind).Settings, kind, settings, public_url)
        self._check_public_url(kind, public_url)
        with self._database.unit(actor) as tx:
            require(tx, actor, "server.register")
            row = RouterRow(
                id=tx.new_id("rtr"), name=name, kind=kind, settings=checked, public_url=public_url,
                created_by=actor.id, created_at=tx.now,
            )  # fmt: skip
            row.sealed_credential = self._kept(tx, row.id, credential, credential_from)
            add_apart(tx, row)
            tx.record("router.register", row, after=moves.told(row))
            return row

    def edit(
        self,
        actor: Actor,
        name: str,
        *,
        revision: int,
        settings: Mapping[str, Any] | None = None,
        upstream: str | None = None,
        credential: str | None = None,
        credential_from: str | None = None,
        forget_credential: bool = False,
    ) -> Server:
        """Changes what is given; its endpoints are looked at again at once. `revision` is the one that the caller saw.

        Under managed endpoints whose changes need approvals, another place waits in `move` until somebody else confirms it.
        A credential that is not given stays, unless the server moves: then it has to be entered again.
        """
        known = self._known(actor, "server.edit", Server, name)
        place, model = _or(upstream, known.upstream), target_type(known.kind).Settings
        checked = self._checked(model, known.kind, _or(settings, known.settings), place)
        self._check_upstream(known.kind, place)
        with self._database.unit(actor) as tx:
            row = self._opened(tx, Server, name, revision)
            given = self._kept(tx, row.id, credential, credential_from)
            sealed = given or self._credential_after(row, checked, forget=forget_credential)
            moves.make(tx, row, moves.Wanted(checked, _or(upstream, row.upstream), sealed, renewed=bool(given)))
            return row

    def edit_router(
        self,
        actor: Actor,
        name: str,
        *,
        revision: int,
        settings: Mapping[str, Any] | None = None,
        public_url: str | None = None,
        credential: str | None = None,
        credential_from: str | None = None,
        forget_credential: bool = False,
    ) -> RouterRow:
        """The same for a router; every server behind it is looked at again at once."""
        known = self._known(actor, "server.edit", RouterRow, name)
        place, model = _or(public_url, known.public_url), self._router_type(known.kind).Settings
        checked = self._checked(model, known.kind, _or(settings, known.settings), place)
        self._check_public_url(known.kind, place)
        with self._database.unit(actor) as tx:
            row = self._opened(tx, RouterRow, name, revision)
            given = self._kept(tx, row.id, credential, credential_from)
            sealed = given or self._credential_after(row, checked, forget=forget_credential)
            moves.make(tx, row, moves.Wanted(checked, _or(public_url, row.public_url), sealed, renewed=bool(given)))
            return row

    def confirm_move(self, actor: Actor, name: str, *, revision: int) -> Server:
        """Applies a move that somebody else asked for, as it was entered. `revision` is the one that the caller saw.

        Refusal codes: not-allowed, own-request, nothing-to-confirm, stale-write, address-taken, path-reserved.
        """
        return self._settle_move(actor, Server, name, revision, self._confirm)

    def confirm_router_move(self, actor: Actor, name: str, *, revision: int) -> RouterRow:
        """The same for a router."""
        return self._settle_move(actor, RouterRow, name, revision, self._confirm)

    def drop_move(self, actor: Actor, name: str, *, revision: int) -> Server:
        """Gives up a move that waits; the server stays where it is."""
        return self._settle_move(actor, Server, name, revision, moves.drop)

    def drop_router_move(self, actor: Actor, name: str, *, revision: int) -> RouterRow:
        """The same for a router."""
        return self._settle_move(actor, RouterRow, name, revision, moves.drop)

    def remove(self, actor: Actor, name: str) -> None:
        """Forgets a server that no endpoint stands on. Nothing is called; what runs there goes on running."""
        self._remove(actor, Server, name)

    def remove_router(self, actor: Actor, name: str) -> None:
        """Forgets a router that no endpoint stands behind."""
        self._remove(actor, RouterRow, name)

    def test(self, actor: Actor, name: str) -> InspectedServer:
        """Asks the server what it is. Raises ExternalFailure when it cannot be reached."""
        row = self._known(actor, "server.test", Server, name)
        facts = self._connect.target(row).inspect()
        return InspectedServer(
            facts.product,
            facts.version,
            facts.live,
            facts.extensions,
            (*facts.warnings, *_open_credential(row)),
            abilities=target_type(row.kind).abilities,
            advisories=advisories.concerning(facts.product, facts.version),
        )

    def test_router(self, actor: Actor, name: str) -> InspectedRouter:
        """Asks the router what it is. Raises ExternalFailure when it cannot be reached."""
        row = self._known(actor, "server.test", RouterRow, name)
        facts = self._connect.router(row).inspect()
        return InspectedRouter(
            facts.product,
            facts.version,
            facts.live,
            (*facts.warnings, *_open_credential(row)),
            abilities=self._router_type(row.kind).abilities,
            advisories=advisories.concerning(facts.product, facts.version),
        )

    def check_address(self, actor: Actor, url: str) -> str:
        """The numeric address that would be called for a URL. Nothing is called. Refusal where that is not allowed."""
        self._demand(actor, "server.test")
        parsed = self._guard.check(url)
        return self._guard.address(host_of(parsed), parsed.port or (443 if parsed.scheme == "https" else 80))

    def unmanaged(self, actor: Actor, name: str) -> tuple[Unmanaged, ...]:
        """What runs on a server now under names of no endpoint, by asking the server. It is never touched."""
        row = self._known(actor, "server.test", Server, name)
        seen = self._connect.target(row).observe()
        with self._database.read() as session:
            ours = session.exec(select(Endpoint.served_name).where(Endpoint.server_id == row.id)).all()
        return unmanaged(seen, ours)

    def _refuse_memory(self, kind: str) -> None:
        if kind == "memory" and not self._in_memory:
            raise Refusal(
                "A server or router in memory serves nobody; it is for demos and tests.",
                "Add the one that really runs, or set COUNTERSIGN_DEMO_IDENTITIES=true on a machine of your own.",
                code="not-here",
            )

    def _demand(self, actor: Actor, action: str) -> None:
        """Asked before a name is resolved or anything is called for the actor, and again in the unit that writes."""
        with self._database.unit(actor) as tx:
            require(tx, actor, action)

    def _known(self, actor: Actor, action: str, table: type[R], name: str) -> R:
        self._demand(actor, action)
        with self._database.read() as session:
            return named(session, table, name)

    def _opened(self, tx: Unit, table: type[R], name: str, revision: int) -> R:
        require(tx, tx.actor, "server.edit")
        row = named(tx.session, table, name, lock=True)
        tx.expect(row, revision)
        return row

    def _settle_move(self, actor: Actor, table: type[R], name: str, revision: int, settle: Callable[[Unit, R], None]) -> R:
        with self._database.unit(actor) as tx:
            row = self._opened(tx, table, name, revision)
            settle(tx, row)
            return row

    def _confirm(self, tx: Unit, row: R) -> None:
        """What was free when it was asked for may be a link into what is reserved by now."""
        if row.move is not None:
            refuse_reserved(self._reserved, row.kind, row.move["settings"], row.move["place"])
        moves.confirm(tx, row)

    def _remove(self, actor: Actor, table: type[R], name: str) -> None:
        with self._database.unit(actor) as tx:
            require(tx, actor, "server.remove")
            row = named(tx.session, table, name, lock=True)
            column = col(Endpoint.server_id if table is Server else Endpoint.router_id)
            if (user := tx.session.exec(select(Endpoint.name).where(column == row.id)).first()) is not None:
                raise Refusal(
                    f"{user} stands on the {table.__subject__} {name}.",
                    "Remove its endpoints first; a managed endpoint cannot be removed.",
                    code="in-use",
                )
            tx.record(f"{table.__subject__}.remove", row, before=moves.told(row))
            tx.session.delete(row)

    def _checked(self, model: type[BaseModel], kind: str, settings: Mapping[str, Any], place: str) -> dict[str, Any]:
        """The settings as the adapter understands them, with every address and path in them checked."""
        typed = entered(model, kind, settings)
        if self._resolve:
            check_urls(self._guard, typed)
        refuse_reserved(self._reserved, kind, typed, place)
        return typed

    def _check_upstream(self, kind: str, upstream: str) -> None:
        if self._resolve and not is_in_memory(kind, upstream):
            check_upstream(self._guard, upstream)

    def _check_public_url(self, kind: str, url: str) -> None:
        if self._resolve and not is_in_memory(kind, url):
            check_url(self._guard, url, "the public URL")

    def _credential_after(self, row: R, settings: Mapping[str, Any], *, forget: bool) -> str | None:
        """A credential is never sent to an address that it was not entered for."""
        if forget or row.sealed_credential is None:
            return None
        if not set(origins(settings)) <= set(origins(row.settings)):
            raise Refusal(
                f"The credential of {row.name} was entered for another address.",
                "Enter it again, or choose to forget it.",
                code="credential-needed",
            )
        return row.sealed_credential

    def _kept(self, tx: Unit, row_id: str, credential: str | None, reference: str | None) -> str | None:
        """What the row keeps of a credential: the secret, sealed, or the reference to it; None where neither is given."""
        if credential and reference:
            raise Refusal("A credential is entered or referred to, not both.", "Give one of them.", code="bad-credential")
        if reference:
            return check_reference(reference)
        if not credential:
            return None
        if len(credential) > MAX_CREDENTIAL or not credential.isprintable():
            raise Refusal(
                "This credential is not one line of text of at most 16 KiB.", "Enter it again.", code="bad-credential"
            )
        if self._sealer is None:
            raise Refusal("There is no key to seal a credential with.", "Run `countersign migrate` first.", code="sealing-key")
        return sealing.seal(tx, self._sealer, row_id, credential)


def _or(given: T | None, known: T) -> T:
    return known if given is None else given


def _open_credential(row: Server | RouterRow) -> list[str]:
    """A warning where a credential would travel in the clear."""
    plain = [one for one in origins(row.settings) if one.startswith("http://") and not one.startswith(_LOOPBACK)]
    if row.sealed_credential is None or not plain:
        return []
    return [f"The credential travels unencrypted to {plain[0]}; put the server behind https where others share the network."]
