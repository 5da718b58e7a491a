"""Monitors: what is watched at an endpoint, under the endpoint's name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel
from sqlmodel import Session, col, select

from backend.blueprints.declared import Declared
from backend.blueprints.kinds import Around, Draft, Hands, Kind, State, Step, direct
from backend.blueprints.plan import FieldChange
from backend.blueprints.slos import right_at
from backend.blueprints.specs import MonitorsSpec
from backend.core.errors import Refusal
from backend.delivery.rows import Endpoint
from backend.monitoring.rows import Monitor
from backend.monitoring.rules import MonitorSpec, check_name, parse_spec


class MonitorKind(Kind):
    """See `monitoring.service.Monitors`. All monitors of an endpoint are one object of its name, so that what watches it is
    read in one place; one that is left out of it is removed."""

    name: ClassVar[str] = "Monitor"
    noun: ClassVar[str] = "set of monitors"
    spec: ClassVar[type[BaseModel]] = MonitorsSpec

    def states(self, session: Session) -> Mapping[str, State]:
        """By the endpoint's name. Whether one is paused stands in no file: that is an act of the moment."""
        query = select(Monitor, Endpoint.name).join(Endpoint, col(Endpoint.id) == col(Monitor.endpoint_id))
        found: dict[str, dict[str, Monitor]] = {}
        for row, endpoint in session.exec(query.order_by(Endpoint.name, col(Monitor.name))):
            found.setdefault(endpoint, {})[row.name] = row
        return {name: _state(name, rows) for name, rows in found.items()}

    def lock(self, session: Session, names: Collection[str]) -> None:
        """By their ids."""
        query = select(Monitor).join(Endpoint, col(Endpoint.id) == col(Monitor.endpoint_id))
        query = query.where(col(Endpoint.name).in_(names)).order_by(col(Monitor.id)).with_for_update(of=Monitor)
        session.exec(query).all()

    def compare(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """Monitor by monitor; what a file does not say of one goes without saying, as it does for a new one."""
        told = (declared.spec or {}).get("monitors", {})
        wanted = {check_name(name): _parsed(name, content) for name, content in told.items()}
        there = {name: parse_spec(one) for name, one in state.spec["monitors"].items()} if state is not None else {}
        for name, spec in wanted.items():
            _refuse_another_kind(name, spec, there.get(name))
        fields = tuple(_differences(there, wanted))
        right = right_at("monitor.set", declared.name, around)
        step = Step(71, right, direct(lambda hands: _make(hands, around, declared.name, there, wanted)))
        mark = state.mark if state is not None else ""
        return Draft(declared, state is not None, fields, (step,) if fields else (), mark=mark)

    def removal(self, declared: Declared, state: State, around: Around) -> Step:
        """Before the endpoint that they watch."""
        there = {name: parse_spec(one) for name, one in state.spec["monitors"].items()}
        right = right_at("monitor.set", declared.name, around)
        return Step(74, right, direct(lambda hands: _make(hands, around, declared.name, there, {})))


def _make(
    hands: Hands, around: Around, endpoint: str, there: Mapping[str, MonitorSpec], wanted: Mapping[str, MonitorSpec]
) -> None:
    for name in there.keys() - wanted.keys():
        hands.monitors.remove(around.actor, endpoint, name)
    for name, spec in wanted.items():
        if there.get(name) != spec:
            hands.monitors.set(around.actor, endpoint, name, spec)


def _state(endpoint: str, rows: Mapping[str, Monitor]) -> State:
    spec = {"monitors": {name: row.spec for name, row in rows.items()}}
    return State(endpoint, spec, ",".join(f"{row.id}@{row.revision}" for row in rows.values()))


def _parsed(name: str, content: Mapping[str, Any]) -> MonitorSpec:
    try:
        return parse_spec(content)
    except Refusal as refusal:
        raise Refusal(f"{name}: {refusal.message}", refusal.remedy, code=refusal.code) from refusal


def _refuse_another_kind(name: str, spec: MonitorSpec, there: MonitorSpec | None) -> None:
    if there is not None and there.kind != spec.kind:
        remedy = "Give a monitor of another kind another name."
        raise Refusal(f"{name} is a monitor of {there.kind}.", remedy, code="bad-monitor")


def _differences(there: Mapping[str, MonitorSpec], wanted: Mapping[str, MonitorSpec]) -> Iterator[FieldChange]:
    """Field by field. A mapping is one field: what is left out of it is gone."""
    for name in (*wanted, *(one for one in there if one not in wanted)):
        where, old, new = f"monitors.{name}", there.get(name), wanted.get(name)
        if new is None:
            yield FieldChange(where, old.kind if old is not None else None, None)
            continue
        before = old.model_dump(mode="json") if old is not None else {}
        after = new.model_dump(mode="json") if old is not None else new.to_json()
        for field, value in after.items():
            if before.get(field) != value:
                yield FieldChange(f"{where}.{field}", before.get(field), value)
