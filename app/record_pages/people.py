"""Identities in words."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import wiring
from app.kit import components
from app.kit.plain import escape
from app.kit.states import badge
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


def rows(people: Sequence[Person]) -> list[tuple[str, str]]:
    """(name with roles, state) of each."""
    return [
        (
            f"**{escape(one.name)}**  \n:small[:gray[{_kind(one)}{escape(', '.join(sorted(one.roles)) or 'no role')}]]",
            badge("identity", "active" if one.active else "deactivated"),
        )
        for one in people
    ]


def card(people: Sequence[Person]) -> None:
    """Everybody with roles and state."""
    with components.card("Identities", f"{len(people)}, by name"):
        components.table(rows(people), None, alt="Identities with their roles")
        if wiring.backend().settings.demo_identities:
            st.markdown(":small[:gray[Built-in demo identities: one role each, on this machine only.]]")


def _kind(one: Person) -> str:
    return "service · " if one.kind == "service" else ""
