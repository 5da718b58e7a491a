"""When a comparison begins and ends."""

from __future__ import annotations

from backend.core import work
from backend.core.unit import Unit
from backend.delivery.plan import Plan
from backend.delivery.rows import Authorization
from backend.experiments.comparing import queries
from backend.experiments.comparing.looking import Comparing, keys
from backend.experiments.comparing.rows import ComparisonRow, ComparisonState

__all__ = ["KIND", "Comparing", "begin", "end", "keys", "spec_of"]
KIND = "comparison"
"""Of the work items, whose keys are comparisons' ids."""


def begin(tx: Unit, authorization: Authorization, plan: Plan) -> None:
    """Joins the unit that admits a plan's first step: what its arms do is compared from now on.

    A comparison that runs for the same experiment on the same split of units and with the same control goes on with the newer
    plan; any other of the endpoint ends.
    """
    running = queries.running_on(tx.session, authorization.endpoint_id, lock=True)
    asked = plan.comparison
    if running is not None and authorization.id in running.authorizations:
        return
    if running is not None and asked is not None and _goes_on(running, plan):
        _join(tx, running, authorization, plan)
        return
    if running is not None:
        _end(tx, running, "Another plan is carried out on this endpoint.")
        tx.session.flush()
    if asked is not None and asked.control is not None:
        _open(tx, authorization, plan, asked.control)


def end(tx: Unit, authorization_id: str, why: str) -> None:
    """Joins: nothing more is compared under this authorization, if it is the newest one of a comparison that runs."""
    row = queries.running_with(tx.session, authorization_id, lock=True)
    if row is not None and row.authorizations[-1] == authorization_id:
        _end(tx, row, why)


def spec_of(plan: Plan) -> dict[str, object]:
    """What is kept of a plan: `ComparisonRow.spec`. Raises ValueError for a plan that compares nothing."""
    if plan.comparison is None:
        raise ValueError("The plan compares nothing.")
    return {
        "comparison": plan.comparison.model_dump(mode="json"),
        "arms": {arm.name: arm.version for arm in plan.arms},
        "treatments": list(plan.treatments),
    }


def _goes_on(row: ComparisonRow, plan: Plan) -> bool:
    asked = plan.comparison
    return (
        asked is not None
        and asked.experiment is not None
        and (row.experiment, row.salt, row.control) == (asked.experiment, plan.salt, asked.control)
    )


def _open(tx: Unit, authorization: Authorization, plan: Plan, control: str) -> None:
    row = ComparisonRow(
        id=tx.new_id("cmp"),
        endpoint_id=authorization.endpoint_id,
        experiment=plan.comparison.experiment if plan.comparison is not None else None,
        salt=plan.salt,
        control=control,
        authorizations=[authorization.id],
        spec=spec_of(plan),
        began_at=tx.now,
    )
    tx.add(row)
    tx.record("comparison.begin", row, after=row.facts("endpoint_id", "experiment", "control", "authorizations"))
    tx.session.flush()
    tx.add(ComparisonState(comparison_id=row.id, endpoint_id=row.endpoint_id))
    tx.session.flush()
    work.wake(tx, KIND, row.id)


def _join(tx: Unit, row: ComparisonRow, authorization: Authorization, plan: Plan) -> None:
    before = row.facts("authorizations")
    row.authorizations, row.spec = [*row.authorizations, authorization.id], spec_of(plan)
    row.revision += 1
    tx.record("comparison.join", row, before=before, after=row.facts("authorizations"))
    work.wake(tx, KIND, row.id)


def _end(tx: Unit, row: ComparisonRow, why: str) -> None:
    before = row.facts("state")
    row.state, row.why, row.ended_at, row.revision = "ended", why, tx.now, row.revision + 1
    tx.record("comparison.end", row, before=before, after=row.facts("state", "why"))
    work.wake(tx, KIND, row.id)
