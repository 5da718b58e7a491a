"""Counts of buckets as a few bytes: one for the width, then each count in as many bytes as the largest one needs. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_FLOATS = 0
"""Marks counts that are no whole numbers (8 bytes each)."""


def packed(counts: Sequence[float]) -> bytes:
    """Bytes of counts that are finite and not below 0."""
    whole = [int(one) for one in counts]
    if any(one != other for one, other in zip(counts, whole, strict=True)):
        return struct.pack(f"<B{len(counts)}d", _FLOATS, *counts)
    most = max(whole, default=0)
    width = next((one for one in _WIDTHS if most < 1 << 8 * one), None)
    if width is None:
        return struct.pack(f"<B{len(counts)}d", _FLOATS, *counts)
    return struct.pack(f"<B{len(whole)}{_WIDTHS[width]}", width, *whole)


def unpacked(content: bytes) -> tuple[float, ...]:
    """The counts again. ValueError for bytes that are none."""
    width = content[0] if content else -1
    size = 8 if width == _FLOATS else width
    if (width != _FLOATS and width not in _WIDTHS) or (len(content) - 1) % size:
        raise ValueError("these bytes are no counts")
    return struct.unpack(f"<{(len(content) - 1) // size}{_WIDTHS.get(width, 'd')}", content[1:])
