"""Triton's own figures, by served model and version.

Summaries are sums and counts, with quantiles over a sliding window that its server keeps. It has no histogram (2.51 answers
`histogram_latencies` with none), so that a latency objective cannot be judged by Triton alone. Counters may go on or begin anew
when a version is loaded again. A Python model that answers a request with an error response has answered it, by Triton's count;
one that raises has failed it (both seen on 2.51). Time in the queue against time in the model shows a cold start, and what a
batch job takes from everybody else.

Source: github.com/triton-inference-server/server, docs/user_guide/metrics.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from backend.core.outbound import Guard
from backend.metrics.exposition import Parser, Sample
from backend.metrics.port import Figure, Reading, Subject
from backend.metrics.sources.http import TEXT, Http

_MICRO = 1e-6
_NAMES: Mapping[str, tuple[tuple[str, float], ...]] = {
    "nv_inference_request_success": (("requests", 1.0),),
    "nv_inference_request_failure": (("requests", 1.0), ("errors", 1.0), ("failures", 1.0)),
    "nv_inference_count": (("rows", 1.0),),
    "nv_inference_exec_count": (("executions", 1.0),),
    "nv_inference_request_duration_us": (("request_seconds", _MICRO),),
    "nv_inference_queue_duration_us": (("queue_seconds", _MICRO),),
    "nv_inference_compute_input_duration_us": (("compute_seconds", _MICRO),),
    "nv_inference_compute_infer_duration_us": (("compute_seconds", _MICRO),),
    "nv_inference_compute_output_duration_us": (("compute_seconds", _MICRO),),
    "nv_inference_pending_request_count": (("pending", 1.0),),
    "nv_inference_request_summary_us": (("latency_quantile", _MICRO),),
    "nv_inference_queue_summary_us": (("queue_quantile", _MICRO),),
}
ASKED = "triton@1"
"""Names the list above; a change of it begins with another number."""
_MOST_DIGITS = 9


class TritonSource:
    """One Triton's metrics endpoint."""

    def __init__(self, url: str, guard: Guard, *, system: str, seconds: float) -> None:
        self._url = url
        self._http = Http(guard, system, seconds=seconds)
        self._parser = Parser(_NAMES.__contains__)

    def read(self, since: datetime | None, now: datetime) -> Sequence[Reading]:
        """See `port.Source`."""
        parsed = self._parser.parse(self._http.get(self._url, accept=TEXT))
        return (Reading(figures(parsed.samples), ASKED, bad=parsed.bad, cut=parsed.cut),)


def figures(samples: Sequence[Sample]) -> tuple[Figure, ...]:
    """What they say in our words. Failures are summed over Triton's reasons; a quantile of an empty window is left out."""
    sums: dict[tuple[str, Subject, tuple[tuple[str, str], ...]], float] = defaultdict(float)
    for sample in samples:
        subject = _subject(sample.labels)
        if subject is None or not math.isfinite(sample.value):
            continue
        quantile = sample.labels.get("quantile")
        labels = (("quantile", quantile),) if quantile else ()
        for metric, unit in _NAMES.get(sample.name, ()):
            if bool(labels) == metric.endswith("_quantile"):
                sums[metric, subject, labels] += sample.value * unit
    return tuple(Figure(metric, subject, value, labels) for (metric, subject, labels), value in sums.items())


def _subject(labels: Mapping[str, str]) -> Subject | None:
    model, version = labels.get("model"), labels.get("version", "")
    if not model or not (version.isascii() and version.isdigit()) or len(version) > _MOST_DIGITS:
        return None
    return Subject(model=model, version=int(version))
