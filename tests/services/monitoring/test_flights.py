"""Planted faults on real flights, through the log, counted hours and monitors: each is found in one window, in its words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlmodel import select

from backend.core.database import Database
from backend.demo.flights import FEATURES, Flights
from backend.findings.rows import Finding, FindingSight
from scripts import drift_alarms
from tests.databases import Clock
from tests.services.monitoring.world import DAY, Watching

only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def put(table: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


def values(table: pa.Table, name: str) -> Any:
    return table[name].to_numpy()


def start_of(table: pa.Table) -> datetime:
    first: datetime = table["event_time"][0].as_py()
    return first.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


class Days:
    """Days of flights that follow each other, whatever the calendar says: each becomes the next one."""

    def __init__(self, given: Watching, clock: Clock) -> None:
        self.given, self.clock, self.today = given, clock, datetime(2013, 6, 3, tzinfo=UTC)

    def play(self, table: pa.Table) -> None:
        """A day's flights are logged, and the day is judged."""
        shift = self.today - start_of(table)
        rows = table.to_pylist()
        self.given.append(
            {
                "request_id": f"{self.today:%d}-{place}",
                "event_time": one["event_time"] + shift,
                "version": 1,
                "assigned_arm": "v1",
                "features": {name: one[name] for name in FEATURES},
            }
            for place, one in enumerate(rows)
        )
        self.today += DAY
        self.clock.now = self.today + timedelta(minutes=20)
        self.given.work()

    def told(self) -> dict[str, str]:
        """Kind and feature -> what the newest look said of its live finding."""
        query = select(Finding, FindingSight.says).join(FindingSight).where(Finding.state != "resolved")
        with self.given.database.read() as session:
            return {f"{row.kind} {row.about.partition(' ')[0]}": says for row, says in session.exec(query)}


@only_sqlite
def test_planted_faults_are_found_within_one_window_in_the_right_words(
    database: Database, clock: Clock, tmp_path: Path
) -> None:
    reference, held = drift_alarms.split(Flights.open(tmp_path / "cache"), (1, 2, 3))
    clock.now = datetime(2013, 6, 3, tzinfo=UTC)
    given = Watching(database, clock, tmp_path)
    given.profile(drift_alarms.profile_of(reference))
    days = Days(given, clock)
    for name in ("drift", "data"):
        given.set(name, kind=name, window_hours=24, every_hours=24, wait_minutes=15, min_rows=100)
    days.play(held[9])
    assert (given.states("drift")[-1], given.states("data")[-1], days.told()) == ("ok", "ok", {}), "a day as it was"

    whole = held[11]
    carriers = np.array(whole["carrier"].to_pylist())
    carriers[::12] = "ZZ"
    gone = pa.array(values(whole, "humid"), mask=np.arange(len(whole)) % 2 == 0)
    celsius = (values(whole, "temp") * 5 / 9 - 160 / 9).astype(np.float32)
    swapped = {"origin": whole["dest"].to_pylist(), "dest": whole["origin"].to_pylist()}
    far = (values(whole, "pressure") + 30).astype(np.float32)
    days.play(put(whole, humid=gone, temp=celsius, carrier=carriers, hour=[12.0] * len(whole), pressure=far, **swapped))
    told = days.told()
    assert told["data.nulls humid"].endswith("% of the rows have no `humid`, against 0.125 % in the reference.")
    assert "It looks like degrees Fahrenheit told in Celsius: " in told["drift.feature temp"], "one cause is one finding"
    assert "drift.rescaled temp" not in told
    assert "`dest` look as if they had changed places" in told["drift.swapped origin"] or "drift.swapped dest" in told
    assert told["data.frozen hour"].startswith("`hour` is frozen: all ")
    with database.read() as session:
        rows = {(row.kind, row.about.partition(" ")[0]): row.says for row in session.exec(select(Finding))}
    assert rows["data.new-categories", "carrier"].endswith(" of the rows: 1 text.")
    assert "`origin`" in rows["data.new-categories", "origin"]
    assert rows["drift.feature", "pressure"].startswith("`pressure` drifted: ")
    assert "; its mean went from 1.02e+03 to 1.0" in rows["drift.feature", "pressure"]
    assert rows["drift.feature", "pressure"].endswith("It came suddenly.")

    days.play(held[9])
    assert days.told() == {}, "it is over with the next clean day"
    for number in (1, 2, 3, 4):
        days.play(put(held[9], distance=(values(held[9], "distance") * (1 + 0.035 * number)).astype(np.float32)))
    assert days.told()["drift.feature distance"].endswith("It came gradually, over several windows.")
