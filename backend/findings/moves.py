"""One transition of a finding with all that goes with it, and what the ledger says of it. Helpers that join a unit of work."""

from __future__ import annotations

from typing import Any

from backend.core.unit import Unit
from backend.findings import rules
from backend.findings.rows import Finding
from backend.findings.rules import FINDING

_ASKS_ANEW = ("rise", "wake", "reopen")
"""Events after which somebody has to answer again, so that the escalation begins anew."""


def move(tx: Unit, row: Finding, event: str, *, reason: str = "", outcome: str | None = None, **more: Any) -> None:
    """Does one transition and records it as `finding.<event>`. The row is locked.

    Args:
        outcome: of one that is over by it.
        more: columns that change with it.
    """
    before = facts(row)
    state = FINDING.next(row.state, event)
    if state != row.state:
        row.state, row.state_since = state, tx.now
    for name, value in more.items():
        setattr(row, name, value)
    row.snoozed_until = row.snoozed_until if state == "snoozed" else None
    row.outcome, row.resolved_at = (outcome, tx.now) if state == "resolved" else (None, None)
    row.reason, row.by_id = reason, tx.actor.id if tx.actor.kind != "system" else None
    if event in _ASKS_ANEW:
        row.open_since, row.escalated = tx.now, 0
    row.rank, row.revision = rules.rank(row.state, row.severity), row.revision + 1
    tx.record(f"finding.{event}", row, before=before, after=told(row))


def record(tx: Unit, row: Finding, action: str, before: dict[str, Any] | None, **more: Any) -> None:
    """What changed without a transition, or with the beginning."""
    row.rank, row.revision = rules.rank(row.state, row.severity), row.revision + (before is not None)
    tx.record(action, row, before=before, after={**told(row), **more})


def facts(row: Finding) -> dict[str, Any]:
    """What a transition may change."""
    return row.facts("state", "severity", "owner_id", "owner_team_id", "snoozed_until", "outcome", "reason")


def told(row: Finding) -> dict[str, Any]:
    """The facts of a ledger row: whoever tells of it needs nothing else to count what belongs together."""
    known = {**facts(row), "number": row.number, "kind": row.kind, "together": together(row)}
    return {**known, "test": True} if row.test else known


def together(row: Finding) -> str:
    """What is told together: findings of one family and severity at one place; a test by itself."""
    if row.test:
        return row.id
    return f"{rules.family(row.kind)}/{row.endpoint_id or f'model/{row.model}'}/{row.severity}"
