"""The demo's monitors: the last ten days of the flights endpoint, asked for real and watched, with a fault planted in the end.

The days are flights of March 2013, moved by whole weeks so that they end last midnight; the endpoint that runs answers each of
them. On the last two days the feed tells temperatures in degrees Celsius, and on the last one it loses a third of the humidity:
what monitors are there to find. Live traffic goes on beside it in the hours of the flights themselves (`logging_replay`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog
from sqlmodel import select

from backend.bootstrap import Backend
from backend.core.errors import CountersignError
from backend.delivery.rows import Endpoint
from backend.demo.flights import FEATURES, FlightRequest, Flights, Outcome
from backend.demo.flights_setup import MODEL, PRODUCTION, Prepared
from backend.demo.logging_replay import LoggedReplay
from backend.demo.people import Cast
from backend.demo.replayer import Replayer, Route
from backend.demo.traffic import TIMEOUT_SECONDS
from backend.drift.profile import build
from backend.drift.sources import Roles, TableSource
from backend.drift.stored import profile_bytes
from backend.monitoring.rows import Monitor
from backend.monitoring.rules import parse_spec

if TYPE_CHECKING:
    import pyarrow as pa

DAY = timedelta(days=1)
DAYS, CELSIUS_DAYS, GAPPY_DAYS = 10, 2, 1
RATE = 60.0
FIRST = datetime(2013, 3, 4, tzinfo=UTC)
"""The week from which the days are taken begins on one of the seven days from here on."""
MONITORS = {
    "drift": {"kind": "drift"},
    "data": {"kind": "data"},
    "quality": {"kind": "quality", "task": {"kind": "binary", "outcome": "late"}, "segments": ["carrier"]},
}
TRAINED_ON = (1, 2, 3)
log = structlog.get_logger()


class Watched:
    """Sets the monitors up in a thread of its own, so that nobody waits for it; where they are already, it does nothing."""

    def __init__(self, backend: Backend, router_url: str, cache: Path, prepared: Prepared) -> None:
        self._backend, self._router_url, self._cache, self._prepared = backend, router_url, cache, prepared
        self._stopping = threading.Event()
        self._replayer: Replayer | None = None
        self._thread = threading.Thread(target=self._run, name="demo-watched", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        if self._replayer is not None:
            self._replayer.stop()
        self._thread.join(timeout=TIMEOUT_SECONDS)

    def _run(self) -> None:
        try:
            if not self._is_watched():
                self._set_up()
        except CountersignError as problem:  # the demo goes on without monitors; the next start tries again
            log.warning("demo.not_watched", problem=str(problem))

    def _is_watched(self) -> bool:
        with self._backend.database.read() as session:
            query = select(Monitor.id).join(Endpoint).where(Endpoint.name == PRODUCTION)
            return session.exec(query.limit(1)).first() is not None

    def _set_up(self) -> None:
        flights, cast = Flights.open(self._cache), Cast.of(self._backend)
        content = reference(flights.table)
        for version in (self._prepared.first, self._prepared.second):
            self._backend.reference_profiles.set(
                cast.ana, MODEL, version, content, source="flights of January to March 2013, which it was trained on"
            )
        until = self._backend.database.now().replace(hour=0, minute=0, second=0, microsecond=0)
        if not self._ask(history(flights.iter_requests(TRAINED_ON), until)):
            return
        self._backend.inference_log.flush()
        for name, told in MONITORS.items():
            self._backend.monitors.set(cast.olga, PRODUCTION, name, parse_spec(told), since=until - (DAYS - 1) * DAY)

    def _ask(self, flights: Iterable[FlightRequest]) -> bool:
        """Whether all of them were asked; False where the demo was stopped meanwhile."""
        recorder = LoggedReplay(self._backend.inference_log, PRODUCTION)
        self._replayer = Replayer(
            flights,
            Route(f"{self._router_url}/{PRODUCTION}", MODEL),
            rate=RATE,
            concurrency=2,
            timeout_seconds=TIMEOUT_SECONDS,
            on_request=recorder.request,
            on_arrival=recorder.arrival,
        )
        if self._stopping.is_set():
            return False
        self._replayer.start().wait()
        return not self._stopping.is_set()


def reference(table: pa.Table) -> bytes:
    """The profile of the flights that the demo's versions were trained on."""
    import numpy as np

    chosen = table.filter(np.isin(table["month"].to_numpy(), TRAINED_ON))
    return profile_bytes(build(TableSource(chosen, Roles(time="event_time", features=FEATURES)), timed=True))


def history(flights: Iterable[FlightRequest], until: datetime) -> Iterator[FlightRequest]:
    """Ten days of flights as if they had been asked in the days before `until`, on the same days of the week."""
    start = until - DAYS * DAY
    first = FIRST + ((start - FIRST) % timedelta(weeks=1))
    for one in flights:
        if first <= one.event_time < first + DAYS * DAY:
            yield _planted(_moved(one, start - first), until)


def _moved(one: FlightRequest, by: timedelta) -> FlightRequest:
    outcome = one.outcome
    later = Outcome(outcome.known_at + by, outcome.late, outcome.delay_minutes) if outcome is not None else None
    at = one.event_time + by
    return replace(one, request_id=f"{one.request_id}-{at:%Y%m%d}", event_time=at, outcome=later)


def _planted(one: FlightRequest, until: datetime) -> FlightRequest:
    features = dict(one.features)
    temperature = features["temp"]
    if one.event_time >= until - CELSIUS_DAYS * DAY and isinstance(temperature, float):
        features["temp"] = round((temperature - 32) * 5 / 9, 2)
    if one.event_time >= until - GAPPY_DAYS * DAY and hash_of(one.request_id) % 3 == 0:
        features["humid"] = None
    return replace(one, features=features)


def hash_of(text: str) -> int:
    """A small number that a text always has."""
    return sum(text.encode())
