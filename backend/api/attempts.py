"""How often each address brought a token that was not good, so that guessing does not load the database.

An address is no person: everybody behind one proxy shares it, and a stranger among them must not keep the others out. So an
address with too many failures is not shut; what it brings is only looked at in the cheap way first. One of Countersign's own
has to be among those that there are, which is known from memory (`Tokens.is_known`). One that another issuer signed is looked
at if it was good before (`Bearers.is_known`); of those never seen, so many signatures a second are checked for one address.
What finds no place is told when to come back, and then has places of its own, which no flood of ever new ones takes.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any

MOST_FAILURES = 20
WINDOW_SECONDS = 60.0
AGAIN_SECONDS = 2.0
"""How long after a failure the same token is not looked at again, from an address with too many of them."""
CHECKS_A_SECOND, MOST_CHECKS = 5.0, 10.0
"""Signatures of tokens never seen that are checked for an address with too many failures: in a second, and at once. Those that
were told to come back have as many again."""
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
        self._turned_away: OrderedDict[bytes, float] = OrderedDict()
        self._checks: OrderedDict[tuple[str, bool], tuple[float, float]] = OrderedDict()

    def is_over(self, address: str) -> bool:
        """Whether so many were not good that the next one is looked at in the cheap way first."""
        with self._lock:
            began, count = self._failed.get(_place(address), (0.0, 0))
            return count >= MOST_FAILURES and self._clock() < began + WINDOW_SECONDS

    def has_just_failed(self, token: str) -> bool:
        """Whether it was looked at within the last seconds, and was not good."""
        with self._lock:
            at = self._bad.get(_mark(token))
            return at is not None and self._clock() < at + AGAIN_SECONDS

    def may_check(self, address: str, token: str) -> bool:
        """Whether the signature of a token never seen may be checked now. One that may not is known when it comes back."""
        with self._lock:
            now, mark = self._clock(), _mark(token)
            at = self._turned_away.get(mark)
            if at is not None and now < at + AGAIN_SECONDS:
                return False
            may = self._takes((_place(address), at is not None), now)
            self._turned_away.pop(mark, None)
            if not may:
                self._turned_away[mark] = now
                _forget_oldest(self._turned_away, _MOST_TOKENS)
            return may

    def _takes(self, whose: tuple[str, bool], now: float) -> bool:
        left, at = self._checks.pop(whose, (MOST_CHECKS, now))
        left = min(MOST_CHECKS, left + (now - at) * CHECKS_A_SECOND)
        self._checks[whose] = (left - 1 if left >= 1 else left, now)
        _forget_oldest(self._checks, _MOST_ADDRESSES)
        return left >= 1

    def note(self, address: str, token: str, *, good: bool) -> None:
        """What came of one look."""
        with self._lock:
            self._bad.pop(_mark(token), None)
            if good:
                return
            now = self._clock()
            self._bad[_mark(token)] = now
            place = _place(address)
            began, count = self._failed.pop(place, (0.0, 0))
            if not count or now - began >= WINDOW_SECONDS:
                began, count = now, 0
            self._failed[place] = (began, count + 1)
            _forget_oldest(self._bad, _MOST_TOKENS)
            _forget_oldest(self._failed, _MOST_ADDRESSES)


def _mark(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _place(address: str) -> str:
    """What counts as one address: of IPv6 the network of a single line, whose addresses are all somebody's who has one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))


def _forget_oldest(kept: OrderedDict[Any, Any], most: int) -> None:
    if len(kept) > most:
        kept.popitem(last=False)
