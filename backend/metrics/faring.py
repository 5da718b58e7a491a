"""How an endpoint's sources of figures fare: whether somebody asks them, and whether they answer and tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlmodel import Session, col, select

from backend.delivery.named import named
from backend.delivery.rows import Endpoint, RouterRow, Server
from backend.metrics.rows import MetricSource, SourceState
from backend.metrics.scraping import keys

SourceWord = Literal["ok", "late", "failing", "empty", "never"]
LATE_AFTER = 3
"""Intervals without a look after which a source is late."""


@dataclass(frozen=True)
class SourceLine:
    """One source of an endpoint's figures, as it fares.

    Args:
        teller: `router`, `server` or `other`; `name`: of it.
        word: `late`: nobody looked in time; `failing`: the latest look came to nothing; `empty`: it answers and tells nothing
            of this endpoint; `never`: nobody has looked yet.
        figures: how many it told of this endpoint at the latest good look.
    """

    id: str
    teller: str
    name: str
    word: SourceWord
    says: str
    asked_at: datetime | None
    ok_at: datetime | None
    since: datetime | None
    figures: int
    bad: Mapping[str, int]
    cut: str


def sources(session: Session, endpoint: str, *, now: datetime, interval: timedelta) -> tuple[SourceLine, ...]:
    """Every source of an endpoint's figures, whether it tells any or not. None at all is told by an empty sequence."""
    row = named(session, Endpoint, endpoint)
    there = set(keys(session))
    wanted = [(f"router:{row.router_id}", "router", _name(session, RouterRow, row.router_id))] if row.router_id else []
    wanted += [(f"server:{row.server_id}", "server", _name(session, Server, row.server_id))]
    others = session.exec(select(MetricSource).where(MetricSource.endpoint_id == row.id).order_by(col(MetricSource.name)))
    wanted += [(f"source:{one.id}", "other", one.name) for one in others]
    return tuple(
        _source(key, teller, name, session.get(SourceState, key), row.id, now, interval)
        for key, teller, name in wanted
        if key in there
    )


def _name(session: Session, table: type[Server] | type[RouterRow], identifier: str) -> str:
    row = session.get(table, identifier)
    return str(row.name) if isinstance(row, Server | RouterRow) else ""


def _source(
    key: str, teller: str, name: str, state: SourceState | None, endpoint_id: str, now: datetime, interval: timedelta
) -> SourceLine:
    word, says, since = _fares(state, endpoint_id, now, interval)
    if state is None:
        return SourceLine(key, teller, name, word, says, None, None, since, 0, {}, "")
    figures = state.placed.get(endpoint_id, 0)
    return SourceLine(key, teller, name, word, says, state.asked_at, state.ok_at, since, figures, state.bad, state.cut)


def _fares(
    state: SourceState | None, endpoint_id: str, now: datetime, interval: timedelta
) -> tuple[SourceWord, str, datetime | None]:
    if state is None or state.asked_at is None:
        return "never", "Nobody has looked yet; a worker does within a minute.", None
    if now - state.asked_at > LATE_AFTER * interval:
        return (
            "late",
            f"Nobody has looked since {state.asked_at:%Y-%m-%d %H:%M:%S} UTC; see whether a worker runs.",
            state.asked_at,
        )
    if state.problem is not None:
        return "failing", state.problem, state.problem_since
    if not state.placed.get(endpoint_id):
        return "empty", "It answers, and tells nothing of this endpoint.", state.ok_at
    return "ok", "", None
