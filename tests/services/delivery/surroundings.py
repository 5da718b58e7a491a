"""What the tests of servers, adoption, controls and queries stand on: a server and a router in memory, a store, identities."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.access.service import Identities
from backend.audit.queries import Event, events
from backend.core import work
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow, first_break
from backend.core.outbound import Guard
from backend.core.sealed import Opener, Sealer, create_keys
from backend.core.work import WorkItem
from backend.delivery.connections import Connections
from backend.delivery.desired import Packaged
from backend.delivery.door import Door
from backend.delivery.endpoints import Endpoints
from backend.delivery.packages import read_manifest
from backend.delivery.packaging import Packaging
from backend.delivery.reconciler import Reconciler
from backend.delivery.routers.memory import MemoryRouter
from backend.delivery.routers.memory_door import MemoryDoor
from backend.delivery.routers.memory_world import MemoryRouterWorld
from backend.delivery.routers.names import router_type
from backend.delivery.routers.port import Router
from backend.delivery.rows import Endpoint, RouterRow, Server
from backend.delivery.servers import Servers
from backend.delivery.store import PackageStore
from backend.delivery.targets.memory_server import MemoryServer
from backend.delivery.targets.port import Target
from backend.policy.service import Policies
from backend.settings import Settings
from tests.delivery_world import QUICK
from tests.models import write_package

ADMIN = "http://127.0.0.1:9901"


class Interrupted(Connections):
    """The real connections; what a test wants to happen between two looks happens when an adapter is asked for.

    Whatever the kind of a router, the one in memory answers for it, so that one with an address can be tested.
    """

    def __init__(self, guard: Guard, opener: Opener, world: MemoryRouterWorld) -> None:
        super().__init__(guard, opener)
        self.world = world
        self.before_target: list[Callable[[], object]] = []
        self.before_router: list[Callable[[], object]] = []

    def target(self, server: Server) -> Target:
        if self.before_target:
            self.before_target.pop(0)()
        return super().target(server)

    def router(self, router: RouterRow) -> Router:
        if self.before_router:
            self.before_router.pop(0)()
        return MemoryRouter(self.world)

    def door(self, router: RouterRow) -> Door:
        return MemoryDoor(self.world, router.name)


class Surroundings:
    """Everything that stands around one server in memory, `srv`, behind which nothing is registered yet."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.identities = Identities(database, Settings(demo_identities=True))
        self.identities.seed_demo()
        self.policies = Policies(database)
        self.policies.seed()
        self.guard = Guard(["127.0.0.0/8"])
        create_keys(folder / "keys")
        self.opener = Opener.from_folder(folder / "keys")
        self.memory_name = f"server-{uuid.uuid4().hex}"
        self.memory = MemoryServer(self.memory_name)
        self.router = MemoryRouterWorld(f"router-{uuid.uuid4().hex}")
        self.store = PackageStore((folder / "packages").as_uri(), folder / "cache")
        self.registered: dict[int, str] = {}
        self.connections = Interrupted(self.guard, self.opener, self.router)
        self.servers = Servers(database, self.guard, Sealer.from_folder(folder / "keys"), self.connections, router_type)
        packaging = Packaging(database, self.store)
        self.endpoints = Endpoints(
            database, self.connections, packaging, lambda _actor, _model, number, _kind: self.registered.get(number)
        )

    def as_(self, name: str) -> Actor:
        """A demo identity."""
        return self.identities.act_as(name)

    def package(self, offset: float = 1.0, **more: Any) -> Packaged:
        """A package whose model answers x + offset."""
        return write_package(self.folder / uuid.uuid4().hex, offset, **more)

    def load(self, model: str, *, by: str = "another team", **versions: Packaged) -> None:
        """Somebody loads exactly these versions (`v3=package`) on the server by hand."""
        numbered = {int(name[1:]): package for name, package in versions.items()}
        interface = {read_manifest(package.path).interface_digest for package in numbered.values()}
        self.memory.load(model, numbered, next(iter(interface), None), by=by)

    def server(self, name: str = "srv", **more: Any) -> Server:
        """Registers the server in memory; under another name than `srv` another one, which nobody looks into."""
        inner = self.memory_name if name == "srv" else f"{self.memory_name}-{name}"
        wanted = {"kind": "memory", "settings": {"name": inner}, "upstream": f"memory:{inner}"}
        return self.servers.register(self.as_("olga"), name=name, **{**wanted, **more})

    def behind_router(self, name: str = "edge", *, admin_url: str = ADMIN, **more: Any) -> RouterRow:
        """Registers a router with an address; the one in memory answers for it."""
        files = {"routes_file": f"/srv/{name}/routes.json", "clusters_file": f"/srv/{name}/clusters.json"}
        wanted = {"kind": "envoy", "settings": {**files, "admin_url": admin_url}, "public_url": "http://127.0.0.1:10000"}
        return self.servers.register_router(self.as_("olga"), name=name, **{**wanted, **more})

    def one_pass(self) -> None:
        """One pass of the real reconciler over the server."""
        (claim,) = work.claim(self.database, "server", holder="w1", seconds=60)
        Reconciler(self.database, self.store, self.connections, timing=QUICK, chance=lambda: 0.0).handle(claim)

    def endpoint(self, name: str = "delay", **changes: Any) -> Endpoint:
        """Adopts an endpoint in production on the server, by olga."""
        wanted = {"environment": "production", "model": "flight-delay", "server": "srv", "served_name": "delay"}
        return self.endpoints.create(self.as_("olga"), name=name, **{**wanted, **changes})

    def change(self, name: str, **values: Any) -> None:
        """What the reconciler writes, set by hand."""
        with self.database.unit(SYSTEM) as tx:
            row = tx.session.exec(select(Endpoint).where(Endpoint.name == name)).one()
            for column, value in values.items():
                setattr(row, column, value)
            tx.record("endpoint.test", row)

    def row(self, name: str = "delay") -> Endpoint:
        """An endpoint as it stands."""
        with self.database.read() as session:
            found = session.exec(select(Endpoint).where(Endpoint.name == name)).one_or_none()
        if found is None:
            raise NotFound("endpoint", name)
        return found

    def wakes(self, server_id: str) -> int:
        """How often a server's work was made due."""
        with self.database.read() as session:
            item = session.get(WorkItem, ("server", server_id))
            return item.woken + 1 if item is not None else 0

    def events(self, action: str = "") -> list[Event]:
        """The ledger, newest first; of one action."""
        with self.database.read() as session:
            return [one for one in events(session, limit=1000) if one.action.startswith(action)]

    def check_ledger(self) -> None:
        """The chain holds, and no row of it holds a secret."""
        with self.database.read() as session:
            rows = list(session.exec(select(LedgerRow).order_by(LedgerRow.seq)))
        assert first_break(rows)[0] is None
        assert not any(SECRET in row.before_json + row.after_json for row in rows)


BY_GROUP = {"approvals_needed": 0, "groups": [{"name": "risk", "needed": 1, "roles": ["reviewer"]}]}
"""A policy whose changes need an approval by a group alone."""

SECRET = "s3cret-t0ken"


def refused(code: str, call: Any, *args: Any, **options: Any) -> Refusal:
    """The Refusal of that code, with a remedy, that a call must end in."""
    with pytest.raises(Refusal) as caught:
        call(*args, **options)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy
    return caught.value
