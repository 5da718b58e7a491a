"""No two servers or routers share a place, however it is written, and none writes where Countersign keeps its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from backend import bootstrap, migrate
from backend.core.database import Database
from backend.core.errors import CountersignError
from backend.delivery import queries
from backend.delivery.footprint import footprint, overlap
from backend.delivery.rows import RouterRow, Server
from backend.equipment import keys
from backend.settings import Settings
from tests.services.delivery.surroundings import Surroundings, refused


@pytest.fixture
def around(database: Database, tmp_path: Path) -> Surroundings:
    return Surroundings(database, tmp_path)


def _triton(around: Surroundings, name: str, **changes: Any) -> Server:
    upstream = changes.pop("upstream", f"127.0.0.1:{8000 + len(name)}")
    own = {"url": f"http://{upstream}", "model_repository": str(around.folder / "models" / name)}
    settings = {**own, **changes}
    return around.servers.register(around.as_("olga"), name=name, kind="triton", settings=settings, upstream=upstream)


def _envoy(around: Surroundings, name: str, port: int, **changes: Any) -> RouterRow:
    folder, public_url = around.folder / name, changes.pop("public_url", f"http://127.0.0.1:{port + 1}")
    own = {
        "routes_file": str(folder / "routes.json"),
        "clusters_file": str(folder / "clusters.json"),
        "admin_url": f"http://127.0.0.1:{port}",
    }
    return around.behind_router(name, settings={**own, **changes}, public_url=public_url)


def test_one_triton_is_registered_once_however_its_place_is_written(around: Surroundings) -> None:
    first = _triton(around, "one", upstream="127.0.0.1:8000", metrics_url="http://127.0.0.1:8002/metrics")
    link = around.folder / "link"
    link.symlink_to(around.folder / "models")
    repository = first.settings["model_repository"]
    for changes in (
        {"upstream": "localhost:8000", "url": "http://127.0.0.1:9"},
        {"url": "http://LOCALHOST:8000"},
        {"url": "http://127.0.0.1:8000/behind"},
        {"url": "http://127.0.0.1:8002"},
        {"metrics_url": "https://127.0.0.1:8002/other"},
        {"model_repository": repository},
        {"model_repository": f"{repository}/delay/1"},
        {"model_repository": f"{repository}/../one/"},
        {"model_repository": str(around.folder / "models")},
        {"model_repository": str(link / "one")},
    ):
        assert "one" in refused("address-taken", _triton, around, "second", **changes).message
    _triton(around, "second", repository_on_server="/models")
    _triton(around, "the-third", repository_on_server="/models")


def test_one_envoy_is_registered_once_however_its_place_is_written(around: Surroundings) -> None:
    first = _envoy(around, "one", 9901)
    for changes in (
        {"admin_url": "http://localhost:9901/"},
        {"routes_file": first.settings["routes_file"]},
        {"routes_file": first.settings["clusters_file"]},
        {"clusters_file": first.settings["routes_file"]},
        {"public_url": "http://localhost:9902/eu"},
    ):
        assert "one" in refused("address-taken", _envoy, around, "second", 9911, **changes).message
    _envoy(around, "second", 9911)


def test_a_router_writes_no_file_into_a_models_folder(around: Surroundings) -> None:
    inside = f"{_triton(around, 'one').settings['model_repository']}/config.json"
    refused("address-taken", _envoy, around, "edge", 9901, routes_file=inside)
    _envoy(around, "edge", 9901, log_file=str(around.folder / "envoy.log"))
    refused("address-taken", _triton, around, "second", model_repository=str(around.folder / "edge"))


def test_one_in_memory_is_known_by_its_path_or_else_by_its_name(around: Surroundings) -> None:
    path, other = str(around.folder / "a.json"), str(around.folder / "b.json")
    around.server(settings={"path": path}, upstream=f"memory:{path}")
    around.server("second", settings={"path": other}, upstream=f"memory:{other}")
    around.server("named", settings={"name": "n"}, upstream="memory:n")
    for settings, upstream in (
        ({"path": path}, "memory:x"),
        ({"name": "x"}, f"memory:{path}"),
        ({"name": "n"}, "memory:x"),
        ({"name": "x"}, "memory:n"),
    ):
        refused("address-taken", around.server, "third", settings=settings, upstream=upstream)
    around.behind_router(kind="memory", settings={"name": "n"}, public_url="memory:n")


def test_an_edit_leads_nothing_to_where_another_is_and_not_away_from_itself(around: Surroundings) -> None:
    first, second = _triton(around, "one"), _triton(around, "second")
    edit, olga = around.servers.edit, around.as_("olga")
    refused("address-taken", edit, olga, "second", revision=1, upstream=first.upstream)
    refused("address-taken", edit, olga, "second", revision=1, settings={**second.settings, "url": first.settings["url"]})
    slower = {**second.settings, "timeout_seconds": 20.0}
    assert edit(olga, "second", revision=1, settings=slower).revision == 2
    _envoy(around, "one", 9901)
    _envoy(around, "two", 9911)
    refused("address-taken", around.servers.edit_router, olga, "two", revision=1, public_url="http://localhost:9902")
    assert [one.before["upstream"] for one in around.events("server.edit")] == [second.upstream]


def test_a_move_is_confirmed_only_while_its_place_is_free(around: Surroundings) -> None:
    around.server()
    around.behind_router()
    around.endpoint(router="edge", environment="production")
    around.change("delay", mode="managed")
    servers = around.servers
    refused("address-taken", servers.edit_router, around.as_("olga"), "edge", revision=1, public_url=_other_door(around))
    servers.edit(around.as_("olga"), "srv", revision=1, upstream="127.0.0.1:9000")
    _triton(around, "faster", upstream="localhost:9000")
    assert "faster" in refused("address-taken", servers.confirm_move, around.as_("otto"), "srv", revision=2).message
    servers.remove(around.as_("olga"), "faster")
    assert servers.confirm_move(around.as_("otto"), "srv", revision=2).upstream == "127.0.0.1:9000"
    around.check_ledger()


def _other_door(around: Surroundings) -> str:
    return _envoy(around, "other", 9911).public_url


def test_of_two_who_take_one_place_at_once_one_is_refused(real_time_database: Database, tmp_path: Path) -> None:
    around, codes = Surroundings(real_time_database, tmp_path), []

    def ask(name: str) -> None:
        try:
            _triton(around, name, upstream="127.0.0.1:8000")
            codes.append("registered")
        except CountersignError as error:
            codes.append(getattr(error, "code", ""))

    threads = [threading.Thread(target=ask, args=(f"s{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["address-taken"] * 3 + ["registered"]
    with real_time_database.read() as session:
        assert len(queries.servers(session)) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://edge.example:80", "http://EDGE.example./", True),
        ("https://edge.example", "http://edge.example:443", True),
        ("http://edge.example/eu", "http://edge.example/eu/north", True),
        ("http://edge.example/eu", "http://edge.example/us", False),
        ("http://edge.example/eu", "http://edge.example/europe", False),
        ("http://edge.example:80", "http://edge.example:81", False),
        ("http://127.1:80", "http://[::1]", True),
        ("http://[::ffff:127.0.0.1]", "http://0.0.0.0", True),
        ("http://[::ffff:192.0.2.1]:7", "192.0.2.1:7", True),
        ("http://[2001:db8:0::1]:7", "[2001:db8::1]:7", True),
    ],
)
def test_an_address_is_the_same_in_every_spelling(one: str, other: str, same: bool) -> None:
    assert (overlap(footprint("x", {}, one).addresses, footprint("x", {}, other).addresses) is not None) == same


def test_a_path_is_found_as_a_file_url_and_in_a_field_for_files(tmp_path: Path) -> None:
    plain = footprint("x", {"anything": str(tmp_path / "a b")}, "").files
    assert footprint("x", {"deep": [{"folder": (tmp_path / "a b").as_uri()}]}, "").files == plain
    assert footprint("x", {"log_file": "a.log"}, "").files == footprint("x", {"other": str(Path("a.log").absolute())}, "").files
    assert not footprint("x", {"repository_on_server": "/models", "header": "admin-key", "path": None}, "").files


@pytest.mark.parametrize(
    "inside",
    [
        "packages", "packages/sha256/00", "package-cache", "ledger-heads", "inference-log", "keys", "uploads/x",
        "countersign.db", "countersign.db-wal", "countersign.db-shm", "elsewhere/../keys", "", "..", "link",
    ],
)  # fmt: skip
def test_what_countersign_keeps_for_itself_is_no_place_for_a_server(tmp_path: Path, inside: str) -> None:
    data = tmp_path / "data"
    around = _on(data, Database(f"sqlite:///{tmp_path / 'other.db'}"))
    (data / "link").symlink_to(data / "keys")
    refused("path-reserved", _triton, around, "one", model_repository=str(data / inside))
    refused("path-reserved", _envoy, around, "edge", 9901, log_file=str(data / inside))
    for field in ("routes_file", "clusters_file") if inside not in ("", "..") else ():
        refused("path-reserved", _envoy, around, "edge", 9901, **{field: str(data / inside / "x.json")})
    assert around.events("server.register") == around.events("router.register") == []


def test_what_is_reserved_is_refused_in_an_edit_and_in_a_move_that_waited(around: Surroundings) -> None:
    kept = around.folder / "kept"
    around.servers._reserved = (kept,)
    first = _triton(around, "one")
    moved = {**first.settings, "model_repository": str(kept / "x")}
    refused("path-reserved", around.servers.edit, around.as_("olga"), "one", revision=1, settings=moved)
    path = around.folder / "links" / "router.json"
    _waiting(around, str(path))
    path.parent.symlink_to(kept)
    refused("path-reserved", around.servers.confirm_router_move, around.as_("otto"), "edge", revision=2)


def _waiting(around: Surroundings, path: str) -> None:
    """A move of `edge` to a file that is free when it is asked for."""
    around.server()
    row = around.behind_router()
    around.endpoint(router="edge", environment="production")
    around.change("delay", mode="managed")
    settings = {**row.settings, "routes_file": path}
    assert around.servers.edit_router(around.as_("olga"), "edge", revision=1, settings=settings).move is not None


def test_the_folders_beside_what_is_reserved_stay_free(tmp_path: Path) -> None:
    data = tmp_path / "data"
    around = _on(data, Database(f"sqlite:///{tmp_path / 'other.db'}"))
    _triton(around, "one", model_repository=str(data / "triton" / "models"))
    _triton(around, "second", model_repository=str(data / "runtimes" / "models"))
    files = {name: str(data / "envoy" / f"{name}.json") for name in ("routes_file", "clusters_file")}
    _envoy(around, "edge", 9901, **files, log_file=str(data / "envoy" / "envoy.log"))


def test_only_what_lies_on_this_machine_is_reserved(tmp_path: Path) -> None:
    away = Settings(
        data_dir=tmp_path, database_url="postgresql+psycopg://db/x", package_store_url="s3://b/p", ledger_heads_url="s3://b/l",
        inference_log_url=f"file://{tmp_path}/far/log", window_reports_url="s3://b/w",
    )  # fmt: skip
    names = {str(path.relative_to(tmp_path)) for path in keys.reserved(away)}
    assert names == {"package-cache", "uploads", "ingest", "scratch", "keys", "far/log"}


def _on(data: Path, database: Database) -> Surroundings:
    """Surroundings whose servers know what an installation in `data` keeps for itself."""
    data.mkdir()
    migrate.upgrade(database)
    around = Surroundings(database, data)
    around.servers._reserved = bootstrap.build(Settings(data_dir=data)).servers._reserved
    return around
