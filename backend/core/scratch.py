"""Folders in which rows lie while a process works on them: of ours alone, and gone afterwards even where that was killed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def folder(within: Path | None, prefix: str, *, left_seconds: float) -> Iterator[Path]:
    """A new folder, removed at the end; in the system's place for such where none of ours is named.

    What a killed process left in a folder of ours is removed first (see `sweep`).
    """
    if within is not None:
        within.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(within, prefix, left_seconds)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=within) as made:
        yield Path(made)


def sweep(within: Path, prefix: str, left_seconds: float) -> None:
    """Removes folders of that prefix that nobody touched for so long."""
    for one in within.glob(f"{prefix}*"):
        with suppress(OSError):
            if time.time() - one.lstat().st_mtime > left_seconds:
                shutil.rmtree(one, ignore_errors=True)
