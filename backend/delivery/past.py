"""The fleet in the past: what was desired, approved and seen at any moment, and who had which share when over a period."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.core.canonical import loads
from backend.core.ledger import LedgerRow
from backend.delivery.courses import ENDPOINT
from backend.delivery.fleet import Filters, narrowed
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.records import LIMIT, TELL_STATE, Share, names_of, shares
from backend.delivery.rows import Authorization, Endpoint, Generation, Observation, Server

MOST_MOVES = 1_000


@dataclass(frozen=True)
class Span:
    """One generation of an endpoint: in force from `start` until the next one begins."""

    start: datetime
    number: int
    reason: str
    champion: str | None
    shares: tuple[Share, ...]
    change_id: str | None


@dataclass(frozen=True)
class Move:
    """A change of an endpoint's state, as the ledger tells it."""

    endpoint_id: str
    at: datetime
    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class PastLine:
    """One endpoint as it stood at a moment.

    Args:
        desired: the generation in force then; None before the baseline.
        policy, approved_by: of its authorization, by name; () for a baseline.
        state, reason: as the ledger tells them.
        seen: what had last been seen by then, since `seen_at`; None before the first look.
    """

    id: str
    name: str
    environment: str
    model: str
    server: str
    state: str
    reason: str
    desired: Span | None
    policy: str | None
    approved_by: tuple[str, ...]
    seen: Mapping[str, Any] | None
    seen_at: datetime | None


@dataclass(frozen=True)
class PastPage:
    """A page of the past by name; `after` is what to ask the next one with, None on the last."""

    rows: tuple[PastLine, ...]
    after: str | None


def fleet_at(session: Session, moment: datetime, filters: Filters, *, after: str = "", limit: int = 50) -> PastPage:
    """Endpoints that existed at a moment, by name, as they stood then; of the filters the state is not asked."""
    most = max(1, min(limit, LIMIT))
    query = select(Endpoint, Server.name).join(Server, col(Server.id) == Endpoint.server_id)
    query = narrowed(query, filters).where(col(Endpoint.created_at) <= moment, col(Endpoint.name) > after)
    found = session.exec(query.order_by(col(Endpoint.name)).limit(most + 1)).all()
    rows = found[:most]
    ids = [row.id for row, _ in rows]
    desired = {row.endpoint_id: row for row in _newest_generations(session, ids, moment)}
    grants = _grants(session, desired.values())
    seen = {one.endpoint_id: one for one in _newest_observations(session, ids, moment)}
    told = _told(session, ids, moment)
    voters = names_of(session, {vote["identity_id"] for one in grants.values() for vote in one.votes})
    lines = [
        _line(row, server, desired.get(row.id), grants, seen.get(row.id), told.get(row.id, {}), voters) for row, server in rows
    ]
    return PastPage(tuple(lines), rows[-1][0].name if len(found) > most else None)


def spans(session: Session, ids: Sequence[str], start: datetime, end: datetime) -> dict[str, tuple[Span, ...]]:
    """Endpoint id -> its generations that were in force between two moments, in the order of their numbers."""
    first = (
        select(Generation.endpoint_id, sa.func.max(Generation.number).label("number"))
        .where(col(Generation.endpoint_id).in_(ids), col(Generation.admitted_at) <= start)
        .group_by(col(Generation.endpoint_id))
        .subquery()
    )
    query = (
        select(Generation)
        .outerjoin(first, first.c.endpoint_id == Generation.endpoint_id)
        .where(
            col(Generation.endpoint_id).in_(ids),
            col(Generation.admitted_at) <= end,
            col(Generation.number) >= sa.func.coalesce(first.c.number, 0),
        )
        .order_by(col(Generation.endpoint_id), col(Generation.number))
    )
    rows = session.exec(query).all()
    grants = _grants(session, rows)
    found: dict[str, list[Span]] = {}
    for row in rows:
        found.setdefault(row.endpoint_id, []).append(_span(row, grants))
    return {key: tuple(value) for key, value in found.items()}


def moves(session: Session, ids: Sequence[str], start: datetime, end: datetime) -> tuple[Move, ...]:
    """Changes of these endpoints' states between two moments, in the order of their times; the newest thousand."""
    query = (
        _ledger(ids)
        .where(col(LedgerRow.at) > start, col(LedgerRow.at) <= end)
        .order_by(col(LedgerRow.seq).desc())
        .limit(MOST_MOVES)
    )
    return tuple(filter(None, map(_move, reversed(session.exec(query).all()))))


def latest(session: Session, *, limit: int = 9) -> tuple[tuple[str, Move], ...]:
    """(endpoint's name, change of its state) of the whole fleet, the newest first."""
    told = select(LedgerRow).where(LedgerRow.subject_kind == "endpoint", col(LedgerRow.action).in_(TELL_STATE))
    rows = session.exec(told.order_by(col(LedgerRow.seq).desc()).limit(4 * limit)).all()
    found = [one for one in map(_move, rows) if one is not None][:limit]
    query = select(Endpoint.id, Endpoint.name).where(col(Endpoint.id).in_({one.endpoint_id for one in found}))
    names = dict(session.exec(query).all())
    return tuple((names[one.endpoint_id], one) for one in found if one.endpoint_id in names)


def _newest_generations(session: Session, ids: Sequence[str], moment: datetime) -> Sequence[Generation]:
    newest = (
        select(Generation.endpoint_id, sa.func.max(Generation.number).label("number"))
        .where(col(Generation.endpoint_id).in_(ids), col(Generation.admitted_at) <= moment)
        .group_by(col(Generation.endpoint_id))
        .subquery()
    )
    query = select(Generation).join(
        newest, sa.and_(newest.c.endpoint_id == Generation.endpoint_id, newest.c.number == Generation.number)
    )
    return session.exec(query).all()


def _newest_observations(session: Session, ids: Sequence[str], moment: datetime) -> Sequence[Observation]:
    order = (col(Observation.seen_at).desc(), col(Observation.id).desc())
    place = sa.func.row_number().over(partition_by=col(Observation.endpoint_id), order_by=order).label("place")
    ranked = (
        select(Observation.id, place)
        .where(col(Observation.endpoint_id).in_(ids), col(Observation.seen_at) <= moment)
        .subquery()
    )
    query = select(Observation).join(ranked, sa.and_(ranked.c.id == Observation.id, ranked.c.place == 1))
    return session.exec(query).all()


def _told(session: Session, ids: Sequence[str], moment: datetime) -> dict[str, Mapping[str, Any]]:
    """Endpoint id -> what the newest ledger row by then says of its state."""
    newest = _ledger(ids).where(col(LedgerRow.at) <= moment).with_only_columns(sa.func.max(LedgerRow.seq))
    query = select(LedgerRow).where(col(LedgerRow.seq).in_(newest.group_by(col(LedgerRow.subject_id))))
    return {row.subject_id: loads(row.after_json) or {} for row in session.exec(query)}


def _ledger(ids: Sequence[str]) -> Any:
    return select(LedgerRow).where(
        LedgerRow.subject_kind == "endpoint", col(LedgerRow.subject_id).in_(ids), col(LedgerRow.action).in_(TELL_STATE)
    )


def _grants(session: Session, rows: Iterable[Generation]) -> dict[str, Authorization]:
    ids = {row.authorization_id for row in rows if row.authorization_id}
    return {one.id: one for one in session.exec(select(Authorization).where(col(Authorization.id).in_(ids)))}


def _span(row: Generation, grants: Mapping[str, Authorization]) -> Span:
    desired = DesiredEndpoint.model_validate(row.desired)
    grant = grants.get(row.authorization_id or "")
    change = grant.change_id if grant is not None else None
    return Span(row.admitted_at, row.number, row.reason, desired.champion, shares(desired), change)


def _line(
    row: Endpoint,
    server: str,
    desired: Generation | None,
    grants: Mapping[str, Authorization],
    seen: Observation | None,
    told: Mapping[str, Any],
    voters: Mapping[str, str],
) -> PastLine:
    grant = grants.get(desired.authorization_id or "") if desired is not None else None
    approving = [voters[vote["identity_id"]] for vote in grant.votes if vote["verdict"] == "approve"] if grant else []
    return PastLine(
        id=row.id,
        name=row.name,
        environment=row.environment,
        model=row.model,
        server=server,
        state=str(told.get("state", ENDPOINT.initial)),
        reason=str(told.get("state_reason") or told.get("reason") or ""),
        desired=_span(desired, grants) if desired is not None else None,
        policy=grant.policy if grant is not None else None,
        approved_by=tuple(approving),
        seen=seen.seen if seen is not None else None,
        seen_at=seen.seen_at if seen is not None else None,
    )


def _move(row: LedgerRow) -> Move | None:
    before, after = loads(row.before_json) or {}, loads(row.after_json) or {}
    if before.get("state") in (None, after.get("state")):
        return None
    reason = str(after.get("state_reason") or after.get("reason") or "")
    return Move(row.subject_id, row.at, before["state"], after["state"], reason)
