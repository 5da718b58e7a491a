"""Many small files of a closed hour become one, while writers write and readers read.

The merged file is written first and the list of what it replaces last. In between both count, and each request still comes out
once. The replaced files stay for `grace`, so that a reading that was opened before can finish; then they go, and the list after
them. A crash anywhere leaves rows twice, never not at all, and the next run tidies up.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from backend.core.failpoints import reach
from backend.inference_log import catalog, layout, reading
from backend.inference_log.files import Engine, Files, failures
from backend.inference_log.layout import Partition

BEFORE_LIST = "inference-log.list"
UNFINISHED_FOR = timedelta(days=1)
"""A file that has been unfinished for longer was left behind by a writer that died."""


@dataclass(frozen=True)
class Rules:
    """What is compacted and what is removed.

    Args:
        closed_for: how long an hour must be over, since most late rows come soon.
        least: fewer files than this are left as they are.
        grace: how long replaced files stay; longer than any reading takes.
    """

    closed_for: timedelta = timedelta(hours=1)
    least: int = 2
    grace: timedelta = timedelta(hours=1)


@dataclass
class Compacted:
    """What a run did: hours merged, the files that went into them, and files removed."""

    hours: int = 0
    merged: int = 0
    removed: int = 0


class Compaction:
    """One run over the log, or over the hours from `since` on. Several may run at once; they only waste work."""

    def __init__(self, files: Files, rules: Rules, clock: Callable[[], datetime], engine: Engine) -> None:
        self._files, self._rules, self._clock, self._engine = files, rules, clock, engine

    def run(self, *, since: datetime | None = None) -> Compacted:
        """Merges and tidies. ExternalFailure where the log cannot be read or written; what was done before stays done."""
        done = Compacted()
        closed_before = self._clock() - self._rules.closed_for
        for partition in self._partitions(since):
            done.removed += self._tidy(partition)
            if partition.hour + layout.HOUR <= closed_before:
                self._compact(partition, done)
        return done

    def tidy(self, endpoint: str) -> int:
        """Removes what was replaced long enough ago in one endpoint's hours; the number of files. ExternalFailure."""
        found = (catalog.partitions(self._files, table, endpoint, None, None, None) for table in layout.TABLES)
        return sum(self._tidy(partition) for each in found for partition in each)

    def _partitions(self, since: datetime | None) -> Iterator[Partition]:
        for table in layout.TABLES:
            for endpoint in catalog.endpoints(self._files, table):
                yield from catalog.partitions(self._files, table, endpoint, None, since, None)

    def _compact(self, partition: Partition, done: Compacted) -> None:
        names = catalog.live_files(self._files, partition)
        if len(names) < self._rules.least:
            return
        stem = layout.new_stem(self._clock())
        self._write_merged(partition, names, stem)
        reach(BEFORE_LIST)
        self._files.put(partition.folder, layout.list_name(stem), json.dumps(names).encode())
        done.hours, done.merged = done.hours + 1, done.merged + len(names)

    def _write_merged(self, partition: Partition, names: list[str], stem: str) -> None:
        with tempfile.TemporaryDirectory(prefix="countersign-log-") as folder:
            target = Path(folder, "merged.parquet")
            sources = [self._files.address(f"{partition.folder}/{name}") for name in names]
            connection = self._files.connect(self._engine, Path(folder, "spill"))
            with connection, failures("has files that cannot be merged"):
                reading.merge(connection, partition.table, sources, str(target))
            self._files.put_file(partition.folder, layout.data_name("merged", stem), target)

    def _tidy(self, partition: Partition) -> int:
        """Removes what was replaced long enough ago, then its list; and what a writer that died left unfinished."""
        names, now = self._files.names(partition.folder), self._clock()
        removed = 0
        for name in names:
            written, stem = layout.written_at(name), layout.list_stem(name)
            if written is None:
                continue
            if stem is not None and written < now - self._rules.grace:
                removed += self._remove_replaced(partition, stem, names)
            elif layout.is_unfinished(name) and written < now - UNFINISHED_FOR:
                self._files.remove(f"{partition.folder}/{name}")
                removed += 1
        return removed

    def _remove_replaced(self, partition: Partition, stem: str, names: list[str]) -> int:
        """The files, and then the list. Nothing goes whose merged file is not there: those files are all there is."""
        if layout.data_name("merged", stem) not in names:
            return 0
        taken = sorted(catalog.replaced(self._files, partition, stem) or ())
        for name in (*taken, layout.list_name(stem)):
            self._files.remove(f"{partition.folder}/{name}")
        return len(taken) + 1
