"""A Prometheus server as a source: its HTTP API answers queries for what it scraped, and for what we missed meanwhile.

A query gives counters as they stand (`istio_requests_total{...}`), not rates: what was added between two moments is worked out
here as for every other source. After a pause the range since the last good look is asked for, at most an hour of it.

Source: prometheus.io/docs/prometheus/latest/querying/api ("Instant queries", "Range queries").
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.core.canonical import digest, loads
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.metrics.exposition import Sample
from backend.metrics.figures import FIGURES
from backend.metrics.port import Figure, Reading
from backend.metrics.sources.http import Http
from backend.metrics.sources.text import Metric, Url, Wanted, figures

FURTHEST = timedelta(hours=1)
MAX_ANSWER_BYTES = 16 << 20
_MOST_SERIES = 5_000


class Query(BaseModel):
    """One figure out of one query. Of a histogram the query gives its buckets, each with its `le`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: Metric
    query: str = Field(min_length=1, max_length=2000)
    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    version_label: str | None = Field(None, max_length=100)
    arm_label: str | None = Field(None, max_length=100)


class PrometheusSettings(BaseModel):
    """Where the server is, and what it is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Url = Field(title="Address", description="Of the server, e.g. https://prometheus.example.com.")
    figures: tuple[Query, ...] = Field(min_length=1, max_length=20, title="Queries")
    step_seconds: int = Field(30, ge=5, le=300, title="Step", description="Seconds between two moments that are asked for.")
    timeout_seconds: float = Field(10.0, ge=0.1, le=60, title="Time-out")


class PrometheusSource:
    """One Prometheus server, asked for one endpoint's figures."""

    def __init__(self, settings: PrometheusSettings, guard: Guard, *, system: str, token: str | None = None) -> None:
        self._settings, self._system = settings, system
        self._http = Http(guard, system, seconds=settings.timeout_seconds, token=token)
        self._asked = digest([one.model_dump(mode="json") for one in settings.figures])

    def read(self, since: datetime | None, now: datetime) -> Sequence[Reading]:
        """See `port.Source`. Each moment that lies between is a reading of its own."""
        step = timedelta(seconds=self._settings.step_seconds)
        start = max(since + step, now - FURTHEST) if since is not None and since + step <= now else None
        found: dict[float, list[Figure]] = defaultdict(list)
        for one in self._settings.figures:
            for at, samples in self._ask(one, start, now).items():
                found[at] += figures([_wanted(one)], samples)
        moments = sorted(found)
        return tuple(Reading(tuple(found[at]), self._asked, datetime.fromtimestamp(at, UTC)) for at in moments)

    def _ask(self, one: Query, start: datetime | None, now: datetime) -> Mapping[float, list[Sample]]:
        """Moment -> samples."""
        if start is None:
            path, when = "query", {"time": _written(now)}
        else:
            path = "query_range"
            when = {"start": _written(start), "end": _written(now), "step": str(self._settings.step_seconds)}
        url = f"{self._settings.url}/api/v1/{path}"
        body = self._http.get(url, accept="application/json", query={"query": one.query, **when}, limit=MAX_ANSWER_BYTES)
        try:
            return _moments(loads(body), _name(one))
        except (Refusal, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ExternalFailure(self._system, "gave an answer that is not Prometheus's", retryable=False) from error


def _moments(answer: Any, name: str) -> Mapping[float, list[Sample]]:
    """From the API's JSON. Raises whatever a strange shape raises."""
    if answer["status"] != "success" or answer["data"]["resultType"] not in ("vector", "matrix"):
        raise ValueError("no success, or no vector")
    found: dict[float, list[Sample]] = defaultdict(list)
    for one in answer["data"]["result"][:_MOST_SERIES]:
        labels = {str(key): str(value) for key, value in one["metric"].items()}
        for at, value in one["values"] if "values" in one else [one["value"]]:
            moment, number = float(at), float(value)
            if math.isfinite(moment):
                found[moment].append(Sample(name, labels, number, None))
    return found


def _name(one: Query) -> str:
    return "told_bucket" if FIGURES[one.metric].kind == "histogram" else "told"


def _wanted(one: Query) -> Wanted:
    return Wanted(metric=one.metric, name="told", scale=one.scale, version_label=one.version_label, arm_label=one.arm_label)


def _written(at: datetime) -> str:
    return f"{at.timestamp():.3f}"
