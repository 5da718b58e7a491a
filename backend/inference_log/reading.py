"""Reading the log with DuckDB: only the files of the partitions that were asked for, and each request once.

with log.read("flight-delay", [2], start, end) as reading:
    late = reading.column("late", "outcome")
        reading.query(f"SELECT assigned_arm, avg({late}) AS late FROM joined GROUP BY ALL").to_pylist()
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from backend.inference_log import copied, tables
from backend.inference_log.columns import SQL_TYPES, Column, Kind, column_of, columns_among
from backend.inference_log.files import Engine, Files, failures
from backend.inference_log.layout import Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# Rows are known by their file and place in it. Which ones are duplicates is found from the narrow columns alone, so that a
# query reads no wide column for the sake of it; and where there are none, nothing is left to join.
# `can_have_nan`: a file's statistics leave NaN out. Without it DuckDB takes a column to have none (duckdb/duckdb#25521):
# `isnan` becomes false beforehand, and comparisons lose or gain the rows that monitors have to count.
_RAW = """
CREATE VIEW {table}_raw AS SELECT *, file_index AS _file, file_row_number AS _row
FROM read_parquet(getvariable('{table}_files'), union_by_name = true, hive_partitioning = false,
    can_have_nan = true)
"""
_BEATEN = """
CREATE TABLE {table}_beaten AS
WITH several AS (SELECT request_id FROM {table}_raw GROUP BY {key} HAVING count(*) > 1),
ranked AS (
    SELECT _file, _row, row_number() OVER (
        PARTITION BY {key} ORDER BY received_at DESC, _file DESC, _row DESC
    ) AS place
    FROM {table}_raw WHERE request_id IN (SELECT request_id FROM several)
)
SELECT _file, _row FROM ranked WHERE place > 1
"""
_ANY_BEATEN = "SELECT 1 FROM {table}_beaten LIMIT 1"
_ONCE = "CREATE VIEW {table}_once AS SELECT * EXCLUDE (_file, _row) FROM {table}_raw"
_WITHOUT_BEATEN = " ANTI JOIN {table}_beaten USING (_file, _row)"
# What several sources tell of one request lies apart (`parts`). Of each column the latest that anybody told counts, and what
# a whole row says before what its parts say.
_PARTS_ONCE = """
CREATE VIEW parts_once AS SELECT request_id, min(event_time) AS event_time, max(received_at) AS received_at,
    {nulls} AS nulls, {unsampled} AS unsampled, {columns}
FROM parts_raw GROUP BY request_id
"""
_ALL_UNSAMPLED = "bool_and(coalesce(unsampled, false))"
_LATEST = "arg_max({column}, received_at)"
# A null is told as a value is: the later of the two counts. Names of features are not in the statement but in a variable.
_NULL_NAMES = "SELECT DISTINCT unnest(nulls) AS name FROM parts_raw ORDER BY name"
_NULLED = "list_contains(nulls, getvariable('null_names')[{place}])"
_NULL_AT = f"max(received_at) FILTER ({_NULLED})"
_IS_NULL = "coalesce({null_at} > greatest({values_at}), {null_at} IS NOT NULL)"
_VALUE_AT = "max(received_at) FILTER ({column} IS NOT NULL)"
_TOGETHER = """
CREATE VIEW requests_together AS
SELECT requests_once.request_id, requests_once.event_time, requests_once.received_at, {both}
FROM requests_once LEFT JOIN parts_once USING (request_id)
UNION ALL
SELECT request_id, event_time, received_at, {alone} FROM parts_once ANTI JOIN requests_once USING (request_id)
"""
_ALONE = {"failure": "coalesce(failure, '')", "nulls": "coalesce(nulls, [])"}
_OWN = ("nulls", "unsampled")
"""Columns of which not the latest that was told counts."""
_KEYS = ("request_id", "event_time", "received_at")
_REQUESTS = """
CREATE VIEW requests AS SELECT * FROM {source}
WHERE event_time >= getvariable('start_time') AND event_time < getvariable('end_time'){chosen}
"""
_SAMPLED = " AND NOT coalesce(unsampled, false)"
_CHOSEN = " AND coalesce(version, 0) IN (SELECT unnest(getvariable('versions')))"
_OUTCOMES = """
CREATE VIEW outcomes AS SELECT * FROM outcomes_once WHERE known_at <= getvariable('known_by')
"""
_JOINED = """
CREATE VIEW joined AS SELECT requests.*, outcomes.* EXCLUDE (request_id, received_at)
FROM requests LEFT JOIN outcomes USING (request_id)
"""
_COUNTS = """
SELECT date_trunc('hour', event_time) AS hour, assigned_arm AS arm, version, count(*) AS requests,
    count(*) FILTER (failure <> '') AS failures,
    count(*) FILTER (served_arm IS NOT NULL AND served_arm <> assigned_arm) AS fallbacks,
    count(DISTINCT unit) AS units
FROM requests GROUP BY ALL ORDER BY hour, arm NULLS FIRST, version NULLS FIRST
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Requests with an event time from `start` on and before `end`; outcomes known by `known_by`, itself included.

    `versions`: which versions' requests; None means all, and a None in it those of which nothing says who answered.
    `unsampled`: failures too that are kept though sampling leaves their units out.
    """

    start: datetime
    end: datetime
    known_by: datetime
    versions: tuple[int | None, ...] | None = None
    unsampled: bool = False


@dataclass(frozen=True, slots=True)
class ArmHour:
    """What one arm and version did in one hour.

    Args:
        arm: the assigned one; None for requests of which nothing says so.
        failures: requests without a valid answer, the arm's own even where another arm stood in.
        fallbacks: requests that another arm answered.
        units: different units of randomisation.
    """

    hour: datetime
    arm: str | None
    version: int | None
    requests: int
    failures: int
    fallbacks: int
    units: int


class Reading:
    """A look at one endpoint's rows as they were when it was opened; compaction and writers do not disturb it.

    Views: `requests` (those whose event time is asked for), `outcomes` (known by the time asked for), and `joined`: each
    request with `known_at` and the `o.<name>` columns of its outcome, which are NULL while it has none. Columns: `tables.py`.
    Where copies were asked for also `copies`, the answers of shadow arms, and `copied`: each request that a shadow was sent a
    copy of, with what both answered and its outcome (`copied.py`). Not for several threads at once. Close it, or use it as a
    context.
    """

    def __init__(
        self,
        files: Files,
        paths: Mapping[Table, Sequence[str]],
        window: Window,
        engine: Engine,
    ) -> None:
        self.files = {table: tuple(found) for table, found in paths.items()}
        self._known: dict[str, Sequence[str]] = {}
        self._spill = tempfile.TemporaryDirectory(prefix="countersign-log-")
        self._connection = files.connect(engine, Path(self._spill.name, "spill"))
        try:
            with failures("has files that cannot be read"):
                self._make_views(files, window)
        except BaseException:
            self.close()
            raise

    def _make_views(self, files: Files, window: Window) -> None:
        _set(self._connection, start_time=window.start, end_time=window.end, known_by=window.known_by)
        for table, found in self.files.items():
            if table != "parts":
                _view_once(self._connection, table, [files.address(path) for path in found])
        self._connection.execute(self._requests_view(files, window))
        for view in (_OUTCOMES, _JOINED):
            self._connection.execute(view)
        if "copies" in self.files:
            copied.make_views(self._connection)

    def _requests_view(self, files: Files, window: Window) -> str:
        """Requests with what their parts say. Where there are parts, only they may say which version answered."""
        parts = [files.address(path) for path in self.files.get("parts", ())]
        if not parts:
            return _REQUESTS.format(source="requests_once", chosen=self._sampled("requests_once", window))
        _view_together(self._connection, parts)
        sampled = self._sampled("requests_together", window)
        if window.versions is None:
            return _REQUESTS.format(source="requests_together", chosen=sampled)
        _set(self._connection, versions=[one or 0 for one in window.versions])
        return _REQUESTS.format(source="requests_together", chosen=_CHOSEN + sampled)

    def _sampled(self, source: str, window: Window) -> str:
        """Leaves out what no figure may count. Files from before there was such a thing have no column of it."""
        return "" if window.unsampled or "unsampled" not in self._connection.table(source).columns else _SAMPLED

    @property
    def features(self) -> tuple[Column, ...]:
        """The features that the requests have, by name and kind."""
        return columns_among(self._columns_of("requests"))

    @property
    def outcomes(self) -> tuple[Column, ...]:
        """The outcomes by name."""
        return columns_among(self._columns_of("outcomes"))

    def column(self, name: str, kind: Kind) -> str:
        """A feature's or outcome's column for a statement, quoted; a NULL of its type where none of the rows has it."""
        column = column_of(name, kind)
        table = "outcomes" if kind == "outcome" else "requests"
        return f'"{column}"' if column in self._columns_of(table) else f"CAST(NULL AS {SQL_TYPES[kind]})"

    def query(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """The answer to a SELECT on the views. Only ever give it statements of this house; values go into `parameters`."""
        with failures("could not be queried"):
            return self._connection.sql(sql, params=list(parameters)).to_arrow_table()

    def keep(self, name: str, sql: str, parameters: Sequence[object] = ()) -> None:
        """Keeps the answer to a SELECT as a table of this reading, so that several statements ask it; it spills as others do.

        The name is of this house too, and no view's. What was kept under it before is gone.
        """
        with failures("could not be queried"):
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {_quoted(name)} AS {sql}", list(parameters))

    def batches(self, sql: str, parameters: Sequence[object] = (), *, rows: int = 100_000) -> pa.RecordBatchReader:
        """As `query`, a part at a time, for answers that do not fit into memory."""
        with failures("could not be queried"):
            return self._connection.sql(sql, params=list(parameters)).to_arrow_reader(rows)

    def counts(self) -> list[ArmHour]:
        """Requests by hour, assigned arm and version, in that order."""
        return [ArmHour(**row) for row in self.query(_COUNTS).to_pylist()]

    def _columns_of(self, view: str) -> Sequence[str]:
        """Asked once: binding a view takes milliseconds, and its columns stay what they are."""
        if view not in self._known:
            self._known[view] = self._connection.table(view).columns
        return self._known[view]

    def close(self) -> None:
        """Gives back the memory. A closed reading answers nothing."""
        self._connection.close()
        self._spill.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def merge(connection: duckdb.DuckDBPyConnection, table: Table, sources: Sequence[str], target: str) -> None:
    """Writes the rows of several files of one partition as one file, each request once, in the order of their times.

    Parts are all kept: which of them counts is known only with the parts of the hours beside.
    """
    if table == "parts":
        _view_raw(connection, table, sources)
        connection.execute("CREATE VIEW parts_once AS SELECT * EXCLUDE (_file, _row) FROM parts_raw")
    else:
        _view_once(connection, table, sources)
    time = "known_at" if table == "outcomes" else "event_time"
    rows = connection.sql(f"SELECT * FROM {table}_once ORDER BY {time}, request_id")  # noqa: S608 - two words of ours
    rows.write_parquet(target, compression="zstd")


def _view_once(connection: duckdb.DuckDBPyConnection, table: Table, sources: Sequence[str]) -> None:
    """Makes the view `<table>_once`: all rows of the files, the latest of each request."""
    if not sources:
        connection.from_arrow(tables.SCHEMAS[table].empty_table()).create(f"{table}_once")
        return
    _view_raw(connection, table, sources)
    connection.execute(_BEATEN.format(table=table, key=copied.KEY if table == "copies" else "request_id"))
    beaten = connection.execute(_ANY_BEATEN.format(table=table)).fetchone() is not None
    connection.execute((_ONCE + (_WITHOUT_BEATEN if beaten else "")).format(table=table))


def _view_raw(connection: duckdb.DuckDBPyConnection, table: Table, sources: Sequence[str]) -> None:
    _set(connection, **{f"{table}_files": list(sources)})
    connection.execute(_RAW.format(table=table))


def _view_together(connection: duckdb.DuckDBPyConnection, parts: Sequence[str]) -> None:
    """Makes the view `requests_together`, whose columns are those of the requests and of their parts."""
    _view_raw(connection, "parts", parts)
    told = [one for one in connection.table("parts_raw").columns if one not in (*_KEYS, *_OWN, "_file", "_row")]
    nulled = _nulled(connection, told)
    columns = ", ".join(f"{_latest(one, nulled)} AS {_quoted(one)}" for one in told)
    unsampled = _ALL_UNSAMPLED if "unsampled" in connection.table("parts_raw").columns else "false"
    nulls = ", ".join(
        f"CASE WHEN {one.is_null} THEN getvariable('null_names')[{place}] END" for place, one in enumerate(nulled.values(), 1)
    )
    nulls = f"list_filter([{nulls}], lambda one: one IS NOT NULL)" if nulls else "CAST([] AS VARCHAR[])"
    connection.execute(_PARTS_ONCE.format(columns=columns, unsampled=unsampled, nulls=nulls))
    whole, part = set(connection.table("requests_once").columns), {*told, *_OWN}
    names = sorted((whole | part) - set(_KEYS))
    both = ", ".join(f'{_either(one, one in whole, one in part)} AS "{one}"' for one in names)
    alone = ", ".join(f'{_ALONE.get(one, _quoted(one)) if one in part else "NULL"} AS "{one}"' for one in names)
    connection.execute(_TOGETHER.format(both=both, alone=alone))


class _Nulled(NamedTuple):
    """A feature that some part told to have no value: its columns, and whether that is the latest word on it, as SQL."""

    columns: frozenset[str]
    is_null: str


def _nulled(connection: duckdb.DuckDBPyConnection, told: Sequence[str]) -> dict[str, _Nulled]:
    names = [str(row[0]) for row in connection.execute(_NULL_NAMES).fetchall()]
    _set(connection, null_names=names)
    known: dict[str, list[str]] = {}
    for one in columns_among(told):
        known.setdefault(one.name, []).append(one.column)
    found = {}
    for place, name in enumerate(names, 1):
        null_at, mine = _NULL_AT.format(place=place), known.get(name, [])
        values_at = ", ".join(_VALUE_AT.format(column=_quoted(one)) for one in mine) or "NULL"
        found[name] = _Nulled(frozenset(mine), _IS_NULL.format(null_at=null_at, values_at=values_at))
    return found


def _latest(column: str, nulled: Mapping[str, _Nulled]) -> str:
    latest = _LATEST.format(column=_quoted(column))
    for one in columns_among([column]):
        if one.name in nulled:
            return f"CASE WHEN {nulled[one.name].is_null} THEN NULL ELSE {latest} END"
    return latest


def _either(column: str, in_whole: bool, in_part: bool) -> str:
    """What the whole row says of a column, else what its parts say. A list without names says nothing."""
    whole, part = f'requests_once."{column}"', f'parts_once."{column}"'
    if not (in_whole and in_part):
        return whole if in_whole else part
    if column == "nulls":
        return f"CASE WHEN len({whole}) > 0 THEN {whole} ELSE coalesce({part}, []) END"
    return f"coalesce({whole}, {part})"


def _quoted(column: str) -> str:
    return f'"{column}"'


def _set(connection: duckdb.DuckDBPyConnection, **variables: Any) -> None:
    for name, value in variables.items():
        connection.execute(f"SET VARIABLE {name} = $1", [value])
