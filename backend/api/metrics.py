"""`/endpoints/.../metrics` and `.../slo`: how fast an endpoint answers, how often it fails, and what is promised of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query
from pydantic import BeforeValidator, Field
from sqlmodel import select

from backend.api.asking import Asks, EndpointName, Instant, Name, Narrow, Reading, Sent, Shown
from backend.api.once import Making
from backend.api.placed import CredentialFrom
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal
from backend.delivery.rows import Endpoint
from backend.metrics import downloads, faring, queries
from backend.metrics.quantiles import Estimate
from backend.metrics.queries import Moment
from backend.metrics.retention import Kept, kept
from backend.metrics.rows import MetricSource, Retention, SloRow
from backend.metrics.slo import Burn, Objective

router = APIRouter(tags=["metrics"])
SourceName = Annotated[str, Path(max_length=256, description="The source's name.", examples=["gateway"])]


def _number(told: object) -> object:
    """A query holds text, and a Literal of numbers takes none."""
    return int(told) if isinstance(told, str) and told.isascii() and told.isdigit() and len(told) < 6 else told


class Span(Narrow):
    """Which stretch of time, and how finely."""

    start: Annotated[Instant | None, Field(description="By default a day before `end`.")] = None
    end: Annotated[Instant | None, Field(description="By default now.")] = None
    step: Annotated[
        Literal[60, 300, 3600] | None,
        BeforeValidator(_number),
        Field(description="Seconds of one span; by default so that there are a few hundred."),
    ] = None
    by: Annotated[Literal["arm", "version", "endpoint"], Field(description="What is told apart.")] = "arm"


class MetricQuantile(Shown):
    """One quantile, worked out from buckets."""

    quantile: float
    seconds: float
    low: float | None = Field(description="The truth is no lower than this; null where nobody knows.")
    high: float | None = Field(description="And no higher than this; null where it may be anything.")


class MetricMoment(Shown):
    """What happened in one span; null is what nobody told."""

    at: datetime = Field(description="The end of the span.")
    seconds: int = Field(description="How long it is.")
    requests: float | None
    throughput: float | None = Field(description="Requests a second, of the part of the span in which somebody looked.")
    error_rate: float | None = Field(description="Share of requests to which the caller got no good answer.")
    failure_rate: float | None = Field(description="Share that the arm failed, also where the champion answered instead.")
    latency: tuple[MetricQuantile, ...]
    mean_seconds: float | None
    queue_share: float | None = Field(description="Which share of their time in the server requests waited: saturation.")
    queue_seconds: float | None = Field(description="Of one request on average, in which it waited for the model.")
    compute_seconds: float | None = Field(description="Of one request on average, in which the model computed.")
    overflow: float | None = Field(description="Requests turned away because too many were under way.")
    in_flight: float | None = Field(description="The most at any look.")
    pending: float | None = Field(description="The most that waited for the model at any look.")


class MetricGroup(Shown):
    """One arm, one version, or the whole endpoint."""

    arm: str = Field(description="Empty where it is not of one arm.")
    version: int | None
    shadow: bool = Field(description="Whether it is of copies whose answers nobody gets.")
    moments: tuple[MetricMoment, ...]


class MetricCovered(Shown):
    """For which share of one span somebody looked."""

    at: datetime
    share: float


class MetricSourceView(Shown):
    """One source of an endpoint's figures, as it fares."""

    id: str
    teller: Literal["router", "server", "other"]
    name: str
    word: Literal["ok", "late", "failing", "empty", "never"]
    says: str
    asked_at: datetime | None
    ok_at: datetime | None
    since: datetime | None = Field(description="Since when it is so.")
    figures: int = Field(description="How many it told of this endpoint at the latest good look.")
    bad: dict[str, int] = Field(description="Reason -> how many lines could not be read.")
    cut: str = Field(description="Why not everything was read.")


class MetricsView(Shown):
    """An endpoint's figures over a span of time."""

    endpoint: str
    start: datetime
    end: datetime
    step: int
    groups: tuple[MetricGroup, ...]
    covered: tuple[MetricCovered, ...] = Field(description="A span that is not here is one in which nobody looked.")
    sources: tuple[MetricSourceView, ...]


class NewSource(Sent):
    """A source to be read from now on."""

    name: Name = Field(description="A slug.", examples=["gateway"])
    kind: Literal["text", "prometheus"] = Field(examples=["text"])
    settings: dict[str, Any] = Field(
        description="What that kind needs (docs/metrics.md).",
        examples=[{"url": "http://mlserver.example.com:8082/metrics", "preset": "mlserver", "model": "flights"}],
    )
    credential_from: CredentialFrom | None = None


class ObjectiveSent(Sent):
    """One promise."""

    kind: Literal["availability", "latency"]
    target: float = Field(description="The share of requests that shall be good.", examples=[0.999])
    seconds: float | None = Field(default=None, description="Within how long, for latency.", examples=[None])


class SloSent(Sent):
    """What is promised of an endpoint."""

    days: int = Field(default=30, description="The window over which each objective is meant.", examples=[30])
    objectives: Annotated[tuple[ObjectiveSent, ...], Field(strict=False, min_length=1, max_length=5)]


class SloObjective(Shown):
    """One promise."""

    name: str
    kind: Literal["availability", "latency"]
    target: float
    seconds: float | None


class SloBurn(Shown):
    """How fast one window uses up the budget."""

    seconds: int
    rate: float | None = Field(description="Times faster than evenly over the whole window; null where nobody knows.")
    reason: str


class SloAlert(Shown):
    """One pair of windows."""

    severity: Literal["page", "ticket"]
    factor: float = Field(description="The burn rate that alarms.")
    verdict: Literal["burning", "fine", "unknown"] = Field(description="`unknown` is no pass.")
    reason: str
    long: SloBurn
    short: SloBurn


class SloBudget(Shown):
    """What is left of an objective's budget."""

    allowed: float = Field(description="How many of the counted requests may be bad.")
    used: float
    left: float | None = Field(description="Share that is left; below 0 where it is overspent, null where nobody knows.")
    covered: float = Field(description="Share of the window of which something is known.")
    reason: str


class SloPromise(Shown):
    """One objective as it stands."""

    objective: SloObjective
    verdict: Literal["burning", "fine", "unknown"]
    budget: SloBudget
    alerts: tuple[SloAlert, ...]


class SloView(Shown):
    """What is promised of an endpoint."""

    endpoint: str
    days: int
    revision: int
    objectives: tuple[SloObjective, ...]
    set_at: datetime


class SloStandingView(Shown):
    """What is promised of an endpoint, as it stands now."""

    endpoint: str
    days: int
    promises: tuple[SloPromise, ...]


class SloRules(Shown):
    """A file of Prometheus rules."""

    text: str = Field(description="YAML.")
    notes: tuple[str, ...] = Field(description="What could not be written, and why.")


class MetricRetention(Shown):
    """How long points are kept, in hours."""

    raw_hours: int = Field(description="Of each look.")
    fine_hours: int = Field(description="Of five minutes.")
    coarse_hours: int = Field(description="Of an hour.")
    revision: int


class RetentionSent(Sent):
    """All of it."""

    raw_hours: int = Field(examples=[48])
    fine_hours: int = Field(examples=[720])
    coarse_hours: int = Field(examples=[9600])


@router.get("/endpoints/{endpoint}/metrics")
def show_metrics(asks: Asks, endpoint: EndpointName, span: Annotated[Span, Query()]) -> MetricsView:
    """Requests, errors and latency of an endpoint by arm or version, and how its sources fare."""
    with asks.reading("endpoint.read") as look:
        end = span.end or look.now
        start = span.start or end - timedelta(days=1)
        found = queries.chart(look.session, endpoint, start, end, by=span.by, step=span.step)
        lines = faring.sources(look.session, endpoint, now=look.now, interval=_interval(asks))
    groups = tuple(
        MetricGroup(arm=one.arm, version=one.version, shadow=one.shadow, moments=tuple(map(_moment, one.moments)))
        for one in found.groups
    )
    return MetricsView(
        endpoint=found.endpoint,
        start=found.start,
        end=found.end,
        step=found.step,
        groups=groups,
        covered=tuple(MetricCovered(at=at, share=share) for at, share in sorted(found.covered.items())),
        sources=tuple(map(MetricSourceView.model_validate, lines)),
    )


@router.post("/endpoints/{endpoint}/metrics/sources", status_code=201)
def add_metric_source(asks: Asks, once: Making, endpoint: EndpointName, sent: NewSource) -> MetricSourceView:
    """Names an address from which an endpoint's figures are read, from now on. A name is taken once."""
    told = dict(sent)
    made = once.make(MetricSource, lambda: asks.backend.metric_sources.add(asks.actor, endpoint, **told).id)
    with asks.reading("endpoint.read") as look:
        lines = faring.sources(look.session, endpoint, now=look.now, interval=_interval(asks))
    return MetricSourceView.model_validate(next(one for one in lines if one.id == f"source:{made.id}"))


@router.delete("/endpoints/{endpoint}/metrics/sources/{source}", status_code=204)
def remove_metric_source(asks: Asks, endpoint: EndpointName, source: SourceName) -> None:
    """Reads it no more. What it told is kept as long as everything."""
    asks.backend.metric_sources.remove(asks.actor, endpoint, source)


@router.get("/endpoints/{endpoint}/slo")
def show_slo(asks: Asks, endpoint: EndpointName, tagged: Tagged) -> SloView:
    """What is promised of an endpoint."""
    with asks.reading("endpoint.read") as look:
        return tagged(_shown(endpoint)(look, asks.actor))


@router.put("/endpoints/{endpoint}/slo")
def set_slo(asks: Asks, held: Held, endpoint: EndpointName, sent: SloSent) -> SloView:
    """Says what is promised of an endpoint, instead of whatever was.

    Needs `If-Match` with the `ETag` of what was read, or `If-None-Match: *` where nothing is promised yet.
    """
    objectives = [Objective(one.kind, one.target, one.seconds) for one in sent.objectives]
    with _seen(held, endpoint, needed=True):
        asks.backend.slos.set(asks.actor, endpoint, objectives, days=sent.days)
    with asks.reading("endpoint.read") as look:
        return held.answer(_shown(endpoint)(look, asks.actor))


@router.delete("/endpoints/{endpoint}/slo", status_code=204)
def remove_slo(asks: Asks, held: Held, endpoint: EndpointName) -> None:
    """Promises nothing of an endpoint any more. Its figures are kept as before."""
    with _seen(held, endpoint, needed=False):
        asks.backend.slos.remove(asks.actor, endpoint)


@router.get("/endpoints/{endpoint}/slo/standing")
def show_slo_standing(asks: Asks, endpoint: EndpointName) -> SloStandingView:
    """What is left of each budget, and how fast it burns. What nobody knows is `unknown`, and no pass."""
    with asks.reading("endpoint.read") as look:
        found = queries.standing(look.session, endpoint, now=look.now)
    if found is None:
        raise _nothing(endpoint)
    return SloStandingView(endpoint=found.endpoint, days=found.days, promises=tuple(map(_promise, found.promises)))


@router.get("/endpoints/{endpoint}/slo/rules")
def show_slo_rules(asks: Asks, endpoint: EndpointName) -> SloRules:
    """Prometheus rules for the same objectives and the same windows, to download."""
    with asks.reading("endpoint.read") as look:
        text, notes = downloads.rules(look.session, endpoint, link=_link(asks, endpoint))
    return SloRules(text=text, notes=notes)


@router.get("/endpoints/{endpoint}/slo/dashboard")
def show_slo_dashboard(asks: Asks, endpoint: EndpointName) -> dict[str, Any]:
    """A Grafana dashboard for the endpoint, to import."""
    with asks.reading("endpoint.read") as look:
        return downloads.dashboard(look.session, endpoint, link=_link(asks, endpoint))


@router.get("/metrics/retention")
def show_metric_retention(asks: Asks, tagged: Tagged) -> MetricRetention:
    """How long points are kept."""
    with asks.reading("endpoint.read") as look:
        return tagged(_kept(look, asks.actor))


@router.put("/metrics/retention")
def set_metric_retention(asks: Asks, held: Held, sent: RetentionSent) -> MetricRetention:
    """Says how long points are kept; what is older goes within an hour, and does not come back. Needs `If-Match`."""
    row = select(Retention.id).where(Retention.id == "metrics")
    with held.held("endpoint.read", _kept, row, needed=True):
        asks.backend.retentions.set(asks.actor, **sent.model_dump())
    with asks.reading("endpoint.read") as look:
        return held.answer(_kept(look, asks.actor))


def _kept(look: Reading, _actor: Actor) -> MetricRetention:
    found: Kept = kept(look.session)
    return MetricRetention.model_validate(found)


def _shown(endpoint: str) -> Callable[[Reading, Actor], SloView]:
    def shown(look: Reading, _actor: Actor) -> SloView:
        found = queries.promised(look.session, endpoint)
        if found is None:
            raise _nothing(endpoint)
        return SloView(
            endpoint=endpoint,
            days=found.days,
            revision=found.revision,
            objectives=tuple(map(SloObjective.model_validate, queries.objectives(found))),
            set_at=found.set_at,
        )

    return shown


def _seen(held: Held, endpoint: str, *, needed: bool) -> AbstractContextManager[None]:
    row: sa.Select[Any] = select(SloRow.id).join(Endpoint, Endpoint.id == SloRow.endpoint_id).where(Endpoint.name == endpoint)  # type: ignore[arg-type]
    return held.held("endpoint.read", _shown(endpoint), row, needed=needed)


def _nothing(endpoint: str) -> Refusal:
    return NotFound("SLO", endpoint[:80], "Nothing is promised of this endpoint yet.")


def _moment(one: Moment) -> MetricMoment:
    latency = tuple(_quantile(q, estimate) for q, estimate in sorted(one.latency.items()))
    told = {name: getattr(one, name) for name in MetricMoment.model_fields if name != "latency"}
    return MetricMoment(**told, latency=latency)


def _quantile(q: float, one: Estimate) -> MetricQuantile:
    low, high = (None if edge in (float("inf"), float("-inf")) else edge for edge in (one.low, one.high))
    return MetricQuantile(quantile=q, seconds=one.value, low=low, high=high)


def _promise(one: queries.Promise) -> SloPromise:
    alerts = tuple(
        SloAlert(
            severity=each.alert.severity,
            factor=each.factor,
            verdict=each.verdict,
            reason=each.reason,
            long=_burn(each.long),
            short=_burn(each.short),
        )
        for each in one.alerts
    )
    objective, budget = SloObjective.model_validate(one.objective), SloBudget.model_validate(one.budget)
    return SloPromise(objective=objective, verdict=one.verdict, budget=budget, alerts=alerts)


def _burn(one: Burn) -> SloBurn:
    return SloBurn(seconds=round(one.window.total_seconds()), rate=one.rate, reason=one.reason)


def _interval(asks: Asks) -> timedelta:
    return timedelta(seconds=asks.backend.settings.scrape_seconds)


def _link(asks: Asks, endpoint: str) -> str:
    seen = asks.backend.settings.public_url.rstrip("/")
    return f"{seen}/endpoint?name={endpoint}" if seen else ""
