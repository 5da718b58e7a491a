"""Host and port of everything that servers and routers are managed or reached at: no message is sent there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlmodel import Session, select

from backend.core.outbound import Origin
from backend.delivery.addresses import urls
from backend.delivery.rows import RouterRow, Server

_PORTS = {"http": 80, "https": 443}


def registered(session: Session) -> Iterator[Origin]:
    """Of every server and router as it is and as it is asked to be."""
    for server in session.exec(select(Server)):
        yield from of_urls([f"//{server.upstream}", *_urls(server.settings, server.move)])
    for router in session.exec(select(RouterRow)):
        yield from of_urls([router.public_url, *_urls(router.settings, router.move)])


def of_urls(found: Iterable[str | None]) -> Iterator[Origin]:
    """Host and port of each that has both; a scheme's own port where none is written."""
    for url in found:
        try:
            parts = urlsplit(url or "")
            host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            continue
        if host and port:
            yield host, port


def _urls(settings: Mapping[str, Any], move: Mapping[str, Any] | None) -> list[str]:
    place = str((move or {}).get("place", ""))
    asked = [place if "://" in place else f"//{place}"]
    return [*asked, *(url for part in (settings, move or {}) for _, url in urls(part))]
