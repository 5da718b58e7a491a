"""The demo's traffic: flights of June and July through Envoy, as if they departed now.

Each request and each outcome goes to a recorder: to `LoggedReplay`, which writes the inference log in this process, or to
`feeding.FedReplay`, which tells the API what a caller knows, while Envoy's log says who answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from backend.demo import live
from backend.demo.flights import FlightRequest, Flights
from backend.demo.flights_setup import MODEL
from backend.demo.replay_stats import ReplayStats
from backend.demo.replayer import Arrival, Replayed, Replayer, Route
from backend.inference_log.service import InferenceLog

MONTHS = (6, 7)
"""Summer, which the models were not trained on: what monitors are there to notice."""
FLIGHTS_A_SECOND = 57_668 / (61 * 86_400)
"""How many departed in truth: 57,668 in the 61 days of June and July."""
TIMEOUT_SECONDS = 30.0
"""As long as the router itself waits for an answer: what fails then has failed, and was not only slow on a busy machine."""
LONGEST = timedelta(hours=24)
"""After that long every flight has landed."""
_UNTOLD = "SELECT request_id, event_time FROM joined WHERE known_at IS NULL"


class Recorder(Protocol):
    """Where requests and outcomes go; any thread may call it."""

    def request(self, replayed: Replayed) -> None: ...
    def arrival(self, arrival: Arrival) -> None: ...
    def start(self) -> None: ...
    def close(self) -> None: ...


class Traffic:
    """A replay against one endpoint that goes on until the block is left; flights that run out begin anew.

    `hurried`: what becomes of a flight is known as much sooner as flights follow each other faster than they did in truth.
    """

    def __init__(
        self, router_url: str, endpoint: str, recorder: Recorder, cache: Path, *, rate: float, hurried: bool = False
    ) -> None:
        self._flights = Flights.open(cache)
        self._recorder = recorder
        self._replayer = Replayer(
            self._departures(rate if hurried else None),
            Route(f"{router_url}/{endpoint}", MODEL),
            rate=rate,
            timeout_seconds=TIMEOUT_SECONDS,
            on_request=recorder.request,
            on_arrival=recorder.arrival,
        )

    def _departures(self, hurried_to: float | None) -> Iterator[FlightRequest]:
        if hurried_to is None:
            return live.endless(lambda: self._flights.iter_requests(MONTHS))
        return live.hurried(lambda: self._flights.iter_requests(MONTHS), hurried_to / FLIGHTS_A_SECOND)

    def stats(self) -> ReplayStats:
        """The figures so far."""
        return self._replayer.stats()

    def expect(self, flight: FlightRequest) -> None:
        """Tells what becomes of a flight that was asked about earlier, once it is known."""
        self._replayer.expect(flight)

    def expect_owed(self, asked: Mapping[str, datetime]) -> None:
        """The same for requests of earlier runs, by their ids: a demo that was stopped told no outcome since."""
        for one in live.owed(asked, self._flights.named):
            self.expect(one)

    def __enter__(self) -> Self:
        self._recorder.start()
        self._replayer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._replayer.stop()
        self._recorder.close()


def untold(log: InferenceLog, endpoint: str, until: datetime) -> dict[str, datetime]:
    """Requests of a day whose outcome the log does not have: id -> event time."""
    with log.read(endpoint, None, until - LONGEST, until) as reading:
        return {row["request_id"]: row["event_time"] for row in reading.query(_UNTOLD).to_pylist()}
