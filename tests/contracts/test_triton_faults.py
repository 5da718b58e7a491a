"""How Triton's failures, lies and hostile answers are told: against a small server that misbehaves by script."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backend.core import outbound
from backend.core.canonical import digest_tree
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery.desired import DesiredModel, DesiredServer, Packaged
from backend.delivery.targets.port import Access
from backend.delivery.targets.triton import TritonTarget
from tests.packages import triton_package

LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Packaged]:
    return lambda offset=1.0, **more: triton_package(tmp_path / uuid.uuid4().hex, offset, **more)


def wanted(released: tuple[str, ...] = (), **models: dict[int, Packaged]) -> DesiredServer:
    return DesiredServer({name: DesiredModel(name, versions) for name, versions in models.items()}, frozenset(released))


Handler = Callable[["Fake", BaseHTTPRequestHandler, bytes], None]
SECRET = "/srv/secrets/token"


class Fake:
    """A small server. `routes` maps a part of the path to (status, JSON) or to a function that misbehaves by itself."""

    def __init__(self) -> None:
        self.routes: dict[str, Any] = {}
        self.calls: list[str] = []
        self.stop = threading.Event()
        fake = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                fake.calls.append(f"{self.command} {self.path}")
                found = next((route for part, route in fake.routes.items() if part in self.path), (404, {"error": SECRET}))
                if callable(found):
                    found(fake, self, body)
                    return
                status, content = found
                send(self, status, content if isinstance(content, bytes) else json.dumps(content).encode())

            do_POST = do_GET  # noqa: N815 - the name is http.server's

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def reset(fake: Fake, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """The request was taken; then the connection breaks."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.close()
    handler.close_connection = True


def hang(fake: Fake, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """The request was taken, perhaps carried out, and no answer comes."""
    fake.stop.wait(20)
    handler.close_connection = True


def drip(fake: Fake, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """One byte after another, each in time."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not fake.stop.wait(0.1):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            break
    handler.close_connection = True


def flood(fake: Fake, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """An answer without end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while not fake.stop.is_set():
        try:
            handler.wfile.write(b"x" * (1 << 20))
        except OSError:
            break
    handler.close_connection = True


def zipped(fake: Fake, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, 200, b"\x1f\x8b", Content_Encoding="gzip")


def redirect(fake: Fake, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, 302, b"", Location="http://127.0.0.1:1/")


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    made.routes = {"/index": (200, []), "/stats": (200, {"model_stats": []}), "/load": (200, b""), "/unload": (200, b"")}
    yield made
    made.stop.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def faulty(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TritonTarget:
    monkeypatch.setattr(outbound, "MAX_ANSWER_SECONDS", 1e6)  # the adapter's own bounds are what is tested
    monkeypatch.setattr(outbound, "MAX_BODY_BYTES", 1 << 50)
    (tmp_path / "models").mkdir()
    settings = {"url": fake.url, "model_repository": str(tmp_path / "models"), "timeout_seconds": 1, "load_timeout_seconds": 1}
    return TritonTarget.connect(settings, Access("srv", "the-key", Guard(LOOPBACK)))


@pytest.mark.parametrize(
    ("route", "applied_unknown"),
    [((500, {"error": SECRET}), True), ((502, b"<html>" + SECRET.encode()), True), (reset, True), (hang, True), (drip, True),
     (flood, True), ((302, {"error": SECRET}), False), (redirect, False), ((418, b"\xff\x00"), False)],
)  # fmt: skip
def test_a_load_that_fails_says_whether_it_may_have_taken_effect(
    faulty: TritonTarget, fake: Fake, package: Callable[..., Packaged], route: Any, applied_unknown: bool
) -> None:
    fake.routes = {"/load": route, **{part: one for part, one in fake.routes.items() if part != "/load"}}
    with pytest.raises(ExternalFailure) as failed:
        faulty.push(wanted(add={1: package(1.0)}))
    assert (failed.value.applied_unknown, failed.value.retryable) == (applied_unknown, applied_unknown)
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((400, {"error": f"load failed: {SECRET} is\n\x1b[31mbroken" + "x" * 5000}), "not-loadable"),
        ((400, b"not json"), "not-loadable"),
        ((500, {"error": "failed to load 'add', failed to poll from model repository"}), "not-in-repository"),
        ((503, {"error": "explicit model load / unload is not allowed if polling is enabled"}), "control-mode"),
        ((403, {"error": SECRET}), "server-access"),
    ],
)
def test_what_a_person_must_mend_is_refused_in_one_short_line(
    faulty: TritonTarget, fake: Fake, package: Callable[..., Packaged], tmp_path: Path, answer: Any, code: str
) -> None:
    fake.routes["/load"] = answer
    with pytest.raises(Refusal) as refused:
        faulty.push(wanted(add={1: package(1.0)}))
    assert refused.value.code == code
    assert SECRET not in refused.value.message
    assert (refused.value.message.isprintable(), len(refused.value.message) < 400) == (True, True)
    assert not (tmp_path / "models" / "add" / "1").exists()


def test_a_lie_about_a_load_is_found_by_looking(faulty: TritonTarget, package: Callable[..., Packaged]) -> None:
    faulty.push(wanted(add={1: package(1.0)}))
    assert faulty.observe().models == {}


def test_ready_is_what_the_version_itself_says(faulty: TritonTarget, fake: Fake) -> None:
    fake.routes = {
        "/index": (200, [{"name": "add", "version": str(n), "state": "READY"} for n in (1, 2)]),
        "/stats": (404, {}),
        "/versions/1/ready": (200, b""),
        "/versions/2/ready": (400, {"error": "Model version not ready"}),
        "/config": (200, {"backend": "python"}),
    }
    versions = faulty.observe().models["add"].versions
    assert (versions[1].state, versions[2].state) == ("ready", "failed")
    assert "does not answer as ready" in versions[2].reason


def test_a_model_that_vanishes_between_two_calls_is_no_error(faulty: TritonTarget, fake: Fake) -> None:
    fake.routes["/index"] = (200, [{"name": "add", "version": "1", "state": "READY"}])
    fake.routes["/ready"] = (200, b"")
    seen = faulty.observe().models["add"]
    assert (seen.versions[1].state, seen.config_digest) == ("ready", None)


def test_every_state_of_the_index_has_a_word(faulty: TritonTarget, fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "models" / "m" / "4").mkdir(parents=True)
    states = [("LOADING", ""), ("UNLOADING", ""), ("UNAVAILABLE", "unloaded"), ("UNAVAILABLE", f"in {SECRET}\nbroken"),
              ("UNAVAILABLE", "was broken"), ("SURPRISE", ""), ("", "")]  # fmt: skip
    entries = [{"name": "m", "version": str(n), "state": state, "reason": why} for n, (state, why) in enumerate(states, 1)]
    fake.routes["/index"] = (200, [*entries, {"name": "bare"}, {"name": "m", "version": "x", "state": "READY"}])
    found = faulty.observe().models
    assert {number: one.state for number, one in found["m"].versions.items()} == {
        1: "loading", 2: "unloading", 3: "not_loaded", 4: "failed", 5: "not_loaded", 6: "unknown", 7: "not_loaded",
    }  # fmt: skip
    assert (found["m"].versions[4].reason, found["m"].versions[5].reason) == ("in token broken", "was broken")
    assert found["bare"].versions == {}
    assert [name for name, one in found.items() if one.fresh] == ["bare"]


def test_only_a_model_that_is_named_without_any_version_counts_as_not_loaded_since_the_start(
    faulty: TritonTarget, fake: Fake
) -> None:
    fake.routes["/index"] = (
        200,
        [{"name": "odd", "version": "x"}, {"name": "bare"}, {"name": "both"}, {"name": "both", "version": "1"}],
    )
    fake.routes["/stats"] = (200, {"model_stats": [{"name": "served", "version": "y"}, {"name": "bare", "version": "z"}]})
    assert [name for name, one in faulty.observe().models.items() if one.fresh] == []
    fake.routes["/stats"] = (200, {"model_stats": []})
    assert [name for name, one in faulty.observe().models.items() if one.fresh] == ["bare"]


@pytest.mark.parametrize(
    "answer",
    [(200, b""), (200, b"<html>"), (200, {"a": 1}), (200, [3]), (200, [{"name": ""}]), (200, [{"name": ".."}]),
     (200, [{"name": "x" * 5000}]), (200, b"[" * 100_000), (200, b'[{"name": "a", "name": "b"}]'),
     (500, {"error": SECRET}), (404, {"error": SECRET}),
     reset, hang, drip, flood, zipped, redirect],
)  # fmt: skip
def test_an_index_that_cannot_be_believed_is_a_failure_and_no_empty_server(
    faulty: TritonTarget, fake: Fake, answer: Any
) -> None:
    fake.routes["/index"] = answer
    with pytest.raises(ExternalFailure) as failed:
        faulty.observe()
    assert not failed.value.applied_unknown
    assert SECRET not in str(failed.value)


def test_names_from_a_hostile_server_stay_names(faulty: TritonTarget, fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "outside" / "1").mkdir(parents=True)
    names = ["../outside", "/etc", "..x", "a/b?c#d", "a%2f..", "\x1b[31m"]
    fake.routes["/index"] = (200, [{"name": name, "version": "1", "state": "READY"} for name in names])
    fake.routes["/ready"] = (200, b"")
    seen = faulty.observe(names)
    assert set(seen.models) == set(names)
    nothing = digest_tree([])
    assert {name: one.versions[1].package_digest for name, one in seen.models.items() if "/" in name} == dict.fromkeys(
        [name for name in names if "/" in name]
    )
    assert {one.versions[1].package_digest for one in seen.models.values()} == {None, nothing}
    asked = [call for call in fake.calls if "ready" in call]
    assert all(call.startswith("GET /v2/models/") and call.count("/") == 6 for call in asked)
    for name in names:
        with pytest.raises(Refusal):
            faulty.copy_out(name, 1, tmp_path)


def test_open_management_is_warned_of(faulty: TritonTarget, fake: Fake) -> None:
    fake.routes |= {
        "/v2/systemsharedmemory": (200, []),
        "/v2/logging": (403, {}),
        "/v2/health/live": (200, b""),
    }
    fake.routes["/v2"] = (200, {"name": "triton", "version": "2.51.0", "extensions": ["a", "b"]})
    facts = faulty.inspect()
    assert (facts.version, facts.live, facts.extensions) == ("2.51.0", True, ("a", "b"))
    assert "model repository, shared memory, trace" in facts.warnings[0]


def test_nobody_there_says_so(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        nobody = TritonTarget.connect({"url": url, "model_repository": str(tmp_path)}, Access("srv", None, Guard(LOOPBACK)))
        for verb in (nobody.inspect, nobody.observe, lambda: nobody.push(wanted(("add",)))):
            with pytest.raises(ExternalFailure) as failed:
                verb()
            assert (failed.value.retryable, failed.value.applied_unknown) == (True, False)
            assert "cannot be reached" in str(failed.value)
    assert nobody.metrics() == ()


def test_addresses_that_nobody_allowed_are_not_called(tmp_path: Path, fake: Fake) -> None:
    stranger = TritonTarget.connect({"url": fake.url, "model_repository": str(tmp_path)}, Access("srv", None, Guard()))
    with pytest.raises(Refusal) as refused:
        stranger.observe()
    assert (refused.value.code, fake.calls) == ("address-not-allowed", [])
