"""A real Envoy tells the ingest what shadow arms answered and what live ones did, and no caller notices: not even where the
ingest is away, hangs or refuses, or where the shadow is dead, slow or answers with anything."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.core.errors import ExternalFailure
from backend.delivery.desired import ArmRoute, DesiredRouter, EndpointRoute
from backend.embedded import runtimes
from backend.embedded.envoy import ANSWERS_CLUSTER, AccessLogTo, start_envoy
from backend.embedded.supervisor import Supervisor
from backend.embedded.triton import TritonServer
from backend.inference_log import probes
from backend.inference_log.copies import Copy
from backend.inference_log.handling import Handling
from backend.ingest import answers_server
from tests.contracts.test_envoy_router import TritonModel
from tests.databases import Clock
from tests.inference_server import InferenceServer
from tests.routed import EnvoyRouted, make_route
from tests.services.ingest.conftest import KEY, Door

BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1.0]}]}'
ARMS = {"canary": ((0, 5000),), "champion": ((5000, 10_000),), "shadow": ()}
SERVED = {"canary": 1, "champion": 2, "shadow": 3}


@pytest.fixture
def clock() -> Clock:
    """Envoy's times are those of the machine."""
    now = Clock()
    now.now = now.now.fromtimestamp(time.time(), tz=now.now.tzinfo)
    return now


@pytest.fixture
def door(tmp_path: Path, clock: Clock) -> Door:
    return Door(tmp_path, clock)


class Heard:
    """An Envoy that tells a port, an endpoint on it with a shadow, and who listens at the port."""

    def __init__(self, routed: EnvoyRouted, door: Door, port: int) -> None:
        self.routed, self.door, self.port = routed, door, port
        self.caller = httpx.Client(trust_env=False, timeout=20)
        self.route: EndpointRoute = make_route(routed.upstream, ARMS, shadow="shadow")  # type: ignore[arg-type]
        door.known.handling[self.route.endpoint] = Handling(KEY)
        routed.router.push(DesiredRouter({self.route.endpoint: self.route}))
        self.url = f"{routed.envoy.url}/{self.route.endpoint}/v2/models/flight%20delay/infer"

    def ask(self, name: str, content: bytes = BODY, **headers: str) -> httpx.Response:
        sent = {"x-request-id": name.encode(), **{key.replace("_", "-"): value.encode() for key, value in headers.items()}}
        return self.caller.post(self.url, content=content, headers=sent)

    def rows(self, count: int) -> dict[tuple[str, str], Copy]:
        """All that is told, once it is that much."""
        end = time.monotonic() + 20
        while len(self.door.rows()) < count:
            assert time.monotonic() < end, self.door.rows()
            time.sleep(0.02)
        return {(row.request_id, "copy" if row.arm == row.shadow else "live"): row for _, row in self.door.rows()}

    def listens(self, *, somebody: bool = True) -> None:
        """Waits until Envoy knows whether somebody listens; it looks once a second."""
        wait_for(lambda: figure(self, "membership_healthy") == somebody)

    def served(self, arm: str) -> Any:
        return self.routed.server.versions["m", SERVED[arm]]


@pytest.fixture
def heard(door: Door, tmp_path: Path, runtimes_dir: Path) -> Iterator[Heard]:
    with Supervisor(tmp_path / "runtimes") as group, InferenceServer() as server:
        ports = group.reserve("answers", 1)
        ports.release()
        (port,) = ports.numbers
        log_to = AccessLogTo(1, answers=port)
        envoy = start_envoy(group, tmp_path / "envoy", runtimes.envoy(runtimes_dir), log_to=log_to)
        routed = EnvoyRouted.make(envoy, server, group.folder / "envoy.log")
        for arm, version in SERVED.items():
            routed.serve(version, 0.5 if arm == "shadow" else 0.25)
        yield Heard(routed, door, port)


def test_what_both_answered_is_told_side_by_side(heard: Heard) -> None:
    with answers_server.serving(heard.door.entrance, heard.port):
        heard.listens()
        before = time.time()
        answered = heard.ask("first", x_unit_id="ü-1")
        heard.ask("probe", x_cs_probe=probes.mark(KEY))
        heard.ask("says-so", x_cs_probe="1", x_cs_generation="77")
        heard.ask("two", json.dumps({"inputs": [tensor(2)]}).encode())
        heard.ask("large", json.dumps({"inputs": [tensor(20_000)]}).encode())
        heard.ask("mistaken", b"no JSON")
        heard.rows(9)  # what a version does may only change once it did
        heard.served("shadow").mode = "error"
        heard.ask("failed")
        heard.rows(11)
        heard.served("shadow").mode = "ready"
        heard.served("canary").mode = heard.served("champion").mode = "unloaded"
        heard.ask("alone")
        heard.rows(12)
        heard.served("canary").mode = heard.served("champion").mode = "ready"
        heard.served("shadow").mode = "reset"
        heard.ask("reset")
        rows = heard.rows(13)
    assert sorted(rows) == sorted(
        [(name, side) for name in ("first", "says-so", "two", "large", "failed") for side in ("copy", "live")]
        + [("mistaken", "copy"), ("reset", "live"), ("alone", "copy")]
    )
    live, copy = rows["first", "live"], rows["first", "copy"]
    assert (live.prediction, copy.prediction) == (1.25, 1.5)
    assert (live.arm, copy.arm, live.shadow, copy.shadow) == (answered.headers["x-cs-arm"], "shadow", "shadow", "shadow")
    assert (str(live.version), copy.version) == (answered.headers["x-cs-version"], 13)
    assert {live.generation, copy.generation, rows["says-so", "copy"].generation} == {1}
    assert (live.unit, copy.unit, rows["two", "copy"].unit) == ("ü-1", "ü-1", None)
    for row in (live, copy):
        assert (row.status, row.failure) == (200, "")
        assert 0 < row.latency_seconds < 20  # type: ignore[operator]
        assert before - 1 < row.event_time.timestamp() < time.time() + 1
    assert rows["two", "copy"].prediction_json == "[1.5,1.5]"
    assert {rows["large", side].failure for side in ("copy", "live")} == {"too-large"}
    assert (rows["failed", "copy"].failure, rows["failed", "copy"].status) == ("http-500", 500)
    assert (rows["mistaken", "copy"].failure, rows["alone", "copy"].failure) == ("http-400", "")


def test_no_caller_waits_for_who_hears_answers(heard: Heard) -> None:
    """Nobody listens, then somebody who never answers, and a shadow that is slow besides: every caller is answered, at most so
    many messages are under way, and what is beyond is dropped."""
    heard.listens(somebody=False)
    assert [heard.ask(f"away-{n}").status_code for n in range(20)] == [200] * 20
    assert figure(heard, "upstream_rq_active") == 0
    heard.served("shadow").mode = "slow"
    with closing(socket.create_server(("127.0.0.1", heard.port))) as mute, ThreadPoolExecutor(16) as callers:
        heard.listens()
        assert heard.ask("first").status_code == 200
        assert [heard.ask(f"next-{n}").status_code for n in range(4)] == [200] * 4
        assert figure(heard, "upstream_rq_timeout") < 5  # whoever waited would have it once for each
        taken = message_of(mute, b"x-cs-id: first")
        asked = list(callers.map(lambda n: heard.ask(f"mute-{n}").status_code, range(200)))
        assert asked == [200] * 200
        assert figure(heard, "upstream_rq_pending_overflow") > 0
        assert figure(heard, "upstream_rq_active") + figure(heard, "upstream_rq_pending_active") <= 128
        taken.close()
    heard.served("shadow").mode = "ready"
    heard.listens(somebody=False)
    with answers_server.serving(heard.door.entrance, heard.port):
        wait_for(lambda: heard.ask("again").status_code == 200 and bool(heard.door.rows()))


def test_an_answer_passes_on_piece_by_piece_while_it_is_heard(heard: Heard) -> None:
    """The second half is only sent once the caller has the first."""
    had = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server, answers_server.serving(heard.door.entrance, heard.port):
        heard.listens()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=in_halves, args=(server, had), daemon=True).start()
        heard.routed.router.push(DesiredRouter({heard.route.endpoint: replace(heard.route, upstream=address, generation=2)}))
        with httpx.stream("POST", heard.url, content=BODY, headers={"x-request-id": "halves"}, trust_env=False) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == HALVES[0]
            had.set()
            assert b"".join(pieces) == HALVES[1]
        rows = heard.rows(2)
    assert {row.prediction for row in rows.values()} == {7.0}
    assert {row.generation for row in rows.values()} == {2}


@pytest.mark.slow
def test_what_a_real_triton_answers_is_heard(heard: Heard, triton_server: TritonServer) -> None:
    """In plain JSON, packed, in its binary form, and of a version that was unloaded."""
    model = TritonModel(triton_server)
    model.load(2, 3)
    arms = (ArmRoute("champion", 72, "routed-adds", 2, ((0, 10_000),)), ArmRoute("shadow", 73, "routed-adds", 3, ()))
    route = replace(heard.route, arms=arms, upstream=triton_server.url.removeprefix("http://"), generation=2)
    heard.routed.router.push(DesiredRouter({route.endpoint: route}))
    content = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
    binary = {**content, "parameters": {"binary_data_output": True}}
    with answers_server.serving(heard.door.entrance, heard.port):
        heard.listens()
        plain = heard.ask("plain", json.dumps(content).encode(), accept_encoding="identity")
        assert plain.json()["outputs"][0]["data"] == [21.0, 22.0]
        assert heard.ask("packed", json.dumps(content).encode(), accept_encoding="gzip").headers["content-encoding"] == "gzip"
        assert heard.ask("binary", json.dumps(binary).encode(), accept_encoding="identity").status_code == 200
        heard.rows(6)
        model.load(2)
        assert heard.ask("unloaded", json.dumps(content).encode()).status_code == 200
        rows = heard.rows(8)
    model.unload()
    for name in ("plain", "packed"):
        told = {side: rows[name, side].prediction_json for side in ("live", "copy")}
        assert told == {"live": '{"y.0":21.0,"y.1":22.0}', "copy": '{"y.0":31.0,"y.1":32.0}'}
    assert {rows["binary", side].failure for side in ("live", "copy")} == {"unreadable"}
    assert (rows["unloaded", "live"].failure, rows["unloaded", "copy"].failure) == ("", "http-503")


def test_a_port_that_somebody_has_is_told(door: Door) -> None:
    with answers_server.serving(door.entrance, 0) as port, pytest.raises(ExternalFailure, match="is taken"):  # noqa: SIM117
        with answers_server.serving(door.entrance, port):
            pass


def message_of(listener: socket.socket, holds: bytes) -> socket.socket:
    """The first connection on which that is said; others only look whether anybody listens."""
    listener.settimeout(20)
    while True:
        found, _ = listener.accept()
        found.settimeout(20)
        if holds in found.recv(65_536):
            return found
        found.close()


HALVES = (b'{"outputs":[{"name":"y","datatype":"FP32",', b'"shape":[1,1],"data":[7.0]}]}')


def in_halves(server: socket.socket, had: threading.Event) -> None:
    """Answers everybody in two halves."""
    with suppress(OSError):
        while True:
            threading.Thread(target=_halves_to, args=(server.accept()[0], had), daemon=True).start()


def _halves_to(connection: socket.socket, had: threading.Event) -> None:
    with closing(connection), suppress(OSError):
        asked = b""
        while BODY not in asked:  # what is not read breaks the connection when it is closed
            asked += connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for half in HALVES:
            connection.sendall(f"{len(half):x}\r\n".encode() + half + b"\r\n")
            had.wait(20)
        connection.sendall(b"0\r\n\r\n")


def figure(heard: Heard, name: str) -> int:
    """A figure of the cluster that answers are told to."""
    asked = {"filter": f"^cluster\\.{ANSWERS_CLUSTER}\\.{name}$"}
    text = httpx.get(f"{heard.routed.envoy.admin_url}/stats", params=asked, trust_env=False).text
    return sum(int(line.rpartition(": ")[2]) for line in text.splitlines())


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def tensor(rows: int) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [rows, 1], "data": [1.0] * rows}
