"""`countersign slo`: what is promised of endpoints, how that stands, and rules and dashboards to download."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import click

from backend.cli.output import emit, guarded, json_option, printable, table
from backend.cli.session import Session, acting
from backend.client.errors import NotFound
from backend.client.results import Objective, Promise
from backend.core.errors import Refusal

_ENDPOINT = click.argument("endpoint")
_TARGET = re.compile(r"([0-9]{2}(?:\.[0-9]{1,5})?)%?")
_WITHIN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s):([0-9]{2}(?:\.[0-9]{1,5})?)%?")


@click.group()
def slo() -> None:
    """What is promised of endpoints, and how that stands."""


@slo.command()
@acting
@_ENDPOINT
@json_option
@guarded
def show(opened: Session, endpoint: str, as_json: bool) -> None:
    """Show what is promised of an endpoint, what is left of its budget and how fast that burns."""
    found = opened.client.slos.standing(endpoint)
    rows = [row for one in found.promises for row in _rows(one)]
    head = ("objective", "target", "budget left", "alert", "burns", "verdict", "")
    emit(as_json, {"slo": found}, [f"{endpoint}, over {found.days} days:", *table(head, rows)])


@slo.command("set")
@acting
@_ENDPOINT
@click.option("--availability", metavar="PERCENT", help="Share of requests that get an answer without an error, like 99.9.")
@click.option("--latency", metavar="WITHIN:PERCENT", multiple=True, help="Share that gets one in time, like 250ms:95.")
@click.option("--days", type=click.IntRange(1, 90), default=30, show_default=True, help="The window of the budget.")
@json_option
@guarded
def set_slo(
    opened: Session, endpoint: str, availability: str | None, latency: tuple[str, ...], days: int, as_json: bool
) -> None:
    """Say what is promised of an endpoint, instead of whatever was."""
    objectives = [_available(availability)] if availability is not None else []
    objectives += [_quick(one) for one in latency]
    if not objectives:
        raise Refusal("Nothing is promised.", "Give --availability or --latency, or remove the SLO.", code="bad-slo")
    made = opened.client.slos.set(endpoint, objectives, days=days, if_match=_seen(opened, endpoint))
    says = f"{endpoint} has {len(made.objectives)} objective(s) over {made.days} days now."
    emit(as_json, {"slo": made}, [says, *(f"  {one.name}: {_percent(one)}" for one in made.objectives)])


@slo.command()
@acting
@_ENDPOINT
@json_option
@guarded
def remove(opened: Session, endpoint: str, as_json: bool) -> None:
    """Promise nothing of an endpoint any more."""
    opened.client.slos.remove(endpoint)
    emit(as_json, {"removed": endpoint}, [f"Nothing is promised of {endpoint} any more."])


@slo.command()
@acting
@_ENDPOINT
@json_option
@guarded
def rules(opened: Session, endpoint: str, as_json: bool) -> None:
    """Print Prometheus rules for an endpoint's objectives, ready for a file."""
    found = opened.client.slos.rules(endpoint)
    emit(as_json, {"rules": found}, found.text.splitlines())


@slo.command()
@acting
@_ENDPOINT
@json_option
@guarded
def dashboard(opened: Session, endpoint: str, as_json: bool) -> None:
    """Print a Grafana dashboard for an endpoint, to be imported."""
    found = opened.client.slos.dashboard(endpoint)
    emit(as_json, {"dashboard": found}, json.dumps(found, indent=2).splitlines())


@slo.command()
@acting
@_ENDPOINT
@json_option
@guarded
def sources(opened: Session, endpoint: str, as_json: bool) -> None:
    """Show where an endpoint's figures come from, and whether they come."""
    found = opened.client.metrics.show(endpoint).sources
    rows = [(one.name, one.teller, one.word, one.figures, one.ok_at, printable(one.says)) for one in found]
    lines = table(("source", "is", "fares", "figures", "last good look", ""), rows) if rows else ["Nothing tells of it."]
    emit(as_json, {"sources": found}, lines)


def _rows(one: Promise) -> Iterable[tuple[Any, ...]]:
    left = "unknown" if one.budget.left is None else f"{one.budget.left:.1%}"
    for place, alert in enumerate(one.alerts):
        first = (one.objective.name, _percent(one.objective), left) if place == 0 else ("", "", "")
        rate = "unknown" if alert.long.rate is None else f"{alert.long.rate:.3g} times"
        window = f"{alert.severity} at {alert.factor:.3g}"
        yield (*first, window, rate, alert.verdict, printable(alert.reason))


def _percent(one: Objective) -> str:
    return f"{100 * one.target:.7g} %"


def _available(text: str) -> dict[str, Any]:
    match = _TARGET.fullmatch(text)
    if match is None:
        raise Refusal(f"{text[:40]!r} is no share in percent.", "Write it like 99.9.", code="bad-slo")
    return {"kind": "availability", "target": round(float(match[1]) / 100, 9)}


def _quick(text: str) -> dict[str, Any]:
    match = _WITHIN.fullmatch(text)
    if match is None:
        raise Refusal(f"{text[:40]!r} is no objective of latency.", "Write it like 250ms:95 or 2s:99.", code="bad-slo")
    seconds = float(match[1]) * (0.001 if match[2] == "ms" else 1.0)
    return {"kind": "latency", "seconds": round(seconds, 6), "target": round(float(match[3]) / 100, 9)}


def _seen(opened: Session, endpoint: str) -> str:
    """What is promised already; "" for nothing yet."""
    try:
        return opened.client.slos.show(endpoint).etag
    except NotFound:
        return ""
