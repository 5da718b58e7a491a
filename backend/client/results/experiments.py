"""What is tried at endpoints, and what plans come to. Shares are buckets; what is unknown, or never ends, is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class ExperimentLine:
    """One experiment in a list: draft, running, decided or withdrawn."""

    endpoint: str
    environment: str
    slug: str
    title: str
    state: str
    owner: str
    running_day: int
    planned_days: int
    arms: int
    looks_for: str
    layer: str
    outcome: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    revision: int


@dataclass(frozen=True)
class ExperimentShare:
    """Who gets what; version 0 is the champion."""

    version: int
    buckets: int


@dataclass(frozen=True)
class Experiment(ExperimentLine):
    """One experiment whole. `etag` is what editing it is bound to."""

    hypothesis: str
    shares: tuple[ExperimentShare, ...]
    design: Mapping[str, Any]
    planned: Mapping[str, Any] | None
    changes: tuple[str, ...]
    ends_on: datetime | None
    reason: str
    decided_by: str
    edited_at: datetime
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class PlannedPoint:
    """What is seen by the end of one step."""

    units: float | None
    days: float | None
    detectable: float | None
    harm: float | None


@dataclass(frozen=True)
class PlannedFigure:
    """What a plan sees of one metric."""

    metric: str
    role: str
    arm: str
    wanted: float
    relative: bool
    alpha: float
    sides: str
    power: float
    level: float | None
    unit_variance: float | None
    detectable: float | None
    harm: float | None
    units: float | None
    days: float | None
    expected_units: float | None
    steps: tuple[PlannedPoint, ...]
    blind: str
    known: bool
    binding: bool
    note: str


@dataclass(frozen=True)
class ExperimentPlan:
    """What a design comes to; `blind` says why a change with it would be refused."""

    figures: tuple[PlannedFigure, ...]
    units_a_day: float | None
    units_by_end: float | None
    days: float | None
    weight: float | None
    blind: tuple[str, ...]
    measured: Mapping[str, Any]
