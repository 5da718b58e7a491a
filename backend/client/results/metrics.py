"""How fast endpoints answer and how often they fail, and what was promised of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Quantile:
    """Seconds below which the share `quantile` of requests lies; the truth is between `low` and `high`, where known."""

    quantile: float
    seconds: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MetricMoment:
    """What happened in one span; None is what nobody told."""

    at: datetime
    seconds: int
    requests: float | None
    throughput: float | None
    error_rate: float | None
    failure_rate: float | None
    latency: tuple[Quantile, ...]
    mean_seconds: float | None
    queue_share: float | None
    queue_seconds: float | None
    compute_seconds: float | None
    overflow: float | None
    in_flight: float | None
    pending: float | None


@dataclass(frozen=True)
class MetricGroup:
    """One arm, one version, or the whole endpoint."""

    arm: str
    version: int | None
    shadow: bool
    moments: tuple[MetricMoment, ...]


@dataclass(frozen=True)
class Covered:
    """For which share of one span somebody looked."""

    at: datetime
    share: float


@dataclass(frozen=True)
class MetricSource:
    """One source of an endpoint's figures, as it fares: ok, late, failing, empty or never."""

    id: str
    teller: str
    name: str
    word: str
    says: str
    asked_at: datetime | None
    ok_at: datetime | None
    since: datetime | None
    figures: int
    bad: Mapping[str, int]
    cut: str


@dataclass(frozen=True)
class Metrics:
    """An endpoint's figures over a span of time."""

    endpoint: str
    start: datetime
    end: datetime
    step: int
    groups: tuple[MetricGroup, ...]
    covered: tuple[Covered, ...]
    sources: tuple[MetricSource, ...]


@dataclass(frozen=True)
class Objective:
    """One promise: the share of requests that shall be good."""

    name: str
    kind: str
    target: float
    seconds: float | None


@dataclass(frozen=True)
class Slo:
    """What is promised of an endpoint."""

    endpoint: str
    days: int
    revision: int
    objectives: tuple[Objective, ...]
    set_at: datetime
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Burn:
    """How fast one window uses up the budget; None where nobody knows."""

    seconds: int
    rate: float | None
    reason: str


@dataclass(frozen=True)
class BurnAlert:
    """One pair of windows: burning, fine or unknown, which is no pass."""

    severity: str
    factor: float
    verdict: str
    reason: str
    long: Burn
    short: Burn


@dataclass(frozen=True)
class ErrorBudget:
    """What is left of an objective's budget."""

    allowed: float
    used: float
    left: float | None
    covered: float
    reason: str


@dataclass(frozen=True)
class Promise:
    """One objective as it stands."""

    objective: Objective
    verdict: str
    budget: ErrorBudget
    alerts: tuple[BurnAlert, ...]


@dataclass(frozen=True)
class SloStanding:
    """What is promised of an endpoint, as it stands now."""

    endpoint: str
    days: int
    promises: tuple[Promise, ...]


@dataclass(frozen=True)
class SloRules:
    """A file of Prometheus rules, and what could not be written into it."""

    text: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class MetricRetention:
    """How long points are kept, in hours: of each look, of five minutes, of an hour."""

    raw_hours: int
    fine_hours: int
    coarse_hours: int
    revision: int
    etag: str = field(default="", compare=False, metadata={"told": False})
