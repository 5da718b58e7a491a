"""The headless demo: version 2 is proposed, approved by another person, pushed and proved under real traffic, and taken back.

Every figure of the report is measured: versions are what was proved and in force, requests are the replayer's own count, and
times are those of the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlmodel import col, select

from backend.changes.rows import Change
from backend.core.database import Database
from backend.core.errors import ExternalFailure
from backend.delivery.rows import Endpoint, Proof, PushRecord
from backend.demo.flights_setup import PRODUCTION, RUNTIME, FlightsSetup, Prepared
from backend.demo.logging_replay import LoggedReplay
from backend.demo.stack import Say, Stack
from backend.demo.traffic import Traffic
from backend.demo.waiting import wait_for

MIN_REQUESTS = 2_000
RATE = 150.0
BAKE_SECONDS = 600
LOADING = ("load", "ready")


@dataclass(frozen=True)
class ProofReport:
    """One kind of proof as it stood when the new version was proved."""

    ok: bool
    age_seconds: float


@dataclass(frozen=True)
class PromotionReport:
    """What the demo measured. `holds` is true only if all that it promises came true."""

    endpoint: str
    runtime: str
    before: int | None
    after: int | None
    rollback: int | None
    proofs: Mapping[str, ProofReport]
    approve_to_proved_seconds: float
    model_load_seconds: float
    requests: int
    failed_requests: int
    ledger_rows: int
    ledger_intact: bool

    @property
    def holds(self) -> bool:
        """Whether the version changed and came back, everything was proved, no request failed, and the ledger is intact."""
        moved = self.before is not None and self.after not in (None, self.before) and self.rollback == self.before
        proved = bool(self.proofs) and all(one.ok for one in self.proofs.values())
        served = self.requests >= MIN_REQUESTS and self.failed_requests == 0
        return moved and proved and served and self.ledger_intact

    def to_json(self) -> dict[str, Any]:
        """The line that `countersign demo --headless --json` prints."""
        return {
            "endpoint": self.endpoint,
            "runtime": self.runtime,
            "before": {"version": self.before},
            "after": {"version": self.after},
            "rollback": {"version": self.rollback},
            "proofs": {kind: asdict(one) for kind, one in self.proofs.items()},
            "approve_to_proved_seconds": round(self.approve_to_proved_seconds, 3),
            "model_load_seconds": round(self.model_load_seconds, 3),
            "requests": self.requests,
            "failed_requests": self.failed_requests,
            "ledger": {"rows": self.ledger_rows, "intact": self.ledger_intact},
        }


class Promotion:
    """One promotion to production and back on a stack that is set up."""

    def __init__(self, stack: Stack, setup: FlightsSetup, prepared: Prepared, say: Say) -> None:
        self.stack, self.setup, self.prepared, self.say = stack, setup, prepared, say
        self.backend, self.cast = stack.backend, setup.cast

    def run(self) -> PromotionReport:
        """Both switches under traffic."""
        before = self.setup.live_version(PRODUCTION)
        wanted = self.prepared.second if before != self.prepared.second else self.prepared.first
        recorder = LoggedReplay(self.backend.inference_log, PRODUCTION)
        self.say(f"Version {before} is live; flights of June and July flow at up to {RATE:.0f} a second.")
        with Traffic(self.stack.envoy.url, PRODUCTION, recorder, self.stack.folder / "cache", rate=RATE) as traffic:
            self._flowing(traffic, traffic.stats().requests + MIN_REQUESTS // 5)
            change = self._promote(wanted)
            after, proofs, load = (
                self.setup.live_version(PRODUCTION),
                self._proofs(),
                load_seconds(self.backend.database, PRODUCTION),
            )
            seconds = approve_to_proved(self.backend.database, PRODUCTION, change)
            self._flowing(traffic, traffic.stats().requests + MIN_REQUESTS // 5)
            self._roll_back(change)
            back = self.setup.live_version(PRODUCTION)
            self._flowing(traffic, max(MIN_REQUESTS, traffic.stats().requests + MIN_REQUESTS // 5))
        stats = traffic.stats()
        if stats.failed:
            self.say(f"Failed requests by kind: {dict(stats.failures)}.")
        verified = self.backend.audit.verify()
        return PromotionReport(
            endpoint=PRODUCTION,
            runtime=RUNTIME,
            before=before,
            after=after,
            rollback=back,
            proofs=proofs,
            approve_to_proved_seconds=seconds,
            model_load_seconds=load,
            requests=stats.requests,
            failed_requests=stats.failed,
            ledger_rows=verified.rows,
            ledger_intact=verified.intact,
        )

    def _promote(self, number: int) -> Change:
        self.say(f"Ana proposes version {number} for production; its checks run ...")
        change = self.backend.changes.propose(
            self.cast.ana,
            endpoint=PRODUCTION,
            version=number,
            title=f"Promote version {number}",
            reason="Better calibrated in summer",
            bake_seconds=BAKE_SECONDS,
        )
        ready = self.setup.wait_change(change.id, "review")
        self.say("Ben reads the evidence and approves ...")
        self.backend.changes.approve(
            self.cast.ben, change.id, plan_digest=ready.plan_digest, base_digest=ready.base_digest, comment="Evidence is sound"
        )
        done = self.setup.wait_change(change.id, "done")
        self.say(f"Version {number} is live and proved.")
        return done

    def _roll_back(self, change: Change) -> None:
        self.say("Olga takes it back ...")
        self.backend.changes.roll_back(self.cast.olga, change.id, reason="Shown in the demo")
        self.setup.wait_change(change.id, "rolled_back")
        wait_for(
            "the way back to be proved",
            lambda: self.setup.live_version(PRODUCTION),
            why_not=lambda: self.setup.reason(PRODUCTION),
        )
        self.say(f"Version {self.setup.live_version(PRODUCTION)} is live again and proved.")

    def _flowing(self, traffic: Traffic, requests: int) -> None:
        wait_for(
            f"{requests} requests",
            lambda: True if traffic.stats().requests >= requests else None,
            why_not=lambda: f"{traffic.stats().requests} were sent",
        )

    def _proofs(self) -> dict[str, ProofReport]:
        database = self.backend.database
        with database.read() as session:
            endpoint = session.exec(select(Endpoint).where(Endpoint.name == PRODUCTION)).one()
            now = database.now(session)
            rows = session.exec(select(Proof).where(Proof.endpoint_id == endpoint.id)).all()
        return {
            one.kind: ProofReport(one.verdict == "ok", round((now - one.checked_at).total_seconds(), 3))
            for one in rows
            if one.generation == endpoint.generation
        }


def approve_to_proved(database: Database, endpoint: str, change: Change) -> float:
    """Seconds from the vote that approved a change to the proof of what is live, by the database's clock."""
    with database.read() as session:
        row = session.exec(select(Endpoint).where(Endpoint.name == endpoint)).one()
    if row.proved_at is None or change.approved_at is None:
        raise ExternalFailure("The demo", "found no time of approval or of proof", retryable=False)
    return (row.proved_at - change.approved_at).total_seconds()


def load_seconds(database: Database, endpoint: str) -> float:
    """What the runtime itself took to load the generation that is live, from the push log."""
    with database.read() as session:
        row = session.exec(select(Endpoint).where(Endpoint.name == endpoint)).one()
        query = select(PushRecord).where(
            PushRecord.endpoint_id == row.id, PushRecord.generation == row.generation, PushRecord.outcome == "proved"
        )
        record = session.exec(query.order_by(col(PushRecord.started_at).desc())).first()
    steps = record.steps if record is not None else []
    return sum(float(one["seconds"]) for one in steps if one["step"] in LOADING)
