"""Reads of servers and routers, and of what was seen on them that no approval names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.visible import seen_endpoints
from backend.core.work import WorkItem
from backend.delivery.moves import expires_at
from backend.delivery.named import named
from backend.delivery.rows import Endpoint, Look, RouterRow, Server


@dataclass(frozen=True)
class Stranger:
    """A version under an endpoint's served name that no approval names. `endpoint` is the one whose name it took."""

    endpoint: str
    served_name: str
    served_version: int
    seen_at: datetime | None


@dataclass(frozen=True)
class MoveLine:
    """A move that waits: the settings and the place (upstream or public URL) asked for, who asked when, until when it can be
    confirmed, and under which managed endpoints, as far as whoever looks sees them.
    """

    settings: Mapping[str, Any]
    place: str
    by: str
    by_id: str
    at: datetime
    expires_at: datetime
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class ServerLine:
    """One server in a list. `settings` hold no secret; `has_credential` is all that is told of one.

    `move`: where it is asked to be instead, until somebody else confirms it.
    """

    id: str
    name: str
    kind: str
    settings: Mapping[str, Any]
    upstream: str
    has_credential: bool
    revision: int
    endpoints: int
    managed: int
    seen_at: datetime | None
    next_look_at: datetime | None
    last_error: str | None
    created_at: datetime
    move: MoveLine | None = None


@dataclass(frozen=True)
class RouterLine:
    """One router in a list."""

    id: str
    name: str
    kind: str
    settings: Mapping[str, Any]
    public_url: str
    has_credential: bool
    revision: int
    endpoints: int
    created_at: datetime
    move: MoveLine | None = None


def servers(session: Session) -> tuple[ServerLine, ...]:
    """Every server by name, with how many endpoints stand on it and when it last answered."""
    managed = sa.func.count(sa.case((col(Endpoint.mode) == "managed", 1)))
    query = (
        select(Endpoint.server_id, sa.func.count(), managed, sa.func.max(col(Look.seen_at)))
        .outerjoin(Look, col(Look.endpoint_id) == Endpoint.id)
        .group_by(Endpoint.server_id)
    )
    told = {key: (count, ours, seen) for key, count, ours, seen in session.exec(query)}
    items = {item.key: item for item in session.exec(select(WorkItem).where(WorkItem.kind == "server"))}
    rows = session.exec(select(Server).order_by(Server.name))
    return tuple(_server(session, row, *told.get(row.id, (0, 0, None)), items.get(row.id)) for row in rows)


def routers(session: Session) -> tuple[RouterLine, ...]:
    """Every router by name, with how many endpoints stand behind it."""
    query = select(Endpoint.router_id, sa.func.count()).group_by(col(Endpoint.router_id))
    used = dict(session.exec(query).all())
    return tuple(
        RouterLine(
            id=row.id,
            name=row.name,
            kind=row.kind,
            settings=row.settings,
            public_url=row.public_url,
            has_credential=row.sealed_credential is not None,
            revision=row.revision,
            endpoints=used.get(row.id, 0),
            created_at=row.created_at,
            move=_move(session, row),
        )
        for row in session.exec(select(RouterRow).order_by(RouterRow.name))
    )


def unmanaged(session: Session, server: str) -> tuple[Stranger, ...]:
    """What was last seen on a server under its endpoints' names without any approval, by endpoint.

    Models under names of no endpoint are told by asking the server: `Servers.unmanaged`.
    """
    place = named(session, Server, server)
    query = (
        select(Endpoint, Look)
        .outerjoin(Look, col(Look.endpoint_id) == Endpoint.id)
        .where(Endpoint.server_id == place.id)
        .order_by(Endpoint.name)
    )
    return tuple(stranger for row, look in session.exec(query) for stranger in strangers(row, look))


def strangers(row: Endpoint, look: Look | None) -> tuple[Stranger, ...]:
    """What was last seen under one endpoint's names without any approval."""
    seen_at = look.seen_at if look is not None else None
    others = row.base.get("strangers", []) if row.base is not None else []
    return tuple(Stranger(row.name, str(name), int(version), seen_at) for name, version in others)


def _server(
    session: Session, row: Server, count: int, managed: int, seen_at: datetime | None, item: WorkItem | None
) -> ServerLine:
    return ServerLine(
        id=row.id,
        name=row.name,
        kind=row.kind,
        settings=row.settings,
        upstream=row.upstream,
        has_credential=row.sealed_credential is not None,
        revision=row.revision,
        endpoints=count,
        managed=managed,
        seen_at=seen_at,
        next_look_at=item.due_at if item is not None else None,
        last_error=item.last_error if item is not None else None,
        created_at=row.created_at,
        move=_move(session, row),
    )


def _move(session: Session, row: Server | RouterRow) -> MoveLine | None:
    if row.move is None:
        return None
    told = row.move
    at = datetime.fromisoformat(told["at"])
    under = tuple(seen_endpoints(session, told["endpoints"]))
    return MoveLine(told["settings"], told["place"], told["by_name"], told["by"], at, expires_at(told), under)
