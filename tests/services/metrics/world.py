"""An endpoint with arms, a source of its own that tells a text, and a worker that reads it by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlmodel import Session

from backend.access.service import Identities
from backend.core import work
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.outbound import Guard
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.rows import Endpoint, Generation, RouterRow, Server
from backend.metrics.keeping import Keeping
from backend.metrics.scraping import KIND, Scraping
from backend.metrics.service import MetricSources, Retentions, Slos
from backend.policy.service import Policies
from backend.settings import Settings
from tests.databases import Clock
from tests.metrics_server import MetricsServer

INTERVAL = timedelta(seconds=30)
ENDPOINT = "flight-delay"
FIGURES: list[dict[str, Any]] = [
    {"metric": "requests", "name": "asked_total", "version_label": "version"},
    {"metric": "errors", "name": "asked_total", "where": {"code": "5*"}, "version_label": "version"},
    {"metric": "latency", "name": "took_seconds", "version_label": "version"},
    {"metric": "pending", "name": "waiting", "version_label": "version"},
]


@dataclass
class World:
    """`told` are the lines that the source tells."""

    database: Database
    clock: Clock
    server: MetricsServer
    told: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        identities = Identities(self.database, Settings(demo_identities=True))
        identities.seed_demo()
        Policies(self.database).seed()
        self.olga: Actor = identities.act_as("olga")
        self.otto: Actor = identities.act_as("otto")
        self.guard = Guard(["127.0.0.0/8"])
        self.slos, self.retentions = Slos(self.database), Retentions(self.database)
        self.sources = MetricSources(self.database, self.guard)
        self.scraping = Scraping(self.database, self.guard, interval=INTERVAL)
        self.keeping = Keeping(self.database)
        with self.database.unit(SYSTEM) as tx:
            base: dict[str, Any] = {"created_by": SYSTEM.id, "created_at": tx.now}
            server = Server(id="srv_1", name="srv", kind="memory", settings={}, upstream="memory:x", **base)
            tx.record("server.register", tx.add(server))
            router = RouterRow(id="rtr_1", name="rtr", kind="memory", settings={}, public_url="memory:x", **base)
            tx.record("router.register", tx.add(router))
            tx.session.flush()
        self.endpoint(ENDPOINT)

    def endpoint(self, name: str, *, arms: dict[str, int] | None = None) -> str:
        """One with these arms and versions; version v is served as v too."""
        with self.database.unit(SYSTEM) as tx:
            row = Endpoint(
                id=f"end_{name}", name=name, environment="production", model="flight-delay", server_id="srv_1",
                router_id="rtr_1", served_name=name, state_since=tx.now, created_by=SYSTEM.id, created_at=tx.now, generation=1,
            )  # fmt: skip
            tx.record("endpoint.create", tx.add(row))
            tx.session.flush()
            desired = DesiredEndpoint.model_validate(
                {
                    "step": 0,
                    "champion": None,
                    "arms": [_arm(name, arm, version) for arm, version in (arms or {"v1": 1, "v2": 2}).items()],
                }
            )
            made = Generation(
                id=f"{row.id}/1", endpoint_id=row.id, number=1, reason="baseline", step=0, desired=desired.to_json(),
                digest=desired.digest(), admitted_at=tx.now, admitted_by=SYSTEM.id,
            )  # fmt: skip
            tx.record("generation.admit", tx.add(made))
        return row.id

    def source(self, endpoint: str = ENDPOINT, name: str = "own", figures: list[dict[str, Any]] | None = None) -> str:
        """Names the source; its key."""
        settings = {"url": self.server.url, "figures": figures or FIGURES, "timeout_seconds": 2}
        return f"source:{self.sources.add(self.otto, endpoint, name=name, kind='text', settings=settings).id}"

    def count(self, version: int, *, ok: int = 0, failed: int = 0, quick: int = 0, slow: int = 0) -> None:
        """More requests of a version: quick ones take 0.05 s, slow ones 0.4 s, of buckets up to 0.1 and 0.5 s."""
        added = {
            f'asked_total{{version="{version}",code="200"}}': ok,
            f'asked_total{{version="{version}",code="503"}}': failed,
            f'took_seconds_bucket{{version="{version}",le="0.1"}}': quick,
            f'took_seconds_bucket{{version="{version}",le="0.5"}}': quick + slow,
            f'took_seconds_bucket{{version="{version}",le="+Inf"}}': quick + slow,
            f'took_seconds_sum{{version="{version}"}}': 0.05 * quick + 0.4 * slow,
        }
        for line, more in added.items():
            self.told[line] = self.told.get(line, 0.0) + more
        self.write()

    def write(self) -> None:
        """What the source tells from now on."""
        self.server.text = "".join(f"{line} {value}\n" for line, value in self.told.items())

    def look(self, key: str, *, after: float = 30) -> None:
        """Some seconds later a worker reads the source."""
        self.clock.tick(seconds=after)
        with self.database.unit(SYSTEM) as tx:
            work.wake(tx, KIND, key)
            (claim,) = work.claim_in(tx, KIND, holder="w", seconds=600, key=key)
        self.scraping.handle(claim)

    def item(self, session: Session, key: str) -> work.WorkItem | None:
        return session.get(work.WorkItem, (KIND, key))


def _arm(name: str, arm: str, version: int) -> dict[str, Any]:
    digest = "sha256:" + f"{version}" * 64
    served = {"model": name, "version": version}
    return {"name": arm, "version": version, "artifact_digest": digest, "package_digest": digest, "served_as": served}
