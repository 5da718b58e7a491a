"""The fields of one metric, in words and in the units that people say it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

KINDS: Mapping[str, str] = {
    "Failed requests": "errors",
    "Slow requests": "slow",
    "A latency quantile": "latency",
    "Mean of an outcome": "outcome",
    "Log loss": "log_loss",
    "Brier score": "brier",
    "Squared error": "squared_error",
    "Absolute error": "absolute_error",
    "Spread of predictions": "predictions",
}
"""As they are offered -> the kind."""
OF_OUTCOMES = ("outcome", "log_loss", "brier", "squared_error", "absolute_error")
_KEPT = ("cap", "adjusted", "cuts")
"""What the form does not ask, and a draft that has it keeps."""
_HOUR = 3_600


@dataclass(frozen=True)
class Unit:
    """In what an effect on a metric is entered: so many of it are one of the metric's own unit."""

    word: str
    factor: float


def unit(kind: str) -> Unit:
    """Percentage points of shares, milliseconds of latencies, and the metric's own of everything else."""
    if kind in ("errors", "slow", "predictions"):
        return Unit("percentage points", 100.0)
    return Unit("milliseconds", 1_000.0) if kind == "latency" else Unit("in its own unit", 1.0)


def fields(key: str, before: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Draws the fields of one metric, and returns it without a name where it is new."""
    words = {kind: word for word, kind in KINDS.items()}
    begins = list(KINDS).index(words.get(str(before.get("kind", "errors")), "Failed requests"))
    kind = KINDS[st.selectbox(label, list(KINDS), index=begins, key=f"{key}.kind") or "Failed requests"]
    same = before if before.get("kind") == kind else {}
    told: dict[str, Any] = {"kind": kind, **{name: same[name] for name in _KEPT if same.get(name)}}
    if kind in OF_OUTCOMES:
        told |= _outcome(key, kind, same)
    if kind == "slow":
        seconds = float(same.get("above_seconds") or 0.25)
        told["above_seconds"] = st.number_input("Slow is above (ms)", 1.0, value=1_000 * seconds, key=f"{key}.above") / 1_000
    if kind == "latency":
        percent = 100 * float(same.get("quantile") or 0.99)
        told["quantile"] = round(st.number_input("Quantile (%)", 50.0, 99.9, value=percent, key=f"{key}.quantile") / 100, 4)
    told["name"] = same.get("name") or name_of(told)
    return told


def _outcome(key: str, kind: str, same: Mapping[str, Any]) -> dict[str, Any]:
    name = st.text_input("Outcome, as callers send it", value=str(same.get("outcome") or ""), key=f"{key}.outcome")
    hours = float(same.get("horizon_seconds") or 0) / _HOUR
    late = st.number_input("Known after (hours)", 0.0, 8_760.0, value=hours, step=1.0, key=f"{key}.horizon")
    told: dict[str, Any] = {"outcome": name or None, "horizon_seconds": round(late * _HOUR)}
    if kind == "outcome":
        higher = st.toggle("More of it is better", value=same.get("better") == "higher", key=f"{key}.better")
        told["better"] = "higher" if higher else "lower"
    return told


def name_of(metric: Mapping[str, Any]) -> str:
    """How a metric is called that nobody named: `errors`, `p99`, `log-loss`."""
    if metric["kind"] == "latency":
        return f"p{100 * metric['quantile']:g}".replace(".", "-")
    return str(metric["kind"]).replace("_", "-")


def apart(metrics: list[dict[str, Any]], one: dict[str, Any]) -> str:
    """Adds a metric unless the same is there, under a name that none has; the name under which it is."""
    for other in metrics:
        if {**other, "name": ""} == {**one, "name": ""}:
            return str(other["name"])
    taken, name, number = {other["name"] for other in metrics}, one["name"], 2
    while one["name"] in taken:
        one, number = {**one, "name": f"{name}-{number}"}, number + 1
    metrics.append(one)
    return str(one["name"])
