"""What lies in the log: endpoints, versions and hours, listed one folder at a time and never more than was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from backend.core.canonical import loads
from backend.core.errors import Refusal
from backend.inference_log import layout
from backend.inference_log.files import Files
from backend.inference_log.layout import Partition, Table


def endpoints(files: Files, table: Table) -> list[str]:
    """Endpoints that have rows in a table."""
    return [slug for name in files.names(table) if (slug := layout.endpoint_named(name)) is not None]


def versions(files: Files, endpoint: str) -> list[int | None]:
    """Versions that requests of an endpoint were answered by; None stands for those of which nothing says so."""
    names = files.names(layout.endpoint_folder("requests", endpoint))
    return [found[0] for name in names if (found := layout.version_named(name)) is not None]


def partitions(
    files: Files,
    table: Table,
    endpoint: str,
    chosen: Collection[int | None] | None,
    start: datetime | None,
    end: datetime | None,
) -> Iterator[Partition]:
    """The partitions that may hold rows between `start` and `end` (outside). One listing a version.

    Args:
        chosen: which versions of the requests; None means all. The other tables have none.
    """
    if table != "requests":
        chosen = (None,)
    elif chosen is None:
        chosen = versions(files, endpoint)
    for version in chosen:
        for name in files.names(layout.hours_folder(table, endpoint, version)):
            hour = layout.hour_named(name)
            if hour is not None and _overlaps(hour, start, end):
                yield Partition(table, endpoint, version, hour)


def live_files(files: Files, partition: Partition) -> list[str]:
    """Names of the files whose rows count, in the order in which they were written."""
    while True:
        names = files.names(partition.folder)
        lists = {stem: replaced(files, partition, stem) for name in names if (stem := layout.list_stem(name))}
        known = {stem: taken for stem, taken in lists.items() if taken is not None}
        if len(known) == len(lists):
            return layout.live(names, known)
        # A list went while we looked, and with it the files that it named: look again. Each turn is a removal by somebody.


def replaced(files: Files, partition: Partition, stem: str) -> frozenset[str] | None:
    """The names on a list of replaced files; None when it is gone. A damaged one names none: rows that lie twice count once."""
    content = files.read(f"{partition.folder}/{layout.list_name(stem)}")
    if content is None:
        return None
    try:
        found = loads(content)
    except (Refusal, UnicodeDecodeError):
        return frozenset()
    return frozenset(name for name in found if layout.is_data(name)) if isinstance(found, list) else frozenset()


def _overlaps(hour: datetime, start: datetime | None, end: datetime | None) -> bool:
    return (end is None or hour < end) and (start is None or hour + layout.HOUR > start)
