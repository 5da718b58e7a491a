"""Log files that cannot fill a disk."""

from __future__ import annotations

import os
from pathlib import Path

LOG_BYTES = 4 * 1024 * 1024
OLD_LOGS = 2


class BoundedLog:
    """An append-only file of at most `limit` bytes and a line, with `old` predecessors (`NAME.log.1` is the newest)."""

    def __init__(self, path: Path, limit: int = LOG_BYTES, old: int = OLD_LOGS) -> None:
        self.path = path
        self._limit = limit
        self._old = old
        self._file = path.open("ab", buffering=0)

    def write(self, chunk: bytes) -> None:
        """Append, and begin a new file at the first end of a line beyond the limit."""
        self._file.write(chunk)
        size = self._file.tell()
        if size > self._limit and (chunk.endswith(b"\n") or size > self._limit + 65536):
            self._file.close()
            shift(self.path, self._old)
            self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
