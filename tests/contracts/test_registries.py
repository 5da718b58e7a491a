"""The registry port, held to a real MLflow server and to the registry in memory.

Nothing here imports mlflow: versions are made through the port itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from backend.core.canonical import digest_bytes
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.outbound import Guard
from backend.core.unit import writing
from backend.embedded.mlflow import MlflowServer
from backend.registry import memory as memory_module
from backend.registry import mlflow as mlflow_module
from backend.registry.memory import Fault, MemoryRegistry
from backend.registry.mlflow import MlflowRegistry
from backend.registry.port import Registry, VersionFacts

LOOPBACK = ["127.0.0.0/8"]


CASES: dict[str, Callable[[pytest.FixtureRequest], Registry]] = {
    "mlflow": lambda request: MlflowRegistry(request.getfixturevalue("mlflow_server").url, Guard(LOOPBACK)),
    "memory": lambda request: MemoryRegistry(),
}
"""Each adapter under its own name; a new one is one line."""


@pytest.fixture(params=CASES)
def registry(request: pytest.FixtureRequest) -> Registry:
    return CASES[request.param](request)


@pytest.fixture
def model() -> str:
    """A model name of this test's own."""
    return f"contract-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "artifact" / "data").mkdir(parents=True)
    (tmp_path / "artifact" / "MLmodel").write_text("flavors: {}\n")
    (tmp_path / "artifact" / "data" / "model.onnx").write_bytes(bytes(range(256)) * 5_000)
    return tmp_path / "artifact"


def _log(registry: Registry, model: str, artifact: Path, note: str = "") -> VersionFacts:
    return registry.log_version(model, artifact, description=note, tags={"team": "delay"})


def _fetch(registry: Registry, version: VersionFacts, path: str, limit: int = 10**8) -> bytes:
    with registry.download(version, path, limit=limit) as blocks:
        return b"".join(blocks)


def test_an_uploaded_folder_is_a_version_and_comes_back_byte_for_byte(registry: Registry, model: str, artifact: Path) -> None:
    made = _log(registry, model, artifact, "the first")
    assert (made.model, made.number, made.status) == (model, 1, "READY")
    seen = registry.version(model, 1)
    assert (seen.description, seen.tags["team"]) == ("the first", "delay")
    files = registry.files(seen, limit=100)
    assert [file.path for file in files] == ["MLmodel", "data/model.onnx"]
    content = (artifact / "data" / "model.onnx").read_bytes()
    assert files[1].size == len(content)
    assert digest_bytes(_fetch(registry, seen, "data/model.onnx")) == digest_bytes(content)
    run = registry.run(seen)
    assert run is not None
    assert run.tags["team"] == "delay"


def test_numbers_count_up_and_the_newest_comes_first(registry: Registry, model: str, artifact: Path) -> None:
    for number in (1, 2, 3):
        assert _log(registry, model, artifact).number == number
    assert [one.number for one in registry.versions(model).items] == [3, 2, 1]


def test_versions_and_models_page_to_the_end(
    registry: Registry, model: str, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        _log(registry, model, artifact)
    for module in (mlflow_module, memory_module):
        monkeypatch.setattr(module, "_VERSION_PAGE", 2)
        monkeypatch.setattr(module, "_MODEL_PAGE", 1)
    first = registry.versions(model)
    second = registry.versions(model, first.next)
    assert [one.number for one in (*first.items, *second.items)] == [3, 2, 1]
    assert second.next is None
    names, page = [], None
    for _ in range(100):
        answer = registry.models(page)
        names += [one.name for one in answer.items]
        if (page := answer.next) is None:
            break
    assert model in names
    assert names == sorted(names)


def test_an_alias_is_set_moved_and_removed(registry: Registry, model: str, artifact: Path) -> None:
    _log(registry, model, artifact)
    _log(registry, model, artifact)
    registry.set_alias(model, "production-champion", 1)
    assert registry.model(model).aliases == {"production-champion": 1}
    registry.set_alias(model, "production-champion", 2)
    assert registry.model(model).aliases == {"production-champion": 2}
    registry.set_alias(model, "production-champion", None)
    assert registry.model(model).aliases == {}


def test_what_does_not_exist_is_not_found(registry: Registry, model: str, artifact: Path) -> None:
    with pytest.raises(NotFound):
        registry.model(model)
    made = _log(registry, model, artifact)
    with pytest.raises(NotFound):
        registry.version(model, 9)
    with pytest.raises(NotFound):
        _fetch(registry, made, "data/absent.onnx")
    with pytest.raises(NotFound):
        registry.set_alias(model, "x", 9)
    assert registry.versions("no-such-model").items == ()


def test_lists_of_models_tell_aliases_and_the_latest_number(registry: Registry, model: str, artifact: Path) -> None:
    _log(registry, model, artifact)
    _log(registry, model, artifact)
    registry.set_alias(model, "production-champion", 1)
    newest = registry.models(order="newest").items[0]
    assert (newest.name, newest.latest, newest.aliases) == (model, 2, {"production-champion": 1})


def test_an_alias_that_does_not_exist_is_taken_away_in_vain(registry: Registry, model: str, artifact: Path) -> None:
    _log(registry, model, artifact)
    registry.set_alias(model, "never-set", None)
    assert registry.model(model).aliases == {}


def test_no_call_is_made_inside_a_unit_of_work(registry: Registry) -> None:
    with writing(), pytest.raises(RuntimeError, match="inside a unit"):
        registry.models()


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "data/../../x", "a\\b", ""])
def test_a_path_that_leaves_the_artifact_is_refused(registry: Registry, model: str, artifact: Path, path: str) -> None:
    made = _log(registry, model, artifact)
    with pytest.raises(Refusal):
        _fetch(registry, made, path)


def test_limits_on_size_and_number_hold(registry: Registry, model: str, artifact: Path) -> None:
    made = _log(registry, model, artifact)
    with pytest.raises(Refusal) as large:
        _fetch(registry, made, "data/model.onnx", limit=1000)
    assert large.value.code == "too-large"
    with pytest.raises(Refusal) as many:
        registry.files(made, limit=1)
    assert many.value.code == "too-many-files"


def test_a_server_that_is_not_there_is_an_external_failure() -> None:
    with pytest.raises(ExternalFailure) as failed:
        MlflowRegistry("http://127.0.0.1:9", Guard(LOOPBACK)).models()
    assert failed.value.retryable


def test_an_address_that_nobody_allowed_is_refused(mlflow_server: MlflowServer) -> None:
    with pytest.raises(Refusal) as refused:
        MlflowRegistry(mlflow_server.url, Guard()).models()
    assert refused.value.code == "address-not-allowed"


# -- the registry in memory fails as it is told


def test_faults_are_met_in_the_order_of_the_script() -> None:
    registry = MemoryRegistry()
    registry.add_version("m", {"a": b"1"})
    registry.script(Fault("model", "unreachable"), Fault("model", "error", times=2), Fault("set_alias", "lie"))
    for _ in range(3):
        with pytest.raises(ExternalFailure):
            registry.model("m")
    registry.set_alias("m", "champion", 1)
    assert registry.model("m").aliases == {}
    registry.script(Fault("set_alias", "apply_then_timeout"))
    with pytest.raises(ExternalFailure) as unknown:
        registry.set_alias("m", "champion", 1)
    assert unknown.value.applied_unknown
    assert registry.model("m").aliases == {"champion": 1}
    registry.up = False
    with pytest.raises(ExternalFailure):
        registry.versions()


def test_a_changed_byte_is_one_byte() -> None:
    registry = MemoryRegistry()
    made = registry.add_version("m", {"a": b"1234", "b": b"x"})
    registry.change_byte("m", 1)
    assert [_fetch(registry, made, path) for path in "ab"] == [b"0234", b"x"]


# -- answers of a server that lies


@pytest.fixture
def lying() -> Iterator[Callable[[int, bytes], MlflowRegistry]]:
    """An adapter before a server that gives one answer to everything."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes) -> MlflowRegistry:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return MlflowRegistry(f"http://127.0.0.1:{server.server_port}", Guard(LOOPBACK))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"secret stack trace"),
        (502, b"<html>secret</html>"),
        (200, b"<html>secret</html>"),
        (200, b'{"registered_model": 7, "secret": 1}'),
        (200, b'{"registered_model": {"name": "secret other", "creation_timestamp": 1, "last_updated_timestamp": 1}}'),
        (200, b'{"registered_model": {"name": "m", "creation_timestamp": 99999999999999999999}}'),
        (302, b"secret"),
        (401, b"secret"),
    ],
)
def test_an_answer_that_nobody_can_rely_on_is_an_error_and_is_not_shown(
    lying: Callable[[int, bytes], MlflowRegistry], status: int, body: bytes
) -> None:
    with pytest.raises((ExternalFailure, Refusal)) as failed:
        lying(status, body).model("m")
    assert "stack trace" not in str(failed.value)
    assert "<html>" not in str(failed.value)


def test_the_real_server_really_answered(mlflow_server: MlflowServer) -> None:
    """Guards the suite itself: its server is MLflow and not something that says yes to all."""
    assert httpx.get(f"{mlflow_server.url}/version").text.startswith("3.")
