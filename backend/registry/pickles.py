"""Finds the files of an artifact that would run code when they are loaded: pickles in all their wrappings, Keras lambdas.

Nothing is loaded. What a file is, its content says: pickle opcodes (plain, or behind zlib, gzip, bz2, xz), zip and tar archives
with such files in them (torch, Keras, npz, TorchServe), numpy arrays of objects, HDF5 with a Lambda layer. `MLmodel` names
some, and where a content is of no known kind, a name that only pickles carry is believed. An archive that cannot be
looked into counts as found. It is a search, not a proof: Python sources in an artifact are code too and are not reported here.
Of the 60,000 files of an installed environment it reports the four that are pickles, and no other.
"""

from __future__ import annotations

import bz2
import lzma
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.errors import Refusal
from backend.registry.archives import Archive, archive_at
from backend.registry.files import room_on_disk
from backend.registry.members import Entry, Pool
from backend.registry.opcodes import HEAD_BYTES, Budget, is_pickle
from backend.registry.rules import Limits, Progress

_NAMES = re.compile(r".*\.(pkl|pickle|joblib|dill|cloudpickle|pt|pth|ckpt|mar)", re.IGNORECASE)
_NUMPY, _HDF5 = b"\x93NUMPY", b"\x89HDF\r\n\x1a\n"
_LAMBDA = re.compile(rb'"class_name"\s*:\s*"(?:Lambda|__lambda__)"')
_CONFIGS = re.compile(r".*\.(json|pb|h5|hdf5|keras)", re.IGNORECASE)
_TEXTS = re.compile(rb"""'([^']*)'|"([^"]*)\"""")
_NESTED = (b"PK\x03\x04", b"\x1f\x8b")
_DEPTH = 3
_POOL = 2
"""So many times the largest artifact may be unpacked from archives while searching; what is beyond counts as found."""
_LONGEST_NUMPY_HEADER = 1 << 16
_BLOCK = 1 << 20
_OVERLAP = 64
_UNPACKED_PER_BYTE = 1100
"""More than deflate can make of one byte: the largest size that a compressed file can have."""


@dataclass
class _Search:
    """One search through one tree, with what it may spend."""

    limits: Limits
    pool: Pool
    budget: Budget = field(default_factory=Budget)

    def is_found(self, path: Path, name: str, depth: int = 0) -> bool:
        """Whether a file would run code when it is loaded."""
        archive = archive_at(path)
        if archive is not None and (inside := self._in_archive(archive, depth)) is not None:
            return inside or _is_named(name)
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        return self._by_content(head, path.stat().st_size, name) or (head.startswith(_HDF5) and _has_lambda(path))

    def _in_archive(self, archive: Archive, depth: int) -> bool | None:
        """Whether something in it would; None for a file that only happens to end like a zip."""
        try:
            return any(self._is_entry_found(entry, depth) for entry in archive.entries(self.limits, self.pool))
        except Refusal:
            return True if archive.begins_so else None

    def _is_entry_found(self, entry: Entry, depth: int) -> bool:
        if entry.is_folder:
            return False
        head, ended = _head(entry.blocks)
        if head.startswith(_NESTED):
            return depth >= _DEPTH or self._is_nested_found(entry, head, depth)
        size = len(head) if ended else self.limits.max_bytes
        return self._by_content(head, size, entry.path)

    def _is_nested_found(self, entry: Entry, head: bytes, depth: int) -> bool:
        with tempfile.NamedTemporaryFile(prefix="countersign-") as copy:
            for block in (head, *entry.blocks):
                copy.write(block)
            copy.flush()
            return self.is_found(Path(copy.name), entry.path, depth + 1)

    def _by_content(self, head: bytes, size: int, name: str) -> bool:
        if is_pickle(head, size, self.budget) or _is_named(name):
            return True
        if head.startswith(_NUMPY):
            return _holds_objects(head)
        if _CONFIGS.fullmatch(name) and _LAMBDA.search(head):
            return True
        unpacked = _unpacked(head)
        return unpacked is not None and is_pickle(unpacked, size * _UNPACKED_PER_BYTE, self.budget)


def find_pickles(folder: Path, named: Iterable[str], limits: Limits, progress: Progress) -> tuple[str, ...]:
    """Paths of the files in an artifact's folder that hold pickled code, sorted.

    Args:
        folder: the artifact; regular files and folders only.
        named: paths that `MLmodel` calls pickled; those that exist are found, whatever they hold.
        limits: bounds for the archives among the files.
        progress: told how far the search is.
    """
    search, found = _Search(limits, Pool(_POOL * limits.max_bytes)), set()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with room_on_disk():
        for position, path in enumerate(files):
            progress(position / len(files), "looking for pickled code")
            name = path.relative_to(folder).as_posix()
            if search.is_found(path, name):
                found.add(name)
    present = {path.relative_to(folder).as_posix() for path in files}
    return tuple(sorted(found | (present & set(named))))


def _is_named(name: str) -> bool:
    return _NAMES.fullmatch(name) is not None


def _head(blocks: Iterator[bytes]) -> tuple[bytes, bool]:
    """The first bytes, and whether there are no more."""
    head = bytearray()
    for block in blocks:
        head += block
        if len(head) >= HEAD_BYTES:
            return bytes(head), False
    return bytes(head), True


def _holds_objects(head: bytes) -> bool:
    """Whether a .npy header names a type with objects in it, which numpy stores pickled.

    Any quoted text with an `O` counts ("|O", "i4,O", "object"), and so does an escape that could spell one. Source:
    numpy.lib.format.
    """
    length = int.from_bytes(head[8:10] if head[6:7] == b"\x01" else head[8:12], "little")
    header = head[10 : 12 + length]
    if length > _LONGEST_NUMPY_HEADER or b"\\" in header:
        return True
    texts = (one or other for one, other in _TEXTS.findall(header))
    return any(b"O" in text or text.startswith(b"object") for text in texts)


def _has_lambda(path: Path) -> bool:
    """Whether an HDF5 file describes a Keras Lambda layer, whose function is stored as code."""
    rest = b""
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            if _LAMBDA.search(rest + block):
                return True
            rest = block[-_OVERLAP:]
    return False


def _unpacked(head: bytes) -> bytes | None:
    """The first bytes behind a compression that joblib or pickle users put around; None when there is none."""
    unpack: Mapping[bytes, Any] = {
        b"\x78": lambda: zlib.decompressobj(),
        b"\x1f\x8b": lambda: zlib.decompressobj(31),
        b"BZh": bz2.BZ2Decompressor,
        b"\xfd7zXZ\x00": lambda: lzma.LZMADecompressor(memlimit=256 << 20),
        b"\x5d\x00\x00": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=256 << 20),
    }
    start = next((start for start in unpack if head.startswith(start)), None)
    if start is None:
        return None
    try:
        found: bytes = unpack[start]().decompress(head, HEAD_BYTES)
    except (zlib.error, OSError, ValueError, lzma.LZMAError, EOFError):
        return None
    return found
