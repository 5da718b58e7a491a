"""`countersign monitor`: what is watched at endpoints, how monitors fare, and what versions were made from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from backend.cli import inputs, names
from backend.cli.output import emit, facts, guarded, json_option, printable, table
from backend.cli.session import Session, acting
from backend.client.errors import NotFound
from backend.client.results import Monitor, MonitorRun
from backend.core.errors import Refusal

_ENDPOINT = click.argument("endpoint", shell_complete=names.endpoints)
_NAME = click.argument("name", metavar="MONITOR")
_SHOWN_RUNS = 10
_DAY = 24
_UNKNOWN_DAYS = "how much days differ is unknown, and where they do, most of them will alarm."
_AGAINST: dict[str, dict[str, str]] = {
    "training": {"kind": "training"},
    "champion": {"kind": "champion"},
    "week": {"kind": "season", "season": "week"},
    "year": {"kind": "season", "season": "year"},
}


@click.group()
def monitor() -> None:
    """What is watched at endpoints, and how monitors fare."""


@monitor.command("list")
@acting
@click.option("--endpoint", default="", shell_complete=names.endpoints, help="Of one endpoint.")
@click.option("--after", metavar="TOKEN", help="The next page: `next` of the page before.")
@click.option("--limit", type=click.IntRange(1, 200), default=100, show_default=True)
@json_option
@guarded
def list_monitors(opened: Session, endpoint: str, after: str | None, limit: int, as_json: bool) -> None:
    """List monitors with how they fare."""
    page = opened.client.monitors.page(endpoint=endpoint, after=after, limit=limit)
    rows = [
        (one.endpoint, one.name, one.kind, one.word, one.last_slot, one.findings, printable(one.says)) for one in page.items
    ]
    head = ("endpoint", "monitor", "kind", "fares", "looked at", "findings", "")
    lines = table(head, rows) if rows else ["Nothing is watched."]
    emit(as_json, {"monitors": page.items, "next": page.next}, lines)


@monitor.command()
@acting
@_ENDPOINT
@_NAME
@json_option
@guarded
def show(opened: Session, endpoint: str, name: str, as_json: bool) -> None:
    """Show a monitor: what it is told, how it fares, and what its latest runs found."""
    found = opened.client.monitors.show(endpoint, name)
    emit(as_json, {"monitor": found}, _whole(found))


@monitor.command("set")
@acting
@_ENDPOINT
@_NAME
@click.option("--kind", type=click.Choice(("drift", "data", "skew", "quality", "estimate")), help="What it is about.")
@click.option("--from", "file", metavar="FILE", help="What it is told, as JSON; - for standard input. Options come on top.")
@click.option("--window", metavar="DURATION", help="How long a window is, such as 24h or 7d.")
@click.option("--every", metavar="DURATION", help="How often one is judged, such as 1h or 1d.")
@click.option("--outcome", help="Of quality: the name of the outcome that a probability is of.")
@click.option("--against", type=click.Choice(tuple(_AGAINST)), help="What windows are compared with; a period takes a file.")
@click.option("--joint/--no-joint", default=None, help="Of drift, but for training: tell rows as a whole apart too.")
@click.option("--segment", metavar="FEATURE", help="Count requests apart by this feature's values.")
@click.option("--report", type=click.Choice(("drift", "summary", "classification", "regression")), help="Make one of an alarm.")
@click.option("--since", metavar="DURATION", help="Of a new one: judge the windows of so long ago too, such as 14d.")
@json_option
@guarded
def set_monitor(
    opened: Session,
    /,
    endpoint: str,
    name: str,
    kind: str | None,
    file: str | None,
    window: str | None,
    every: str | None,
    outcome: str | None,
    against: str | None,
    joint: bool | None,
    segment: str | None,
    report: str | None,
    since: str | None,
    as_json: bool,
) -> None:
    """Watch an endpoint, or in another way than before."""
    told = _told(file)
    told |= {"kind": kind} if kind is not None else {}
    told |= {"window_hours": _hours(window)} if window is not None else {}
    told |= {"every_hours": _hours(every)} if every is not None else {}
    told |= {"task": {"kind": "binary", "outcome": outcome}} if outcome is not None else {}
    told |= {"reference": _AGAINST[against]} if against is not None else {}
    told |= {"joint": joint} if joint is not None else {}
    told |= {"segments": [segment]} if segment is not None else {}
    told |= {"report": report} if report is not None else {}
    etag, before = _seen(opened, endpoint, name)
    begins = datetime.now(UTC) - timedelta(hours=_hours(since)) if since is not None else None
    made = opened.client.monitors.set(endpoint, name, {**before, **told}, since=begins, if_match=etag)
    emit(as_json, {"monitor": made}, [f"{name} watches {endpoint}: {made.fares.watches}."])


@monitor.command()
@acting
@_ENDPOINT
@_NAME
@json_option
@guarded
def remove(opened: Session, endpoint: str, name: str, as_json: bool) -> None:
    """Watch that no more. What it found stays until somebody ends it."""
    opened.client.monitors.remove(endpoint, name)
    emit(as_json, {"removed": name}, [f"{name} watches {endpoint} no more."])


@monitor.command()
@acting
@_ENDPOINT
@_NAME
@click.option("--reason", required=True, help="Why, in a sentence.")
@json_option
@guarded
def pause(opened: Session, endpoint: str, name: str, reason: str, as_json: bool) -> None:
    """Look no more until it is resumed."""
    found = opened.client.monitors.pause(endpoint, name, reason)
    emit(as_json, {"monitor": found}, [f"{name} is paused: nobody looks at {endpoint} by it."])


@monitor.command()
@acting
@_ENDPOINT
@_NAME
@json_option
@guarded
def resume(opened: Session, endpoint: str, name: str, as_json: bool) -> None:
    """Look again, from the latest window on."""
    found = opened.client.monitors.resume(endpoint, name)
    emit(as_json, {"monitor": found}, [f"{name} looks at {endpoint} again."])


@monitor.command()
@acting
@_ENDPOINT
@_NAME
@json_option
@guarded
def run(opened: Session, endpoint: str, name: str, as_json: bool) -> None:
    """Ask for a look now, at the window up to the latest full hour. It is judged once its hours are counted."""
    slot = opened.client.monitors.run(endpoint, name)
    says = f"Asked for the window up to {slot:%Y-%m-%d %H:%M} UTC; see `countersign monitor show {endpoint} {name}`."
    emit(as_json, {"slot": slot}, [says])


@monitor.command()
@acting
@click.argument("model", shell_complete=names.models)
@click.argument("version", type=click.IntRange(1, 2**31 - 1))
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--prediction", help="The column that holds the model's answer.")
@click.option("--time", "when", help="The column that says when a row was: with it, it is known how much days differ.")
@click.option("--without", multiple=True, help="A column that is no feature, such as a label or an id. Again for several.")
@click.option("--source", default="", help="What the data are, in words.")
@json_option
@guarded
def profile(
    opened: Session,
    /,
    model: str,
    version: int,
    files: tuple[Path, ...],
    prediction: str | None,
    when: str | None,
    without: tuple[str, ...],
    source: str,
    as_json: bool,
) -> None:
    """Say what a version was made from: Parquet FILES become a profile here, and only its aggregates are sent.

    Without files, the profiles of the model are listed.
    """
    if not files:
        page = opened.client.profiles.page(model)
        rows = [(one.version, one.rows, one.columns, one.timed, one.set_by, printable(one.source)) for one in page.items]
        head = ("version", "rows", "columns", "by time", "set by", "made from")
        emit(as_json, {"profiles": page.items}, table(head, rows) if rows else ["No version has a profile."])
        return
    content, says = _built(files, prediction, when, without)
    etag = _profiled(opened, model, version)
    made = opened.client.profiles.set(model, version, content, source=source, if_match=etag)
    emit(as_json, {"profile": made}, [f"Version {version} was made from {made.rows:,} rows of {made.columns} columns.", says])


def _built(files: tuple[Path, ...], prediction: str | None, when: str | None, without: tuple[str, ...]) -> tuple[bytes, str]:
    """The profile, and what is known of how much days differ."""
    from backend.drift.profile import build, days_of  # numpy and DuckDB: half a second that no other command needs
    from backend.drift.sources import ParquetSource, Roles
    from backend.drift.stored import profile_bytes

    source = ParquetSource(files, Roles(prediction=prediction, time=when, without=without))
    if when is None:
        return profile_bytes(build(source)), f"Nothing says when its rows were (--time): {_UNKNOWN_DAYS}"
    days, made = days_of(source), build(source, timed=True)
    told = f"Its rows were on {days:,} {'day' if days == 1 else 'days'}"
    is_known = any(one.hours == _DAY for one in made.variations)
    return profile_bytes(made), f"{told}." if is_known else f"{told}, too few with rows enough: {_UNKNOWN_DAYS}"


def _told(file: str | None) -> dict[str, Any]:
    return dict(inputs.json_object(Path(file))) if file is not None else {}


def _hours(text: str) -> int:
    seconds = inputs.seconds(text)
    if seconds % 3_600 or not seconds:
        raise Refusal(f"{text[:40]!r} is no number of whole hours.", "Write it like 1h, 24h or 7d.", code="bad-duration")
    return seconds // 3_600


def _profiled(opened: Session, model: str, version: int) -> str:
    """The tag of the profile that is there; "" for none yet."""
    try:
        return opened.client.profiles.show(model, version).etag
    except NotFound:
        return ""


def _seen(opened: Session, endpoint: str, name: str) -> tuple[str, dict[str, Any]]:
    """What it is told already, with its tag; nothing for a new one."""
    try:
        found = opened.client.monitors.show(endpoint, name)
    except NotFound:
        return "", {}
    return found.etag, dict(found.spec)


def _whole(found: Monitor) -> list[str]:
    told = facts(
        {
            "watches": found.fares.watches,
            "fares": f"{found.fares.word}. {printable(found.fares.says)}" if found.fares.says else found.fares.word,
            "next look": found.fares.next_due,
            "findings": f"{found.fares.findings} ({found.fares.severity})" if found.fares.findings else "none",
            "told": json.dumps(dict(found.spec)),
            "set by": found.set_by,
        }.items()
    )
    runs = [row for one in found.latest_runs[:_SHOWN_RUNS] for row in _rows(one)]
    return [f"{found.name} of {found.endpoint}", *told, *(table(("window up to", "state", "rows", ""), runs) if runs else [])]


def _rows(one: MonitorRun) -> Iterable[tuple[Any, ...]]:
    yield one.slot, one.state, one.rows, printable(one.why)
    for each in one.found:
        yield "", each.severity, "", printable(each.says)
