"""The state of a scripted world in memory: of this process under a name, or in a locked JSON file that processes share."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

State = dict[str, Any]

_states: dict[str, State] = {}
_locks: dict[str, threading.RLock] = {}
_opening = threading.Lock()


class MemoryState:
    """One world's state. `fresh` gives it when there is none yet; its keys `up`, `faults` and `journal` are read here.

    Args:
        name: worlds of one process are told apart by it.
        path: a JSON file instead, which processes share under a lock; its folder must exist.
    """

    def __init__(self, name: str, path: str | None, fresh: Callable[[], State]) -> None:
        self._key = path or name
        self._path = Path(path) if path else None
        self._fresh = fresh
        with _opening:
            self._lock = _locks.setdefault(self._key, threading.RLock())

    @contextmanager
    def open(self) -> Iterator[State]:
        """The whole state, alone; what the caller changes is kept when the block ends without an exception."""
        with self._lock:
            if self._path is None:
                yield _states.setdefault(self._key, self._fresh())
                return
            with _file_lock(self._path):
                state = json.loads(self._path.read_text()) if self._path.exists() else self._fresh()
                yield state
                _replace(self._path, json.dumps(state))

    def next_fault(self, verb: str) -> State | None:
        """Takes the next scripted fault of a verb, as JSON, off the script; None when there is none."""
        with self.open() as state:
            found: State | None = next((fault for fault in state["faults"] if fault["verb"] == verb), None)
            if found is None:
                return None
            taken = dict(found)
            found["times"] -= 1
            state["faults"] = [left for left in state["faults"] if left["times"] > 0]
            return taken


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
