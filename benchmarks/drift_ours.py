"""Countersign's side of the drift benchmark. For `benchmarks.children`."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from backend.drift.counts import Counts, counted, total
from backend.drift.layout import Layout
from backend.drift.profile import Profile, build
from backend.drift.scores import Scores, scored
from backend.drift.sources import ParquetSource, TableSource
from backend.drift.stored import counts_bytes, counts_from, profile_bytes, profile_from
from benchmarks.children import Call


def make(reference: str, target: str) -> dict[str, float]:
    """Builds the profile of a file and stores it."""
    started, wall = time.process_time(), time.perf_counter()
    content = profile_bytes(build(ParquetSource([Path(reference)])))
    Path(target).write_bytes(content)
    return {
        "cpu": time.process_time() - started,
        "wall": time.perf_counter() - wall,
        "peak_mib": _peak(),
        "kib": len(content) / 1024,
    }


def score(profile: str, current: str) -> dict[str, float]:
    """All scores of all columns of a file, with the reading of it and of the stored profile."""
    started, wall = time.process_time(), time.perf_counter()
    known = profile_from(Path(profile).read_bytes())
    found = _scores(known, counted(ParquetSource([Path(current)]), known.layout))
    return {
        "cpu": time.process_time() - started,
        "wall": time.perf_counter() - wall,
        "peak_mib": _peak(),
        "columns": sum(one is not None for one in found),
    }


def store_hours(profile: str, current: str, folder: str) -> dict[str, float]:
    """Counts a file in 24 parts, as hours of a day would be."""
    layout, table = profile_from(Path(profile).read_bytes()).layout, pq.read_table(current)
    size, stored = -(-table.num_rows // 24), 0
    for hour in range(24):
        content = counts_bytes(counted(TableSource(table.slice(hour * size, size)), layout))
        Path(folder, f"{hour:02}").write_bytes(content)
        stored += len(content)
    return {"kib": stored / 24 / 1024}


def window(profile: str, folder: str, times: int) -> dict[str, float]:
    """Scores a day from its stored hours: each time they are read, put together and scored anew."""
    known = profile_from(Path(profile).read_bytes())
    started, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        _scores(known, total(known.layout, [_hour(path, known.layout) for path in sorted(Path(folder).iterdir())]))
    return {"cpu": (time.process_time() - started) / times, "wall": (time.perf_counter() - wall) / times}


def _hour(path: Path, layout: Layout) -> Counts:
    return counts_from(path.read_bytes(), layout)


def _scores(profile: Profile, current: Counts) -> list[Scores | None]:
    layout = profile.layout
    sides = [(profile.counts.of(layout, place), current.of(layout, place)) for place in range(len(layout.features))]
    return [scored(feature, *both) for feature, both in zip(layout.features, sides, strict=True)]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CALLS: dict[str, Call | Any] = {"make": make, "score": score, "store_hours": store_hours, "window": window}
