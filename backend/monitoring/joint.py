"""Rows as a whole: whether a sample of a window can be told from a sample of the requests that it is compared with.

Counts of single columns cannot show it, so that this alone reads rows, after the look at columns and outside any unit. They are
drawn by a hash that nobody who sends requests knows, go into the folder of a confined process (`drift.domain`) and are gone
with it. Training data are kept as aggregates only: there are no rows of them, and `rules` refuses that reference.

Days differ as a whole. So before anything is called news, it is asked how well windows of the reference itself are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.core.errors import CountersignError, Refusal
from backend.core.work import LeaseLost
from backend.drift.domain import Domain, told_apart
from backend.drift.references import SEASONS, Window
from backend.drift.values import quoted
from backend.inference_log.columns import Column, columns_among
from backend.inference_log.reading import Reading
from backend.inference_log.service import InferenceLog
from backend.monitoring.features import Given
from backend.monitoring.looks import Found, Verdict
from backend.monitoring.rules import HOUR, JointSpec, MonitorSpec, is_among, severity_of

KIND = "joint"
"""Of what is found, after the monitor's kind; and where a run's figures have it."""
MOST_COLUMNS = 100
LONGEST_TEXT = 200
OWN_WINDOWS = 3
"""How many windows of a period are told from the rest of it."""
_FOLD = 4
"""So many times as long as a window a period has to be."""
_SAMPLE = """
WITH drawn AS (SELECT request_id FROM requests{where} ORDER BY hash(request_id || ?), request_id LIMIT ?)
SELECT {columns} FROM requests WHERE request_id IN (SELECT request_id FROM drawn) ORDER BY request_id
"""


@dataclass(frozen=True)
class Side:
    """Which requests are drawn: of these hours but for those `without`, of these versions (None: all) and this arm."""

    window: Window
    versions: tuple[int | None, ...] | None
    arm: str | None = None
    without: Window | None = None


@dataclass(frozen=True)
class Drawing:
    """Where rows come from, and how long the process may go on (see `drift.domain.told_apart`)."""

    log: InferenceLog
    endpoint: str
    seed: str
    tick: Callable[[], bool] = field(default=lambda: True)
    scratch: Path | None = None


def look(drawing: Drawing, spec: MonitorSpec, given: Given, verdict: Verdict) -> Verdict:
    """The verdict with what was seen of rows as a whole. Where they cannot be judged, that is said, and the rest stands.

    LeaseLost of `tick` goes on.
    """
    if spec.joint is None or verdict.why or given.against.window is None:
        return verdict
    current, reference = sides(spec, given)
    try:
        found = _told(drawing, spec, current, reference)
        usual = _usual(drawing, spec, given, reference) if found.low > spec.joint.above else None
    except Refusal as refusal:
        return _unjudged(spec, verdict, str(refusal), "notice")
    except LeaseLost:
        raise
    except CountersignError as failure:
        return _unjudged(spec, verdict, f"{failure}.", "warning")
    return _judged(spec, given, verdict, found, usual)


def sides(spec: MonitorSpec, given: Given) -> tuple[Side, Side]:
    """The window's requests, and those that it is compared with: as their counts are chosen (`features`)."""
    assert given.against.window is not None  # noqa: S101 - asked before
    own = (given.live.version, *((None,) if given.alone else ()))
    current = Side(given.window, own, spec.arm)
    if given.against.concurrent:
        return current, Side(given.against.window, (given.against.version,))
    answered = any(one.rows and one.version in {each or 0 for each in own} for one in given.reference)
    return current, Side(given.against.window, own, spec.arm) if answered else Side(given.against.window, None)


def own_windows(spec: MonitorSpec, given: Given, reference: Side) -> Iterator[tuple[Side, Side]]:
    """Windows of the reference, each with what it is told from: the season's with the one before it, a period's with its rest.
    A champion at the same time shares what days do, and needs none."""
    if spec.reference.kind == "season":
        yield reference, replace(reference, window=reference.window.earlier(SEASONS[spec.reference.season]))
    elif spec.reference.kind == "period" and reference.window.hours >= _FOLD * given.window.hours:
        step = (reference.window.hours - given.window.hours) // (OWN_WINDOWS - 1)
        for number in range(OWN_WINDOWS):
            start = reference.window.start + number * step * HOUR
            one = Window(start, start + given.window.hours * HOUR)
            yield replace(reference, window=one), replace(reference, without=one)


def _usual(drawing: Drawing, spec: MonitorSpec, given: Given, reference: Side) -> float | None:
    """How well windows of the reference are told apart at most; None where there are no two of enough rows."""
    found = list[float]()
    for current, other in own_windows(spec, given, reference):
        try:
            found.append(_told(drawing, spec, current, other).auc)
        except Refusal:
            continue
    return max(found, default=None)


def _told(drawing: Drawing, spec: MonitorSpec, current: Side, reference: Side) -> Domain:
    assert spec.joint is not None  # noqa: S101 - asked before
    tables = [_drawn(drawing, spec, spec.joint, one) for one in (reference, current)]
    there = [one for one in columns_among(tables[0].column_names) if one.column in tables[1].column_names]
    there = [one for one in there if all(table[one.column].null_count < table.num_rows for table in tables)]
    told = [one.column for one in there][:MOST_COLUMNS]
    found = told_apart(
        *(one.select(told) for one in tables), sample=spec.joint.rows, tick=drawing.tick, scratch=drawing.scratch
    )
    plain = {one.column: one.name for one in there}
    return replace(found, columns=tuple((plain[name], lost) for name, lost in found.columns))


def _drawn(drawing: Drawing, spec: MonitorSpec, joint: JointSpec, side: Side) -> pa.Table:
    drawing.tick()
    with drawing.log.read(drawing.endpoint, side.versions, side.window.start, side.window.end) as reading:
        columns = [one for one in reading.features if one.kind != "json" and is_among(spec, one.name)]
        told = ", ".join(f'{_expression(reading, one)} AS "{one.column}"' for one in columns) or "1 AS nothing"
        clauses, values = _where(side)
        where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
        return reading.query(_SAMPLE.format(where=where, columns=told), [*values, drawing.seed, joint.rows])


def _where(side: Side) -> tuple[list[str], list[object]]:
    clauses, values = list[str](), list[object]()
    if side.versions is not None:
        clauses.append("coalesce(version, 0) IN (SELECT unnest(?::INTEGER[]))")
        values.append([one or 0 for one in side.versions])
    if side.arm is not None:
        clauses.append("assigned_arm = ?")
        values.append(side.arm)
    if side.without is not None:
        clauses.append("NOT (event_time >= ? AND event_time < ?)")
        values += [side.without.start, side.without.end]
    return clauses, values


def _expression(reading: Reading, one: Column) -> str:
    """What is read for a feature; names are quoted by the log itself."""
    column = reading.column(one.name, one.kind)
    return column if one.kind == "number" else f"left(CAST({column} AS VARCHAR), {LONGEST_TEXT})"


def _judged(spec: MonitorSpec, given: Given, verdict: Verdict, found: Domain, usual: float | None) -> Verdict:
    assert spec.joint is not None  # noqa: S101 - asked before
    news = found.finding_above(spec.joint.above, usual)
    figures = {
        "auc": found.auc,
        "low": found.low,
        "high": found.high,
        "threshold": max(spec.joint.above, usual or 0.0),
        "usual": usual,
        "rows": found.current,
        "reference_rows": found.reference,
        "columns": [[name, lost] for name, lost in found.columns],
        "compared_with": given.against.words,
        "label": found.label,
    }
    more = [_found(spec, verdict, severity_of(news.severity, spec), news.words, figures)] if news is not None else []
    return replace(verdict, found=(*verdict.found, *more), figures={**verdict.figures, KIND: figures})


def _found(spec: MonitorSpec, verdict: Verdict, severity: str, says: str, figures: dict[str, Any]) -> Found:
    facts = {name: figures[name] for name in ("auc", "low", "high", "threshold", "usual", "rows", "reference_rows")}
    facts["told_apart_by"] = ", ".join(quoted(name) for name, _ in figures["columns"])
    return Found(f"{spec.kind}.{KIND}", severity, "", "", verdict.version, says, facts)


def _unjudged(spec: MonitorSpec, verdict: Verdict, why: str, severity: str) -> Verdict:
    """No verdict on rows as a whole: told, and a finding of before stays as it is."""
    says = f"Rows as a whole were not judged. {why}"
    called = severity if severity == "notice" and not spec.notices else severity_of(severity, spec)
    told = Found(f"{spec.kind}.{KIND}-unjudged", called, "", "", verdict.version, says)
    return replace(
        verdict,
        found=(*verdict.found, told),
        figures={**verdict.figures, KIND: {"why": says}},
        unjudged=verdict.unjudged | {f"{spec.kind}.{KIND}"},
    )
