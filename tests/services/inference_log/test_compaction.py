"""Many small files become one while others write and read, and no moment or crash shows a row twice or not at all."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import ExternalFailure
from backend.inference_log import catalog
from backend.inference_log.compaction import BEFORE_LIST, Compacted, Rules
from backend.inference_log.files import Files
from backend.inference_log.service import InferenceLog
from backend.inference_log.writer import Limits
from tests.databases import Clock
from tests.services.inference_log.conftest import HOUR, NOON, data_files, ids, outcome, read, row

COMPACT = """
import sys
from backend.inference_log.service import InferenceLog
InferenceLog(sys.argv[1]).compact()
"""


def fill(log: InferenceLog, numbers: range, **options: Any) -> None:
    """One file a row."""
    for number in numbers:
        log.append("delay", [row(number, **options)])
        log.flush()


def total(log: InferenceLog) -> tuple[int, float, float]:
    with read(log) as reading:
        late = reading.column("late", "outcome")
        sums = f'SELECT count(*) AS n, sum("n.number") AS numbers, coalesce(sum({late}), 0) AS late FROM joined'
        (found,) = reading.query(sums).to_pylist()
    return found["n"], found["numbers"], found["late"]


def test_the_files_of_a_closed_hour_become_one_with_the_same_rows(any_root: str | Path, late_clock: Clock) -> None:
    log = InferenceLog(any_root, clock=late_clock)
    fill(log, range(10))
    fill(log, range(5))  # once more
    for number in range(3):
        log.append_outcomes("delay", [outcome(number, 1.0)])
        log.flush()
    before = total(log)
    assert log.compact() == Compacted(hours=2, merged=18, removed=0)
    with read(log) as reading:
        assert [len(found) for found in reading.files.values()] == [1, 0, 1]
        kept = reading.query("SELECT * FROM requests ORDER BY request_id LIMIT 1").to_pylist()
    assert total(log) == before == (10, 45.0, 3.0)
    assert (kept[0]["event_time"], kept[0]["nulls"], kept[0]["n.number"]) == (NOON, [], 0.0)
    assert log.compact() == Compacted()


def test_an_hour_that_is_not_over_is_left_alone(root: Path, late_clock: Clock) -> None:
    late_clock.now = NOON + timedelta(minutes=119, seconds=59)
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(3))
    assert log.compact() == Compacted()
    late_clock.tick(seconds=1)
    assert log.compact() == Compacted(hours=1, merged=3)


def test_only_hours_from_a_time_on_are_looked_at_when_asked(root: Path, late_clock: Clock) -> None:
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(2))
    fill(log, range(2, 4), minutes=60)
    assert log.compact(since=NOON + HOUR) == Compacted(hours=1, merged=2)


def test_a_reading_that_was_opened_before_goes_on(root: Path, late_clock: Clock) -> None:
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(6))
    with read(log) as reading:
        log.compact()
        late_clock.tick(minutes=59)
        log.compact()
        late_clock.tick(seconds=1)
        assert reading.query("SELECT count(*) AS n FROM requests").to_pylist() == [{"n": 6}]
    assert ids(log) == [f"r{number}" for number in range(6)]


def test_replaced_files_go_after_a_while(any_root: str | Path, late_clock: Clock) -> None:
    log = InferenceLog(any_root, clock=late_clock)
    fill(log, range(6))
    log.compact()
    files = Files(any_root)
    (partition,) = catalog.partitions(files, "requests", "delay", [1], None, None)
    assert len(files.names(partition.folder)) == 8
    late_clock.tick(hours=1, seconds=1)
    assert log.compact() == Compacted(removed=7)
    assert files.names(partition.folder) == catalog.live_files(files, partition)
    assert ids(log) == [f"r{number}" for number in range(6)]


def test_rows_that_come_late_are_read_and_merged_the_next_time(root: Path, late_clock: Clock) -> None:
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(3))
    log.compact()
    late_clock.tick(seconds=1)
    fill(log, range(2, 5), prediction=0.5)  # one of them again, received later
    assert total(log)[:2] == (5, 10.0)
    late_clock.tick(hours=2)
    assert log.compact() == Compacted(hours=1, merged=4, removed=4)
    late_clock.tick(hours=2)
    assert log.compact() == Compacted(removed=5)
    assert len(data_files(root)) == 1
    with read(log) as reading:
        assert reading.query("SELECT count(prediction) AS n FROM requests").to_pylist() == [{"n": 3}]
    assert total(log)[:2] == (5, 10.0)


def test_a_crash_before_the_list_is_written_shows_each_row_once(root: Path, late_clock: Clock) -> None:
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(4))
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "COUNTERSIGN_FAILPOINT": BEFORE_LIST}
    crashed = subprocess.run([sys.executable, "-c", COMPACT, str(root)], env=environment, timeout=60, check=False)
    assert crashed.returncode == -9
    with read(log) as reading:
        assert len(reading.files["requests"]) == 5, "it did not crash where it should"
    assert total(log)[:2] == (4, 6.0)
    assert log.compact() == Compacted(hours=1, merged=5)
    assert total(log)[:2] == (4, 6.0)


def test_two_compactions_at_once_waste_work_and_nothing_else(root: Path, late_clock: Clock) -> None:
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(4))
    runs = [threading.Thread(target=InferenceLog(root, clock=late_clock).compact) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert total(log)[:2] == (4, 6.0)
    for _ in range(3):
        late_clock.tick(hours=2)
        log.compact()
    assert len(data_files(root)) == 1
    assert total(log)[:2] == (4, 6.0)


def test_a_list_that_goes_while_somebody_looks_makes_him_look_again(
    root: Path, late_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise he would take the replaced files, which went before their list, for those that count."""
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(4))
    log.compact()
    late_clock.tick(hours=2)
    real, times = Files.read, []

    def read_after_tidying(files: Files, path: str) -> bytes | None:
        if not times:
            times.append(path)
            log.compact()
        return real(files, path)

    monkeypatch.setattr(Files, "read", read_after_tidying)
    assert total(log)[:2] == (4, 6.0)
    assert times, "no list was read"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'[1, null, "../../../etc/passwd", "part-x"]', b"[" * 5_000])
def test_a_damaged_list_hides_no_row_and_removes_no_other_file(root: Path, late_clock: Clock, content: bytes) -> None:
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(3))
    log.compact()
    (listed,) = root.rglob("replaced-*.json")
    listed.write_bytes(content)
    assert total(log)[:2] == (3, 3.0)
    late_clock.tick(hours=2)
    log.compact()
    assert len(data_files(root)) == 5  # the three, the file that they were merged to, and one of all of these
    assert total(log)[:2] == (3, 3.0)


def test_a_file_that_cannot_be_read_is_told_and_nothing_is_removed(root: Path, late_clock: Clock) -> None:
    log = InferenceLog(root, clock=late_clock)
    fill(log, range(3))
    data_files(root)[0].write_bytes(b"PAR1 damaged PAR1")
    for call in (log.compact, lambda: read(log)):
        with pytest.raises(ExternalFailure) as failure:
            call()
        assert str(failure.value).startswith("The inference log has files that cannot be")
    assert len(data_files(root)) == 3
    assert not list(root.rglob("merged-*"))


def test_readers_see_every_written_row_once_while_others_write_and_compact(root: Path) -> None:
    """In real time, with files that are replaced under the readers' eyes."""
    log = InferenceLog(root, limits=Limits(rows=5, seconds=600))
    rules = Rules(closed_for=timedelta(0), grace=timedelta(seconds=60))
    stop, failed = threading.Event(), list[BaseException]()

    def compact() -> None:
        try:
            while not stop.wait(0.01):
                log.compact(rules=rules)
        except BaseException as error:
            failed.append(error)

    compacting = threading.Thread(target=compact)
    compacting.start()
    try:
        for written in range(5, 301, 5):
            log.append("delay", [row(number) for number in range(written - 5, written)])
            if written % 20 == 0:
                assert total(log)[:2] == (written, written * (written - 1) / 2)
    finally:
        stop.set()
        compacting.join()
    assert failed == []
    assert list(root.rglob("merged-*")), "nothing was compacted meanwhile"
    assert total(log)[0] == 300
