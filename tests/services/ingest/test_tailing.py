"""Envoy's access log as a file: every line once, over restarts, rotation and truncation."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import ExternalFailure
from backend.inference_log import probes
from backend.ingest import tailing
from backend.ingest.tailing import Tail
from tests.services.ingest.conftest import KEY, Door


def line(number: int, endpoint: str = "delay", **more: Any) -> str:
    path = f"/{endpoint}/v2/models/m/infer"
    told = {"start": "2026-03-02T08:00:00.000000Z", "request_id": f"r{number}", "method": "POST", "path": path, "status": 200}
    return json.dumps({**told, "flags": "-", "duration_ms": 3, **more}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def follow(path: Path, door: Door) -> list[str]:
    """As a process that was just started."""
    tail = Tail(path, path.parent / "tail", door.entrance)
    while tail.once():
        continue
    return door.ids()


def test_lines_are_read_once_over_restarts_and_a_line_that_is_not_whole_waits(path: Path, door: Door) -> None:
    assert follow(path, door) == []
    path.write_text(line(1) + "no json\n[1]\n" + line(2)[:30])
    assert follow(path, door) == ["r1"]
    with path.open("a") as stream:
        stream.write(line(2)[30:] + line(3, "unknown"))
    assert follow(path, door) == ["r1", "r2"]
    assert follow(path, door) == ["r1", "r2"]
    assert {table for table, _ in door.rows()} == {"parts"}


def test_what_no_line_may_hold_is_passed_over_and_comes_not_again(path: Path, door: Door) -> None:
    path.write_text(line(1, duration_ms=int("9" * 400)) + line(2, start="never") + line(3, start=7) + line(4))
    assert follow(path, door) == ["r1", "r4"]


def test_only_a_request_that_proves_to_be_ours_is_left_out(path: Path, door: Door) -> None:
    ours = probes.mark(KEY, datetime(2026, 3, 2, 8, 5, tzinfo=UTC))
    path.write_text(line(1, probe=ours) + line(2, probe="1") + line(3, probe=probes.mark(b"x" * 32)) + line(4, probe=None))
    assert follow(path, door) == ["r2", "r3", "r4"]


def test_a_file_that_was_turned_over_is_read_to_its_end_first(path: Path, door: Door) -> None:
    path.write_text(line(1))
    assert follow(path, door) == ["r1"]
    with path.open("a") as stream:
        stream.write(line(2))
    path.rename(path.with_name("access.log.1"))
    assert follow(path, door) == ["r1", "r2"], "before there is a new one"
    path.write_text(line(3))
    assert follow(path, door) == ["r1", "r2", "r3"]


def test_a_file_that_was_emptied_is_begun_anew(path: Path, door: Door) -> None:
    path.write_text(line(1) + line(2))
    follow(path, door)
    path.write_text(line(3))
    assert follow(path, door) == ["r1", "r2", "r3"]


def test_what_cannot_be_handed_over_comes_again(path: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(line(1))
    with monkeypatch.context() as broken:

        def full(*_: object) -> None:
            raise ExternalFailure("The spool", "is full", retryable=True)

        broken.setattr(door.spool, "put", full)
        with pytest.raises(ExternalFailure):
            follow(path, door)
    assert follow(path, door) == ["r1"]


def test_a_line_without_end_is_passed_over(path: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tailing, "BLOCK", 2_000)
    monkeypatch.setattr(tailing, "LONGEST_LINE", 1_000)
    path.write_text("x" * 5_000 + "\n" + line(1))
    assert follow(path, door) == ["r1"]
