"""What the door sends for a row, what it takes for an answer, and how it fails. The contract suites show it on routers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from backend.core.errors import ExternalFailure
from backend.core.outbound import Guard
from backend.delivery.door import HttpDoor, infer_body, outputs_of
from tests.routed import LOOPBACK, make_route

ROUTE = make_route("127.0.0.1:1", model="müde-?")


def tensors(inputs: dict[str, Any], config: dict[str, Any]) -> list[tuple[Any, ...]]:
    found = infer_body(inputs, config)["inputs"]
    return [(one["name"], one["datatype"], one["shape"], one["data"]) for one in found]


def test_types_and_shapes_are_those_of_the_configuration() -> None:
    config = {
        "max_batch_size": 8,
        "input": [
            {"name": "carrier", "data_type": "TYPE_STRING", "dims": [1]},
            {"name": "hour", "data_type": "TYPE_INT64", "dims": [1]},
            {"name": "image", "data_type": "TYPE_FP32", "dims": [2, -1]},
            {"name": "words", "data_type": "TYPE_STRING", "dims": [-1]},
        ],
    }
    asked = {"carrier": "UA", "hour": 5, "image": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "words": ["a", "b"]}
    assert tensors(asked, config) == [
        ("carrier", "BYTES", [1, 1], ["UA"]),
        ("hour", "INT64", [1, 1], [5]),
        ("image", "FP32", [1, 2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ("words", "BYTES", [1, 2], ["a", "b"]),
    ]


def test_without_a_configuration_the_values_say_it() -> None:
    asked = {"a": 1, "b": [True, False], "c": ["x", 2], "d": []}
    assert tensors(asked, {}) == [
        ("a", "FP32", [1, 1], [1]),
        ("b", "BOOL", [1, 2], [True, False]),
        ("c", "BYTES", [1, 2], ["x", 2]),
        ("d", "FP32", [1, 0], []),
    ]


def test_a_model_without_batches_gets_the_row_alone() -> None:
    config = {"max_batch_size": 0, "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, -1]}]}
    assert tensors({"x": [[1.0], [2.0]]}, config) == [("x", "FP32", [2], [1.0, 2.0])]


def test_a_missing_number_is_an_answer_too() -> None:
    (found,) = outputs_of(b'{"outputs":[{"name":"y","data":[NaN]}]}', "router r")["y"]
    assert math.isnan(found)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"outputs":3}', b'{"outputs":[{"name":"y"}]}', b"\xff", b"NaN"])
def test_what_is_no_answer_is_a_failure_of_the_router(body: bytes) -> None:
    with pytest.raises(ExternalFailure, match="no inference answer"):
        outputs_of(body, "router r")


class Answering(HTTPServer):
    """One request after another, each answered with what the test wants."""

    status: int
    body: bytes
    headers: dict[str, str]
    asked: list[tuple[str, dict[str, str]]]


@pytest.fixture
def server() -> Iterator[Answering]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            made.asked.append((self.path, dict(self.headers.items())))
            self.send_response(made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, *args: Any) -> None:
            """Silent."""

    made = Answering(("127.0.0.1", 0), Handler)
    made.status, made.body = 200, b'{"outputs":[{"name":"y","data":[1.5]}]}'
    made.headers, made.asked = {}, []
    Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def ask(server: Answering) -> Callable[[str], Any]:
    door = HttpDoor(Guard(LOOPBACK), f"http://127.0.0.1:{server.server_address[1]}/", "r", mark=lambda: "marked")
    return lambda unit: door.ask(ROUTE, {"x": 1.0}, {}, unit)


def test_a_request_names_its_unit_and_that_it_is_ours(server: Answering, ask: Callable[[str], Any]) -> None:
    ask("ümlaut")
    ((path, headers),) = server.asked
    assert path == f"/{ROUTE.endpoint}/v2/models/m%C3%BCde-%3F/infer"
    assert headers["x-cs-probe"] == "marked"
    assert headers["x-unit-id"].encode("latin-1").decode() == "ümlaut"


def test_stamps_that_are_none_are_left_empty(server: Answering, ask: Callable[[str], Any]) -> None:
    server.headers = {"x-cs-arm": "canary", "x-cs-bucket": "99999999"}
    got = ask("u")
    assert (got.arm, got.version, got.generation, got.assigned_arm, got.bucket) == ("canary", "", "", "", None)
    assert got.answer.outputs == {"y": [1.5]}
    assert got.answer.seconds > 0


@pytest.mark.parametrize(
    ("status", "retryable"), [(400, False), (403, False), (404, True), (500, True), (503, True), (302, False)]
)
def test_a_failure_says_whether_to_ask_again_and_never_what_the_body_said(
    server: Answering, ask: Callable[[str], Any], status: int, retryable: bool
) -> None:
    server.status, server.body = status, b"secret of the upstream"
    with pytest.raises(ExternalFailure) as failed:
        ask("u")
    assert (failed.value.system, failed.value.retryable) == ("router r", retryable)
    assert f"answered {status}" in str(failed.value)
    assert "secret" not in str(failed.value)


def test_a_router_that_is_gone_is_a_failure_that_passes() -> None:
    door = HttpDoor(Guard(LOOPBACK), "http://127.0.0.1:1", "r")
    with pytest.raises(ExternalFailure, match="did not pass on") as failed:
        door.ask(ROUTE, {"x": 1.0}, {}, "u")
    assert failed.value.retryable
