"""Rules of the ADS server, pure: what a version is called, which push is refused, and where the server may listen."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from backend.core.errors import Refusal

MOST_NUMBER = 10**15
LEAP = 1 << 20
"""How far ahead of ours a number that an Envoy tells may be and still be believed."""
_VERSION = re.compile(r"([1-9][0-9]{0,14})\.([0-9a-f]{12})(?:\+([1-9][0-9]{0,14}))?")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):([0-9]{1,5})")


@dataclass(frozen=True)
class Version:
    """What an Envoy has: a snapshot by its number and digest, and the older one whose clusters it has besides (0: none)."""

    number: int
    digest: str
    beside: int = 0

    def __str__(self) -> str:
        return f"{self.number}.{self.digest}" + (f"+{self.beside}" if self.beside else "")


@dataclass(frozen=True)
class Listen:
    """Where to listen."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nothing but this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_version(text: str) -> Version | None:
    """What an Envoy says that it has; None for what no server of ours ever said."""
    match = _VERSION.fullmatch(text)
    return Version(int(match[1]), match[2], int(match[3] or 0)) if match else None


def parse_listen(text: str, setting: str) -> Listen:
    """`host:port`; port 0 takes a free one. Refusal for anything else."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > 65_535:
        raise Refusal(f"{text[:80]!r} in {setting} is not host:port.", "Write it as 127.0.0.1:18000.", code="bad-setting")
    return Listen(match[1] or match[2], int(match[3]))


def refuse_open(listen: Listen, setting: str, *, certificate: bool, client_ca: bool) -> None:
    """Refusal for an address that others reach where they would be neither shown who we are nor asked who they are."""
    if listen.is_loopback or (certificate and client_ca):
        return
    raise Refusal(
        f"{setting} is {listen}, which other machines reach, and nobody would have to prove who he is there.",
        "Set COUNTERSIGN_XDS_CERTIFICATE_FILE, COUNTERSIGN_XDS_KEY_FILE and COUNTERSIGN_XDS_CLIENT_CA_FILE, or listen on "
        "127.0.0.1.",
        code="not-protected",
    )


def refuse_older(floors: Mapping[str, int], generations: Mapping[str, int]) -> None:
    """Refusal when an endpoint would go back to a generation before one that an Envoy may have been given."""
    for endpoint, generation in sorted(generations.items()):
        if generation < floors.get(endpoint, 0):
            raise Refusal(
                f"Generation {generation} of {endpoint} is older than {floors[endpoint]}, which was given to Envoys already.",
                "Look again: a worker may have been late. After a database came back from a backup, see docs/fleets.md.",
                code="older-generation",
                endpoint=endpoint,
                generation=generation,
                given=floors[endpoint],
            )


def risen(floors: Mapping[str, int], generations: Mapping[str, int]) -> dict[str, int]:
    """The newest generation that was ever given of each endpoint, those that are not routed any more included."""
    return {name: max(floors.get(name, 0), generations.get(name, 0)) for name in sorted({*floors, *generations})}


def is_node(text: str) -> bool:
    """Whether a text can name an Envoy."""
    return _NODE.fullmatch(text) is not None


def may_connect(node: str, patterns: tuple[str, ...]) -> bool:
    """Whether an Envoy of that name is one of the fleet; without patterns each is."""
    return not patterns or any(fnmatchcase(node, one) for one in patterns)


def one_line(text: str, most: int = 300) -> str:
    """Another system's text: printable, in one line, bounded."""
    printable = "".join(each if each.isprintable() else " " for each in text[: 4 * most])
    return " ".join(printable.split())[:most]
