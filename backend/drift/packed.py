"""A document with arrays of numbers as few bytes, and back. What comes back is taken for hostile: no pickle, nothing by name.

`CSDRIFT<version>\\n`, then zlib over: the length of the document (4 bytes, little-endian), the document as JSON, the arrays one
behind the other. The document's `arrays` says of each which kind it is and how many numbers it has. Whole numbers take as few
bytes each as the largest of them needs.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from backend.core.canonical import loads
from backend.core.errors import Refusal
from backend.drift.values import Floats, Ints

VERSION = 1
MAGIC = b"CSDRIFT%d\n" % VERSION
MOST_BYTES = 256 << 20
"""Of the unpacked content. A profile of 2,000 columns stays below it."""

MOST_COUNTED = 2**53

_WHOLE = ("<u1", "<u2", "<u4", "<i8")
_KINDS = {kind: np.dtype(kind) for kind in (*_WHOLE, "<f8", "<f4")}


class Packing:
    """Collects arrays; `put` gives the number by which the document names each."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray[Any, Any]] = []

    def put(self, array: Ints | Floats, kind: str = "") -> int:
        """Keeps an array, in doubles or whole numbers as it is, or of another kind."""
        flat = np.ascontiguousarray(array).ravel()
        with np.errstate(over="ignore"):
            self._arrays.append(flat.astype(kind or _kind_of(flat)))
        return len(self._arrays) - 1

    def bytes(self, document: Mapping[str, Any]) -> bytes:
        """Everything."""
        arrays = [[one.dtype.str.replace("|", "<"), len(one)] for one in self._arrays]
        head = json.dumps({**document, "arrays": arrays}, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()
        body = b"".join([struct.pack("<I", len(head)), head, *(one.tobytes() for one in self._arrays)])
        return MAGIC + zlib.compress(body, 6)


class Unpacked:
    """A document and its arrays. Everything that is asked of it and is not there, or not as it must be, is a Refusal."""

    def __init__(self, content: bytes) -> None:
        body = _inflated(content)
        length = struct.unpack_from("<I", body)[0] if len(body) >= 4 else len(body)
        if length > len(body) - 4:
            raise bad("it is cut off")
        document = loads_document(body[4 : 4 + length])
        self.document = document
        self._arrays = _arrays(document.pop("arrays", None), body, 4 + length)

    def whole(self, number: object, length: int) -> Ints:
        """An array of whole numbers, none of them negative."""
        found = self._array(number, length)
        if found.dtype.kind == "f":
            raise bad("an array has fractions")
        counts = found.astype(np.int64)
        if len(counts) and not 0 <= counts.min() <= counts.max() <= MOST_COUNTED:
            raise bad("a count is negative or too large")
        return counts

    def floats(self, number: object, length: int) -> Floats:
        """An array of doubles."""
        found = self._array(number, length)
        if found.dtype.kind != "f":
            raise bad("an array has no fractions")
        return found.astype(np.float64)

    def _array(self, number: object, length: int) -> np.ndarray[Any, Any]:
        if type(number) is not int or not 0 <= number < len(self._arrays) or len(self._arrays[number]) != length:
            raise bad("an array is missing or has another length")
        return self._arrays[number]


def bad(why: str) -> Refusal:
    """What is said of content that is none of ours."""
    return Refusal(f"This is no stored profile or count: {why}.", "Make it again from its rows.", code="bad-profile")


def loads_document(text: bytes) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = loads(text)
    except (Refusal, UnicodeDecodeError):
        raise bad("its document is no JSON") from None
    if not isinstance(found, dict):
        raise bad("its document is no object")
    return found


def _kind_of(array: np.ndarray[Any, Any]) -> str:
    if array.dtype.kind == "f":
        return "<f8"
    largest = int(array.max()) if len(array) else 0
    return next(kind for kind in _WHOLE if largest <= np.iinfo(kind).max)


def _inflated(content: bytes) -> bytes:
    if not isinstance(content, bytes) or not content.startswith(MAGIC):
        raise bad("it begins with other bytes, or another version of Countersign wrote it")
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(content[len(MAGIC) :], MOST_BYTES)
    except zlib.error:
        raise bad("it cannot be unpacked") from None
    if not inflater.eof or inflater.unused_data:
        raise bad("it is cut off, too large, or has more behind its end")
    return body


def _arrays(told: object, body: bytes, start: int) -> list[np.ndarray[Any, Any]]:
    found = []
    for one in told if isinstance(told, list) else ():
        kind, length = one if isinstance(one, list) and len(one) == 2 else (None, None)
        if kind not in _KINDS or type(length) is not int or length < 0:
            raise bad("its arrays are not told")
        dtype = _KINDS[kind]
        if start + length * dtype.itemsize > len(body):
            raise bad("its arrays are cut off")
        found.append(np.frombuffer(body, dtype, length, start))
        start += length * dtype.itemsize
    if start != len(body):
        raise bad("its arrays are not all told")
    return found
