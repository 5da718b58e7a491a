"""A log per test: in a folder, and where a test says so also in a store that is not a file system (fsspec's `memory://`)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from backend.inference_log.reading import Reading
from backend.inference_log.service import InferenceLog
from tests.databases import Clock

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture(params=["folder", "store"])
def any_root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    """Where a log lies: a folder of this machine, then a store behind fsspec."""
    if request.param == "folder":
        yield tmp_path / "log"
        return
    name = f"/log-{uuid.uuid4().hex}"
    yield f"memory:/{name}"
    store = fsspec.filesystem("memory")
    if store.exists(name):
        store.rm(name, recursive=True)


@pytest.fixture
def late_clock(clock: Clock) -> Clock:
    """The tests' clock, in the evening of the day that the rows are of."""
    clock.now = NOON + timedelta(hours=12)
    return clock


def row(number: int, *, minutes: float = 0, **fields: Any) -> dict[str, Any]:
    """A request at noon plus `minutes`, answered by version 1 unless the fields say otherwise."""
    return {
        "request_id": f"r{number}",
        "event_time": NOON + timedelta(minutes=minutes),
        "unit": f"u{number % 7}",
        "assigned_arm": "champion",
        "served_arm": "champion",
        "version": 1,
        "features": {"number": float(number)},
        **fields,
    }


def outcome(number: int, value: float | None, *, minutes: float = 60, **fields: Any) -> dict[str, Any]:
    """An outcome called `late`, known at noon plus `minutes`."""
    return {"request_id": f"r{number}", "known_at": NOON + timedelta(minutes=minutes), "values": {"late": value}, **fields}


def read(log: InferenceLog, versions: list[int | None] | None = None, *, hours: float = 24, **options: Any) -> Reading:
    """The rows of `hours` hours from noon on."""
    return log.read("delay", versions, NOON, NOON + timedelta(hours=hours), **options)


def ids(log: InferenceLog, versions: list[int | None] | None = None, **options: Any) -> list[str]:
    """The ids of the requests, sorted."""
    with read(log, versions, **options) as reading:
        return sorted(reading.query("SELECT request_id FROM requests")["request_id"].to_pylist())


def data_files(root: Path) -> list[Path]:
    """Every file of rows below a local root, whether it counts or not."""
    return sorted(root.rglob("*.parquet"))
