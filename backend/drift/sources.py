"""Where rows come from: Parquet files, an Arrow table, or a reading of the inference log. Always a part at a time.

A source gives batches of the columns that are asked for. A file's columns are features by their own names; one of them may be
the prediction. Files are read by DuckDB, which may spill and never holds more than it is allowed to, and took less than half of
the processor time that pyarrow's own reader did for the same batches.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from backend.core.errors import ExternalFailure, Refusal
from backend.drift.values import PREDICTION, Column, Key, Kind, column_of
from backend.inference_log.reading import Reading

if TYPE_CHECKING:
    import duckdb

BATCH = 131_072
SYSTEM = "The reading of training data"
Config = dict[str, str | bool | int | float | list[str]]
_LOGGED: dict[str, tuple[Kind, str]] = {
    "number": ("number", "double"),
    "text": ("text", "text"),
    "flag": ("flag", "truth value"),
    "json": ("other", "JSON"),
}


class Source(Protocol):
    """Rows to be counted. Columns of a batch have the order in which they were asked for."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it has."""

    def batches(self, columns: Sequence[Column], *, time: bool = False) -> Iterator[pa.RecordBatch]:
        """Its rows, with these columns; and with `time` the event time as one more column at the end."""


@dataclass(frozen=True)
class Roles:
    """What the columns of a file or table are.

    Args:
        prediction: the column that holds a model's answer; None where there is none.
        time: the column that says when a row was, which is no feature; None where nothing says so.
        features: only these; None means all that are left.
        without: columns that are no features, such as labels and ids.
    """

    prediction: str | None = None
    time: str | None = None
    features: Collection[str] | None = None
    without: Collection[str] = ()

    def keys(self, names: Sequence[str]) -> dict[Key, str]:
        """The column behind each key. Refusal `no-such-column` where one is named that is not there."""
        named = {self.prediction, self.time, *(self.features or ()), *self.without} - {None}
        if missing := sorted(str(one) for one in named - set(names)):
            raise Refusal(
                f"The data has no column {', '.join(missing)}.",
                f"Name columns that it has: {', '.join(sorted(names)[:20])}.",
                code="no-such-column",
            )
        found = {Key("feature", name): name for name in names if self._is_feature(name)}
        return found | ({PREDICTION: self.prediction} if self.prediction is not None else {})

    def _is_feature(self, name: str) -> bool:
        if name in (self.prediction, self.time) or name in self.without:
            return False
        return self.features is None or name in self.features


class TableSource:
    """An Arrow table that is in memory already."""

    def __init__(self, table: pa.Table, roles: Roles | None = None, *, rows: int = BATCH) -> None:
        self._table, self._rows = table, rows
        self._roles = roles or Roles()
        self._names = self._roles.keys(table.column_names)

    @property
    def columns(self) -> tuple[Column, ...]:
        schema = self._table.schema
        return tuple(column_of(key, schema.field(name).type) for key, name in self._names.items())

    def batches(self, columns: Sequence[Column], *, time: bool = False) -> Iterator[pa.RecordBatch]:
        names = [self._names[one.key] for one in columns]
        if time:
            names.append(_time_of(self._roles))
        chosen = self._table.select(names)
        if not names:  # a table without columns still has rows, which batches of it would forget
            yield from _without_columns(self._table.num_rows, self._rows)
            return
        yield from chosen.to_batches(max_chunksize=self._rows)


class ParquetSource:
    """Parquet files with the same columns, read through DuckDB.

    Args:
        paths: local files.
        roles: what their columns are.
        memory: most that DuckDB holds.
        threads: of DuckDB.
    """

    def __init__(
        self, paths: Sequence[Path], roles: Roles | None = None, *, memory: str = "512MB", threads: int = 2, rows: int = BATCH
    ) -> None:
        self._paths = [str(path) for path in paths]
        self._roles = roles or Roles()
        self._rows = rows
        self._config = {"memory_limit": memory, "threads": str(threads), "python_enable_replacements": "false"}
        with self._connected() as connection:
            schema = connection.sql("SELECT * FROM read_parquet(?) LIMIT 0", params=[self._paths]).to_arrow_table().schema
        self._types = {one.name: one.type for one in schema}
        self._names = self._roles.keys(list(self._types))

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(column_of(key, self._types[name]) for key, name in self._names.items())

    def batches(self, columns: Sequence[Column], *, time: bool = False) -> Iterator[pa.RecordBatch]:
        names = [quoted(self._names[one.key]) for one in columns]
        if time:
            names.append(quoted(_time_of(self._roles)))
        sql = f"SELECT {', '.join(names) or '1'} FROM read_parquet(?)"  # noqa: S608 - quoted names of the file's own columns
        with self._connected() as connection:
            yield from connection.sql(sql, params=[self._paths]).to_arrow_reader(self._rows)

    @contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        import duckdb  # as in `inference_log.files`

        with tempfile.TemporaryDirectory(prefix="countersign-drift-") as spill:
            config: Config = {
                **self._config,
                "temp_directory": spill,
                "autoinstall_known_extensions": "false",
            }
            connection = duckdb.connect(":memory:", config=config)
            try:
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
            except (OSError, duckdb.Error) as error:
                raise ExternalFailure(SYSTEM, "failed: a file is missing, damaged or no Parquet", retryable=False) from error
            finally:
                connection.close()


@dataclass(frozen=True)
class ReadingSource:
    """The requests of a reading of the inference log, those of one arm if it is named, or those of one `group`: a version and
    an arm, either of which may be None for those of which nothing says so; those of a `span` of event times; and those `within`
    a condition (of this house's own making) with its values.

    A feature that sent values of several kinds has a column for each. A prediction that is no number is the text of its JSON; a
    plain text or truth value counts as itself.
    """

    reading: Reading
    arm: str | None = None
    rows: int = BATCH
    group: tuple[int | None, str | None] | None = None
    span: tuple[datetime, datetime] | None = None
    within: tuple[str, tuple[object, ...]] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        features = (
            Column(Key("feature", one.name), *_LOGGED[one.kind]) for one in self.reading.features if one.kind in _LOGGED
        )
        return (*features, Column(PREDICTION, "number", "double"), Column(PREDICTION, "text", "JSON"))

    def batches(self, columns: Sequence[Column], *, time: bool = False) -> Iterator[pa.RecordBatch]:
        names = [self._expression(one) for one in columns] + (["event_time"] if time else [])
        sql = f"SELECT {', '.join(names) or '1'} FROM requests"  # noqa: S608 - columns that the log itself names and quotes
        chosen, values = self._chosen()
        for batch in self.reading.batches(sql + chosen, values, rows=self.rows):
            yield _plain_predictions(batch, columns)

    def _chosen(self) -> tuple[str, list[object]]:
        clauses, values = list[str](), list[object]()
        if self.arm is not None:
            clauses, values = ["assigned_arm = ?"], [self.arm]
        if self.group is not None:
            clauses += ["version IS NOT DISTINCT FROM ?", "assigned_arm IS NOT DISTINCT FROM ?"]
            values += self.group
        if self.span is not None:
            clauses += ["event_time >= ?", "event_time < ?"]
            values += self.span
        if self.within is not None:
            clauses.append(f"({self.within[0]})")
            values += self.within[1]
        return (f" WHERE {' AND '.join(clauses)}", values) if clauses else ("", [])

    def _expression(self, column: Column) -> str:
        if column.key.role == "prediction":
            return "prediction" if column.kind == "number" else "prediction_json"
        return self.reading.column(column.key.name, "json" if column.kind == "other" else column.kind)


def quoted(name: str) -> str:
    """A name for a statement."""
    return '"' + name.replace('"', '""') + '"'


def _plain_predictions(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.RecordBatch:
    arrays = list(batch.columns)
    for place, column in enumerate(columns):
        if column.key == PREDICTION and column.kind == "text":
            arrays[place] = _plain_texts(arrays[place])
    return pa.RecordBatch.from_arrays(arrays, names=[str(place) for place in range(len(arrays))])


def _plain_texts(array: pa.Array) -> pa.Array:
    if array.null_count == len(array):
        return array.cast(pa.string())
    coded = array.cast(pa.string()).dictionary_encode()
    plain = pa.array([_plain(one) for one in coded.dictionary.to_pylist()], pa.string())
    return plain.take(coded.indices)


def _plain(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, str) else text


def _time_of(roles: Roles) -> str:
    if roles.time is None:
        raise Refusal("Nothing says when these rows were.", "Name the column that holds their time.", code="no-time")
    return roles.time


def _without_columns(rows: int, most: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, most):
        yield pa.RecordBatch.from_arrays([pa.nulls(min(most, rows - start))], names=["none"])
