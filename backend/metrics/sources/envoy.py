"""Envoy's figures of our routes and clusters, by endpoint and arm, from its admin endpoint.

Of an arm its route tells: requests that were assigned to it, however they were answered in the end, with the time that their
callers waited for it; a repeated request counts once. Of copies that go to a shadow only its cluster tells, and so it does of
what is under way. Envoy turns parts of a stat's name into labels and leaves the arm in the metric's name, with `_` for each
`-`; arms have no `_` of their own.

A counter appears with the first event that it counts. A route that answers at all has had no error before one is told, so
that 0 errors are told then. Seen on Envoy 1.40; its manual: "Router statistics", "Cluster manager statistics".
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from backend.core.outbound import Guard
from backend.delivery.routers.envoy_render import PREFIX
from backend.embedded.envoy import ROUTE_CONFIG
from backend.metrics.exposition import Parser, Sample
from backend.metrics.port import Figure, Reading, Subject
from backend.metrics.quantiles import from_cumulative, in_unit
from backend.metrics.sources.http import TEXT, Http

ASKED = "envoy@1"
FILTER = (
    rf"^(vhost\.{ROUTE_CONFIG}\.route\..*\.upstream_rq_(completed|5xx|retry_success|time)"
    rf"|cluster\.{PREFIX}.*\.upstream_rq_(completed|5xx|time|active|pending_overflow))$"
)
_MILLI = 1e-3
_ROUTE = re.compile(
    r"envoy_vhost_route_([a-z0-9_]+)_(champion|challenger)_upstream_rq_(completed|xx|retry_success|time_bucket|time_sum)"
)
_CLUSTER = re.compile(r"envoy_cluster_upstream_rq_(completed|xx|time_bucket|time_sum|active|pending_overflow)")
_NAME = re.compile(rf"{PREFIX}([a-z0-9-]+)_([a-z0-9-]+?)(_shadow)?")
_OF_ANY_ARM = {"active": "in_flight", "pending_overflow": "overflow"}


class _Told(NamedTuple):
    """One sample in the words of the router."""

    subject: Subject
    role: str
    what: str


class EnvoySource:
    """One Envoy's admin endpoint."""

    def __init__(self, admin_url: str, guard: Guard, *, system: str, seconds: float) -> None:
        self._url = f"{admin_url.rstrip('/')}/stats/prometheus"
        self._http = Http(guard, system, seconds=seconds)
        self._parser = Parser(_is_ours)

    def read(self, since: datetime | None, now: datetime) -> Sequence[Reading]:
        """See `port.Source`."""
        parsed = self._parser.parse(self._http.get(self._url, accept=TEXT, query={"filter": FILTER}))
        return (Reading(figures(parsed.samples), ASKED, bad=parsed.bad, cut=parsed.cut),)


def figures(samples: Sequence[Sample]) -> tuple[Figure, ...]:
    """What they say in our words."""
    sums: dict[tuple[str, Subject], float] = defaultdict(float)
    buckets: dict[Subject, list[tuple[float, float]]] = defaultdict(list)
    totals: dict[Subject, float] = {}
    for sample in samples:
        told = _told(sample)
        if told is None or not math.isfinite(sample.value):
            continue
        if told.what == "time_bucket":
            buckets[told.subject].append((in_unit(_bound(sample.labels.get("le", "")), _MILLI), sample.value))
        elif told.what == "time_sum":
            totals[told.subject] = sample.value * _MILLI
        else:
            for metric in _metrics(told, sample.labels):
                sums[metric, told.subject] += sample.value
    for subject in [subject for metric, subject in sums if metric == "requests"]:
        for other in ("errors", "failures"):
            sums.setdefault((other, subject), 0.0)
    found = [Figure(metric, subject, value) for (metric, subject), value in sums.items()]
    told_buckets = ((subject, from_cumulative(one, totals.get(subject, 0.0))) for subject, one in buckets.items())
    return (*found, *(Figure("latency", subject, one) for subject, one in told_buckets if one is not None))


def _is_ours(name: str) -> bool:
    return bool(_ROUTE.fullmatch(name) or _CLUSTER.fullmatch(name))


def _told(sample: Sample) -> _Told | None:
    """Which arm a sample is about. Of a cluster that is no shadow's only what its route does not tell counts."""
    if (match := _ROUTE.fullmatch(sample.name)) is not None:
        arm, role, what = match.groups()
        if sample.labels.get("envoy_virtual_host") != ROUTE_CONFIG or not sample.labels.get("envoy_route"):
            return None
        return _Told(Subject(endpoint=sample.labels["envoy_route"], arm=arm.replace("_", "-")), role, what)
    match, name = _CLUSTER.fullmatch(sample.name), _NAME.fullmatch(sample.labels.get("envoy_cluster_name", ""))
    if match is None or name is None:
        return None
    endpoint, arm, shadow = name.groups()
    if shadow is None and match[1] not in _OF_ANY_ARM:
        return None
    return _Told(Subject(endpoint=endpoint, arm=arm, shadow=shadow is not None), "shadow", match[1])


def _metrics(told: _Told, labels: Mapping[str, str]) -> tuple[str, ...]:
    """The figures that one counter adds to, as in the adapter of the router: a champion's repetition is on itself."""
    if told.what in _OF_ANY_ARM:
        return (_OF_ANY_ARM[told.what],)
    if told.what == "completed":
        return ("requests",)
    if told.what == "retry_success":
        return ("failures",) if told.role == "challenger" else ()
    return ("errors", "failures") if labels.get("envoy_response_code_class") == "5" else ()


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
