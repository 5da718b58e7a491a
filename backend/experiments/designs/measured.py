"""What was measured of an endpoint before a plan was drawn. Values only; what is not known is None, and says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from backend.experiments.statistics.planning import Traffic

NO_TRAFFIC = Traffic(())


@dataclass(frozen=True)
class MetricMeasured:
    """One metric, of the champion's units.

    Args:
        level: its mean or ratio; of a latency its quantile, in seconds.
        unit_variance: of one unit, as an estimate has it: of a ratio the residual's over the mean denominator; of a latency of
            the share of requests above its quantile; of predictions that of the cut where it is largest.
        requests: of a unit, that count for it.
        curve: of a latency: (share of requests, seconds), rising, so that a share can be read as seconds.
        why: why something is not known, a sentence; or what else one has to know of it.
    """

    level: float | None = None
    unit_variance: float | None = None
    requests: float | None = None
    curve: tuple[tuple[float, float], ...] = ()
    why: str = ""

    def seconds_at(self, share: float) -> float:
        """Of a latency: what that share of requests stays below; infinite beyond what was seen."""
        if not self.curve or share > self.curve[-1][0]:
            return float("inf")
        shares, seconds = zip(*self.curve, strict=True)
        return float(np.interp(share, shares, seconds))

    def share_at(self, seconds: float) -> float:
        """Of a latency: the share of requests that stay below so many seconds, as far as was seen."""
        shares, known = zip(*self.curve, strict=True)
        return float(np.interp(seconds, known, shares))


@dataclass(frozen=True)
class Measured:
    """An endpoint's log of the last days, summed up.

    Args:
        version: the champion's, whose requests the metrics are of.
        start, end: of the event times.
        requests: with a unit, all arms together; `without_unit` those that no experiment can count.
        units: distinct ones.
        sampled_every: one unit in so many was read; counts are of all.
        traffic: distinct units by the end of each day.
        failures: the champion's share of requests that failed.
        cuts: deciles of its predictions, for those who name none.
        metrics: by name.
        why: why there is nothing, or less than there might be; "" otherwise.
    """

    version: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    requests: int = 0
    without_unit: int = 0
    units: int = 0
    sampled_every: int = 1
    traffic: Traffic = NO_TRAFFIC
    failures: float | None = None
    cuts: tuple[float, ...] = ()
    metrics: Mapping[str, MetricMeasured] = field(default_factory=dict)
    why: str = ""

    def of(self, name: str) -> MetricMeasured:
        """A metric, nothing being known of one that was not measured."""
        return self.metrics.get(name) or MetricMeasured(why=self.why or "it was not measured")

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "version": self.version,
            "start": self.start.isoformat() if self.start is not None else None,
            "end": self.end.isoformat() if self.end is not None else None,
            "requests": self.requests,
            "without_unit": self.without_unit,
            "units": self.units,
            "sampled_every": self.sampled_every,
            "units_by_day": list(self.traffic.distinct),
            "failures": self.failures,
            "cuts": list(self.cuts),
            "metrics": {
                name: {"level": one.level, "unit_variance": one.unit_variance, "requests": one.requests, "why": one.why}
                for name, one in self.metrics.items()
            },
            "why": self.why,
        }


NOTHING = Measured(why="nothing was measured")
