"""Files that somebody drops: `FOLDER/ENDPOINT/requests/NAME.parquet` (or `.csv`, `.ndjson`), and `outcomes` likewise.

A file is taken once it has been left alone for a few seconds; write it under a name that begins with a dot and rename it. Its
rows go into the spool, malformed ones into `rejected/NAME.reasons.ndjson`, and then the file moves to `done/`, where it stays
for a week. What ends in between is begun anew: a request's id counts once. A file that cannot be read moves to `rejected/`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import structlog

from backend.core import keyfiles
from backend.core.errors import ExternalFailure
from backend.core.failpoints import reach
from backend.inference_log.layout import endpoint_named
from backend.ingest.drop_files import Unreadable, rows_of
from backend.ingest.entrance import Entrance

Kind = Literal["requests", "outcomes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EVERY_SECONDS = 2.0
SETTLED_SECONDS = 5.0
DONE_SECONDS = 7 * 86_400.0
MOST_BYTES = 1 << 30
CHUNK = 5_000
REASONS = 1_000
BEFORE_MOVE = "inference-log.drop"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,180}\.(parquet|csv|ndjson)")
log = structlog.get_logger()


@dataclass
class _Outcome:
    taken: int = 0
    rejected: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)


class Drops:
    """One folder, looked through by one thread.

    Args:
        folder: made where it is not there.
        clock: seconds since the epoch, as files' times are.
    """

    def __init__(self, folder: Path, entrance: Entrance, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._entrance, self._clock = folder, entrance, clock

    def run(self, stop: threading.Event) -> None:
        """Until it is told to stop."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while not stop.wait(EVERY_SECONDS):
            try:
                self.once(stop)
            except ExternalFailure as failure:  # the file stays and is begun anew
                log.warning("ingest.drop_waits", problem=str(failure))
            except OSError as error:
                log.warning("ingest.drop_unreadable", problem=error.strerror)

    def once(self, stop: threading.Event | None = None) -> int:
        """Takes every file that is ready; how many."""
        count = 0
        for endpoint, kind, place in list(self._places()):
            for name in sorted(os.listdir(place)):
                if stop is not None and stop.is_set():
                    return count
                if self._is_ready(place / name):
                    self._take(endpoint, kind, place / name)
                    count += 1
            self._tidy(place / "done")
        return count

    def _places(self) -> Iterator[tuple[str, Kind, Path]]:
        for entry in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if endpoint_named(f"endpoint={entry.name}") is None or entry.is_symlink():
                continue
            for kind in KINDS:
                place = entry / kind
                if place.is_dir() and not place.is_symlink():
                    yield entry.name, kind, place

    def _is_ready(self, path: Path) -> bool:
        """A file that nobody writes any more. A link could lead anywhere, and is none."""
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
        if path.name.startswith(".") or path.suffix in (".part", ".tmp") or not stat.S_ISREG(found.st_mode):
            return False
        return self._clock() - found.st_mtime >= SETTLED_SECONDS

    def _take(self, endpoint: str, kind: Kind, path: Path) -> None:
        done = _Outcome()
        try:
            self._checked(path)
            rows = enumerate(rows_of(path, kind))
            while chunk := list(islice(rows, CHUNK)):
                take = self._entrance.requests if kind == "requests" else self._entrance.outcomes
                found = take(endpoint, chunk)
                done.taken += found.taken
                done.rejected += len(found.rejected)
                done.reasons += found.rejected[: REASONS - len(done.reasons)]
        except Unreadable as error:
            self._put_aside(path, str(error))
            return
        if done.reasons:
            self._tell(path, [{"row": place, "reason": reason} for place, reason in done.reasons])
        reach(BEFORE_MOVE)
        _move(path, path.parent / "done")
        log.info("ingest.dropped", endpoint=endpoint, kind=kind, file=path.name[:80], taken=done.taken, rejected=done.rejected)

    def _checked(self, path: Path) -> None:
        if not _NAME.fullmatch(path.name):
            raise Unreadable("its name is none of letters, digits, `.`, `_` and `-` that ends in .parquet, .csv or .ndjson")
        if path.stat().st_size > MOST_BYTES:
            raise Unreadable(f"it is larger than {MOST_BYTES >> 20} MiB")

    def _put_aside(self, path: Path, reason: str) -> None:
        log.warning("ingest.drop_rejected", reason=reason)
        self._tell(path, [{"row": None, "reason": reason}])
        _move(path, path.parent / "rejected")

    def _tell(self, path: Path, reasons: list[dict[str, Any]]) -> None:
        folder = path.parent / "rejected"
        folder.mkdir(mode=0o700, exist_ok=True)
        content = "".join(f"{json.dumps(one)}\n" for one in reasons).encode()
        keyfiles.replace(folder / f"{_safe(path.name)}.reasons.ndjson", content, 0o600)

    def _tidy(self, done: Path) -> None:
        """What was taken long ago goes: it holds what the rules may have left out, or what was erased since."""
        with suppress(FileNotFoundError):
            for name in os.listdir(done):
                with suppress(FileNotFoundError):
                    if self._clock() - (done / name).lstat().st_ctime >= DONE_SECONDS:
                        (done / name).unlink()


def _move(path: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / _safe(path.name)
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{number}-{_safe(path.name)}"
    shutil.move(path, target)


def _safe(name: str) -> str:
    return "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in name)[:200]
