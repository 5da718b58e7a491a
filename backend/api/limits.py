"""How many requests an identity may send: a token bucket each, in memory, for one process.

Told in the fields of the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers-10).
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MOST = 10_000
_NAME = "identity"


@dataclass(frozen=True)
class Standing:
    """What one request found.

    Args:
        left: how many more may be sent at once.
        full: seconds until all of them may be again.
        wait: seconds until the next one may be; 0 where this one may.
    """

    left: int
    full: int
    wait: int


class Limits:
    """The buckets.

    Args:
        a_minute: how many requests a bucket regains in a minute; 0: there is no limit.
        burst: how many it holds.
        clock: seconds that only grow.
    """

    def __init__(self, a_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst = a_minute / 60, max(1, burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def are_set(self) -> bool:
        """Whether there is a limit at all."""
        return self._rate > 0

    @property
    def policy(self) -> str:
        """The field `RateLimit-Policy`."""
        return f'"{_NAME}";q={self._burst};w={math.ceil(self._burst / self._rate)}'

    def take(self, who: str) -> Standing:
        """Takes one request from somebody's bucket, where there is one left."""
        with self._lock:
            now = self._clock()
            held, at = self._buckets.pop(who, (float(self._burst), now))
            held = min(self._burst, held + (now - at) * self._rate)
            may = held >= 1
            held -= 1 if may else 0
            self._buckets[who] = (held, now)
            while len(self._buckets) > _MOST:
                self._buckets.popitem(last=False)
        wait = 0 if may else math.ceil((1 - held) / self._rate)
        return Standing(int(held), math.ceil((self._burst - held) / self._rate), wait)


def told(standing: Standing) -> str:
    """The field `RateLimit`."""
    return f'"{_NAME}";r={standing.left};t={standing.full}'
