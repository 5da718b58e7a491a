"""Taking the rows of single units out of the log, and whole hours that are old enough.

Files are never changed: an hour that holds an erased unit is written anew without it, by the same two steps as compaction, and
the files before go after the same grace. An erasure is over when no file, live or replaced, holds the unit any more.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from backend.inference_log import catalog, layout
from backend.inference_log.files import Engine, Files, failures
from backend.inference_log.layout import Partition, Table

if TYPE_CHECKING:
    import duckdb

_BY_IDS: tuple[Table, ...] = ("outcomes", "copies")
"""Tables whose rows may not say whose they are."""
Going = Callable[[Iterable[str]], Mapping[str, datetime | None]]
"""Of the units that lie there, those that go: each with the time until which its rows were received, or None for all."""

_UNITS = "SELECT DISTINCT unit FROM {source} WHERE unit IS NOT NULL"
_IDS = "SELECT DISTINCT request_id FROM {source} JOIN erased USING (unit) WHERE until IS NULL OR received_at <= until"
_COUNT = "SELECT count(*) FROM {source} WHERE {gone}"
_BY_UNIT = "EXISTS (FROM erased WHERE erased.unit = log.unit AND (erased.until IS NULL OR log.received_at <= erased.until))"
_BY_ID = "log.request_id IN (SELECT request_id FROM ids)"
_SOURCE = "read_parquet(getvariable('paths'), union_by_name = true, hive_partitioning = false) AS log"


@dataclass
class Erased:
    """What a run did.

    Args:
        removed: rows that count no more.
        is_clean: whether no file holds one of them, those that readers may still have open included.
    """

    removed: int = 0
    is_clean: bool = True


@dataclass
class _Found:
    """The units that go, as they lie in the log, and the ids of their requests: parts and outcomes know only those."""

    units: dict[str, datetime | None] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)


class Erasing:
    """Runs over one endpoint's rows. Several runs at once only waste work."""

    def __init__(self, files: Files, clock: Callable[[], datetime], engine: Engine) -> None:
        self._files, self._clock, self._engine = files, clock, engine

    def run(self, endpoint: str, going: Going) -> Erased:
        """Takes out the rows of every unit that goes. Outcomes and copies go first: without their requests nobody would find
        them.

        Raises ExternalFailure where the log cannot be read or written; what was done before stays done.
        """
        found, done = _Found(), Erased()
        with tempfile.TemporaryDirectory(prefix="countersign-log-") as folder:
            partitions = [one for table in layout.TABLES for one in self._partitions(table, endpoint)]
            for one in partitions:
                self._look(Path(folder), one, going, found)
            if not found.ids:
                return done
            done.is_clean = False
            for one in sorted(partitions, key=lambda each: each.table not in _BY_IDS):
                done.removed += self._without(Path(folder), one, found)
        return done

    def _partitions(self, table: Table, endpoint: str) -> Iterable[Partition]:
        return catalog.partitions(self._files, table, endpoint, None, None, None)

    def _look(self, folder: Path, partition: Partition, going: Going, found: _Found) -> None:
        names = [name for name in self._files.names(partition.folder) if layout.is_data(name)]
        if partition.table == "outcomes" or not names:
            return
        with self._opened(folder, partition, names, found) as connection, failures("has files that cannot be read"):
            units = [row[0] for row in connection.execute(_UNITS.format(source=_SOURCE)).fetchall()]
            those = going(units)
            if not those:
                return
            found.units |= those
            _tell(connection, found)
            found.ids |= {row[0] for row in connection.execute(_IDS.format(source=_SOURCE)).fetchall()}

    def _without(self, folder: Path, partition: Partition, found: _Found) -> int:
        """Writes one partition anew where it holds such rows; their number."""
        names = catalog.live_files(self._files, partition)
        if not names:
            return 0
        gone = _BY_ID if partition.table == "outcomes" else f"({_BY_UNIT} OR {_BY_ID})"
        target, stem = folder / "merged.parquet", layout.new_stem(self._clock())
        with self._opened(folder, partition, names, found) as connection, failures("has files that cannot be read"):
            ((count,),) = connection.execute(_COUNT.format(source=_SOURCE, gone=gone)).fetchall()
            if count:
                kept = connection.sql(f"SELECT * FROM {_SOURCE} WHERE NOT coalesce({gone}, false)")  # noqa: S608 - ours
                kept.write_parquet(str(target), compression="zstd")
        if count:
            self._files.put_file(partition.folder, layout.data_name("merged", stem), target)
            self._files.put(partition.folder, layout.list_name(stem), json.dumps(names).encode())
        return int(count)

    def _opened(self, folder: Path, partition: Partition, names: list[str], found: _Found) -> duckdb.DuckDBPyConnection:
        connection = self._files.connect(self._engine, folder / "spill")
        paths = [self._files.address(f"{partition.folder}/{name}") for name in names]
        connection.execute("SET VARIABLE paths = $1", [paths])
        _tell(connection, found)
        return connection


def expire(files: Files, table: Table, endpoint: str, before: datetime) -> int:
    """Removes the hours of one table that were over before a time; their number."""
    gone = list(_over(files, table, endpoint, before))
    for partition in gone:
        files.remove_folder(partition.folder)
    return len(gone)


def holds(files: Files, table: Table, endpoint: str, before: datetime) -> bool:
    """Whether there is an hour of one table that was over before a time."""
    return any(True for _ in _over(files, table, endpoint, before))


def _over(files: Files, table: Table, endpoint: str, before: datetime) -> Iterator[Partition]:
    for partition in catalog.partitions(files, table, endpoint, None, None, before):
        if partition.hour + layout.HOUR <= before:
            yield partition


def _tell(connection: duckdb.DuckDBPyConnection, found: _Found) -> None:
    time = pa.timestamp("us", tz="UTC")
    units = {"unit": pa.array(list(found.units), pa.string()), "until": pa.array(list(found.units.values()), time)}
    for name, table in (
        ("erased", pa.table(units)),
        ("ids", pa.table({"request_id": pa.array(sorted(found.ids), pa.string())})),
    ):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.from_arrow(table).create(name)
