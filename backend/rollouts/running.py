"""Rollouts under way, for the overview: which endpoint, which step, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.delivery.rows import Endpoint
from backend.rollouts import queries
from backend.rollouts.queries import RolloutView
from backend.rollouts.rows import Rollout


@dataclass(frozen=True)
class Running:
    """One rollout with the endpoint that it walks on."""

    endpoint: str
    environment: str
    model: str
    rollout: RolloutView


def running(session: Session, now: datetime, *, limit: int = 5) -> tuple[Running, ...]:
    """Rollouts that are not over, the newest first."""
    query = (
        select(Rollout, Endpoint)
        .join(Endpoint, col(Endpoint.id) == Rollout.endpoint_id)
        .where(col(Rollout.ended_at).is_(None))
        .order_by(col(Rollout.started_at).desc(), col(Rollout.id).desc())
    )
    found = session.exec(query.limit(limit)).all()
    return tuple(Running(one.name, one.environment, one.model, queries.view(session, row, now)) for row, one in found)


def count(session: Session) -> int:
    """How many rollouts are not over."""
    return session.exec(select(sa.func.count()).select_from(Rollout).where(col(Rollout.ended_at).is_(None))).one()
