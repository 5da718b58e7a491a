"""The worker as a process: killed, stopped, told twice, and refusing to start where it must not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from backend import bootstrap
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Server
from backend.settings import Settings
from tests.services.worker.crew import create_effects, effects, item, until, wake


class Process:
    """A started worker and the log lines that it wrote."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    def exit_code(self) -> int:
        code = self.popen.wait(60)
        self._reader.join(10)
        return code

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in iter(self.popen.stderr.readline, ""):
            with suppress(json.JSONDecodeError) if self.popen.poll() == -signal.SIGKILL else nullcontext():
                self.lines.append(json.loads(line))  # one that is killed may leave half a line


@contextmanager
def process(*module: str, **environment: str) -> Iterator[Process]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERSIGN_")}
    command = [sys.executable, "-m", *module]
    with subprocess.Popen(command, env=clean | environment, stderr=subprocess.PIPE, text=True) as popen:
        try:
            yield Process(popen)
        finally:
            popen.kill()


def crew_process(database: Database, name: str, mode: str) -> Any:
    return process("tests.services.worker.process", database.url.render_as_string(hide_password=False), name, mode)


def test_a_killed_worker_is_followed_by_another_after_its_leases(real_time_database: Database) -> None:
    create_effects(real_time_database)
    keys = [f"k{number}" for number in range(5)]
    wake(real_time_database, "server", *keys)
    with crew_process(real_time_database, "killed", "hang") as killed:
        until(lambda: len(killed.events("test.begun")) >= 5 and killed.events("worker.leads"))
        with crew_process(real_time_database, "heir", "work") as heir:
            until(lambda: heir.events("worker.started"))
            killed.popen.send_signal(signal.SIGKILL)
            assert killed.exit_code() == -signal.SIGKILL
            until(lambda: len(effects(real_time_database)) == 5)
            until(lambda: heir.events("worker.leads"))
            heir.popen.send_signal(signal.SIGTERM)
            assert heir.exit_code() == 0
    assert effects(real_time_database) == [(key, "heir") for key in keys]
    assert min(line["token"] for line in heir.events("test.begun")) > 1


def test_sigterm_lets_the_handler_end_and_the_log_tells_of_it(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "server", "a")
    with crew_process(real_time_database, "w", "slow") as worker:
        (begun,) = until(lambda: worker.events("test.begun"))
        worker.popen.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0
    assert effects(real_time_database) == [("a", "w")]
    assert item(real_time_database, "server", "a") is None
    (handled,) = worker.events("work.handled")
    told = {name: handled[name] for name in ("level", "worker", "kind", "key", "token", "outcome")}
    assert told == {"level": "debug", "worker": "w", "kind": "server", "key": "a", "token": 1, "outcome": "done"}
    assert handled["seconds"] >= 1
    assert handled["request_id"] == begun["request_id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", handled["timestamp"])


def test_the_second_signal_ends_the_process_as_it_is(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "server", "a")
    with crew_process(real_time_database, "w", "hang") as worker:
        until(lambda: worker.events("test.begun"))
        worker.popen.send_signal(signal.SIGTERM)
        until(lambda: worker.events("worker.stopping"))
        worker.popen.send_signal(signal.SIGINT)
        assert worker.exit_code() == 128 + signal.SIGINT
    assert worker.events("worker.gave_back") == []
    assert effects(real_time_database) == []


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A data folder that a worker can start on."""
    backend = bootstrap.build(Settings(data_dir=tmp_path / "data", demo_identities=True))
    bootstrap.prepare(backend)
    backend.close()
    return tmp_path / "data"


def test_an_installation_s_worker_serves_its_figures_on_loopback_and_exports_the_ledger_s_head(prepared: Path) -> None:
    with process("backend.worker", COUNTERSIGN_DATA_DIR=str(prepared), COUNTERSIGN_METRICS_PORT="0") as worker:
        (line,) = until(lambda: worker.events("worker.metrics"))
        until(lambda: worker.events("ledger.head_exported"))
        with urllib.request.urlopen(line["address"], timeout=30) as answer:
            text = answer.read().decode()
        worker.popen.send_signal(signal.SIGINT)
        assert worker.exit_code() == 0
    assert line["address"].startswith("http://127.0.0.1:")
    assert "countersign_worker_leader 1.0" in text
    assert re.search(r"^countersign_worker_heartbeat_age_seconds \d", text, re.MULTILINE)
    assert list((prepared / "ledger-heads").iterdir())


def test_a_worker_refuses_to_start_without_its_database(tmp_path: Path) -> None:
    with process("backend.worker", COUNTERSIGN_DATA_DIR=str(tmp_path / "absent")) as worker:
        assert worker.exit_code() == 2
    (said,) = worker.events("worker.refused")
    assert said["code"] == "no-database"
    assert not (tmp_path / "absent").exists()


def test_a_worker_refuses_to_start_on_another_schema(prepared: Path) -> None:
    with _writing(prepared) as database, database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    with process("backend.worker", COUNTERSIGN_DATA_DIR=str(prepared)) as worker:
        assert worker.exit_code() == 2
    (said,) = worker.events("worker.refused")
    assert said["code"] == "schema"
    assert "countersign migrate" in said["remedy"]


def test_a_worker_refuses_a_failpoint_where_others_could_be_harmed(prepared: Path) -> None:
    with _writing(prepared) as database, database.unit(SYSTEM) as tx:
        row = Server(
            id="srv_far",
            name="far",
            kind="memory",
            settings={},
            upstream="10.1.2.3:8001",
            created_by=SYSTEM.id,
            created_at=tx.now,
        )
        tx.record("server.register", tx.add(row))
    with process("backend.worker", COUNTERSIGN_DATA_DIR=str(prepared), COUNTERSIGN_FAILPOINT="load") as worker:
        assert worker.exit_code() == 2
    (said,) = worker.events("worker.refused")
    assert said["code"] == "failpoint"
    assert "server far" in said["problem"]


@contextmanager
def _writing(data: Path) -> Iterator[Database]:
    database = Database(Settings(data_dir=data).sqlalchemy_url)
    try:
        yield database
    finally:
        database.close()
