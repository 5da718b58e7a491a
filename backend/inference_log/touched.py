"""Which hours changed since a look, so that whoever keeps figures by the hour computes just those anew.

An hour counts as touched when a file in it was written since then: late rows and corrections touch the hour of their event, an
erasure the hours it took rows from, and a compaction each hour once more. Nothing is read but names of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.inference_log import catalog, layout
from backend.inference_log.files import Files
from backend.inference_log.layout import Table

OVERLAP = timedelta(minutes=5)
"""How much earlier than `since` a file's name may say that it was written: writers' clocks differ, and a file takes its time
from being named to being there."""


@dataclass(frozen=True)
class Touched:
    """Hours in which something changed, in order.

    Args:
        requests: by event; those with requests or parts of some.
        outcomes: by the time at which outcomes became known. The hours of the requests that they belong to are others:
            `InferenceLog.touched` finds them.
    """

    requests: tuple[datetime, ...]
    outcomes: tuple[datetime, ...]


def touched(files: Files, endpoint: str, since: datetime, *, start: datetime | None = None) -> Touched:
    """The hours of an endpoint with files written since a time; from `start` on where one is given."""
    requests = {*_hours(files, "parts", endpoint, None, since, start)}
    for version in catalog.versions(files, endpoint):
        requests |= {*_hours(files, "requests", endpoint, version, since, start)}
    return Touched(tuple(sorted(requests)), tuple(sorted(_hours(files, "outcomes", endpoint, None, since, start))))


def _hours(
    files: Files, table: Table, endpoint: str, version: int | None, since: datetime, start: datetime | None
) -> Iterator[datetime]:
    above = layout.hours_folder(table, endpoint, version)
    for name in files.touched_folders(above, since - OVERLAP):
        hour = layout.hour_named(name)
        if hour is None or (start is not None and hour + layout.HOUR <= start):
            continue
        if any(_is_new(one, since) for one in files.names(f"{above}/{name}")):
            yield hour


def _is_new(name: str, since: datetime) -> bool:
    written = layout.written_at(name) if layout.is_data(name) else None
    return written is not None and written >= since - OVERLAP
