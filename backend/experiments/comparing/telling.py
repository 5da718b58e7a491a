"""Findings of comparisons: what warns, what stops a ramp, and a look that does not come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from backend.core.unit import Unit
from backend.experiments.comparing import queries
from backend.experiments.comparing.rows import ComparisonRow
from backend.experiments.comparing.standing import Kept, Looked, is_stale, standing
from backend.findings import sightings
from backend.findings.rules import Cause, Sighting
from backend.policy.rules import Severity

_SEVERITY: dict[str, Severity] = {"rollback": "critical", "hold": "warning", "warn": "warning"}


def found_by(row: ComparisonRow) -> str:
    """What findings say of who found them."""
    return f"comparison {row.experiment or row.id}"


def tell(tx: Unit, row: ComparisonRow, endpoint: str, kept: Kept, problems: Sequence[Mapping[str, str]], at: datetime) -> None:
    """Joins: one look saw these problems, and nothing else of what it had found."""
    seen = [_sighting(row, endpoint, each) for each in _first_of_each(problems)]
    if not seen and (kept.action != "go" or kept.warnings):
        says = kept.warnings[0] if kept.warnings else kept.reason
        seen = [_sighting(row, endpoint, {"trigger": "no_traffic", "action": "hold", "says": says})]
    sightings.looked(tx, found_by(row), seen, endpoint=endpoint, at=at)


def tell_stale(tx: Unit, row: ComparisonRow, endpoint: str, looked: Looked) -> None:
    """Joins: a look failed. It is told once the newest one says nothing any more; of other causes nothing is known."""
    asked = queries.asked(row)
    if not is_stale(asked, looked, tx.now):
        return
    says = standing(asked, looked, 0, tx.now).reason
    sightings.seen(tx, [_sighting(row, endpoint, {"trigger": "stale", "action": asked.on.stale, "says": says})])


def over(tx: Unit, row: ComparisonRow) -> None:
    """Joins: a comparison ended, and what it found with it."""
    for finding, _mine in sightings.found_there(tx, found_by(row), row.endpoint_id):
        sightings.gone(tx, finding, "Its comparison ended.")


def _first_of_each(problems: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """One finding a trigger: the weightiest of what it says."""
    order = ("warn", "hold", "rollback")
    found: dict[str, Mapping[str, str]] = {}
    for one in problems:
        known = found.get(one["trigger"])
        if known is None or order.index(one["action"]) > order.index(known["action"]):
            found[one["trigger"]] = one
    return list(found.values())


def _sighting(row: ComparisonRow, endpoint: str, one: Mapping[str, str]) -> Sighting:
    return Sighting(
        Cause(f"comparison.{one['trigger']}", endpoint, subject=row.experiment or ""),
        _SEVERITY[one["action"]],
        says=one["says"],
        found_by=found_by(row),
        evidence={"comparison": row.id, "action": one["action"]},
    )
