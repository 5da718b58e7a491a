"""Failures that are kept beside a sample: seen one by one, and counted by nobody."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backend.inference_log.handling import Handling
from backend.inference_log.rules import part_of, request_of
from backend.inference_log.service import InferenceLog
from tests.databases import Clock
from tests.services.inference_log.conftest import data_files, ids, read, row

HALF = Handling(b"k" * 32, every=2)


@pytest.mark.parametrize("table", ["requests", "parts"])
def test_failures_beside_the_sample_do_not_make_shares_of_failures_too_large(root: Path, late_clock: Clock, table: str) -> None:
    check = request_of if table == "requests" else part_of
    told = [row(n, unit=f"u{n}", failure="timeout" if n % 10 == 0 else "x-none" if n % 10 == 1 else "") for n in range(400)]
    kept = [one for each in told if (one := HALF.request(check(each, late_clock.now))) is not None]
    with InferenceLog(root, clock=late_clock) as log:
        log.append_checked(table, "delay", kept)  # type: ignore[arg-type]
        log.flush()
        with read(log) as reading:
            (found,) = reading.counts()
        with read(log, unsampled=True) as reading:
            (every,) = reading.counts()
    sampled = {one["request_id"] for one in told if HALF.request(check({**one, "failure": ""}, late_clock.now)) is not None}
    assert found.requests == len(sampled)
    assert found.failures == sum(1 for one in told if one["request_id"] in sampled and one["failure"])
    assert (every.failures, every.requests) == (80, found.requests + 80 - found.failures)


def test_what_the_whole_row_says_counts_before_its_parts_and_one_sampled_part_is_enough(root: Path, late_clock: Clock) -> None:
    beside = [part_of(row(n, failure="timeout"), late_clock.now)._replace(unsampled=True) for n in range(3)]
    with InferenceLog(root, clock=late_clock) as log:
        log.append_checked("parts", "delay", beside)
        log.append("delay", [row(1)])
        log.append_parts("delay", [row(2)])
        log.flush()
        assert ids(log) == ["r1", "r2"]


def test_files_from_before_there_was_such_a_thing_are_read_as_they_were(root: Path, late_clock: Clock) -> None:
    with InferenceLog(root, clock=late_clock) as log:
        log.append("delay", [row(1)])
        log.append_parts("delay", [row(2)])
        log.flush()
        for path in data_files(root):
            pq.write_table(pq.read_table(path).drop_columns(["unsampled"]), path)
        assert ids(log) == ["r1", "r2"]
