"""The digest names the content of a table, and nothing else."""

from __future__ import annotations

import hashlib
import math
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.demo.table_digest import table_digest

COLUMNS: dict[str, list[Any]] = {
    "number": [1.5, None, 0.0],
    "count": [1, 2, None],
    "yes": [True, False, None],
    "text": ["a", "", None],
    "at": [datetime(2013, 7, 1, tzinfo=UTC), None, datetime(2013, 7, 2, tzinfo=UTC)],
}
TYPES = {
    "number": pa.float32(),
    "count": pa.int64(),
    "yes": pa.bool_(),
    "text": pa.string(),
    "at": pa.timestamp("us", "UTC"),
}


def _table(**changes: list[Any]) -> pa.Table:
    values = COLUMNS | changes
    return pa.table({name: pa.array(values[name], TYPES[name]) for name in values})


def test_is_what_the_module_describes() -> None:
    """The same bytes, put together by hand."""
    day = int(datetime(2013, 7, 1, tzinfo=UTC).timestamp() * 1e6)
    columns = '[["number","float"],["count","int"],["yes","bool"],["text","text"],["at","time"]]'
    content = b"".join(
        [
            f'{{"columns":{columns},"rows":3,"schema":1}}'.encode(),
            bytes([1, 0, 1]) + struct.pack("<3d", 1.5, 0, 0),
            bytes([1, 1, 0]) + struct.pack("<3q", 1, 2, 0),
            bytes([1, 1, 0]) + bytes([1, 0, 0]),
            bytes([1, 1, 0]) + struct.pack("<3i", 1, 0, 0) + b"a",
            bytes([1, 0, 1]) + struct.pack("<3q", day, 0, day + 86_400_000_000),
        ]
    )
    assert table_digest(_table()) == f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize(
    "changes",
    [
        {"number": [1.5, None, 1e-9]},
        {"number": [1.5, 0.0, None]},
        {"number": [1.5, 0.0, 0.0]},
        {"count": [1, 2, 0]},
        {"yes": [True, False, False]},
        {"text": ["", "a", None]},
        {"text": ["a", None, None]},
        {"at": [datetime(2013, 7, 1, 0, 0, 0, 1, tzinfo=UTC), None, datetime(2013, 7, 2, tzinfo=UTC)]},
    ],
)
def test_one_changed_cell_changes_it(changes: dict[str, list[Any]]) -> None:
    assert table_digest(_table(**changes)) != table_digest(_table())


def test_order_and_names_count() -> None:
    table = _table()
    reordered = table.select(list(reversed(table.column_names)))
    renamed = table.rename_columns([*table.column_names[:-1], "when"])
    assert len({table_digest(each) for each in (table, reordered, renamed, table.slice(0, 2), table.take([1, 0, 2]))}) == 5


def test_not_a_number_is_missing_and_negative_zero_is_zero() -> None:
    assert table_digest(_table(number=[1.5, math.nan, -0.0])) == table_digest(_table())


def test_chunks_and_files_do_not_count(tmp_path: Path) -> None:
    table = _table()
    pq.write_table(table, tmp_path / "t.parquet", compression="zstd", row_group_size=1)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert table_digest(pq.read_table(tmp_path / "t.parquet")) == table_digest(chunked) == table_digest(table)


def test_a_type_without_a_canonical_form_is_not_guessed() -> None:
    with pytest.raises(TypeError, match="list"):
        table_digest(pa.table({"nested": [[1]]}))
