"""Which claims this worker holds at this moment, and how many more each lane may take. Any thread may ask."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.work import Claim
from backend.worker.timing import Lane


@dataclass
class Holding:
    """One claim in a handler's hands. Times are of the monotonic clock, in seconds."""

    claim: Claim
    since: float
    renewed: float
    hung: bool = False


class Holdings:
    """The claims in progress. A claim is known by its token too: an item may be claimed anew before its last thread ends."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self._held: dict[tuple[str, str, int], Holding] = {}
        self._changed = threading.Condition()

    def take(self, claims: Sequence[Claim]) -> None:
        """Counts claims as held."""
        now = time.monotonic()
        with self._changed:
            self._held.update({_key(one): Holding(one, now, now) for one in claims})

    def drop(self, claim: Claim) -> None:
        """Its handler has ended."""
        with self._changed:
            self._held.pop(_key(claim), None)
            self._changed.notify_all()

    def holds(self, claim: Claim) -> bool:
        """Whether its handler still runs."""
        with self._changed:
            return _key(claim) in self._held

    def all(self) -> list[Holding]:
        """Every claim in progress."""
        with self._changed:
            return list(self._held.values())

    def by_kind(self) -> Counter[str]:
        """How many are held of each kind."""
        return Counter(one.claim.kind for one in self.all())

    def room(self) -> list[tuple[Lane, int]]:
        """The lanes that can take more, each with how many."""
        held = self.by_kind()
        rooms = [(lane, lane.threads - sum(held[kind] for kind in lane.kinds)) for lane in self._lanes]
        return [(lane, room) for lane, room in rooms if room > 0]

    def wait_until_empty(self, seconds: float) -> bool:
        """Waits until no handler runs; False when some still do after `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, timeout=seconds)


def _key(claim: Claim) -> tuple[str, str, int]:
    return claim.kind, claim.key, claim.token
