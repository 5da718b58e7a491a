"""What all streams and the door share: the snapshots, the fleet, and waking whoever waits. One event loop touches it."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from backend.xds.fleet import Envoy, Fleet
from backend.xds.rules import Version
from backend.xds.snapshots import Snapshot, Snapshots

SAVED_SECONDS = 0.2
log = structlog.get_logger()


class Hub:
    """See the module.

    Args:
        nodes: patterns of the names that may connect; none: each may.
    """

    def __init__(self, snapshots: Snapshots, fleet: Fleet, nodes: tuple[str, ...] = ()) -> None:
        self.snapshots, self.fleet, self.nodes = snapshots, fleet, nodes
        self._waiting: set[asyncio.Event] = set()
        self._putting = asyncio.Lock()
        self._is_changed = True
        self.ending = False

    def end(self) -> None:
        """Ends every stream in good order; their Envoys look for another."""
        self.ending = True
        self._wake()

    def join(self, envoy: Envoy, woken: asyncio.Event) -> None:
        """A stream began."""
        self.fleet.join(envoy)
        self._waiting.add(woken)
        self.changed()
        log.info("xds.connected", node=envoy.node, peer=envoy.peer, version=envoy.version)

    def leave(self, envoy: Envoy, woken: asyncio.Event) -> None:
        """A stream ended."""
        self._waiting.discard(woken)
        self.fleet.leave(envoy)
        self.changed()
        log.info("xds.disconnected", node=envoy.node, peer=envoy.peer)

    def changed(self) -> None:
        """Who has what is other than it was."""
        self._is_changed = True

    def claim(self, version: Version) -> bool:
        """See `Snapshots.claim`."""
        return self.snapshots.claim(version)

    async def put(self, content: Any, base: int) -> Snapshot:
        """See `Snapshots.put`; one at a time, and streams go on meanwhile. Then every stream looks what it is to send."""
        async with self._putting:
            made = await asyncio.to_thread(self.snapshots.put, content, base)
            self.snapshots.prune(self.fleet.used())
        self.fleet.given = (made.number, self.fleet.now())
        self._wake()
        log.info("xds.snapshot", number=made.number, digest=made.digest[:19])
        return made

    def _wake(self) -> None:
        for woken in self._waiting:
            woken.set()

    def state(self) -> dict[str, Any]:
        """What the door tells of now."""
        numbers = self.snapshots.numbers()
        return {
            "schema": 1,
            "number": numbers[-1] if numbers else 0,
            "given": self.snapshots.to_give is not None,
            "trouble": self.snapshots.trouble,
            "warnings": self.fleet.warnings(),
            "envoys": self.fleet.told(),
        }

    async def keep(self) -> None:
        """Keeps who has what, again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(SAVED_SECONDS)
            if self._is_changed:
                self._is_changed = False
                self.fleet.save()
