"""How `countersign up` is told to stop, and how it says what it is doing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from backend.cli.output import note


class Stop:
    """Ctrl-C or SIGTERM, and the seconds since the start."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._began = time.monotonic()
        self._waiting = False

    def say(self, text: str) -> None:
        """Progress on standard error, with the seconds since the start."""
        note(f"[{time.monotonic() - self._began:4.0f} s] {text}")

    def wait(self) -> None:
        """Returns when a signal came."""
        self._waiting = True
        self._told.wait()
        note("Stopping ...")

    def obey(self, _number: int, _frame: FrameType | None) -> None:
        """A signal before everything runs, or a second one, breaks off whatever is being done."""
        if not self._waiting or self._told.is_set():
            raise KeyboardInterrupt
        self._told.set()


@contextmanager
def until_told() -> Iterator[Stop]:
    """Lets a signal end what is done in this block in order, also while it still starts."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop.obey)
    try:
        yield stop
    except KeyboardInterrupt:
        note("Stopped.")
