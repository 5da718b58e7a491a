"""Log files that cannot fill a disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LOG_BYTES = 4 * 1024 * 1024
OLD_LOGS = 2
_LONGEST_LINE = 65536


class BoundedLog:
    """An append-only file of at most `limit` bytes and a line, with `old` predecessors (`NAME.log.1` is the newest)."""

    def __init__(self, path: Path, limit: int = LOG_BYTES, old: int = OLD_LOGS) -> None:
        self.path = path
        self._limit = limit
        self._old = old
        self._full = False
        self._file = path.open("ab", buffering=0)

    def write(self, chunk: bytes) -> None:
        """Append; a file that has outgrown the limit is turned first, so that the newest line is always in `path`.

        A full disk or a folder that has gone costs lines, never the servers that wrote them.
        """
        with suppress(OSError):
            if self._full:
                self._begin_anew()
            self._file.write(chunk)
            size = self._file.tell()
            self._full = size > self._limit and (chunk.endswith(b"\n") or size > self._limit + _LONGEST_LINE)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _begin_anew(self) -> None:
        shift(self.path, self._old)
        fresh = self.path.open("ab", buffering=0)  # where this fails, the old file goes on
        self._file.close()
        self._file = fresh


def shift(path: Path, old: int = OLD_LOGS) -> None:
    """Rename `path` to `path.1`, `path.1` to `path.2` and so on; the oldest beyond `old` is lost."""
    for number in range(old, 0, -1):
        source = path if number == 1 else _numbered(path, number - 1)
        if source.exists():
            os.replace(source, _numbered(path, number))


def outgrown(path: Path, limit: int = LOG_BYTES) -> bool:
    """Whether a file that somebody else writes is over the limit."""
    try:
        return path.stat().st_size > limit
    except FileNotFoundError:
        return False


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
