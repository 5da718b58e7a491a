"""What a change's rollout did, as its generations and the log tell it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import col, select

from backend.bootstrap import Backend
from backend.core.database import Database
from backend.delivery.buckets import share
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.plan import BUCKETS
from backend.delivery.rows import Authorization, Generation

_ASSIGNED = "SELECT assigned_arm AS arm, count(*) AS requests FROM requests WHERE assigned_arm IS NOT NULL GROUP BY ALL"


@dataclass(frozen=True)
class WalkedStep:
    """One state that was admitted.

    Args:
        step: of the plan, from 1; 0 for the way back.
        reason: `start`, `ramp` or `rollback`.
        shares: of each arm that answered, in percent; `shadow` got copies.
        seconds: how long it was the newest; None for the last one.
    """

    step: int
    reason: str
    shares: dict[str, float]
    shadow: str | None
    admitted_at: datetime
    seconds: float | None

    @property
    def words(self) -> str:
        """For a person who watches."""
        split = ", ".join(f"{name} {one:g} %" for name, one in sorted(self.shares.items()))
        copies = f"; {self.shadow} gets copies" if self.shadow else ""
        head = "The way back" if self.reason == "rollback" else f"Step {self.step}"
        return f"{head}: {split or 'nobody answers'}{copies}."

    def to_json(self) -> dict[str, Any]:
        """JSON-able; the time is ISO 8601 in UTC."""
        return {**vars(self), "admitted_at": self.admitted_at.isoformat()}


def walked(database: Database, change_id: str) -> tuple[WalkedStep, ...]:
    """The states of a change's rollout so far, in order."""
    with database.read() as session:
        query = select(Generation).join(Authorization, col(Authorization.id) == Generation.authorization_id)
        rows = session.exec(query.where(Authorization.change_id == change_id).order_by(col(Generation.number))).all()
    ends: list[datetime | None] = [row.admitted_at for row in rows[1:]]
    return tuple(_step(row, end) for row, end in zip(rows, [*ends, None], strict=False))


def exposure(backend: Backend, endpoint: str, since: datetime) -> dict[str, int]:
    """Requests by the arm that they were assigned to, as the log has them, from a moment on."""
    backend.inference_log.flush()
    with backend.inference_log.read(endpoint, None, since, backend.database.now() + timedelta(seconds=1)) as reading:
        return {str(row["arm"]): int(row["requests"]) for row in reading.query(_ASSIGNED).to_pylist()}


def _step(row: Generation, end: datetime | None) -> WalkedStep:
    desired = DesiredEndpoint.model_validate(row.desired)
    shares = {arm.name: 100 * share(arm.ranges) / BUCKETS for arm in desired.arms if arm.ranges}
    seconds = round((end - row.admitted_at).total_seconds(), 3) if end is not None else None
    return WalkedStep(row.step + 1, row.reason, shares, desired.shadow, row.admitted_at, seconds)
