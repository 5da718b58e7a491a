"""Zip archives from strangers. The standard library unpacks; what it would believe or would do at once is checked before.

`zipfile` makes an object for each entry as soon as it opens an archive, so the directory is counted first: 100,000 entries
are refused without that. Older releases of it also follow overlapping entries (CVE-2024-0450), so their sizes are added up.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from backend.registry.members import BLOCK, Entry, Meter, bad_archive, bomb, special

_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_END, _END64, _LOCATOR, _ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_END_SIZE, _END64_SIZE, _LOCATOR_SIZE, _ENTRY_SIZE = 22, 56, 20, 46
_COMMENT = 1 << 16
_DIRECTORY_BYTES_AN_ENTRY = 1024
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError, struct.error)


def starts_as_zip(path: Path) -> bool:
    """Whether the file begins as a zip does."""
    with path.open("rb") as stream:
        return stream.read(4) in _MAGIC


def entries(path: Path, meter: Meter) -> Iterator[Entry]:
    """Members in stored order."""
    with path.open("rb") as stream, _errors():
        _count_directory(stream, meter)
        with zipfile.ZipFile(stream) as opened:
            infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
            _check_sizes(infos, meter)
            for info in infos:
                meter.count_entry()
                _check(info)
                blocks = meter.metered(_blocks(opened, info))
                yield Entry(info.orig_filename.removesuffix("/"), _is_folder(info), blocks, info.header_offset)


def _blocks(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    if _is_folder(info):
        return
    with _errors(), opened.open(info) as content:
        while block := content.read(BLOCK):
            yield block


def _check_sizes(infos: list[zipfile.ZipInfo], meter: Meter) -> None:
    """What is declared; the meter sees what really comes. Entries that share bytes are larger together than the file."""
    if sum(info.compress_size for info in infos) > meter.packed:
        raise bomb()
    meter.check_bytes(sum(info.file_size for info in infos))


def _check(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    expected = stat.S_IFDIR if _is_folder(info) else stat.S_IFREG
    if kind not in (0, expected):
        raise special(info.orig_filename, "a link, a device or another special file")
    if info.flag_bits & _ENCRYPTED:
        raise bad_archive("is encrypted")
    if info.compress_type not in _METHODS:
        raise bad_archive("uses a compression other than deflate")


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """By the name as it is stored; the library cuts it at a NUL and then fails for an empty one."""
    return info.orig_filename.endswith("/")


def _count_directory(stream: BinaryIO, meter: Meter) -> None:
    """Counts the entries that `zipfile` would read, by walking over them without decoding any."""
    start, size = _directory(stream)
    if size > meter.limits.max_entries * _DIRECTORY_BYTES_AN_ENTRY:
        meter.check_entries(meter.limits.max_entries + 1)
    stream.seek(start)
    directory = stream.read(size)
    position = count = 0
    while directory[position : position + 4] == _ENTRY and position + _ENTRY_SIZE <= size:
        count += 1
        meter.check_entries(count)
        position += _ENTRY_SIZE + sum(struct.unpack_from("<3H", directory, position + 28))
    if position != size:
        raise bad_archive("has a damaged directory")


def _directory(stream: BinaryIO) -> tuple[int, int]:
    """Where the directory starts and how long it is, found as `zipfile` finds it."""
    file_size = stream.seek(0, 2)
    tail_start = max(0, file_size - _COMMENT - _END_SIZE)
    stream.seek(tail_start)
    tail = stream.read()
    last = tail[-_END_SIZE:]
    found = len(tail) - _END_SIZE if last[:4] == _END and last[-2:] == b"\0\0" else tail.rfind(_END)
    if found < 0 or len(tail) - found < _END_SIZE:
        raise bad_archive("is cut off: its directory is missing")
    (size,) = struct.unpack_from("<L", tail, found + 12)
    end = tail_start + found
    before = end - _LOCATOR_SIZE - _END64_SIZE
    if before >= 0 and _at(stream, end - _LOCATOR_SIZE, 4) == _LOCATOR and _at(stream, before, 4) == _END64:
        end = before
        (size,) = struct.unpack("<Q", _at(stream, before + 40, 8))
    if size > end:
        raise bad_archive("has a damaged directory")
    return end - size, size


def _at(stream: BinaryIO, position: int, count: int) -> bytes:
    stream.seek(position)
    return stream.read(count)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise bad_archive("is damaged, or no zip archive that can be read") from error
