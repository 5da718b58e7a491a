"""What is watched at endpoints, how monitors fare, and what their runs came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class MonitorLine:
    """One monitor, as it fares: ok, alarm, never, idle, late, no_data, failing or paused."""

    endpoint: str
    environment: str
    name: str
    kind: str
    watches: str
    every_hours: int
    window_hours: int
    word: str
    says: str
    since: datetime | None
    last_slot: datetime | None
    next_due: datetime | None
    findings: int
    severity: str
    owner: str
    paused: bool
    revision: int


@dataclass(frozen=True)
class MonitorFound:
    """One thing that a run found; a `notice` alarms nobody."""

    kind: str
    severity: str
    feature: str
    version: int | None
    says: str


@dataclass(frozen=True)
class MonitorRun:
    """One run: running, ok, alarm, no_data, early, idle or failed; `why` says what the last four are about."""

    slot: datetime
    window_start: datetime
    state: str
    why: str
    rows: int
    started_at: datetime
    ended_at: datetime | None
    found: tuple[MonitorFound, ...]
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Monitor:
    """One monitor whole, with its newest runs."""

    endpoint: str
    name: str
    kind: str
    spec: Mapping[str, Any]
    paused: bool
    paused_reason: str
    revision: int
    set_by: str
    set_at: datetime
    fares: MonitorLine
    latest_runs: tuple[MonitorRun, ...]
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Profile:
    """What a version was made from. `timed`: whether it says how much its days differ."""

    model: str
    version: int
    digest: str
    rows: int
    columns: int
    timed: bool
    source: str
    set_by: str
    set_at: datetime
    revision: int
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class MonitorAsked:
    """Which window is judged now: its end."""

    slot: datetime
