"""Identities in words."""

from __future__ import annotations

from collections.abc import Sequence

from app.wiring import Reading
from backend.access import queries
from backend.access.queries import Person
from backend.core.context import SYSTEM


def everybody(look: Reading) -> Sequence[Person]:
    """Every person and service, with the roles that count everywhere."""
    return queries.people(look.session, now=look.now)


def names(people: Sequence[Person]) -> dict[str, str]:
    """Identity id -> the name that pages show; Countersign's own included."""
    return {SYSTEM.id: SYSTEM.name} | {one.id: one.name for one in people}
