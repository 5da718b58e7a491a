"""What the worker refuses to start with: no database, another schema, or a failpoint where others could be harmed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlmodel import Session, select

from backend import migrate
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.core.loopback import is_loopback
from backend.delivery.rows import RouterRow, Server
from backend.settings import Settings

FAILPOINT = "COUNTERSIGN_FAILPOINT"


def require_ready(database: Database, settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Refusal or ExternalFailure when this worker must not start."""
    try:
        migrate.require_current(database)
    except sa.exc.OperationalError as error:
        raise ExternalFailure("The database", "cannot be reached", retryable=True) from error
    if environment.get(FAILPOINT):
        _require_loopback(database, settings)


def _require_loopback(database: Database, settings: Settings) -> None:
    """A failpoint kills the worker in the middle of a push: only where database, registry, servers and routers are local."""
    with database.read() as session:
        addresses = {**_addresses(session), "the database": _database_host(database), "the registry": settings.mlflow_url or ""}
    for what, address in addresses.items():
        if not is_local(address):
            raise Refusal(
                f"{FAILPOINT} is set, and {what} is not on this machine.",
                f"Unset {FAILPOINT}; it is for tests against local servers only.",
                code="failpoint",
            )


def is_local(address: str) -> bool:
    """Whether a URL, `host:port` or host is this machine; nothing, a Unix socket's folder, memory and `localhost` are."""
    if not address or address.startswith(("/", "memory:")):
        return True
    return is_loopback(urlsplit(address if "://" in address else f"//{address}").hostname or "")


def _database_host(database: Database) -> str:
    hosts = database.url.query.get("host", "")
    return database.url.host or (hosts if isinstance(hosts, str) else ",".join(hosts))


def _addresses(session: Session) -> dict[str, str]:
    found: dict[str, str] = {}
    for server in session.exec(select(Server)):
        found |= _named(f"server {server.name}", [server.upstream, *_urls(server.settings)])
    for router in session.exec(select(RouterRow)):
        found |= _named(f"router {router.name}", [router.public_url, *_urls(router.settings)])
    return found


def _named(what: str, addresses: list[str]) -> dict[str, str]:
    return {what: next((one for one in addresses if not is_local(one)), "")}


def _urls(settings: Any) -> Iterator[str]:
    """Every URL in an adapter's settings, however deep; each adapter names its fields itself."""
    if isinstance(settings, str) and "://" in settings and not settings.startswith("file:"):
        yield settings
    elif isinstance(settings, Mapping):
        for value in settings.values():
            yield from _urls(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _urls(value)
