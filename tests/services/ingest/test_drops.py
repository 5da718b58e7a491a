"""Dropped files: what is in them is hostile, and whatever ends in the middle is begun anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.core.errors import ExternalFailure
from backend.ingest import drop_files, drops
from backend.ingest.drops import DONE_SECONDS, SETTLED_SECONDS, Drops
from tests.databases import Clock
from tests.services.ingest.conftest import Door

AT = "2026-03-02T08:00:00+00:00"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for kind in ("requests", "outcomes"):
        (tmp_path / "drop" / "delay" / kind).mkdir(parents=True)
    return tmp_path / "drop" / "delay"


def dropped(place: Path, door: Door, clock: Clock, *, later: float = SETTLED_SECONDS + 1) -> int:
    """One look, when every file has been left alone for that long."""
    newest = max((path.lstat().st_mtime for path in place.rglob("*") if path.is_file()), default=0.0)
    return Drops(place.parent, door.entrance, clock=lambda: newest + later).once()


def lines(*rows: Any) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def reasons(place: Path, name: str) -> list[Any]:
    return [json.loads(line) for line in (place / "rejected" / f"{name}.reasons.ndjson").read_text().splitlines()]


def test_each_form_tells_the_same(place: Path, door: Door, clock: Clock) -> None:
    requests = place / "requests"
    told = {"request_id": "n", "event_time": AT, "version": 2, "status": 200, "hour": 7.5, "carrier": "UA", "late": True}
    (requests / "a.ndjson").write_text(lines(told))
    (requests / "b.csv").write_text(f"request_id,event_time,version,status,hour,carrier,late\nc,{AT},2,200,7.5,UA,true\n")
    at = pa.array([pa.scalar(AT).as_py()]).cast(pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us"))
    pq.write_table(
        pa.table({**{name: [value] for name, value in told.items()}, "request_id": ["p"], "event_time": at}),
        requests / "c.parquet",
    )
    assert dropped(place, door, clock) == 3
    assert door.ids() == ["c", "n", "p"]
    assert len({str(row._replace(request_id="")) for _, row in door.rows()}) == 1
    assert {table for table, _ in door.rows()} == {"requests"}
    assert sorted(path.name for path in (requests / "done").iterdir()) == ["a.ndjson", "b.csv", "c.parquet"]


def test_outcomes_are_values_by_name(place: Path, door: Door, clock: Clock) -> None:
    (place / "outcomes" / "a.csv").write_text(f"request_id,known_at,unit,late,value.unit\nr1,{AT},u1,1,5\nr2,{AT},,,\n")
    assert dropped(place, door, clock) == 1
    assert [(table, row.values) for table, row in door.rows()] == [
        ("outcomes", {"o.late": 1.0, "o.unit": 5.0}), ("outcomes", {"o.late": None, "o.unit": None}),
    ]  # fmt: skip


def test_malformed_rows_are_told_by_their_places_and_the_rest_is_kept(place: Path, door: Door, clock: Clock) -> None:
    (place / "requests" / "a.ndjson").write_text(
        lines({"request_id": "r1", "event_time": AT}, {"request_id": "secret"}) + "{\n[1]\n"
    )
    dropped(place, door, clock)
    assert door.ids() == ["r1"]
    assert [one["row"] for one in reasons(place / "requests", "a.ndjson")] == [1, 2, 3]
    assert "secret" not in str(reasons(place / "requests", "a.ndjson"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"request_id,request_id\n1,2\n"),
        ("a.csv", b"request_id,event_time\n1\n"),
        ("a.csv", b"request_id\n\xff\n"),
        ("a.csv", b""),
        ("a.parquet", b"PAR1 and no more"),
        ("a.parquet", b""),
        ("a.ndjson", b'"' + b"x" * (drop_files.LONGEST_LINE + 1)),
        ("a.exe", b"MZ"),
        ("a b;rm.csv", b"request_id\n"),
        ("noform", b"{}"),
    ],
)
def test_a_file_that_cannot_be_read_is_put_aside_with_its_reason(
    place: Path, door: Door, clock: Clock, name: str, content: bytes
) -> None:
    (place / "requests" / name).write_bytes(content)
    assert dropped(place, door, clock) == 1
    assert not (place / "requests" / name).exists()
    kept = list((place / "requests" / "rejected").iterdir())
    assert len(kept) == 2
    assert door.ids() == []
    assert dropped(place, door, clock) == 0


def test_a_file_that_is_too_large_is_not_opened(place: Path, door: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "MOST_BYTES", 10)
    (place / "requests" / "a.ndjson").write_text(lines({"request_id": "r1", "event_time": AT}))
    dropped(place, door, clock)
    assert door.ids() == []
    assert "larger" in reasons(place / "requests", "a.ndjson")[0]["reason"]


def test_what_is_being_written_or_leads_elsewhere_is_left_alone(place: Path, door: Door, clock: Clock, tmp_path: Path) -> None:
    row = lines({"request_id": "r1", "event_time": AT})
    for name in (".a.ndjson", "b.ndjson.part", "c.tmp"):
        (place / "requests" / name).write_text(row)
    (tmp_path / "secret.ndjson").write_text(row)
    (place / "requests" / "link.ndjson").symlink_to(tmp_path / "secret.ndjson")
    os.mkfifo(place / "requests" / "pipe.ndjson")
    (place.parent / "other").symlink_to(tmp_path)
    assert dropped(place, door, clock) == 0
    (place / "requests" / "d.ndjson").write_text(row)
    assert dropped(place, door, clock, later=1) == 0, "it may still grow"
    assert dropped(place, door, clock) == 1
    assert (tmp_path / "secret.ndjson").exists()


def test_what_ends_in_the_middle_is_begun_anew(place: Path, door: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "CHUNK", 2)
    (place / "requests" / "a.ndjson").write_text(lines(*({"request_id": f"r{n}", "event_time": AT} for n in range(5))))
    real, calls = door.spool.put, []

    def failing(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 2:
            raise ExternalFailure("The spool", "is full", retryable=True)
        real(*given)

    monkeypatch.setattr(door.spool, "put", failing)
    with pytest.raises(ExternalFailure):
        dropped(place, door, clock)
    assert (place / "requests" / "a.ndjson").exists()
    assert dropped(place, door, clock) == 1
    assert set(door.ids()) == {f"r{n}" for n in range(5)}


def test_what_is_done_goes_after_a_week(place: Path, door: Door, clock: Clock) -> None:
    (place / "requests" / "a.ndjson").write_text(lines({"request_id": "r1", "event_time": AT}))
    dropped(place, door, clock)
    (place / "requests" / "a.ndjson").write_text(lines({"request_id": "r2", "event_time": AT}))
    dropped(place, door, clock)
    assert sorted(path.name for path in (place / "requests" / "done").iterdir()) == ["2-a.ndjson", "a.ndjson"]
    dropped(place, door, clock, later=DONE_SECONDS + 60)
    assert list((place / "requests" / "done").iterdir()) == []


def test_an_endpoint_that_is_not_there_gets_nothing(place: Path, door: Door, clock: Clock) -> None:
    place.rename(place.with_name("gone"))
    (place.with_name("gone") / "requests" / "a.ndjson").write_text(lines({"request_id": "r1", "event_time": AT}))
    dropped(place.with_name("gone"), door, clock)
    assert door.ids() == []
    assert "no endpoint" in reasons(place.with_name("gone") / "requests", "a.ndjson")[0]["reason"]
