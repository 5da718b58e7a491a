"""Joiners by which changes ask for checks, and void them. The worker's `runner` runs what is queued here."""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import col, select

from backend.core import work
from backend.core.unit import Unit
from backend.delivery.plan import Plan
from backend.evidence import queries
from backend.evidence.gates.names import gate_type
from backend.evidence.rows import Evidence
from backend.evidence.rules import EVIDENCE

UNFINISHED = ("queued", "running")


def request(tx: Unit, change_id: str, plan: Plan, gates: Iterable[str]) -> tuple[Evidence, ...]:
    """Queues a fresh run of each gate on exactly this plan. A gate that is queued or running for it is not asked twice.

    Refusal `unknown-gate` for a name that no gate has.
    """
    newest, digest = queries.newest(tx.session, change_id), plan.digest()
    asked = []
    for gate in dict.fromkeys(gate_type(name).name for name in gates):
        last = newest.get(gate)
        if last is not None and last.verdict in UNFINISHED and last.plan_digest == digest:
            continue
        if last is not None and last.verdict in UNFINISHED:
            _void(tx, last, "The plan changed.")
        asked.append(_queue(tx, change_id, plan, digest, gate))
    work.wake_many(tx, "evidence", [row.id for row in asked])
    return tuple(asked)


def void(tx: Unit, change_id: str, why: str, *, unfinished_only: bool = False) -> None:
    """Makes a change's results worth nothing. A check that is running is ended by its runner.

    Args:
        unfinished_only: leaves finished results as they are, for a change that is over.
    """
    verdicts = UNFINISHED if unfinished_only else tuple(one for one in EVIDENCE.states if one != "void")
    query = select(Evidence).where(Evidence.change_id == change_id, col(Evidence.verdict).in_(verdicts))
    for row in tx.session.exec(query.order_by(Evidence.id).with_for_update().execution_options(populate_existing=True)):
        if row.verdict in verdicts:
            _void(tx, row, why)


def _queue(tx: Unit, change_id: str, plan: Plan, digest: str, gate: str) -> Evidence:
    row = tx.add(
        Evidence(
            id=tx.new_id("evi"), change_id=change_id, gate=gate, plan=plan.to_json(), plan_digest=digest, requested_at=tx.now
        )
    )
    tx.record("evidence.request", row, after=row.facts("change_id", "gate", "plan_digest"))
    return row


def _void(tx: Unit, row: Evidence, why: str) -> None:
    before, row.verdict = row.facts("verdict"), EVIDENCE.next(row.verdict, "void")
    tx.record("evidence.void", row, before=before, after={"verdict": row.verdict, "reason": why})
