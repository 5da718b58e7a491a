"""Rows that are hard on Evidently, and hostile: a log of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from backend.inference_log.service import InferenceLog
from backend.window_reports.rules import WEEK
from tests.databases import Clock

NAME = "</script><script>alert(1)</script>"
LINK = '<a href="https://evil.example/?x">carrier</a>'
ROWS, WITH_OUTCOMES = 400, 300


class Quiet:
    """Nobody looks whether to go on."""

    def tick(self, _newest: object) -> bool:
        return True


@contextmanager
def logged(folder: Path, clock: Clock) -> Iterator[InferenceLog]:
    """A week ago and now: numbers that moved, texts that nobody else has, gaps, infinities, and outcomes of most."""
    with InferenceLog(folder, clock=clock) as log:
        for week, before in enumerate((WEEK + timedelta(minutes=30), timedelta(minutes=30))):
            at = clock.now - before
            requests = [_request(week, number) | {"event_time": at} for number in range(ROWS)]
            assert log.append("e", requests).kept == ROWS
            log.append_outcomes("e", [_outcome(week, number) | {"known_at": at} for number in range(WITH_OUTCOMES)])
        log.flush()
        yield log


def _request(week: int, number: int) -> dict[str, Any]:
    features = {
        "age": number % 70 + 10.0 * week,
        NAME: float(number % 13),
        LINK: f"<b>{number % 5}</b>",
        "who": f"user-{number}",
        "far": float("inf") if number == 7 else 1.0 * number,
        "gone": None if week else 1.0,
        "flag": number % 3 == 0,
        "thing": {"a": 1},
        "few": None if number % 2 else float(number % 4),
    }
    return {"request_id": f"{week}-{number}", "features": features, "prediction": (number * 7 % 100) / 100}


def _outcome(week: int, number: int) -> dict[str, Any]:
    values = {"late": (number * 7 % 100) > 50 - 10 * week, "delay": number / ROWS}
    return {"request_id": f"{week}-{number}", "values": values}
