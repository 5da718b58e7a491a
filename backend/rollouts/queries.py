"""Reads of rollouts: where one stands, which one is live on an endpoint, and what a page shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from backend.delivery.plan import Plan, parse_plan
from backend.delivery.rows import Authorization, Endpoint, Generation
from backend.experiments.comparing import queries as comparisons
from backend.findings import holds
from backend.policy import service as policy
from backend.rollouts.rows import Rollout
from backend.rollouts.rules import OPEN, Gates, Position, Skip, skip_to


@dataclass(frozen=True)
class Stand:
    """A rollout with the plan that it walks and its position."""

    row: Rollout
    plan: Plan
    change_id: str
    position: Position


@dataclass(frozen=True)
class StepView:
    """One step of a ramp: shares in buckets by arm, its gates, and `done`, `now` or `ahead`. `shadow` gets copies at it."""

    shares: dict[str, int]
    hold_seconds: int
    min_units: int
    statistics: str | None
    person: bool
    shadow: str | None
    standing: str


@dataclass(frozen=True)
class RolloutView:
    """One rollout as a page shows it.

    Args:
        hold_until: the earliest moment of the next step, where one is held.
        may_skip_to: step, from 0, up to which somebody may have the ones before it skipped; None for none.
    """

    id: str
    change_id: str
    state: str
    reason: str
    step: int
    steps: tuple[StepView, ...]
    hold_until: datetime | None
    waits_for_person: bool
    may_skip_to: int | None
    can_go_back: bool
    started_at: datetime
    ended_at: datetime | None

    def to_json(self) -> dict[str, Any]:
        """JSON-able form; times are ISO 8601 in UTC."""
        times = {name: one.isoformat() if (one := getattr(self, name)) else None
                 for name in ("hold_until", "started_at", "ended_at")}  # fmt: skip
        steps = [vars(one) for one in self.steps]
        return {**vars(self), **times, "steps": steps}


def of_authorization(session: Session, authorization_id: str) -> Rollout | None:
    """The rollout that an authorization started."""
    return session.exec(select(Rollout).where(Rollout.authorization_id == authorization_id)).one_or_none()


def open_on(session: Session, endpoint_id: str) -> Rollout | None:
    """The rollout that is under way on an endpoint."""
    query = select(Rollout).where(Rollout.endpoint_id == endpoint_id, col(Rollout.ended_at).is_(None))
    return session.exec(query).one_or_none()


def of_endpoint(session: Session, endpoint_id: str, *, limit: int = 50) -> Sequence[Rollout]:
    """The endpoint's rollouts, newest first."""
    query = select(Rollout).where(Rollout.endpoint_id == endpoint_id)
    return session.exec(query.order_by(col(Rollout.started_at).desc(), col(Rollout.id).desc()).limit(limit)).all()


def live(session: Session, endpoint_id: str) -> Rollout | None:
    """The rollout whose step, or whose way back, is the endpoint's newest generation; None for a baseline."""
    newest = newest_generation(session, endpoint_id)
    return of_authorization(session, newest.authorization_id) if newest and newest.authorization_id else None


def live_change(session: Session, endpoint_id: str) -> str | None:
    """Id of the change that the endpoint's newest generation belongs to; None for a baseline."""
    newest = newest_generation(session, endpoint_id)
    found = session.get(Authorization, newest.authorization_id) if newest and newest.authorization_id else None
    return found.change_id if found is not None else None


def newest_generation(session: Session, endpoint_id: str) -> Generation | None:
    """What is desired of an endpoint now."""
    endpoint = session.get(Endpoint, endpoint_id)
    return session.get(Generation, f"{endpoint_id}/{endpoint.generation}") if endpoint and endpoint.generation else None


def stand(session: Session, row: Rollout, now: datetime) -> Stand:
    """Where a rollout stands now."""
    authorization = session.get_one(Authorization, row.authorization_id)
    plan = parse_plan(authorization.plan)
    return Stand(row, plan, authorization.change_id, _position(session, row, authorization, plan, now))


def view(session: Session, row: Rollout, now: datetime) -> RolloutView:
    """What a page shows of a rollout."""
    found = stand(session, row, now)
    at = found.position
    hold_until = at.step_since + timedelta(seconds=at.hold_seconds) if row.state == "holding" and at.step_since else None
    return RolloutView(
        id=row.id,
        change_id=found.change_id,
        state=row.state,
        reason=row.reason,
        step=row.step,
        steps=tuple(_steps(found)),
        hold_until=hold_until,
        waits_for_person=row.state == "holding" and at.gates.person and at.let_on < at.step,
        may_skip_to=skipping(session, found).to,
        can_go_back=at.went_back or (at.live and (found.plan.rollback is not None or not at.proved)),
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def skipping(session: Session, found: Stand) -> Skip:
    """Up to which step somebody may have the ones before it skipped, as things are and as the policy in force says."""
    endpoint = session.get_one(Endpoint, found.row.endpoint_id)
    allowed = policy.in_force(session, endpoint.environment).policy.may_skip
    return skip_to(found.position, [step.person for step in found.plan.steps], allowed=allowed)


def _position(session: Session, row: Rollout, authorization: Authorization, plan: Plan, now: datetime) -> Position:
    endpoint = session.get_one(Endpoint, row.endpoint_id)
    newest = newest_generation(session, row.endpoint_id)
    own = newest is not None and newest.authorization_id == row.authorization_id
    step = plan.steps[row.step]
    stop = policy.freeze_in_force(session, endpoint.environment)
    asked = policy.in_force(session, endpoint.environment).policy.findings
    return Position(
        state=row.state,
        step=row.step,
        last_step=len(plan.steps) - 1,
        step_since=row.step_since,
        hold_seconds=step.hold_seconds,
        gates=Gates(step.min_units, step.statistics, step.person),
        let_on=row.let_on,
        live=own and newest is not None and newest.reason != "rollback" and newest.step == row.step,
        went_back=own and newest is not None and newest.reason == "rollback",
        proved=endpoint.proved_generation == endpoint.generation,
        endpoint_state=endpoint.state,
        revoked=authorization.revoked_at is not None,
        compares=plan.comparison is not None,
        compared=comparisons.standing(session, authorization.id, newest.number, now) if own and newest is not None else None,
        way_back=plan.rollback is not None,
        skip_to=row.skip_to,
        frozen=stop.reason if stop is not None else "",
        held=holds.holding(session, endpoint, asked),
        held_for_person=asked.resume == "person",
        watched=asked.hold_rollout_at is not None,
        admitted_at=newest.admitted_at if newest is not None else None,
        trouble=endpoint.last_error or endpoint.state_reason,
    )


def _steps(found: Stand) -> list[StepView]:
    now = found.row.step if found.row.state in OPEN else len(found.plan.steps) if found.row.state == "complete" else -1
    return [
        StepView(
            shares=dict(step.shares),
            hold_seconds=step.hold_seconds,
            min_units=step.min_units,
            statistics=step.statistics,
            person=step.person,
            shadow=step.shadow or found.plan.shadow,
            standing="done" if number < now else "now" if number == now else "ahead",
        )
        for number, step in enumerate(found.plan.steps)
    ]
