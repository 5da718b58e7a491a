"""Two commands at once, in an order that is forced: the second begins when the first has done all but commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from backend.core.errors import Refusal
from backend.core.unit import Unit, joined

_LONG_ENOUGH = 0.3
"""Seconds for the second one to get as far as it can. One that waits for the first is not done by then, however long it is."""


class _Second:
    """Starts the second command in a thread, and so in a unit and a connection of its own."""

    def __init__(self, command: Callable[[], Any]) -> None:
        self.said: list[Any] = []
        self._thread = threading.Thread(target=lambda: self.said.append(outcome(command)))

    def opened(self, tx: Unit) -> None:
        """The first one begins."""

    def sealing(self, tx: Unit) -> None:
        """The first one has done everything, and holds its locks."""
        tx.session.flush()
        self._thread.start()
        self._thread.join(_LONG_ENOUGH)

    def wait(self) -> Any:
        """What came of it."""
        self._thread.join()
        return self.said[0]


def outcome(command: Callable[[], Any]) -> Any:
    """What a command returns, or the code of its refusal; anything else that it raises is what it says."""
    try:
        return command()
    except Refusal as refusal:
        return refusal.code
    except Exception as error:
        return repr(error)


def at_once(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """What came of each. The first one opens one unit."""
    beside = _Second(second)
    with joined(beside):
        said = outcome(first)
    return said, beside.wait()
