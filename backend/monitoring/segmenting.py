"""Segments of features: requests are counted apart by the values of one feature, each segment as hours under a name of its own.

So a segment's hours add up, come late and go as any others do (`hours.py`), and what is not asked for costs nothing.
"""

from __future__ import annotations

from backend.core.canonical import digest
from backend.inference_log.reading import Reading
from backend.inference_log.sources.port import Within
from backend.quality.tasks import MISSING, NOT_A_NUMBER, OTHER, Bands, Categories, Segmentation

MOST_OF_FEATURES = 1
"""Features by whose values one monitor has features counted apart: each costs as much again as counting all of them."""
Condition = tuple[str, tuple[object, ...]]


def names(one: Segmentation) -> tuple[str, ...]:
    """As `quality.counting` calls the segments."""
    if isinstance(one, Categories):
        return (*(f"= {value}" for value in one.values), OTHER, MISSING)
    return (*one.names, MISSING, NOT_A_NUMBER)


def what_of(cells: str, one: Segmentation, name: str) -> str:
    """Under which name the hours of a segment are kept.

    Args:
        cells: the name of all requests' hours in the same cells.
    """
    told = list(one.values if isinstance(one, Categories) else one.edges)
    return f"{cells}/{digest([one.feature, told, name])}"


def condition(reading: Reading, one: Segmentation, name: str) -> Condition:
    """Which rows of a reading are of a segment: a condition, and its values in their order."""
    if isinstance(one, Categories):
        return _of_category(f"CAST({reading.column(one.feature, one.kind)} AS VARCHAR)", one, name)
    return _of_band(reading.column(one.feature, "number"), one, name)


def within(one: Segmentation, name: str) -> Within:
    """The same of rows in tables of one's own."""
    if name == MISSING:
        return Within(one.feature, missing=True)
    if isinstance(one, Categories):
        values = one.values if name == OTHER else (name.removeprefix("= "),)
        return Within(one.feature, values=values, others=name == OTHER)
    if name == NOT_A_NUMBER:
        return Within(one.feature, not_a_number=True)
    low, high = _sides(one, name)
    return Within(one.feature, low=low, high=high)


def _sides(one: Bands, name: str) -> tuple[float | None, float | None]:
    place = one.names.index(name)
    return (None, *one.edges)[place], (*one.edges, None)[place]


def _of_category(text: str, one: Categories, name: str) -> Condition:
    if name == MISSING:
        return f"{text} IS NULL", ()
    if name == OTHER:
        return f"{text} IS NOT NULL AND NOT list_contains(CAST(? AS VARCHAR[]), {text})", (list(one.values),)
    return f"{text} = ?", (name.removeprefix("= "),)


def _of_band(number: str, one: Bands, name: str) -> Condition:
    if name == MISSING:
        return f"{number} IS NULL", ()
    if name == NOT_A_NUMBER:
        return f"isnan({number})", ()
    low, high = _sides(one, name)
    sides = [(f"{number} >= ?", low), (f"{number} < ?", high)]
    told = [(text, value) for text, value in sides if value is not None]
    return " AND ".join([f"NOT isnan({number})", *(text for text, _ in told)]), tuple(value for _, value in told)
