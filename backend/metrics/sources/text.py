"""Any server that tells its metrics as Prometheus text: somebody says which of its names are which figure of ours.

For servers that many have, the names are known here (`PRESETS`); written from their documentation, see docs/metrics.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from backend.core.canonical import digest
from backend.core.errors import Refusal
from backend.core.outbound import Guard, parse_url
from backend.metrics.exposition import Parser, Sample
from backend.metrics.figures import FIGURES
from backend.metrics.port import Figure, Reading, Subject
from backend.metrics.quantiles import Histogram, from_cumulative, in_unit, merge
from backend.metrics.sources.http import TEXT, Http

_MICRO = 1e-6
MOST_BOUNDS = 200
_MOST_DIGITS = 9
Labels = dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=200)] | list[str]]


def _url(text: str) -> str:
    try:
        parsed = parse_url(text)
    except Refusal as refusal:
        raise ValueError(f"{refusal.message} {refusal.remedy}".rstrip(".")) from refusal
    if parsed.query:
        raise ValueError("leave out what follows the question mark, which everybody could read")
    return text.rstrip("/")


def _metric(name: str) -> str:
    if name not in FIGURES or name == "covered":
        raise ValueError(f"give one of {', '.join(sorted(FIGURES.keys() - {'covered'}))}")
    return name


Url = Annotated[str, AfterValidator(_url), Field(max_length=1000)]
Metric = Annotated[str, AfterValidator(_metric)]


class Wanted(BaseModel):
    """One figure out of one name.

    `where` and `unless` are labels and their values: one, or several of which any counts; `5*` is whatever begins with 5.
    Samples that say the same of the same arm and version are added up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: Metric
    name: str = Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]{0,199}$")
    """As the text has it; of a histogram without `_bucket`."""
    where: Labels = Field(default_factory=dict)
    unless: Labels = Field(default_factory=dict)
    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    """What one of its units is in ours: 0.000001 for microseconds."""
    version_label: str | None = Field(None, max_length=100)
    arm_label: str | None = Field(None, max_length=100)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a sample of its name counts."""
        return all(_is(labels.get(name, ""), wanted) for name, wanted in self.where.items()) and not any(
            _is(labels.get(name, ""), wanted) for name, wanted in self.unless.items()
        )

    def subject(self, labels: Mapping[str, str]) -> Subject:
        """Which arm and version it is about, as far as its labels say."""
        version = labels.get(self.version_label, "") if self.version_label else ""
        number = int(version) if version.isascii() and version.isdigit() and len(version) <= _MOST_DIGITS else None
        return Subject(arm=labels.get(self.arm_label, "") if self.arm_label else "", version=number)


PRESETS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "torchserve": (
        {"metric": "requests", "name": "ts_inference_requests_total", "version_label": "model_version", "of": "model_name"},
        {"metric": "request_seconds", "name": "ts_inference_latency_microseconds", "scale": _MICRO,
         "version_label": "model_version", "of": "model_name"},
        {"metric": "queue_seconds", "name": "ts_queue_latency_microseconds", "scale": _MICRO,
         "version_label": "model_version", "of": "model_name"},
        {"metric": "errors", "name": "Requests5XX", "where": {"Level": "Host"}},
    ),
    "tf-serving": (
        {"metric": "requests", "name": ":tensorflow:serving:request_count", "of": "model_name"},
        {"metric": "errors", "name": ":tensorflow:serving:request_count", "of": "model_name",
         "unless": {"status": ["OK", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "FAILED_PRECONDITION"]}},
        {"metric": "latency", "name": ":tensorflow:serving:request_latency", "scale": _MICRO, "of": "model_name"},
    ),
    "mlserver": (
        {"metric": "requests", "name": "model_infer_request_success_total", "version_label": "version", "of": "model"},
        {"metric": "requests", "name": "model_infer_request_failure_total", "version_label": "version", "of": "model"},
        {"metric": "errors", "name": "model_infer_request_failure_total", "version_label": "version", "of": "model"},
    ),
}  # fmt: skip
"""What well-known servers call them; `of`: the label that names the model. TorchServe counts its 5xx for the whole server only,
TF Serving tells no versions, MLServer's latency is of paths and not of models and is left out."""


class TextSettings(BaseModel):
    """Where the text is, and what of it is ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Url = Field(title="Address", description="Where the text is, e.g. http://torchserve:8082/metrics.")
    preset: Literal["torchserve", "tf-serving", "mlserver"] | None = Field(None, title="Server")
    model: str | None = Field(None, max_length=200, title="Model", description="As the server names it; for a known server.")
    figures: tuple[Wanted, ...] = Field((), max_length=50, title="Figures")
    timeout_seconds: float = Field(5.0, ge=0.1, le=60, title="Time-out")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.preset is None) == (not self.figures):
            raise ValueError("give either a known server or figures")
        if (self.preset is None) != (self.model is None):
            raise ValueError("a known server needs the model's name, and only that one")
        return self

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """The figures, those of a known server written out."""
        if self.preset is None:
            return self.figures
        return tuple(_written_out(one, self.model or "") for one in PRESETS[self.preset])


class TextSource:
    """One text endpoint."""

    def __init__(self, settings: TextSettings, guard: Guard, *, system: str, token: str | None = None) -> None:
        self._url = settings.url
        self._http = Http(guard, system, seconds=settings.timeout_seconds, token=token)
        self._wanted = settings.wanted
        self._asked = digest([one.model_dump(mode="json") for one in self._wanted])
        self._parser = Parser(frozenset(_names(self._wanted)).__contains__)

    def read(self, since: datetime | None, now: datetime) -> Sequence[Reading]:
        """See `port.Source`."""
        parsed = self._parser.parse(self._http.get(self._url, accept=TEXT))
        return (Reading(figures(self._wanted, parsed.samples), self._asked, bad=parsed.bad, cut=parsed.cut),)


def figures(wanted: Sequence[Wanted], samples: Iterable[Sample]) -> tuple[Figure, ...]:
    """What the samples say in our words; what says the same of the same subject is added up."""
    by_name: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_name[sample.name].append(sample)
    sums: dict[tuple[str, Subject], float] = defaultdict(float)
    buckets: dict[tuple[str, Subject], list[Histogram]] = defaultdict(list)
    for one in wanted:
        if FIGURES[one.metric].kind == "histogram":
            for subject, histogram in _histograms(one, by_name):
                buckets[one.metric, subject].append(histogram)
            continue
        for sample in by_name.get(one.name, ()):
            if one.matches(sample.labels) and math.isfinite(sample.value):
                sums[one.metric, one.subject(sample.labels)] += sample.value * one.scale
    merged = ((metric, subject, merge(found)) for (metric, subject), found in buckets.items())
    plain = [Figure(metric, subject, value) for (metric, subject), value in sums.items()]
    return (*plain, *(Figure(metric, subject, found) for metric, subject, found in merged if found is not None))


def _histograms(one: Wanted, by_name: Mapping[str, Sequence[Sample]]) -> Iterable[tuple[Subject, Histogram]]:
    """One for every set of labels but `le`."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
    labels: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
    for sample in by_name.get(f"{one.name}_bucket", ()):
        bound = _bound(sample.labels.get("le", ""))
        if bound is not None and one.matches(sample.labels):
            key = _without_bound(sample.labels)
            buckets[key].append((in_unit(bound, one.scale), sample.value))
            labels[key] = sample.labels
    totals = {_without_bound(sample.labels): sample.value for sample in by_name.get(f"{one.name}_sum", ())}
    for key, found in buckets.items():
        total = totals.get(key, 0.0) * one.scale
        histogram = from_cumulative(found, total if math.isfinite(total) else 0.0) if len(found) <= MOST_BOUNDS else None
        if histogram is not None:
            yield one.subject(labels[key]), histogram


def _without_bound(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if name != "le"))


def _bound(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return None if math.isnan(found) else found


def _is(value: str, wanted: str | list[str]) -> bool:
    if isinstance(wanted, list):
        return any(_is(value, one) for one in wanted)
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


def _names(wanted: Iterable[Wanted]) -> Iterable[str]:
    for one in wanted:
        is_histogram = FIGURES[one.metric].kind == "histogram"
        yield from (f"{one.name}_bucket", f"{one.name}_sum") if is_histogram else (one.name,)


def _written_out(told: Mapping[str, Any], model: str) -> Wanted:
    given = {name: value for name, value in told.items() if name != "of"}
    named = {told["of"]: model} if "of" in told else {}
    return Wanted.model_validate({**given, "where": {**named, **given.get("where", {})}})
