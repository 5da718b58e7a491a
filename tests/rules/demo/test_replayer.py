"""The replayer against a real HTTP server on loopback that behaves and misbehaves by script."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

import pytest

from backend.core.errors import Refusal
from backend.demo.flights import FEATURES, FlightRequest, Flights, Outcome
from backend.demo.inference import answer_of, infer_body
from backend.demo.replay_stats import quantiles
from backend.demo.replayer import Arrival, Replayed, Replayer, Route
from tests.rules.demo.conftest import free_port

NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)
NAMES = {
    "x-cs-arm": "challenger",
    "x-cs-assigned-arm": "challenger",
    "x-cs-version": "2",
    "x-cs-generation": "7",
    "x-cs-bucket": "4321",
}
ANSWER = {"model_name": "flight-delay", "model_version": "5", "outputs": [{"name": "probability", "data": [0.25]}]}

Script = Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]


class Server(ThreadingHTTPServer):
    """Callers here hang up on purpose; that is no news."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Endpoint:
    """A server that answers by script, and remembers what it was asked and how many at once."""

    def __init__(self) -> None:
        self.script: Script = lambda asked: (200, NAMES, json.dumps(ANSWER).encode())
        self.asked: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.route = Route(f"http://127.0.0.1:{self._server.server_address[1]}/delays", "flight-delay")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        with self._lock:
            self.asked.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.script(asked)
        finally:
            with self._lock:
                self.at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet an answer, or delayed acknowledgements add 40 ms to each

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                asked = {"path": self.path, "headers": self.headers, "body": json.loads(body)}
                status, headers, answer = endpoint.answer(asked)
                if status == 0:  # hang up
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.close()


def _flight(number: int, *, lands_after: int | None = 90, temperature: float | None = 70.0) -> FlightRequest:
    """A flight that departs `number` minutes after noon and lands `lands_after` minutes later; None is diverted."""
    at = NOON + timedelta(minutes=number)
    landed = Outcome(at + timedelta(minutes=lands_after), number % 2 == 0, 3.0) if lands_after is not None else None
    features = {name: "JFK" if name in ("carrier", "origin", "dest") else 1.0 for name in FEATURES}
    return FlightRequest(f"20130701-UA{number}-JFK", f"UA{number}", at, {**features, "temp": temperature}, landed)


class Sink:
    """Keeps what the replay hands over, in order."""

    def __init__(self) -> None:
        self.events: list[Replayed | Arrival] = []

    @property
    def requests(self) -> list[Replayed]:
        return [event for event in self.events if isinstance(event, Replayed)]

    @property
    def arrivals(self) -> list[Arrival]:
        return [event for event in self.events if isinstance(event, Arrival)]


def _replayer(flights: Sequence[FlightRequest], route: Route, sink: Sink, **options: Any) -> Replayer:
    options = {"rate": 500.0, "concurrency": 4, **options}
    return Replayer(flights, route, on_request=sink.events.append, on_arrival=sink.events.append, **options)


def _replay(flights: Sequence[FlightRequest], endpoint: Endpoint, **options: Any) -> Sink:
    sink = Sink()
    _replayer(flights, endpoint.route, sink, **options).start().wait()
    return sink


class TestRequests:
    def test_one_is_an_open_inference_request_with_unit_and_id(self, endpoint: Endpoint) -> None:
        _replay([_flight(1)], endpoint)
        (asked,) = endpoint.asked
        assert asked["path"] == "/delays/v2/models/flight-delay/infer"
        assert (asked["headers"]["x-unit-id"], asked["headers"]["x-request-id"]) == ("UA1", "20130701-UA1-JFK")
        assert asked["body"]["id"] == "20130701-UA1-JFK"
        tensors = {each["name"]: each for each in asked["body"]["inputs"]}
        assert list(tensors) == list(FEATURES)
        assert tensors["temp"] == {"name": "temp", "datatype": "FP32", "shape": [1, 1], "data": [70.0]}
        assert tensors["origin"] == {"name": "origin", "datatype": "BYTES", "shape": [1, 1], "data": ["JFK"]}

    def test_a_missing_measurement_is_sent_as_not_a_number(self) -> None:
        body = infer_body("r", {"temp": None})
        assert b'"data": [NaN]' in body

    def test_the_record_holds_what_was_observed(self, endpoint: Endpoint) -> None:
        received = datetime(2026, 3, 2, 9, tzinfo=UTC)
        (record,) = _replay([_flight(1, lands_after=None)], endpoint, clock=lambda: received).requests
        assert 0 < record.latency_seconds < 5
        assert replace(record, latency_seconds=0.0) == Replayed(
            event_time=NOON + timedelta(minutes=1),
            received_at=received,
            request_id="20130701-UA1-JFK",
            unit_id="UA1",
            bucket=4321,
            assigned_arm="challenger",
            served_arm="challenger",
            generation=7,
            version="2",
            features=_flight(1).features,
            prediction=0.25,
            latency_seconds=0.0,
            status=200,
            failure="",
        )

    def test_an_arm_that_answers_for_another_is_told_apart(self, endpoint: Endpoint) -> None:
        names = NAMES | {"x-cs-arm": "champion"}
        endpoint.script = lambda asked: (200, names, json.dumps(ANSWER).encode())
        (record,) = _replay([_flight(1)], endpoint).requests
        assert (record.assigned_arm, record.served_arm) == ("challenger", "champion")

    def test_without_a_router_the_runtime_names_the_version_and_nobody_the_arm(self, endpoint: Endpoint) -> None:
        endpoint.script = lambda asked: (
            200,
            {"x-cs-bucket": "no number", "x-cs-generation": "-1"},
            json.dumps(ANSWER).encode(),
        )
        (record,) = _replay([_flight(1)], endpoint).requests
        assert (record.version, record.assigned_arm, record.served_arm) == ("5", None, None)
        assert (record.bucket, record.generation, record.prediction) == (None, None, 0.25)

    def test_real_flights_go_through(self, endpoint: Endpoint, flights: Flights) -> None:
        sink = _replay(list(islice(flights.iter_requests((6,)), 100)), endpoint)
        assert len({record.request_id for record in sink.requests}) == len(endpoint.asked) == 100
        assert not any(record.failure for record in sink.requests)


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "failure", "status"),
        [
            (lambda asked: (503, NAMES, b"no healthy upstream"), "http-503", 503),
            (lambda asked: (400, {}, b"{}"), "http-400", 400),
            (lambda asked: (307, {"location": "http://192.0.2.1/"}, b""), "http-307", 307),
            (lambda asked: (200, NAMES, b"<html>"), "malformed", 200),
            (lambda asked: (200, NAMES, b'{"outputs": [{"name": "probability", "data": [7]}]}'), "malformed", 200),
            (lambda asked: (0, {}, b""), "reset", None),
        ],
    )
    def test_are_counted_by_kind_and_handed_over(
        self, endpoint: Endpoint, script: Script, failure: str, status: int | None
    ) -> None:
        endpoint.script = script
        sink = Sink()
        stats = _replayer([_flight(1), _flight(2)], endpoint.route, sink).start().wait()
        assert (stats.requests, stats.failed, stats.failures) == (2, 2, {failure: 2})
        assert stats.latency_seconds == {}
        assert {(r.failure, r.status, r.prediction, r.served_arm) for r in sink.requests} == {(failure, status, None, None)}
        assert len(sink.arrivals) == 2  # a flight lands whether it was predicted or not

    def test_a_slow_answer_is_a_timeout(self, endpoint: Endpoint) -> None:
        endpoint.script = lambda asked: (time.sleep(0.5), (200, NAMES, json.dumps(ANSWER).encode()))[1]
        (record,) = _replay([_flight(1)], endpoint, timeout_seconds=0.1).requests
        assert (record.failure, record.status) == ("timeout", None)

    def test_nobody_listening_is_a_failed_connection(self) -> None:
        sink = Sink()
        stats = _replayer([_flight(1)], Route(f"http://127.0.0.1:{free_port()}", "m"), sink).start().wait()
        assert stats.failures == {"connect": 1}

    def test_a_replay_outlives_failures(self, endpoint: Endpoint) -> None:
        def every_third(asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
            broken = int(asked["headers"]["x-unit-id"][2:]) % 3 == 0
            return (500, NAMES, b"") if broken else (200, NAMES, json.dumps(ANSWER).encode())

        endpoint.script = every_third
        stats = _replayer([_flight(n) for n in range(30)], endpoint.route, Sink()).start().wait()
        assert (stats.requests, stats.failures) == (30, {"http-500": 10})

    @pytest.mark.parametrize("body", [b"", b"[]", b"null", b"[" * 100_000, b'{"outputs": 5}', b'{"outputs": [{}]}'])
    def test_no_answer_breaks_the_parser(self, body: bytes) -> None:
        assert answer_of(body) == (None, None)

    @pytest.mark.parametrize("value", ["NaN", "1.5", "-0.1", "true", '"0.5"', "[0.5]", "null", "0.1, 0.2", "Infinity"])
    def test_only_one_probability_is_an_answer(self, value: str) -> None:
        assert answer_of(f'{{"outputs": [{{"name": "probability", "data": [{value}]}}]}}'.encode()) == (None, None)

    @pytest.mark.parametrize("url", ["http://192.0.2.1", "http://example.com", "http://127.0.0.1.example.com", "nonsense"])
    def test_another_machine_is_refused(self, url: str) -> None:
        with pytest.raises(Refusal, match="loopback"):
            Replayer([], Route(url, "m"), rate=1)


class TestOutcomes:
    def test_come_when_the_replayed_clock_passes_the_arrival(self, endpoint: Endpoint) -> None:
        flights = [_flight(0, lands_after=15), _flight(10, lands_after=50), _flight(20), _flight(61), _flight(62)]
        events = _replay(flights, endpoint, concurrency=1).events
        told = [event.request_id.split("-")[1] + ("!" if isinstance(event, Arrival) else "") for event in events]
        assert told == ["UA0", "UA10", "UA0!", "UA20", "UA10!", "UA61", "UA62", "UA20!", "UA61!", "UA62!"]

    def test_each_flight_lands_once_after_its_request(self, endpoint: Endpoint, flights: Flights) -> None:
        real = list(islice(flights.iter_requests((7,)), 250))
        sink = _replay(real, endpoint, rate=2_000.0, concurrency=6)
        first_seen = {record.request_id: n for n, record in enumerate(sink.events) if isinstance(record, Replayed)}
        landed = {record.request_id: n for n, record in enumerate(sink.events) if isinstance(record, Arrival)}
        assert len(sink.arrivals) == len(landed)
        assert set(landed) == {flight.request_id for flight in real if flight.outcome is not None}
        assert all(first_seen[request_id] < n for request_id, n in landed.items())

    def test_a_diverted_flight_never_lands(self, endpoint: Endpoint) -> None:
        sink = Sink()
        stats = _replayer([_flight(1, lands_after=None), _flight(2)], endpoint.route, sink).start().wait()
        assert [arrival.request_id for arrival in sink.arrivals] == ["20130701-UA2-JFK"]
        assert (stats.arrivals, stats.pending) == (1, 0)
        assert stats.last_arrival == NOON + timedelta(minutes=92)

    def test_what_has_not_landed_when_the_replay_is_stopped_stays_unknown(self, endpoint: Endpoint) -> None:
        sink = Sink()
        replayer = _replayer([_flight(n) for n in range(10_000)], endpoint.route, sink, rate=50.0).start()
        _until(lambda: replayer.stats().requests >= 5)
        stats = replayer.stop()
        assert not sink.arrivals
        assert stats.pending == stats.requests == len(sink.requests)


class TestPace:
    def test_the_rate_is_kept(self, endpoint: Endpoint) -> None:
        started = time.monotonic()
        _replay([_flight(n) for n in range(41)], endpoint, rate=100.0)
        assert 0.4 <= time.monotonic() - started < 2.0

    def test_missed_slots_are_not_made_up_for(self, endpoint: Endpoint) -> None:
        """The first answer takes 0.3 s on the only connection; the others still keep their distance afterwards."""
        times: list[float] = []

        def first_is_slow(asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
            times.append(time.monotonic())
            time.sleep(0.3 if len(times) == 1 else 0)
            return 200, NAMES, json.dumps(ANSWER).encode()

        endpoint.script = first_is_slow
        _replay([_flight(n) for n in range(6)], endpoint, rate=20.0, concurrency=1)
        assert times[-1] - times[1] >= 4 * 0.05 - 0.02

    def test_no_more_are_in_flight_than_allowed(self, endpoint: Endpoint) -> None:
        endpoint.script = lambda asked: (time.sleep(0.03), (200, NAMES, json.dumps(ANSWER).encode()))[1]
        _replay([_flight(n) for n in range(30)], endpoint, rate=2_000.0, concurrency=3)
        assert endpoint.most_at_once == 3


class TestControl:
    def test_figures_are_there_while_it_runs_and_after_it_was_stopped(self, endpoint: Endpoint) -> None:
        replayer = _replayer([_flight(n) for n in range(10_000)], endpoint.route, Sink(), rate=200.0)
        assert not replayer.stats().running
        with replayer:
            _until(lambda: replayer.stats().requests >= 10)
            assert replayer.stats().running
        stats = replayer.stats()
        assert not stats.running
        assert stats.arms == {"challenger": stats.requests}
        assert stats.versions == {"2": stats.requests}
        assert stats.generations == {"7": stats.requests}
        assert list(stats.latency_seconds) == ["p50", "p90", "p95", "p99"]
        assert stats.event_clock == NOON + timedelta(minutes=stats.requests - 1)
        assert len(endpoint.asked) == stats.requests

    def test_stopping_twice_or_before_the_start_does_no_harm(self, endpoint: Endpoint) -> None:
        assert _replayer([_flight(1)], endpoint.route, Sink()).stop().requests == 0
        replayer = _replayer([_flight(1)], endpoint.route, Sink()).start()
        assert replayer.wait() == replayer.stop()

    @pytest.mark.parametrize("broken", ["on_request", "on_arrival"])
    def test_a_broken_callback_ends_the_replay_and_is_raised(self, endpoint: Endpoint, broken: str) -> None:
        def fail(record: object) -> None:
            raise OSError("disk full")

        flights = [_flight(n, lands_after=1) for n in range(10_000)]
        replayer = Replayer(flights, endpoint.route, rate=500.0, concurrency=2, **{broken: fail})
        with pytest.raises(OSError, match="disk full"):
            replayer.start().wait()
        assert len(endpoint.asked) < 100


def test_quantiles_are_the_nearest_ranks() -> None:
    assert quantiles([n / 100 for n in range(100, 0, -1)]) == {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    assert quantiles([3.0]) == dict.fromkeys(("p50", "p90", "p95", "p99"), 3.0)
    assert quantiles([]) == {}


def _until(reached: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "not reached in time"
        time.sleep(0.01)
