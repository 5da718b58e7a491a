"""Sealed credentials."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.core.errors import Refusal
from backend.core.sealed import Opener, Sealer, create_keys

ROOT = Path(__file__).resolve().parents[2]


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


def _mounts(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Where a service of the composition has which volume, and whether it may only read it."""
    told = [one.split(":") for one in service["volumes"]]
    return {where: (volume, mode == ["ro"]) for volume, where, *mode in told}


def test_the_composition_gives_the_web_process_the_public_halves_alone(tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    web, worker, filling = (_mounts(services[name]) for name in ("ui", "worker", "public-keys"))
    assert web["/data/keys"] == ("public-keys", True), "in the place of the folder that its other volume has"
    assert {volume for volume, _ in worker.values()} == {"countersign"}
    command, source, target = services["public-keys"]["command"]
    assert (filling["/data"], filling[target]) == (("countersign", True), ("public-keys", False))
    assert source == "/data/keys"
    assert services["ui"]["depends_on"]["public-keys"]["condition"] == "service_completed_successfully"
    keys, public = tmp_path / "keys", tmp_path / "public"
    create_keys(keys)
    public.mkdir()
    (keys / "ledger.pub").write_text("x")
    (keys / "ledger.key").write_text("x")
    for _ in range(2):
        subprocess.run(["sh", ROOT / "deploy/entrypoint", command, keys, public], check=True, timeout=30)
        assert {one.name for one in public.iterdir()} == {"sealing.pub", "ledger.pub"}
    sealed = Sealer.from_folder(public).seal("srv_1", "s3cret")
    assert Opener.from_folder(keys).open("srv_1", sealed) == "s3cret"
    with pytest.raises(Refusal):
        Opener.from_folder(public)
