"""Service level objectives: what is promised of an endpoint, under the endpoint's name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel
from sqlmodel import Session, col, select

from backend.blueprints.declared import Declared
from backend.blueprints.kinds import Around, Draft, Kind, Right, State, Step, direct
from backend.blueprints.plan import changes_between
from backend.blueprints.specs import SloSpec
from backend.core.errors import NotFound
from backend.delivery.rows import Endpoint
from backend.metrics.queries import objectives
from backend.metrics.rows import SloRow
from backend.metrics.service import checked_objectives
from backend.metrics.slo import Objective, milliseconds

_WITHIN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s)")


class SloKind(Kind):
    """See `metrics.service.Slos`. An endpoint has one, of its own name."""

    name: ClassVar[str] = "SLO"
    noun: ClassVar[str] = "SLO"
    spec: ClassVar[type[BaseModel]] = SloSpec

    def states(self, session: Session) -> Mapping[str, State]:
        """By the endpoint's name."""
        query = (
            select(SloRow, Endpoint.name).join(Endpoint, col(Endpoint.id) == col(SloRow.endpoint_id)).order_by(Endpoint.name)
        )
        return {name: State(name, _told(row.days, objectives(row)), str(row.revision)) for row, name in session.exec(query)}

    def lock(self, session: Session, names: Collection[str]) -> None:
        """By the endpoint's id."""
        query = select(SloRow).join(Endpoint, col(Endpoint.id) == col(SloRow.endpoint_id)).where(col(Endpoint.name).in_(names))
        session.exec(query.order_by(col(SloRow.endpoint_id)).with_for_update(of=SloRow)).all()

    def compare(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """Objectives are compared as a whole; a window that is left out stays, or is thirty days."""
        given = declared.spec or {}
        days = int(given.get("days", state.spec["days"] if state is not None else 30))
        wanted = [_objective(one) for one in given["objectives"]]
        told = _told(days, _kept(checked_objectives(wanted, days)))
        fields = changes_between(state.spec if state is not None else {}, told)
        step = Step(
            70,
            right_at("slo.set", declared.name, around),
            direct(lambda hands: hands.slos.set(around.actor, declared.name, wanted, days=days)),
        )
        mark = state.mark if state is not None else ""
        return Draft(declared, state is not None, fields, (step,) if fields else (), mark=mark)

    def removal(self, declared: Declared, state: State, around: Around) -> Step:
        """Before the endpoint that it is about."""
        right = right_at("slo.set", declared.name, around)
        return Step(75, right, direct(lambda hands: hands.slos.remove(around.actor, declared.name)))


def right_at(action: str, endpoint: str, around: Around) -> Right:
    """Of the endpoint as it is, or as the files declare it. Refusal for one that is neither."""
    state = around.states.get("Endpoint", {}).get(endpoint)
    declared = around.declared.get(("Endpoint", endpoint))
    spec = state.spec if state is not None else declared.spec if declared is not None else None
    if spec is None:
        raise NotFound("endpoint", endpoint[:80], "It has the name of the endpoint that it is about.")
    name = endpoint if state is not None else None
    return Right(action, environment=spec.get("environment"), model=spec.get("model"), endpoint=name)


def _objective(told: Mapping[str, Any]) -> Objective:
    match = _WITHIN.fullmatch(str(told["within"])) if told.get("within") is not None else None
    seconds = float(match[1]) * (0.001 if match[2] == "ms" else 1.0) if match is not None else None
    return Objective(told["kind"], round(float(told["target"]) / 100, 9), round(seconds, 6) if seconds is not None else None)


def _kept(rows: Iterable[Mapping[str, Any]]) -> list[Objective]:
    return [Objective(one["kind"], one["target"], one["seconds"]) for one in rows]


def _told(days: int, promised: Iterable[Objective]) -> dict[str, Any]:
    """As files write it."""
    return {"days": days, "objectives": [_one(one) for one in promised]}


def _one(objective: Objective) -> dict[str, Any]:
    percent = round(objective.target * 100, 7)
    target = int(percent) if percent == int(percent) else percent
    within = {"within": milliseconds(objective.seconds)} if objective.seconds is not None else {}
    return {"kind": objective.kind, "target": target, **within}
