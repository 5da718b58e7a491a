"""The figures that are kept, in words of our own, whoever tells them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Teller = Literal["router", "server", "other"]
"""Who tells of an endpoint: what stands before it, what it stands on, or a source that somebody named for it."""
PREFERRED: tuple[Teller, ...] = ("router", "other", "server")
"""Whose word counts where several tell the same figure: first whoever is nearest to the callers. They are never added up."""


@dataclass(frozen=True)
class Told:
    """One figure.

    Args:
        kind: counters are kept as increases, histograms as increases of their buckets, gauges as they are.
        unit: `1` for a number of things.
        says: what it is, for people.
    """

    kind: Kind
    unit: str
    says: str


FIGURES: Mapping[str, Told] = {
    "requests": Told("counter", "1", "requests that came to an end"),
    "errors": Told("counter", "1", "requests to which the caller got no good answer"),
    "failures": Told("counter", "1", "requests that the arm failed, those that the champion answered instead among them"),
    "latency": Told("histogram", "s", "how long requests took"),
    "rows": Told("counter", "1", "rows that were asked for"),
    "executions": Told("counter", "1", "runs of the model; fewer than requests where they are batched"),
    "request_seconds": Told("counter", "s", "time in the server, waiting and computing"),
    "queue_seconds": Told("counter", "s", "of that, time in which requests waited for the model"),
    "compute_seconds": Told("counter", "s", "of that, time in which the model computed"),
    "overflow": Told("counter", "1", "requests turned away because too many were under way"),
    "in_flight": Told("gauge", "1", "requests under way"),
    "pending": Told("gauge", "1", "requests that wait for the model"),
    "latency_quantile": Told("gauge", "s", "a quantile that the server itself tells; quantiles cannot be added up"),
    "queue_quantile": Told("gauge", "s", "the same of the time in which requests waited"),
    "covered": Told("counter", "s", "time for which the source was read"),
}
"""Name -> what it is. `covered` is ours: a span in which it lacks is a span of which nobody knows."""

QUANTILES = (0.5, 0.9, 0.95, 0.99)
"""Those that are shown."""
