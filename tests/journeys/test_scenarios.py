"""The demo's scenarios on real servers and real flights: the figures decide, and nobody else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.test_headless_demo import start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder: each scenario begins where version 1 is live, as the one before left it."""
    return tmp_path_factory.mktemp("scenarios") / "data"


def played(folder: Path, name: str) -> dict[str, Any]:
    """What a scenario printed; it has to hold."""
    process = start(folder, "--scenario", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    (line,) = out.splitlines()
    told: dict[str, Any] = json.loads(line)
    assert (told["scenario"], told["failed_requests"], told["ledger_intact"]) == (name, 0, True)
    assert told["steps"][0]["reason"] == "start"
    return told


@pytest.mark.timeout(700)
def test_a_version_that_is_wrong_on_purpose_is_taken_back_by_a_guardrail(folder: Path) -> None:
    told = played(folder, "bad")
    assert (told["decision"], told["live_version"]) == ("roll_back", 1)
    assert told["steps"][-1]["reason"] == "rollback"
    assert told["steps"][-1]["shares"] == {"v1": 100.0}
    assert any("log-loss" in one or "brier" in one for one in told["reasons"])
    assert 0 < told["exposure"]["v3"] < told["exposure"]["v1"]


@pytest.mark.timeout(700)
def test_a_shadow_answers_nobody_and_is_compared(folder: Path) -> None:
    told = played(folder, "shadow")
    assert (told["decision"], told["live_version"]) == ("keep_running", 1)
    assert told["steps"][0]["shadow"] == "v2"
    assert told["steps"][0]["shares"] == {"v1": 100.0}
    assert told["shadow"]["answered"] > 0
    assert told["shadow"]["compared"] > 0


@pytest.mark.timeout(700)
def test_a_better_version_ramps_to_all_of_the_traffic_on_what_is_proved(folder: Path) -> None:
    told = played(folder, "good")
    assert (told["decision"], told["live_version"]) == ("ship", 2)
    assert [one["shares"] for one in told["steps"]][-1] == {"v2": 100.0}
    assert [one["reason"] for one in told["steps"]] == ["start", "ramp", "ramp", "ramp"]
    assert all("tolerated" in one for one in told["reasons"])
