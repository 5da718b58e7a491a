"""One digest for one table's content, whatever wrote or compressed it.

The SHA-256 runs over a header in canonical JSON (schema number, number of rows, names and kinds of the columns, in order),
and then for each column over one validity byte a row, followed by the values, little-endian, with zero for a missing one:
floats as IEEE 754 doubles (negative zero as zero, NaN as missing), whole numbers as 64-bit integers, truth values as bytes,
times as microseconds since 1970 in UTC, and texts as their 32-bit lengths in bytes followed by their UTF-8 bytes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from backend.core.canonical import canonical

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = 1


def table_digest(table: pa.Table) -> str:
    """`sha256:<hex>` of an Arrow table's content. Row and column order count; chunks and encodings do not."""
    columns = [[field.name, _kind(field.type)] for field in table.schema]
    digest = hashlib.sha256(canonical({"schema": SCHEMA, "rows": table.num_rows, "columns": columns}))
    for name, kind in columns:
        for part in _parts(table[name], kind):
            digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def _kind(of: Any) -> str:
    import pyarrow.types as types

    checks = {
        "float": types.is_floating,
        "int": types.is_integer,
        "bool": types.is_boolean,
        "time": types.is_timestamp,
        "text": lambda t: types.is_string(t) or types.is_large_string(t),
    }
    for kind, holds in checks.items():
        if holds(of):
            return kind
    raise TypeError(f"a column of type {of} has no canonical form")


def _parts(column: pa.ChunkedArray, kind: str) -> list[bytes]:
    import pyarrow.compute as pc

    missing = pc.is_null(column, nan_is_null=True)
    valid: bytes = pc.invert(missing).to_numpy().astype("u1").tobytes()
    if kind == "text":
        texts = [(text or "").encode() for text in column.to_pylist()]
        return [valid, _numbers([len(text) for text in texts], "<i4"), b"".join(texts)]
    return [valid, _values(column, missing, kind)]


def _values(column: pa.ChunkedArray, missing: pa.ChunkedArray, kind: str) -> bytes:
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "time":
        column = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
    target = {"float": pa.float64(), "bool": pa.uint8()}.get(kind, pa.int64())
    filled = pc.if_else(missing, pa.scalar(0, target), column.cast(target))
    # Adding zero turns negative zero into zero; it changes no other number.
    return _numbers(filled.to_numpy() + 0, {"float": "<f8", "bool": "u1"}.get(kind, "<i8"))


def _numbers(values: Any, dtype: str) -> bytes:
    import numpy as np

    return np.asarray(values, dtype=dtype).tobytes()
