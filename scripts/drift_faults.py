"""Faults that are planted into real days: on how many of the days that the reference did not see each is found, in its words.

Reference and days are those of `scripts.drift_alarms`: the first quarter of 2013 but for every fifth day. Each fault is put
into each of those days by itself, and has one window of 24 hours to be found in. Counted is also whether the finding names the
cause, and how many other columns were alarmed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from backend.demo.flights import Flights
from backend.drift.counts import counted
from backend.drift.findings import Finding, FindingKind
from backend.drift.judging import judged
from backend.drift.sources import TableSource
from backend.drift.thresholds import Thresholds
from scripts.drift_alarms import QUARTERS, ROLES, profile_of, split

Plant = Callable[[pa.Table], dict[str, Any]]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        says: what is done.
        columns: to which.
        plant: their new values.
        kind: what it has to be found as; `cause` is what may be said to lie behind it.
    """

    says: str
    columns: tuple[str, ...]
    plant: Plant
    kind: FindingKind
    cause: FindingKind | None = None


@dataclass(frozen=True)
class Found:
    """On how many days a fault was found, named, and taken for one of another column too."""

    fault: Fault
    days: int
    found: int
    named: int
    others: int


def _values(table: pa.Table, name: str) -> Any:
    return table[name].to_numpy()


def _times(name: str, factor: float, plus: float = 0.0) -> Plant:
    return lambda table: {name: (_values(table, name) * factor + plus).astype(np.float32)}


def _gone(name: str, every: int) -> Plant:
    return lambda table: {name: pa.array(_values(table, name), mask=np.arange(len(table)) % every == 0)}


def _swapped(one: str, other: str) -> Plant:
    return lambda table: {one: table[other].to_pylist(), other: table[one].to_pylist()}


def _new(name: str, value: str, every: int) -> Plant:
    def planted(table: pa.Table) -> dict[str, Any]:
        values = np.array(table[name].to_pylist())
        values[::every] = value
        return {name: values}

    return planted


def _frozen(name: str, value: object) -> Plant:
    return lambda table: {name: [value] * len(table)}


FAULTS = (
    Fault("every second `distance` is null", ("distance",), _gone("distance", 2), "nulls"),
    Fault("one `distance` in 50 is null", ("distance",), _gone("distance", 50), "nulls"),
    Fault("`distance` in kilometres, not miles", ("distance",), _times("distance", 1.609344), "drift", "rescaled"),
    Fault("`temp` in Celsius, not Fahrenheit", ("temp",), _times("temp", 5 / 9, -160 / 9), "drift", "rescaled"),
    Fault("`pressure` in inches of mercury, not hPa", ("pressure",), _times("pressure", 1 / 33.8639), "drift", "rescaled"),
    Fault("`origin` and `dest` changed places", ("origin", "dest"), _swapped("origin", "dest"), "new-categories", "swapped"),
    Fault("`pressure` and `distance` changed places", ("pressure", "distance"), _swapped("pressure", "distance"), "drift",
          "swapped"),
    Fault("a new carrier flies one flight in 12", ("carrier",), _new("carrier", "ZZ", 12), "new-categories"),
    Fault("`temp` is frozen at one value", ("temp",), _frozen("temp", 37.04), "frozen"),
    Fault("`carrier` is frozen at `UA`", ("carrier",), _frozen("carrier", "UA"), "frozen"),
    Fault("`distance` is 250 miles more", ("distance",), _times("distance", 1.0, 250.0), "drift"),
    Fault("`distance` is 10 % more", ("distance",), _times("distance", 1.1), "drift"),
)  # fmt: skip


def measured(flights: Flights) -> list[Found]:
    """Every fault on every day."""
    reference, days = split(flights, QUARTERS[0])
    profile = profile_of(reference)
    thresholds = Thresholds(profile, hours=24)

    def look(table: pa.Table) -> tuple[Finding, ...]:
        return judged(profile, counted(TableSource(table, ROLES), profile.layout), thresholds=thresholds).alarms

    return [_found(fault, days, look) for fault in FAULTS]


def _found(fault: Fault, days: list[pa.Table], look: Callable[[pa.Table], tuple[Finding, ...]]) -> Found:
    found = named = others = 0
    for day in days:
        alarms = look(_put(day, fault.plant(day)))
        own = {one.kind for one in alarms if one.column is None or one.column.name in fault.columns}
        found += fault.kind in own
        named += fault.cause is None or fault.cause in own
        others += len({one.column for one in alarms if one.column is not None and one.column.name not in fault.columns})
    return Found(fault, len(days), found, named, others)


def _put(table: pa.Table, columns: dict[str, Any]) -> pa.Table:
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array) else pa.array(values)
        table = table.set_column(table.column_names.index(name), name, array)
    return table


def table_text() -> str:
    """The table of docs/drift.md."""
    with tempfile.TemporaryDirectory(prefix="countersign-drift-") as folder:
        return text(measured(Flights.open(Path(folder))))


def text(found: list[Found]) -> str:
    """What was found, as a table."""
    head = f"| planted into each of {found[0].days} days | found as | on days | cause named | other columns alarmed |\n"
    lines = [f"| {one.fault.says} | `{one.fault.kind}` | {one.found} | {_named(one)} | {one.others} |\n" for one in found]
    return head + "| --- | --- | --- | --- | --- |\n" + "".join(lines)


def _named(one: Found) -> str:
    return f"`{one.fault.cause}` {one.named}" if one.fault.cause is not None else ""


if __name__ == "__main__":
    print(table_text(), end="")
