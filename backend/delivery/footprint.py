"""What a server or a router takes for itself of the network and of this machine's files, in one spelling each.

Two rows with one footprint would be one runtime under two names: what is approved for the one would run as the other.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from backend.delivery.addresses import leaves, urls

Parts = tuple[str, ...]
_PATH_FIELD = re.compile(r"(?:^|[._])(?:file|path|folder|directory|repository)$")
_UPSTREAM = re.compile(r"\[?(?P<host>[^\[\]/]+)\]?:(?P<port>[0-9]+)")
_NUMBERS = re.compile(r"[0-9a-fx.]+")
_THIS_MACHINE = "localhost"


@dataclass(frozen=True)
class Footprint:
    """Each place as parts, outermost first, so that one lies in another when it begins with the other's parts."""

    addresses: frozenset[Parts] = frozenset()
    """(host:port, parts of the path); a path only where callers come in, because one host may have several doors."""
    memory: frozenset[Parts] = frozenset()
    """Names of servers or routers in memory; those of servers are not those of routers."""
    files: frozenset[Parts] = frozenset()
    """Real paths on this machine."""


def footprint(kind: str, settings: Mapping[str, Any], place: str) -> Footprint:
    """Of a row's settings and its `place` (a server's upstream, a router's public URL). Nothing is called or resolved."""
    addresses: set[Parts] = {(_origin(url),) for _, url in urls(settings)}
    files = {real_path(path) for path in _paths(settings)}
    memory: set[Parts] = set()
    if kind == "memory" and not settings.get("path"):  # a path is what it is known by, and its name is not read
        memory.add((str(settings.get("name") or "memory"),))
    if place.startswith("memory:/"):
        files.add(real_path(place.removeprefix("memory:")))
    elif place.startswith("memory:"):
        memory.add((place.removeprefix("memory:"),))
    elif place:
        addresses.add(_door(place))
    return Footprint(frozenset(addresses), frozenset(memory), frozenset(files))


def overlap(one: frozenset[Parts], other: frozenset[Parts]) -> Parts | None:
    """The first of `one` that is, lies in or contains one of the other's."""
    return next((mine for mine in sorted(one) if any(_nested(mine, theirs) for theirs in other)), None)


def real_path(path: str) -> Parts:
    """The parts of a path with its links followed; what does not exist yet lies where it would."""
    return tuple(part for part in os.path.realpath(path.replace("\0", "")).split(os.sep) if part)


def _nested(one: Parts, other: Parts) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _paths(settings: Mapping[str, Any]) -> Iterator[str]:
    """Paths on this machine. A field that ends with `_on_server` names one on the server's machine, where each has its own."""
    for field, text in leaves(settings):
        if field.endswith("_on_server") or not text:
            continue
        if text.lower().startswith("file:"):
            yield unquote(urlsplit(text).path)
        elif text.startswith("/") or (_PATH_FIELD.search(field) and "://" not in text):
            yield text


def _door(place: str) -> Parts:
    """Of an upstream its host and port, of a public URL its path too."""
    if (upstream := _UPSTREAM.fullmatch(place)) is not None:
        return (_address(upstream["host"], int(upstream["port"])),)
    return (_origin(place), *(part for part in urlsplit(place).path.split("/") if part))


def _origin(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return url
    return _address(parsed.raw_host.decode(), parsed.port or (443 if parsed.scheme == "https" else 80))


def _address(host: str, port: int) -> str:
    return f"{_host(host.lower().rstrip('.'))}:{port}"


def _host(host: str) -> str:
    """One spelling for each host; every name and number of this machine's own is the same."""
    if host == _THIS_MACHINE or host.endswith(f".{_THIS_MACHINE}"):
        return _THIS_MACHINE
    number = _number(host)
    if number is None:
        return host
    return _THIS_MACHINE if number.is_loopback or number.is_unspecified else str(number)


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, short forms such as 127.1 among them."""
    try:
        number = ipaddress.ip_address(socket.inet_aton(host) if _NUMBERS.fullmatch(host) else host)
    except (OSError, ValueError):
        return None
    return getattr(number, "ipv4_mapped", None) or number
