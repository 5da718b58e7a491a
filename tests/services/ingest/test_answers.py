"""The door for answers: who may tell what, what is kept of it, and that it never holds more than it may."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.embedded.envoy import ANSWERS_CLUSTER
from backend.inference_log import probes
from backend.inference_log.handling import Erased, Handling, Redaction, pseudonym
from backend.ingest import answers_server
from backend.ingest.answers_server import Held
from tests.databases import Clock
from tests.rules.test_answers import headers, outputs
from tests.services.ingest.conftest import KEY, Door

BODY = outputs([0.25])


@pytest.fixture
def clock() -> Clock:
    now = Clock()
    now.now = datetime(2026, 3, 2, 13, tzinfo=UTC)
    return now


@pytest.fixture
def port(door: Door) -> Iterator[int]:
    with answers_server.serving(door.entrance, 0) as found:
        yield found


def told(body: bytes = BODY, **fields: str) -> tuple[dict[str, str], bytes]:
    return {"x-cs-bytes": str(len(body)), **headers(**fields)}, body


def tell(door: Door, *messages: tuple[dict[str, str], bytes]) -> list[Any]:
    held = Held(door.entrance)
    for message in messages:
        assert held.add(*message)
    assert held.hand_over() == len(messages)
    return [row for _, row in door.rows()]


def ask(port: int, *, method: str = "POST", path: str = "/answers", host: str = ANSWERS_CLUSTER, **more: Any) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as caller:
        given, body = told()
        caller.request(method, path, **{"body": body, "headers": {**given, "host": host}, **more})
        return caller.getresponse().status


def test_what_is_told_is_in_the_spool(door: Door, port: int) -> None:
    assert ask(port) == 204
    end = time.monotonic() + 10
    while not door.rows():
        assert time.monotonic() < end
        time.sleep(0.02)
    ((table, row),) = door.rows()
    assert (table, row.request_id, row.prediction) == ("copies", "r-1", 0.25)


def test_a_page_in_a_browser_can_tell_nothing(door: Door, port: int) -> None:
    """It names the host that it asks, and whatever is not POST is what it would have to send first."""
    assert ask(port, host=f"127.0.0.1:{port}") == 403
    assert ask(port, host="localhost") == 403
    assert ask(port, method="OPTIONS") == 403
    assert ask(port, method="GET") == 403
    assert ask(port, path="/") == 403
    time.sleep(2 * answers_server.EVERY_SECONDS)
    assert door.rows() == []


@pytest.mark.parametrize(
    ("length", "status"), [("65537", 413), ("-1", 413), ("x", 413), ("1" * 30, 413), ("", 413), ("64, 64", 413)]
)
def test_no_length_makes_it_read_more_than_it_may(port: int, length: str, status: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
        caller.sendall(f"POST /answers HTTP/1.1\r\nhost: {ANSWERS_CLUSTER}\r\ncontent-length: {length}\r\n\r\n".encode())
        assert caller.recv(100).split()[1] == str(status).encode()


def test_broken_requests_do_it_no_harm(port: int) -> None:
    for sent in (b"\0" * 100, b"POST /answers HTTP/1.1\r\n", b"GET " + b"x" * 70_000, b"POST\r\n\r\n", b""):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
            caller.sendall(sent)
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
        caller.sendall(f"POST /answers HTTP/1.1\r\nhost: {ANSWERS_CLUSTER}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        assert caller.recv(100).split()[1] == b"403"
    assert ask(port) == 204


def test_who_comes_beyond_its_connections_is_turned_away(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(answers_server.CONNECTIONS + 1)]
    idle[-1].settimeout(10)
    assert idle[-1].recv(1) == b""
    for one in idle:
        one.close()
    end = time.monotonic() + 10
    while True:
        try:
            assert ask(port) == 204
            break
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_it_holds_so_much_and_forgets_what_is_beyond(door: Door) -> None:
    held = Held(door.entrance, most_bytes=20_000)
    taken = [held.add(*told(id=f"r-{n}")) for n in range(1_000)]
    count = sum(taken)
    assert taken == [True] * count + [False] * (1_000 - count)
    assert 10 < count < 200
    assert held.hand_over() == count
    assert len(door.ids()) == count
    assert held.add(*told(id="again"))


def test_what_is_held_is_handed_over_when_it_ends(door: Door) -> None:
    held, stop = Held(door.entrance), threading.Event()
    held.add(*told())
    stop.set()
    held.run(stop)
    assert door.ids() == ["r-1"]


def test_a_spool_that_is_full_loses_answers_and_stops_nothing(door: Door) -> None:
    door.spool._most = 0
    assert tell(door, told()) == []


def test_lies_about_names_are_counted_and_kept_nowhere(door: Door) -> None:
    rows = tell(door, told(endpoint="nobody"), told(endpoint="../delay"), told(arm="A/B"), told(begun="x"), told(id="good"))
    assert [row.request_id for row in rows] == ["good"]
    counts = door.entrance.counts()
    assert (counts["unknown"], counts["rejected"], counts["taken"]) == (2, 2, 1)


def test_our_own_requests_are_left_out_where_they_prove_it(door: Door, clock: Clock) -> None:
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    rows = tell(door, told(id="ours", probe=probes.mark(KEY, at)), told(id="says-so", probe=probes.mark(b"x" * 32, at)))
    assert [row.request_id for row in rows] == ["says-so"]


def test_the_rules_of_the_log_hold(door: Door, clock: Clock) -> None:
    """Units that are sampled are those of the requests, a shadow's failures are not kept besides, redactions hold."""
    half = Handling(KEY, every=2)
    units = [f"u-{n}" for n in range(60)]
    sampled = [unit for unit in units if half._is_sampled(unit)]
    door.known.handling["delay"] = Handling(
        KEY,
        every=2,
        redactions=(Redaction("unit", "hash"), Redaction("request_id", "hash"), Redaction("prediction", "drop")),
        erased=(Erased(pseudonym(KEY, sampled[0]), None),),
    )
    messages = [told(id=f"r-{n}", unit=unit, status="503" if n % 2 else "200") for n, unit in enumerate(units)]
    rows = tell(door, *messages, told(outputs([0.1, 0.2], [2, 1]), id="list", unit=sampled[1]))
    assert 10 < len(sampled) < 50
    assert {row.unit for row in rows} == {pseudonym(KEY, unit) for unit in sampled[1:]}
    assert all(row.request_id.startswith("hmac:") for row in rows)
    assert {(row.prediction, row.prediction_json) for row in rows} == {(None, None)}
