"""What shadow arms answered beside live ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class PairMean:
    """A mean over pairs; `low` and `high` of a 95 % interval that holds at every look, None while `unsettled` says why."""

    mean: float
    low: float | None
    high: float | None
    units: int
    unsettled: str


@dataclass(frozen=True)
class Disagreement:
    """How often the two said something else, by which tolerance (`told`: by the caller) and threshold."""

    share: PairMean
    tolerance: float
    told: bool
    threshold: float | None


@dataclass(frozen=True)
class PairDifferences:
    """Shadow less live, of predictions that are numbers."""

    pairs: int
    mean: float
    mean_absolute: float
    largest: float
    quantiles: Mapping[str, float]


@dataclass(frozen=True)
class PairLatencies:
    """Seconds at the arms, by quantile."""

    pairs: int
    live: Mapping[str, float]
    shadow: Mapping[str, float]
    mean_difference: float


@dataclass(frozen=True)
class PairLoss:
    """Errors where the outcome is known; less is better. `difference`: shadow less live, within pairs."""

    name: str
    pairs: int
    live: float
    shadow: float
    difference: PairMean


@dataclass(frozen=True)
class ShadowCopies:
    """What one shadow arm did in a window of time."""

    endpoint: str
    arm: str
    start: datetime
    end: datetime
    versions: tuple[int, ...]
    asked: int
    answered: int
    failed: int
    missing: int
    failure_share: float | None
    missing_share: float | None
    failures: Mapping[str, int]
    mistaken: int
    unread: int
    untold: int
    compared: int
    disagreement: Disagreement | None
    differences: PairDifferences | None
    latency: PairLatencies | None
    outcome: str | None
    outcomes: tuple[str, ...]
    losses: tuple[PairLoss, ...]


@dataclass(frozen=True)
class Shadows:
    """Every shadow arm of a window of time, the newest first."""

    endpoint: str
    start: datetime
    end: datetime
    shadows: tuple[ShadowCopies, ...]
