"""`countersign experiment`: designing experiments, planning them, and saying what came of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from backend.cli import inputs, names
from backend.cli.output import emit, facts, guarded, json_option, percent, printable, table
from backend.cli.session import Session, acting
from backend.client.errors import NotFound
from backend.client.results import Comparison, Experiment, ExperimentPlan, PlannedFigure
from backend.core.errors import Refusal

_ENDPOINT = click.argument("endpoint", shell_complete=names.endpoints)
_NAME = click.argument("name", metavar="EXPERIMENT")
_FROM = click.option(
    "--from", "file", metavar="FILE", required=True, help="The design, as JSON or YAML; - for JSON on standard input."
)
_REASON = click.option("--reason", required=True, help="Why, in a sentence.")


@click.group()
def experiment() -> None:
    """What is tried on an endpoint's units, what that would show, and what came of it."""


@experiment.command("list")
@acting
@click.option("--endpoint", default="", shell_complete=names.endpoints, help="Of one endpoint.")
@click.option("--state", type=click.Choice(("draft", "running", "decided", "withdrawn")), help="In one state.")
@click.option("--after", metavar="TOKEN", help="The next page: `next` of the page before.")
@click.option("--limit", type=click.IntRange(1, 200), default=100, show_default=True)
@json_option
@guarded
def list_experiments(opened: Session, endpoint: str, state: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """List experiments, the newest first."""
    page = opened.client.experiments.page(endpoint=endpoint, state=state or "", after=after, limit=limit)
    rows = [
        (one.endpoint, one.slug, one.state, _days(one.running_day, one.planned_days), printable(one.looks_for), one.owner)
        for one in page.items
    ]
    head = ("endpoint", "experiment", "state", "day", "looks for", "owner")
    emit(as_json, {"experiments": page.items, "next": page.next}, table(head, rows) if rows else ["There is no experiment."])


@experiment.command()
@acting
@_ENDPOINT
@_NAME
@json_option
@guarded
def show(opened: Session, endpoint: str, name: str, as_json: bool) -> None:
    """Show an experiment: who gets what, what it is for, how far it is, what its arms did, and what came of it."""
    found = opened.client.experiments.show(endpoint, name)
    compared = _compared(opened, found)
    told = [] if compared is None else _figures(compared)
    emit(as_json, {"experiment": found, "comparison": compared}, [*_whole(found), *told])


@experiment.command()
@acting
@_ENDPOINT
@_FROM
@json_option
@guarded
def plan(opened: Session, endpoint: str, file: str, as_json: bool) -> None:
    """Say what a design would need and see, by the endpoint's log of the last days. Nothing is stored."""
    found = opened.client.experiments.plan(endpoint, _design(file))
    emit(as_json, {"plan": found}, _planned(found))


@experiment.command()
@acting
@_ENDPOINT
@_NAME
@_FROM
@click.option("--title", required=True, help="What is tried, in a line.")
@json_option
@guarded
def create(opened: Session, endpoint: str, name: str, file: str, title: str, as_json: bool) -> None:
    """Design an experiment. Nothing starts by it: `countersign change propose --experiment` does that."""
    made = opened.client.experiments.create(endpoint, name, title, _design(file))
    emit(as_json, {"experiment": made}, [f"{made.slug} is a draft on {endpoint}: {printable(made.looks_for)}."])


@experiment.command()
@acting
@_ENDPOINT
@_NAME
@click.option("--from", "file", metavar="FILE", help="The whole design, as JSON or YAML; - for JSON on standard input.")
@click.option("--title", help="What is tried, in a line.")
@json_option
@guarded
def edit(opened: Session, endpoint: str, name: str, file: str | None, title: str | None, as_json: bool) -> None:
    """Change a draft. What runs keeps the design that was approved."""
    etag = opened.client.experiments.show(endpoint, name).etag
    design = _design(file) if file is not None else None
    made = opened.client.experiments.edit(endpoint, name, title=title, design=design, if_match=etag)
    emit(as_json, {"experiment": made}, [f"{made.slug} on {endpoint}: {printable(made.looks_for)}."])


@experiment.command()
@acting
@_ENDPOINT
@_NAME
@_REASON
@json_option
@guarded
def withdraw(opened: Session, endpoint: str, name: str, reason: str, as_json: bool) -> None:
    """Give up a draft. Its name is not used again."""
    found = opened.client.experiments.withdraw(endpoint, name, reason)
    emit(as_json, {"experiment": found}, [f"{name} on {endpoint} is withdrawn."])


@experiment.command()
@acting
@_ENDPOINT
@_NAME
@click.argument("outcome", type=click.Choice(("ship", "roll_back", "no_decision")))
@_REASON
@click.option("--version", type=click.IntRange(1), help="Which version is shipped, where several are tried.")
@json_option
@guarded
def decide(opened: Session, endpoint: str, name: str, outcome: str, reason: str, version: int | None, as_json: bool) -> None:
    """Say what came of a running experiment, which ends it and proposes the change that follows."""
    found = opened.client.experiments.decide(endpoint, name, outcome, reason, version=version)
    follows = "Nothing has to move." if found.change is None else f"Change {found.change} follows; it waits for its approval."
    emit(as_json, {"experiment": found}, [f"{name} on {endpoint} is decided: {outcome.replace('_', ' ')}. {follows}"])


def _design(file: str) -> Mapping[str, Any]:
    """A design from a file: JSON, or YAML as the files of `countersign apply` are written."""
    path = Path(file)
    if path.suffix not in (".yaml", ".yml"):
        return inputs.json_object(path)
    from backend.blueprints.text import Source, documents  # libyaml: only where a file is of it

    found = documents([Source(file, inputs.text(path))])
    if len(found) != 1 or not isinstance(found[0].value, dict):
        raise Refusal(f"{file} does not hold one design.", "Write its fields as one object into it.", code="bad-file")
    return found[0].value


def _days(day: int, planned: int) -> str:
    return f"{day} of {planned}" if day else f"0 of {planned}"


def _whole(found: Experiment) -> list[str]:
    shares = ", ".join(
        f"{'the champion' if not one.version else f'version {one.version}'} {percent(one.buckets)}" for one in found.shares
    )
    told = {
        "title": printable(found.title),
        "state": found.state + (f": {found.outcome.replace('_', ' ')}" if found.outcome else ""),
        "hypothesis": printable(" ".join(found.hypothesis.split())),
        "looks for": printable(found.looks_for),
        "units": shares,
        "day": _days(found.running_day, found.planned_days),
        "layer": found.layer or "none",
        "reason": printable(found.reason) or "none",
        "owner": found.owner,
        "design": json.dumps(dict(found.design)),
    }
    return [f"{found.slug} on {found.endpoint}", *facts(told.items())]


def _compared(opened: Session, found: Experiment) -> Comparison | None:
    """What its arms did; None before it starts, and where nothing was compared."""
    if found.started_at is None:
        return None
    try:
        return opened.client.experiments.figures(found.endpoint, found.slug)
    except NotFound:
        return None


def _figures(found: Comparison) -> list[str]:
    """The newest look: what is decided, the arms, the effects and the guardrails."""
    told = found.figures
    if told is None:
        return ["", f"Nothing can be said yet. {printable(str(found.standing['reason']))}"]
    age = f" at {found.looked_at:%Y-%m-%d %H:%M} UTC{', which is stale' if found.stale else ''}" if found.looked_at else ""
    lines = ["", f"The newest look{age} says: {found.decision.replace('_', ' ') or 'nothing yet'}."]
    lines += [printable(one) for one in (*found.reasons, found.problem) if one]
    arms = [
        (one["name"], one["units"], one["complete"], f"{one['planned']:.1%}", f"{one['assigned']:.1%}") for one in told["arms"]
    ]
    lines += table(("arm", "units", "complete", "planned", "assigned"), arms)
    effects = [
        (one["metric"], one["treatment"], _figure(one["difference"]), _ends(one["low"], one["high"]))
        for one in told["effects"]
        if not one["segment"]
    ]
    lines += table(("metric", "arm", "change", "always-valid interval"), effects)
    guarded = [(one["metric"], one["treatment"], one["segment"], one["verdict"], _figure(one["harm"]), f"{one['margin']:.4g}")
               for one in told["guardrails"]]  # fmt: skip
    return lines + (table(("guardrail", "arm", "segment", "verdict", "harm", "margin"), guarded) if guarded else [])


def _ends(low: float | None, high: float | None) -> str:
    told = ("no end" if one is None else f"{one:.4g}" for one in (low, high))
    return " to ".join(told)


def _planned(found: ExperimentPlan) -> list[str]:
    head = ("metric", "for", "matters", "seen by the end", "harm found", "units needed", "days needed")
    rows = [_row(one) for one in found.figures]
    traffic = f"{_number(found.units_by_end)} units by the end, {_number(found.units_a_day)} new ones a day lately."
    notes = [f"{one.metric}: {printable(one.note)}." for one in found.figures if one.note and one.known]
    blind = [f"Blind to {one.metric}: {printable(one.blind)}" for one in found.figures if one.blind]
    return [traffic, *table(head, rows), *notes, *(blind or ["It sees what matters."])]


def _row(one: PlannedFigure) -> tuple[Any, ...]:
    unit = " of the champion's" if one.relative else ""
    return (
        one.metric,
        one.role,
        f"{one.wanted:.4g}{unit}",
        _figure(one.detectable),
        _figure(one.harm) if one.role == "guardrail" else "",
        _number(one.units),
        "never" if one.days is None else f"{one.days:.3g}",
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def _figure(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
