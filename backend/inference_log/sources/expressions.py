"""Pieces of the statements of `ibis_tables`: expressions of Ibis, each made once. Pure.

Source: https://ibis-project.org/reference (`ibis.cases`, `ibis.window`, `Table.aggregate`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from backend.inference_log.sources.port import INFINITE, MINUS_INFINITE, MISSING, NOT_A_NUMBER, Within

KEYS = ("hour", "arm", "version")
_SINGLE = 3.4028234663852886e38


def once(table: Any, key: str) -> Any:
    """Of rows with one key the one that was received last."""
    import ibis

    window = ibis.window(group_by=key, order_by=ibis.desc("received_at"))
    ranked = table.mutate(_ranked=ibis.row_number().over(window))
    return ranked.filter(ranked._ranked == 0).drop("_ranked")


def most_frequent(table: Any, most: int) -> Any:
    """The most frequent values of each hour, arm and version."""
    import ibis

    counted = grouped(table, "value", rows=table.count())
    window = ibis.window(group_by=list(KEYS), order_by=[ibis.desc("rows"), counted.value.isnull().desc(), "value"])
    ranked = counted.mutate(ranked=ibis.row_number().over(window))
    return ranked.filter(ranked.ranked < most).drop("ranked")


def cell(value: Any, edges: Sequence[float]) -> Any:
    """The cell of a number. Halved again and again: so an engine compares nine times with 500 edges, and not 500 times."""
    import ibis

    def among(low: int, high: int) -> Any:
        if low == high:
            return ibis.literal(low, "int32")
        middle = (low + high) // 2
        return (value <= float(edges[middle])).ifelse(among(low, middle), among(middle + 1, high))

    nowhere = [
        (value.isnull(), MISSING),
        (value.isnan(), NOT_A_NUMBER),
        (value == math.inf, INFINITE),
        (value == -math.inf, MINUS_INFINITE),
    ]
    return ibis.cases(*nowhere, else_=among(0, len(edges))).cast("int32")


def is_within(value: Any, within: Within) -> Any:
    """Whether a row is of that segment; what cannot be said is not."""
    if within.missing:
        return value.isnull()
    if within.values is not None:
        text = value.cast("string")
        among = text.isin(list(within.values)) if within.values else false()
        return (value.notnull() & ~among) if within.others else among
    number = value.cast("float64")
    if within.not_a_number:
        return number.isnan()
    told = ~number.isnan()
    told = told if within.low is None else told & (number >= within.low)
    return told if within.high is None else told & (number < within.high)


def nothing(type_: str) -> Any:
    import ibis

    return ibis.null().cast(type_)


def single(value: Any) -> Any:
    """In single precision and back; what that cannot hold stays as it is."""
    return (value.abs() <= _SINGLE).ifelse(value.cast("float32").cast("float64"), value)


def false() -> Any:
    import ibis

    return ibis.literal(False)


def kind(told: Any) -> str:
    """number, text, flag or other."""
    if told.is_boolean():
        return "flag"
    if told.is_numeric():
        return "number"
    return "text" if told.is_string() else "other"


def grouped(table: Any, *more: str, **figures: Any) -> Any:
    return table.group_by([*KEYS, *more]).aggregate(**figures)


def moment(column: Any, moment: datetime) -> Any:
    """A time as the column has it: with its zone, or as UTC without."""
    import ibis

    utc = moment.astimezone(UTC)
    if column.type().timezone is None:
        return ibis.literal(utc.replace(tzinfo=None), type="timestamp")
    return ibis.literal(utc, type="timestamp('UTC')")


def order(row: Sequence[Any]) -> tuple[Any, ...]:
    """By hour, arm and version, None first, then by what follows where that can be ordered."""
    return (row[0], row[1] is not None, row[1] or "", row[2] is not None, row[2] or 0, row[3] if isinstance(row[3], int) else 0)
