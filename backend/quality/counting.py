"""Counts hours of the inference log: one statement reads the rows once, and only sums leave the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backend.inference_log.columns import Kind
from backend.inference_log.reading import Reading
from backend.quality import counts, grid
from backend.quality.counts import Counts
from backend.quality.tasks import (
    MISSING,
    MOST_SEGMENTS,
    NOT_A_NUMBER,
    OTHER,
    Bands,
    Binary,
    Categories,
    Classes,
    Regression,
    Segmentation,
    Task,
    checked,
)

SMALLEST = 2.0**-52
"""Probabilities count as at least this in the log loss, as in scikit-learn: certain and wrong costs 36, not infinity."""
SUM_WITHIN = 0.001
"""How far from 1 the probabilities of several classes may sum up."""

_LOGGED = """
logged AS (
    SELECT *, {segments}
        date_trunc('hour', event_time) AS hour, coalesce(served_arm, assigned_arm) AS arm, {outcome} AS given,
        CASE WHEN known_at IS NULL {late} THEN 'pending'
            WHEN {outcome} IS NULL THEN 'valueless' WHEN {valid} THEN 'labelled' ELSE 'wrong' END AS state
    FROM joined WHERE failure = ''
)"""
_BINARY = """
rated AS (
    SELECT *, '' AS label, prediction AS rating, prediction >= {threshold} AS is_called, given = 1 AS is_positive,
        CASE WHEN prediction IS NULL AND prediction_json IS NULL THEN {none} WHEN prediction IS NULL THEN {malformed}
            WHEN NOT isfinite(prediction) THEN {not_finite} WHEN prediction NOT BETWEEN 0 AND 1 THEN {outside} END AS code,
        CAST(NULL AS DOUBLE) AS own_log, CAST(NULL AS DOUBLE) AS own_square
    FROM logged
)"""
_CLASSES = """
listed AS (
    SELECT *, [{scores}] AS scores, TRY_CAST(given AS INTEGER) + 1 AS true_place FROM logged
),
chosen AS (
    SELECT *, list_max(scores) AS best, list_position(scores, list_max(scores)) AS best_place,
        CASE WHEN prediction IS NULL AND prediction_json IS NULL THEN {none} WHEN list_count(scores) < {count} THEN {malformed}
            WHEN NOT isfinite(list_sum(scores)) THEN {not_finite}
            WHEN list_min(scores) < 0 OR list_max(scores) > 1 THEN {outside}
            WHEN abs(list_sum(scores) - 1) > {within} THEN {not_one} END AS code
    FROM listed
),
rated AS (
    SELECT * EXCLUDE (place), coalesce({labels}[place], '') AS label,
        CASE WHEN place = 0 THEN best ELSE scores[place] END AS rating,
        place = 0 OR best_place = place AS is_called,
        CASE WHEN place = 0 THEN best_place = true_place ELSE place = true_place END AS is_positive,
        CASE WHEN place = 0 THEN -ln(greatest(scores[true_place], {smallest})) END AS own_log,
        CASE WHEN place = 0 THEN list_sum([{squares}]) - 2 * scores[true_place] + 1 END AS own_square
    FROM chosen, (SELECT unnest(range({count} + 1)) AS place)
)"""
_SCORED = """
scored AS (
    SELECT *, CASE WHEN code IS NULL THEN rating END AS score, code IS NULL AS usable, state = 'labelled' AS known,
        -ln(greatest(score, {smallest})) AS log_yes, -ln(greatest(1 - score, {smallest})) AS log_no,
        coalesce(own_log, CASE WHEN is_positive THEN log_yes ELSE log_no END) AS log_loss,
        coalesce(own_square, CASE WHEN is_positive THEN (1 - score) * (1 - score) ELSE score * score END) AS square,
        score AS place_in
    FROM rated
)"""
_MISSED = """
scored AS (
    SELECT *, '' AS label,
        CASE WHEN prediction IS NULL AND prediction_json IS NULL THEN {none} WHEN prediction IS NULL THEN {malformed}
            WHEN NOT isfinite(prediction) THEN {not_finite} END AS code,
        CASE WHEN code IS NULL THEN prediction END AS score, code IS NULL AS usable, state = 'labelled' AS known,
        CASE WHEN known THEN score - given END AS error, CASE WHEN usable THEN coalesce(abs(error), 0) END AS place_in
    FROM logged
)"""
_EXACT = "binned AS (SELECT *, CAST(coalesce(code, place_in) AS DOUBLE) AS fine, fine AS coarse FROM scored)"
_BINNED = """
edges AS (SELECT unnest(CAST({edges} AS DOUBLE[])) AS edge, unnest(CAST({coarser} AS DOUBLE[])) AS coarser),
binned AS (
    SELECT *, CAST(coalesce(code, edge) AS DOUBLE) AS fine, CAST(coalesce(code, coarser) AS DOUBLE) AS coarse
    FROM scored ASOF LEFT JOIN edges ON scored.place_in >= edges.edge
)"""
_COUNTED = """
SELECT hour, version, arm, {segmentation} AS segmentation, {segment} AS segment, label, {bin} AS bin, {measures}
FROM binned GROUP BY GROUPING SETS ({sets})
"""
_STATES = {
    "requests": "count(*)",
    "pending": "count(*) FILTER (state = 'pending')",
    "valueless": "count(*) FILTER (state = 'valueless')",
    "wrong": "count(*) FILTER (state = 'wrong')",
    "labelled": "count(*) FILTER (known)",
    "score": "sum(score)",
}
_SQL = {
    **_STATES,
    "score2": "sum(score * score)",
    "low": "min(score)",
    "high": "max(score)",
    "positives": "count(*) FILTER (known AND is_positive)",
    "called": "count(*) FILTER (usable AND is_called)",
    "called_labelled": "count(*) FILTER (usable AND is_called AND known)",
    "called_positives": "count(*) FILTER (usable AND is_called AND known AND is_positive)",
    "log_yes": "sum(log_yes)",
    "log_no": "sum(log_no)",
    "score_labelled": "sum(score) FILTER (known)",
    "score2_labelled": "sum(score * score) FILTER (known)",
    "logit_labelled": "sum(log_no - log_yes) FILTER (known)",
    "log_loss": "sum(log_loss) FILTER (known)",
    "log_loss2": "sum(log_loss * log_loss) FILTER (known)",
    "square": "sum(square) FILTER (known)",
    "square2": "sum(square * square) FILTER (known)",
}
_SQL_OF_ERRORS = {
    **_STATES,
    "error": "sum(error)",
    "absolute": "sum(abs(error))",
    "square": "sum(error * error)",
    "square2": "sum(error * error * error * error)",
    "outcome": "sum(given) FILTER (known)",
    "low": "min(abs(error))",
    "high": "max(abs(error))",
    "lowest": "min(score)",
    "highest": "max(score)",
}
_TOUCHED = """
SELECT DISTINCT date_trunc('hour', event_time) AS hour FROM requests
WHERE received_at >= $1 OR request_id IN (SELECT request_id FROM outcomes WHERE received_at >= $1)
ORDER BY hour
"""
_MOST_FREQUENT = """
SELECT CAST({column} AS VARCHAR) AS value FROM requests WHERE {column} IS NOT NULL
GROUP BY value ORDER BY count(*) DESC, value LIMIT {most}
"""
_QUANTILES = """
SELECT quantile_disc({column}, [{shares}]) AS edges, min({column}) AS least FROM requests WHERE isfinite({column})
"""


@dataclass
class _Statement:
    """What goes into a statement beside its text; values never become part of the text."""

    values: list[object] = field(default_factory=list)

    def holding(self, value: object) -> str:
        """The place that stands for a value."""
        self.values.append(value)
        return f"${len(self.values)}"


def count(reading: Reading, task: Task, segmentations: Sequence[Segmentation] = (), *, exact: bool = False) -> Counts:
    """Counts what a reading holds, by hour, version, arm and segment.

    A request belongs to the arm that answered it, which after a fallback is not the one it was assigned to. Requests without a
    valid answer are no predictions and left to who watches availability. Segments are kept in coarser bins.

    Args:
        exact: a bin for each score instead of the fixed ones: figures without any rounding, for windows that fit into memory.

    Raises ExternalFailure when the log cannot be read.
    """
    statement = _Statement()
    text = _statement(reading, task, checked(segmentations), statement, exact)
    table = reading.query(text, statement.values)
    return Counts(task, table.select(counts.schema(task).names).cast(counts.schema(task)))


def touched(reading: Reading, since: datetime) -> list[datetime]:
    """Hours of requests that changed since a moment: a request, an outcome or a correction was received at it or later.

    Args:
        reading: of all the hours that may still change, by a `known_by` of now.
    """
    return [row["hour"] for row in reading.query(_TOUCHED, [since]).to_pylist()]


def categories_of(reading: Reading, feature: str, most: int = 10, kind: Kind = "text") -> Categories | None:
    """Segments by a feature's most frequent values, as a reference has them; None where it has none."""
    text = _MOST_FREQUENT.format(column=reading.column(feature, kind), most=min(most, MOST_SEGMENTS))
    values = tuple(row["value"] for row in reading.query(text).to_pylist())
    return Categories(feature, values, "flag" if kind == "flag" else "text") if values else None


def bands_of(reading: Reading, feature: str, bands: int = 5) -> Bands | None:
    """Segments of about equal size in a reference, by a number; None where all its values are the same."""
    shares = ", ".join(str(place / bands) for place in range(1, min(bands, MOST_SEGMENTS)))
    text = _QUANTILES.format(column=reading.column(feature, "number"), shares=shares)
    (row,) = reading.query(text).to_pylist()
    edges = tuple(sorted({float(f"{edge:.6g}") for edge in row["edges"] or () if edge > row["least"]}))
    return Bands(feature, edges) if edges else None


def _statement(reading: Reading, task: Task, segmentations: Sequence[Segmentation], statement: _Statement, exact: bool) -> str:
    steps = [_logged(reading, task, segmentations, statement), *_scored(task, statement)]
    steps.append(_EXACT if exact else _binned(task, statement))
    return f"WITH {', '.join(steps)} {_counted(task, segmentations, statement)}"


def _binned(task: Task, statement: _Statement) -> str:
    numbers = isinstance(task, Regression)
    edges = grid.ERRORS if numbers else grid.SCORES
    coarser = grid.within(edges, grid.ERRORS_OF_SEGMENTS if numbers else grid.SCORES_OF_SEGMENTS)
    return _BINNED.format(edges=statement.holding(list(edges)), coarser=statement.holding(coarser))


def _logged(reading: Reading, task: Task, segmentations: Sequence[Segmentation], statement: _Statement) -> str:
    outcome = reading.column(task.outcome, "outcome")
    segments = (f"{_segment(reading, one, statement)} AS segment_{place}," for place, one in enumerate(segmentations))
    late = ""
    if task.horizon is not None:
        allowed = task.horizon // timedelta(microseconds=1)
        late = f"OR epoch_us(known_at) - epoch_us(event_time) > {statement.holding(allowed)}"
    return _LOGGED.format(outcome=outcome, valid=_valid(task, outcome), late=late, segments=" ".join(segments))


def _valid(task: Task, outcome: str) -> str:
    if isinstance(task, Regression):
        return f"isfinite({outcome})"
    highest = len(task.classes) - 1 if isinstance(task, Classes) else 1
    return f"isfinite({outcome}) AND {outcome} BETWEEN 0 AND {highest} AND {outcome} = floor({outcome})"


def _scored(task: Task, statement: _Statement) -> list[str]:
    codes = {
        "none": counts.NO_PREDICTION,
        "not_finite": counts.NOT_FINITE,
        "outside": counts.OUTSIDE,
        "malformed": counts.MALFORMED,
        "not_one": counts.NOT_ONE,
    }
    scored = _SCORED.format(smallest=repr(SMALLEST))
    match task:
        case Regression():
            return [_MISSED.format(**codes)]
        case Binary():
            return [_BINARY.format(**codes, threshold=statement.holding(task.threshold)), scored]
        case Classes():
            scores = ", ".join(_score(place, name, statement) for place, name in enumerate(task.classes))
            labels = statement.holding(list(task.classes))
            squares = ", ".join(f"scores[{place}] * scores[{place}]" for place in range(1, len(task.classes) + 1))
            facts = {"count": len(task.classes), "within": SUM_WITHIN, "smallest": repr(SMALLEST)}
            return [_CLASSES.format(**codes, **facts, scores=scores, squares=squares, labels=labels), scored]


def _score(place: int, name: str, statement: _Statement) -> str:
    """One class's probability: by its place in a list, or by its name in an object (a JSON pointer, RFC 6901)."""
    pointer = statement.holding("/" + name.replace("~", "~0").replace("/", "~1"))
    by_place = f"json_extract(prediction_json, '/{place}')"
    by_name = f"json_extract(prediction_json, {pointer})"
    is_list = "json_type(prediction_json) = 'ARRAY'"
    return f"TRY_CAST(CASE WHEN {is_list} THEN {by_place} ELSE {by_name} END AS DOUBLE)"


def _segment(reading: Reading, segmentation: Segmentation, statement: _Statement) -> str:
    if isinstance(segmentation, Categories):
        column = reading.column(segmentation.feature, segmentation.kind)
        text, values = f"CAST({column} AS VARCHAR)", statement.holding(list(segmentation.values))
        known = f"list_contains(CAST({values} AS VARCHAR[]), {text}) THEN '= ' || {text}"
        return f"CASE WHEN {column} IS NULL THEN '{MISSING}' WHEN {known} ELSE '{OTHER}' END"
    column = reading.column(segmentation.feature, "number")
    below = (
        f"WHEN {column} < {statement.holding(edge)} THEN '{name}'"
        for edge, name in zip(segmentation.edges, segmentation.names, strict=False)
    )
    unusable = f"WHEN {column} IS NULL THEN '{MISSING}' WHEN isnan({column}) THEN '{NOT_A_NUMBER}'"
    return f"CASE {unusable} {' '.join(below)} ELSE '{segmentation.names[-1]}' END"


def _counted(task: Task, segmentations: Sequence[Segmentation], statement: _Statement) -> str:
    measures = _SQL_OF_ERRORS if isinstance(task, Regression) else _SQL
    keys = "hour, version, arm, label"
    places = range(len(segmentations))
    names = [f"WHEN GROUPING(segment_{place}) = 0 THEN {statement.holding(segmentations[place].feature)}" for place in places]
    values = [f"WHEN GROUPING(segment_{place}) = 0 THEN segment_{place}" for place in places]
    return _COUNTED.format(
        segmentation=f"CASE {' '.join(names)} ELSE '' END" if names else "''",
        segment=f"CASE {' '.join(values)} ELSE '' END" if values else "''",
        bin="CASE WHEN GROUPING(fine) = 0 THEN fine ELSE coarse END" if names else "fine",
        measures=", ".join(f"{_filled(name, measures[name])} AS {name}" for name in counts.measures(task)),
        sets=", ".join([f"({keys}, fine)", *(f"({keys}, coarse, segment_{place})" for place in places)]),
    )


def _filled(name: str, expression: str) -> str:
    return expression if name in counts.WHOLE or not expression.startswith("sum") else f"coalesce({expression}, 0)"
