"""`countersign window-report`: Evidently's page of one window, asked for, listed and saved. It takes a grant."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from backend.cli.output import NO, emit, facts, guarded, json_option, table
from backend.cli.session import Session, acting
from backend.client.results import ReportSide, WindowReport
from backend.core.errors import Refusal

_TIMES = click.DateTime(["%Y-%m-%dT%H:%M:%S%z"])
_ENDPOINT = click.argument("endpoint")
_REPORT = click.argument("report", metavar="REPORT")
_WAIT_SECONDS = 1_800.0


@click.group("window-report")
def window_report() -> None:
    """Evidently's page of a sample of a window against a reference. Each is made by the worker, and is in the ledger."""


@window_report.command()
@acting
@_ENDPOINT
@click.option("--from", "start", type=_TIMES, required=True)
@click.option("--to", "end", type=_TIMES, required=True)
@click.option("--version", type=click.IntRange(min=1), help="Only what this version answered.")
@click.option("--arm", help="Only what this arm was assigned.")
@click.option("--reference-from", type=_TIMES, help="By default a week earlier, of the same version and arm.")
@click.option("--reference-to", type=_TIMES)
@click.option("--reference-version", type=click.IntRange(min=1))
@click.option("--reference-arm")
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(["drift", "summary", "classification", "regression"]),
    help="Several; by default drift and summary.",
)
@click.option("--rows", type=click.IntRange(100, 20_000), default=5_000, show_default=True, help="The most of each side.")
@click.option("--feature", "features", multiple=True, help="Only these; by default all, up to 100.")
@click.option("--outcome", help="The outcome's name, for classification and regression.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True)
@click.option("--wait", is_flag=True, help="Until it is made; exit code 4 where it could not be.")
@json_option
@guarded
def ask(
    opened: Session,
    endpoint: str,
    start: datetime,
    end: datetime,
    version: int | None,
    arm: str | None,
    reference_from: datetime | None,
    reference_to: datetime | None,
    reference_version: int | None,
    reference_arm: str | None,
    parts: tuple[str, ...],
    rows: int,
    features: tuple[str, ...],
    outcome: str | None,
    threshold: float,
    wait: bool,
    as_json: bool,
) -> None:
    """Have a report made of a window."""
    reports = opened.client.window_reports
    made = reports.ask(
        endpoint,
        start,
        end,
        version=version,
        arm=arm,
        reference=_span(reference_from, reference_to, told=reference_version is not None or reference_arm is not None),
        reference_version=reference_version,
        reference_arm=reference_arm,
        parts=parts or ("drift", "summary"),
        rows=rows,
        features=features or None,
        outcome=outcome,
        threshold=threshold,
    )
    if wait:
        made = reports.wait(endpoint, made.id, _WAIT_SECONDS)
    emit(as_json, {"report": made}, _lines(made))
    sys.exit(NO if made.state == "failed" else 0)


@window_report.command("list")
@acting
@_ENDPOINT
@json_option
@guarded
def list_reports(opened: Session, endpoint: str, as_json: bool) -> None:
    """List the reports of an endpoint, the newest first."""
    found = opened.client.window_reports.list(endpoint)
    rows = [(one.id, one.state, ", ".join(one.parts), one.current.start, one.current.end, one.asked_by) for one in found]
    emit(as_json, {"reports": found}, table(("report", "state", "parts", "from", "to", "asked by"), rows))


@window_report.command()
@acting
@_ENDPOINT
@_REPORT
@json_option
@guarded
def show(opened: Session, endpoint: str, report: str, as_json: bool) -> None:
    """Show how a report stands, and what was left out of it."""
    found = opened.client.window_reports.show(endpoint, report)
    emit(as_json, {"report": found}, _lines(found))


@window_report.command()
@acting
@_ENDPOINT
@_REPORT
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@guarded
def save(opened: Session, endpoint: str, report: str, file: Path, as_json: bool) -> None:
    """Save a report's page as FILE, which is not there yet. Opened from a disk it asks nobody for anything."""
    page = opened.client.window_reports.page(endpoint, report)
    try:
        with file.open("xb") as written:
            written.write(page)
    except OSError as error:
        raise Refusal(
            f"{file} cannot be written: {error.strerror}.", "Name a file that is not there.", code="no-file"
        ) from error
    emit(as_json, {"saved": str(file), "bytes": len(page)}, [f"Saved, {len(page):,} bytes."])


@window_report.command()
@acting
@_ENDPOINT
@_REPORT
@json_option
@guarded
def remove(opened: Session, endpoint: str, report: str, as_json: bool) -> None:
    """Take a report away."""
    opened.client.window_reports.remove(endpoint, report)
    emit(as_json, {"removed": report}, ["Removed."])


def _span(start: datetime | None, end: datetime | None, *, told: bool) -> tuple[datetime, datetime] | None:
    if start is not None and end is not None:
        return start, end
    if start is not None or end is not None or told:
        raise Refusal("A reference is a span of time.", "Give --reference-from and --reference-to together.", code="bad-window")
    return None


def _lines(found: WindowReport) -> list[str]:
    told = facts(
        [
            ("report", found.id),
            ("state", found.state),
            ("says", found.says),
            ("window", _side(found.current)),
            ("reference", _side(found.reference)),
            ("bytes", found.size),
        ]
    )
    return [*told, *(f"  {one}" for one in found.notes)]


def _side(side: ReportSide) -> str:
    what = [f"version {side.version}"] if side.version is not None else []
    what += [f"arm {side.arm}"] if side.arm is not None else []
    what += [f"{side.drawn} of {side.rows} requests"] if side.rows is not None else []
    return ", ".join([f"{side.start:%Y-%m-%d %H:%M} to {side.end:%Y-%m-%d %H:%M}", *what])
