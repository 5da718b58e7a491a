"""Rows as a whole: what no single column shows is found, days that differ are not, and what cannot be judged is said."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from backend.core import work
from backend.core.database import Database
from backend.core.errors import ExternalFailure
from backend.core.work import LeaseLost
from backend.drift import domain
from backend.monitoring import joint, queries, runs
from tests.databases import Clock
from tests.drift_data import letters, normal
from tests.services.monitoring.world import HOUR, Watching

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
PERIOD = {"kind": "period", "name": "the night", "start": (NINE - 13 * HOUR).isoformat(), "end": (NINE - HOUR).isoformat()}
NIGHT = "version 1, against 2026-03-01 20:00 to 2026-03-02 08:00"

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def given(database: Database, clock: Clock, tmp_path: Path) -> Watching:
    return Watching(database, clock, tmp_path)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The classifier's own code in this process: starting one is `test_domain`'s. The columns of each comparison."""
    path = Path(domain.__file__).with_name("classifier.py")
    spec = importlib.util.spec_from_file_location("classifier_of_this_test", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    asked: list[int] = []

    def answered(table: Any, seed: int, seconds: float, tick: Any, _scratch: Any) -> Any:
        assert tick()
        names = table.column_names[:-1]
        asked.append(len(names))
        texts = [place for place, name in enumerate(names) if not module.pa.types.is_floating(table[name].type)]
        data = np.column_stack([module._numbers(table[name]) for name in names])
        with threadpoolctl.threadpool_limits(1):
            told = module.judged(data, table["current"].to_numpy().astype(np.int64), texts, seed, 1)
        return domain._Answer(**told)

    monkeypatch.setattr(domain, "_asked", answered)
    return asked


def alike(rows: int, seed: int) -> dict[str, Any]:
    """Two numbers that go together, each of them as usual."""
    x = normal(rows, seed)
    return {"x": x, "y": 10 + 2 * x + normal(rows, seed + 500, 0, 0.1), "t": letters(rows, seed)}


def night(given: Watching) -> None:
    for hour in range(12):
        given.asked(NINE - (13 - hour) * HOUR, 120, seed=hour, **alike(120, hour))


def test_columns_that_no_longer_go_together_are_found_by_rows_as_a_whole_alone(given: Watching, here: list[int]) -> None:
    night(given)
    given.asked(NINE - HOUR, 200, seed=20, **alike(200, 20))
    given.set(reference=PERIOD, joint=True)
    given.on(minutes=6)
    told = given.last().figures["1"]["joint"]
    assert given.last().state == "ok"
    assert told["low"] < 0.6
    assert (told["rows"], told["usual"], told["compared_with"]) == (200, None, "the night")
    assert len(here) == len(given.runs()), "windows of the reference are asked only where something would be news"
    apart = alike(200, 21)
    given.asked(NINE, 200, seed=21, **{**apart, "y": np.random.default_rng(3).permutation(apart["y"])})
    given.on(hours=1)
    assert given.findings() == [("drift.joint", NIGHT)], "no single column is news"
    told = given.last().figures["1"]["joint"]
    assert told["low"] > 0.75
    assert told["usual"] < 0.6
    assert {name for name, _ in told["columns"][:2]} == {"x", "y"}
    assert "windows of the reference reach" in given.says("drift.joint")
    with given.database.read() as session:
        points = queries.joint(session, given.where())
    assert [(one.severity, one.auc is not None) for one in points[-2:]] == [("", True), ("critical", True)]
    assert points[-1].columns[0][0] in ("x", "y")


def test_windows_that_differ_as_much_as_the_reference_s_own_are_no_news(given: Watching, here: list[int]) -> None:
    for hour in range(12):
        given.asked(NINE - (13 - hour) * HOUR, 120, seed=hour, **{**alike(120, hour), "t": ["abcdefghijkl"[hour]] * 120})
    given.asked(NINE - HOUR, 200, seed=20, **{**alike(200, 20), "t": ["l"] * 200})
    given.set(reference=PERIOD, joint={"rows": 1_000}, features=["t"])
    given.on(minutes=6)
    told = given.last().figures["1"]["joint"]
    assert told["usual"] > told["auc"] > 0.9, "hours of that night have each a letter of their own"
    assert "drift.joint" not in dict(given.findings())
    assert here[0] == 1, "only what the monitor looks at"


def test_what_cannot_be_judged_is_said_and_ends_nothing(
    given: Watching, here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    night(given)
    apart = alike(200, 21)
    given.asked(NINE - HOUR, 200, seed=21, **{**apart, "y": np.random.default_rng(3).permutation(apart["y"])})
    given.set(reference=PERIOD, joint=True, min_rows=30)
    given.on(minutes=6)
    assert given.findings() == [("drift.joint", NIGHT)]
    given.asked(NINE, 60, seed=22, **alike(60, 22))
    given.on(hours=1)
    assert given.findings() == [("drift.joint", NIGHT)], "60 rows say nothing of rows as a whole"
    assert (
        given.last().figures["1"]["joint"]["why"].startswith("Rows as a whole were not judged. A domain classifier needs 100")
    )

    def fails(*_: Any, **__: Any) -> Any:
        raise ExternalFailure("The domain classifier", "took longer than 120 s", retryable=True)

    monkeypatch.setattr(joint, "told_apart", fails)
    given.asked(NINE + HOUR, 200, seed=23, **alike(200, 23))
    given.on(hours=1)
    assert ("drift.joint-unjudged", NIGHT) in given.findings()
    assert ("drift.joint", NIGHT) in given.findings()
    monkeypatch.undo()


def test_a_claim_that_is_lost_meanwhile_stores_nothing(given: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    night(given)
    given.asked(NINE - HOUR, 200, seed=20, **alike(200, 20))
    given.set(reference=PERIOD, joint=True)

    def lost(self: Any) -> bool:
        raise LeaseLost(work.Claim("monitor", "mon_1", 1, "w", given.clock.now, 0, 0))

    monkeypatch.setattr(runs._Renewing, "__call__", lost)
    with pytest.raises(LeaseLost):
        given.on(minutes=6)
    assert [one.ended_at for one in given.runs()] == [None]
