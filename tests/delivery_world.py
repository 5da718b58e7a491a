"""A small world of delivery: a package store, a server and a router in memory, and endpoints whose plans are approved.

Everything goes through the real admission and the real reconciler; only servers and routers are the in-memory ones. Their state
lies in files, so that several processes can share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from backend.access.service import Identities
from backend.core import work
from backend.core.canonical import canonical, digest_bytes
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.ledger import LedgerRow, first_break
from backend.core.outbound import Guard
from backend.delivery import admission, looking
from backend.delivery.admission import Checked
from backend.delivery.connections import Connections
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.packages import PROBES, read_manifest
from backend.delivery.plan import Plan
from backend.delivery.reconciler import Reconciler
from backend.delivery.routers.memory_world import MemoryRouterWorld
from backend.delivery.rows import (
    Authorization,
    Endpoint,
    Generation,
    Look,
    Observation,
    Package,
    Proof,
    PushRecord,
    RouterRow,
    Server,
)
from backend.delivery.store import PackageStore
from backend.delivery.targets.memory_server import MemoryServer
from backend.delivery.timing import Timing
from backend.policy.service import Policies
from backend.settings import Settings
from tests.models import write_package

QUICK = Timing(observe=timedelta(seconds=10), ready_seconds=2.0, in_force_seconds=2.0, poll_seconds=0.01)
HOLDER = "worker-test"


class World:
    """One database with its surroundings in `folder`. Endpoints are called by name; versions are small numbers."""

    def __init__(self, database: Database, folder: Path, *, timing: Timing = QUICK, with_router: bool = True) -> None:
        self.database, self.folder, self.timing = database, folder, timing
        self.store = PackageStore((folder / "packages").as_uri(), folder / "package-cache")
        self.server = MemoryServer(path=str(folder / "server.json"))
        self.identities = Identities(database, Settings(demo_identities=True))
        self.settled: list[str] = []
        self.reconciler = self.new_reconciler()
        self.packages: dict[int, str] = {}
        self._seed(with_router)

    def new_reconciler(self) -> Reconciler:
        """As another worker's process would have it."""
        return Reconciler(
            self.database,
            self.store,
            Connections(Guard(), None),
            timing=self.timing,
            settled=lambda tx, endpoint_id: self.settled.append(endpoint_id),
            chance=lambda: 0.0,
        )

    def _seed(self, with_router: bool) -> None:
        self.identities.seed_demo()
        Policies(self.database).seed()
        path = {"path": str(self.folder / "server.json")}
        with self.database.unit(SYSTEM) as tx:
            base = {"created_by": SYSTEM.id, "created_at": tx.now}
            upstream = f"memory:{self.folder / 'server.json'}"
            server = Server(id="srv_1", name="srv", kind="memory", settings=path, upstream=upstream, **base)
            tx.record("server.register", tx.add(server))
            if with_router:
                settings = {"path": str(self.folder / "router.json")}
                router = RouterRow(id="rtr_1", name="rtr", kind="memory", settings=settings, public_url="memory://rtr", **base)
                tx.record("router.register", tx.add(router))
        self.with_router = with_router

    @property
    def router(self) -> MemoryRouterWorld:
        """The world behind the router, to script it and change it by hand."""
        return MemoryRouterWorld(path=str(self.folder / "router.json"))

    def endpoint(self, name: str = "flight-delay", environment: str = "production", repair: str = "repair") -> str:
        """A managed endpoint with an empty baseline, not yet looked at. Returns its id."""
        with self.database.unit(SYSTEM) as tx:
            row = tx.add(
                Endpoint(
                    id=f"end_{name}", name=name, environment=environment, model="flight-delay", server_id="srv_1",
                    router_id="rtr_1" if self.with_router else None, served_name=name, repair=repair, state_since=tx.now,
                    created_by=SYSTEM.id, created_at=tx.now,
                )
            )  # fmt: skip
            tx.session.flush()
            row.mode = "managed"
            tx.record("endpoint.create", row)
            admission.admit_baseline(tx, row, DesiredEndpoint(step=0, champion=None, salt=name))
        return f"end_{name}"

    def package(self, version: int, *, broken: bool = False) -> str:
        """A stored package whose model answers x + version. Returns its digest."""
        if version not in self.packages:
            folder = self.folder / "built" / f"v{version}"
            made = write_package(folder, float(version), broken=broken)
            probes = {
                "schema": 1,
                "inputs": [{"x": [1.0, 2.0]}],
                "outputs": [{"y": [1.0 + version, 2.0 + version]}],
                "tolerance": 1e-6,
            }
            (folder / PROBES).write_bytes(canonical(probes))
            digest = self.store.put(folder)
            manifest = read_manifest(folder)
            with self.database.unit(SYSTEM) as tx:
                row = tx.add(
                    Package(
                        id=digest, packager=manifest.packager, target="memory", artifact_digest=manifest.artifact_digest,
                        interface_digest=manifest.interface_digest, files=[], size=made.path.stat().st_size, created_at=tx.now,
                    )
                )  # fmt: skip
                tx.record("package.store", row)
            self.packages[version] = digest
        return self.packages[version]

    def plan(
        self, name: str, shares: Mapping[int, int], *, ramp: Sequence[Mapping[int, int]] = (), back_to: int | None = None,
        bake: int = 0, served: Mapping[int, int] | None = None,
    ) -> Plan:  # fmt: skip
        """Final shares by version, in buckets; the version with the largest share is the champion."""
        versions = sorted({*shares, *(one for step in ramp for one in step), *([back_to] if back_to else [])})
        champion = max(shares, key=lambda one: shares[one])
        return Plan.model_validate(
            {
                "schema": 1,
                "endpoint": name,
                "environment": "production",
                "model": "flight-delay",
                "arms": [self._arm(name, one, shares.get(one, 0)) for one in versions],
                "champion": f"v{champion}",
                "salt": name,
                "ramp": [{"shares": {f"v{one}": part for one, part in step.items()}} for step in ramp],
                "bake_seconds": bake,
                "rollback": {"champion": f"v{back_to}", "shares": {f"v{back_to}": 10_000}} if back_to else None,
                "policy": "production@1",
            }
        )

    def _arm(self, name: str, version: int, buckets: int) -> dict[str, Any]:
        return {
            "name": f"v{version}",
            "version": version,
            "artifact_digest": digest_bytes(str(version).encode()),
            "package_digest": self.package(version),
            "served_as": {"model": name, "version": version},
            "buckets": buckets,
        }

    def approve(self, plan: Plan, change: str) -> str:
        """An authorization for a plan on what is live now, with the vote of another person. Returns its id."""
        ben = self.identities.act_as("ben").id
        with self.database.unit(SYSTEM) as tx:
            endpoint = tx.session.exec(select(Endpoint).where(Endpoint.name == plan.endpoint)).one()
            base = str(endpoint.base_digest)
            vote = {"identity_id": ben, "verdict": "approve", "plan_digest": plan.digest(), "base_digest": base, "at": ""}
            row = admission.authorize(
                tx, endpoint_id=endpoint.id, change_id=change, plan=plan, base_digest=base, votes=[vote],
                start_by=tx.now + timedelta(days=1),
            )  # fmt: skip
            return row.id

    def admit(self, authorization_id: str, step: int = 0) -> int:
        """One step of an approved plan as the newest generation. Returns its number."""
        with self.database.unit(SYSTEM) as tx:
            plan = Plan.model_validate(tx.get(Authorization, authorization_id).plan)
            checked = Checked(
                {arm.version: arm.artifact_digest for arm in plan.arms},
                frozenset(arm.package_digest for arm in plan.arms),
                tx.now,
            )
            return admission.admit(tx, authorization_id, step=step, reason="ramp" if step else "start", checked=checked).number

    def start(self, name: str, version: int, *, back_to: int | None = None, change: str = "", **options: Any) -> str:
        """Approves and starts a plan that gives one version all the traffic. Returns the authorization's id."""
        plan = self.plan(name, {version: 10_000}, back_to=back_to, **options)
        authorization = self.approve(plan, change or f"chg_{name}_{version}")
        self.admit(authorization)
        return authorization

    def one_pass(self, reconciler: Reconciler | None = None) -> None:
        """One pass over the server, due or not."""
        with self.database.unit(SYSTEM) as tx:
            work.wake(tx, "server", "srv_1")
            (claim,) = work.claim_in(tx, "server", holder=HOLDER, seconds=60, key="srv_1")
        (reconciler or self.reconciler).handle(claim)

    def live(self, name: str = "flight-delay", version: int = 1) -> str:
        """A managed endpoint on which a version is live and proved. Returns its id."""
        endpoint_id = self.endpoint(name)
        self.one_pass()
        self.start(name, version)
        self.one_pass()
        assert self.state(name) == "in_sync", self.row(name)
        return endpoint_id

    # -- what became of it

    def row(self, name: str = "flight-delay") -> Endpoint:
        """The endpoint's row as it is now."""
        with self.database.read() as session:
            return session.exec(select(Endpoint).where(Endpoint.name == name)).one()

    def state(self, name: str = "flight-delay") -> str:
        """Its state."""
        return self.row(name).state

    def proofs(self, name: str = "flight-delay") -> dict[str, str]:
        """Kind -> verdict."""
        with self.database.read() as session:
            return {one.kind: one.verdict for one in session.exec(select(Proof).where(Proof.endpoint_id == f"end_{name}"))}

    def pushes(self, name: str = "flight-delay") -> list[PushRecord]:
        """The push log, oldest first."""
        with self.database.read() as session:
            query = select(PushRecord).where(PushRecord.endpoint_id == f"end_{name}").order_by(col(PushRecord.started_at))
            return list(session.exec(query))

    def observations(self, name: str = "flight-delay") -> list[Observation]:
        """Transitions that were seen, oldest first."""
        with self.database.read() as session:
            query = select(Observation).where(Observation.endpoint_id == f"end_{name}").order_by(col(Observation.id))
            return list(session.exec(query))

    def ledger(self) -> list[LedgerRow]:
        """Every row, in order."""
        with self.database.read() as session:
            return list(session.exec(select(LedgerRow).order_by(col(LedgerRow.seq))))

    def actions(self, subject: str) -> list[str]:
        """Actions about one endpoint, in order."""
        return [row.action for row in self.ledger() if row.subject_id == subject]

    def loaded(self, name: str = "flight-delay") -> set[int]:
        """Versions that the server has."""
        with self.server.state() as state:
            return {int(one) for one in state["models"].get(name, {"versions": {}})["versions"]}

    def pushed_digests(self) -> set[str]:
        """Every package that Countersign ever had the server load: its own journal is the witness."""
        return {one for entry in self.server.journal if entry["by"] == "countersign" for one in entry["versions"].values()}

    def check_invariants(self) -> None:
        """I1 to I6 as product.md has them, for everything in this world once it has come to rest."""
        self._check_nothing_passes_unseen()
        with self.database.read() as session:
            for endpoint in session.exec(select(Endpoint).where(Endpoint.mode == "managed")):
                assert endpoint.proved_generation == endpoint.generation, f"I1: {endpoint.name} {endpoint.state}"
                self._check_weights(session, endpoint)
            admitted = _admitted_packages(session)
            generations = list(session.exec(select(Generation)))
        assert self.pushed_digests() <= admitted, "I2: something was pushed that nobody admitted"
        self._check_found_before_repaired()
        starts = [(one.authorization_id, one.step) for one in generations if one.reason in ("start", "ramp")]
        assert len(starts) == len(set(starts)), "I3: one approval took effect twice"
        assert first_break(self.ledger())[0] is None, "I5: the ledger does not hold"

    def _check_nothing_passes_unseen(self) -> None:
        """Once the leader's sweep has run, nothing counts as healthy that nobody saw within its deadline."""
        looking.mark_stale(self.database, self.timing)
        with self.database.read() as session:
            late = self.database.now(session) - self.timing.stale_after - timedelta(seconds=1)
            query = select(Endpoint, Look).outerjoin(Look, col(Look.endpoint_id) == Endpoint.id)
            for endpoint, look in session.exec(query.where(Endpoint.state == "in_sync")):
                seen_at = look.seen_at if look is not None else None
                assert max(seen_at or late, endpoint.state_since) >= late, f"I6: {endpoint.name} passes and nobody sees it"

    def _check_bytes(self, desired: DesiredEndpoint) -> None:
        with self.server.state() as state:
            for arm in desired.arms:
                loaded = state["models"][arm.place[0]]["versions"][str(arm.place[1])]
                assert loaded["digest"] == arm.package_digest, f"I1: {arm.name} loads another package than was admitted"

    def _check_found_before_repaired(self) -> None:
        """Each repair has an observation of the same endpoint before it, later than the proof that it repairs."""
        seen: dict[str, str] = {}
        for row in self.ledger():
            if row.action == "endpoint.repair":
                assert seen.get(row.subject_id) == "endpoint.observe", f"I2: row {row.seq} repairs what nobody recorded"
            if row.action in ("endpoint.observe", "endpoint.prove", "endpoint.admit"):
                seen[row.subject_id] = row.action

    def _check_weights(self, session: Session, endpoint: Endpoint) -> None:
        if endpoint.router_id is None:
            return
        route = self.router.routes.get(endpoint.name)
        desired = DesiredEndpoint.model_validate(session.get_one(Generation, f"{endpoint.id}/{endpoint.generation}").desired)
        upstream = session.get_one(Server, endpoint.server_id).upstream
        admitted = desired.route(
            endpoint=endpoint.name, model=endpoint.model, upstream=upstream, generation=endpoint.generation
        )
        assert route == admitted, f"I1: {endpoint.name} is routed otherwise than was admitted"
        self._check_bytes(desired)
        for arm in route.arms if route is not None else ():
            assert arm.served_version in self.loaded(arm.served_model), f"I4: {arm.arm} of {endpoint.name} is not loaded"
        if route is not None:
            assert sum(end - start for arm in route.arms for start, end in arm.ranges) == 10_000, "I4: shares"


def _admitted_packages(session: Session) -> set[str]:
    found = set()
    for one in session.exec(select(Generation)):
        desired = DesiredEndpoint.model_validate(one.desired)
        found |= {arm.package_digest for arm in (*desired.arms, *desired.warm, *desired.leaving)}
    return found
