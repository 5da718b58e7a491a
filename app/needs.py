"""What waits for whoever looks, most urgent first. Each room that can wait for a person adds its lines here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.plain import escape
from app.states import badge
from backend.policy.queries import EnvironmentView


@dataclass(frozen=True)
class Need:
    """One thing that waits: title, note and badge are Markdown; `page` is where it is settled."""

    title: str
    note: str
    badge: str
    page: str


def of_policies(views: Iterable[EnvironmentView], *, sets: bool) -> list[Need]:
    """Policies under which some change could never be approved, for whoever may set policies.

    That one person could do everything alone is how dev and staging begin; the Admin page reports it, nobody is called.
    """
    stuck = [(one, [each for each in one.problems if each.kind == "unsatisfiable"]) for one in views]
    return [
        Need(f"Policy of {escape(one.name)}", escape(found[0].says), badge("policy", "unsatisfiable"), "admin")
        for one, found in stuck
        if sets and found
    ]


def of_freezes(views: Iterable[EnvironmentView], *, lifts: bool) -> list[Need]:
    """Freezes in force, for whoever may lift them."""
    frozen = [one for one in views if one.frozen] if lifts else []
    return [
        Need(f"Starts are frozen in {escape(one.name)}", escape(one.frozen), badge("freeze", "in_force"), "admin")
        for one in frozen
    ]
