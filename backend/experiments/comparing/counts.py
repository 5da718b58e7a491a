"""What a comparison counts of the inference log, as values: what is asked, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backend.delivery.comparison import Comparison
from backend.experiments.comparing.unit_rows import Shape
from backend.experiments.designs.unit_sql import Counted as Ratio
from backend.experiments.statistics.moments import Floats, Moments
from backend.experiments.statistics.quantiles import Bins

EVERYONE = ""


@dataclass(frozen=True)
class Stratum:
    """One generation in which arms share the traffic. `shares`: buckets by compared arm, 0 for one that has none."""

    generation: int
    shares: Mapping[str, int]
    admitted_at: datetime


@dataclass(frozen=True)
class Asked:
    """What is counted. `arms`: the control, then the treatments. `now`: the database's."""

    endpoint: str
    comparison: Comparison
    arms: tuple[str, ...]
    strata: tuple[Stratum, ...]
    began_at: datetime
    now: datetime

    @property
    def shape(self) -> Shape:
        """How requests become rows."""
        asked = self.comparison
        return Shape(asked.counts == "each_step", asked.window_seconds, self.now.timestamp())

    @property
    def pooled(self) -> bool:
        """Whether the same unit may stand in several strata."""
        return self.comparison.counts == "each_step" and len(self.strata) > 1


@dataclass(frozen=True)
class Traffic:
    """Requests of units by stratum, arm, and who answered."""

    generation: int
    arm: str
    served: str | None
    requests: int
    failures: int
    fallbacks: int
    newest: datetime


@dataclass(eq=False)
class Counts:
    """What was counted. Arrays are (arms, strata), in the order of `Asked`.

    Args:
        units, complete, crossed, new: units by arm and stratum; `new` where they were seen first, crossed ones too.
        ratios: all that is summed, in order; `of_metric`: metric -> places among them.
        centres: what was taken off each request's value of a ratio, before it was summed up to moments.
        cells: (place, segment) -> moments.
        firsts: segment -> moments of first requests' failures.
        bins: segment -> latencies by arm; `spreads`: (metric, segment) -> design effect.
        broken: metric -> values that are no numbers.
        clustered: (place, treatment, segment) -> variance of the difference, its covariance with the control, and the
            control's variance, with a unit's strata together.
    """

    asked: Asked
    units: Floats
    complete: Floats
    crossed: Floats
    new: Floats
    traffic: list[Traffic]
    hours: list[tuple[datetime, str, int]]
    ratios: list[Ratio]
    of_metric: dict[str, list[int]]
    centres: list[float] = field(default_factory=list)
    cells: dict[tuple[int, str], Moments] = field(default_factory=dict)
    firsts: dict[str, Moments] = field(default_factory=dict)
    bins: dict[str, list[Bins]] = field(default_factory=dict)
    spreads: dict[tuple[str, str], float] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    clustered: dict[tuple[int, str, str], tuple[float, float, float]] = field(default_factory=dict)
