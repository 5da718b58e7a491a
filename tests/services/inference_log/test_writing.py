"""Rows on their way: what is rejected, when files appear, and what a crash or a full disk leaves."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from backend.core.errors import ExternalFailure
from backend.inference_log import naming
from backend.inference_log.files import BEFORE_RENAME
from backend.inference_log.service import InferenceLog
from backend.inference_log.writer import Limits, Rejection
from tests.databases import Clock
from tests.services.inference_log.conftest import NOON, data_files, ids, outcome, read, row

WRITER = """
import sys
from backend.inference_log.service import InferenceLog
from backend.inference_log.writer import Limits
from tests.services.inference_log.conftest import row
root, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with InferenceLog(root, limits=Limits(rows=50, seconds=600)) as log:
    for start in range(first, last, 10):
        log.append("delay", [row(number, minutes=number % 120) for number in range(start, start + 10)])
print("done")
"""


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def run_writer(root: Path, first: int, last: int, failpoint: str = "") -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "COUNTERSIGN_FAILPOINT": failpoint}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first), str(last)], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_malformed_rows_are_rejected_with_reasons_and_counted_and_the_rest_is_kept(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        rows = [row(0), row(1, bucket=-1), "no row", row(3), row(4, bucket=10_000), {"event_time": NOON}]
        appended = log.append("delay", rows)  # type: ignore[arg-type]  # as a caller from outside does
        assert (appended.kept, appended.rejected) == (2, 4)
        assert appended.rejections == (
            Rejection(1, "bucket is not a whole number from 0 to 9999"),
            Rejection(2, "the row is not a set of named fields"),
            Rejection(4, "bucket is not a whole number from 0 to 9999"),
            Rejection(5, "request_id is missing"),
        )
        bad = log.append_outcomes("delay", [outcome(0, 1.0), outcome(1, "x")])  # type: ignore[arg-type]
        assert (bad.kept, bad.rejected) == (1, 1)
        assert log.stats().rejected == {
            ("delay", "bucket is not a whole number from 0 to 9999"): 2,
            ("delay", "the row is not a set of named fields"): 1,
            ("delay", "request_id is missing"): 1,
            ("delay", "values holds something that is no number and no truth value"): 1,
        }
    assert ids(log) == ["r0", "r3"]


def test_an_answer_lists_a_hundred_rejections_and_counts_them_all(root: Path) -> None:
    with InferenceLog(root) as log:
        appended = log.append("delay", ({"request_id": number} for number in range(1_234)))
    assert (appended.kept, appended.rejected, len(appended.rejections)) == (0, 1_234, 100)
    assert [one.index for one in appended.rejections] == list(range(100))


def test_names_without_end_become_no_columns_and_take_no_row_from_anybody(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock, limits=Limits(columns=10)) as log:
        rows = [row(number, features={"always": 1.0, f"user-{number}": 1.0}) for number in range(100)]
        appended = log.append("delay", rows)
        assert (appended.kept, appended.rejected, appended.values_left_out) == (100, 0, 91)
        log.append_parts("delay", [row(200, features={"always": 2.0, "new": 1.0})])
        assert log.append("other", [row(200, features={"another": 2.0})]).values_left_out == 0
        assert log.append_outcomes("delay", [outcome(1, 2.0)]).values_left_out == 0
    with InferenceLog(root, clock=late_clock, limits=Limits(columns=10)) as again:  # another process knows it from the files
        assert again.append("delay", [row(201, features={"always": 3.0, "newer": 1.0})]).values_left_out == 1
        again.flush()
        with read(again) as reading:
            assert len(reading.features) == 10
            assert reading.query('SELECT count(*) AS n FROM requests WHERE "n.always" > 0').to_pylist() == [{"n": 102}]


def test_names_that_no_file_of_the_week_holds_give_up_their_place(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock, limits=Limits(columns=10)) as log:
        log.append("delay", [row(1, features={f"junk-{number}": 1.0 for number in range(10)})])
        log.flush()
        assert log.append("delay", [row(2, features={"hour": 1.0})]).values_left_out == 1
        late_clock.now += naming.KEPT_FOR + timedelta(days=1)
        assert log.append("delay", [row(3, features={"hour": 1.0})]).values_left_out == 0


def test_files_appear_when_there_are_enough_rows_or_enough_bytes(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock, limits=Limits(rows=10, bytes=100_000, seconds=600)) as log:
        log.append("delay", [row(number) for number in range(9)])
        assert (data_files(root), log.stats().held) == ([], 9)
        log.append("delay", [row(9)])
        assert (len(data_files(root)), log.stats().held) == (1, 0)
        log.append("delay", [row(10, features={"text": "x" * 100_000})])
        assert (len(data_files(root)), log.stats().held, log.stats().files) == (2, 0, 2)


def test_files_appear_after_a_while_without_another_row(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock, limits=Limits(seconds=0.05)) as log:
        for number in range(2):  # the timer goes on after the first time
            log.append("delay", [row(number)])
            until(lambda wanted=number + 1: len(ids(log)) == wanted)  # type: ignore[misc]
        assert ids(log) == ["r0", "r1"]
        assert len(data_files(root)) == 2


def test_a_closed_log_has_written_everything_and_takes_no_more(root: Path, late_clock: Clock) -> None:
    log = InferenceLog(root, clock=late_clock)
    log.append("delay", [row(1)])
    log.close()
    assert ids(log) == ["r1"]
    with pytest.raises(RuntimeError):
        log.append("delay", [row(2)])


def test_threads_that_append_and_flush_at_once_lose_nothing(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock, limits=Limits(rows=40, seconds=0.01)) as log:

        def work(worker: int) -> None:
            for number in range(100):
                log.append("delay", [row(worker * 100 + number, minutes=number % 90)])

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert log.stats().kept == 800
    assert len(ids(log)) == 800


def test_a_log_that_cannot_be_written_holds_its_rows_until_it_is_full_and_then_says_so(root: Path, late_clock: Clock) -> None:
    root.write_text("a file where the folder should be")
    log = InferenceLog(root, clock=late_clock, limits=Limits(rows=10, seconds=600))
    log.append("delay", [row(number) for number in range(10)])  # the last of them fails to be written, and is held
    with pytest.raises(ExternalFailure) as failure:
        log.append("delay", [row(10)])
    assert (failure.value.retryable, str(failure.value)) == (True, "The inference log cannot be written")
    with pytest.raises(ExternalFailure):
        log.flush()
    assert (log.stats().held, log.stats().kept, log.stats().failed_writes) == (10, 10, 3)
    root.unlink()
    log.append("delay", [row(10)])
    log.close()
    assert len(ids(log)) == 11


def test_a_timer_that_could_not_write_tries_again(root: Path, late_clock: Clock) -> None:
    root.write_text("a file where the folder should be")
    with InferenceLog(root, clock=late_clock, limits=Limits(seconds=0.02)) as log:
        log.append("delay", [row(1)])
        until(lambda: log.stats().failed_writes >= 2)
        root.unlink()
        until(lambda: log.stats().held == 0)
        assert ids(log) == ["r1"]


def test_a_crash_between_writing_and_renaming_leaves_nothing_that_readers_see(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append("delay", [row(1)])
    crashed = run_writer(root, 100, 200, failpoint=BEFORE_RENAME)
    assert (crashed.communicate(timeout=60)[0], crashed.returncode) == ("", -9)
    unfinished = [path for path in data_files(root) if path.name.startswith(".")]
    assert len(unfinished) == 1, "it did not crash where it should"
    assert ids(log) == ["r1"]
    log.compact()
    assert unfinished[0].exists(), "it could still be written"
    late_clock.now = log_time = late_clock.now + timedelta(days=3650)
    assert log_time > NOON
    log.compact()
    assert not unfinished[0].exists()
    assert ids(log) == ["r1"]


def test_two_processes_write_while_a_third_reads(root: Path) -> None:
    writers = [run_writer(root, first, first + 300) for first in (0, 150)]  # half of the rows come from both
    log = InferenceLog(root)
    seen = 0
    while any(writer.poll() is None for writer in writers):
        with read(log) as reading:
            (found,) = reading.query("SELECT count(*) AS n, count(DISTINCT request_id) AS ids FROM requests").to_pylist()
        assert found["n"] == found["ids"] >= seen
        seen = found["n"]
        time.sleep(0.02)
    assert [writer.communicate(timeout=60)[0].strip() for writer in writers] == ["done", "done"]
    assert ids(log) == sorted(f"r{number}" for number in range(450))
