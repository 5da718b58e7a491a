"""Send real flights to an endpoint at a steady rate, as a caller would, and report what came back.

Speaks the Open Inference Protocol, version 2, over HTTP and JSON
(https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol), one flight a request. The protocol's JSON
has no word for a missing measurement (one flight in eight lacks one, mostly pressure): it is sent as the token `NaN`, which
Triton reads, and not as `null`, which it refuses.

A replay has a clock of its own: the latest scheduled departure among the flights that were sent. When it passes a flight's
arrival, that flight's outcome is handed over, late as in real life. When the flights run out, the clock runs on to the last
arrival; when the replay is stopped, what has not landed yet stays unknown. Flights that depart now (`backend.demo.live`) make
that clock the one on the wall.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import httpx

from backend.demo.flights import FlightRequest
from backend.demo.inference import answer_of, infer_body, refuse_far_host
from backend.demo.replay_stats import ReplayStats, Tally

ARM, ASSIGNED_ARM, VERSION = "x-cs-arm", "x-cs-assigned-arm", "x-cs-version"
GENERATION, BUCKET = "x-cs-generation", "x-cs-bucket"
UNIT, REQUEST = "x-unit-id", "x-request-id"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One finished request, answered or not.

    Args:
        event_time: departure of the flight (UTC), as the flight that was sent says it.
        received_at: when the answer or the failure was in (UTC, now).
        bucket, assigned_arm, generation: as the router's answer names them; None where it does not. They are named on a failed
            request too, where the router answered it, so that a failure counts against the arm that it was assigned to.
        served_arm: the arm that gave the valid answer (`x-cs-arm`); it differs from the assigned one after a fallback.
        version: as the router names it, else as the runtime does.
        prediction: probability of late; None without a valid answer.
        latency_seconds: from sending to the whole answer.
        status: of the HTTP answer; None when there was none.
        failure: "" for a valid answer; else `connect`, `timeout`, `reset`, `http-<status>` or `malformed`.
    """

    event_time: datetime
    received_at: datetime
    request_id: str
    unit_id: str
    bucket: int | None
    assigned_arm: str | None
    served_arm: str | None
    generation: int | None
    version: str | None
    features: Mapping[str, float | str | None]
    prediction: float | None
    latency_seconds: float
    status: int | None
    failure: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """The outcome of a flight that was sent before, joined to it by `request_id`. Times and minutes as in `flights.Outcome`."""

    request_id: str
    known_at: datetime
    late: bool
    delay_minutes: float | None


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests go: `<url>/v2/models/<model>/infer`, on loopback only."""

    url: str
    model: str


class Replayer:
    """Replays flights from threads of its own; `start`, `stop`, `wait` and `stats` may be called from any thread.

    Args:
        flights: in event order.
        rate: most requests a second. A slow endpoint slows the replay; missed slots are not made up for.
        concurrency: most requests in flight.
        marked: headers that a request carries besides its own, as they are when it is sent.
        on_request, on_arrival: called from the replay's threads, several at a time. An exception ends the replay, and is
            raised again by `wait` and `stop`. A flight's request is always handed over before its arrival.
        clock: for `received_at`.
    """

    def __init__(
        self,
        flights: Iterable[FlightRequest],
        route: Route,
        *,
        rate: float,
        concurrency: int = 8,
        timeout_seconds: float = 5.0,
        marked: Callable[[], Mapping[str, str]] = dict,
        on_request: Callable[[Replayed], None] = lambda replayed: None,
        on_arrival: Callable[[Arrival], None] = lambda arrival: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        refuse_far_host(route.url)
        self._flights = iter(flights)
        self._path = f"/v2/models/{route.model}/infer"
        self._interval = 1.0 / rate
        self._marked = marked
        self._on_request, self._on_arrival, self._clock = on_request, on_arrival, clock
        self._client = httpx.Client(
            base_url=route.url,
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=False,
        )
        self._turn = threading.Lock()
        self._due = 0.0
        self._arrivals = _Arrivals()
        self._tally = Tally()
        self._stopping = threading.Event()
        self._failed: BaseException | None = None
        self._threads = [threading.Thread(target=self._work, name=f"replay-{n}", daemon=True) for n in range(concurrency)]
        self._left = concurrency
        self._leaving = threading.Lock()

    def start(self) -> Self:
        """Begin; once only."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> ReplayStats:
        """Let the requests in flight finish, send no more, and return the last figures."""
        self._stopping.set()
        return self.wait()

    def wait(self) -> ReplayStats:
        """Until the flights have run out or the replay was stopped. Raises what a callback raised."""
        for thread in self._threads:
            if thread.ident is not None:  # started
                thread.join()
        self._client.close()
        if self._failed is not None:
            raise self._failed
        return self.stats()

    def expect(self, flight: FlightRequest) -> None:
        """Hands over what became of a flight once the replay's clock passes its arrival, also of one that others sent."""
        self._arrivals.expect(flight)

    def stats(self) -> ReplayStats:
        """A consistent snapshot, at any time."""
        return self._tally.snapshot(pending=len(self._arrivals), running=any(thread.is_alive() for thread in self._threads))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _work(self) -> None:
        self._noting_failure(self._replay)
        with self._leaving:
            self._left -= 1
            last = self._left == 0
        if last and not self._stopping.is_set():
            self._noting_failure(lambda: self._landed(None))

    def _noting_failure(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:  # raised again by `wait`
            self._failed = self._failed or error
            self._stopping.set()

    def _replay(self) -> None:
        while (flight := self._next()) is not None:
            self._landed(flight.event_time)
            replayed = self._send(flight)
            self._tally.count(replayed)
            self._on_request(replayed)
            self.expect(flight)

    def _next(self) -> FlightRequest | None:
        """The next flight in its time slot. The lock is held while waiting, so that slots are given out in order."""
        with self._turn:
            now = time.monotonic()
            self._due = max(self._due + self._interval, now)
            if self._stopping.wait(self._due - now):
                return None
            return next(self._flights, None)

    def _send(self, flight: FlightRequest) -> Replayed:
        headers = {**self._marked(), UNIT: flight.unit_id, REQUEST: flight.request_id, "content-type": "application/json"}
        started = time.perf_counter()
        try:
            answer = self._client.post(self._path, content=infer_body(flight.request_id, flight.features), headers=headers)
        except httpx.TransportError as error:
            return self._replayed(flight, time.perf_counter() - started, None, _kind_of(error))
        return self._replayed(flight, time.perf_counter() - started, answer, "")

    def _replayed(self, flight: FlightRequest, seconds: float, answer: httpx.Response | None, failure: str) -> Replayed:
        headers = answer.headers if answer is not None else httpx.Headers()
        prediction, version = answer_of(answer.content) if answer is not None and answer.status_code == 200 else (None, None)
        if answer is not None and prediction is None:
            failure = "malformed" if answer.status_code == 200 else f"http-{answer.status_code}"
        return Replayed(
            event_time=flight.event_time,
            received_at=self._clock(),
            request_id=flight.request_id,
            unit_id=flight.unit_id,
            bucket=_whole(headers.get(BUCKET)),
            assigned_arm=headers.get(ASSIGNED_ARM),
            served_arm=None if failure else headers.get(ARM),
            generation=_whole(headers.get(GENERATION)),
            version=headers.get(VERSION, version),
            features=flight.features,
            prediction=prediction,
            latency_seconds=seconds,
            status=answer.status_code if answer is not None else None,
            failure=failure,
        )

    def _landed(self, now: datetime | None) -> None:
        """Hand over who arrived by `now`; None is the end, when everyone has."""
        for arrival in self._arrivals.until(now):
            self._on_arrival(arrival)
            self._tally.arrived(arrival.known_at)


class _Arrivals:
    """Flights that were sent and have not landed yet, by arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[tuple[datetime, int, Arrival]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def expect(self, flight: FlightRequest) -> None:
        if flight.outcome is None:
            return
        outcome = flight.outcome
        arrival = Arrival(flight.request_id, outcome.known_at, outcome.late, outcome.delay_minutes)
        with self._lock:
            heapq.heappush(self._heap, (outcome.known_at, next(self._order), arrival))

    def until(self, now: datetime | None) -> list[Arrival]:
        """Take all that landed by `now`, earliest first; None takes all."""
        landed = []
        with self._lock:
            while self._heap and (now is None or self._heap[0][0] <= now):
                landed.append(heapq.heappop(self._heap)[2])
        return landed


def _kind_of(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "connect"
    return "timeout" if isinstance(error, httpx.TimeoutException) else "reset"


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None
