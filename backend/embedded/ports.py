"""Free loopback ports for servers that cannot be handed an open socket.

A port is bound here until right before its server starts. Two things keep others off it in the moment between: it lies
outside the range from which the kernel serves outgoing connections and `bind(0)`, and its number is claimed for as long
as the group lives by an abstract Unix socket (unix(7)), which every process that uses this module respects. Whoever
binds such a port all the same is noticed, because the server then fails to start: see `taken` and launch.py.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from backend.core.errors import ExternalFailure

LOOPBACK = "127.0.0.1"
_LOWEST = 10_240
_HIGHEST = 65_535
_TRIES = 2_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports:
    """`count` free ports on loopback, bound until `release`, claimed until `close`; those of `wanted` where they are free."""

    def __init__(self, count: int, wanted: Sequence[int] = ()) -> None:
        self._bound: list[socket.socket] = []
        self._claims: list[socket.socket] = []
        for place in range(count):
            if not (place < len(wanted) and self._try(wanted[place], again=True)):
                self._find(count)
        self.numbers = tuple(int(held.getsockname()[1]) for held in self._bound)

    def release(self) -> None:
        """Stop holding the ports, right before their server starts. They stay claimed."""
        for held in self._bound:
            held.close()
        self._bound = []

    def close(self) -> None:
        """Give them back."""
        for held in (*self._bound, *self._claims):
            held.close()
        self._bound, self._claims = [], []

    def _find(self, count: int) -> None:
        candidates = candidate_range()
        if not any(self._try(candidates[secrets.randbelow(len(candidates))]) for _ in range(_TRIES)):
            self.close()
            raise ExternalFailure("This machine", f"has no {count} free ports on {LOOPBACK}", retryable=True)

    def _try(self, port: int, *, again: bool = False) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if again:  # connections of the last time that are only closing do not count
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            claim.bind(f"\0countersign-port-{port}")
            held.bind((LOOPBACK, port))
        except OSError:
            claim.close()
            held.close()
            return False
        self._claims.append(claim)
        self._bound.append(held)
        return True


def taken(ports: Iterable[int]) -> bool:
    """Whether somebody holds one of these ports."""
    return any(not _can_bind(port) for port in ports)


def candidate_range() -> range:
    """The larger of the two ranges beside the kernel's ephemeral one; all unprivileged ports if that covers them."""
    try:
        low, high = (int(word) for word in _EPHEMERAL.read_text().split())
    except OSError:
        return range(_LOWEST, _HIGHEST)
    below, above = range(_LOWEST, low), range(high + 1, _HIGHEST)
    return max(below, above, key=len) or range(_LOWEST, _HIGHEST)


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are only closing do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
