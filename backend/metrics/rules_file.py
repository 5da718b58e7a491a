"""A file of Prometheus rules for one endpoint: how many of its requests are bad over each window, and what alarms. Pure.

It is for teams that alert by Prometheus itself: it watches without Countersign, by the same objectives and windows. What a
person named (an endpoint, an arm, a label) is escaped wherever it stands.

Sources: prometheus.io/docs/prometheus/latest/configuration/recording_rules and alerting_rules; the workbook that `slo` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]

from backend.metrics import slo
from backend.metrics.promql import Signals
from backend.metrics.slo import ALERTS, WINDOWS, Alert, Objective

RECORD = "countersign:slo_bad:ratio_rate"
SILENT_FOR = "15m"
KEPT_FOR = "20m"
"""How long an alert fires on after it was last seen to burn: until the one that tells of silence does, so that a budget is not
well because nobody tells of it any more. It takes Prometheus 2.42."""


def rules(endpoint: str, objectives: Sequence[Objective], days: int, signals: Signals, *, link: str = "") -> dict[str, Any]:
    """The groups of the file."""
    told = [one for one in objectives if one.kind == "availability" or signals.buckets]
    return {
        "groups": [
            {
                "name": f"countersign-slo-{endpoint}-{one.name}",
                "interval": "30s",
                "rules": [
                    *_recording(endpoint, one, signals),
                    *_alerting(endpoint, one, days, link),
                    _silence(endpoint, one, link),
                ],
            }
            for one in told
        ]
    }


def lacking(objectives: Iterable[Objective], signals: Signals) -> tuple[Objective, ...]:
    """Objectives that nothing there can tell: no rule is written for them, and the file says so."""
    return tuple(one for one in objectives if one.kind == "latency" and not signals.buckets)


def never_alarming(objectives: Iterable[Objective], days: int) -> tuple[Objective, ...]:
    """Objectives of which no alert can fire, that were promised before such were refused: the file says so."""
    return tuple(one for one in objectives if not slo.can_alarm(one, days))


def written(content: dict[str, Any], notes: Sequence[str] = ()) -> str:
    """The file. Notes become comments at its head."""
    head = "".join(f"# {' '.join(one.split())}\n" for one in notes)
    body: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1_000_000)
    return head + body


def recorded(endpoint: str, objective: Objective, window: str) -> str:
    """The recorded share of bad requests."""
    return f'{RECORD}{window}{{endpoint="{endpoint}",objective="{objective.name}"}}'


def _labels(endpoint: str, objective: Objective) -> dict[str, str]:
    return {"endpoint": endpoint, "objective": objective.name}


def _recording(endpoint: str, objective: Objective, signals: Signals) -> list[dict[str, Any]]:
    found = []
    for window in map(slo.promql, WINDOWS):
        share = signals.bad_share(window) if objective.seconds is None else signals.late_share(objective.seconds, window)
        found.append({"record": f"{RECORD}{window}", "expr": share, "labels": _labels(endpoint, objective)})
    return found


def _alerting(endpoint: str, objective: Objective, days: int, link: str) -> list[dict[str, Any]]:
    return [_burning(endpoint, objective, alert, days, link) for alert in ALERTS if alert.can_fire(objective, days)]


def _burning(endpoint: str, objective: Objective, alert: Alert, days: int, link: str) -> dict[str, Any]:
    limit = f"({alert.factor(days):.6g} * {objective.budget:.6g})"
    long, short = slo.promql(alert.long), slo.promql(alert.short)
    sides = (f"{recorded(endpoint, objective, window)} > {limit}" for window in (long, short))
    says = f"{endpoint} burns its budget of {objective.name} more than {alert.factor(days):.3g} times too fast"
    return {
        "alert": "CountersignErrorBudgetBurns",
        "expr": " and ".join(sides),
        "keep_firing_for": KEPT_FOR,
        "labels": {**_labels(endpoint, objective), "severity": alert.severity, "window": long},
        "annotations": {
            "summary": says,
            "description": f"Over {slo.words(alert.long)} and over {slo.words(alert.short)}; the objective is "
            f"{objective.target:.5g} over {days} days.",
            **({"runbook_url": link} if link else {}),
        },
    }


def _silence(endpoint: str, objective: Objective, link: str) -> dict[str, Any]:
    """No data is never a pass."""
    return {
        "alert": "CountersignSloUnknown",
        "expr": f"absent({recorded(endpoint, objective, '5m')})",
        "for": SILENT_FOR,
        "labels": {**_labels(endpoint, objective), "severity": "ticket"},
        "annotations": {
            "summary": f"Nobody knows whether {endpoint} keeps {objective.name}",
            "description": "For a quarter of an hour there were no requests, or nothing told of them.",
            **({"runbook_url": link} if link else {}),
        },
    }
