"""Files that somebody drops: `FOLDER/ENDPOINT/requests/NAME.parquet` (or `.csv`, `.ndjson`), and `outcomes` likewise.

A file is taken once it has been left alone for a few seconds; write it under a name that begins with a dot and rename it. Its
rows go into the spool, malformed ones into `rejected/NAME.reasons.ndjson`, and then the file moves to `done/`, where it stays
for a week. What ends in between is begun anew: a request's id counts once. A file that cannot be read moves to `rejected/`.

Whoever drops files may put anything there, so that no name is followed anywhere: all is asked of folders that are open.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import structlog

from backend.core.errors import ExternalFailure
from backend.core.failpoints import reach
from backend.inference_log.layout import endpoint_named
from backend.ingest.drop_files import rows_of
from backend.ingest.entrance import Entrance
from backend.ingest.parquet_rows import Unreadable

Kind = Literal["requests", "outcomes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EVERY_SECONDS = 2.0
SETTLED_SECONDS = 5.0
DONE_SECONDS = 7 * 86_400.0
MOST_BYTES = 1 << 30
CHUNK, CHUNK_BYTES = 5_000, 16 << 20
REASONS = 1_000
BEFORE_MOVE = "inference-log.drop"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,180}\.(parquet|csv|ndjson)")
log = structlog.get_logger()


@dataclass
class _Outcome:
    taken: int = 0
    rejected: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)

    def lines(self) -> list[dict[str, Any]]:
        return [{"row": place, "reason": reason} for place, reason in self.reasons]


class _Elsewhere(Exception):
    """A folder of ours that is a link, or none: nothing is written where it may lead."""


@dataclass(frozen=True)
class _Place:
    """One open folder that files are dropped into. Names are asked of the open folder: its own may lead elsewhere by now."""

    endpoint: str
    kind: Kind
    handle: int

    def look(self, name: str) -> os.stat_result | None:
        with suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        return None

    @contextmanager
    def folder(self, name: str) -> Iterator[int]:
        """`done` or `rejected`, made where it is not there."""
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self.handle)
        with ExitStack() as stack:
            try:
                found = stack.enter_context(_opened(name, self.handle))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise _Elsewhere(name) from error
            yield found

    def move(self, name: str, folder: str) -> None:
        target, number = _safe(name), 1
        with self.folder(folder) as into:
            while target in os.listdir(into):
                number += 1
                target = f"{number}-{_safe(name)}"
            os.rename(name, target, src_dir_fd=self.handle, dst_dir_fd=into)

    def tell(self, name: str, reasons: list[dict[str, Any]]) -> None:
        """Reasons beside the rejected file, whole or not at all."""
        target = f"{_safe(name)}.reasons.ndjson"
        part = f".{target}.{secrets.token_hex(8)}"
        with self.folder("rejected") as into:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=into)
            with os.fdopen(handle, "w") as stream:
                stream.writelines(f"{json.dumps(one)}\n" for one in reasons)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(part, target, src_dir_fd=into, dst_dir_fd=into)


class Drops:
    """One folder, looked through by one thread.

    Args:
        folder: made where it is not there.
        clock: seconds since the epoch, as files' times are.
    """

    def __init__(self, folder: Path, entrance: Entrance, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._entrance, self._clock = folder, entrance, clock
        self._ahead: dict[tuple[str, str, str], tuple[tuple[int, ...], float]] = {}
        """Files whose time lies in the future: what they looked like, and since when they have."""

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
        count, self._ahead, before = 0, {}, self._ahead
        for endpoint, kind in self._names():
            with _place(self._folder, endpoint, kind) as place:
                if place is None:
                    continue
                for name in sorted(os.listdir(place.handle)):
                    if stop is not None and stop.is_set():
                        return count
                    if self._is_ready(place, name, before):
                        count += self._took(place, name)
                self._tidy(place)
        return count

    def _names(self) -> list[tuple[str, Kind]]:
        names = sorted(os.listdir(self._folder)) if self._folder.is_dir() else []
        return [(name, kind) for name in names if endpoint_named(f"endpoint={name}") is not None for kind in KINDS]

    def _is_ready(self, place: _Place, name: str, before: Mapping[tuple[str, str, str], tuple[tuple[int, ...], float]]) -> bool:
        """A file that nobody writes any more. A link could lead anywhere, and is none."""
        found = place.look(name)
        if found is None or not stat.S_ISREG(found.st_mode) or name.startswith(".") or name.endswith((".part", ".tmp")):
            return False
        now = self._clock()
        if found.st_mtime <= now:
            return now - found.st_mtime >= SETTLED_SECONDS
        key, looks = (place.endpoint, place.kind, name), _looks(found)
        since = before[key][1] if key in before and before[key][0] == looks else now
        self._ahead[key] = looks, since
        return now - since >= SETTLED_SECONDS

    def _took(self, place: _Place, name: str) -> bool:
        """One file that is in the way of no other: whether it is dealt with."""
        try:
            for folder in ("done", "rejected"):
                with place.folder(folder):
                    pass
            return self._take(place, name)
        except _Elsewhere as error:
            log.warning(
                "ingest.drop_waits", problem=f"`{error}` beside the files is no folder of its own, but a link or a file"
            )
        except OSError as error:
            log.warning("ingest.drop_unreadable", problem=error.strerror)
        return False

    def _take(self, place: _Place, name: str) -> bool:
        done = _Outcome()
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place.handle)
        with os.fdopen(handle, "rb") as stream:
            before = os.fstat(stream.fileno())
            if not stat.S_ISREG(before.st_mode):
                return False
            try:
                suffix = _checked(name, before)
                for chunk in _chunks(rows_of(stream, suffix, place.kind)):
                    self._enter(place, chunk, done)
            except Unreadable as error:
                _put_aside(place, name, str(error), done)
                return True
            after = place.look(name)
            if after is None or _looks(after) != _looks(before):  # written to after all: what came is not lost, but begun anew
                log.warning("ingest.drop_changed", endpoint=place.endpoint, kind=place.kind)
                return False
        if done.reasons:
            place.tell(name, done.lines())
        reach(BEFORE_MOVE)
        place.move(name, "done")
        told = {"taken": done.taken, "rejected": done.rejected}
        log.info("ingest.dropped", endpoint=place.endpoint, kind=place.kind, file=name[:80], **told)
        return True

    def _enter(self, place: _Place, chunk: list[tuple[int, Any]], done: _Outcome) -> None:
        take = self._entrance.requests if place.kind == "requests" else self._entrance.outcomes
        found = take(place.endpoint, chunk)
        done.taken += found.taken
        done.rejected += len(found.rejected)
        done.reasons += found.rejected[: REASONS - len(done.reasons)]

    def _tidy(self, place: _Place) -> None:
        """What was taken long ago goes: it holds what the rules may have left out, or what was erased since."""
        with suppress(FileNotFoundError, NotADirectoryError), _opened("done", place.handle) as done:
            for name in os.listdir(done):
                with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                    if self._clock() - os.stat(name, dir_fd=done, follow_symlinks=False).st_ctime >= DONE_SECONDS:
                        os.unlink(name, dir_fd=done)


@contextmanager
def _place(folder: Path, endpoint: str, kind: Kind) -> Iterator[_Place | None]:
    """None where there is no such folder, or one of the names is a link: it could lead anywhere."""
    with ExitStack() as stack:
        try:
            above = stack.enter_context(_opened(str(folder), None))
            for name in (endpoint, kind):
                above = stack.enter_context(_opened(name, above))
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        yield _Place(endpoint, kind, above)


@contextmanager
def _opened(name: str, above: int | None) -> Iterator[int]:
    """A folder that stays the one it is, whatever its name is given to. NotADirectoryError for a link, but for the outermost.

    Linux says ENOTDIR of a link that O_DIRECTORY and O_NOFOLLOW are asked of; other systems ELOOP (open(2)).
    """
    try:
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if above is not None else 0), dir_fd=above)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, "a link") from error
        raise
    try:
        yield handle
    finally:
        os.close(handle)


def _chunks(rows: Iterable[tuple[Any, int]]) -> Iterator[list[tuple[int, Any]]]:
    """Rows with their places, a few thousand at a time and less where they are long."""
    chunk, held = list[tuple[int, Any]](), 0
    for place, (row, size) in enumerate(rows):
        chunk.append((place, row))
        held += size
        if len(chunk) >= CHUNK or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _checked(name: str, found: os.stat_result) -> str:
    """The ending of a file that may be read."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise Unreadable("its name is none of letters, digits, `.`, `_` and `-` that ends in .parquet, .csv or .ndjson")
    if found.st_size > MOST_BYTES:
        raise Unreadable(f"it is larger than {MOST_BYTES >> 20} MiB")
    return f".{match[1]}"


def _put_aside(place: _Place, name: str, reason: str, done: _Outcome) -> None:
    log.warning("ingest.drop_rejected", reason=reason, taken=done.taken)
    place.tell(name, [*done.lines(), {"row": None, "reason": reason, "taken": done.taken}])
    place.move(name, "rejected")


def _looks(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _safe(name: str) -> str:
    return "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in name)[:200]
