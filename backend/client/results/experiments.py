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
class Decided(Experiment):
    """An experiment that was decided; `change` is the number of what follows, None where nothing has to move."""

    change: int | None = None


@dataclass(frozen=True)
class Comparison:
    """What arms did beside each other.

    `figures` of the newest look (docs/experiments.md), None before it; `standing` is what a ramp makes of it.
    """

    id: str
    endpoint: str
    experiment: str
    control: str
    versions: Mapping[str, int]
    treatments: tuple[str, ...]
    asked: Mapping[str, Any]
    state: str
    why: str
    decision: str
    reasons: tuple[str, ...]
    person: bool
    changes: tuple[str, ...]
    began_at: datetime
    ended_at: datetime | None
    looked_at: datetime | None
    stale: bool
    problem: str
    standing: Mapping[str, Any]
    figures: Mapping[str, Any] | None


@dataclass(frozen=True)
class ComparisonLook:
    """One look: its decision, and the figures of everyone."""

    at: datetime
    generation: int
    decision: str
    reasons: tuple[str, ...]
    figures: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class RawAggregates:
    """Sums over units by generation, arm, metric and segment."""

    comparison: str
    endpoint: str
    experiment: str
    at: datetime
    rows: tuple[Mapping[str, Any], ...]


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
