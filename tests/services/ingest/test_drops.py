"""Dropped files: what is in them is hostile, and whatever ends in the middle is begun anew."""

from __future__ import annotations

import json
import os
import resource
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.core.errors import ExternalFailure
from backend.ingest import drops, parquet_child
from backend.ingest.drops import DONE_SECONDS, SETTLED_SECONDS, Drops
from backend.ingest.parquet_rows import LONGEST_LINE, Unreadable
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
        ("a.csv", b"request_id,\xff\n1,2\n"),
        ("a.csv", b""),
        ("a.parquet", b"PAR1 and no more"),
        ("a.parquet", b""),
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


def test_one_bad_row_is_told_and_the_rest_of_its_file_is_kept(place: Path, door: Door, clock: Clock) -> None:
    head = "request_id,event_time,x\n"
    long = "y" * (LONGEST_LINE + 10)
    bad = [f"b,{AT}\n".encode(), f'"b"b,{AT},1\n'.encode(), f"b,{AT},".encode() + b"\xff\n", f"b,{AT},{long}\n".encode()]
    (place / "requests" / "a.csv").write_bytes(
        head.encode() + f"a,{AT},1\n".encode() + b"".join(bad) + f'c,{AT},3\nq,{AT},"open\n'.encode()
    )
    (place / "requests" / "a.ndjson").write_text(lines({"request_id": "d", "event_time": AT}) + f'"{long}"\n{{bad\n' + lines(
        {"request_id": "e", "event_time": AT}
    ))  # fmt: skip
    times = pa.array([1772438400000000, 2**62, 1772438400000000], pa.timestamp("us"))
    texts = ["x" * (parquet_child.MOST_TEXT + 1), "", "short"]
    pq.write_table(
        pa.table({"request_id": ["f", "g", "h"], "event_time": times, "day": [date(2026, 3, 2)] * 3, "text": texts}),
        place / "requests" / "a.parquet",
    )
    assert dropped(place, door, clock) == 3
    assert door.ids() == ["a", "c", "d", "e", "h"]
    assert [one.features for _, one in door.rows() if one.request_id == "h"] == [{"t.day": "2026-03-02", "t.text": "short"}]
    told = {name: reasons(place / "requests", name) for name in ("a.csv", "a.ndjson", "a.parquet")}
    assert [one["row"] for one in told["a.csv"]] == [1, 2, 3, 4, 6]
    assert [one["reason"] for one in told["a.ndjson"]] == ["it is longer than 1024 KiB", "it is not JSON"]
    assert [one["row"] for one in told["a.parquet"]] == [0, 1]


def test_a_file_that_ends_in_the_middle_says_what_was_taken_of_it(
    place: Path, door: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: Any) -> Any:
        yield {"request_id": "a", "event_time": AT}, 10
        yield None, 10
        raise Unreadable("it is damaged")

    monkeypatch.setattr(drops, "rows_of", cut)
    monkeypatch.setattr(drops, "CHUNK", 2)
    (place / "requests" / "a.parquet").write_bytes(b"PAR1")
    assert dropped(place, door, clock) == 1
    assert [one["row"] for one in reasons(place / "requests", "a.parquet")] == [1, None]
    assert reasons(place / "requests", "a.parquet")[1] == {"row": None, "reason": "it is damaged", "taken": 1}


def test_a_few_bytes_that_unpack_to_gigabytes_take_no_memory_here(place: Path, door: Door, clock: Clock) -> None:
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), pa.array(["x" * 1_000_000]))
    ids = pa.array([str(number) for number in range(2_000)])
    target = place / "requests" / "a.parquet"
    table = pa.table({"request_id": ids, "x": repeated})
    pq.write_table(table, target, dictionary_pagesize_limit=50_000_000, compression="zstd", store_schema=False)
    assert target.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert dropped(place, door, clock) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "in KiB"
    assert door.ids() == []
    assert len(reasons(place / "requests", "a.parquet")) == drops.REASONS


def test_links_in_place_of_our_folders_lead_nowhere(place: Path, door: Door, clock: Clock, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "precious").write_text("x")
    row = lines({"request_id": "r1", "event_time": AT}, 7)
    for name in ("done", "rejected"):
        (place / "requests" / "a.ndjson").write_text(row)
        (place / "requests" / name).symlink_to(target)
        assert dropped(place, door, clock) == 0
        assert dropped(place, door, clock, later=DONE_SECONDS + 60) == 0
        assert [path.name for path in target.iterdir()] == ["precious"]
        assert door.ids() == []
        (place / "requests" / name).unlink()
    assert dropped(place, door, clock) == 1


def test_a_file_of_the_future_is_taken_once_it_stays_as_it_is(place: Path, door: Door, clock: Clock) -> None:
    path = place / "requests" / "a.ndjson"
    path.write_text(lines({"request_id": "r1", "event_time": AT}))
    os.utime(path, (4e9, 4e9))
    now = [1_000.0]
    looks = Drops(place.parent, door.entrance, clock=lambda: now[0])
    assert looks.once() == 0
    now[0] += SETTLED_SECONDS - 1
    path.write_text(lines({"request_id": "r1", "event_time": AT}, {"request_id": "r2", "event_time": AT}))
    os.utime(path, (4e9, 4e9))
    assert looks.once() == 0
    now[0] += SETTLED_SECONDS - 1
    assert looks.once() == 0, "it was written to meanwhile"
    now[0] += 1
    assert looks.once() == 1
    assert door.ids() == ["r1", "r2"]


def test_what_is_added_while_a_file_is_read_is_not_lost(
    place: Path, door: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = place / "requests" / "a.ndjson", drops.rows_of
    path.write_text(lines({"request_id": "r1", "event_time": AT}))

    def grows(*given: Any) -> Any:
        yield from real(*given)
        with path.open("a") as stream:
            stream.write(lines({"request_id": "late", "event_time": AT}))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(drops, "rows_of", grows)
        assert dropped(place, door, clock) == 0
    assert dropped(place, door, clock) == 1
    assert set(door.ids()) == {"r1", "late"}


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
