"""How often each address brought a token that was not good, so that guessing does not load the database.

An address is no person: everybody behind one proxy shares it, and a stranger among them must not keep the others out. So an
address with too many failures is not shut; what it brings is only looked at in the cheap way first. One of Countersign's own
has to be among those that there are, which is known from memory (`Tokens.is_known`); one that another issuer signed reaches no
database before its signature is checked anyway. What is good gets through, whatever else comes from there.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

MOST_FAILURES = 20
WINDOW_SECONDS = 60.0
AGAIN_SECONDS = 2.0
"""How long after a failure the same token is not looked at again, from an address with too many of them."""
_MOST_ADDRESSES = _MOST_TOKENS = 10_000


class Attempts:
    """Failures by address within a window, and when each token failed last. In memory, bounded, for one process.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._bad: OrderedDict[bytes, float] = OrderedDict()

    def is_over(self, address: str) -> bool:
        """Whether so many were not good that the next one is looked at in the cheap way first."""
        with self._lock:
            began, count = self._failed.get(address, (0.0, 0))
            return count >= MOST_FAILURES and self._clock() < began + WINDOW_SECONDS

    def has_just_failed(self, token: str) -> bool:
        """Whether it was looked at within the last seconds, and was not good."""
        with self._lock:
            at = self._bad.get(_mark(token))
            return at is not None and self._clock() < at + AGAIN_SECONDS

    def note(self, address: str, token: str, *, good: bool) -> None:
        """What came of one look."""
        with self._lock:
            self._bad.pop(_mark(token), None)
            if good:
                return
            now = self._clock()
            self._bad[_mark(token)] = now
            began, count = self._failed.pop(address, (0.0, 0))
            if not count or now - began >= WINDOW_SECONDS:
                began, count = now, 0
            self._failed[address] = (began, count + 1)
            if len(self._bad) > _MOST_TOKENS:
                self._bad.popitem(last=False)
            if len(self._failed) > _MOST_ADDRESSES:
                self._failed.popitem(last=False)


def _mark(token: str) -> bytes:
    return sha256(token.encode()).digest()
