"""A world for gates: version 1 in production, version 2 in staging on a server in memory, real packages in a real store.

`context` is what a gate's process calls.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from backend.access.service import Identities
from backend.core import work
from backend.core.canonical import canonical, digest_tree, tree_files
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import NotFound
from backend.core.outbound import Guard
from backend.core.unit import Unit
from backend.delivery.desired import Packaged
from backend.delivery.packages import PROBES, Manifest
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.routers.port import RouterAbilities
from backend.delivery.rows import Endpoint, Package, RouterRow, Server
from backend.delivery.store import PackageStore
from backend.delivery.targets import names as targets
from backend.delivery.targets.memory_server import MemoryServer
from backend.evidence.port import GateContext
from backend.evidence.rows import Evidence
from backend.evidence.service import request
from backend.findings.service import Findings
from backend.policy.service import Policies
from backend.registry.rows import Model, Version
from backend.settings import Settings
from tests.models import add_model

HERE = "tests.services.evidence.world"
MODEL = "add"
EVERYTHING = RouterAbilities(split=True, mirror=True, sticky=True, fallback=True, read_back=True)


class Artifacts:
    """The registry's files: one folder a version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def digest_now(self, model: str, number: int) -> str:
        if not (self.folder / str(number)).is_dir():
            raise NotFound("version", f"{model} {number}")
        return digest_tree(tree_files(self.folder / str(number)))


def context(settings: Settings) -> GateContext:
    """What gates reach, from settings alone."""
    return GateContext(
        database=Database(settings.sqlalchemy_url),
        artifacts=Artifacts(settings.data_dir / "artifacts"),
        packages=PackageStore(settings.package_store, settings.data_dir / "cache"),
        target=lambda server: targets.build(server.kind, server.settings, None, Guard(), name=server.name),
        target_abilities=lambda kind: targets.target_type(kind).abilities,
        router_abilities=lambda _kind: EVERYTHING,
        alarm=Findings(Database(settings.sqlalchemy_url)).fire,
    )


def tells_how_it_was_started(settings: Settings) -> GateContext:
    (settings.data_dir / "cmdline").write_bytes(Path("/proc/self/cmdline").read_bytes())
    print("whatever a library prints")
    return context(settings)


def waits_for_a_sign(settings: Settings) -> GateContext:
    (settings.data_dir / "waiting").touch()
    while not (settings.data_dir / "sign").exists():
        time.sleep(0.05)
    return context(settings)


class World:
    """The rows and the files; `settings` lead a gate's process to them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        url = database.url.render_as_string(hide_password=False)
        self.settings = Settings(data_dir=folder, database_url=SecretStr(url), lease_seconds=60.0)
        self.store = PackageStore(self.settings.package_store, folder / "cache")
        Identities(database, Settings()).seed_demo()
        Policies(database).seed()
        self.registered: dict[int, str] = {}
        self.packages = {number: self._version(number) for number in (1, 2)}
        self.servers = {name: MemoryServer(path=str(folder / f"{name}.json")) for name in ("staging", "production")}
        with database.unit(SYSTEM) as tx:
            model = tx.add(Model(id="mod_1", name=MODEL, created_at=tx.now, updated_at=tx.now, mirrored_at=tx.now))
            tx.record("model.mirror", model)
            router = tx.add(RouterRow(id="rou_1", name="r", kind="memory", settings={}, public_url="", **_made(tx)))
            tx.record("router.register", router)
            tx.session.flush()
            for number, package in self.packages.items():
                self._rows(tx, number, package)
            for name, number in (("staging", 2), ("production", 1)):
                self._endpoint(tx, name, number)
        for name, number in (("staging", 2), ("production", 1)):
            self.servers[name].load(MODEL, {number: self.packages[number]}, None)

    def _version(self, number: int) -> Packaged:
        """An artifact, and its package with recorded answers: `y = x + number`."""
        content = add_model(float(number)).SerializeToString(deterministic=True)
        for place in (artifact := self.folder / "artifacts" / str(number), built := self.folder / "built" / str(number)):
            place.mkdir(parents=True)
            (place / "model.onnx").write_bytes(content)
        rows = [{"x": [0.0, float(one)]} for one in range(3)]
        answers = [{"y": [number, number + one]} for one in range(3)]
        (built / PROBES).write_bytes(canonical({"schema": 1, "inputs": rows, "outputs": answers, "tolerance": 1e-6}))
        digest = self.registered[number] = digest_tree(tree_files(artifact))
        interface = "sha256:" + "a" * 64
        Manifest(packager="tests@1", target="memory", artifact_digest=digest, interface_digest=interface).write(built)
        stored = self.store.put(built)
        return Packaged(stored, self.store.local(stored))

    def artifact(self, number: int) -> str:
        """The digest that was registered, whatever became of the files."""
        return self.registered[number]

    def _rows(self, tx: Unit, number: int, package: Packaged) -> None:
        row = Package(
            id=package.digest, packager="tests@1", target="memory", artifact_digest=self.artifact(number),
            interface_digest="sha256:" + "a" * 64, files=[], size=1, created_at=tx.now,
        )  # fmt: skip
        tx.record("package.keep", tx.add(row))
        version = Version(
            id=f"ver_{number}", model_id="mod_1", number=number, artifact_digest=self.artifact(number), registered_at=tx.now,
            created_at=tx.now, mirrored_at=tx.now,
        )  # fmt: skip
        tx.record("version.register", tx.add(version))

    def _endpoint(self, tx: Unit, environment: str, number: int) -> None:
        server = tx.add(
            Server(
                id=f"srv_{environment}", name=environment, kind="memory", upstream="",
                settings={"path": str(self.folder / f"{environment}.json")}, **_made(tx),
            )
        )  # fmt: skip
        tx.record("server.register", server)
        tx.session.flush()
        base = {"generation": 1, "champion": f"v{number}", "arms": [self.arm(number, 10_000)], "routed": True}
        endpoint = tx.add(
            Endpoint(
                id=f"end_{environment}", name=f"add-{environment}", environment=environment, model=MODEL, served_name=MODEL,
                server_id=server.id, router_id="rou_1", mode="managed", state="in_sync", state_since=tx.now,
                base=base, **_made(tx),
            )
        )  # fmt: skip
        tx.record("endpoint.create", endpoint)

    def arm(self, number: int, buckets: int, **changes: Any) -> dict[str, Any]:
        return {
            "name": f"v{number}", "version": number, "artifact_digest": self.artifact(number),
            "package_digest": self.packages[number].digest, "served_as": {"model": MODEL, "version": number},
            "buckets": buckets, **changes,
        }  # fmt: skip

    def plan(self, **changes: Any) -> Plan:
        """Version 2 into production."""
        return parse_plan(
            {
                "schema": 1, "endpoint": "add-production", "environment": "production", "model": MODEL,
                "arms": [self.arm(1, 0), self.arm(2, 10_000)], "champion": "v2", "salt": "s",
                "rollback": {"champion": "v1", "shares": {"v1": 10_000}}, "policy": "production@1", **changes,
            }
        )  # fmt: skip

    def request(self, gate: str = "artifact", plan: Plan | None = None) -> str:
        with self.database.unit(SYSTEM) as tx:
            (row,) = request(tx, "chg_1", plan or self.plan(), [gate])
            return row.id

    def claim(self, seconds: float = 60) -> work.Claim:
        (claim,) = work.claim(self.database, "evidence", holder="w1", seconds=seconds)
        return claim

    def evidence(self, identifier: str) -> Evidence:
        with self.database.read() as session:
            return session.get_one(Evidence, identifier)


def _made(tx: Unit) -> dict[str, Any]:
    return {"created_by": SYSTEM.id, "created_at": tx.now}
