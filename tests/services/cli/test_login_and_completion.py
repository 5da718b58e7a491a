"""Logging in at a server, what a shell completes, and that the exit codes are told alike everywhere."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.cli import exits, saved
from backend.client import waiting
from backend.core.database import Database
from scripts import tables
from tests.api_world import Api
from tests.command_line import CommandLine
from tests.live_api import serving
from tests.services.changes.world import ENDPOINT, MODEL, World

ROOT = Path(__file__).resolve().parents[3]
SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


@SQLITE
def test_one_logs_in_acts_and_logs_out(asked: Api, tmp_path: Path) -> None:
    countersign = CommandLine(config_dir=str(tmp_path / "config"), data_dir="")
    with serving(asked.application) as url:
        assert countersign("login", "--url", url, given=f"cst_{'0' * 26}_{'a' * 52}\n").error == "bad-token"
        assert not (tmp_path / "config").exists()
        told = countersign("login", "--url", f"{url}/api/v1", given=f"{asked.token('ana')}\n")
        assert (told.code, told.content["url"], told.content["identity"]) == (0, url, asked.world.ana.name)
        kept = tmp_path / "config" / "servers.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
        assert asked.token("ana") not in json.dumps(told.content) + told.said
        assert countersign("whoami").content["where"] == url
        assert countersign("change", "propose", ENDPOINT, "2", "--title", "t", "--reason", "r").code == 0
        assert asked.world.change(1).requester_id == asked.world.ana.id
        kept.chmod(0o644)
        assert countersign("whoami").error == "open-file"
        kept.chmod(0o600)
        assert countersign("logout").content == {"logged_out": url}
        assert countersign("logout").error == "not-found"
        assert asked.token("ana") not in kept.read_text()
        assert countersign("whoami", "--url", url).error == "no-identity"


def test_a_kept_token_is_for_its_server_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(saved.FOLDER, str(tmp_path))
    saved.keep("https://one.test", "token-of-one")
    saved.keep("https://two.test", "token-of-two")
    assert (saved.token("https://one.test"), saved.token("https://one.test.evil"), saved.current()) == (
        "token-of-one", None, "https://two.test",
    )  # fmt: skip
    assert saved.forget("https://two.test")
    assert (saved.current(), saved.token("https://one.test")) == (None, "token-of-one")
    saved.file().write_text("{")
    assert CommandLine(config_dir=str(tmp_path))("whoami").error == "bad-file"


# -- completion


def completed(line: str, program: Path, **variables: str) -> list[str]:
    """What bash offers after a line, by the script that `countersign completion bash` prints."""
    (program / "countersign").write_text(f'#!/bin/sh\nexec {sys.executable} -m backend.cli.main "$@"\n')
    (program / "countersign").chmod(0o755)
    script = f"""
        eval "$(countersign completion bash)"
        COMP_WORDS=({line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        [[ "{line}" == *" " ]] && COMP_WORDS+=("") && COMP_CWORD=$((COMP_CWORD + 1))
        $(complete -p countersign | sed 's/.*-F \\([^ ]*\\) .*/\\1/') countersign
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    clean = {name: one for name, one in os.environ.items() if not name.startswith("COUNTERSIGN_")}
    told = {"PATH": f"{program}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=clean | told | variables, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_choices(tmp_path: Path) -> None:
    config = {"COUNTERSIGN_CONFIG_DIR": str(tmp_path / "none")}
    assert completed("countersign wh", tmp_path, **config) == ["whoami"]
    assert {"approve", "propose", "wait"} <= set(completed("countersign change ", tmp_path, **config))
    assert completed("countersign change wait 1 --for d", tmp_path, **config) == ["decision"]
    assert completed("countersign change show ", tmp_path, **config) == []


@SQLITE
def test_bash_completes_names_of_a_server(asked: Api, tmp_path: Path) -> None:
    asked.world.propose()
    with serving(asked.application) as url:
        told = {
            "COUNTERSIGN_URL": url,
            "COUNTERSIGN_TOKEN": asked.token("ana"),
            "COUNTERSIGN_CONFIG_DIR": str(tmp_path / "none"),
        }
        CommandLine(url=url, token=asked.token("ana"), config_dir=str(tmp_path / "none"))(
            "whoami"
        )  # the first answer takes longer
        assert completed("countersign endpoint show fl", tmp_path, **told) == [ENDPOINT]
        assert completed("countersign model show ", tmp_path, **told) == [MODEL]
        assert completed("countersign change show ", tmp_path, **told) == ["1"]
        assert completed("countersign change show ", tmp_path, **told | {"COUNTERSIGN_TOKEN": "not-a-good-one"}) == []


@pytest.mark.parametrize(("shell", "sign"), [("bash", "complete -o"), ("zsh", "#compdef countersign"), ("fish", "complete --")])
def test_each_shell_gets_its_script(shell: str, sign: str) -> None:
    assert sign in CommandLine().text_with_tabs("completion", shell)


# -- exit codes


def test_the_exit_codes_of_the_documentation_and_of_help_are_those_of_the_code() -> None:
    assert tables.PARTS["exit-codes"].is_current(), tables.AGAIN
    assert [one.code for one in exits.EXITS] == list(range(9))
    told = " ".join(CommandLine().text("--help").split())
    assert all(f"{one.code} {one.word}" in told for one in exits.EXITS)


def test_every_end_of_waiting_has_an_exit_code_of_its_own() -> None:
    from typing import get_args

    from backend.cli.waiting import exit_of

    codes = [exit_of(waiting.Outcome(end, "")) for end in get_args(waiting.End)]
    assert sorted(codes) == sorted(set(codes)) == [exits.DONE, exits.NO, exits.REJECTED, exits.EXPIRED, exits.TIME_OVER]


def test_no_command_exits_by_a_number() -> None:
    """Only by the names of the table, or by what another process returned."""
    for file in (ROOT / "backend" / "cli").glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "sys.exit":
                numbers = {one.value for one in ast.walk(call) if isinstance(one, ast.Constant) and isinstance(one.value, int)}
                assert numbers <= {0} or file.name == "lazy.py", file.name
