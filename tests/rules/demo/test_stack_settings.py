"""What the demo's processes are told of the settings of whoever starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.demo.stack import _settings, variables


def test_the_demo_takes_the_file_of_sign_in_with_the_secrets_that_it_names_and_no_other_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sign-in.toml").write_text('[auth]\ncookie_secret_env = "COOKIE"\n[auth.corp]\nclient_secret_env = "CORP"\n')
    monkeypatch.chdir(tmp_path)
    told = {"COUNTERSIGN_SIGN_IN_FILE": "sign-in.toml", "COUNTERSIGN_ALLOWED_NETWORKS": "10.2.0.0/16, 127.0.0.0/8"}
    for name, value in {**told, "COOKIE": "c", "CORP": "s", "OTHER": "o"}.items():
        monkeypatch.setenv(name, value)
    settings = _settings(tmp_path / "data", "http://127.0.0.1:9", 2.0)
    found = variables(settings)
    assert found["COUNTERSIGN_SIGN_IN_FILE"] == str(tmp_path / "sign-in.toml"), "children run in another folder"
    assert (found["COOKIE"], found["CORP"], "OTHER" in found) == ("c", "s", False)
    assert found["COUNTERSIGN_ALLOWED_NETWORKS"] == "127.0.0.0/8,10.2.0.0/16"
    assert found["COUNTERSIGN_DEMO_IDENTITIES"] == "true"


def test_without_one_nobody_signs_in(tmp_path: Path) -> None:
    assert "COUNTERSIGN_SIGN_IN_FILE" not in variables(_settings(tmp_path, "http://127.0.0.1:9", 2.0))
