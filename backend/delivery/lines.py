"""Lists of endpoints: one line each, with its state as shown, its proofs with their ages, and whether it is healthy.

What was not seen lately is never shown as healthy. `interval` is the setting `observe_seconds`; `now` comes from the
database's clock (`Database.now`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.delivery import courses
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.records import LIMIT
from backend.delivery.rows import Endpoint, Generation, Look, Proof, RouterRow, Server

_AGES = ("in_sync", "partial", "out_of_sync")
"""States that say something of now, and so nothing any more once nobody looks."""


@dataclass(frozen=True)
class ProofView:
    """The newest result of one kind of proof. `holds`: it is ok, of the newest generation, and the endpoint was seen lately.

    `details` are what the proof itself keeps of what it saw (`proofs.py`).
    """

    kind: str
    verdict: str
    reason: str
    generation: int
    age_seconds: float
    holds: bool
    details: Mapping[str, Any]


class LiveShare(NamedTuple):
    """One version as it was last seen on an endpoint: its arm, share in buckets out of 10,000, and whether it is champion."""

    arm: str
    version: int
    buckets: int
    champion: bool


@dataclass(frozen=True)
class EndpointLine:
    """One endpoint in a list.

    Args:
        state: as shown: `stale` where the newest look is too old for what it said.
        healthy: in sync, proved, seen lately, and no proof of the newest generation failed.
        seen_seconds: age of the newest look that was answered; None: never yet.
        champion_version: registered version that shall be champion; `live_version` the one that was seen to be, if lately.
        live: what was last seen, the champion first; nothing where it was not seen lately.
    """

    id: str
    name: str
    environment: str
    model: str
    server: str
    router: str | None
    served_name: str
    mode: str
    repair: str
    state: str
    reason: str
    since: datetime
    paused: bool
    stale: bool
    healthy: bool
    seen_seconds: float | None
    generation: int
    routed_generation: int
    proved_generation: int
    created_by: str
    champion_version: int | None
    live_version: int | None
    live: tuple[LiveShare, ...]
    proofs: tuple[ProofView, ...]


@dataclass(frozen=True)
class EndpointPage:
    """A page of endpoints by name; `after` is what to ask the next one with, None on the last."""

    rows: tuple[EndpointLine, ...]
    after: str | None


def endpoints(
    session: Session,
    *,
    now: datetime,
    interval: timedelta,
    environment: str | None = None,
    model: str | None = None,
    server: str | None = None,
    mode: str | None = None,
    state: str | None = None,
    text: str = "",
    after: str | None = None,
    limit: int = 50,
) -> EndpointPage:
    """Endpoints by name. `text` is part of an endpoint's or its model's name; `state` is the state as shown."""
    shown = shown_state(now, interval)
    query = listed(shown).order_by(Endpoint.name)
    for column, wanted in (
        (Endpoint.environment, environment),
        (Endpoint.model, model),
        (Endpoint.mode, mode),
        (Server.name, server),
    ):
        query = query.where(column == wanted) if wanted is not None else query
    query = query.where(shown == state) if state is not None else query
    if text:
        query = query.where(sa.or_(*(col(one).icontains(text, autoescape=True) for one in (Endpoint.name, Endpoint.model))))
    query = query.where(Endpoint.name > after) if after is not None else query
    most = max(1, min(limit, LIMIT))
    found = session.exec(query.limit(most + 1)).all()
    lines = lines_of(session, found[:most], now, interval)
    return EndpointPage(lines, lines[-1].name if len(found) > most else None)


def of_models(session: Session, models: Sequence[str], *, now: datetime, interval: timedelta) -> tuple[EndpointLine, ...]:
    """Every endpoint of these models, by name."""
    if not models:
        return ()
    query = listed(shown_state(now, interval)).where(col(Endpoint.model).in_(models)).order_by(Endpoint.name)
    return lines_of(session, session.exec(query).all(), now, interval)


def counts(session: Session, *, now: datetime, interval: timedelta) -> Mapping[str, int]:
    """How many endpoints are in each state as shown; states that none is in are left out."""
    shown = shown_state(now, interval).label("shown")
    each = select(shown).select_from(Endpoint).outerjoin(Look, col(Look.endpoint_id) == Endpoint.id).subquery()
    return dict(session.exec(select(each.c.shown, sa.func.count()).group_by(each.c.shown)).all())


def one_line(session: Session, row: Endpoint, *, now: datetime, interval: timedelta) -> EndpointLine:
    """One endpoint as its list shows it."""
    found = session.exec(listed(shown_state(now, interval)).where(Endpoint.id == row.id)).all()
    return lines_of(session, found, now, interval)[0]


def is_known(line: EndpointLine) -> bool:
    """Whether what was last seen still says something of now."""
    return not line.stale and line.state not in ("stale", "unreachable")


def shown_state(now: datetime, interval: timedelta) -> sa.ColumnElement[str]:
    """The state as shown: what says something of now is `stale` once the newest look is too old (`courses.is_stale`)."""
    fresh = col(Look.seen_at) >= now - courses.STALE_INTERVALS * interval
    aged = sa.and_(col(Endpoint.state).in_(_AGES), sa.not_(sa.func.coalesce(fresh, sa.false())))
    return sa.case((aged, "stale"), else_=col(Endpoint.state))


def listed(shown: sa.ColumnElement[str]) -> Any:
    """Every endpoint with its server's name, its newest look, and its state as shown."""
    return (
        select(Endpoint, Server.name, Look, shown)
        .join(Server, col(Server.id) == Endpoint.server_id)
        .outerjoin(Look, col(Look.endpoint_id) == Endpoint.id)
    )


@dataclass(frozen=True)
class _Around:
    """What a page of lines needs besides its rows, read in three queries."""

    champions: Mapping[str, int]
    proofs: Mapping[str, Sequence[Proof]]
    routers: Mapping[str, str]
    now: datetime
    interval: timedelta


def lines_of(
    session: Session, found: Sequence[tuple[Endpoint, str, Look | None, str]], now: datetime, interval: timedelta
) -> tuple[EndpointLine, ...]:
    """Lines of rows of `listed`, with three queries for all of them."""
    rows = [row for row, _, _, _ in found]
    ids = {row.router_id for row in rows if row.router_id}
    routers = {one.id: one.name for one in session.exec(select(RouterRow).where(col(RouterRow.id).in_(ids)))}
    around = _Around(_champions(session, rows), _proofs(session, rows), routers, now, interval)
    return tuple(_line(row, server, look, state, around) for row, server, look, state in found)


def _line(row: Endpoint, server: str, look: Look | None, state: str, around: _Around) -> EndpointLine:
    seen_at = look.seen_at if look is not None else None
    stale = courses.is_stale(seen_at, around.now, interval=around.interval)
    seen = not stale and state not in ("stale", "unreachable")
    proofs = tuple(_proof(one, row, around.now, seen=seen) for one in around.proofs.get(row.id, ()))
    failed = any(one.verdict == "failed" and one.generation == row.generation for one in proofs)
    proved = row.generation > 0 and row.proved_generation == row.generation
    aged = state == "stale" and row.state != "stale"
    return EndpointLine(
        id=row.id,
        name=row.name,
        environment=row.environment,
        model=row.model,
        server=server,
        router=around.routers.get(row.router_id or ""),
        served_name=row.served_name,
        mode=row.mode,
        repair=row.repair,
        state=state,
        reason=_not_seen(seen_at) if aged else row.state_reason,
        since=row.state_since,
        paused=row.paused,
        stale=stale,
        healthy=state == "in_sync" and seen and proved and not failed,
        seen_seconds=(around.now - seen_at).total_seconds() if seen_at is not None else None,
        generation=row.generation,
        routed_generation=row.routed_generation,
        proved_generation=row.proved_generation,
        created_by=row.created_by,
        champion_version=around.champions.get(row.id),
        live_version=_live_version(row.base) if seen else None,
        live=_live(row.base) if seen else (),
        proofs=proofs,
    )


def _proofs(session: Session, rows: Sequence[Endpoint]) -> dict[str, list[Proof]]:
    found: dict[str, list[Proof]] = {}
    for one in session.exec(select(Proof).where(col(Proof.endpoint_id).in_([row.id for row in rows])).order_by(Proof.kind)):
        found.setdefault(one.endpoint_id, []).append(one)
    return found


def _proof(one: Proof, row: Endpoint, now: datetime, *, seen: bool) -> ProofView:
    holds = seen and one.verdict == "ok" and one.generation == row.generation
    return ProofView(
        one.kind, one.verdict, one.reason, one.generation, (now - one.checked_at).total_seconds(), holds, one.details
    )


def _champions(session: Session, rows: Sequence[Endpoint]) -> dict[str, int]:
    """Registered version of each endpoint's wanted champion."""
    ids = [f"{row.id}/{row.generation}" for row in rows if row.generation]
    found: dict[str, int] = {}
    for one in session.exec(select(Generation).where(col(Generation.id).in_(ids))):
        desired = DesiredEndpoint.model_validate(one.desired)
        for arm in desired.arms:
            if arm.name == desired.champion:
                found[one.endpoint_id] = arm.version
    return found


def _live_version(base: Mapping[str, Any] | None) -> int | None:
    """The version that was seen to be champion."""
    arms = base["arms"] if base is not None else []
    return next((arm["version"] for arm in arms if base is not None and arm["name"] == base["champion"]), None)


def _live(base: Mapping[str, Any] | None) -> tuple[LiveShare, ...]:
    if base is None:
        return ()
    seen = [
        LiveShare(str(arm["name"]), int(arm["version"]), int(arm["buckets"]), arm["name"] == base["champion"])
        for arm in base["arms"]
    ]
    return tuple(sorted(seen, key=lambda one: (not one.champion, -one.buckets, one.arm)))


def _not_seen(seen_at: datetime | None) -> str:
    return f"not seen since {seen_at.isoformat(timespec='seconds')}" if seen_at is not None else "not seen yet"
