"""Monitors as they run: hours counted once, late ones again, each slot once, what is found, and what does not look."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel, col, select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure
from backend.core.outbound import Guard
from backend.core.work import LeaseLost
from backend.delivery.log_rules import LogKeeping
from backend.delivery.log_tending import LogTending
from backend.findings import queries as findings
from backend.findings.rows import Finding, FindingFinder
from backend.findings.service import Findings
from backend.inference_log.sources.of_endpoints import Sources
from backend.monitoring import features, queries, runs, watch
from backend.monitoring.counting import Counting
from backend.monitoring.rows import CountedHour, KeptThresholds, Monitor, MonitorScore
from tests.databases import Clock
from tests.drift_data import letters, normal, profile_of
from tests.services.changes.world import ENDPOINT, MODEL, refused
from tests.services.monitoring.world import DAY, HOUR, Watching, columns

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def given(database: Database, clock: Clock, tmp_path: Path) -> Watching:
    return Watching(database, clock, tmp_path)


@pytest.fixture
def alone(given: Watching) -> Watching:
    """On SQLite only: what is shown does not depend on the database."""
    return given


only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_a_monitor_counts_its_hours_runs_each_slot_once_and_tells_what_drifted(given: Watching) -> None:
    given.profile()
    given.set()
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    first = given.last()
    assert (first.slot, first.state, first.rows, given.findings()) == (NINE, "ok", 200, [])
    given.asked(NINE, x=normal(200, 9, 3.0))
    given.on(hours=1)
    assert given.states() == ["early", "ok", "alarm"], "the window before the first hour is judged too, and is empty"
    assert given.findings() == [("drift.feature", "x of version 1, against training data")]
    assert given.says("drift.feature").startswith("`x` drifted: Wasserstein ")
    assert given.says("drift.feature").endswith("It came suddenly.")
    before = given.work()
    given.clock.tick(minutes=20)
    assert (before, given.work(), len(given.runs())) == (0, 0, 3), "a slot is run once"
    given.asked(NINE + HOUR, seed=11)
    given.on(minutes=40)
    assert (given.findings(), given.findings(over=True)) == ([], [("drift.feature", "x of version 1, against training data")])
    assert given.world.ledger("monitor") == ["monitor.set"]
    assert given.world.ledger("finding") == ["finding.open", "finding.clear"]


@only_sqlite
def test_the_first_gate_has_words_for_each_fault_and_one_fault_hides_no_other(given: Watching) -> None:
    given.profile(profile_of({**columns(2_000), "z": normal(2_000, 3), "w": normal(2_000, 4)}))
    given.set("data", kind="data", notices=True)
    base = {"z": normal(300, 5), "w": normal(300, 6)}
    x = [None if place % 2 else float(place % 7) for place in range(300)]
    y = normal(300, 8, 10, 2)
    y[::20] = np.inf
    given.asked(
        NINE - HOUR, 300, **{**base, "x": x, "y": y, "t": letters(300, 3, "abz"), "w": [7.0] * 300, "more": [1.0] * 300}
    )
    given.on(minutes=6)
    told = dict(given.findings())
    assert told["data.nulls"] == "x of version 1, against training data"
    assert told["data.infinities"] == "y of version 1, against training data"
    assert told["data.new-categories"] == "t of version 1, against training data"
    assert told["data.extra-column"] == "more of version 1, against training data"
    assert {"data.frozen", "data.range"} & set(told)
    assert given.says("data.nulls") == "50 % of the rows have no `x`, against 0 % in the reference."
    assert "`z`" not in given.says("data.new-categories"), "a sentence is in the ledger and in mails"
    assert given.evidence("data.new-categories")["names"] == "`z`"
    given.on(hours=1)
    assert ("data.empty-window", "version 1, against training data") in given.findings()
    assert given.says("data.empty-window") == "Nothing was logged in this window: no drift can be seen."


@only_sqlite
def test_a_column_that_fails_fails_no_other(given: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.drift import judging

    scored = judging.scored

    def fails(feature: Any, *sides: Any) -> Any:
        if feature.key.name == "x":
            raise ZeroDivisionError
        return scored(feature, *sides)

    monkeypatch.setattr(judging, "scored", fails)
    given.profile()
    given.set()
    given.asked(NINE - HOUR, y=normal(200, 3, 30))
    given.on(minutes=6)
    assert given.findings() == [
        ("drift.feature", "y of version 1, against training data"),
        ("drift.failed", "x of version 1, against training data"),
    ]


def test_late_rows_have_their_hour_counted_again_and_no_other(given: Watching) -> None:
    given.profile()
    given.set(window_hours=3)
    given.asked(NINE - 2 * HOUR)
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    assert [given.counted(NINE - back * HOUR) for back in (1, 2, 3)] == [200, 200, 0]
    given.asked(NINE - 2 * HOUR, 50, seed=30)
    given.asked(NINE - 3 * HOUR, 10, seed=31)
    given.on(hours=1)
    assert [given.counted(NINE - back * HOUR) for back in (1, 2, 3)] == [200, 250, 10]
    assert given.last().rows == 450, "the window moved on by an hour"
    given.log.compact()
    given.on(hours=1)
    assert given.counted(NINE - 2 * HOUR) == 250


def test_whoever_was_away_makes_up_for_what_was_missed_and_nobody_runs_a_slot_twice(given: Watching) -> None:
    given.profile()
    given.set()
    for back in range(1, 5):
        given.asked(NINE + (4 - back) * HOUR, seed=back)
    given.clock.tick(hours=4, minutes=6)
    assert given.line().word == "late"
    given.work()
    assert [one.slot.hour for one in given.runs()] == [8, 9, 10, 11, 12, 13][-len(given.runs()) :]
    assert given.states()[-4:] == ["ok"] * 4
    assert given.line().word == "ok"


def test_two_workers_take_one_slot_once(real_time_database: Database, tmp_path: Path) -> None:
    clock = Clock()
    given = Watching(real_time_database, clock, tmp_path)
    given.profile()
    given.set(window_hours=1)
    claims = list[bool]()
    gate = threading.Barrier(2)

    def worker(name: str) -> None:
        gate.wait()
        for _ in range(40):
            for kind, handle in ((runs.KIND, given.monitoring.handle), ("count", given.counting.handle)):
                for claim in work.claim(real_time_database, kind, holder=name, seconds=60):
                    handle(claim)
                    claims.append(True)

    both = [threading.Thread(target=worker, args=(name,)) for name in ("one", "other")]
    for one in both:
        one.start()
    for one in both:
        one.join()
    with real_time_database.unit(SYSTEM) as tx:
        tx.session.connection().exec_driver_sql("UPDATE work_item SET due_at = '2020-01-01' WHERE kind = 'monitor'")
    worker_again = work.claim(real_time_database, runs.KIND, holder="third", seconds=60)
    for claim in worker_again:
        given.monitoring.handle(claim)
    slots = [one.slot for one in given.runs()]
    assert len(slots) == len(set(slots)) <= 1
    assert all(one.begins == 1 for one in given.runs())


def test_a_worker_that_dies_over_a_slot_leaves_it_to_the_next_and_its_late_word_counts_nothing(given: Watching) -> None:
    given.profile()
    given.set()
    given.asked(NINE - HOUR, x=normal(200, 9, 3.0))
    given.clock.tick(minutes=6)
    (count,) = work.claim(given.database, "count", holder="w", seconds=600)
    given.counting.handle(count)
    (dead,) = work.claim(given.database, runs.KIND, holder="dead", seconds=60)
    row = given.runs() or None
    assert row is None
    with given.database.read() as session:
        one = runs._watched(session, dead.key)
    assert one is not None
    given.monitoring._begin(dead, one, NINE)
    given.clock.tick(minutes=2)
    given.work()
    ended = given.last()
    assert (ended.begins, ended.state) == (2, "alarm")
    with pytest.raises(LeaseLost):
        given.monitoring._begin(dead, one, NINE)
    assert given.world.ledger("finding") == ["finding.open"]


def test_no_run_no_data_and_failures_are_findings_of_their_own_and_end_with_the_next_run(
    given: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.set()
    given.on(minutes=6)
    assert given.last().state == "no_data"
    assert given.watch() == 1
    assert given.findings() == [("monitor.no-data", "drift")]
    assert "Version 1 has no reference profile" in given.says("monitor.no-data")
    given.profile()
    given.asked(NINE)
    given.on(hours=1)
    given.watch()
    assert (given.findings(), given.line().word) == ([], "ok")
    given.clock.tick(hours=2)
    given.watch()
    assert given.findings() == [("monitor.late", "drift")]
    assert given.says("monitor.late") == (
        "Monitor drift is late. It did not run for the window that ended at 2026-03-02 11:00 UTC; see whether a worker runs."
    )
    monkeypatch.setattr(features, "look", lambda *_: 1 / 0)
    monkeypatch.setattr(runs.log, "error", lambda *_, **__: None)
    given.asked(NINE + 2 * HOUR)
    given.on(minutes=1)
    given.watch()
    assert given.findings() == [("monitor.failing", "drift")]
    assert "ZeroDivisionError; the worker's log has it under error " in given.says("monitor.failing")
    assert given.watch() == 1, "telling it again opens nothing else"
    assert len(given.findings()) == 1
    given.clock.tick(minutes=1)
    given.monitors.pause(given.world.olga, ENDPOINT, "drift", "It is being mended.")
    given.watch()
    assert (given.findings(), given.line().word) == ([], "paused")
    assert given.on(hours=5) == 0 or given.line().word == "paused"


def test_too_few_rows_are_no_verdict_and_end_nothing_that_was_found(given: Watching) -> None:
    given.profile()
    given.set()
    given.asked(NINE - HOUR, x=normal(200, 9, 3.0))
    given.on(minutes=6)
    given.asked(NINE, 10)
    given.on(hours=1)
    assert (given.last().state, len(given.findings())) == ("no_data", 1)
    assert given.last().why == "Version 1 was asked in 10 rows, fewer than 30: too few for a verdict."


def test_hours_that_cannot_be_read_are_told_and_waited_for(given: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    given.profile()
    given.set()
    given.asked(NINE - HOUR)
    given.clock.tick(minutes=6)

    def down(*_: Any, **__: Any) -> Any:
        raise ExternalFailure("The inference log", "cannot be read", retryable=True)

    monkeypatch.setattr(given.log, "read", down)
    given.work()
    assert given.runs() == []
    for _ in range(30):
        given.on(minutes=1)
    assert (given.last().state, given.last().why) == ("no_data", "Only 0 of the 1 hours of its window were counted.")
    monkeypatch.undo()
    given.on(minutes=5)
    assert given.counted(NINE - HOUR) == 200


def test_a_period_of_the_log_is_the_reference_of_a_version_that_has_none(given: Watching) -> None:
    for hour in range(12):
        given.asked(NINE - (14 - hour) * HOUR, 100, seed=hour)
    given.asked(NINE - HOUR, x=normal(200, 9, 3.0))
    start, end = (NINE - 14 * HOUR).isoformat(), (NINE - 2 * HOUR).isoformat()
    given.set(reference={"kind": "period", "name": "the first night", "start": start, "end": end})
    given.on(minutes=6)
    assert given.findings() == [("drift.feature", "x of version 1, against 2026-03-01 19:00 to 2026-03-02 07:00")]
    with given.database.read() as session:
        (line,) = queries.profiles(session, MODEL)
        kept = session.exec(select(KeptThresholds)).all()
    assert (line.version, line.rows, line.source, line.set_by) == (1, 1_200, "hours of the log: the first night", "Countersign")
    assert len(kept) == 1
    assert kept[0].made


@only_sqlite
def test_thresholds_that_somebody_set_decide_and_what_is_left_out_is_not_looked_at(given: Watching) -> None:
    given.profile()
    given.set(thresholds={"x": {"psi": 0.000001}}, without=["y"])
    given.asked(NINE - HOUR, y=normal(200, 9, 90.0))
    given.on(minutes=6)
    assert given.findings() == [("drift.feature", "x of version 1, against training data")]
    assert "above the 1e-06 that was set" in given.says("drift.feature")


@only_sqlite
def test_at_most_and_clean_looks_are_as_told(given: Watching) -> None:
    given.profile()
    given.set(at_most="info", clean_looks=2)
    given.asked(NINE - HOUR, x=normal(200, 9, 9.0))
    given.on(minutes=6)
    with given.database.read() as session:
        row = session.exec(select(Finding)).one()
    assert (row.severity, row.clear_after_seconds) == ("info", 3_600)
    for hour in range(2):
        given.asked(NINE + hour * HOUR, seed=20 + hour)
        given.on(hours=1)
        assert (len(given.findings()), given.last().state) == (1 - hour, "ok")


def test_what_cannot_be_stored_is_a_run_that_failed_and_blinds_nothing(
    given: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.profile(profile_of({**columns(2_000), "pred\0": normal(2_000, 3)}))
    given.set("data", kind="data", notices=True)
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    assert [one["feature"] for one in given.last("data").found if one["kind"] == "data.missing-column"] == ["pred?"]
    monkeypatch.setattr(runs.log, "error", lambda *_, **__: None)
    with monkeypatch.context() as broken:
        broken.setattr(runs, "tell", lambda *_: 1 / 0)
        given.on(hours=1)
    assert (given.last("data").state, given.last("data").why[:44]) == ("failed", "What was seen could not be stored (ZeroDivis")
    given.on(hours=1)
    assert given.last("data").state == "alarm", "the next one is none the worse"


@only_sqlite
def test_at_most_does_not_silence_that_nobody_looks(given: Watching) -> None:
    given.set(at_most="info")
    given.on(minutes=6)
    given.watch()
    with given.database.read() as session:
        row = session.exec(select(Finding)).one()
    assert (row.kind, row.severity) == ("monitor.no-data", "warning")


def test_a_look_that_somebody_asked_for_takes_no_slot_s_place(given: Watching) -> None:
    given.profile()
    given.set(every_hours=24, wait_minutes=720)
    given.asked(NINE - HOUR)
    given.asked(NINE.replace(hour=0) - HOUR, seed=8)
    given.on(minutes=6)
    assert [one.slot for one in given.runs()] == [NINE - DAY - 9 * HOUR]
    given.monitors.run(given.world.olga, ENDPOINT, "drift")
    given.on(seconds=10)
    assert (given.last().slot, given.last().state, given.line().word) == (NINE, "ok", "ok")
    given.on(hours=3)
    assert [(one.slot, one.state) for one in given.runs()][1:] == [(NINE.replace(hour=0), "ok"), (NINE, "ok")]


def test_a_look_before_its_time_is_made_again_once_it_is_due(given: Watching) -> None:
    given.profile()
    given.set(wait_minutes=40)
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    given.monitors.run(given.world.olga, ENDPOINT, "drift")
    given.on(seconds=10)
    assert (given.last().slot, given.last().asked) == (NINE, True)
    given.on(minutes=40)
    assert (given.last().slot, given.last().asked, given.last().state) == (NINE, False, "ok")
    assert given.on(minutes=1) == 0


@only_sqlite
def test_a_look_that_was_asked_for_has_its_hours_counted_however_long_its_monitor_waits(given: Watching) -> None:
    given.profile()
    given.set(every_hours=24, wait_minutes=2_880, window_hours=2)
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    given.monitors.run(given.world.olga, ENDPOINT, "drift")
    for _ in range(3):
        given.on(seconds=10)
    assert (given.last().slot, given.last().state, given.last().rows) == (NINE, "ok", 200)


def test_rows_that_come_after_the_look_are_judged(given: Watching) -> None:
    given.profile()
    given.set("data", kind="data")
    given.on(minutes=6)
    given.asked(NINE - HOUR, x=[None] * 200)
    given.asked(NINE, seed=9)
    given.on(hours=1)
    given.on(seconds=10)
    assert [(one.slot, one.state, one.rows) for one in given.runs("data")] == [
        (NINE - HOUR, "early", 0),
        (NINE, "alarm", 200),
        (NINE + HOUR, "ok", 200),
    ]
    assert given.every_finding()[-1].about == "x of version 1, against training data"
    given.asked(NINE, 2, seed=10)
    given.on(hours=1)
    given.on(seconds=10)
    assert given.runs("data")[2].rows == 200, "a few are no reason to judge it again"
    given.asked(NINE, 2, seed=11)
    given.on(hours=1)
    given.on(seconds=10)
    assert given.runs("data")[2].rows == 204, "but they add up"


def test_what_was_counted_stays_when_a_row_comes_after_the_others_were_taken_out_for_their_age(given: Watching) -> None:
    given.profile()
    given.set()
    given.asked(NINE - HOUR, x=normal(200, 9, 5.0))
    given.asked(NINE, seed=8)
    given.on(hours=1, minutes=6)
    keeping = LogKeeping(given.database, lambda: b"k" * 32)
    keeping.set_rules(given.world.olga, ENDPOINT, kept_days={"requests": 1})
    given.on(hours=23, minutes=10)
    LogTending(given.database, given.log, lambda: b"k" * 32).tend()
    keeping.set_rules(given.world.olga, ENDPOINT, kept_days={})
    assert given.log.hours(ENDPOINT, 1) == [NINE]
    given.asked(NINE - HOUR, 1, seed=77)
    given.asked(NINE, 50, seed=78)
    given.on(hours=1)
    given.on(minutes=10)
    assert (given.counted(NINE - HOUR), given.counted(NINE)) == (200, 250), "the hour that is whole is counted again"
    (run,) = (one for one in given.runs() if one.slot == NINE)
    assert (run.state, run.rows) == ("alarm", 200)


def test_rows_that_are_sent_again_with_other_values_are_judged_again(given: Watching) -> None:
    given.profile()
    given.set()
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    given.log.compact()
    given.asked(NINE)
    given.on(hours=1)
    assert [one.begins for one in given.runs()] == [1, 1, 1], "that an hour is counted anew is no reason by itself"
    given.asked(NINE - HOUR, x=normal(200, 7, 5.0))
    given.on(hours=1)
    given.on(seconds=10)
    assert given.states()[1:3] == ["alarm", "ok"]
    assert given.findings() == [("drift.feature", "x of version 1, against training data")]


@pytest.mark.parametrize("beside", [0, 400], ids=["instead", "more"])
@only_sqlite
def test_late_requests_are_judged_where_only_outcomes_are_looked_at(given: Watching, beside: int) -> None:
    given.set("q", kind="quality", task={"kind": "binary", "outcome": "late"}, limits={"auc": {"below": 0.7}})

    def told(first: int, rows: int, score: Callable[[bool], float]) -> None:
        late = [place % 3 == 0 for place in range(rows)]
        keys = [f"{first + place}" for place in range(rows)]
        at = [NINE - HOUR + timedelta(seconds=place) for place in range(rows)]
        given.append(
            {
                "request_id": key,
                "event_time": when,
                "version": 1,
                "assigned_arm": "v1",
                "features": {},
                "prediction": score(one),
            }
            for key, when, one in zip(keys, at, late, strict=True)
        )
        outcomes = [{"request_id": key, "known_at": NINE, "values": {"late": one}} for key, one in zip(keys, late, strict=True)]
        given.log.append_outcomes(ENDPOINT, outcomes)
        given.log.flush()

    told(0, 200, lambda late: 0.8 if late else 0.2)
    given.on(minutes=6)
    assert given.last("q").state == "ok"
    told(beside, beside or 200, lambda late: 0.2 if late else 0.8)
    given.on(hours=1)
    given.on(seconds=10)
    assert given.findings() == [("quality.auc", "auc of version 1, predicting late")]


@only_sqlite
def test_windows_from_before_a_version_answered_are_no_alarm(given: Watching) -> None:
    given.profile()
    given.set("data", kind="data")
    given.set()
    given.set("quality", kind="quality", task={"kind": "binary", "outcome": "late"})
    given.on(minutes=6)
    assert {one: given.last(one).state for one in ("data", "drift", "quality")} == dict.fromkeys(
        ("data", "drift", "quality"), "early"
    )
    why = "Version 1 answers since 2026-03-02 09:00 UTC, after the window began: too little to judge yet."
    assert (given.last().why, given.line().word, given.line().says) == (why, "never", why)
    assert (given.watch(), given.findings()) == (0, [])
    given.on(hours=1)
    assert given.watch() == 2, "a window through which it answered, and nobody asked, is one"
    assert ("data.empty-window", "critical") in [(one.kind, one.severity) for one in given.every_finding()]


@only_sqlite
def test_a_champion_that_answers_alone_is_compared_with_nothing_and_that_is_no_fault(given: Watching) -> None:
    given.profile()
    given.set(reference={"kind": "champion"})
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    assert (given.last().state, given.line().word, given.watch(), given.findings()) == ("idle", "idle", 0, [])
    assert given.line().says.startswith("Version 1 is the champion, and nothing else answers beside it")
    given.profile(version=2)
    given.beside(2)
    given.asked(NINE)
    given.asked(NINE, version=2, seed=9, x=normal(200, 9, 5.0))
    given.on(hours=1)
    assert (given.last().state, given.findings()[0][0]) == ("alarm", "drift.feature")


def test_one_cause_is_one_finding_that_is_over_once_no_monitor_sees_it(given: Watching) -> None:
    given.profile()
    given.set("hourly")
    given.set("other", at_most="warning")
    given.set("daily", window_hours=3, every_hours=3)
    given.set("one", window_hours=1, arm="v1")
    given.asked(NINE - HOUR, x=normal(200, 9, 5.0))
    given.on(minutes=6)
    together = ("drift.feature", "x of version 1, against training data")
    assert given.findings() == [together, ("drift.feature", "x of version 1, against training data, arm v1")]

    def finders() -> str:
        with given.database.read() as session:
            return findings.view(session, 1).line.found_by

    assert (finders(), given.every_finding()[0].severity) == ("monitor daily, monitor hourly, monitor other", "critical")
    assert {given.line(one).findings for one in ("hourly", "other", "daily", "one")} == {1}
    given.asked(NINE, seed=12)
    given.on(hours=1)
    assert (finders(), together in given.findings()) == ("monitor daily", True), "the longest window still has it"
    for hour in (1, 2):
        given.asked(NINE + hour * HOUR, seed=12 + hour)
        given.on(hours=1)
    assert (given.findings(), given.findings(over=True)[0]) == ([], together)


def test_what_a_monitor_does_not_look_at_any_more_is_not_over_by_that(given: Watching) -> None:
    given.profile()
    given.profile(version=2)
    given.beside(2)
    given.set()
    given.set("data", kind="data")
    given.asked(NINE - HOUR, x=normal(200, 9, 5.0), y=[None] * 200)
    given.asked(NINE - HOUR, version=2, seed=8, x=normal(200, 10, 5.0))
    given.on(minutes=6)
    told = [("drift.feature", f"x of version {one}, against training data") for one in (1, 2)]
    nulls = ("data.nulls", "y of version 1, against training data")
    assert {*told, nulls} <= set(given.findings())
    given.set(features=["y"])
    given.alone_again()
    given.on(hours=1)
    assert given.last("data").state == "alarm"
    assert nulls in given.findings(), "nothing was asked: nobody knows of one column"
    given.asked(NINE + HOUR, seed=12)
    given.on(hours=1)
    over = {(one.about, one.outcome) for one in given.every_finding() if one.state == "resolved"}
    assert (told[0] in given.findings(), given.last().state) == (True, "ok"), "x is not looked at any more"
    assert {(told[1][1], "gone"), (nulls[1], "no_longer_seen")} <= over
    given.monitors.remove(given.world.olga, ENDPOINT, "drift")
    assert told[0] in given.findings()


@only_sqlite
def test_a_monitor_that_looks_at_no_column_has_no_verdict_and_unknown_names_are_told(given: Watching) -> None:
    given.profile()
    given.set("typo", features=["typo"])
    given.set("nothing", kind="data", without=["x", "y", "t"])
    given.set("half", thresholds={"typos": {"psi": 0.2}}, without=["absent"])
    given.asked(NINE - HOUR, x=normal(200, 9, 100.0))
    given.on(minutes=6)
    assert (given.last("typo").state, given.last("nothing").state) == ("no_data", "no_data")
    assert "The monitor names `typo`, which neither the reference of version 1" in given.last("typo").why
    assert given.last("half").state == "alarm"
    assert given.says("drift.unknown-column").startswith("The monitor names `absent`, `typos`, which neither ")


def test_requests_that_nobody_judges_are_told(given: Watching) -> None:
    given.profile()
    given.set("data", kind="data")
    given.set("drift")
    given.asked(NINE - HOUR, version=7, x=[None] * 200)
    given.asked(NINE - HOUR, 20, seed=9)
    given.on(minutes=6)
    assert given.findings() == [("data.unknown-version", "version 1, against training data")]
    says = "200 requests of 220 (90.9 %) name version 7, which did not answer here: nobody judges them."
    assert given.says("data.unknown-version") == says
    assert (given.last().state, says in given.last().why) == ("no_data", True)


@only_sqlite
def test_requests_of_a_version_that_answered_until_then_are_no_strays(given: Watching) -> None:
    given.profile()
    given.profile(version=2)
    given.beside(2)
    given.asked(NINE - HOUR)
    given.asked(NINE - HOUR, version=2, seed=8)
    given.asked(NINE - HOUR, 50, version=None, seed=9)
    given.clock.tick(minutes=1)
    given.alone_again()
    given.set("data", kind="data")
    given.on(minutes=6)
    assert (given.last("data").slot, given.findings()) == (NINE, [])
    assert given.last("data").rows == 250, "of which nothing says who answered are those of the one that answers"


@only_sqlite
def test_no_value_of_one_person_is_in_a_finding_or_the_ledger(given: Watching) -> None:
    given.profile()
    given.set("data", kind="data")
    texts = ["Jane Doe X123"] * 3 + ["new"] * 40 + letters(157, 3).tolist()
    given.asked(NINE - HOUR, t=texts)
    given.on(minutes=6)
    assert given.evidence("data.new-categories")["names"] == "`new`"
    with given.database.read() as session:
        tables = set(SQLModel.metadata.tables) - {"counted_hour"}
        told = {name: str(session.connection().execute(sa.text(f'SELECT * FROM "{name}"')).all()) for name in sorted(tables)}
    assert [name for name, rows in told.items() if "Jane" in rows] == []
    assert "`new`" not in told["ledger"]


@only_sqlite
def test_looking_now_and_again(given: Watching) -> None:
    given.profile()
    given.set(every_hours=24, window_hours=24)
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    assert given.last().state == "early"
    assert given.monitors.run(given.world.ana, ENDPOINT, "drift") == NINE
    given.work()
    assert (given.last().slot, given.last().state, given.last().rows) == (NINE, "ok", 200)
    given.asked(NINE - HOUR, 40, seed=99)
    given.clock.tick(minutes=1)
    with given.database.unit(SYSTEM) as tx:
        work.wake(tx, "count", "end_1")
    given.monitors.run(given.world.ana, ENDPOINT, "drift")
    given.work()
    assert (given.last().slot, given.last().rows) == (NINE, 240)


def test_who_may_watch_and_what_a_monitor_cannot_be(given: Watching) -> None:
    world = given.world
    refused("not-allowed", given.monitors.set, world.ana, ENDPOINT, "drift", given_spec())
    refused("not-allowed", given.monitors.pause, world.ben, ENDPOINT, "drift", "x")
    row = given.set()
    assert given.set().revision == row.revision, "saying it again changes nothing"
    refused("stale-write", given.monitors.set, world.olga, ENDPOINT, "drift", given_spec(rate=0.1), revision=9)
    refused("bad-monitor", given.monitors.set, world.olga, ENDPOINT, "drift", given_spec(kind="data"))
    refused("bad-name", given.monitors.set, world.olga, ENDPOINT, "Drift!", given_spec())
    refused("not-found", given.monitors.set, world.olga, "nowhere", "drift", given_spec())
    refused("no-reason", given.monitors.pause, world.olga, ENDPOINT, "drift", " ")
    given.monitors.pause(world.olga, ENDPOINT, "drift", "A while.")
    refused("paused", given.monitors.run, world.ana, ENDPOINT, "drift")
    given.monitors.resume(world.olga, ENDPOINT, "drift")
    given.monitors.remove(world.olga, ENDPOINT, "drift")
    refused("not-found", given.monitors.remove, world.olga, ENDPOINT, "drift")
    assert world.ledger("monitor") == ["monitor.set", "monitor.pause", "monitor.resume", "monitor.remove"]


def given_spec(**told: Any) -> Any:
    from backend.monitoring.rules import parse_spec

    return parse_spec({"kind": "drift", **told})


def test_a_profile_is_added_by_whoever_registers_and_replaced_by_whoever_runs(given: Watching) -> None:
    from backend.drift.stored import profile_bytes

    world, content = given.world, profile_bytes(profile_of(columns(300)))
    refused("not-allowed", given.profiles.set, world.ben, MODEL, 1, content)
    refused("not-found", given.profiles.set, world.ana, MODEL, 99, content)
    refused("bad-profile", given.profiles.set, world.ana, MODEL, 1, b"nothing")
    given.profiles.set(world.ana, MODEL, 1, content)
    assert given.profiles.set(world.ana, MODEL, 1, content).revision == 1
    other = profile_bytes(profile_of(columns(400, 9)))
    refused("not-allowed", given.profiles.set, world.ana, MODEL, 1, other)
    assert given.profiles.set(world.olga, MODEL, 1, other).revision == 2
    assert world.ledger("reference_profile") == ["reference_profile.set"] * 2


@only_sqlite
def test_what_the_page_asks(given: Watching) -> None:
    given.profile()
    given.set()
    given.set("data", kind="data")
    for hour in range(3):
        given.asked(NINE - (3 - hour) * HOUR, seed=hour, x=normal(200, 40 + hour, hour * 1.5))
    given.on(minutes=6)
    given.asked(NINE, seed=9)
    given.on(hours=1)
    with given.database.read() as session:
        now, where = given.clock.now, given.where()
        choices = queries.choices(session, ENDPOINT)
        assert (choices.versions, choices.arms, choices.features) == ((1,), ("v1",), ("x", "y", "t"))
        heat = queries.heatmap(session, where)
        assert heat.rows[0].feature == "x"
        today = heat.rows[0].cells[-1]
        assert (today.version, today.severity in ("warning", "critical"), (today.times or 0) > 1) == (1, True, True)
        assert heat.rows[0].cells[0].why == "No monitor ran for this day."
        one = queries.feature(session, where, "x")
        assert one.bars
        assert (one.kind, one.rows, one.reference_rows, one.why) == ("number", 600, 2_000, "")
        assert [point.monitor for point in one.over_time if point.value is not None] == ["drift"] * 3
        absent = queries.feature(session, where, "nothing")
        assert absent.why == "The reference of version 1 has no such column."
        rates = queries.null_rates(session, where)
        assert {rate.feature for rate in rates} == {"x", "y", "t"}
        assert rates[0].points[0].share == 0
        assert queries.predictions(session, where).why == "The reference of version 1 has no prediction."
        assert queries.quality(session, where).why.startswith("No monitor says what is predicted here")
        assert queries.reliability(session, where).curve == ()
        told = queries.traffic(session, where, now=now, interval=timedelta(seconds=30))
        assert [mark.reason for mark in told.deployments] == ["baseline"]
        assert queries.budgets(session, ENDPOINT, now=now) is None
        view = queries.monitor(session, ENDPOINT, "drift", now=now)
        assert [run.state for run in view.runs] == ["ok", "alarm", "alarm"]
        assert view.line.watches.startswith("features and predictions of the last hour against the data that it was trained")
        refused("bad-span", queries.heatmap, session, replace(where, end=where.start - DAY))


@only_sqlite
def test_quality_as_outcomes_come_and_estimates_before(given: Watching) -> None:
    task = {"kind": "binary", "outcome": "late"}
    random = np.random.default_rng(3)
    given.profile()
    given.set("quality", kind="quality", task=task, window_hours=24, limits={"auc": {"below": 0.99}}, segments=["t"])
    given.set("estimate", kind="estimate", task=task, window_hours=24, reference={"kind": "recent", "days": 7}, every_hours=24)
    rows, outcomes = [], []
    for day in range(9, 0, -1):
        for place in range(120):
            score = float(random.uniform(0.05, 0.95))
            key = f"{day}-{place}"
            at = NINE.replace(hour=0) - day * DAY + timedelta(minutes=place * 10)
            features_ = {"x": 0.0, "y": 10.0, "t": "abc"[place % 3]}
            rows.append(
                {"request_id": key, "event_time": at, "version": 1, "assigned_arm": "v1", "features": features_,
                 "prediction": score}
            )  # fmt: skip
            late = bool(random.random() < score)
            outcomes.append({"request_id": key, "known_at": at + HOUR, "values": {"late": late}})
    given.append(rows)
    given.log.append_outcomes(ENDPOINT, outcomes[:-30])
    given.log.flush()
    given.on(minutes=20)
    ran = given.last("quality")
    assert ran.state == "alarm"
    assert given.findings() == [("quality.auc", "auc of version 1, predicting late")]
    assert "below 0.99" in given.says("quality.auc")
    assert ran.figures["1"]["auc"]["label"] == "provisional: 54 % of outcomes known"
    estimated = given.last("estimate")
    assert (estimated.state, estimated.figures["1"]["auc"]["label"]) == ("ok", "estimated before outcomes are known")
    given.log.append_outcomes(ENDPOINT, outcomes[-30:])
    given.log.flush()
    given.on(hours=1)
    with given.database.read() as session:
        where = given.where()
        found = queries.quality(session, where)
        curve = queries.reliability(session, where)
        afternoon = queries.quality(session, replace(where, start=NINE - DAY + 3 * HOUR))
    assert (found.requests, found.known, found.task) == (72, 72, "the probability of late")
    assert {line.name: line.label for line in found.figures}["auc"] == ""
    assert [one.segmentation for one in found.segments] == ["t"] * 3
    assert found.estimates
    assert {one.name: one.checks for one in found.record}["auc"] == 1
    assert curve.curve
    assert len(found.over_time["log_loss"]) == 1
    assert afternoon.requests < 72
    assert [one.figure.n for one in afternoon.over_time["log_loss"]] == [72], "the first day of a chart is a whole one"


def test_removing_an_endpoint_s_monitor_leaves_what_it_found(given: Watching) -> None:
    given.profile()
    given.set()
    given.asked(NINE - HOUR, x=normal(200, 9, 3.0))
    given.on(minutes=6)
    given.monitors.remove(given.world.olga, ENDPOINT, "drift")
    assert (given.runs(), len(given.findings())) == ([], 1)
    Findings(given.database).resolve(given.world.olga, 1, "We know.", "expected")
    assert given.findings() == []
    with given.database.read() as session:
        assert session.exec(select(Monitor)).all() == []


def test_the_first_days_of_serving_and_the_same_hours_a_week_earlier(given: Watching) -> None:
    given.profile()
    for hour in range(3):
        given.asked(NINE + hour * HOUR, seed=hour, x=normal(200, 60 + hour, 2.0))
        given.asked(NINE + hour * HOUR - 7 * DAY, seed=10 + hour, x=normal(200, 70 + hour, 2.0))
    given.set("skew", kind="skew", first_days=1)
    given.set("week", reference={"kind": "season", "season": "week"}, window_hours=3)
    given.on(hours=3, minutes=6)
    assert given.last("skew").state == "alarm"
    assert ("skew.feature", "x of version 1, against training data") in given.findings()
    assert given.last("week").state == "ok", "it was as far away a week ago"
    assert given.last("week").rows == 600
    with given.database.read() as session:
        assert len(session.exec(select(KeptThresholds)).all()) >= 1


def test_each_version_has_its_own_reference_and_one_that_is_missing_is_told(given: Watching) -> None:
    given.profile()
    given.profile(profile_of({**columns(2_000), "x": normal(2_000, 1, 5.0)}), version=2)
    given.beside(2, 3)
    for hour in (NINE - HOUR, NINE - HOUR - 7 * DAY):
        shift = 0.0 if hour < NINE - DAY else 5.0
        given.asked(hour)
        given.asked(hour, version=2, seed=8, x=normal(200, 8, shift))
        given.asked(hour, version=3, seed=9)
    given.set()
    given.set("champion", reference={"kind": "champion"})
    given.set("week", reference={"kind": "season", "season": "week"})
    given.set("year", reference={"kind": "season", "season": "year"})
    given.on(minutes=6)
    found = set(given.findings())
    no_profile = {
        ("drift.no-reference", f"version 3, against {one}") for one in ("training data", "the champion", "a week earlier")
    }
    assert {one for one in found if "training" in one[1]} == {("drift.no-reference", "version 3, against training data")}, (
        "each is as it was trained"
    )
    assert ("drift.feature", "x of version 2, against the champion") in found, "and 2 sees what 1 does not"
    assert ("drift.feature", "x of version 2, against a week earlier") in found, "and did not a week ago"
    assert not any("version 1," in about for _, about in found)
    assert no_profile <= found
    assert given.last("champion").why.startswith("Version 1 is the champion itself. Version 3 has no reference profile")
    assert (given.last("year").state, given.last("year").rows) == ("no_data", 400)
    assert "only 1 of 1 hours were counted, with 0 requests" in given.last("year").why
    with given.database.read() as session:
        judged = {one.version for one in session.exec(select(MonitorScore))}
    assert judged == {1, 2}


@only_sqlite
def test_features_are_counted_apart_by_one_feature_s_segments_and_they_add_up(given: Watching) -> None:
    given.profile()
    given.set(segments=["t"], reference={"kind": "season", "season": "week"})
    given.set("data", kind="data", segments=["x"])
    given.asked(NINE - HOUR, x=[None, *normal(199, 3)])
    given.asked(NINE - HOUR - 7 * DAY, seed=4)
    given.on(minutes=6)
    letter = list(columns(200, 7)["t"])

    def rows(feature: str, segment: str) -> tuple[int, int, str]:
        with given.database.read() as session:
            where = replace(given.where(segmentation=feature, segment=segment), start=NINE - HOUR, end=NINE)
            view = queries.feature(session, where, "y")
        return view.rows, view.reference_rows, view.note

    with given.database.read() as session:
        segments = queries.choices(session, ENDPOINT).segments
    assert set(segments["t"]) == {"= a", "= b", "= c", "other", "missing"}
    counted = {one: rows("t", one) for one in segments["t"] if letter.count(one[2:])}
    assert {one: told[0] for one, told in counted.items()} == {f"= {one}": letter.count(one) for one in "abc"}
    assert all(0 < told[1] < 200 for told in counted.values()), "the reference is the segment's too"
    assert all("judge whole windows" in told[2] for told in counted.values())
    bands = [one for one in segments["x"] if one not in ("missing", "not a number")]
    assert sum(rows("x", one)[0] for one in bands) == 199
    assert min(rows("x", one)[0] for one in bands) > 20
    assert rows("x", "missing")[0] == 1
    assert "not counted by this segment" in rows("y", "from 10")[2]
    given.asked(NINE - HOUR, 50, seed=30, t=["a"] * 50)
    given.on(hours=1)
    assert rows("t", "= a")[0] == letter.count("a") + 50, "late rows are counted again"
    assert "hours" not in rows("t", "= a")[2]
    with given.database.unit(SYSTEM) as tx:
        found = set(tx.session.exec(select(CountedHour.what)))
        tx.session.execute(sa.delete(CountedHour).where(col(CountedHour.what).in_(found - {min(found, key=len)})))
    with given.database.read() as session:
        view = queries.predictions(session, given.where(segmentation="t", segment="= a"))
    assert view.why == "1 of the 1 hours in which something was asked were not counted by this segment."


class Warehouse:
    """Two tables of the team's own in a file of DuckDB, and an endpoint whose rows they are said to hold."""

    def __init__(self, given: Watching, folder: Path) -> None:
        self._path = folder / "warehouse.duckdb"
        with duckdb.connect(str(self._path)) as connection:
            for one in (
                "CREATE TABLE scored (id TEXT, happened TIMESTAMPTZ, stored TIMESTAMPTZ, x DOUBLE, y DOUBLE, t TEXT, "
                "score DOUBLE)",
                "CREATE TABLE landed (id TEXT, known TIMESTAMPTZ, stored TIMESTAMPTZ, late BOOLEAN)",
            ):
                connection.execute(one)
        (folder / "tables.toml").write_text(
            f'[engines.w]\nurl = "duckdb://{self._path}"\n[endpoints.{ENDPOINT}]\nengine = "w"\n'
            f'[endpoints.{ENDPOINT}.requests]\ntable = "scored"\nfeatures = {{x = "x", y = "y", t = "t"}}\n'
            'columns = {request_id = "id", event_time = "happened", received_at = "stored", prediction = "score"}\n'
            f'[endpoints.{ENDPOINT}.outcomes]\ntable = "landed"\nvalues = {{late = "late"}}\n'
            'columns = {request_id = "id", known_at = "known", received_at = "stored"}\n'
        )
        sources = Sources(given.log, folder / "tables.toml", Guard())
        given.counting = Counting(given.database, given.log, tables=sources.cells_of)

    def asked(self, at: datetime, rows: int, seed: int, received: datetime, **instead: Any) -> list[str]:
        told = {**columns(rows, seed), "score": np.linspace(0.05, 0.95, rows), **instead}
        lines = [
            (
                f"{seed}-{place}",
                at + timedelta(seconds=place),
                received,
                *(told[name][place] for name in ("x", "y", "t", "score")),
            )
            for place in range(rows)
        ]
        with duckdb.connect(str(self._path)) as connection:
            connection.executemany("INSERT INTO scored VALUES (?, ?, ?, ?, ?, ?, ?)", lines)
        return [line[0] for line in lines]

    def learned(self, keys: Sequence[str], at: datetime, late: Callable[[int], bool]) -> None:
        lines = [(key, at, at, late(place)) for place, key in enumerate(keys)]
        with duckdb.connect(str(self._path)) as connection:
            connection.executemany("INSERT INTO landed VALUES (?, ?, ?, ?)", lines)


@only_sqlite
def test_requests_in_tables_of_one_s_own_are_counted_over_there(given: Watching, tmp_path: Path) -> None:
    warehouse = Warehouse(given, tmp_path)
    given.profile()
    given.set()
    given.set("classes", kind="quality", task={"kind": "classes", "outcome": "late", "classes": ["a", "b"]})
    warehouse.asked(NINE - HOUR, 200, 7, NINE)
    given.on(minutes=6)
    assert (given.last().state, given.counted(NINE - HOUR)) == ("ok", 200)
    warehouse.asked(NINE - HOUR, 50, 30, NINE + timedelta(minutes=30))
    warehouse.asked(NINE, 200, 9, NINE + HOUR, x=normal(200, 9, 3.0))
    given.on(hours=1)
    assert given.findings() == [("drift.feature", "x of version 1, against training data")]
    assert (given.counted(NINE), given.counted(NINE - HOUR)) == (200, 250), "rows that came late are counted"
    for _ in range(5):
        given.on(minutes=5)
    assert given.last("classes").state == "no_data"
    assert given.line("classes").says.startswith("Only 0 of the 1 hours of its window were counted.")


@only_sqlite
def test_outcomes_and_segments_of_tables_of_one_s_own_are_counted_over_there(given: Watching, tmp_path: Path) -> None:
    warehouse = Warehouse(given, tmp_path)
    given.profile()
    given.set(segments=["t"])
    task = {"kind": "binary", "outcome": "late"}
    given.set("quality", kind="quality", task=task, limits={"auc": {"below": 0.99}}, segments=["t"], min_known=0.5)
    keys = warehouse.asked(NINE - HOUR, 300, 7, NINE)
    warehouse.learned(keys[:100], NINE, lambda place: place % 3 == 0)
    given.on(minutes=6)
    ran = given.last("quality")
    assert (ran.state, ran.figures["1"]["auc"]["n"], ran.figures["1"]["auc"]["missing"]) == ("no_data", 100, 200)
    assert "100 outcomes are known, 33 %" in ran.why
    letter = list(columns(300, 7)["t"])
    with given.database.read() as session:
        where = replace(given.where(segmentation="t", segment="= a"), start=NINE - HOUR, end=NINE)
        assert queries.feature(session, where, "x").rows == letter.count("a")
        assert queries.quality(session, where).requests == letter.count("a")
    warehouse.learned(keys[100:], NINE + timedelta(minutes=30), lambda place: place % 3 == 0)
    given.on(hours=1)
    with given.database.read() as session:
        found = queries.quality(session, replace(given.where(), start=NINE - HOUR, end=NINE))
    assert (found.requests, found.known) == (300, 300), "outcomes that came late are counted"


@only_sqlite
def test_a_window_that_alarmed_has_one_report_a_day_that_its_findings_name(given: Watching) -> None:
    given.profile()
    given.set(report="drift")
    given.set("silent")
    for hour in range(3):
        given.asked(NINE + (hour - 1) * HOUR, seed=hour, x=normal(200, 9 + hour, 3.0))
    given.on(hours=2, minutes=6)
    assert given.states()[-3:] == ["alarm"] * 3
    (report,) = given.reports()
    assert (report.monitor, report.asked_by, report.parts, report.state) == ("drift", "monitor drift", ("drift",), "queued")
    assert (report.current.start, report.current.end, report.current.version) == (NINE - HOUR, NINE, 1)
    assert (report.reference.start, report.reference.version) == (NINE - HOUR - 7 * DAY, None)
    with given.database.read() as session:
        found = session.exec(select(FindingFinder)).all()
    assert {(one.found_by, one.evidence.get("report")) for one in found} == {
        ("monitor drift", report.id), ("monitor silent", None)
    }  # fmt: skip
    assert given.world.ledger("window_report") == ["window_report.ask"]
    given.asked(NINE + 25 * HOUR, seed=30, x=normal(200, 30, 3.0))
    given.on(hours=24)
    assert len(given.reports()) == 2, "another day, another one"


@only_sqlite
def test_what_is_older_than_anybody_asks_for_is_forgotten(given: Watching) -> None:
    given.profile()
    given.set()
    given.asked(NINE - HOUR)
    given.on(minutes=6)
    watch.prune(given.database)
    assert (len(given.runs()), given.counted(NINE - HOUR)) == (2, 200)
    given.clock.tick(days=500)
    watch.prune(given.database)
    assert (given.runs(), given.counted(NINE - HOUR)) == ([], 0)
