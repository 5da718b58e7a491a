"""Servers and routers, and what they said of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class WaitingMove:
    """A move that somebody else has to confirm."""

    settings: Mapping[str, Any]
    place: str
    by: str
    by_id: str
    at: datetime
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class Server:
    """A server in a list; `has_credential` is all that is told of one."""

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
    move: WaitingMove | None
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Router:
    """A router in a list."""

    id: str
    name: str
    kind: str
    settings: Mapping[str, Any]
    public_url: str
    has_credential: bool
    revision: int
    endpoints: int
    created_at: datetime
    move: WaitingMove | None
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Advisory:
    """A published weakness of what a server said that it is; `fixed`: the releases that mend it."""

    product: str
    cves: tuple[str, ...]
    says: str
    fixed: tuple[str, ...]
    remedy: str
    source: str
    since: str


@dataclass(frozen=True)
class Inspected:
    """What a server or a router said of itself, and what its kind is able to do."""

    product: str
    version: str
    live: bool
    warnings: tuple[str, ...]
    abilities: Mapping[str, Any]
    extensions: tuple[str, ...] = ()
    advisories: tuple[Advisory, ...] = ()
