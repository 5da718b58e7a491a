"""Tar archives from strangers, plain or gzipped: a strict reader of its own, 512 bytes at a time.

The standard library's reader takes a header's word for how much memory it needs, and releases that are still in use can be
kept busy for ever by a header (CVE-2024-6232, CVE-2025-8194). This one reads POSIX ustar and pax and GNU's long names, and
refuses everything else. Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from backend.registry.members import BLOCK, Entry, Meter, bad_archive, special

_UNIT = 512
_LONGEST_HEADER = 8192
_FILE, _FOLDER = (b"0", b"\0"), b"5"
_PAX, _PAX_GLOBAL, _GNU_LONG_NAME = b"x", b"g", b"L"
_SPECIAL = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "sparse"}
_HEADERS_AN_ENTRY = 3


class _Source(Protocol):
    def read(self, count: int, /) -> bytes: ...


@dataclass(frozen=True)
class _Header:
    path: bytes
    size: int
    kind: bytes


def is_tar(path: Path, *, packed: bool) -> bool:
    """Whether the file begins with a tar header, behind gzip where `packed`."""
    with path.open("rb") as stream:
        start = stream.read(4096)
    if packed:
        if start[:2] != b"\x1f\x8b":
            return False
        try:
            start = zlib.decompressobj(31).decompress(start, _UNIT)
        except zlib.error:
            return False
    return len(start) >= _UNIT and any(start[:_UNIT]) and _checksum_holds(start[:_UNIT])


def entries(path: Path, meter: Meter, *, packed: bool) -> Iterator[Entry]:
    """Members in stored order."""
    with path.open("rb") as stream:
        source: _Source = _Gunzip(stream, meter) if packed else stream
        yield from _entries(source, stream, meter)
        while packed and source.read(BLOCK):  # to the end, where gzip's own checksum is compared
            pass


def _entries(source: _Source, stream: BinaryIO, meter: Meter) -> Iterator[Entry]:
    for header in _headers(source, meter):
        path = _name(header.path)
        if header.kind not in (*_FILE, _FOLDER):
            raise special(path, _SPECIAL.get(header.kind, "of a kind that is not known here"))
        is_folder = header.kind == _FOLDER or path.endswith("/")
        content = _Content(source, header.size)
        path = path.removeprefix("./").removesuffix("/")
        if path not in ("", "."):
            meter.count_entry()
            yield Entry(path, is_folder, meter.metered(content.blocks()), stream.tell())
        for _ in meter.metered(content.blocks()):  # what the caller left
            pass
        _exactly(source, -header.size % _UNIT)


def _headers(source: _Source, meter: Meter) -> Iterator[_Header]:
    """Headers of files and folders, each with the longer name and size that headers before it gave."""
    given: dict[str, bytes] = {}
    for _ in range(_HEADERS_AN_ENTRY * meter.limits.max_entries + 1):
        block = _exactly(source, _UNIT)
        if not any(block):
            return
        header = _parse(block)
        if header.kind == _PAX:
            given |= _pax(_extended(source, header))
        elif header.kind == _PAX_GLOBAL:
            if _pax(_extended(source, header)).keys() & {"path", "size"}:
                raise bad_archive("gives one name to several files")
        elif header.kind == _GNU_LONG_NAME:
            given["path"] = _extended(source, header).rstrip(b"\0")
        else:
            yield _Header(given.get("path", header.path), _size_given(given, header), header.kind)
            given = {}
    meter.check_entries(meter.limits.max_entries + 1)


def _parse(block: bytes) -> _Header:
    if not _checksum_holds(block):
        raise bad_archive("is damaged: a header does not match its checksum")
    name, prefix = _text(block[:100]), _text(block[345:500])
    is_posix = block[257:263] == b"ustar\0"
    path = prefix + b"/" + name if is_posix and prefix else name
    try:
        return _Header(path, _number(block[124:136]), block[156:157])
    except ValueError as error:
        raise bad_archive("is damaged: a size is no number") from error


def _checksum_holds(block: bytes) -> bool:
    try:
        return _number(block[148:156]) == sum(block) - sum(block[148:156]) + 8 * 32
    except ValueError:
        return False


def _number(field: bytes) -> int:
    """Octal, or GNU's base 256 for what octal cannot hold. ValueError."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if text and not all(byte in b"01234567" for byte in text):
        raise ValueError("not an octal number")
    return int(text or b"0", 8)


def _size_given(given: dict[str, bytes], header: _Header) -> int:
    size = given.get("size")
    if size is None:
        return header.size
    if not size.isdigit() or len(size) > 20:
        raise bad_archive("is damaged: a size is no number")
    return int(size)


def _extended(source: _Source, header: _Header) -> bytes:
    if header.size > _LONGEST_HEADER:
        raise bad_archive(f"has a header of more than {_LONGEST_HEADER} bytes")
    content = _exactly(source, header.size)
    _exactly(source, -header.size % _UNIT)
    return content


def _pax(content: bytes) -> dict[str, bytes]:
    """The records `<length> <key>=<value>\\n` that matter here. Sparse files are refused: their size is not their content."""
    found: dict[str, bytes] = {}
    while content:
        digits, _, _ = content[:8].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record, content = content[len(digits) + 1 : length], content[length:]
        key, equals, value = record.partition(b"=")
        if not record.endswith(b"\n") or not equals or key.startswith(b"GNU.sparse"):
            raise bad_archive("has an extended header that cannot be taken")
        if key in (b"path", b"size"):
            found[key.decode()] = value[:-1]
    return found


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _name(path: bytes) -> str:
    """Bytes that are no UTF-8 stay visible as lone surrogates, which `paths` then refuses by name."""
    return path.decode("utf-8", "surrogateescape")


class _Content:
    """One file's bytes, as far as they were not read yet."""

    def __init__(self, source: _Source, size: int) -> None:
        self._source = source
        self._left = size

    def blocks(self) -> Iterator[bytes]:
        """What is left, in blocks."""
        while self._left:
            block = _exactly(self._source, min(BLOCK, self._left))
            self._left -= len(block)
            yield block


def _exactly(source: _Source, count: int) -> bytes:
    found = source.read(count) if count else b""
    if len(found) < count:
        raise bad_archive("is cut off")
    return found


class _Gunzip:
    """Bytes behind gzip, unpacked no further than asked for, through the meter's bounds."""

    def __init__(self, stream: BinaryIO, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter
        self._unpack = zlib.decompressobj(31)
        self._waiting = b""
        self._ready = bytearray()
        self._total = 0
        self._overhead = _UNIT * 2 * _HEADERS_AN_ENTRY * meter.limits.max_entries

    def read(self, count: int, /) -> bytes:
        """Up to `count` bytes, fewer only at the end."""
        while len(self._ready) < count and self._more(count - len(self._ready)):
            pass
        found = bytes(self._ready[:count])
        del self._ready[:count]
        return found

    def _more(self, wanted: int) -> bool:
        """Unpacks some more; False at the end."""
        if not self._waiting:
            self._waiting = self._unpack.unconsumed_tail or self._stream.read(BLOCK)
        if not self._waiting:
            return False
        if self._unpack.eof:
            self._unpack = zlib.decompressobj(31)  # gzip files may follow one another
        try:
            block = self._unpack.decompress(self._waiting, wanted)
        except zlib.error as error:
            raise bad_archive("is damaged: it cannot be unpacked") from error
        self._waiting = self._unpack.unused_data or self._unpack.unconsumed_tail
        self._ready += block
        self._total += len(block)
        self._meter.check_bytes(max(0, self._total - self._overhead))
        return True
