"""The process that reads one dropped Parquet file: the file on standard input, rows as lines of JSON on standard output.

`parquet_rows` starts it, and nothing else does. A line is an object that says the names, a list with one row's values, a text
that says why a row cannot be told, or an object that says that the end is reached or why the rest cannot be read.
Texts are read as the dictionaries that they lie in: a value that stands in many rows is unpacked once (pyarrow,
`ParquetFile(read_dictionary=)`), and a whole row group is not read ahead (`pre_buffer`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backend.core import confined
from backend.core.confined import Confinement
from backend.ingest.parquet_rows import LONGEST_LINE, MOST_COLUMNS, MOST_ROWS, Unreadable

MOST_TEXT = 256 << 10
_BATCH, _CELLS = 2_000, 100_000
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_BAD = object()
_TIMES = ("event_time", "known_at")
_FAILURES = (pa.ArrowException, OSError, OverflowError, ValueError, TypeError)


def main() -> None:
    """Answers for the file on standard input."""
    memory, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    channel = os.fdopen(os.dup(_STDOUT), "wb", buffering=1 << 16)
    os.dup2(_STDERR, _STDOUT)  # what a library prints is no row
    confined.leave_the_network()
    confined.limit(cpu_seconds=cpu_seconds, address_space=memory)
    sys.addaudithook(Confinement(purpose="dropped files"))
    for message in _messages():
        channel.write(message.encode() + b"\n")
    channel.flush()


def _messages() -> Iterator[str]:
    try:
        yield from _rows()
    except MemoryError:  # ArrowMemoryError is one
        yield json.dumps({"unreadable": "it unpacks to more than can be read: write smaller row groups"})
    except Unreadable as error:
        yield json.dumps({"unreadable": str(error)})
    except _FAILURES:
        yield json.dumps({"unreadable": "it is not Parquet, or damaged"})
    else:
        yield json.dumps({"end": True})


def _rows() -> Iterator[str]:
    with open(_STDIN, "rb", closefd=False) as stream:
        texts = _checked(pq.ParquetFile(stream, pre_buffer=False))
    with open(_STDIN, "rb", closefd=False) as stream:
        stream.seek(0)
        yield from _rows_of(pq.ParquetFile(stream, read_dictionary=texts, pre_buffer=False, buffer_size=1 << 20))


def _rows_of(file: pq.ParquetFile) -> Iterator[str]:
    names = file.schema_arrow.names
    yield json.dumps({"names": names})
    size = max(1, min(_BATCH, _CELLS // max(1, len(names))))
    for batch in file.iter_batches(batch_size=size, use_threads=False):
        columns = [_cells(name, column) for name, column in zip(names, batch.columns, strict=True)]
        for row in zip(*columns, strict=True):
            yield _row(row)


def _checked(file: pq.ParquetFile) -> list[str]:
    """The names of texts. Raises Unreadable for a file that is too wide or too long."""
    names = file.schema_arrow.names
    if len(names) > MOST_COLUMNS or file.metadata.num_rows > MOST_ROWS:
        raise Unreadable(f"it has more than {MOST_COLUMNS} columns or {MOST_ROWS:,} rows")
    if len(set(names)) != len(names):
        raise Unreadable("two of its columns have one name")
    return [one.name for one in file.schema_arrow if pa.types.is_string(one.type) or pa.types.is_binary(one.type)]


def _row(row: tuple[Any, ...]) -> str:
    if any(one is _BAD for one in row):
        return json.dumps("a value of it cannot be read, or is too long")
    try:
        text = json.dumps(row, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return json.dumps("it holds a value of a kind that no row has")
    return text if len(text) <= LONGEST_LINE else json.dumps(f"it is longer than {LONGEST_LINE >> 10} KiB")


def _cells(name: str, column: Any) -> list[Any]:
    """The values of one column; `_BAD` for one that cannot be told, so that only its row is lost."""
    if pa.types.is_dictionary(column.type):
        held = _cells(name, column.dictionary)
        return [None if place is None else held[place] for place in column.indices.to_pylist()]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", None if column.type.tz is None else "UTC"), safe=False)
    try:
        if _is_long(column):
            return [_cell(one) for one in column]
        values: list[Any] = column.to_pylist()
    except _FAILURES:
        values = [_cell(one) for one in column]
    if name in _TIMES and pa.types.is_timestamp(column.type) and column.type.tz is None:
        return [one.replace(tzinfo=UTC) if isinstance(one, datetime) else one for one in values]
    return values


def _is_long(column: Any) -> bool:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    return (pc.max(pc.binary_length(column)).as_py() or 0) > MOST_TEXT


def _cell(one: Any) -> Any:
    try:
        value = one.as_py()
    except _FAILURES:
        return _BAD
    return _BAD if isinstance(value, str) and len(value) > MOST_TEXT else value


def _plain(value: object) -> Any:
    """Times and days as text, exact numbers as numbers; nothing else is a value of a row."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError


if __name__ == "__main__":
    main()
