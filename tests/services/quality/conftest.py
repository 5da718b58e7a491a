"""A log per test, and rows for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.inference_log.service import InferenceLog

DAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = DAY + timedelta(days=1)
ENDPOINT = "delay"


class Rows:
    """A log that rows are put into at a time of the test's choosing."""

    def __init__(self, root: Path) -> None:
        self.now = NOW
        self.log = InferenceLog(root, clock=lambda: self.now)

    def ask(self, *rows: dict[str, Any]) -> None:
        appended = self.log.append(ENDPOINT, rows)
        assert appended.rejected == 0, appended
        self.log.flush()

    def learn(self, *rows: dict[str, Any]) -> None:
        appended = self.log.append_outcomes(ENDPOINT, rows)
        assert appended.rejected == 0, appended
        self.log.flush()

    def read(self, *, known_by: datetime | None = None, **options: Any) -> Any:
        return self.log.read(ENDPOINT, None, options.get("start", DAY), options.get("end", NOW), known_by=known_by or self.now)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    made = Rows(tmp_path / "log")
    yield made
    made.log.close()


def request(number: int, prediction: object, *, hours: float = 12, **fields: Any) -> dict[str, Any]:
    """A request so many hours after midnight, answered by version 1 on the champion."""
    return {
        "request_id": f"r{number}",
        "event_time": DAY + hours * HOUR,
        "assigned_arm": "champion",
        "served_arm": "champion",
        "version": 1,
        "prediction": prediction,
        **fields,
    }


def outcome(number: int, value: float | None, *, hours: float = 13, **fields: Any) -> dict[str, Any]:
    """An outcome called `late`, known so many hours after midnight."""
    return {"request_id": f"r{number}", "known_at": DAY + hours * HOUR, "values": {"late": value}, **fields}


def day_of_rows(count: int = 600, seed: int = 7) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Requests of a day on two arms with features, and the outcomes of five in six of them, some hours later."""
    random = np.random.default_rng(seed)
    requests, outcomes = [], []
    for number in range(count):
        hours, score = float(random.uniform(0, 20)), float(np.round(random.beta(2, 5), 3))
        arm = ("champion", 1) if random.random() < 0.6 else ("challenger", 2)
        features = {"carrier": str(random.choice(["UA", "AA", "B6", "F9"])), "temp": float(random.normal(40, 10))}
        if number % 17 == 0:
            features = {"temp": float("nan")}
        requests.append(
            request(number, score, hours=hours, served_arm=arm[0], assigned_arm=arm[0], version=arm[1], features=features)
        )
        if number % 6:
            late = float(random.random() < score)
            outcomes.append(outcome(number, late, hours=hours + float(random.uniform(0.1, 3))))
    return requests, outcomes
