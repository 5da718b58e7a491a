"""Level-triggered resync: whatever must be looked after and has no work item gets one again, however it was lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.changes.rows import Change
from backend.changes.rules import STARTED, UNDECIDED
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.work import WorkItem
from backend.delivery.rows import Endpoint, Generation, Server
from backend.evidence.rows import Evidence
from backend.experiments.comparing import service as comparing
from backend.experiments.comparing.rows import ComparisonRow
from backend.metrics import scraping
from backend.monitoring import counting, runs
from backend.notify.rows import Message, Route
from backend.registry.rows import Alias
from backend.rollouts.rows import Rollout
from backend.window_reports import service as window_reports
from backend.window_reports.queries import unfinished


@dataclass(frozen=True)
class Resync:
    """One kind of work and the keys that must have an item of it at this moment."""

    kind: str
    keys: Callable[[Session], Sequence[str]]


def missing(session: Session, resync: Resync) -> list[str]:
    """The keys that lack their item."""
    present = set(session.exec(select(WorkItem.key).where(WorkItem.kind == resync.kind)))
    return [key for key in resync.keys(session) if key not in present]


def wake_missing(database: Database, resyncs: Sequence[Resync]) -> dict[str, int]:
    """Wakes what is missing; a look first, so that a whole database takes no write lock. Returns how many of each kind."""
    with database.read() as session:
        lacking = {one.kind: keys for one in resyncs if (keys := missing(session, one))}
    if lacking:
        with database.unit(SYSTEM) as tx:
            for kind, keys in lacking.items():
                work.wake_many(tx, kind, keys)
    return {kind: len(keys) for kind, keys in lacking.items()}


def of_the_house() -> tuple[Resync, ...]:
    """Every server, open change, open rollout, unfinished check, model with aliases of ours, route with waiting messages,
    source of metrics, monitor, endpoint that has some, running comparison, and report that is to be made; the mirror, and the
    ledger's reader."""
    return (
        Resync("server", _keys(select(Server.id))),
        Resync("change", _keys(_CHANGES)),
        Resync("rollout", _keys(select(Rollout.id).where(col(Rollout.ended_at).is_(None)))),
        Resync("evidence", _keys(select(Evidence.id).where(col(Evidence.verdict).in_(("queued", "running"))))),
        Resync("alias", _keys(_ALIASES)),
        Resync("mirror", lambda _session: ["*"]),
        Resync("notify", lambda _session: ["ledger"]),
        Resync("route", _keys(_WAITING)),
        Resync(scraping.KIND, scraping.keys),
        Resync(counting.KIND, counting.keys),
        Resync(runs.KIND, runs.keys),
        Resync(window_reports.KIND, unfinished),
        Resync(comparing.KIND, _keys(select(ComparisonRow.id).where(ComparisonRow.state == "running"))),
    )


_CHANGES = (
    select(Change.id)
    .join(Endpoint, col(Endpoint.id) == Change.endpoint_id)
    .outerjoin(Generation, sa.and_(col(Generation.endpoint_id) == Endpoint.id, col(Generation.number) == Endpoint.generation))
    .where(
        sa.or_(
            col(Change.state).in_((*UNDECIDED, "applying")),
            sa.and_(
                col(Change.state).in_(STARTED),
                col(Generation.reason) == "rollback",
                col(Generation.authorization_id) == Change.authorization_id,
            ),
        )
    )
)
"""Changes that wait for something, and those whose way back is live and not settled; the others only a person's act moves."""

_ALIASES = select(Alias.model_id).where(
    col(Alias.wanted_since).is_not(None), sa.or_(col(Alias.written_at).is_(None), col(Alias.wanted).is_not(None))
)
"""Aliases that are still to be written, and those that are watched because they are ours."""


_WAITING = (
    select(Message.route_key)
    .outerjoin(Route, col(Route.id) == Message.route_key)
    .where(Message.state == "waiting", sa.or_(col(Route.id).is_(None), col(Route.state) != "paused"))
    .distinct()
)
"""Routes on which something waits that may go."""


def _keys(query: Any) -> Callable[[Session], Sequence[str]]:
    return lambda session: list(dict.fromkeys(session.exec(query)))
