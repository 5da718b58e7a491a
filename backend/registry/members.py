"""What zip and tar readers share: an archive's entry, the meter that every unpacked byte runs through, the refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backend.core.errors import Refusal
from backend.registry.paths import shown
from backend.registry.rules import Limits

BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A regular file or a folder as the archive names it, the blocks of its content, and at which byte of the archive."""

    path: str
    is_folder: bool
    blocks: Iterator[bytes]
    at: int


@dataclass
class Pool:
    """Bytes that may still be unpacked by everything that shares it: many archives, or archives in archives."""

    left: int


class Meter:
    """Counts what comes out of one archive and stops it at the bounds.

    Args:
        limits: the bounds.
        packed: size of the archive in bytes.
        pool: what is left for this archive and others together.
    """

    def __init__(self, limits: Limits, packed: int, pool: Pool | None = None) -> None:
        self.limits = limits
        self.packed = packed
        self._pool = pool or Pool(limits.max_bytes)
        self._entries = 0
        if packed > limits.max_bytes + limits.free_bytes:
            raise self._too_large()

    def count_entry(self) -> None:
        """One more file or folder. Refusal `too-many-files`."""
        self._entries += 1
        self.check_entries(self._entries)

    def check_entries(self, count: int) -> None:
        """Refusal `too-many-files` for that many files and folders."""
        if count > self.limits.max_entries:
            raise Refusal(
                f"The archive holds more than {self.limits.max_entries} files and folders.",
                "Upload a smaller artifact, or raise COUNTERSIGN_UPLOAD_MAX_ENTRIES.",
                code="too-many-files",
                limit=self.limits.max_entries,
            )

    def check_bytes(self, count: int) -> None:
        """Refusal `too-large` or `archive-bomb` for that many unpacked bytes."""
        if count > self.limits.max_bytes:
            raise self._too_large()
        if count > max(self.limits.free_bytes, self.limits.max_ratio * self.packed):
            raise bomb()

    def metered(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same blocks, taken from the pool before they are handed on."""
        for block in blocks:
            self._pool.left -= len(block)
            if self._pool.left < 0:
                raise self._too_large()
            yield block

    def _too_large(self) -> Refusal:
        return Refusal(
            f"The archive is larger than {self.limits.max_bytes} bytes.",
            "Upload a smaller artifact, or raise COUNTERSIGN_UPLOAD_MAX_BYTES.",
            code="too-large",
            limit=self.limits.max_bytes,
        )


def bomb() -> Refusal:
    """Unpacked it would be out of all proportion."""
    return Refusal(
        "The archive would unpack to far more than it holds.",
        "Pack the files again with an ordinary tool.",
        code="archive-bomb",
    )


def bad_archive(why: str) -> Refusal:
    """The file as a whole cannot be taken."""
    return Refusal(f"The file {why}.", "Pack the artifact's folder again as zip or tar.gz.", code="bad-archive")


def special(path: str, what: str) -> Refusal:
    """An entry that is neither a file nor a folder."""
    return Refusal(
        f"{shown(path)} is {what}.",
        "Replace it by a regular file; only those can be hashed and copied.",
        code="not-a-regular-file",
        path=shown(path),
    )
