"""The main job from nothing: `countersign demo --headless --json` as a process, on real servers and real flights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlmodel import col, select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.ledger import LedgerRow, first_break
from backend.delivery.rows import Authorization, Generation
from backend.inference_log.service import InferenceLog

COMMAND = [sys.executable, "-P", "-m", "backend.cli.main", "demo", "--headless", "--json"]


def start(folder: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    settings = {key: value for key, value in os.environ.items() if not key.startswith("COUNTERSIGN_")}
    kept = {name: os.environ[name] for name in ("COUNTERSIGN_RUNTIMES_DIR",) if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    environment = {**settings, **kept, "PYTHONPATH": root}
    return subprocess.Popen([*COMMAND, "--data", str(folder), *more], env=environment, cwd=folder.parent, text=True, **options)


def processes_of(folder: Path) -> list[str]:
    """Every process that names the data folder in its arguments, its environment or as its working directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            told = [*process.cmdline(), process.cwd(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(folder) in one for one in told):
            found.append(" ".join(process.cmdline())[:200])
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The demo, once; (data folder, what it printed)."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    process = start(folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=280)
    return folder, subprocess.CompletedProcess(COMMAND, process.returncode, out, err)


def test_a_version_is_promoted_proved_and_taken_back_under_traffic(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = demo
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["endpoint"], told["runtime"]) == ("flight-delay", "triton")
    assert told["before"] == told["rollback"] != told["after"]
    assert set(told["proofs"]) == {"answers", "configured", "bytes", "behaviour"}
    assert all(one["ok"] and one["age_seconds"] >= 0 for one in told["proofs"].values())
    assert (told["failed_requests"], told["requests"] >= 2_000) == (0, True)
    assert told["ledger"]["intact"] is True
    assert told["ledger"]["rows"] > 50
    assert 0 < told["model_load_seconds"] < told["approve_to_proved_seconds"]


def test_nothing_runs_on_after_it(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = demo
    assert processes_of(folder) == []


def test_what_it_says_is_what_its_ledger_and_its_log_say(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = demo
    told = json.loads(done.stdout)
    database = Database(f"sqlite:///{folder / 'countersign.db'}")
    with database.read() as session:
        rows = list(session.exec(select(LedgerRow).order_by(col(LedgerRow.seq))))
        generations = list(session.exec(select(Generation)))
        grants = {one.id: one for one in session.exec(select(Authorization))}
    database.close()
    assert first_break(rows)[0] is None
    later = rows[told["ledger"]["rows"] :]  # what the worker saw between the count and its end, on a busy machine
    assert len(rows) - len(later) == told["ledger"]["rows"]
    assert {one.actor_id for one in later} <= {SYSTEM.id}
    unexplained = [one.id for one in generations if one.reason != "baseline" and one.authorization_id not in grants]
    assert unexplained == [], "a generation without an approval"
    with InferenceLog(folder / "inference-log") as log:
        assert log.endpoints() == ["flight-delay"]
        assert {1, 2} <= set(log.versions("flight-delay"))


@pytest.mark.slow
def test_killed_in_the_middle_it_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with (tmp_path / "output").open("w") as output:
        process = start(folder, stdout=output, stderr=output)
        try:
            _until(lambda: (folder / "runtimes" / "worker.log").exists(), 120)
            assert len(processes_of(folder)) > 4
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    _until(lambda: not processes_of(folder), 90)


def _until(what: Any, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.2)
