"""Reads of evidence: the newest result of each gate, what it is worth now, and what a page shows of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.evidence.gates.names import GATES, HARD
from backend.evidence.rows import Evidence, EvidenceProgress
from backend.evidence.rules import Outlook, Standing, outlook, standing, strictest_ages
from backend.policy.rules import GateRule


@dataclass(frozen=True)
class EvidenceView:
    """One gate of a change: what its newest result is worth now, how old it is, and how far a run has come.

    `verdict` is what that result was when it was found, whatever it is worth now.
    """

    id: str
    gate: str
    title: str
    weight: str
    standing: Standing
    verdict: str
    summary: str
    findings: Sequence[Mapping[str, Any]]
    age_seconds: float | None
    valid_until: datetime | None
    fraction: float
    doing: str

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        until = self.valid_until.isoformat() if self.valid_until else None
        return {**vars(self), "valid_until": until, "findings": [dict(one) for one in self.findings]}


def newest(session: Session, change_id: str) -> dict[str, Evidence]:
    """The newest run of each gate, by gate."""
    query = select(Evidence).where(Evidence.change_id == change_id)
    return {row.gate: row for row in session.exec(query.order_by(col(Evidence.requested_at), col(Evidence.id)))}


def runs(session: Session, change_id: str, *, limit: int = 200) -> Sequence[Evidence]:
    """Every run for a change, newest first, the void ones included."""
    query = select(Evidence).where(Evidence.change_id == change_id)
    return session.exec(query.order_by(col(Evidence.requested_at).desc(), col(Evidence.id).desc()).limit(limit)).all()


def outlook_of(found: Mapping[str, Evidence], asked: Iterable[GateRule], *, plan_digest: str, now: datetime) -> Outlook:
    """What the gates that a policy asks for say together of a plan."""
    rules = tuple(asked)
    ages = strictest_ages(rules)
    return outlook(rules, {gate: standing(found.get(gate), plan_digest, now, age) for gate, age in ages.items()}, HARD)


def views(
    session: Session, change_id: str, asked: Iterable[GateRule], *, plan_digest: str, now: datetime
) -> tuple[EvidenceView, ...]:
    """One line a gate that the policy asks for, in the policy's order."""
    found, rules = newest(session, change_id), tuple(asked)
    ages = strictest_ages(rules)
    return tuple(
        _view(session, found.get(one.gate), one, standing(found.get(one.gate), plan_digest, now, ages[one.gate]), now)
        for one in rules
    )


def _view(session: Session, row: Evidence | None, rule: GateRule, stands: Standing, now: datetime) -> EvidenceView:
    progress = session.get(EvidenceProgress, row.id, populate_existing=True) if row is not None else None
    known = GATES.get(rule.gate)
    return EvidenceView(
        id=row.id if row is not None else "",
        gate=rule.gate,
        title=known.title if known is not None else rule.gate,
        weight="must_pass" if rule.gate in HARD else rule.weight,
        standing=stands,
        verdict=row.verdict if row is not None else "missing",
        summary=row.summary if row is not None and stands != "missing" else "",
        findings=row.findings if row is not None and stands != "missing" else (),
        age_seconds=(now - row.finished_at).total_seconds() if row is not None and row.finished_at else None,
        valid_until=row.valid_until if row is not None else None,
        fraction=progress.fraction if progress is not None and stands == "running" else 0.0,
        doing=progress.says if progress is not None and stands == "running" else "",
    )
