"""What a plan has compared, in a reviewer's words: each guardrail, what is measured, how sure it is, and what follows. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from backend.changes.field_words import span
from backend.delivery.comparison import Comparison, Guardrail, Metric, Segment
from backend.delivery.plan import Plan

_FOLLOWS = {"rollback": "rolled back at once", "hold": "held until that is over", "warn": "told, and goes on"}
_FAILED = {**_FOLLOWS, "hold": "held until a person acts"}
_LOSSES = {"log_loss": "log loss", "brier": "Brier score", "squared_error": "squared error", "absolute_error": "absolute error"}
_DESIGNS = {
    "sequence": "may be looked at at any time",
    "obrien_fleming": "looked at in groups (O'Brien and Fleming)",
    "pocock": "looked at in groups (Pocock)",
}


def lines(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """(field, its title, what it says) for everything that a plan compares, guardrails first."""
    compared = plan.comparison
    if compared is None:
        return
    for one in compared.guardrails:
        yield f"guardrails.{one.metric}", f"Guardrail {one.metric}", guardrail_says(one, compared.metric(one.metric))
    yield "comparison.control", "Compared", _who(plan, compared)
    if compared.primary is not None:
        yield "comparison.primary", "What it is for", _primary(compared)
    guarded = {one.metric for one in compared.guardrails}
    for metric in (one for one in compared.metrics if one.name not in guarded):
        yield f"comparison.metrics.{metric.name}", f"Metric {metric.name}", metric_says(metric)
    for segment in compared.segments:
        yield f"comparison.segments.{segment.name}", f"Segment {segment.name}", _segment(segment)
    yield "comparison.counts", "Which requests count", _counts(compared)
    yield "comparison.alpha", "How sure", _how_sure(compared)
    yield "comparison.on", "Where nothing can be judged", _triggers(compared)


def guardrail_says(one: Guardrail, metric: Metric) -> str:
    """`failed requests of all: at most 1 % of requests worse, else rolled back at once (interval tuned with 0.03)`."""
    sure = (
        f"interval tuned with {one.eta:.4g}" if one.eta is not None else "its variance is not known: an exact test alone judges"
    )
    harm = _margin(one.margin, metric, relative=one.relative)
    return f"{metric_says(metric)}: at most {harm} worse, else {_FAILED[one.on_fail]} ({sure})"


def metric_says(metric: Metric) -> str:
    """What is measured of each arm."""
    more = (
        f"known after {span(metric.horizon_seconds)}" if metric.horizon_seconds else "",
        f"each request taken to lie from {metric.cap[0]:g} to {metric.cap[1]:g}" if metric.cap is not None else "",
        "adjusted by the unit's days before" if metric.adjusted else "",
        f"at {', '.join(f'{one:g}' for one in metric.cuts)}" if metric.cuts else "",
        f"one unit's variance {metric.unit_variance:.4g}" if metric.unit_variance is not None else "",
    )
    return ", ".join(one for one in (_measured(metric), *more) if one)


def _measured(metric: Metric) -> str:
    if metric.kind == "errors":
        return "failed requests of all"
    if metric.kind == "slow":
        return f"requests of all that took longer than {metric.above_seconds:g} s"
    if metric.kind == "latency":
        return f"p{(metric.quantile or 0) * 100:g} of the latency"
    if metric.kind == "predictions":
        return "how far the predictions lie apart"
    if metric.kind == "outcome":
        return f"mean of {metric.outcome} over requests, where {metric.better} is better"
    return f"{_LOSSES[metric.kind]} beside {metric.outcome}"


def _margin(margin: float, metric: Metric, *, relative: bool) -> str:
    if relative:
        return f"{margin * 100:g} % of the other's figure"
    if metric.kind in ("errors", "slow", "predictions"):
        return f"{margin * 100:g} % of requests"
    return f"{margin:g} s" if metric.kind == "latency" else f"{margin:g}"


def _who(plan: Plan, compared: Comparison) -> str:
    said = ", ".join(f"{name} (version {plan.arm(name).version})" for name in plan.treatments)
    control = plan.arm(str(compared.control))
    twin = any(arm.version == control.version and arm.name != control.name for arm in plan.arms)
    copy = ", a copy of the champion that is loaded as newly" if twin else ""
    experiment = f" in the experiment {compared.experiment}" if compared.experiment is not None else ""
    return f"{said} with {control.name} (version {control.version}{copy}){experiment}"


def _primary(compared: Comparison) -> str:
    one = compared.primary
    if one is None:
        return ""
    metric = compared.metric(one.metric)
    goal = "to be better" if one.goal == "better" else f"to be at most {_margin(one.margin, metric, relative=False)} worse"
    tuned = f", interval tuned with {one.eta:.4g}" if one.eta is not None else ""
    return f"{metric.name} ({metric_says(metric)}) has {goal}; the smallest effect that matters is {one.smallest:g}{tuned}"


def _segment(one: Segment) -> str:
    low = f"from {one.low:g} on" if one.low is not None else ""
    high = f"below {one.high:g}" if one.high is not None else ""
    which = f"is {one.value}" if one.value is not None else "lies " + " and ".join(part for part in (low, high) if part)
    return f"{one.feature} {which}; {'guardrails hold for it too' if one.guarded else 'exploratory: it stops nothing'}"


def _counts(compared: Comparison) -> str:
    where = "in the step of its first request" if compared.counts == "once" else "in each step that it has requests in"
    if compared.window_seconds is None:
        which = "all its requests, as they come"
    else:
        seconds = compared.window_seconds
        which = f"its requests of the first {span(seconds)}" if seconds else "its first request alone"
    before = f"; {compared.before_days} days before it for comparison" if compared.before_days else ""
    return f"a unit counts {where}, with {which}{before}"


def _how_sure(compared: Comparison) -> str:
    ends = f", ending at a weight of {compared.planned_weight:g}" if compared.planned_weight is not None else ""
    row = f"; a guardrail fails after {compared.failures} looks in a row" if compared.failures > 1 else ""
    return f"wrong in at most {compared.alpha * 100:g} % of whole decisions; {_DESIGNS[compared.design]}{ends}{row}"


def _triggers(compared: Comparison) -> str:
    on = compared.on
    told = (
        ("shares that are not as planned", on.sample_ratio),
        (f"no traffic for {span(compared.no_traffic_seconds)}", on.no_traffic),
        ("a metric that is missing", on.missing),
        (f"no look for {span(compared.stale_seconds)}", on.stale),
    )
    return "; ".join(f"{what}: {_FOLLOWS[action]}" for what, action in told)
