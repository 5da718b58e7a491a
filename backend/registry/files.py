"""Bytes that arrive into files that did not exist, hashed on the way; and a version's whole artifact tree from the registry."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.core.canonical import TreeFile
from backend.core.errors import ExternalFailure, Refusal
from backend.registry.paths import PathSet
from backend.registry.port import Registry, VersionFacts
from backend.registry.rules import Limits, Progress

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def pour(blocks: Iterable[bytes], path: Path | None) -> tuple[int, str]:
    """Writes blocks into a new file, or nowhere for None. Returns size and `sha256:` digest of what passed."""
    size, hashed = 0, hashlib.sha256()
    if path is None:
        for block in blocks:
            size += len(block)
            hashed.update(block)
        return size, f"sha256:{hashed.hexdigest()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, _NEW, 0o600), "wb") as stream:
        return pour(_written(blocks, stream.write), None)


def read_tree(
    registry: Registry, version: VersionFacts, limits: Limits, progress: Progress, *, into: Path | None
) -> list[TreeFile]:
    """Every file of a version's artifact, sorted, hashed as it came; kept in the empty folder `into` where one is given.

    Refusal `too-large`, `too-many-files`, `bad-path`, `duplicate-path`, `no-artifact`.
    """
    listed = registry.files(version, limit=limits.max_entries)
    if not listed:
        raise _empty(version)
    names, total, done = PathSet(), max(1, sum(file.size for file in listed)), 0
    found = []
    with room_on_disk():
        for file in listed:
            progress(min(1.0, done / total), f"reading {len(listed)} file(s), {total >> 20} MiB")
            path = names.add_file(file.path)
            with registry.download(version, path, limit=limits.max_bytes - done) as blocks:
                size, digest = pour(blocks, into / path if into else None)
            done += size
            found.append(TreeFile(path, size, digest))
    return sorted(found)


@contextmanager
def room_on_disk() -> Iterator[None]:
    """A full disk is this machine's failure, and may be over when somebody tries again."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ExternalFailure("This machine", "has no room left on its disk for the files", retryable=True) from error


def _written(blocks: Iterable[bytes], write: Callable[[bytes], object]) -> Iterator[bytes]:
    for block in blocks:
        write(block)
        yield block


def _empty(version: VersionFacts) -> Refusal:
    return Refusal(
        f"Version {version.number} of {version.model} has no files.",
        "Log the model's files with it, as a new version.",
        code="no-artifact",
    )
