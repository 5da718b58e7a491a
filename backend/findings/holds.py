"""What waits for findings: starts and rollouts at an endpoint, as its environment's policy asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.delivery.rows import Endpoint
from backend.findings import rules
from backend.findings.rows import Finding
from backend.policy import service as policy
from backend.policy.rules import FindingRule


@dataclass(frozen=True)
class Holding:
    """A finding that something waits for."""

    number: int
    severity: str
    says: str

    def __str__(self) -> str:
        return f"finding {self.number} ({self.severity}): {self.says}"


def at_least(session: Session, endpoint: Endpoint, least: str | None) -> tuple[Holding, ...]:
    """Findings at an endpoint, or about its model, that are not over and as severe as this, the worst first."""
    if least is None:
        return ()
    about_model = sa.and_(col(Finding.endpoint_id).is_(None), col(Finding.model) == endpoint.model)
    severe = [one for one in rules.SEVERITIES if rules.is_as_severe(one, least)]
    query = select(Finding.number, Finding.severity, Finding.says).where(
        sa.or_(col(Finding.endpoint_id) == endpoint.id, about_model),
        col(Finding.state).in_(rules.LIVE),
        col(Finding.severity).in_(severe),
    )
    return tuple(Holding(*row) for row in session.exec(query.order_by(col(Finding.rank), col(Finding.number))))


def in_words(found: Sequence[Holding], waits: str) -> str:
    """What waits, and for which of them: `Held by finding 12 (critical): ..., and 2 more.`; "" for none."""
    if not found:
        return ""
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{waits} {str(found[0]).rstrip('.')}{more}."


def blocking(session: Session, endpoint: Endpoint, asked: FindingRule) -> str:
    """Why nothing may start at an endpoint now, as its environment's policy asks; "" where nothing keeps it."""
    return in_words(at_least(session, endpoint, asked.block_promotion_at), "Kept from starting by")


def holding(session: Session, endpoint: Endpoint, asked: FindingRule) -> str:
    """The same for a rollout under way there."""
    return in_words(at_least(session, endpoint, asked.hold_rollout_at), "Held by")


def weighs(session: Session, row: Finding) -> tuple[bool, bool]:
    """Whether starts and rollouts wait for it; of one about a model, at any of its endpoints."""
    if row.state not in rules.LIVE:
        return False, False
    served = select(Endpoint.environment).where(Endpoint.model == row.model).distinct()
    places = [row.environment] if row.environment is not None else session.exec(served).all()
    asked = [policy.in_force(session, one).policy.findings for one in places]
    return (
        any(_reaches(row.severity, one.block_promotion_at) for one in asked),
        any(_reaches(row.severity, one.hold_rollout_at) for one in asked),
    )


def _reaches(severity: str, least: str | None) -> bool:
    return least is not None and rules.is_as_severe(severity, least)
