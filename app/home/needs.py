"""What waits for whoever looks, most urgent first. Each room that can wait for a person adds its lines here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from app.kit import times
from app.kit.plain import escape
from app.kit.states import badge
from backend.access.last_admin import Outlook
from backend.access.requests import RequestLine
from backend.changes.queries import ChangeLine
from backend.delivery.lines import EndpointLine
from backend.policy.queries import EnvironmentView


@dataclass(frozen=True)
class Need:
    """One thing that waits: title, note and badge are Markdown; `page` is where it is settled, `due` its deadline."""

    title: str
    note: str
    badge: str
    page: str
    query: tuple[tuple[str, str], ...] = ()
    due: datetime | None = None


def of_changes(rows: Iterable[ChangeLine], now: datetime) -> list[Need]:
    """Changes that wait for the vote of whoever looks, those with the earliest deadline first."""
    return [
        Need(
            escape(one.title, 90),
            f"Vote on change {one.number} · {escape(one.endpoint)} · {escape(one.environment)}",
            badge("vote", "waiting", f"Due {times.age(one.decide_by, now)}") if one.decide_by else badge("vote", "waiting"),
            "change",
            (("change", str(one.number)),),
            one.decide_by,
        )
        for one in rows
    ]


def of_endpoints(rows: Iterable[EndpointLine]) -> list[Need]:
    """Endpoints of which nobody can say that they run what was approved, for whoever may do something about it."""
    return [
        Need(
            escape(one.name),
            escape(one.reason or "Nobody looked lately", 140),
            badge("endpoint", one.state),
            "endpoint",
            (("endpoint", one.name),),
        )
        for one in rows
    ]


def of_baselines(rows: Iterable[EndpointLine]) -> list[Need]:
    """Endpoints that are only observed, for whoever may sign off what runs there."""
    return [
        Need(
            f"Sign off {escape(one.name)}",
            f"Only observed · {escape(one.environment)} · on {escape(one.server)}",
            badge("mode", "observe"),
            "endpoint",
            (("endpoint", one.name),),
        )
        for one in rows
    ]


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


def of_requests(rows: Iterable[RequestLine], now: datetime) -> list[Need]:
    """What somebody else asked for and takes a second person, for whoever may confirm it, the oldest first."""
    return [
        Need(
            f"{escape(one.asked_by_name)} asks",
            escape(one.says, 140),
            badge("vote", "waiting", f"Due {times.age(one.expires_at, now)}"),
            "admin",
            (("part", "Grants"),),
            one.expires_at,
        )
        for one in rows
    ]


def of_admins(outlook: Outlook) -> list[Need]:
    """That nobody will be an admin soon, for whoever may give roles."""
    if outlook.problem is None:
        return []
    return [
        Need(
            "The last admin",
            escape(" ".join(outlook.problem).replace("`", ""), 400),
            badge("grant", "soon"),
            "admin",
            due=outlook.until,
        )
    ]


def of_freezes(views: Iterable[EnvironmentView], *, lifts: bool) -> list[Need]:
    """Freezes in force, for whoever may lift them."""
    frozen = [one for one in views if one.frozen] if lifts else []
    return [
        Need(f"Starts are frozen in {escape(one.name)}", escape(one.frozen), badge("freeze", "in_force"), "admin")
        for one in frozen
    ]
