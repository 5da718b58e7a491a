"""`client.metrics` and `client.slos`: how fast endpoints answer and how often they fail, and what was promised of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from backend.client.results import MetricRetention, Metrics, MetricSource, Slo, SloRules, SloStanding
from backend.client.shapes import read
from backend.client.wire import Answer, Wire


class EndpointMetrics:
    """Figures of endpoints on one server, and where they come from."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def show(
        self,
        endpoint: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        step: int | None = None,
        by: str = "arm",
    ) -> Metrics:
        """Requests, errors and latency by `arm`, `version` or of the whole `endpoint`; by default of the last day."""
        told = {"start": start.isoformat() if start else None, "end": end.isoformat() if end else None, "step": step, "by": by}
        query = {name: one for name, one in told.items() if one is not None}
        return read(Metrics, self._wire.get("endpoints", endpoint, "metrics", **query).content)

    def add_source(
        self, endpoint: str, name: str, *, kind: str, settings: Mapping[str, Any], credential_from: str | None = None
    ) -> MetricSource:
        """Names an address from which an endpoint's figures are read."""
        sent = {"name": name, "kind": kind, "settings": dict(settings), "credential_from": credential_from}
        answer = self._wire.send("POST", ("endpoints", endpoint, "metrics", "sources"), sent=sent, again=False)
        return read(MetricSource, answer.content)

    def remove_source(self, endpoint: str, name: str) -> None:
        """Reads it no more."""
        self._wire.send("DELETE", ("endpoints", endpoint, "metrics", "sources", name), again=False)

    def retention(self) -> MetricRetention:
        """How long points are kept, with the `etag` that setting it is bound to."""
        return _retention(self._wire.get("metrics", "retention"))

    def set_retention(self, *, raw_hours: int, fine_hours: int, coarse_hours: int, if_match: str) -> MetricRetention:
        """Says how long points are kept."""
        sent = {"raw_hours": raw_hours, "fine_hours": fine_hours, "coarse_hours": coarse_hours}
        return _retention(self._wire.send("PUT", ("metrics", "retention"), sent=sent, if_match=if_match))


class Slos:
    """What is promised of endpoints on one server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def show(self, endpoint: str) -> Slo:
        """What is promised, with the `etag` that setting it anew is bound to."""
        return _slo(self._wire.get("endpoints", endpoint, "slo"))

    def standing(self, endpoint: str) -> SloStanding:
        """What is left of each budget, and how fast it burns."""
        return read(SloStanding, self._wire.get("endpoints", endpoint, "slo", "standing").content)

    def set(self, endpoint: str, objectives: Sequence[Mapping[str, Any]], *, days: int = 30, if_match: str = "") -> Slo:
        """Says what is promised; each objective has `kind`, `target` and, for latency, `seconds`.

        Args:
            if_match: the `etag` of what was looked at; without it nothing must be promised yet.
        """
        sent = {"days": days, "objectives": [dict(one) for one in objectives]}
        answer = self._wire.send("PUT", ("endpoints", endpoint, "slo"), sent=sent, if_match=if_match, only_new=not if_match)
        return _slo(answer)

    def remove(self, endpoint: str) -> None:
        """Promises nothing of an endpoint any more."""
        self._wire.send("DELETE", ("endpoints", endpoint, "slo"), again=False)

    def rules(self, endpoint: str) -> SloRules:
        """Prometheus rules for the same objectives."""
        return read(SloRules, self._wire.get("endpoints", endpoint, "slo", "rules").content)

    def dashboard(self, endpoint: str) -> dict[str, Any]:
        """A Grafana dashboard to import."""
        found: dict[str, Any] = self._wire.get("endpoints", endpoint, "slo", "dashboard").content
        return found


def _slo(answer: Answer) -> Slo:
    return replace(read(Slo, answer.content), etag=answer.etag)


def _retention(answer: Answer) -> MetricRetention:
    return replace(read(MetricRetention, answer.content), etag=answer.etag)
