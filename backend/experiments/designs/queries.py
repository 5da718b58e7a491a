"""Reads of experiments, for pages and the API. Every one takes a session that a door narrowed, and looks only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from backend.access.rows import Identity
from backend.delivery.named import named
from backend.delivery.plan import BUCKETS
from backend.delivery.rows import Endpoint
from backend.experiments.designs import service
from backend.experiments.designs.rows import Experiment
from backend.experiments.designs.spec import Design


@dataclass(frozen=True)
class ExperimentLine:
    """One experiment in a list.

    Args:
        owner, decided_by: short names; "" for nobody.
        running_day, planned_days: of one that runs, which day of how many it is; 0 before it does.
        outcome: `ship`, `roll_back` or `no_decision` once it is decided; else "".
        looks_for: what it is for, in words.
    """

    endpoint: str
    environment: str
    slug: str
    title: str
    state: str
    owner: str
    running_day: int
    planned_days: int
    arms: int
    looks_for: str
    layer: str
    outcome: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    revision: int

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        told = dict(vars(self))
        return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in told.items()}


@dataclass(frozen=True)
class Share:
    """Who gets what: `version` 0 is the champion, whichever it is when the experiment starts."""

    version: int
    buckets: int

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return dict(vars(self))


@dataclass(frozen=True)
class ExperimentView:
    """One experiment whole.

    Args:
        shares: the champion's first.
        design: `spec.Design` as it was filled in.
        planned: what the planner said when it started (`views.PlanView`); None before, or where nothing was known.
        changes: ids of the changes that started it and moved its split.
        ends_on: when a running one has run as long as it was planned to.
    """

    line: ExperimentLine
    hypothesis: str
    shares: tuple[Share, ...]
    design: Mapping[str, Any]
    planned: Mapping[str, Any] | None
    changes: tuple[str, ...]
    ends_on: datetime | None
    reason: str
    decided_by: str
    edited_at: datetime

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            **self.line.to_json(),
            "hypothesis": self.hypothesis,
            "shares": [one.to_json() for one in self.shares],
            "design": dict(self.design),
            "planned": dict(self.planned) if self.planned is not None else None,
            "changes": list(self.changes),
            "ends_on": self.ends_on.isoformat() if self.ends_on is not None else None,
            "reason": self.reason,
            "decided_by": self.decided_by,
            "edited_at": self.edited_at.isoformat(),
        }


def lines(session: Session, endpoint: str = "", state: str = "", *, now: datetime) -> tuple[ExperimentLine, ...]:
    """Experiments, the newest first: all that are seen, or of one endpoint, or in one state. NotFound for an endpoint that is
    not there."""
    query = select(Experiment, Endpoint).join(Endpoint)
    if endpoint:
        query = query.where(Experiment.endpoint_id == named(session, Endpoint, endpoint).id)
    if state:
        query = query.where(Experiment.state == state)
    found = session.exec(query.order_by(col(Experiment.created_at).desc(), col(Experiment.id).desc())).all()
    names = _names(session, {row.owner for row, _ in found})
    return tuple(_line(row, place, names, now) for row, place in found)


def view(session: Session, endpoint: str, slug: str, *, now: datetime) -> ExperimentView:
    """One experiment whole. NotFound."""
    place, row = service.find(session, endpoint, slug)
    return _view(session, place, row, now)


def of_endpoint(session: Session, endpoint: str, *, now: datetime) -> ExperimentView | None:
    """The experiment that runs on an endpoint; None where none does."""
    place = named(session, Endpoint, endpoint)
    row = service.running_on(session, place.id)
    return _view(session, place, row, now) if row is not None else None


def _view(session: Session, place: Endpoint, row: Experiment, now: datetime) -> ExperimentView:
    design = Design.model_validate(row.design)
    names = _names(session, {row.owner, *([row.decided_by] if row.decided_by else [])})
    shares = (Share(0, design.control_share), *(Share(one.version, one.share) for one in design.arms))
    return ExperimentView(
        line=_line(row, place, names, now),
        hypothesis=row.hypothesis,
        shares=shares,
        design=row.design,
        planned=row.planned,
        changes=tuple(row.changes),
        ends_on=row.started_at + timedelta(days=design.planned_days) if row.started_at is not None else None,
        reason=row.reason,
        decided_by=names.get(row.decided_by or "", ""),
        edited_at=row.edited_at,
    )


def _line(row: Experiment, place: Endpoint, names: Mapping[str, str], now: datetime) -> ExperimentLine:
    design = Design.model_validate(row.design)
    return ExperimentLine(
        endpoint=place.name,
        environment=place.environment,
        slug=row.slug,
        title=row.title,
        state=row.state,
        owner=names.get(row.owner, row.owner),
        running_day=_day(row, now),
        planned_days=design.planned_days,
        arms=len(design.arms) + 1,
        looks_for=looks_for(design),
        layer=row.layer or "",
        outcome=row.outcome or "",
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        revision=row.revision,
    )


def looks_for(design: Design) -> str:
    """What an experiment is for, in words: `log-loss better by 0.01, with 10 % of units`."""
    own = design.primary
    goal = f"better by {own.smallest:.4g}" if own.goal == "better" else f"not worse by {own.margin:.4g}"
    tried = sum(one.share for one in design.arms) / BUCKETS
    return f"{own.metric} {goal}, with {tried * 100:g} % of units"


def _day(row: Experiment, now: datetime) -> int:
    """The first day is day 1; what has ended keeps its last one."""
    if row.started_at is None:
        return 0
    return max(1, math.ceil(((row.ended_at or now) - row.started_at) / timedelta(days=1)))


def _names(session: Session, ids: set[str]) -> dict[str, str]:
    found = session.exec(select(Identity.id, Identity.name).where(col(Identity.id).in_(ids))) if ids else ()
    return dict(iter(found))
