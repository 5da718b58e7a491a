"""Who answered lately, as the log tells it: traffic, never configuration."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from backend.inference_log.exposure import Served, served
from backend.inference_log.service import InferenceLog
from tests.databases import Clock
from tests.services.inference_log.conftest import row

WITHIN = timedelta(minutes=15)


def test_requests_are_counted_by_the_arm_that_answered_them(root: Path, late_clock: Clock) -> None:
    now = late_clock.now
    lately, before = {"received_at": now - timedelta(minutes=1)}, {"received_at": now - timedelta(minutes=16)}
    with InferenceLog(root, clock=late_clock) as log:
        assert served(log, "delay", now, WITHIN) == ()
        rows = [row(number, served_arm="v1", version=1, **lately) for number in range(3)]
        rows += [row(10, served_arm="v2", version=2, **lately), row(11, served_arm="v1", version=1, **before)]
        rows += [row(12, assigned_arm="v2", served_arm="v1", version=1, **lately)]  # v2 failed, v1 stood in
        rows += [row(13, served_arm=None, version=None, failure="timeout", **lately)]
        log.append("delay", rows)
        log.flush()
        assert served(log, "delay", now, WITHIN) == (Served("v1", 1, 4), Served("v2", 2, 1))
        assert served(log, "other", now, WITHIN) == ()
        late_clock.tick(minutes=20)
        assert served(log, "delay", late_clock.now, WITHIN) == (), "what was served is not what is served"


def test_what_is_replayed_from_long_ago_counts_as_it_arrives(root: Path, late_clock: Clock) -> None:
    now = late_clock.now
    with InferenceLog(root, clock=late_clock) as log:
        log.append("delay", [row(1, minutes=-60 * 24 * 90, served_arm="v1", received_at=now - timedelta(seconds=5))])
        log.flush()
        assert [one.requests for one in served(log, "delay", now, WITHIN)] == [1]
