"""Snapshots on disk: whole or not at all, numbers that only grow, and nothing older than what was given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.routers.envoy_render import render
from backend.xds import rules, snapshots
from backend.xds.rules import Version
from backend.xds.snapshots import KEPT, Snapshots
from tests.routed import make_route


def content(generation: int = 1, upstream: str = "10.0.0.1:8000", endpoint: str = "ep", **fields: Any) -> dict[str, Any]:
    made = render([make_route(upstream, endpoint=endpoint, generation=generation)], 30.0)
    given = {
        "routes": made.routes,
        "clusters": list(made.clusters.values()),
        "generations": {endpoint: generation},
        "drain_seconds": 1,
    }
    return {**given, **fields}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "xds"


@pytest.fixture
def lying(folder: Path) -> Iterator[Snapshots]:
    with snapshots.opened(folder) as found:
        yield found


def file_of(folder: Path, number: int) -> Path:
    return folder / f"{number:015d}.json"


def test_a_started_one_gives_what_was_handed_over_last(lying: Snapshots, folder: Path) -> None:
    assert (lying.to_give, lying.numbers(), lying.trouble) == (None, [], "")
    first, second = lying.put(content(), 0), lying.put(content(2), 1)
    again = Snapshots(folder)
    assert (again.to_give, again.numbers(), again.floors) == (second, [1, 2], {"ep": 2})
    assert again.get(1) == first
    assert again.get(3) is None
    assert os.stat(file_of(folder, 2)).st_nlink == 1


def test_a_generation_that_was_given_never_comes_back_older(lying: Snapshots, folder: Path) -> None:
    lying.put(content(5), 0)
    lying.put(content(1, endpoint="another"), 1)
    for opened in (lying, Snapshots(folder)):
        with pytest.raises(Refusal) as refused:
            opened.put(content(4), 2)
        assert refused.value.code == "older-generation"
        assert opened.numbers() == [1, 2]
    assert lying.put(content(5, "10.0.0.2:8000"), 2).number == 3


def test_who_saw_an_older_one_as_the_newest_is_refused(lying: Snapshots) -> None:
    lying.put(content(), 0)
    for base in (0, 2):
        with pytest.raises(Refusal) as refused:
            lying.put(content(2), base)
        assert refused.value.code == "snapshot-moved"


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "renamed", "digest"])
def test_while_the_newest_is_damaged_nothing_older_is_given_and_the_next_takes_a_new_number(folder: Path, damage: str) -> None:
    with snapshots.opened(folder) as lying:
        lying.put(content(), 0)
        lying.put(content(2), 1)
    file = file_of(folder, 2)
    whole = file.read_bytes()
    if damage == "renamed":
        os.replace(file, file_of(folder, 3))
    else:
        changed = whole.replace(b"10.0.0.1", b"10.0.0.9"), whole.replace(b'"number":2', b'"number":1')
        file.write_bytes({"cut": whole[:-1], "changed": changed[0], "empty": b"", "digest": changed[1]}[damage])
    with snapshots.opened(folder) as lying:
        last = lying.numbers()[-1]
        assert (lying.to_give, lying.trouble) == (None, f"snapshot {last} is damaged")
        assert lying.floors == {"ep": 1}
        made = lying.put(content(2), last)
        assert (lying.to_give, made.number, lying.trouble) == (made, last + 1, "")


def test_what_was_cut_off_while_it_was_written_was_never_given(folder: Path) -> None:
    with snapshots.opened(folder) as lying:
        first = lying.put(content(), 0)
    (folder / ".0123456789abcdef").write_bytes(b"half of a")
    with snapshots.opened(folder) as lying:
        assert lying.to_give == first
    assert not (folder / ".0123456789abcdef").exists()


def test_an_envoy_with_a_later_one_stops_what_would_go_back(lying: Snapshots) -> None:
    lying.put(content(), 0)
    assert not lying.claim(Version(41, "0123456789ab"))
    assert lying.to_give is None
    assert "41" in lying.trouble
    assert lying.put(content(), 1).number == 42
    assert lying.to_give is not None
    assert not lying.claim(Version(41, "0123456789ab"))
    assert lying.to_give is not None


def test_the_same_number_with_another_content_is_a_later_one_too(lying: Snapshots) -> None:
    made = lying.put(content(), 0)
    assert lying.claim(made.version())
    assert lying.to_give == made
    assert not lying.claim(Version(1, "0123456789ab"))
    assert lying.to_give is None


def test_a_number_out_of_all_reach_is_not_believed(lying: Snapshots) -> None:
    made = lying.put(content(), 0)
    assert not lying.claim(Version(1 + rules.LEAP + 1, "0123456789ab"))
    assert lying.to_give == made


def test_only_the_last_and_those_in_use_stay(lying: Snapshots, folder: Path) -> None:
    for number in range(KEPT + 4):
        lying.put(content(number), number)
    lying.prune({2})
    assert lying.numbers() == [2, *range(5, KEPT + 5)]
    assert lying.get(2) is not None
    assert lying.body(1) is None
    assert Snapshots(folder).to_give is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"routes": None},
        {"routes": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "another"}},
        {"clusters": {}},
        {"clusters": [{"name": "x"}]},
        {"clusters": [1]},
        {"generations": {"ep": "1"}},
        {"generations": {"ep": True}},
        {"generations": {"ep": 2**53}},
        {"generations": None},
        {"drain_seconds": -1},
        {"drain_seconds": float("nan")},
        {"drain_seconds": "1"},
    ],
)
def test_what_cannot_be_given_is_refused_and_leaves_nothing(lying: Snapshots, folder: Path, fields: dict[str, Any]) -> None:
    lying.put(content(), 0)
    before = sorted(folder.iterdir())
    with pytest.raises(Refusal) as refused:
        lying.put(content(2, **fields), 1)
    assert refused.value.code == "bad-snapshot"
    assert (sorted(folder.iterdir()), lying.floors) == (before, {"ep": 1})


def test_two_clusters_of_one_name_are_refused(lying: Snapshots) -> None:
    given = content()
    with pytest.raises(Refusal):
        lying.put({**given, "clusters": [*given["clusters"], given["clusters"][0]]}, 0)


def test_a_disk_that_fails_changes_nothing(lying: Snapshots, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lying.put(content(), 0)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ExternalFailure, match="No space left"):
        lying.put(content(2), 1)
    monkeypatch.undo()
    assert (lying.to_give, lying.numbers(), lying.floors) == (made, [1], {"ep": 1})
    assert not list(folder.glob(".*"))
    assert lying.put(content(2), 1).number == 2


def test_two_processes_never_share_a_folder(lying: Snapshots, folder: Path) -> None:
    with pytest.raises(Refusal) as refused, snapshots.opened(folder):
        pass
    assert refused.value.code == "already-running"
