"""Sealed credentials."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from backend.core.errors import Refusal
from backend.core.sealed import Opener, Sealer, create_keys


def test_what_is_sealed_for_a_row_opens_for_that_row_only(tmp_path: Path) -> None:
    create_keys(tmp_path)
    sealed = Sealer.from_folder(tmp_path).seal("srv_1", "s3cret")
    assert "s3cret" not in sealed
    assert Opener.from_folder(tmp_path).open("srv_1", sealed) == "s3cret"
    with pytest.raises(Refusal):
        Opener.from_folder(tmp_path).open("srv_2", sealed)


def test_another_key_or_damaged_text_does_not_open(tmp_path: Path) -> None:
    create_keys(tmp_path / "a")
    create_keys(tmp_path / "b")
    sealed = Sealer.from_folder(tmp_path / "a").seal("srv_1", "s3cret")
    for broken in (sealed[:-4], "%%%", ""):
        with pytest.raises(Refusal):
            Opener.from_folder(tmp_path / "a").open("srv_1", broken)
    with pytest.raises(Refusal):
        Opener.from_folder(tmp_path / "b").open("srv_1", sealed)


def test_the_private_key_is_private_and_never_replaced(tmp_path: Path) -> None:
    create_keys(tmp_path)
    key = tmp_path / "sealing.key"
    before = key.read_bytes()
    create_keys(tmp_path)
    assert key.read_bytes() == before
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_sealing_needs_no_private_key(tmp_path: Path) -> None:
    create_keys(tmp_path)
    (tmp_path / "sealing.key").unlink()
    assert Sealer.from_folder(tmp_path).seal("srv_1", "x")
    with pytest.raises(Refusal, match=r"sealing\.key"):
        Opener.from_folder(tmp_path)
