"""The whole fleet for its list: worst first and page by page, counts by state, and how much of it runs what was approved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.core.errors import Refusal
from backend.delivery.lines import EndpointPage, lines_of, listed, shown_state
from backend.delivery.records import LIMIT
from backend.delivery.rows import Endpoint, Look, Proof, RouterRow, Server

RANKS: Mapping[str, int] = {
    "fight": 0, "unreachable": 1, "out_of_sync": 2, "partial": 3, "stale": 4, "pushing": 5, "paused": 6, "observed": 7,
    "in_sync": 8,
}  # fmt: skip
"""State as shown -> place in a list that begins with what is worst."""
TROUBLED = ("fight", "unreachable", "out_of_sync", "partial", "stale")
"""States in which nobody can say that what runs is what was approved."""


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; an empty one lets everything through.

    `text` is part of an endpoint's or its model's name; `state` is the state as shown, or `troubled` for any of `TROUBLED`.
    """

    environment: str = ""
    model: str = ""
    server: str = ""
    router: str = ""
    mode: str = ""
    state: str = ""
    text: str = ""


@dataclass(frozen=True)
class Standing:
    """Endpoints by state as shown, and how many of the managed ones run what was approved, all of it proved."""

    counts: Mapping[str, int]
    managed: int
    as_approved: int

    @property
    def total(self) -> int:
        """Every endpoint."""
        return sum(self.counts.values())

    @property
    def troubled(self) -> int:
        """Endpoints of which nobody can say that they run what was approved."""
        return sum(self.counts.get(one, 0) for one in TROUBLED)


def fleet(
    session: Session, filters: Filters, *, now: datetime, interval: timedelta, after: str = "", limit: int = 50
) -> EndpointPage:
    """One page of endpoints, the worst first, then by name. `after` is the page before's; "" begins.

    An endpoint whose state moves while somebody turns pages may be met twice or not at all, as in any list that lives.
    """
    shown, most = shown_state(now, interval), max(1, min(limit, LIMIT))
    rank = sa.case(RANKS, value=shown, else_=len(RANKS))
    query = narrowed(listed(shown), filters, shown).add_columns(rank).order_by(rank, col(Endpoint.name))
    if after:
        number, name = _place(after)
        query = query.where(sa.or_(rank > number, sa.and_(rank == number, col(Endpoint.name) > name)))
    found = session.exec(query.limit(most + 1)).all()
    lines = lines_of(session, [(row, server, look, state) for row, server, look, state, _ in found[:most]], now, interval)
    return EndpointPage(lines, f"{found[most - 1][4]}~{found[most - 1][0].name}" if len(found) > most else None)


def counts(session: Session, filters: Filters, *, now: datetime, interval: timedelta) -> Mapping[str, int]:
    """How many endpoints are in each state as shown, whatever state is asked for; states that none is in are left out."""
    shown = shown_state(now, interval)
    rows = narrowed(listed(shown), replace(filters, state=""), shown).with_only_columns(shown.label("shown")).subquery()
    return dict(session.exec(select(rows.c.shown, sa.func.count()).group_by(rows.c.shown)).all())


def standing(session: Session, *, now: datetime, interval: timedelta) -> Standing:
    """How the fleet stands now, in three queries."""
    approved = (
        select(sa.func.count())
        .select_from(Endpoint)
        .join(Look, col(Look.endpoint_id) == Endpoint.id)
        .where(
            shown_state(now, interval) == "in_sync",
            col(Endpoint.generation) > 0,
            Endpoint.proved_generation == Endpoint.generation,
            ~_failed_proof(),
        )
    )
    managed = select(sa.func.count()).select_from(Endpoint).where(Endpoint.mode == "managed")
    found = counts(session, Filters(), now=now, interval=interval)
    return Standing(found, session.exec(managed).one(), session.exec(approved).one())


def models(session: Session, *, limit: int = 200) -> tuple[str, ...]:
    """Names of the models that endpoints serve, for a filter."""
    return tuple(session.exec(select(col(Endpoint.model)).distinct().order_by(Endpoint.model).limit(limit)))


def names(session: Session, *, limit: int = 200) -> tuple[str, ...]:
    """Names of endpoints, the first ones by name, for a choice."""
    return tuple(session.exec(select(Endpoint.name).order_by(Endpoint.name).limit(limit)))


def narrowed(query: Any, filters: Filters, shown: sa.ColumnElement[str] | None = None) -> Any:
    """A query of endpoints joined with their servers, narrowed to what is asked for."""
    exact = (
        (Endpoint.environment, filters.environment),
        (Endpoint.model, filters.model),
        (Endpoint.mode, filters.mode),
        (Server.name, filters.server),
    )
    for column, value in exact:
        query = query.where(col(column) == value) if value else query
    if filters.router:
        query = query.where(
            Endpoint.router_id == select(col(RouterRow.id)).where(col(RouterRow.name) == filters.router).scalar_subquery()
        )
    if filters.text:
        inside = [col(one).icontains(filters.text, autoescape=True) for one in (Endpoint.name, Endpoint.model)]
        query = query.where(sa.or_(*inside))
    if filters.state and shown is not None:
        wanted = TROUBLED if filters.state == "troubled" else (filters.state,)
        query = query.where(shown.in_(wanted))
    return query


def _failed_proof() -> sa.ColumnElement[bool]:
    return (
        select(col(Proof.kind))
        .where(Proof.endpoint_id == Endpoint.id, Proof.generation == Endpoint.generation, Proof.verdict == "failed")
        .exists()
    )


def _place(after: str) -> tuple[int, str]:
    rank, _, name = after.partition("~")
    if not (rank.isascii() and rank.isdecimal() and len(rank) < 3 and name):
        raise Refusal("This is not a page of the list.", "Begin with the first page.", code="bad-page")
    return int(rank), name
