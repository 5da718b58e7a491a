"""The demo's traffic: flights of June and July through Envoy, each request and each outcome into the inference log."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from backend.demo.flights import FlightRequest, Flights
from backend.demo.flights_setup import MODEL
from backend.demo.logging_replay import LoggedReplay
from backend.demo.replay_stats import ReplayStats
from backend.demo.replayer import Replayer, Route
from backend.inference_log.service import InferenceLog

MONTHS = (6, 7)
TIMEOUT_SECONDS = 30.0
"""As long as the router itself waits for an answer: what fails then has failed, and was not only slow on a busy machine."""


class Traffic:
    """A replay against one endpoint that goes on until the block is left; flights that run out begin anew."""

    def __init__(self, router_url: str, endpoint: str, log: InferenceLog, cache: Path, *, rate: float) -> None:
        recorder = LoggedReplay(log, endpoint)
        self._log = log
        self._replayer = Replayer(
            _endless(Flights.open(cache)),
            Route(f"{router_url}/{endpoint}", MODEL),
            rate=rate,
            timeout_seconds=TIMEOUT_SECONDS,
            on_request=recorder.request,
            on_arrival=recorder.arrival,
        )

    def stats(self) -> ReplayStats:
        """The figures so far."""
        return self._replayer.stats()

    def __enter__(self) -> Self:
        self._replayer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._replayer.stop()
        self._log.flush()


def _endless(flights: Flights) -> Iterator[FlightRequest]:
    return itertools.chain.from_iterable(flights.iter_requests(MONTHS) for _ in itertools.count())
