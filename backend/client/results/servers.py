"""Servers and routers, what they said of themselves, where calls may go, and the keys that credentials are sealed to."""

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
    expires_at: datetime
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


@dataclass(frozen=True)
class WayOut:
    """What one kind of call reaches besides public addresses, and the setting that says so."""

    allowed: tuple[str, ...]
    setting: str


@dataclass(frozen=True)
class Ports:
    """Which ports are called, as they are written; empty: all but those of other protocols."""

    allowed: str
    setting: str


@dataclass(frozen=True)
class Outgoing:
    """Where the server may call, as its settings were loaded."""

    servers: WayOut
    messages: WayOut
    ports: Ports


@dataclass(frozen=True)
class JudgedAddress:
    """Whether an address of a server would be called, at which numeric address, or why not."""

    allowed: bool
    address: str | None
    code: str
    says: str
    remedy: str


@dataclass(frozen=True)
class SealingKey:
    """A key that secrets are sealed to, by its name. `state`: current, old, destroyed or unknown; `is_here`: at the server."""

    id: str
    state: str
    secrets: int
    used_by: tuple[str, ...]
    is_here: bool
    is_due: bool
    made_at: datetime | None
    replaced_at: datetime | None
    destroyed_at: datetime | None


@dataclass(frozen=True)
class LedgerKey:
    """The key that signs the ledger's heads after a row. `since` is None for the first one."""

    id: str
    since: datetime | None
    after_row: int
    is_here: bool
    is_due: bool
