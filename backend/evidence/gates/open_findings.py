"""Gate: nothing that was found at the endpoint, or of its model, is still open, and nobody waved anything through unseen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.rows import Identity
from backend.delivery.plan import Plan
from backend.delivery.rows import Endpoint
from backend.evidence.gates.live import endpoint_of
from backend.evidence.port import GateContext, GateResult, Point, Progress
from backend.findings import holds, rules
from backend.findings.rows import Finding
from backend.policy import service as policy
from backend.policy.rules import Severity

LEAST: Severity = "critical"
"""From which severity on a finding fails the gate where the policy does not say it (`findings.block_promotion_at`)."""
LOOKS_BACK = timedelta(days=2)
"""How long findings that a person ended are shown to the reviewers."""
MOST = 50


class OpenFindingsGate:
    """Findings that are not over, and those that a person ended lately, with the reason that was given."""

    name: ClassVar[str] = "open_findings"
    title: ClassVar[str] = "No open findings"
    hard: ClassVar[bool] = False
    valid_seconds: ClassVar[int] = 600
    limit_seconds: ClassVar[int] = 60
    limit_bytes: ClassVar[int] = 4 << 30

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def run(self, plan: Plan, progress: Progress) -> GateResult:
        """Reads rows only."""
        progress(0.1, "reading what was found there")
        with self._context.database.read() as session:
            endpoint = endpoint_of(session, plan)
            least = policy.in_force(session, endpoint.environment).policy.findings.block_promotion_at or LEAST
            points = tuple(_open(session, endpoint, least)) + tuple(self._ended(session, endpoint))
        bad = [one.says for one in points if not one.ok]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            return GateResult("failed", f"{bad[0]}{more}"[:1_000], points)
        return GateResult("passed", f"Nothing that is {least} or worse is open there.", points)

    def _ended(self, session: Session, endpoint: Endpoint) -> Sequence[Point]:
        query = select(Finding, Identity).join(Identity, col(Identity.id) == Finding.by_id)
        query = query.where(
            _there(endpoint),
            Finding.state == "resolved",
            col(Finding.resolved_at) >= self._context.database.now(session) - LOOKS_BACK,
            col(Finding.outcome).in_(rules.OUTCOMES),
        )
        rows = session.exec(query.order_by(col(Finding.resolved_at).desc()).limit(MOST))
        return [_by_hand(row, whom) for row, whom in rows]


def _open(session: Session, endpoint: Endpoint, least: Severity) -> Sequence[Point]:
    found = holds.at_least(session, endpoint, rules.SEVERITIES[0])[:MOST]
    return [
        Point(
            not rules.is_as_severe(one.severity, least),
            f"{str(one)[:1].upper()}{str(one)[1:]}",
            {"finding": one.number, "severity": one.severity},
        )
        for one in found
    ]


def _by_hand(row: Finding, whom: Identity) -> Point:
    outcome = str(row.outcome).replace("_", " ")
    says = f"Finding {row.number} ({row.severity}) was ended by {whom.display_name or whom.name} as {outcome}: {row.reason}"
    return Point(True, says, {"finding": row.number, "severity": row.severity})


def _there(endpoint: Endpoint) -> sa.ColumnElement[bool]:
    about_model = sa.and_(col(Finding.endpoint_id).is_(None), col(Finding.model) == endpoint.model)
    return sa.or_(col(Finding.endpoint_id) == endpoint.id, about_model)
