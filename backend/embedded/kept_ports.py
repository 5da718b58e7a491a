"""The ports that a group's children had, kept in its folder, so that a group that is started again has the same addresses."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path

from backend.core.canonical import loads
from backend.core.errors import Refusal

PORTS_FILE = "ports.json"
_LOWEST, _HIGHEST = 1_024, 65_535


class KeptPorts:
    """Ports by the name of who had them. Any thread may use it; a file that cannot be read counts as none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PORTS_FILE
        self._lock = threading.Lock()

    def of(self, name: str) -> tuple[int, ...]:
        """The ports that this one had the last time; none where it is new."""
        return self._read().get(name, ())

    def keep(self, name: str, numbers: tuple[int, ...]) -> None:
        """Notes the ports that it has now, in one step."""
        with self._lock:
            known = self._read()
            if known.get(name) == numbers:
                return
            fresh = self._path.with_name(f".{PORTS_FILE}.new")
            with suppress(OSError):  # a full disk costs the addresses of the next start, and no server
                fresh.write_text(json.dumps({**known, name: numbers}, indent=1, sort_keys=True) + "\n")
                os.replace(fresh, self._path)

    def _read(self) -> dict[str, tuple[int, ...]]:
        try:
            found = loads(self._path.read_bytes())
        except (OSError, Refusal):
            return {}
        if not isinstance(found, dict):
            return {}
        return {name: tuple(numbers) for name, numbers in found.items() if _are_ports(numbers)}


def _are_ports(found: object) -> bool:
    return isinstance(found, list) and all(type(one) is int and _LOWEST <= one <= _HIGHEST for one in found)
