"""Ramps by name: what an organisation calls "careful" is said once, used by proposals, and asked for by policies.

A proposal takes over the steps as they are at that moment, so that what was approved never moves with its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from backend.access.checks import require
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal, StaleWrite
from backend.core.unit import Unit
from backend.policy import rules
from backend.policy.rows import Environment, Ramp
from backend.policy.rules import RampName, RampStep
from backend.policy.service import in_force
from backend.policy.templates import TEMPLATES

MOST_STEPS = 49
_NAME: TypeAdapter[str] = TypeAdapter(RampName)
_STEPS: TypeAdapter[tuple[RampStep, ...]] = TypeAdapter(tuple[RampStep, ...])


@dataclass(frozen=True)
class RampLine:
    """One ramp, with the environments whose policies ask for it. Revision 0: a template that nobody changed."""

    name: str
    steps: tuple[RampStep, ...]
    revision: int
    asked_for_by: tuple[str, ...]


class Ramps:
    """Commands on named ramps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, actor: Actor, name: str, steps: Sequence[RampStep | Mapping[str, Any]]) -> Ramp:
        """Names a ramp, or changes its steps. Saying it again changes nothing.

        The steps of one that a policy asks for, where changes need approvals, stay: else one person could make them steeper.
        Refusal codes: bad-name, bad-ramp, ramp-asked-for, stale-write.
        """
        told = [one.model_dump(mode="json") for one in checked(name, steps)]
        with self._database.unit(actor) as tx:
            require(tx, actor, "ramp.set")
            if name in TEMPLATES:
                tx.alone(f"ramp/{name}")
            row = tx.session.get(Ramp, name, with_for_update=True)
            if row is not None and row.steps == told:
                return row
            if row is None:
                _refuse_asked_for(tx, name, protected_only=True)  # only a template can be
                row = added(tx, Ramp(id=name, steps=told, set_by=actor.id, set_at=tx.now))
                tx.record("ramp.set", row, after=row.facts("steps", "revision"))
                return row
            _refuse_asked_for(tx, name, protected_only=True)
            before = row.facts("steps", "revision")
            row.steps, row.revision, row.set_by, row.set_at = told, row.revision + 1, actor.id, tx.now
            tx.record("ramp.set", row, before=before, after=row.facts("steps", "revision"))
            return row

    def remove(self, actor: Actor, name: str) -> None:
        """Forgets a ramp that no policy asks for. What was proposed with it keeps its steps."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "ramp.remove")
            row = tx.session.get(Ramp, name, with_for_update=True)
            if row is None:
                raise NotFound("ramp", name[:80])
            _refuse_asked_for(tx, name, protected_only=False)
            tx.record("ramp.remove", row, before=row.facts("steps", "revision"))
            tx.session.delete(row)


def added(tx: Unit, row: Ramp) -> Ramp:
    """Adds a ramp. StaleWrite where somebody else named one so at this very moment."""
    try:
        with tx.session.begin_nested():
            tx.session.add(row)
    except IntegrityError as error:
        raise StaleWrite("ramp", row.id) from error
    return row


def checked(name: str, steps: Sequence[RampStep | Mapping[str, Any]]) -> tuple[RampStep, ...]:
    """The steps of a ramp from outside. Refusal `bad-name` or `bad-ramp`."""
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise Refusal(
            f"{name[:80]!r} cannot be the name of a ramp.",
            "Begin with a small letter and use up to 63 small letters, digits and hyphens.",
            code="bad-name",
        ) from error
    try:
        found = _STEPS.validate_python(tuple(steps))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        says = first["msg"].removeprefix("Value error, ")
        raise Refusal(f"This is no ramp: {where}: {says}.", "Correct that step.", code="bad-ramp") from error
    if not found or len(found) > MOST_STEPS or any(one.share >= other.share for one, other in pairwise(found)):
        raise Refusal(
            f"A ramp has 1 to {MOST_STEPS} steps, each with a larger share than the one before.",
            "Order its shares; a shadow's step comes first, with a share of 0.",
            code="bad-ramp",
        )
    return found


def steps_of(session: Session, name: str) -> tuple[RampStep, ...]:
    """A ramp's steps. NotFound."""
    row = session.get(Ramp, name)
    if row is None and name in TEMPLATES:
        return TEMPLATES[name]
    if row is None:
        raise NotFound("ramp", name[:80], "Look at `countersign ramp list`, or give the steps themselves.")
    return _STEPS.validate_python(tuple(row.steps))


def lines(session: Session) -> tuple[RampLine, ...]:
    """Every ramp by name, templates included."""
    asked = _asked_for(session)
    named = {row.id: row for row in session.exec(select(Ramp))}
    kept = [RampLine(one.id, _STEPS.validate_python(tuple(one.steps)), one.revision, ()) for one in named.values()]
    templates = [RampLine(name, steps, 0, ()) for name, steps in TEMPLATES.items() if name not in named]
    found = sorted([*kept, *templates], key=lambda one: one.name)
    return tuple(replace(one, asked_for_by=tuple(asked.get(one.name, ()))) for one in found)


def _asked_for(session: Session) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for environment in session.exec(select(Environment.id).order_by(col(Environment.position))):
        for name in in_force(session, environment).policy.ramp.named:
            found.setdefault(name, []).append(environment)
    return found


def _refuse_asked_for(tx: Unit, name: str, *, protected_only: bool) -> None:
    for environment in _asked_for(tx.session).get(name, ()):
        if protected_only and not rules.is_protected(in_force(tx.session, environment).policy):
            continue
        raise Refusal(
            f"The policy of {environment} asks for the ramp {name}.",
            "Name another ramp, and have the policy ask for that one; where changes need approvals that takes two people.",
            code="ramp-asked-for",
        )
