"""Rows of a dropped file, one after the other and never more in memory than a part of it. Everything in it is hostile.

Columns that are fields of a row (`request_id`, `event_time`, ...) are those; every other one a feature, in `outcomes` a value.
A column `feature.NAME` (`value.NAME`) is NAME whatever it is called. In NDJSON a row may have `features` (`values`) itself.
What is wrong with one row is that row's matter; only where no more rows can be told apart is the file's reading over.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Literal

from backend.inference_log.rules import Malformed, Outcome, Request
from backend.ingest import parquet_rows
from backend.ingest.parquet_rows import LONGEST_LINE, MOST_COLUMNS, Unreadable

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WORDS = {"": None, "true": True, "false": False, "True": True, "False": False}
_FIELDS = {
    "requests": frozenset(Request._fields) - {"received_at", "nulls", "prediction_json", "unsampled", "size"},
    "outcomes": (frozenset(Outcome._fields) | {"unit"}) - {"received_at", "size"},
}
_NOT_SAID = ("received_at",)
"""When a row came is ours to say: of two rows with one id the later counts."""
_INSIDE = {"requests": ("features", "feature."), "outcomes": ("values", "value.")}
_WHOLE = ("bucket", "generation", "version", "status")
_TOO_LONG = f"it is longer than {LONGEST_LINE >> 10} KiB"

Kind = Literal["requests", "outcomes"]
Told = tuple[Any, int]
"""A row as `rules` checks it, or the Malformed that says why it is none; and the bytes that it took."""


def rows_of(stream: BinaryIO, suffix: str, kind: Kind) -> Iterator[Told]:
    """The rows of an open file. Raises Unreadable where nothing more of it can be read, in the middle too.

    Args:
        suffix: `.parquet`, `.csv` or `.ndjson`.
    """
    for row, size in _READ[suffix](stream):
        yield (_row(row, kind) if isinstance(row, Mapping) else row), size


def _row(told: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    inside, prefix = _INSIDE[kind]
    held = told.get(inside)
    row = {name: told[name] for name in _FIELDS[kind] if name in told and name != inside}
    more = {name.removeprefix(prefix): value for name, value in told.items() if name not in (*_FIELDS[kind], *_NOT_SAID)}
    row[inside] = {**held, **more} if isinstance(held, Mapping) else (held if held is not None and not more else more)
    return row


def _ndjson(stream: BinaryIO) -> Iterator[Told]:
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            _skip(stream, line)
            yield Malformed(_TOO_LONG), len(line)
        elif line.strip():
            yield _object(line), len(line)


def _object(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return Malformed("it is not JSON")


class _TooLong(Exception):
    """A record of CSV that is none of ours."""


class _Lines:
    """Lines of a stream for `csv`, which bounds a field but no record. Bytes that are no UTF-8 stay what no row may hold."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.size = stream, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(LONGEST_LINE + 1)
        if not line:
            raise StopIteration
        self.size += len(line)
        if self.size > LONGEST_LINE:
            _skip(self._stream, line)
            raise _TooLong
        return line.decode("utf-8", "surrogateescape")


def _csv(stream: BinaryIO) -> Iterator[Told]:
    """What reads as a number is one, `true` and `false` are truth values, and nothing is nothing."""
    csv.field_size_limit(LONGEST_LINE)
    lines = _Lines(stream)
    reader = csv.reader(lines, strict=True)
    head = _checked_head(_record(reader, lines))
    while (found := _record(reader, lines)) is not None:
        if isinstance(found, Malformed):
            yield found, lines.size
        elif found and len(found) != len(head):
            yield Malformed("it has more or fewer fields than the head"), lines.size
        elif found:
            yield {name: _value(name, text) for name, text in zip(head, found, strict=True)}, lines.size


def _record(reader: Iterator[list[str]], lines: _Lines) -> list[str] | Malformed | None:
    """The next record, or why it is none; None at the end. After a failure `csv` begins anew with the next line."""
    lines.size = 0
    try:
        return next(reader, None)
    except _TooLong:
        return Malformed(_TOO_LONG)
    except csv.Error:
        return Malformed("it is not CSV")


def _checked_head(found: list[str] | Malformed | None) -> list[str]:
    if not isinstance(found, list) or not found or len(found) > MOST_COLUMNS:
        raise Unreadable(f"it has no head, or more than {MOST_COLUMNS} columns")
    head = [found[0].removeprefix("\ufeff"), *found[1:]]
    if len(set(head)) != len(head):
        raise Unreadable("two of its columns have one name")
    if any("\ud800" <= letter <= "\udfff" for name in head for letter in name):
        raise Unreadable("its head is not UTF-8")
    return head


def _value(name: str, text: str) -> Any:
    if name in ("request_id", "unit", "event_time", "known_at", "failure", "assigned_arm", "served_arm"):
        return text or None
    if text in _WORDS:
        return _WORDS[text]
    if name in _WHOLE and text.isascii() and text.isdigit() and len(text) <= 40:
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) and len(text) <= 40 else text


def _skip(stream: BinaryIO, line: bytes) -> None:
    """To the end of a line of which a part was read."""
    while line and not line.endswith(b"\n"):
        line = stream.readline(LONGEST_LINE)


_READ: Mapping[str, Callable[[BinaryIO], Iterator[Told]]] = {
    ".parquet": parquet_rows.rows_of, ".csv": _csv, ".ndjson": _ndjson
}  # fmt: skip
