"""Rows that go: units that were erased, hours that are old; and which hours changed since a look."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from backend.inference_log.compaction import Rules
from backend.inference_log.service import InferenceLog
from tests.databases import Clock
from tests.services.inference_log.conftest import HOUR, NOON, data_files, ids, outcome, read, row


def going(*names: str, until: datetime | None = None) -> object:
    def those(units: Iterable[str]) -> dict[str, datetime | None]:
        return {unit: until for unit in units if unit in names}

    return those


def holds(root: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in data_files(root))


def test_a_unit_goes_from_every_table_and_from_the_disk(any_root: str | Path, late_clock: Clock) -> None:
    with InferenceLog(any_root, clock=late_clock) as log:
        log.append("delay", [row(n, minutes=20 * n) for n in range(14)])  # units u0 to u6
        log.append_parts("delay", [{"request_id": "r1", "event_time": NOON, "prediction": 0.5}])
        log.append_parts("delay", [{"request_id": "r20", "event_time": NOON, "unit": "u1", "features": {"a": 1.0}}])
        log.append_outcomes("delay", [outcome(n, 1.0) for n in (1, 2, 8, 20)])
        log.flush()
        done = log.erase("delay", going("u1"))  # type: ignore[arg-type]
        assert not done.is_clean
        assert done.removed == 3 + 1 + 3  # r1, r8 and r20, the part of r1 that names no unit, and their outcomes
        assert ids(log) == sorted(f"r{n}" for n in range(14) if n % 7 != 1)
        with read(log) as reading:
            assert reading.query("SELECT request_id FROM outcomes").to_pylist() == [{"request_id": "r2"}]
        assert not log.erase("delay", going("u1")).is_clean, "readers may still have the files before"  # type: ignore[arg-type]
        late_clock.tick(hours=2)
        log.compact(rules=Rules(closed_for=timedelta(days=365)))
        again = log.erase("delay", going("u1"))  # type: ignore[arg-type]
        assert (again.removed, again.is_clean) == (0, True)
        if isinstance(any_root, Path):
            assert not holds(any_root, "u1")
            assert holds(any_root, "u2")


def test_rows_that_came_after_an_erasure_stay(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append("delay", [row(1)])
        asked = late_clock.now
        late_clock.tick(seconds=1)
        log.append("delay", [row(8)])
        log.flush()
        assert log.erase("delay", going("u1", until=asked)).removed == 1  # type: ignore[arg-type]
        assert ids(log) == ["r8"]


def test_a_reading_that_was_opened_before_goes_on(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append("delay", [row(1), row(2)])
        log.flush()
        with read(log) as reading:
            log.erase("delay", going("u1"))  # type: ignore[arg-type]
            assert reading.query("SELECT * FROM requests").num_rows == 2
        assert ids(log) == ["r2"]


def test_hours_that_were_over_long_enough_go_table_by_table(any_root: str | Path, late_clock: Clock) -> None:
    with InferenceLog(any_root, clock=late_clock) as log:
        log.append("delay", [row(1), row(2, minutes=60), row(3, minutes=120, version=None)])
        log.append_outcomes("delay", [outcome(1, 1.0)])
        log.flush()
        assert log.expire("requests", "delay", NOON + 1.5 * HOUR) == 1
        assert ids(log) == ["r2", "r3"]
        assert log.expire("requests", "delay", NOON + 24 * HOUR) == 2
        assert log.expire("parts", "delay", NOON + 24 * HOUR) == 0
        assert ids(log) == []
        with read(log) as reading:
            assert reading.query("SELECT * FROM outcomes").num_rows == 1


def test_only_hours_that_changed_since_a_look_are_touched(any_root: str | Path, late_clock: Clock) -> None:
    with InferenceLog(any_root, clock=late_clock) as log:
        log.append("delay", [row(n, minutes=60 * n) for n in range(5)])
        log.append_outcomes("delay", [outcome(1, 1.0)])
        log.flush()
        assert log.touched("delay", late_clock.now).requests == tuple(NOON + n * HOUR for n in range(5))
        late_clock.tick(minutes=30)
        since = late_clock.now
        assert log.touched("delay", since).requests == ()
        log.append("delay", [row(9, minutes=65)])  # late
        log.append_parts("delay", [{"request_id": "r3", "event_time": NOON + 3 * HOUR, "unit": "u9"}])
        log.append_outcomes("delay", [outcome(2, 0.0, minutes=200)])
        log.flush()
        found = log.touched("delay", since)
        assert (found.requests, found.outcomes) == ((NOON + HOUR, NOON + 3 * HOUR), (NOON + 3 * HOUR,))
        assert log.touched("delay", since, start=NOON + 2 * HOUR).requests == (NOON + 3 * HOUR,)
        assert log.touched("other", since).requests == ()
        span = {"start": NOON, "end": NOON + 24 * HOUR, "known_by": late_clock.now}
        assert log.hours_of_outcomes("delay", since, **span) == [NOON + 2 * HOUR]


def test_what_compaction_merged_counts_as_touched_once_more(root: Path, late_clock: Clock) -> None:
    """Else whoever did not look for hours would miss rows whose own files are gone by then."""
    with InferenceLog(root, clock=late_clock) as log:
        since = late_clock.now
        for number in (1, 2):
            log.append("delay", [row(number)])
            log.flush()
        late_clock.tick(hours=3)
        log.compact()
        late_clock.tick(hours=3)
        log.compact()
        assert len(data_files(root)) == 1
        assert log.touched("delay", since).requests == (NOON,)


def test_copies_of_a_unit_s_requests_go_whether_they_name_it_or_not(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append("delay", [row(1), row(2)])  # of units u1 and u2
        log.append_copies("delay", [answer("r1", "shadow"), answer("r1", "champion"), answer("r2", "shadow")])
        log.append_copies("delay", [answer("r90", "shadow", unit="u1"), answer("r91", "shadow", unit="u2")])
        log.flush()
        assert log.erase("delay", going("u1")).removed == 1 + 3  # type: ignore[arg-type]
        with log.read("delay", None, NOON, NOON + HOUR, copies=True) as reading:
            left = reading.query("SELECT DISTINCT request_id FROM copied ORDER BY 1").to_pylist()
        assert [one["request_id"] for one in left] == ["r2", "r91"]


def answer(name: str, arm: str, **fields: object) -> dict[str, object]:
    return {"request_id": name, "event_time": NOON, "shadow": "shadow", "arm": arm, "prediction": 0.5, "status": 200, **fields}
