"""Triton's Prometheus text in our vocabulary, by one regular expression: about half of the official parser's time.

Counters restart at 0 when a version is unloaded and loaded again. A quantile of an empty window is printed as `Nan` and left
out: no figure is not 0 seconds.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping

from backend.delivery.targets.port import Series

_LINE = re.compile(r"^(nv_inference_[a-z_]+)\{([^\n]*)\} (\S+)(?: \d+)?$", re.MULTILINE)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_MICRO = 1e-6

# Triton's name -> ours, and what one of its units is in ours.
_FIGURES = {
    "nv_inference_request_success": ("answered_total", 1.0),
    "nv_inference_request_failure": ("failures_total", 1.0),
    "nv_inference_count": ("rows_total", 1.0),
    "nv_inference_exec_count": ("executions_total", 1.0),
    "nv_inference_request_duration_us": ("request_seconds_total", _MICRO),
    "nv_inference_queue_duration_us": ("queue_seconds_total", _MICRO),
    "nv_inference_compute_infer_duration_us": ("compute_seconds_total", _MICRO),
    "nv_inference_pending_request_count": ("pending_requests", 1.0),
    "nv_inference_request_summary_us": ("latency_seconds", _MICRO),
    "nv_inference_queue_summary_us": ("queue_seconds", _MICRO),
}
Key = tuple[str, str, int, str]
"""Metric, model, version, quantile."""


def read_series(text: str) -> list[Series]:
    """Every figure that has a name of ours. `requests_total` counts all requests, answered or failed.

    Failures are summed over Triton's reasons. A line that cannot be read is passed over.
    """
    sums: dict[Key, float] = defaultdict(float)
    labels: dict[str, tuple[str, int, str] | None] = {}
    for name, written, value in _LINE.findall(text):
        figure, place = _FIGURES.get(name), labels.get(written)
        if figure is None:
            continue
        if written not in labels:
            place = labels[written] = _place(written)
        number = _number(value)
        if place is not None and math.isfinite(number):
            sums[figure[0], *place] += number * figure[1]
    for (metric, model, version, quantile), value in list(sums.items()):
        if metric in ("answered_total", "failures_total"):
            sums["requests_total", model, version, quantile] += value
    return [_series(key, value) for key, value in sorted(sums.items()) if key[0] != "answered_total"]


def _place(written: str) -> tuple[str, int, str] | None:
    found: Mapping[str, str] = dict(_LABEL.findall(written))
    if "\\" in written:
        found = {name: _ESCAPED.sub(_unescaped, value) for name, value in found.items()}
    version = found.get("version", "")
    if not found.get("model") or not (version.isascii() and version.isdigit()) or len(version) > 18:
        return None
    return found["model"], int(version), found.get("quantile", "")


def _unescaped(match: re.Match[str]) -> str:
    return {"n": "\n"}.get(match[1], match[1])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _series(key: Key, value: float) -> Series:
    metric, model, version, quantile = key
    return Series(metric, model, version, value, {"quantile": quantile} if quantile else {})
