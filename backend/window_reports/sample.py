"""Draws the rows that a report shows, from the inference log into files: some of each side, evenly, always the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from backend.core.errors import Refusal
from backend.drift.findings import counted
from backend.drift.values import quoted
from backend.inference_log.columns import Column
from backend.inference_log.reading import Reading
from backend.inference_log.service import InferenceLog
from backend.window_reports.rules import MOST_FEATURES, NEED_OUTCOMES, Asked, Side
from backend.window_reports.wire import CURRENT, REFERENCE, DrawnColumn

LONGEST_TEXT = 200
_TEXTS = "prediction_text"
_NAMED = 5
"""How many names a note tells."""
_ROWS = """
WITH drawn AS (SELECT request_id FROM requests{where} ORDER BY hash(request_id || ?), request_id LIMIT ?)
SELECT {columns} FROM joined WHERE request_id IN (SELECT request_id FROM drawn) ORDER BY event_time, request_id
"""
_COUNT = "SELECT count(*) AS rows, count(prediction) AS numbers, count(prediction_json) AS others FROM requests{where}"
_OF_ARM = " WHERE assigned_arm = ?"


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Args:
        columns: of both files.
        rows: by side: how many rows there are, and how many of them were drawn.
        notes: what was left out.
    """

    columns: tuple[DrawnColumn, ...]
    rows: dict[str, dict[str, int]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Picked:
    """One column, and the log's own where it is a feature."""

    drawn: DrawnColumn
    logged: Column | None = None


@dataclass(frozen=True)
class _Side:
    """One side as it is read."""

    name: Literal["current", "reference"]
    side: Side
    reading: Reading
    rows: int
    numbers: int
    others: int


def draw(log: InferenceLog, endpoint: str, asked: Asked, folder: Path, *, seed: str) -> Drawn:
    """Writes both samples into a folder.

    Args:
        seed: says which rows are drawn of too many, so that nobody can know it from the ids of requests.
    Raises Refusal `empty-window` and `no-such-outcome`; ExternalFailure where the log cannot be read.
    """
    one, other = asked.current, asked.compared_with
    with _read(log, endpoint, one) as current, _read(log, endpoint, other) as reference:
        sides = (_looked("current", one, current), _looked("reference", other, reference))
        for side in sides:
            _refuse_empty(side)
        picked, notes = _columns(asked, sides)
        files = {"current": CURRENT, "reference": REFERENCE}
        drawn: dict[str, int] = {
            each.name: _written(each, asked.rows, picked, folder / files[each.name], seed) for each in sides
        }
    rows: dict[str, dict[str, int]] = {each.name: {"rows": each.rows, "drawn": drawn[each.name]} for each in sides}
    return Drawn(tuple(one.drawn for one in picked), rows, tuple(notes))


def _read(log: InferenceLog, endpoint: str, side: Side) -> Reading:
    return log.read(endpoint, None if side.version is None else [side.version], side.start, side.end)


def _looked(name: Literal["current", "reference"], side: Side, reading: Reading) -> _Side:
    where, given = _where(side)
    (found,) = reading.query(_COUNT.format(where=where), given).to_pylist()
    return _Side(name, side, reading, found["rows"], found["numbers"], found["others"])


def _where(side: Side) -> tuple[str, list[object]]:
    return (_OF_ARM, [side.arm]) if side.arm is not None else ("", [])


def _refuse_empty(side: _Side) -> None:
    if not side.rows:
        which = "window" if side.name == "current" else "reference"
        raise Refusal(
            f"Nothing was logged in the {which}.", "Take another time, version or arm, then ask again.", code="empty-window"
        )


def _columns(asked: Asked, sides: Sequence[_Side]) -> tuple[list[_Picked], list[str]]:
    notes: list[str] = []
    features = _features(asked, sides, notes)
    several = Counter(one.name for one in features)
    found = [_feature(place, one, several[one.name] > 1) for place, one in enumerate(features)]
    if any(one.numbers for one in sides):
        found.append(_Picked(DrawnColumn(place="prediction", name="prediction", role="prediction", kind="number")))
    elif any(one.others for one in sides):
        found.append(_Picked(DrawnColumn(place=_TEXTS, name="prediction", role="prediction", kind="text")))
    if set(asked.parts) & NEED_OUTCOMES and asked.outcome is not None:
        _refuse_unknown(asked.outcome, sides)
        found.append(_Picked(DrawnColumn(place="outcome", name=asked.outcome, role="outcome", kind="number")))
    return found, notes


def _feature(place: int, logged: Column, is_several: bool) -> _Picked:
    """Where values of several kinds were sent, the name tells the kind."""
    name = f"{logged.name} ({logged.kind})" if is_several else logged.name
    kind: Literal["number", "text"] = "number" if logged.kind == "number" else "text"
    return _Picked(DrawnColumn(place=f"c{place}", name=name, role="feature", kind=kind), logged)


def _features(asked: Asked, sides: Sequence[_Side], notes: list[str]) -> list[Column]:
    """Those that are drawn, in the order of their names; what is left out is noted."""
    there = sorted({one for side in sides for one in side.reading.features}, key=lambda one: (one.name, one.kind))
    wanted = [one for one in there if asked.features is None or one.name in asked.features]
    if missing := sorted(set(asked.features or ()) - {one.name for one in wanted}):
        notes.append(f"Nothing was logged of {_names(missing)}.")
    if objects := sorted({one.name for one in wanted if one.kind == "json"}):
        notes.append(f"Lists and objects are not shown: {_names(objects)}.")
    plain = [one for one in wanted if one.kind != "json"]
    if left := plain[MOST_FEATURES:]:
        notes.append(
            f"Of {counted(len(plain), 'feature', 'features')}, the first {MOST_FEATURES} by name are shown; "
            f"name those that you want to see. Left out: {_names([one.name for one in left])}."
        )
    return plain[:MOST_FEATURES]


def _names(names: Sequence[str]) -> str:
    told = ", ".join(map(quoted, names[:_NAMED]))
    return told if len(names) <= _NAMED else f"{told} and {len(names) - _NAMED} more"


def _refuse_unknown(outcome: str, sides: Sequence[_Side]) -> None:
    known = sorted({one.name for side in sides for one in side.reading.outcomes})
    if outcome not in known:
        raise Refusal(
            f"No outcome called {quoted(outcome)} is known in these windows.",
            f"There are: {_names(known)}." if known else "Wait until some are known, or leave that part out.",
            code="no-such-outcome",
        )


def _written(side: _Side, most: int, columns: Sequence[_Picked], path: Path, seed: str) -> int:
    where, given = _where(side.side)
    told = ", ".join(f"{_expression(side.reading, one)} AS {one.drawn.place}" for one in columns) or "1 AS nothing"
    table = side.reading.query(_ROWS.format(where=where, columns=told), [*given, seed, most])
    if _TEXTS in table.column_names:
        table = table.set_column(table.column_names.index(_TEXTS), _TEXTS, _plain(table[_TEXTS]))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return int(table.num_rows)


def _expression(reading: Reading, picked: _Picked) -> str:
    """What is read for a column; names of the log are quoted by the log itself."""
    if picked.logged is not None:
        found = reading.column(picked.logged.name, picked.logged.kind)
        return found if picked.drawn.kind == "number" else f"left(CAST({found} AS VARCHAR), {LONGEST_TEXT})"
    if picked.drawn.role == "outcome":
        return reading.column(picked.drawn.name, "outcome")
    return "prediction" if picked.drawn.kind == "number" else f"left(prediction_json, {LONGEST_TEXT})"


def _plain(texts: pa.ChunkedArray) -> pa.Array:
    """Predictions that are a text or a truth value, as themselves; lists and objects are none."""
    return pa.array([_plainly(one) for one in texts.to_pylist()], pa.string())


def _plainly(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, str) else str(found).lower() if isinstance(found, bool) else None
