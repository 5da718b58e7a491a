"""Faults that are planted into real days: on how many of the days that the reference did not see each is found, in its words.

References and days are those of `scripts.drift_alarms`: the first and the third quarter of 2013, winter and summer, but for
every fifth day. Each fault is put into each of those days by itself, and has one window of 24 hours to be found in. Counted is
also whether the finding names the cause, and how many other columns were alarmed that the day by itself does not alarm.

One fault grows from each of a quarter's days to the next. Counted is by how much it had grown when it was found first, and on
how many of the days on which it was found it was called gradual.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from backend.demo.flights import Flights
from backend.drift.counts import counted
from backend.drift.discovery import pace
from backend.drift.findings import FindingKind
from backend.drift.judging import Judgement, judged
from backend.drift.profile import Profile
from backend.drift.sources import TableSource
from backend.drift.thresholds import Thresholds
from backend.drift.values import Key
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


PLANTED_IN = (QUARTERS[0], QUARTERS[2])
GROWN, GROWS, LOOKED_BACK = "distance", 0.025, 12


@dataclass(frozen=True)
class Grown:
    """What became of a shift that grows: its size when it was found first (None: never), on how many of the days it was found,
    and on how many of those it was called gradual."""

    first: float | None
    found: int
    gradual: int


Look = Callable[[pa.Table], Judgement]


def measured(flights: Flights) -> tuple[list[Found], list[Grown]]:
    """Every fault on every day, and the one that grows in each quarter."""
    found, grown = [Found(fault, 0, 0, 0, 0) for fault in FAULTS], list[Grown]()
    for months in PLANTED_IN:
        reference, days = split(flights, months)
        look = _looking(profile_of(reference))
        found = [_found(one, days, look) for one in found]
        grown.append(_grown(days, look))
    return found, grown


def _looking(profile: Profile) -> Look:
    thresholds = Thresholds(profile, hours=24)
    return lambda table: judged(profile, counted(TableSource(table, ROLES), profile.layout), thresholds=thresholds)


def _found(so_far: Found, days: list[pa.Table], look: Look) -> Found:
    fault, found, named, others = so_far.fault, so_far.found, so_far.named, so_far.others
    for day in days:
        looked, before = look(_put(day, fault.plant(day))), {one.column for one in look(day).alarms}
        alarms = looked.alarms
        told = [one for one in looked.findings if one in alarms or one.kind == fault.cause]
        own = {one.kind for one in told if one.column is None or one.column.name in fault.columns}
        found += fault.kind in own
        named += fault.cause is None or fault.cause in own
        news = {one.column for one in alarms if one.column is not None} - before
        others += sum(one.name not in fault.columns for one in news)
    return replace(so_far, days=so_far.days + len(days), found=found, named=named, others=others)


def _grown(days: list[pa.Table], look: Look) -> Grown:
    """A shift that grows from day to day, told of as a monitor tells: by the score of each day and those of the days before."""
    scores, news, key = list[float](), list[tuple[float, str]](), Key("feature", GROWN)
    for number, day in enumerate(days):
        times = 1 + GROWS * number
        found = look(_put(day, _times(GROWN, times)(day)))
        (column,) = (one for one in found.columns if one.key == key)
        assert column.scores is not None  # noqa: S101 - a day of flights has distances
        scores.append(column.scores.wasserstein or 0.0)
        if any(one.kind == "drift" and one.column == key for one in found.alarms):
            news.append((times, pace(scores[-LOOKED_BACK - 1 :], column.limit("wasserstein") or 0.0)))
    return Grown(news[0][0] if news else None, len(news), sum(one == "gradual" for _, one in news))


def _put(table: pa.Table, columns: dict[str, Any]) -> pa.Table:
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array) else pa.array(values)
        table = table.set_column(table.column_names.index(name), name, array)
    return table


def table_text() -> str:
    """The table of docs/drift.md."""
    with tempfile.TemporaryDirectory(prefix="countersign-drift-") as folder:
        return text(*measured(Flights.open(Path(folder))))


def text(found: list[Found], grown: list[Grown]) -> str:
    """What was found, as a table."""
    head = f"| planted into each of {found[0].days} days | found as | on days | cause named | other columns alarmed |\n"
    lines = [f"| {one.fault.says} | `{one.fault.kind}` | {one.found} | {_named(one)} | {one.others} |\n" for one in found]
    last = f"| `{GROWN}` grows by {GROWS:.1%} with each day of a quarter | `drift` | {_first(grown)} | {_gradual(grown)} | |\n"
    return head + "| --- | --- | --- | --- | --- |\n" + "".join(lines) + last.replace(".5%", ".5 %")


def _first(grown: list[Grown]) -> str:
    return "first at " + ", ".join("never" if one.first is None else f"{one.first - 1:.1%}".replace("%", " %") for one in grown)


def _gradual(grown: list[Grown]) -> str:
    return f"`gradual` {sum(one.gradual for one in grown)} of {sum(one.found for one in grown)}"


def _named(one: Found) -> str:
    return f"`{one.fault.cause}` {one.named}" if one.fault.cause is not None else ""


if __name__ == "__main__":
    print(table_text(), end="")
