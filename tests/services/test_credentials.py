"""Secrets from files and variables: those of the settings, and those of servers that the worker finds where it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend import bootstrap
from backend.core.credentials import References, check_reference, is_reference
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.delivery.connections import Connections
from backend.settings import Settings
from backend.worker import logs
from tests.services.delivery.surroundings import Surroundings, refused

HERE = "https://triton.example.com:8000"
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "credentials"
    made.mkdir()
    (made / "triton").write_text("s3cret\n")
    (made / "triton.origins").write_text(f"{HERE}\nhttp://10.2.0.7")
    return made


def test_a_file_is_read_anew_each_time_for_the_addresses_that_stand_beside_it(folder: Path) -> None:
    references = References(folder)
    assert references.read("file:triton", [HERE]) == "s3cret"
    assert references.read("file:triton", ["http://10.2.0.7:80", HERE.upper().replace("HTTPS", "https")]) == "s3cret"
    (folder / "triton").write_text("renewed")
    assert references.read("file:triton", [HERE]) == "renewed"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://triton.example.com:8000", "https://triton.example.com", "https://triton.example.com:8001",
     "https://triton.example.com.evil.example:8000", "http://10.2.0.7:8080"],
)  # fmt: skip
def test_it_is_sent_nowhere_else(folder: Path, origin: str) -> None:
    refused("credential-elsewhere", References(folder).read, "file:triton", [HERE, origin])


def test_without_a_word_about_addresses_it_goes_nowhere(folder: Path) -> None:
    (folder / "triton.origins").unlink()
    refused("credential-elsewhere", References(folder).read, "file:triton", [HERE])


def test_variables_are_those_with_the_prefix_alone(folder: Path) -> None:
    environment = {
        "COUNTERSIGN_CREDENTIAL_TRITON": "s3cret", "COUNTERSIGN_CREDENTIAL_TRITON_ORIGINS": HERE, "PATH": "/bin",
        "COUNTERSIGN_MLFLOW_TOKEN": "other",
    }  # fmt: skip
    references = References(None, environment)
    assert references.read("env:TRITON", [HERE]) == "s3cret"
    for name in ("PATH", "MLFLOW_TOKEN"):
        refused("credential-missing", references.read, f"env:{name}", [])
    refused("credential-missing", references.read, "file:triton", [])


@pytest.mark.parametrize(
    "text",
    ["file:../keys/sealing", "file:/etc/passwd", "file:a/b", "file:.hidden", "file:triton.origins", "file:", "env:", "env:path",
     "env:A=B", "env:A\nB", "file:a\x00", "s3cret", "vault:x", "FILE:triton", "file:" + "a" * 65, " file:triton"],
)  # fmt: skip
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    said = refused("bad-credential", check_reference, text)
    assert text not in str(said) or text in ("file:", "env:")
    assert not is_reference(text)


def test_only_plain_small_files_of_the_folder_are_read(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "sealing"
    outside.write_text("outside")
    (folder / "link").symlink_to(outside)
    (folder / "folder").mkdir()
    (folder / "large").write_text("x" * (17 << 10))
    (folder / "empty").write_text("\n")
    (folder / "lines").write_text("a\nb")
    os.mkfifo(folder / "pipe")
    for name in ("link", "folder", "large", "empty", "lines", "pipe", "absent"):
        refused("credential-missing", References(folder).read, f"file:{name}", [])


def test_a_folder_of_kubernetes_with_its_links_is_read(tmp_path: Path) -> None:
    (tmp_path / "..2026_03_02").mkdir()
    (tmp_path / "..2026_03_02" / "triton").write_text("s3cret")
    (tmp_path / "..data").symlink_to("..2026_03_02")
    (tmp_path / "triton").symlink_to("..data/triton")
    assert References(tmp_path).read("file:triton", []) == "s3cret"


@SQLITE
def test_a_server_keeps_the_reference_and_only_the_worker_follows_it(database: Database, tmp_path: Path, folder: Path) -> None:
    around = Surroundings(database, tmp_path)
    row = around.server(credential_from="file:triton")
    assert row.sealed_credential == "file:triton"
    worker = Connections(around.guard, around.opener, References(folder))
    assert worker._open(row) == "s3cret"
    refused("credential-not-here", Connections(around.guard, None, References(folder))._open, row)
    (event,) = around.events("server.register")
    assert (event.after["has_credential"], event.after["credential_from"]) == (True, "file:triton")
    refused("bad-credential", around.server, name="two", credential="a", credential_from="file:triton")
    refused("bad-credential", around.server, name="two", credential_from="file:../keys/ledger")
    edited = around.servers.edit(around.as_("olga"), "srv", revision=1, credential="typed")
    assert not is_reference(edited.sealed_credential)
    assert around.servers.edit(around.as_("olga"), "srv", revision=2, credential_from="env:A").sealed_credential == "env:A"


# Settings


@pytest.mark.parametrize(
    "setting",
    ["DATABASE_URL", "MLFLOW_TOKEN", "PACKAGE_STORE_URL", "LEDGER_HEADS_URL", "INFERENCE_LOG_URL", "WINDOW_REPORTS_URL"],
)
def test_a_secret_setting_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    file = tmp_path / "secret"
    file.write_text("memory://key:s3cret@bucket/x\n")
    monkeypatch.delenv(f"COUNTERSIGN_{setting}", raising=False)
    monkeypatch.setenv(f"COUNTERSIGN_{setting}_FILE", str(file))
    settings = bootstrap.read_settings(tmp_path)
    assert getattr(settings, setting.lower()).get_secret_value() == "memory://key:s3cret@bucket/x"
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump()}"
    file.write_text("")
    said = refused("bad-setting", bootstrap.read_settings, tmp_path)
    assert f"COUNTERSIGN_{setting}_FILE" in said.message
    monkeypatch.setenv(f"COUNTERSIGN_{setting}", "s3cret")
    said = refused("bad-setting", bootstrap.read_settings, tmp_path)
    assert "s3cret" not in str(said)


def test_a_file_that_is_not_there_is_named_by_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_MLFLOW_TOKEN_FILE", str(tmp_path / "absent"))
    assert "COUNTERSIGN_MLFLOW_TOKEN_FILE" in refused("bad-setting", bootstrap.read_settings, tmp_path).message


def test_other_settings_are_not_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "level"
    file.write_text("DEBUG")
    monkeypatch.setenv("COUNTERSIGN_LOG_LEVEL_FILE", str(file))
    assert Settings(data_dir=tmp_path).log_level == "INFO"


def test_what_a_settings_url_holds_is_blotted_out_of_the_log(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, database_url="postgresql+psycopg://me:dbpass@db/x", mlflow_token="mltoken",
        package_store_url="s3://AKIAKEY:stor%2Fsecret@bucket/packages",
    )  # fmt: skip
    assert {"dbpass", "mltoken", "AKIAKEY", "stor%2Fsecret", "stor/secret"} <= set(logs.secrets_of(settings))


def test_a_wrong_setting_repeats_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_METRICS_PORT", "s3cret")
    with pytest.raises(Refusal) as caught:
        bootstrap.read_settings(tmp_path)
    assert "s3cret" not in str(caught.value)
