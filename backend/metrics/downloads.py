"""What can be downloaded of an endpoint with objectives: rules for Prometheus, a dashboard for Grafana."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from sqlmodel import Session, col, select

from backend.core.errors import NotFound, Refusal
from backend.delivery.named import named
from backend.delivery.routers.envoy_render import PREFIX
from backend.delivery.rows import Endpoint, RouterRow, Server
from backend.embedded.envoy import LATENCY_BUCKETS_MS
from backend.metrics import dashboard as drawing
from backend.metrics import queries, rules_file, slo
from backend.metrics.promql import Signals, literally, matchers, selector
from backend.metrics.reading import streams_of
from backend.metrics.rows import MetricSource, SloRow
from backend.metrics.sources.text import TextSettings, Wanted

_MILLI, _MICRO = 1e-3, 1e-6


def rules(session: Session, endpoint: str, *, link: str = "") -> tuple[str, tuple[str, ...]]:
    """The text of the file of rules, and what could not be written into it."""
    row, promised = _asked(session, endpoint)
    signals, says = _signals(session, row)
    objectives = queries.objectives(promised)
    lacking = rules_file.lacking(objectives, signals)
    notes = tuple(f"No rule for {one.name}: {says} tells no histogram of latency." for one in lacking)
    notes += tuple(
        f"{one.name}: {slo.NEVER_FIRES} The rules tell silence alone; promise more, or over fewer days."
        for one in rules_file.never_alarming(objectives, promised.days)
    )
    notes += tuple(
        f"{one.name}: {one.seconds:g} s is no bound of the histogram there; the rules take {known:g} s, the next below it."
        for one in objectives
        if one.seconds is not None and one not in lacking and (known := _bound(signals, one.seconds)) != one.seconds
    )
    head = f"Objectives of {row.name} over {promised.days} days, by Countersign, from what Prometheus scrapes of {says}."
    content = rules_file.rules(row.name, objectives, promised.days, signals, link=link)
    return rules_file.written(content, (head, *notes)), notes


def dashboard(session: Session, endpoint: str, *, link: str = "") -> dict[str, Any]:
    """The dashboard as JSON."""
    row, promised = _asked(session, endpoint)
    signals, _ = _signals(session, row)
    return drawing.dashboard(row.name, queries.objectives(promised), promised.days, signals, link=link)


def _bound(signals: Signals, seconds: float) -> float:
    return float(signals.bound(seconds)) * signals.unit


def _asked(session: Session, endpoint: str) -> tuple[Endpoint, SloRow]:
    row = named(session, Endpoint, endpoint)
    promised = queries.slo_row(session, row.id)
    if promised is None:
        raise NotFound("SLO", endpoint[:80], "Say first what is promised of this endpoint.")
    return row, promised


def _signals(session: Session, row: Endpoint) -> tuple[Signals, str]:
    """What tells of the endpoint, the nearest to the callers first, and what it is called."""
    router = session.get(RouterRow, row.router_id) if row.router_id is not None else None
    if router is not None and router.kind in ("envoy", "envoy_ads"):
        return of_envoy(row.name, _bounds(session, row)), f"the router {router.name}"
    for source in session.exec(select(MetricSource).where(MetricSource.endpoint_id == row.id).order_by(col(MetricSource.name))):
        if (found := _of_text(source)) is not None:
            return found, f"the source {source.name}"
    server = session.get(Server, row.server_id)
    if server is not None and server.kind == "triton":
        return of_triton(row.served_name), f"the server {server.name}"
    raise Refusal(
        f"Nothing that a Prometheus scrapes tells of {row.name}.",
        "Stand it behind an Envoy or on a Triton, or name a text source with requests and errors.",
        code="no-signals",
    )


def _bounds(session: Session, row: Endpoint) -> tuple[float, ...]:
    """Those of the newest histogram that the router told; else the embedded Envoy's."""
    told = [one for one in streams_of(session, row.id, ["latency"]) if one.teller == "router" and one.bounds]
    return told[-1].bounds if told else tuple(one * _MILLI for one in LATENCY_BUCKETS_MS)


def of_envoy(endpoint: str, bounds: tuple[float, ...]) -> Signals:
    """By the arm that answered in the end: clusters count a request once, where its last attempt went (seen on Envoy 1.40)."""
    pattern = f"{PREFIX}{literally(endpoint)}_[a-z0-9-]+"  # without the copies of a shadow, whose name has one part more
    matched = {"envoy_cluster_name": pattern}
    return Signals(
        requests=(selector("envoy_cluster_upstream_rq_completed", {}, matched),),
        errors=(selector("envoy_cluster_upstream_rq_xx", {"envoy_response_code_class": "5"}, matched),),
        buckets=selector("envoy_cluster_upstream_rq_time_bucket", {}, matched),
        unit=_MILLI,
        bounds=bounds,
        by="envoy_cluster_name",
    )


def of_triton(served_name: str) -> Signals:
    """By version. Triton has no histogram."""
    matched = {"model": f"{literally(served_name)}(\\.[0-9a-f]{{8}})?"}

    def vector(name: str) -> str:
        return selector(f"nv_inference_{name}", {}, matched)

    return Signals(
        requests=(vector("request_success"), vector("request_failure")),
        errors=(vector("request_failure"),),
        unit=_MICRO,
        queue=vector("queue_duration_us"),
        spent=vector("request_duration_us"),
        compute=tuple(vector(f"compute_{part}_duration_us") for part in ("input", "infer", "output")),
        by="version",
    )


def _of_text(source: MetricSource) -> Signals | None:
    """From the names that were given; None where they do not tell both requests and errors."""
    if source.kind != "text":
        return None
    try:
        wanted = TextSettings.model_validate(source.settings).wanted
    except ValidationError:
        return None
    of = {metric: [one for one in wanted if one.metric == metric] for metric in ("requests", "errors", "latency")}
    if not of["requests"] or not of["errors"]:
        return None
    latency = of["latency"][0] if of["latency"] else None
    return Signals(
        requests=tuple(_vector(one) for one in of["requests"]),
        errors=tuple(_vector(one) for one in of["errors"]),
        buckets=_vector(latency, "_bucket") if latency is not None else "",
        unit=latency.scale if latency is not None else 1.0,
        by=of["requests"][0].version_label or of["requests"][0].arm_label or "",
    )


def _vector(one: Wanted, ending: str = "") -> str:
    return f"{one.name}{ending}{matchers(one.where, one.unless)}"
