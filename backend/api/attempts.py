"""How often each address brought a token that was not good, so that guessing does not load the database."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

MOST_FAILURES = 20
WINDOW_SECONDS = 60.0
_MOST_ADDRESSES = _MOST_TOKENS = 10_000


class Attempts:
    """Failures by address within a window. In memory, bounded, for one process.

    A token that was good before is let through from a blocked address, and looked up as always: those who share an address with
    somebody who guesses (a proxy's, this machine's own) go on working.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def blocked(self, address: str, token: str) -> int | None:
        """Seconds until this address may bring another token that is not known to be good; None where it may now."""
        with self._lock:
            began, count = self._failed.get(address, (0.0, 0))
            left = began + WINDOW_SECONDS - self._clock()
            if count < MOST_FAILURES or left <= 0 or _mark(token) in self._good:
                return None
            return int(left) + 1

    def note(self, address: str, token: str, *, good: bool) -> None:
        """What came of one attempt."""
        with self._lock:
            if good:
                self._good[_mark(token)] = None
                self._good.move_to_end(_mark(token))
                _bound(self._good, _MOST_TOKENS)
                return
            self._good.pop(_mark(token), None)
            began, count = self._failed.pop(address, (0.0, 0))
            if not count or self._clock() - began >= WINDOW_SECONDS:
                began, count = self._clock(), 0
            self._failed[address] = (began, count + 1)
            _bound(self._failed, _MOST_ADDRESSES)


def _mark(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _bound(
    kept: OrderedDict[object, object] | OrderedDict[str, tuple[float, int]] | OrderedDict[bytes, None], most: int
) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
