"""The router's access log as a file: followed line by line, over rotation and restarts.

How far it was read is noted after what was read lies in the spool, so that a crash between reads some lines twice, which count
once. A file that was renamed to `NAME.1` meanwhile is read to its end before the new one is begun.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from backend.core import keyfiles
from backend.core.errors import ExternalFailure
from backend.ingest import exposures
from backend.ingest.entrance import Entrance
from backend.ingest.exposures import Exposure

EVERY_SECONDS = 1.0
BLOCK = 1 << 20
LONGEST_LINE = 64 << 10
log = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """How far a file was read: which file it is, whatever it is called by now, and the offset of the next line."""

    inode: int
    offset: int


class Tail:
    """Follows one file.

    Args:
        path: where Envoy writes.
        folder: where the place is kept.
    """

    def __init__(self, path: Path, folder: Path, entrance: Entrance) -> None:
        self._path, self._entrance = path, entrance
        self._kept = folder / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:24]}.json"

    def run(self, stop: threading.Event) -> None:
        """Until it is told to stop."""
        while not stop.wait(EVERY_SECONDS):
            try:
                while self.once() and not stop.is_set():
                    continue
            except ExternalFailure as failure:  # the place stays, and the same lines come again
                log.warning("ingest.access_log_waits", problem=str(failure))
            except OSError as error:
                log.warning("ingest.access_log_unreadable", problem=error.strerror)

    def once(self) -> int:
        """Reads at most a block; how many bytes. 0 where there is nothing new."""
        place = self._place()
        if place is not None and (rest := self._rotated(place)) is not None:
            if read := self._read(rest, place):
                return read
            place = None  # read to its end
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0
        if place is None or place.inode != found.st_ino or found.st_size < place.offset:
            place = Place(found.st_ino, 0)
            self._keep(place)
        return self._read(self._path, place)

    def _rotated(self, place: Place) -> Path | None:
        """The file that was being read, where it goes by its next name by now."""
        if _inode(self._path) == place.inode:
            return None
        following = self._path.with_name(f"{self._path.name}.1")
        return following if _inode(following) == place.inode else None

    def _read(self, path: Path, place: Place) -> int:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_ino != place.inode:
                return 0  # rotated just now; the next look finds it
            stream.seek(place.offset)
            block = stream.read(BLOCK)
        end = block.rfind(b"\n") + 1
        if end == 0:
            end = len(block) if len(block) > LONGEST_LINE else 0  # no line of Envoy's is that long
        if end == 0:
            return 0
        self._take(block[:end].split(b"\n"))
        self._keep(Place(place.inode, place.offset + end))
        return end

    def _take(self, lines: Iterable[bytes]) -> None:
        self._entrance.exposures(_exposures(lines))

    def _place(self) -> Place | None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(self._kept.read_text())
            return Place(int(told["inode"]), int(told["offset"]))
        return None

    def _keep(self, place: Place) -> None:
        self._kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        keyfiles.replace(self._kept, json.dumps({"inode": place.inode, "offset": place.offset}).encode(), 0o600)


def _exposures(lines: Iterable[bytes]) -> Iterator[Exposure]:
    for line in lines:
        told = _object(line)
        if told is not None and (found := exposures.of_line(told)) is not None:
            yield found


def _object(line: bytes) -> dict[str, Any] | None:
    if not line or len(line) > LONGEST_LINE:
        return None
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
