"""The logical tables, and rows as Arrow tables of them. `parts` has the columns of `requests`; `copies` has, of those,
`event_time`, `received_at`, `request_id`, `unit`, `generation`, `version`, the prediction, the latency, `status` and `failure`,
and besides the text `shadow` and `arm`.

| requests | | outcomes | |
|---|---|---|---|
| `event_time`, `received_at` | timestamp, UTC, us | `known_at`, `received_at` | timestamp, UTC, us |
| `request_id`, `unit` | text | `request_id` | text |
| `bucket`, `generation`, `version`, `status` | whole number | `o.<name>` | double, one column an outcome |
| `assigned_arm`, `served_arm`, `failure` | text | | |
| `prediction`, `latency_seconds` | double | | |
| `prediction_json` | text (JSON) | | |
| `unsampled` | truth value | | |
| `nulls` | list of text | | |
| `n.<name>`, `t.<name>`, `f.<name>`, `j.<name>` | double, text, truth value, text (JSON): one column a feature and kind | | |

The files of one table may differ in their last columns: each has those that its rows brought along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backend.inference_log.copies import Copy, Row
from backend.inference_log.layout import Table
from backend.inference_log.rules import Request

_TIME = pa.timestamp("us", tz="UTC")
REQUESTS = pa.schema(
    [
        ("event_time", _TIME),
        ("received_at", _TIME),
        ("request_id", pa.string()),
        ("unit", pa.string()),
        ("bucket", pa.int32()),
        ("assigned_arm", pa.string()),
        ("served_arm", pa.string()),
        ("generation", pa.int64()),
        ("version", pa.int32()),
        ("prediction", pa.float64()),
        ("prediction_json", pa.string()),
        ("latency_seconds", pa.float64()),
        ("status", pa.int32()),
        ("failure", pa.string()),
        ("unsampled", pa.bool_()),
        ("nulls", pa.list_(pa.string())),
    ]
)
OUTCOMES = pa.schema([("known_at", _TIME), ("received_at", _TIME), ("request_id", pa.string())])
_OF_COPIES = ("event_time", "received_at", "request_id", "unit", "shadow", "arm", "generation", "version")
_OF_ANSWERS = ("prediction", "prediction_json", "latency_seconds", "status", "failure")
COPIES = pa.schema(
    [REQUESTS.field(one) if one in REQUESTS.names else (one, pa.string()) for one in (*_OF_COPIES, *_OF_ANSWERS)]
)
SCHEMAS: Mapping[Table, pa.Schema] = {"requests": REQUESTS, "parts": REQUESTS, "outcomes": OUTCOMES, "copies": COPIES}
_TYPES = {"n": pa.float64(), "t": pa.string(), "f": pa.bool_(), "j": pa.string(), "o": pa.float64()}


def table_of(table: Table, rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table: the columns of `SCHEMAS[table]`, then those that any of the rows brought along, by name."""
    schema = SCHEMAS[table]
    values = [_brought(row) for row in rows]
    fixed = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in schema]
    names = sorted(set().union(*values))
    types = [_TYPES[name[0]] for name in names]
    brought = [pa.array([one.get(name) for one in values], kind) for name, kind in zip(names, types, strict=True)]
    return pa.Table.from_arrays([*fixed, *brought], schema=pa.schema([*schema, *map(pa.field, names, types)]))


def _brought(row: Row) -> Mapping[str, Any]:
    """The columns that a row has besides those of its table."""
    if isinstance(row, Copy):
        return {}
    return row.features if isinstance(row, Request) else row.values


def parquet(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
