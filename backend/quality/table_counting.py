"""Counts of predictions and outcomes in tables of one's own: the engine that holds the rows counts, in the bins of `counting`.

One SELECT for all requests and one more for each segmentation; rows stay where they are. Probabilities and numbers only: the
probabilities of several classes would be JSON, which each engine reads in its own way.
Source: https://ibis-project.org/reference/expression-numeric (`ifelse`, `ln`), .../expression-tables (`aggregate`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow as pa

from backend.inference_log.sources import expressions
from backend.inference_log.sources.port import OutcomeSource, Span
from backend.quality import counts, grid
from backend.quality.counting import SMALLEST
from backend.quality.counts import Counts
from backend.quality.tasks import (
    MISSING,
    NOT_A_NUMBER,
    OTHER,
    Bands,
    Binary,
    Categories,
    Classes,
    Regression,
    Segmentation,
    checked,
)

_BY = ("hour", "version", "arm", "segment", "bin")
_MICROSECONDS = timedelta(microseconds=1)
_WHERE: Mapping[str, tuple[str, str | None]] = {
    "pending": ("pending", None),
    "valueless": ("valueless", None),
    "wrong": ("wrong", None),
    "labelled": ("known", None),
    "positives": ("known", "is_positive"),
    "called": ("usable", "is_called"),
    "called_labelled": ("is_called_known", None),
    "called_positives": ("is_called_known", "is_positive"),
}
"""Which rows each count counts."""
_SUMS: Mapping[str, tuple[str, bool]] = {
    "score": ("score", False),
    "score2": ("score_squared", False),
    "log_yes": ("log_yes", False),
    "log_no": ("log_no", False),
    "score_labelled": ("score", True),
    "score2_labelled": ("score_squared", True),
    "logit_labelled": ("logit", True),
    "log_loss": ("log_loss", True),
    "log_loss2": ("log_loss_squared", True),
    "square": ("square", True),
    "square2": ("square_squared", True),
    "error": ("error", False),
    "absolute": ("place", False),
    "outcome": ("given", True),
}
"""Which column each sum sums, and whether only over requests whose outcome is known."""


def count(source: OutcomeSource, task: Binary | Regression, segmentations: Sequence[Segmentation], span: Span) -> Counts:
    """What `counting.count` makes of rows, as an engine counts them. ExternalFailure where it is silent."""
    whole: tuple[Segmentation | None, ...] = (None, *checked(segmentations))
    return Counts(task, pa.concat_tables([_table(task, one, _asked(source, task, one, span)) for one in whole]))


def refusal(task: object) -> str:
    """Why a task is not counted over there; "" where it is."""
    if isinstance(task, Classes):
        return "Of several classes nothing is counted in tables of one's own: their probabilities are not one number."
    return ""


def _asked(
    source: OutcomeSource, task: Binary | Regression, segmentation: Segmentation | None, span: Span
) -> list[tuple[Any, ...]]:
    features = {} if segmentation is None else {"_feature": segmentation.feature}
    names = counts.measures(task)
    return source.judged(task.outcome, features, span, partial(_grouped, task, segmentation), ("segment", "bin", *names))


def _table(task: Binary | Regression, segmentation: Segmentation | None, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    names, feature = counts.measures(task), segmentation.feature if segmentation is not None else ""
    told = [
        (hour, version, arm, feature, segment or "", "", float(bin_), *map(_plain, names, measures))
        for hour, arm, version, segment, bin_, *measures in rows
    ]
    schema = counts.schema(task)
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in told], schema=schema)


def _plain(name: str, value: Any) -> float | int | None:
    """Engines tell sums as exact decimals, or none of nothing."""
    if name in counts.WHOLE:
        return int(value or 0)
    return None if value is None else float(value)


# -- expressions


def _grouped(task: Binary | Regression, segmentation: Segmentation | None, table: Any) -> Any:
    import ibis

    stated = _stated(task, table)
    scored = _errors(stated) if isinstance(task, Regression) else _losses(task, stated)
    edges = _edges(task, segmentation is not None)
    binned = scored.mutate(
        bin=scored.code.coalesce(_edge(scored.place, edges)),
        segment=ibis.literal("") if segmentation is None else _segment(scored._feature, segmentation),
    )
    figures = {name: _measure(task, binned, name) for name in counts.measures(task)}
    return binned.group_by(list(_BY)).aggregate(**figures)


def _edges(task: Binary | Regression, is_segment: bool) -> Sequence[float]:
    if isinstance(task, Regression):
        return grid.ERRORS_OF_SEGMENTS if is_segment else grid.ERRORS
    return grid.SCORES_OF_SEGMENTS if is_segment else grid.SCORES


def _stated(task: Binary | Regression, table: Any) -> Any:
    """What is known of each outcome."""
    late = expressions.false()
    if task.horizon is not None:
        late = table.known_at > table.event_time + _microseconds(task.horizon // _MICROSECONDS)
    given = table.given
    valid = _is_finite(given)
    if isinstance(task, Binary):
        valid = valid & ((given == 0.0) | (given == 1.0))
    pending = (table.known_at.isnull() | late).fill_null(True)
    known = ~pending & given.notnull() & valid.fill_null(False)
    return table.mutate(
        pending=pending, valueless=~pending & given.isnull(), known=known, wrong=~pending & given.notnull() & ~known
    )


def _losses(task: Binary, table: Any) -> Any:
    import ibis

    rating = table.prediction
    outside = (rating < 0.0) | (rating > 1.0)
    table = _coded(table, (outside.fill_null(False), counts.OUTSIDE))
    table = table.mutate(score=table.usable.ifelse(table.prediction, None))
    table = table.mutate(
        log_yes=-ibis.greatest(table.score, SMALLEST).ln(),
        log_no=-ibis.greatest(1.0 - table.score, SMALLEST).ln(),
        is_positive=(table.given == 1.0).fill_null(False),
        is_called=(table.score >= task.threshold).fill_null(False),
        place=table.score,
    )
    far = table.is_positive.ifelse(1.0 - table.score, table.score)
    table = table.mutate(
        log_loss=table.is_positive.ifelse(table.log_yes, table.log_no),
        square=far * far,
        logit=table.log_no - table.log_yes,
        score_squared=table.score * table.score,
        is_called_known=table.usable & table.is_called & table.known,
    )
    return table.mutate(log_loss_squared=table.log_loss * table.log_loss, square_squared=table.square * table.square)


def _errors(table: Any) -> Any:
    table = _coded(table)
    table = table.mutate(score=table.usable.ifelse(table.prediction, None))
    table = table.mutate(error=(table.usable & table.known).ifelse(table.score - table.given, None))
    table = table.mutate(place=table.error.abs(), square=table.error * table.error)
    return table.mutate(square_squared=table.square * table.square, place=table.usable.ifelse(table.place.fill_null(0.0), None))


def _coded(table: Any, *more: tuple[Any, int]) -> Any:
    """Why a prediction is not usable, as a bin of its own; null where it is."""
    import ibis

    rating = table.prediction
    branches = [
        (~table.predicted, counts.NO_PREDICTION),
        (rating.isnull(), counts.MALFORMED),
        (~_is_finite(rating), counts.NOT_FINITE),
        *more,
    ]
    code = ibis.cases(*((told, float(place)) for told, place in branches), else_=ibis.null().cast("float64"))
    table = table.mutate(code=code)
    return table.mutate(usable=table.code.isnull())


def _measure(task: Binary | Regression, table: Any, name: str) -> Any:
    numbers = isinstance(task, Regression)
    match name:
        case "requests":
            return table.count()
        case "low" | "high" if numbers:
            size = table.known.ifelse(table.error.abs(), None)
            return size.min() if name == "low" else size.max()
        case "low" | "lowest":
            return table.score.min()
        case "high" | "highest":
            return table.score.max()
        case "square" | "square2" if numbers:
            return table[{"square": "square", "square2": "square_squared"}[name]].sum().fill_null(0.0)
    if name in _WHERE:
        first, second = _WHERE[name]
        told = table[first] if second is None else table[first] & table[second]
        return told.ifelse(1, 0).sum().fill_null(0)
    column, only_known = _SUMS[name]
    value = table.error.abs() if name == "absolute" else table[column]
    return (table.known.ifelse(value, None) if only_known else value).sum().fill_null(0.0)


def _segment(value: Any, one: Segmentation) -> Any:
    import ibis

    if isinstance(one, Categories):
        text = value.cast("string")
        named = ((text == each, f"= {each}") for each in one.values)
        return ibis.cases((text.isnull(), MISSING), *named, else_=OTHER)
    assert isinstance(one, Bands)  # noqa: S101 - the only other kind
    number = value.cast("float64")
    below = ((number < edge, name) for edge, name in zip(one.edges, one.names, strict=False))
    return ibis.cases((number.isnull(), MISSING), (number.isnan(), NOT_A_NUMBER), *below, else_=one.names[-1])


def _edge(value: Any, edges: Sequence[float]) -> Any:
    """The greatest edge that is not above a value; halved again and again, so that an engine compares nine times with 400."""
    import ibis

    def among(low: int, high: int) -> Any:
        if low == high:
            return ibis.literal(float(edges[low]), "float64")
        middle = (low + high + 1) // 2
        return (value >= float(edges[middle])).ifelse(among(middle, high), among(low, middle - 1))

    return value.isnull().ifelse(ibis.null().cast("float64"), among(0, len(edges) - 1))


def _is_finite(value: Any) -> Any:
    return ~(value.isnan() | value.isin([math.inf, -math.inf]))


def _microseconds(count: int) -> Any:
    import ibis

    return ibis.interval(microseconds=count)
