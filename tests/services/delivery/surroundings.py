"""What the tests of servers, adoption, controls and queries stand on: a server in memory, a store, identities, policies."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlmodel import select

from backend.access.service import Identities
from backend.audit.queries import Event, events
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow, first_break
from backend.core.outbound import Guard
from backend.core.sealed import Opener, Sealer, create_keys
from backend.core.work import WorkItem
from backend.delivery.desired import DesiredRouter, EndpointRoute, Packaged
from backend.delivery.endpoints import Endpoints
from backend.delivery.packages import read_manifest
from backend.delivery.routers.port import ArmTraffic, Router, RouterAbilities, RouterFacts, SeenRouter
from backend.delivery.rows import Endpoint, Package, RouterRow, Server
from backend.delivery.servers import Servers
from backend.delivery.store import PackageStore
from backend.delivery.targets.memory import MemoryTarget
from backend.delivery.targets.memory_server import MemoryServer
from backend.delivery.targets.names import build
from backend.delivery.targets.port import Target
from backend.policy.service import Policies
from backend.settings import Settings
from tests.models import write_package


class FixedSettings(BaseModel):
    """A router's settings with an address in them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    admin_url: str = "http://127.0.0.1:9901"


class FixedRouter:
    """A router that has in force what the test put there. It is only ever read: nothing here may push."""

    kind: ClassVar[str] = "fixed"
    Settings: ClassVar[type[BaseModel]] = FixedSettings
    abilities: ClassVar[RouterAbilities] = RouterAbilities(True, True, True, True, True)

    def __init__(self) -> None:
        self.routes: dict[str, EndpointRoute] = {}

    def inspect(self) -> RouterFacts:
        return RouterFacts("fixed", "1", live=True, warnings=("it is only for tests",))

    def push(self, desired: DesiredRouter) -> None:
        raise AssertionError("a router was written to")

    def observe(self) -> SeenRouter:
        return SeenRouter(dict(self.routes), foreign=("theirs",))

    def traffic(self) -> tuple[ArmTraffic, ...]:
        return ()


def router_type(kind: str) -> type[Router]:
    """The one kind of router that these tests know."""
    if kind != FixedRouter.kind:
        raise Refusal(f"{kind!r} is not a kind of router.", "Choose fixed.", code="unknown-router")
    return FixedRouter


class StoreKeeper:
    """Puts a package folder into a real store and records it."""

    def __init__(self, database: Database, store: PackageStore) -> None:
        self.database, self.store = database, store

    def keep(self, actor: Actor, package_folder: Path) -> Package:
        key, manifest = self.store.put(package_folder), read_manifest(package_folder)
        files = [list(file) for file in self.store.files(key)]
        row = Package(
            id=key, packager=manifest.packager, target=manifest.target, artifact_digest=manifest.artifact_digest,
            interface_digest=manifest.interface_digest, files=files, size=sum(file[1] for file in files),
            created_at=self.database.now(),
        )  # fmt: skip
        try:
            with self.database.unit(actor) as tx:
                if (known := tx.session.get(Package, key)) is not None:
                    return known
                tx.record("package.keep", tx.add(row))
        except sa.exc.IntegrityError:  # somebody kept it at the same time
            return self.keep(actor, package_folder)
        return row


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
        self.fixed = FixedRouter()
        self.store = PackageStore((folder / "packages").as_uri(), folder / "cache")
        self.registered: dict[int, str] = {}
        self.meanwhile: list[Callable[[], object]] = []
        self.servers = Servers(database, self.guard, Sealer.from_folder(folder / "keys"), self, router_type)
        keeper = StoreKeeper(database, self.store)
        self.endpoints = Endpoints(database, self, keeper, lambda model, number: self.registered.get(number))

    def target(self, server: Server) -> Target:
        """As `Connections` does; what the test wants to happen between two looks happens when the adapter is asked for."""
        if self.meanwhile:
            self.meanwhile.pop(0)()
        sealed = server.sealed_credential
        credential = self.opener.open(server.id, sealed) if sealed is not None else None
        return build(server.kind, server.settings, credential, self.guard, name=server.name)

    def router(self, router: RouterRow) -> Router:
        """The one router."""
        return self.fixed

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
        """Registers the server in memory."""
        settings = {"name": self.memory_name}
        return self.servers.register(
            self.as_("olga"), name=name, kind=MemoryTarget.kind, settings=settings, upstream="127.0.0.1:8000", **more
        )

    def behind_router(self, name: str = "edge") -> RouterRow:
        """Registers the router."""
        return self.servers.register_router(
            self.as_("olga"), name=name, kind="fixed", settings={}, public_url="http://127.0.0.1:10000"
        )

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


SECRET = "s3cret-t0ken"


def refused(code: str, call: Any, *args: Any, **options: Any) -> Refusal:
    """The Refusal of that code, with a remedy, that a call must end in."""
    with pytest.raises(Refusal) as caught:
        call(*args, **options)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy
    return caught.value
