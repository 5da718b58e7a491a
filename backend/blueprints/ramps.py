"""Ramps: steps under a name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from pydantic import BaseModel
from sqlmodel import Session, col, select

from backend.blueprints.declared import Declared
from backend.blueprints.kinds import Around, Draft, Kind, Right, State, Step, direct
from backend.blueprints.plan import changes_between
from backend.blueprints.specs import RampSpec
from backend.blueprints.steps import steps_in, told_steps
from backend.policy import ramps
from backend.policy.rows import Ramp


class RampKind(Kind):
    """See `policy.ramps`."""

    name: ClassVar[str] = "Ramp"
    noun: ClassVar[str] = "ramp"
    spec: ClassVar[type[BaseModel]] = RampSpec

    def states(self, session: Session) -> Mapping[str, State]:
        """By name. Templates are part of every installation, and of no file until somebody names a ramp of his own so."""
        kept = [one for one in ramps.lines(session) if one.revision]
        return {one.name: State(one.name, {"steps": told_steps(one.steps)}, str(one.revision)) for one in kept}

    def lock(self, session: Session, names: Collection[str]) -> None:
        """By name."""
        session.exec(select(Ramp).where(col(Ramp.id).in_(names)).order_by(Ramp.id).with_for_update()).all()

    def compare(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """Steps are compared as a whole."""
        steps = steps_in((declared.spec or {})["steps"], declared.name)
        fields = changes_between(state.spec if state else {}, {"steps": told_steps(steps)})
        step = Step(10, Right("ramp.set"), direct(lambda hands: hands.ramps.set(around.actor, declared.name, steps)))
        mark = state.mark if state is not None else ""
        return Draft(declared, state is not None, fields, (step,) if fields else (), mark=mark)

    def removal(self, declared: Declared, state: State, around: Around) -> Step:
        """Last: policies may have asked for it."""
        return Step(95, Right("ramp.remove"), direct(lambda hands: hands.ramps.remove(around.actor, declared.name)))
