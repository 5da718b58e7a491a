"""What the router and a caller tell of one request apart comes out as one row, in whatever order it came."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from backend.inference_log.compaction import Rules
from backend.inference_log.service import InferenceLog
from tests.databases import Clock
from tests.services.inference_log.conftest import HOUR, NOON, outcome, read, row

ROUTED = {
    "assigned_arm": "canary", "served_arm": "champion", "bucket": 7, "version": 2, "generation": 5, "latency_seconds": 0.2,
    "status": 200, "failure": "",
}  # fmt: skip
ASKED = {"unit": "u1", "features": {"hour": 7.0, "gone": None}}
ANSWERED = {"prediction": 0.25}


def part(number: int, *, minutes: float = 0, **fields: Any) -> dict[str, Any]:
    return {"request_id": f"r{number}", "event_time": NOON + timedelta(minutes=minutes), **fields}


def rows(log: InferenceLog, versions: list[int | None] | None = None, **options: Any) -> list[dict[str, Any]]:
    with read(log, versions, **options) as reading:
        found: list[dict[str, Any]] = reading.query("SELECT * FROM joined ORDER BY request_id").to_pylist()
        return found


@pytest.mark.parametrize("order", list(permutations((ROUTED, ASKED, ANSWERED))), ids=str)
def test_parts_come_together_in_whatever_order(root: Path, late_clock: Clock, order: tuple[dict[str, Any], ...]) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        for fields in order:
            assert log.append_parts("delay", [part(1, **fields)]).rejected == 0
            late_clock.tick(seconds=1)
            log.flush()
        log.append_outcomes("delay", [outcome(1, 1.0)])
        log.flush()
        (found,) = rows(log)
    assert {name: found[name] for name in ROUTED} == ROUTED
    assert (found["unit"], found["n.hour"], found["nulls"], found["prediction"]) == ("u1", 7.0, ["gone"], 0.25)
    assert found["o.late"] == 1.0


def test_only_the_merged_row_says_which_version_answered(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append_parts("delay", [part(1, **ROUTED), part(1, **ASKED), part(2, **ASKED)])
        log.append("delay", [row(3)])
        log.flush()
        assert [one["request_id"] for one in rows(log, [2])] == ["r1"]
        assert [one["request_id"] for one in rows(log, [1])] == ["r3"]
        assert [one["request_id"] for one in rows(log, [None])] == ["r2"]
        assert [one["request_id"] for one in rows(log)] == ["r1", "r2", "r3"]
        assert [one["failure"] for one in rows(log)] == ["", "", ""]


def test_a_whole_row_says_more_than_its_parts(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append("delay", [row(1, unit=None, prediction=0.5)])
        log.append_parts("delay", [part(1, **ASKED, prediction=0.9), part(1, **ROUTED)])
        log.flush()
        (found,) = rows(log)
    assert (found["prediction"], found["served_arm"], found["version"]) == (0.5, "champion", 1)
    assert (found["unit"], found["n.number"], found["n.hour"]) == ("u1", 1.0, 7.0)


def test_the_latest_part_counts_and_one_that_says_nothing_takes_nothing_away(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append_parts("delay", [part(1, **ANSWERED)])
        late_clock.tick(seconds=1)
        log.append_parts("delay", [part(1, prediction=0.75)])
        late_clock.tick(seconds=1)
        log.append_parts("delay", [part(1, **ASKED)])
        log.flush()
        (found,) = rows(log)
    assert (found["prediction"], found["unit"]) == (0.75, "u1")


@pytest.mark.parametrize(
    ("told", "value", "text", "nulls"),
    [
        ([{"hour": 5.0}, {"hour": None}], None, None, ["hour"]),
        ([{"hour": None}, {"hour": 5.0}], 5.0, None, []),
        ([{"hour": 5.0}, {"hour": None}, {"hour": 6.0}], 6.0, None, []),
        ([{"hour": "7"}, {"hour": 5.0}, {"hour": None}], None, None, ["hour"]),
        ([{"hour": 5.0}, {"Hour": None, "a'b": None}, {"other": None}], 5.0, None, ["Hour", "a'b", "other"]),
    ],
)
def test_of_a_value_and_a_null_the_later_counts(
    root: Path, late_clock: Clock, told: list[dict[str, Any]], value: float | None, text: str | None, nulls: list[str]
) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        for features in told:
            assert log.append_parts("delay", [part(1, features=features), part(2, features={"hour": 1.0})]).rejected == 0
            log.flush()
            late_clock.tick(seconds=1)
        corrected, untouched = rows(log)
    assert (corrected["n.hour"], corrected.get("t.hour"), corrected["nulls"]) == (value, text, nulls)
    assert (untouched["n.hour"], untouched["nulls"]) == (1.0, [])


def test_parts_on_both_sides_of_an_hour_are_one_request_of_the_earlier_one(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append_parts("delay", [part(1, minutes=59.99, **ROUTED), part(1, minutes=60.01, **ASKED)])
        log.flush()
        (found,) = rows(log, hours=1)
        assert (found["version"], found["unit"]) == (2, "u1")
        with log.read("delay", None, NOON + HOUR, NOON + 2 * HOUR) as reading:
            assert reading.query("SELECT * FROM requests").num_rows == 0
        assert log.part_hours("delay") == [NOON, NOON + HOUR]


def test_compaction_changes_nothing_of_what_parts_tell(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        for fields in (ANSWERED, ROUTED, {"prediction": 0.5}, ASKED):
            log.append_parts("delay", [part(1, **fields)])
            late_clock.tick(seconds=1)
            log.flush()
        before = rows(log)
        assert log.compact(rules=Rules(closed_for=timedelta(0))).hours == 1
        assert rows(log) == before
        assert before[0]["prediction"] == 0.5
