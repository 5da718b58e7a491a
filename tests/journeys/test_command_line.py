"""The command line as a person or CI calls it: one JSON object on one line, honest exit codes, nothing done by looking."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import CommandLine


def process(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`countersign` as a process of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("COUNTERSIGN_")}
    ours = {f"COUNTERSIGN_{key.upper()}": value for key, value in settings.items()}
    program = [sys.executable, "-P", "-m", "backend.cli.main", *arguments]
    return subprocess.run(program, env=clean | ours, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that was made usable."""
    answer = CommandLine(data_dir=str(tmp_path / "data"), demo_identities="true")("migrate")
    assert (answer.code, answer.content) == (0, {"migrated": True})
    return tmp_path / "data"


@pytest.fixture
def countersign(data: Path) -> CommandLine:
    return CommandLine(data_dir=str(data), demo_identities="true")


def test_a_process_makes_a_new_folder_usable_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    countersign = CommandLine(data_dir=str(folder), demo_identities="true")
    done = process("migrate", "--data", str(folder), "--json", demo_identities="true")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"migrated": True})
    first = countersign("audit", "verify", by="audra")
    assert (first.content["intact"], first.content["rows"] > 10) == (True, True)
    assert countersign("migrate").code == 0
    assert countersign("audit", "verify", by="audra") == first
    assert (folder / "keys" / "ledger.key").stat().st_mode & 0o077 == 0


def test_a_rewritten_row_is_named_and_the_exit_code_says_no(data: Path, countersign: CommandLine) -> None:
    with sqlite3.connect(data / "countersign.db") as database:
        database.execute("DROP TRIGGER ledger_no_UPDATE")
        database.execute("UPDATE ledger SET actor_id = 'idn_other' WHERE seq = 3")
    answer = countersign("audit", "verify", by="audra")
    assert (answer.code, answer.content["intact"], answer.content["first_bad"]["row"]) == (4, False, 3)


def test_the_log_pages_from_the_newest(countersign: CommandLine) -> None:
    first = countersign("audit", "log", "--limit", "2", by="otto").content["events"]
    second = countersign("audit", "log", "--limit", "1", "--before", str(first[-1]["seq"]), by="otto").content["events"]
    assert second[0]["seq"] == first[-1]["seq"] - 1
    about = countersign("audit", "log", "--subject", "environment/production", by="otto").content["events"]
    assert [one["action"] for one in about] == ["environment.create"]


@pytest.mark.parametrize(
    ("identity", "code"), [("ana", "not-allowed"), ("ben", "not-allowed"), ("nobody", "not-found"), (None, "no-identity")]
)
def test_who_may_not_read_the_ledger_is_refused(countersign: CommandLine, identity: str | None, code: str) -> None:
    for command in (("audit", "verify"), ("audit", "log")):
        answer = countersign(*command, by=identity)
        assert (answer.code, answer.error) == (2, code)
        assert answer.content["error"]["remedy"] in answer.said


def test_demo_identities_need_the_setting(data: Path) -> None:
    assert CommandLine(data_dir=str(data))("audit", "verify", by="audra").error == "demo-identities-off"


def test_a_look_never_creates_a_database(tmp_path: Path) -> None:
    countersign = CommandLine(data_dir=str(tmp_path / "absent"), demo_identities="true")
    assert countersign("audit", "verify", by="audra").error == "no-database"
    found = countersign("doctor")
    assert found.code == 4
    assert [one["part"] for one in found.content["lacks"]][-1] == "database"
    assert not (tmp_path / "absent").exists()


def test_the_doctor_finds_nothing_where_nothing_is_missing(countersign: CommandLine) -> None:
    found = countersign("doctor")
    assert [one for one in found.content["lacks"] if not one["part"].startswith("embedded")] == []
    assert found.code == (4 if found.content["lacks"] else 0)


def test_help_and_the_worker_s_start_load_no_service() -> None:
    """Otherwise each costs seconds: the command line imports a command when it is called."""
    program = (
        "import sys; from backend.cli.main import main; main(['--help'], standalone_mode=False); import backend.cli.worker;"
        "print(sorted({'backend.bootstrap', 'sqlalchemy', 'httpx', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert "Propose, review, start, revoke and take back changes." in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_worker_command_becomes_the_worker(tmp_path: Path) -> None:
    """Its refusal and its exit code are the worker's own."""
    done = process("worker", "--data", str(tmp_path / "absent"))
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, line["event"], line["code"]) == (2, "worker.refused", "no-database")
    assert not (tmp_path / "absent").exists()


def test_a_wrong_setting_is_named(data: Path) -> None:
    answer = CommandLine(data_dir=str(data), demo_identities="true", observe_seconds="often")("change", "list", by="ana")
    assert (answer.code, answer.error) == (2, "bad-setting")
    assert "COUNTERSIGN_OBSERVE_SECONDS" in answer.content["error"]["message"]


def test_a_database_that_cannot_be_reached_is_another_system_s_failure(tmp_path: Path) -> None:
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:9/absent?connect_timeout=2"
    answer = CommandLine(data_dir=str(tmp_path), database_url=nowhere, demo_identities="true")("change", "list", by="ana")
    assert (answer.code, answer.error) == (3, "external-failure")
