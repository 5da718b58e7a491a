"""A Grafana dashboard for one endpoint, to be imported: requests, errors and latency by arm against the objectives, and burn.

It reads the same Prometheus as the rules of `rules_file`, and what those recorded. Pure.
Source: grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model (schema 39: Grafana 10 and later).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.core.canonical import digest
from backend.metrics import slo
from backend.metrics.figures import QUANTILES
from backend.metrics.promql import Signals
from backend.metrics.rules_file import recorded
from backend.metrics.slo import ALERTS, WINDOWS, Objective

Json = dict[str, Any]
_SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT = 12, 8


def dashboard(endpoint: str, objectives: Sequence[Objective], days: int, signals: Signals, *, link: str = "") -> Json:
    """The dashboard as JSON."""
    told = [one for one in objectives if one.kind == "availability" or signals.buckets]
    panels = [*_traffic(signals), *_latency(told, signals), *_server(signals)]
    for one in told:
        panels += [_burn(endpoint, one, days), _bad(endpoint, one)]
    return {
        "title": f"{endpoint}: latency and availability",
        "uid": f"countersign-{digest(endpoint).removeprefix('sha256:')[:20]}",
        "tags": ["countersign"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "links": [{"title": "Countersign", "type": "link", "url": link, "targetBlank": True}] if link else [],
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}]
        },
        "panels": [{**one, "id": number, "gridPos": _place(number - 1)} for number, one in enumerate(panels, 1)],
    }


def _traffic(signals: Signals) -> list[Json]:
    legend = f"{{{{{signals.by}}}}}" if signals.by else "requests"
    return [
        _panel("Requests a second", "reqps", [(signals.total("$__rate_interval", signals.by), legend)]),
        _panel("Share of requests with an error", "percentunit", [(signals.bad_share("$__rate_interval", signals.by), legend)]),
    ]


def _latency(objectives: Sequence[Objective], signals: Signals) -> list[Json]:
    if not signals.buckets:
        return []
    legend = f" {{{{{signals.by}}}}}" if signals.by else ""
    lines = [(signals.quantile(q, "$__rate_interval"), f"p{100 * q:g}{legend}") for q in QUANTILES]
    seconds = [one.seconds for one in objectives if one.seconds is not None]
    return [_panel("Latency", "s", lines, limit=min(seconds, default=None))]


def _server(signals: Signals) -> list[Json]:
    """Waiting against computing: what saturates a server, and what a cold start costs."""
    if not signals.queue or not signals.compute:
        return []
    window, by = "$__rate_interval", f" by ({signals.by})" if signals.by else ""
    asked = signals.total(window, signals.by)
    compute = " + ".join(f"sum{by}(rate({one}[{window}]))" for one in signals.compute)
    legend = f" {{{{{signals.by}}}}}" if signals.by else ""
    lines = [
        (f"sum{by}(rate({signals.queue}[{window}])) / ({asked} > 0) * {signals.unit:g}", f"waits{legend}"),
        (f"({compute}) / ({asked} > 0) * {signals.unit:g}", f"computes{legend}"),
    ]
    return [_panel("Time of a request in the server", "s", lines)]


def _burn(endpoint: str, objective: Objective, days: int) -> Json:
    lines = [
        (f"{recorded(endpoint, objective, window)} / {objective.budget:.6g}", window) for window in map(slo.promql, WINDOWS)
    ]
    return _panel(f"Burn rate of {objective.name}", "none", lines, limit=ALERTS[0].factor(days))


def _bad(endpoint: str, objective: Objective) -> Json:
    line = (recorded(endpoint, objective, "1h"), "over an hour")
    return _panel(f"Bad requests by {objective.name}", "percentunit", [line], limit=objective.budget)


def _panel(title: str, unit: str, lines: Sequence[tuple[str, str]], *, limit: float | None = None) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if limit is not None:
        steps.append({"color": "red", "value": limit})
    style = {"thresholdsStyle": {"mode": "line" if limit is not None else "off"}, "spanNulls": False}
    return {
        "title": title,
        "type": "timeseries",
        "datasource": _SOURCE,
        "fieldConfig": {
            "defaults": {"unit": unit, "min": 0, "custom": style, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(lines)
        ],
    }


def _place(number: int) -> Json:
    return {"x": _WIDTH * (number % 2), "y": _HEIGHT * (number // 2), "w": _WIDTH, "h": _HEIGHT}
