"""`countersign inference-log`: feed inference logs and read them, say what they keep, and take a unit out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from backend.cli.output import emit, guarded, json_option, table
from backend.cli.session import Session, acting
from backend.client.results import LogRules
from backend.core.errors import Refusal

_TIMES = click.DateTime(["%Y-%m-%dT%H:%M:%S%z"])
_ENDPOINT = click.argument("endpoint")
_BATCH = 2_000
_LONGEST_LINE = 1 << 20
_SHOWN = 1_000
_ERASED_WHEN = (
    "The worker takes its rows out within minutes; it is done when the files that held them are gone too, an hour after that."
)


@click.group("inference-log")
def inference_log() -> None:
    """What endpoints were asked and answered: feeding it, reading it, what is kept of it, and erasing a unit from it."""


@inference_log.command()
@acting
@_ENDPOINT
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--outcomes", is_flag=True, help="The rows are outcomes.")
@json_option
@guarded
def feed(opened: Session, endpoint: str, file: Path, outcomes: bool, as_json: bool) -> None:
    """Hand the rows of FILE over, one JSON object a line (`-`: standard input). Sending them again changes nothing.

    A malformed row or line is left out, counted and told by the number of its line, and the rest is sent.
    """
    done = _Fed("outcomes" if outcomes else "requests")
    lines = _lines_of(file)
    while batch := list(islice(lines, _BATCH)):
        done.send(opened, endpoint, batch)
    emit(as_json, done.told(), done.lines())


@dataclass
class _Fed:
    """What became of a file's lines so far."""

    table: str
    taken: int = 0
    left_out: int = 0
    sampled_out: int = 0
    erased: int = 0
    rejected: int = 0
    values_left_out: int = 0
    rejections: list[dict[str, Any]] = field(default_factory=list)

    def send(self, opened: Session, endpoint: str, batch: list[tuple[int, Any]]) -> None:
        rows = [(number, row) for number, row in batch if row is not None]
        for number in (number for number, row in batch if row is None):
            self._reject(number, "the line is not a JSON object of at most 1 MiB")
        if rows:
            found = opened.client.inference_logs.feed(endpoint, **{self.table: [row for _, row in rows]})
            self.taken += found.requests + found.outcomes
            for name in ("left_out", "sampled_out", "erased", "values_left_out"):
                setattr(self, name, getattr(self, name) + getattr(found, name))
            self.rejected += found.rejected - len(found.rejections)
            for one in found.rejections:
                self._reject(rows[one.index][0], one.reason)

    def _reject(self, line: int, reason: str) -> None:
        self.rejected += 1
        if len(self.rejections) < _SHOWN:
            self.rejections.append({"line": line, "reason": reason})

    def told(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        why = f" ({self.sampled_out} by sampling, {self.erased} of units that were erased)" if self.left_out else ""
        found = [f"{self.taken} row(s) taken, {self.left_out} left out by the rules{why}, {self.rejected} malformed."]
        if self.values_left_out:
            found.append(f"{self.values_left_out} value(s) of those taken left out: the endpoint has too many different names.")
        found += [f"  line {one['line']}: {one['reason']}" for one in self.rejections]
        more = self.rejected - len(self.rejections)
        return [*found, f"  and {more} more."] if more else found


@inference_log.command("read")
@acting
@_ENDPOINT
@click.option("--from", "start", type=_TIMES, required=True)
@click.option("--to", "end", type=_TIMES, required=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
@guarded
def read_rows(opened: Session, endpoint: str, start: datetime, end: datetime, limit: int, as_json: bool) -> None:
    """Show requests row by row. That takes a grant of the data set `requests/ENDPOINT`, and is in the ledger."""
    found = opened.client.data_sets.requests(endpoint, start, end, limit=limit)
    rows = [(one["event_time"], one["request_id"], one["version"], one["status"], one["prediction"]) for one in found]
    emit(
        as_json, {"endpoint": endpoint, "requests": found}, table(("time", "request", "version", "status", "prediction"), rows)
    )


@inference_log.command()
@acting
@_ENDPOINT
@json_option
@guarded
def rules(opened: Session, endpoint: str, as_json: bool) -> None:
    """Show what is kept of an endpoint's requests."""
    found = opened.client.inference_logs.rules(endpoint)
    emit(as_json, {"rules": found}, _lines(found))


@inference_log.command("set-rules")
@acting
@_ENDPOINT
@click.option("--sample-every", type=click.IntRange(1), help="Keep one unit in that many, whole; failures always.")
@click.option(
    "--redact", multiple=True, metavar="COLUMN=HOW", help="`feature:age=drop`, `unit=hash`, `feature:zip=truncate:3`."
)
@click.option("--no-redaction", is_flag=True, help="Redact nothing.")
@click.option("--keep", multiple=True, metavar="TABLE=DAYS", help="`requests=90`; `requests=always` for good.")
@click.option("--unit-header", help="The request's header that names the unit, for what Envoy and KServe send.")
@json_option
@guarded
def set_rules(
    opened: Session,
    endpoint: str,
    sample_every: int | None,
    redact: tuple[str, ...],
    no_redaction: bool,
    keep: tuple[str, ...],
    unit_header: str | None,
    as_json: bool,
) -> None:
    """Say what is kept of an endpoint's requests from now on; what is not named stays. --redact says all of the redactions."""
    now = opened.client.inference_logs.rules(endpoint)
    before = [{"column": one.column, "how": one.how, "length": one.length} for one in now.redactions]
    made = opened.client.inference_logs.set_rules(
        endpoint,
        if_match=now.etag,
        sample_every=sample_every or now.sample_every,
        redactions=[_redaction(one) for one in redact] if redact or no_redaction else before,
        kept_days=_kept(dict(now.kept_days), keep),
        unit_header=unit_header or now.unit_header,
    )
    emit(as_json, {"rules": made}, _lines(made))


@inference_log.command()
@acting
@_ENDPOINT
@click.option(
    "--unit-from", type=click.File("r"), default="-", help="File with the unit's id on one line.  [default: standard input]"
)
@click.option("--later", is_flag=True, help="Leave out what comes of it later, too.")
@click.option("--reason", required=True)
@json_option
@guarded
def erase(opened: Session, endpoint: str, unit_from: Any, later: bool, reason: str, as_json: bool) -> None:
    """Take every row of a unit out of an endpoint's log. Its id is read, and no argument: other processes can see those."""
    unit = unit_from.readline().rstrip("\r\n")
    made = opened.client.inference_logs.erase(endpoint, unit, reason=reason, later=later)
    emit(as_json, {"erasure": made}, [f"{made.id} is asked for. {_ERASED_WHEN}"])


@inference_log.command()
@acting
@_ENDPOINT
@json_option
@guarded
def erasures(opened: Session, endpoint: str, as_json: bool) -> None:
    """List units that were, or are to be, erased, by their pseudonyms."""
    found = opened.client.inference_logs.erasures(endpoint)
    rows = [(one.id, one.state, one.unit, one.removed, one.later, one.asked_at, one.done_at or "") for one in found]
    emit(as_json, {"erasures": found}, table(("erasure", "state", "unit", "rows", "later too", "asked", "done"), rows))


def _lines_of(file: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Each line that holds something, by its number from 1; None for one that is no object."""
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as stream:
            number = 0
            while line := stream.readline(_LONGEST_LINE + 1):
                number += 1
                is_whole = len(line) <= _LONGEST_LINE
                while not line.endswith(b"\n") and (more := stream.readline(_LONGEST_LINE)):
                    line = more
                if not is_whole:
                    yield number, None
                elif line.strip():
                    yield number, _object(line)
    except OSError as error:
        raise Refusal(f"{file} cannot be read: {error.strerror}.", "Name a file that is there.", code="no-file") from error


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _redaction(text: str) -> dict[str, Any]:
    column, _, how = text.rpartition("=")
    how, _, length = how.partition(":")
    return {"column": column, "how": how, "length": int(length) if length.isdigit() and len(length) < 6 else 0}


def _kept(days: dict[str, int], told: tuple[str, ...]) -> dict[str, int]:
    for one in told:
        name, _, text = one.partition("=")
        if text == "always":
            days.pop(name, None)
        elif text.isdigit() and len(text) < 9:
            days[name] = int(text)
        else:
            raise Refusal(
                f"{one[:80]!r} is no retention.", "Write it like `requests=90` or `requests=always`.", code="bad-days"
            )
    return days


def _lines(found: LogRules) -> list[str]:
    every = (
        "Every unit is kept." if found.sample_every == 1 else f"One unit in {found.sample_every} is kept; failures always are."
    )
    kept = [f"{name} for {days} day(s)" for name, days in sorted(found.kept_days.items())]
    lengths = {one.column: f" to {one.length} characters" if one.how == "truncate" else "" for one in found.redactions}
    return [
        every,
        *(f"{one.column}: {one.how}{lengths[one.column]}" for one in found.redactions),
        f"Kept: {', '.join(kept)}." if kept else "Everything is kept for good.",
        f"Units are named by the header {found.unit_header}.",
    ]
