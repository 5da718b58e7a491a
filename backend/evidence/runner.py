"""The worker's part of evidence: one queued check, in a process of its own, its result stored under the plan it was for."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.unit import Unit, assert_outside_unit
from backend.core.work import Claim
from backend.evidence import process
from backend.evidence.gates.names import GATES
from backend.evidence.process import Outcome, environment_of
from backend.evidence.rows import Evidence, EvidenceProgress
from backend.evidence.rules import EVIDENCE
from backend.evidence.service import UNFINISHED
from backend.evidence.wire import Doing, Order, Result
from backend.settings import Settings

FACTORY = "backend.bootstrap:gate_context"
"""Function from Settings to GateContext that the gate's process calls."""
MAX_BEGINS = 5
"""How often a check is begun before it counts as one that takes its worker down."""
REPORT_SECONDS = 1.0
"""How often progress is written, at most."""

log = structlog.get_logger()

_TROUBLES = {
    "too_long": "The check did not end within {seconds} s and was stopped. Check again; if it happens again, give it a smaller "
    "version or ask whoever runs the worker.",
    "too_much_cpu": "The check used more than {seconds} s of processor time and was stopped. Check again, or give it a smaller "
    "version.",
    "killed": "The check's process was killed, perhaps because memory ran out. Check again when the worker has more memory.",
    "crashed": "The check's process ended unexpectedly (status {status}). Check again; the worker's log has the details.",
    "unreadable": "The check answered what cannot be read. Check again; if it happens again, ask whoever runs the worker.",
}
_NEVER_ENDED = f"The check was begun {MAX_BEGINS} times and never came to an end. Look at the worker's log, then check again."


@dataclass(frozen=True)
class _Verdict:
    """What is stored of a run."""

    verdict: str
    summary: str
    findings: list[dict[str, Any]] = field(default_factory=list)


class EvidenceRunner:
    """Runs the checks that changes asked for.

    Args:
        settings: handed to the gate's process by its environment.
        factory: `module:function` that makes the gates' context from settings.
    """

    def __init__(self, database: Database, settings: Settings, *, factory: str = FACTORY) -> None:
        self._database = database
        self._settings = settings
        self._factory = factory

    def handle(self, claim: Claim) -> None:
        """Runs one check and stores its result. A worker that died over it leaves it to the next, who begins again.

        A check that was voided meanwhile is ended and stays void; a lost lease ends it and raises LeaseLost, with nothing
        written.
        """
        assert_outside_unit("running a check")
        row = self._begin(claim)
        if row is None:
            return
        verdict = self._run(claim, row)
        with self._database.unit(SYSTEM) as tx:
            if verdict is not None:
                _store(tx, row.id, verdict)
            work.finish(tx, claim, next_due=None)

    def _begin(self, claim: Claim) -> Evidence | None:
        """The check, now running; None when there is nothing to run, and then the claim is finished."""
        with self._database.unit(SYSTEM) as tx:
            row = _locked(tx, claim.key)
            if row is None or row.verdict not in UNFINISHED:
                work.finish(tx, claim, next_due=None)
                return None
            before = row.facts("verdict")
            row.verdict, row.started_at = EVIDENCE.next(row.verdict, "begin"), tx.now
            tx.record("evidence.begin", row, before=before, after={**row.facts("verdict", "gate"), "begun": claim.token})
            if claim.token > MAX_BEGINS:
                _store(tx, row.id, _Verdict("error", _NEVER_ENDED))
                work.finish(tx, claim, next_due=None)
                return None
            work.fence(tx, claim)
            return row

    def _run(self, claim: Claim, row: Evidence) -> _Verdict | None:
        """The verdict; None when the check was voided while it ran."""
        if row.gate not in GATES:
            return _Verdict("error", f"There is no check {row.gate} here any more. Take it out of the policy.")
        gate = GATES[row.gate]
        order = Order(
            gate=row.gate,
            plan=row.plan,
            factory=self._factory,
            cpu_seconds=gate.limit_seconds,
            address_space=gate.limit_bytes,
        )
        watch = _Watch(self._database, claim, row.id, self._settings.lease_seconds)
        environment = environment_of(self._settings, os.environ)
        outcome = process.run(order, environment, seconds=gate.limit_seconds, tick=watch.tick)
        if outcome.trouble == "stopped":
            return None
        if outcome.trouble:
            log.warning("evidence.trouble", evidence=row.id, gate=row.gate, trouble=outcome.trouble, stderr=outcome.tail)
        return _judge(outcome, row, gate.limit_seconds)


class _Watch:
    """Looks after the claim while the check runs: renews it, writes progress, and notices that the check was voided."""

    def __init__(self, database: Database, claim: Claim, evidence_id: str, lease_seconds: float) -> None:
        self._database = database
        self._claim = claim
        self._evidence_id = evidence_id
        self._lease_seconds = lease_seconds
        self._renewed = self._looked = time.monotonic()
        self._told: Doing | None = None

    def tick(self, doing: Doing | None) -> bool:
        """Whether to go on. Raises LeaseLost when another worker has the check now."""
        now = time.monotonic()
        if now - self._renewed >= self._lease_seconds / 3:
            work.renew(self._database, self._claim, seconds=self._lease_seconds)
            self._renewed = now
        if now - self._looked < REPORT_SECONDS:
            return True
        self._looked = now
        if doing is not None and doing != self._told:
            self._tell(doing)
        with self._database.read() as session:
            return session.get_one(Evidence, self._evidence_id).verdict == "running"

    def _tell(self, doing: Doing) -> None:
        with self._database.unit(SYSTEM) as tx:
            row = tx.session.get(EvidenceProgress, self._evidence_id)
            if row is None:
                row = tx.add(EvidenceProgress(evidence_id=self._evidence_id, at=tx.now))
            row.fraction, row.says, row.at = doing.fraction, doing.says, tx.now
            tx.session.flush()
            work.fence(tx, self._claim)
        self._told = doing


def _judge(outcome: Outcome, row: Evidence, seconds: int) -> _Verdict:
    result = outcome.result
    if result is None:
        return _Verdict("error", _TROUBLES[outcome.trouble].format(seconds=seconds, status=outcome.status))
    if result.plan_digest != row.plan_digest:
        return _Verdict("error", "The check answered for another plan than it was asked about. Check again.")
    return _Verdict(result.verdict, result.summary, _findings(result))


def _findings(result: Result) -> list[dict[str, Any]]:
    return [one.model_dump(mode="json") for one in result.findings]


def _store(tx: Unit, evidence_id: str, given: _Verdict) -> None:
    """The result of a check that is still running; one that was voided meanwhile stays void."""
    row = _locked(tx, evidence_id)
    if row is None or row.verdict != "running":
        return
    row.verdict = EVIDENCE.next(row.verdict, given.verdict)
    row.summary, row.findings, row.finished_at = given.summary, given.findings, tx.now
    if row.gate in GATES:
        row.valid_until = tx.now + timedelta(seconds=GATES[row.gate].valid_seconds)
    facts = row.facts("verdict", "summary", "gate", "change_id", "plan_digest", "valid_until")
    tx.record(f"evidence.{given.verdict}", row, before={"verdict": "running"}, after=facts)
    progress = tx.session.get(EvidenceProgress, evidence_id)
    if progress is not None:
        tx.session.delete(progress)
    tx.session.flush()
    work.wake(tx, "change", row.change_id)


def _locked(tx: Unit, evidence_id: str) -> Evidence | None:
    return tx.session.get(Evidence, evidence_id, with_for_update=True, populate_existing=True)
