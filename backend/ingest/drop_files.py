"""Rows of a dropped file, one after the other and never more in memory than a part of it. Everything in it is hostile.

Columns that are fields of a row (`request_id`, `event_time`, ...) are those; every other one a feature, in `outcomes` a value.
A column `feature.NAME` (`value.NAME`) is NAME whatever it is called. In NDJSON a row may have `features` (`values`) itself.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from backend.inference_log.rules import Outcome, Request

LONGEST_LINE = 1 << 20
MOST_COLUMNS = 2_000
MOST_ROWS = 50_000_000
MOST_GROUP_BYTES = 2 << 30
_BATCH = 2_000
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WORDS = {"": None, "true": True, "false": False, "True": True, "False": False}
_FIELDS = {
    "requests": frozenset(Request._fields) - {"received_at", "nulls", "prediction_json", "size"},
    "outcomes": (frozenset(Outcome._fields) | {"unit"}) - {"received_at", "size"},
}
_NOT_SAID = ("received_at",)
"""When a row came is ours to say: of two rows with one id the later counts."""
_INSIDE = {"requests": ("features", "feature."), "outcomes": ("values", "value.")}
_WHOLE = ("bucket", "generation", "version", "status")

Kind = Literal["requests", "outcomes"]


class Unreadable(ValueError):
    """A file of which nothing more can be read; the text says why and holds nothing of it."""


def rows_of(path: Path, kind: Kind) -> Iterator[Any]:
    """The rows, as `rules` checks them. Raises Unreadable where the file is none of its kind, in the middle too."""
    read = {".parquet": _parquet, ".csv": _csv, ".ndjson": _ndjson}[path.suffix]
    for row in read(path):
        yield _row(row, kind) if isinstance(row, Mapping) else row


def _row(told: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    inside, prefix = _INSIDE[kind]
    held = told.get(inside)
    row = {name: told[name] for name in _FIELDS[kind] if name in told and name != inside}
    more = {name.removeprefix(prefix): value for name, value in told.items() if name not in (*_FIELDS[kind], *_NOT_SAID)}
    for name in ("event_time", "known_at"):
        if isinstance(row.get(name), datetime) and row[name].tzinfo is None:
            row[name] = row[name].replace(tzinfo=UTC)  # Parquet's timestamps without a zone
    row[inside] = {**held, **more} if isinstance(held, Mapping) else (held if held is not None and not more else more)
    return row


def _ndjson(path: Path) -> Iterator[Any]:
    with path.open("rb") as stream:
        while line := stream.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise Unreadable(f"a line of it is longer than {LONGEST_LINE >> 10} KiB")
            if line.strip():
                yield _object(line)


def _object(line: bytes) -> Any:
    """A line that is no JSON is a row that is malformed, and no end of the file."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    """What reads as a number is one, `true` and `false` are truth values, and nothing is nothing."""
    csv.field_size_limit(LONGEST_LINE)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames is None or len(reader.fieldnames) > MOST_COLUMNS:
                raise Unreadable(f"it has no head, or more than {MOST_COLUMNS} columns")
            if len(set(reader.fieldnames)) != len(reader.fieldnames):
                raise Unreadable("two of its columns have one name")
            for told in reader:
                if None in told or None in told.values():
                    raise Unreadable("a line of it has more or fewer fields than its head")
                yield {name: _value(name, text) for name, text in told.items()}
    except (csv.Error, UnicodeDecodeError):
        raise Unreadable("it is not CSV in UTF-8") from None


def _value(name: str, text: str) -> Any:
    if name in ("request_id", "unit", "event_time", "known_at", "failure", "assigned_arm", "served_arm"):
        return text or None
    if text in _WORDS:
        return _WORDS[text]
    if name in _WHOLE and text.isascii() and text.isdigit():
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) and len(text) <= 40 else text


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            about = file.metadata
            if about.num_columns > MOST_COLUMNS or about.num_rows > MOST_ROWS:
                raise Unreadable(f"it has more than {MOST_COLUMNS} columns or {MOST_ROWS:,} rows")
            if any(about.row_group(one).total_byte_size > MOST_GROUP_BYTES for one in range(about.num_row_groups)):
                raise Unreadable(f"a row group of it is larger than {MOST_GROUP_BYTES >> 30} GiB")
            for batch in file.iter_batches(batch_size=_BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("it is not Parquet, or damaged") from None
