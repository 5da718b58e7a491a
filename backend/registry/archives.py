"""Reads zip and tar(.gz) archives from strangers, one member after the other, within bounds. Nothing is written here.

The bounds hold while bytes arrive, whatever the archive declares of itself. What a caller gets are raw names: `paths` says
which of them may become files.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.registry import tars, zips
from backend.registry.members import Entry, Meter, Pool, bad_archive
from backend.registry.rules import Limits

Kind = Literal["zip", "tar", "tar.gz"]


@dataclass(frozen=True)
class Archive:
    """An archive file whose kind was told from its content."""

    path: Path
    kind: Kind
    begins_so: bool = True
    """Whether its first bytes say so; a zip may also lie behind other bytes, or seem to."""

    def entries(self, limits: Limits, pool: Pool | None = None) -> Iterator[Entry]:
        """Members in stored order; each one's blocks have to be read, or left, before the next. Refusal for anything that
        is not a regular file or folder, and as soon as a bound is passed (`too-many-files`, `too-large`, `archive-bomb`).
        """
        meter = Meter(limits, self.path.stat().st_size, pool)
        if self.kind == "zip":
            return zips.entries(self.path, meter)
        return tars.entries(self.path, meter, packed=self.kind == "tar.gz")


def archive_at(path: Path) -> Archive | None:
    """The archive that a file is, by its content; None for any other file. A zip is found behind other bytes too."""
    if tars.is_tar(path, packed=False):
        return Archive(path, "tar")
    if tars.is_tar(path, packed=True):
        return Archive(path, "tar.gz")
    begins_so = zips.starts_as_zip(path)
    return Archive(path, "zip", begins_so) if begins_so or zipfile.is_zipfile(path) else None


def require_archive(path: Path) -> Archive:
    """The archive, or a Refusal that says what can be taken."""
    found = archive_at(path)
    if found is None:
        raise bad_archive("is neither a zip nor a tar or tar.gz archive")
    return found
