"""What comes out of the log is what went in: each request once, in its hour, with its outcome."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from backend.core.errors import Refusal
from backend.inference_log.columns import Column
from backend.inference_log.reading import ArmHour
from backend.inference_log.service import InferenceLog
from backend.inference_log.writer import Limits
from tests.databases import Clock
from tests.services.inference_log.conftest import HOUR, NOON, data_files, ids, outcome, read, row


@pytest.fixture
def log(any_root: str | Path, late_clock: Clock) -> Any:
    with InferenceLog(any_root, clock=late_clock) as opened:
        yield opened


def write(log: InferenceLog, *rows: dict[str, Any]) -> None:
    appended = log.append("delay", rows)
    assert (appended.kept, appended.rejected) == (len(rows), 0), appended
    log.flush()


def learn(log: InferenceLog, *rows: dict[str, Any]) -> None:
    appended = log.append_outcomes("delay", rows)
    assert (appended.kept, appended.rejected) == (len(rows), 0), appended
    log.flush()


def only(log: InferenceLog, sql: str, **options: Any) -> dict[str, Any]:
    with read(log, **options) as reading:
        (found,) = reading.query(sql).to_pylist()
    return dict(found)


def test_a_row_comes_back_as_it_was(log: InferenceLog, late_clock: Clock) -> None:
    told = {
        "request_id": "r'1\"; DROP TABLE requests; --",
        "event_time": NOON + timedelta(microseconds=123_456),
        "received_at": NOON + timedelta(seconds=1),
        "unit": "Zoë",
        "bucket": 9_999,
        "assigned_arm": "challenger",
        "served_arm": "champion",
        "generation": 7,
        "version": 2,
        "prediction": 0.25,
        "latency_seconds": 0.012,
        "status": 200,
        "failure": "",
    }
    features = {
        "Hour": 7,
        "hour": 8.5,
        "carrier": "UA",
        "x\";'": True,
        "vector": [1, {"a": None}],
        "temp": None,
        "nan": math.nan,
    }
    write(log, {**told, "features": features})
    kept = only(log, "SELECT * FROM requests")
    assert {name: kept[name] for name in told} == told
    assert (kept["n.%48our"], kept["n.hour"], kept["t.carrier"], kept["f.x%22%3b%27"]) == (7.0, 8.5, "UA", True)
    assert (kept["j.vector"], kept["nulls"], math.isnan(kept["n.nan"])) == ('[1,{"a":null}]', ["temp"], True)


def test_what_nobody_said_stays_unknown(log: InferenceLog, late_clock: Clock) -> None:
    write(log, {"request_id": "r1", "event_time": NOON, "failure": "connect"})
    kept = only(log, "SELECT * FROM requests", versions=[None])
    assert kept.pop("received_at") == late_clock.now
    assert {name for name, value in kept.items() if value is not None} == {
        "request_id",
        "event_time",
        "failure",
        "nulls",
        "unsampled",
    }


def test_features_are_named_with_their_kinds(log: InferenceLog) -> None:
    write(log, row(1, features={"Hour": 1, "carrier": "UA"}), row(2, version=2, features={"carrier": 5, "flag": False}))
    with read(log) as reading:
        assert reading.features == (
            Column("n.%48our", "Hour", "number"),
            Column("n.carrier", "carrier", "number"),
            Column("t.carrier", "carrier", "text"),
            Column("f.flag", "flag", "flag"),
        )
        kept = reading.query('SELECT "n.carrier", "t.carrier" FROM requests ORDER BY request_id').to_pylist()
    assert [tuple(each.values()) for each in kept] == [(None, "UA"), (5.0, None)]


def test_a_request_that_came_twice_counts_once_and_the_later_receipt_wins(log: InferenceLog) -> None:
    first, second, third = (NOON + timedelta(seconds=seconds) for seconds in (1, 2, 3))
    write(log, row(1, received_at=second, prediction=0.2))
    write(log, row(1, received_at=third, prediction=0.3), row(1, received_at=first, prediction=0.1))
    write(log, row(1, received_at=first, prediction=0.1), row(2))
    assert ids(log) == ["r1", "r2"]
    assert only(log, "SELECT prediction FROM requests WHERE request_id = 'r1'") == {"prediction": 0.3}


def test_a_batch_that_is_sent_again_changes_nothing(log: InferenceLog) -> None:
    batch = [row(number, prediction=0.5) for number in range(50)]
    write(log, *batch)
    write(log, *batch)
    assert only(log, "SELECT count(*) AS n, sum(prediction) AS total FROM requests") == {"n": 50, "total": 25.0}


def test_a_late_row_lies_in_the_hour_of_its_event(log: InferenceLog) -> None:
    write(log, row(3, minutes=185), row(2, minutes=65))
    write(log, row(1, minutes=5, received_at=NOON + 9 * HOUR))
    assert log.hours("delay", 1) == [NOON, NOON + HOUR, NOON + 3 * HOUR]
    assert ids(log, hours=1) == ["r1"]
    assert ids(log, hours=2) == ["r1", "r2"]


def test_a_span_takes_its_start_in_and_leaves_its_end_out(log: InferenceLog) -> None:
    write(log, *(row(number, minutes=minutes) for number, minutes in enumerate((0, 29.9999, 30, 59, 60))))
    with log.read("delay", None, NOON, NOON + HOUR / 2) as reading:
        assert reading.query("SELECT request_id FROM requests ORDER BY ALL")["request_id"].to_pylist() == ["r0", "r1"]
    with log.read("delay", None, NOON + HOUR / 2, NOON + HOUR) as reading:
        assert reading.query("SELECT request_id FROM requests ORDER BY ALL")["request_id"].to_pylist() == ["r2", "r3"]


def test_an_outcome_joins_its_request_before_or_after_it(log: InferenceLog) -> None:
    learn(log, outcome(1, 1.0, minutes=90))
    write(log, row(1), row(2), row(3))
    learn(log, outcome(2, None, minutes=200), outcome(9, 1.0))
    with read(log) as reading:
        found = reading.query('SELECT request_id, known_at, "o.late" AS late FROM joined ORDER BY request_id').to_pylist()
        assert [one.name for one in reading.outcomes] == ["late"]
    assert [tuple(each.values()) for each in found] == [
        ("r1", NOON + timedelta(minutes=90), 1.0),
        ("r2", NOON + timedelta(minutes=200), None),
        ("r3", None, None),
    ]


def test_a_corrected_outcome_counts_once_even_from_another_hour(log: InferenceLog) -> None:
    write(log, row(1))
    learn(log, outcome(1, 0.0, minutes=60, received_at=NOON + 2 * HOUR))
    learn(log, outcome(1, 1.0, minutes=180, received_at=NOON + 4 * HOUR))
    learn(log, outcome(1, 0.0, minutes=60, received_at=NOON + 2 * HOUR))
    assert only(log, 'SELECT count(*) AS n, max("o.late") AS late FROM joined') == {"n": 1, "late": 1.0}


def test_what_was_known_at_an_earlier_time_can_be_asked(log: InferenceLog) -> None:
    write(log, row(1), row(2))
    learn(log, outcome(1, 1.0, minutes=60), outcome(2, 1.0, minutes=61))
    count = "SELECT count(known_at) AS known FROM joined"
    assert only(log, count, known_by=NOON + HOUR) == {"known": 1}
    assert only(log, count, known_by=NOON + timedelta(minutes=61)) == {"known": 2}


def test_an_outcome_without_any_in_the_log_is_unknown_and_no_error(log: InferenceLog) -> None:
    write(log, row(1))
    assert only(log, "SELECT request_id, known_at FROM joined") == {"request_id": "r1", "known_at": None}


def test_an_empty_log_answers_empty(log: InferenceLog) -> None:
    assert (log.endpoints(), log.versions("delay"), log.hours("delay", 1)) == ([], [], [])
    with read(log, [1, None]) as reading:
        assert reading.query("SELECT * FROM joined").num_rows == 0
        assert (reading.counts(), reading.features) == ([], ())


def test_counts_are_by_hour_assigned_arm_and_version(log: InferenceLog) -> None:
    write(
        log,
        *(row(number, minutes=number) for number in range(8)),
        row(20, assigned_arm="challenger", version=1),  # the champion stood in
        row(21, assigned_arm="challenger", served_arm="challenger", version=2),
        row(22, assigned_arm="challenger", served_arm=None, version=None, failure="timeout"),
        row(23, minutes=61),
        row(23, minutes=61),
    )
    with read(log) as reading:
        assert reading.counts() == [
            ArmHour(NOON, "challenger", None, 1, 1, 0, 1),
            ArmHour(NOON, "challenger", 1, 1, 0, 1, 1),
            ArmHour(NOON, "challenger", 2, 1, 0, 0, 1),
            ArmHour(NOON, "champion", 1, 8, 0, 0, 7),
            ArmHour(NOON + HOUR, "champion", 1, 1, 0, 0, 1),
        ]


def test_endpoints_do_not_see_each_other(log: InferenceLog) -> None:
    write(log, row(1))
    log.append("other", [row(1), row(2)])
    log.flush()
    assert ids(log) == ["r1"]
    assert log.endpoints() == ["delay", "other"]


def test_a_column_that_no_row_has_is_null_and_a_statement_that_is_wrong_is_a_defect(log: InferenceLog) -> None:
    write(log, row(1, features={"Hour": 5}))
    with read(log) as reading:
        columns = [reading.column("Hour", "number"), reading.column("hour", "number"), reading.column("late", "outcome")]
        assert columns == ['"n.%48our"', "CAST(NULL AS DOUBLE)", "CAST(NULL AS DOUBLE)"]
        found = reading.query(f"SELECT {', '.join(columns)} FROM joined")
        assert (found.num_rows, [column[0].as_py() for column in found.columns]) == (1, [5.0, None, None])
        with pytest.raises(duckdb.BinderException):
            reading.query('SELECT "n.hour" FROM requests')


def test_a_large_answer_comes_in_parts(log: InferenceLog) -> None:
    write(log, *(row(number) for number in range(1_000)))
    with read(log) as reading:
        sizes = [batch.num_rows for batch in reading.batches("SELECT * FROM requests", rows=300)]
    assert sum(sizes) == 1_000


def test_a_query_takes_its_values_apart(log: InferenceLog) -> None:
    write(log, row(1), row(2))
    with read(log) as reading:
        assert reading.query("SELECT unit FROM requests WHERE request_id = ?", ["r2' OR true --"]).num_rows == 0
        assert reading.query("SELECT unit FROM requests WHERE request_id = ?", ["r2"]).to_pylist() == [{"unit": "u2"}]


@pytest.mark.parametrize(
    ("start", "end"),
    [(NOON, NOON), (NOON + HOUR, NOON), (NOON.replace(tzinfo=None), NOON + HOUR), (NOON, (NOON + HOUR).replace(tzinfo=None))],
)
def test_a_span_that_is_none_is_refused(log: InferenceLog, start: datetime, end: datetime) -> None:
    with pytest.raises(Refusal) as refused:
        log.read("delay", None, start, end)
    assert refused.value.code == "bad-window"


@pytest.mark.parametrize("endpoint", ["../delay", "delay/../../x", "", "DELAY", "a b", "delay\n"])
def test_a_hostile_endpoint_is_refused_everywhere_and_nothing_is_written(tmp_path: Path, endpoint: str) -> None:
    log = InferenceLog(tmp_path / "log")
    calls = [
        lambda: log.append(endpoint, [row(1)]),
        lambda: log.append_outcomes(endpoint, [outcome(1, 1.0)]),
        lambda: log.read(endpoint, None, NOON, NOON + HOUR),
        lambda: log.versions(endpoint),
        lambda: log.hours(endpoint, 1),
    ]
    for call in calls:
        with pytest.raises(Refusal) as refused:
            call()
        assert refused.value.code == "bad-endpoint"
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_only_the_partitions_that_were_asked_for_are_opened(root: Path, late_clock: Clock) -> None:
    """Every other file is made unreadable, and DuckDB says how many it opened."""
    with InferenceLog(root, clock=late_clock) as log:
        for version in (1, 2, 3, None):
            log.append("delay", [row(hour, minutes=60 * hour, version=version) for hour in range(6)])
        log.append("other", [row(1, version=2)])
        log.append_outcomes("delay", [outcome(hour, 1.0, minutes=60 * hour) for hour in range(6)])
    asked = {f"requests/endpoint=delay/version=2/hour=2026-03-02T{hour}" for hour in (14, 15)}
    asked |= {f"outcomes/endpoint=delay/hour=2026-03-02T{hour}" for hour in (14, 15, 16)}
    for path in data_files(root):
        if path.parent.relative_to(root).as_posix() not in asked:
            path.write_bytes(b"PAR1 this is no Parquet file PAR1")
    window = (NOON + 2 * HOUR, NOON + 4 * HOUR)
    with log.read("delay", [2], *window, known_by=NOON + 4.5 * HOUR) as reading:
        assert len(reading.files["requests"]) == 2
        assert {path.rpartition("/")[0] for files in reading.files.values() for path in files} == asked
        assert [one.requests for one in reading.counts()] == [1, 1]
        (plan,) = reading.query("EXPLAIN ANALYZE SELECT sum(latency_seconds) FROM requests")["explain_value"].to_pylist()
        assert "Total Files Read: 2" in plan


def test_many_rows_go_in_with_bounded_memory_and_come_out(root: Path, late_clock: Clock) -> None:
    held = []
    with InferenceLog(root, clock=late_clock, limits=Limits(rows=6_000, seconds=600)) as log:
        for start in range(0, 60_000, 1_500):
            log.append("delay", (row(number, minutes=number / 1_000) for number in range(start, start + 1_500)))
            held.append(log.stats().held)
    assert max(held) <= 6_000
    assert len(data_files(root)) <= 20
    wanted = 'SELECT count(*) AS n, sum("n.number") AS total, count(DISTINCT request_id) AS ids FROM requests'
    assert only(log, wanted) == {"n": 60_000, "total": 59_999 * 30_000.0, "ids": 60_000}


def test_what_is_no_number_is_found_among_numbers(log: InferenceLog, late_clock: Clock) -> None:
    """A file's statistics leave NaN out; the database must not conclude that there is none."""
    write(
        log,
        *(row(number, features={"temp": math.nan if number == 3 else float(number)}, prediction=0.5) for number in range(9)),
    )
    counted = only(log, 'SELECT count(*) AS n FROM requests WHERE isnan("n.temp")')
    above = only(log, 'SELECT count(*) AS n FROM requests WHERE "n.temp" > 100')
    assert (counted["n"], above["n"]) == (1, 1), "NaN is greater than every number there"
