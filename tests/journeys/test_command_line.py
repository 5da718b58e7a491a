"""The command line as a person or CI calls it: a process of its own, one JSON object on one line, honest exit codes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def run(data: Path, *arguments: str, identity: str | None = None, demo: bool = True) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON object, standard error) of `countersign ... --data DIR --json`."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("COUNTERSIGN_")}
    settings |= {"COUNTERSIGN_DEMO_IDENTITIES": "true"} if demo else {}
    acting = ["--as", identity] if identity else []
    program = [sys.executable, "-c", "from backend.cli.main import main; main()"]
    command = [*program, *arguments, "--data", str(data), "--json", *acting]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout + done.stderr
    return done.returncode, json.loads(lines[0]), done.stderr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    assert run(folder, "migrate")[:2] == (0, {"migrated": True})
    return folder


def test_a_new_folder_is_made_usable_and_stays_as_it_is(data: Path) -> None:
    first = run(data, "audit", "verify", identity="audra")
    assert run(data, "migrate")[0] == 0
    assert run(data, "audit", "verify", identity="audra") == first
    assert first[1]["intact"] is True
    assert first[1]["rows"] > 10
    assert (data / "keys" / "ledger.key").stat().st_mode & 0o077 == 0


def test_a_rewritten_row_is_named_and_the_exit_code_says_no(data: Path) -> None:
    with sqlite3.connect(data / "countersign.db") as database:
        database.execute("DROP TRIGGER ledger_no_UPDATE")
        database.execute("UPDATE ledger SET actor_id = 'idn_other' WHERE seq = 3")
    code, found, _ = run(data, "audit", "verify", identity="audra")
    assert code == 4
    assert found["intact"] is False
    assert found["first_bad"]["row"] == 3


def test_the_log_pages_from_the_newest(data: Path) -> None:
    _, first, _ = run(data, "audit", "log", "--limit", "2", identity="otto")
    _, second, _ = run(data, "audit", "log", "--limit", "1", "--before", str(first["events"][-1]["seq"]), identity="otto")
    assert second["events"][0]["seq"] == first["events"][-1]["seq"] - 1
    _, about, _ = run(data, "audit", "log", "--subject", "environment/production", identity="otto")
    assert [one["action"] for one in about["events"]] == ["environment.create"]


@pytest.mark.parametrize(
    ("identity", "code"), [("ana", "not-allowed"), ("ben", "not-allowed"), ("nobody", "not-found"), (None, "no-identity")]
)
def test_who_may_not_read_the_ledger_is_refused(data: Path, identity: str | None, code: str) -> None:
    status, answer, said = run(data, "audit", "verify", identity=identity)
    assert (status, answer["error"]["code"]) == (2, code)
    assert answer["error"]["remedy"]
    assert "Traceback" not in said


def test_demo_identities_need_the_setting(data: Path) -> None:
    status, answer, _ = run(data, "audit", "verify", identity="audra", demo=False)
    assert (status, answer["error"]["code"]) == (2, "demo-identities-off")


def test_a_look_never_creates_a_database(tmp_path: Path) -> None:
    status, answer, _ = run(tmp_path / "absent", "audit", "verify", identity="audra")
    assert (status, answer["error"]["code"]) == (2, "no-database")
    status, found, _ = run(tmp_path / "absent", "doctor")
    assert status == 4
    assert [one["part"] for one in found["lacks"]][-1] == "database"
    assert not (tmp_path / "absent").exists()


def test_the_doctor_finds_nothing_where_nothing_is_missing(data: Path) -> None:
    status, found, _ = run(data, "doctor")
    machine = [one for one in found["lacks"] if not one["part"].startswith("embedded")]
    assert machine == []
    assert status == (4 if found["lacks"] else 0)
