"""Addresses that people enter for servers and routers, checked before they are kept. Resolves names: outside any unit."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.core.unit import assert_outside_unit

_UPSTREAM = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?)):(?P<port>[1-9][0-9]{0,4})"
)


def check_urls(guard: Guard, settings: Mapping[str, Any]) -> None:
    """Refusal, naming the field, for a URL in an adapter's settings that may not be called or that carries parameters.

    A URL is what stands in a field whose name ends with `url`, and whatever begins with http:// or https://.
    """
    for field, url in urls(settings):
        check_url(guard, url, f"the setting {field}")


def check_url(guard: Guard, url: str, what: str) -> None:
    """Refusal unless the URL may be called: http(s), no user name, no parameters, an address that is public or listed."""
    assert_outside_unit("resolving an address")
    try:
        parsed = guard.check(url)
    except Refusal as error:
        raise Refusal(f"{_upper(what)}: {error.message}", error.remedy, code=error.code, **error.facts) from error
    except ExternalFailure as error:
        raise _unresolved(what) from error
    if parsed.query:
        raise Refusal(
            f"{_upper(what)} has parameters after a question mark, which everybody could read.",
            "Leave them out; enter a key or a token as the credential.",
            code="bad-url",
        )


def check_upstream(guard: Guard, upstream: str) -> None:
    """Refusal unless it is `host:port`, and nothing else, at an address that is public or listed: routers send there."""
    assert_outside_unit("resolving an address")
    host, port = _split(upstream)
    try:
        guard.address(host, port)
    except Refusal as error:
        raise Refusal(f"The upstream: {error.message}", error.remedy, code=error.code, **error.facts) from error
    except ExternalFailure as error:
        raise _unresolved("the upstream") from error


def is_in_memory(kind: str, address: str) -> bool:
    """Whether it names a server or router in memory (`memory:<name>`), which only those of that kind do. Nothing is called."""
    return kind == "memory" and address.startswith("memory:") and address.isprintable() and len(address) < 1_000


def urls(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, URL) of every URL in some settings."""
    for field, text in leaves(settings):
        if field.lower().endswith("url") or text.lower().startswith(("http://", "https://")):
            yield field, text


def leaves(content: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(field, text), however deep; `backup.url` for a field in a field."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from leaves(value, f"{where}.{name}" if where else str(name))
    elif isinstance(content, list | tuple):
        for value in content:
            yield from leaves(value, where)
    elif isinstance(content, str):
        yield where, content


def origins(settings: Mapping[str, Any]) -> list[str]:
    """Scheme, host and port of every URL in some settings, sorted; fit for the ledger."""
    return sorted({origin(url) for _, url in urls(settings)})


def origin(url: str) -> str:
    """`scheme://host:port` of a URL that was checked."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def _split(upstream: str) -> tuple[str, int]:
    match = _UPSTREAM.fullmatch(upstream)
    if match is None or int(match["port"]) > 65_535 or (match["six"] is not None and not _is_ipv6(match["six"])):
        raise Refusal(
            f"{upstream[:80]!r} is not an address of the form host:port.",
            "Write where routers reach its inference interface, as 10.2.0.7:8000 or triton.example.com:8000.",
            code="bad-upstream",
        )
    return match["six"] or match["host"], int(match["port"])


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _unresolved(what: str) -> Refusal:
    return Refusal(
        f"{_upper(what)} names a host that cannot be found from here.",
        "Correct the name, or give the numeric address; it must be reachable from where Countersign runs.",
        code="not-resolved",
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
