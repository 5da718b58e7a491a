"""Small work behind the requests: what nobody waits for, such as noting when a token was last used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import structlog

MOST_WAITING = 1_000
LONGEST_CLOSING = 5.0


class Behind:
    """One thread that does one thing after the other; it begins with the first.

    What fails is told to the log and dropped, and what comes while too much waits is dropped too: only what may be lost is
    done here.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Callable[[], None]] = OrderedDict()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = self._closed = False

    def do(self, key: str, work: Callable[[], None]) -> None:
        """Does it soon. What waits under this key already stands for it."""
        with self._condition:
            if self._closed or key in self._waiting or len(self._waiting) >= MOST_WAITING:
                return
            self._waiting[key] = work
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def settle(self, seconds: float = LONGEST_CLOSING) -> bool:
        """Waits until everything is done; False where that takes longer."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._waiting and not self._busy, seconds)

    def close(self) -> None:
        """Does what waits, and nothing more after it."""
        self.settle()
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(LONGEST_CLOSING)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception as error:  # nobody waits for it: the log is told
                structlog.get_logger().warning("behind.failed", error=type(error).__name__)
            finally:
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._condition:
            self._condition.wait_for(lambda: bool(self._waiting) or self._closed)
            if not self._waiting:
                return None
            self._busy = True
            return self._waiting.popitem(last=False)[1]


def at_once(_key: str, work: Callable[[], None]) -> None:
    """In place of `Behind.do`, where somebody waits for it: a test, a command."""
    work()
