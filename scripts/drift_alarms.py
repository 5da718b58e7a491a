"""False alarms of drift on real days: how often days that the reference did not see, of its own months, are called news.

Reference: the flights of a quarter of 2013 but for every fifth day. Windows: those days, each of 24 hours (UTC). Whatever is
found there is a false alarm, although weather may well do on one day what it did on none of the others.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from backend.demo.flights import FEATURES, Flights
from backend.drift.counts import counted
from backend.drift.judging import Judgement, judged
from backend.drift.profile import Profile, build
from backend.drift.scores import Score
from backend.drift.sources import Roles, TableSource
from backend.drift.thresholds import CONVENTIONAL, Thresholds
from backend.drift.variation import hours_of

QUARTERS = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12))
EVERY = 5
ROLES = Roles(time="event_time", features=FEATURES)


@dataclass
class Alarms:
    """What was found on held-out days.

    Args:
        days, feature_days: how many were looked at.
        alarms, notices: findings by kind.
        conventional: feature-days that a fixed threshold (Wasserstein or Jensen-Shannon of 0.1) would have called drift.
        alarmed: days with an alarm.
    """

    days: int = 0
    feature_days: int = 0
    alarms: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    conventional: int = 0
    alarmed: int = 0

    @property
    def rate(self) -> float:
        """Alarms a feature-day."""
        return self.alarms.total() / self.feature_days


def measured(flights: Flights) -> Alarms:
    """The false alarms of all quarters."""
    found = Alarms()
    for months in QUARTERS:
        reference, days = split(flights, months)
        profile = profile_of(reference)
        thresholds = Thresholds(profile, hours=24)
        for day in days:
            _note(found, judged(profile, counted(TableSource(day, ROLES), profile.layout), thresholds=thresholds))
    return found


def split(flights: Flights, months: tuple[int, ...]) -> tuple[pa.Table, list[pa.Table]]:
    """The flights of some months without every fifth day, and those days."""
    table = flights.table.filter(np.isin(flights.table["month"].to_numpy(), months))
    day = hours_of(table["event_time"].combine_chunks()) // 24
    held = day % EVERY == 0
    return table.filter(~held), list(_by_day(table.filter(held), day[held]))


def profile_of(table: pa.Table) -> Profile:
    """A profile with the variation of its days."""
    return build(TableSource(table, ROLES), timed=True)


def table_text() -> str:
    """The table of docs/drift.md."""
    with tempfile.TemporaryDirectory(prefix="countersign-drift-") as folder:
        return text(measured(Flights.open(Path(folder))))


def text(found: Alarms) -> str:
    """What was found, as a table."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.alarms.items())) or "none"
    rows = [
        ("days of 24 hours, of no reference, in its own months", f"{found.days}"),
        (f"feature-days ({len(FEATURES)} features)", f"{found.feature_days}"),
        ("false alarms", f"{found.alarms.total()} ({kinds})"),
        ("**false alarms a feature-day**", f"**{found.rate:.4f}**"),
        ("days with any false alarm", f"{found.alarmed}"),
        ("notices, which alarm nobody", f"{found.notices.total()}"),
        ("feature-days above the conventional 0.1 (Wasserstein or Jensen-Shannon)", f"{found.conventional}"),
    ]
    return "".join(f"| {what} | {value} |\n" for what, value in [("on flights of 2013", ""), ("---", "---"), *rows])


def _note(found: Alarms, judgement: Judgement) -> None:
    found.days += 1
    found.feature_days += len(judgement.columns)
    found.alarms.update(one.kind for one in judgement.alarms)
    found.notices.update(one.kind for one in judgement.findings if one.severity == "notice")
    found.alarmed += bool(judgement.alarms)
    for column in judgement.columns:
        if column.scores is not None:
            score: Score = "jensen_shannon" if column.scores.wasserstein is None else "wasserstein"
            found.conventional += (column.scores.value(score) or 0.0) >= CONVENTIONAL[score][0]


def _by_day(table: pa.Table, day: Any) -> Iterator[pa.Table]:
    for one in np.unique(day):
        yield table.filter(day == one)


if __name__ == "__main__":
    print(table_text(), end="")
