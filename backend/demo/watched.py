"""The demo's monitors: ten days of the flights endpoint, asked for real and watched, with a fault planted in the end; then now.

The days are flights of March 2013, moved by whole weeks so that they end last midnight; the endpoint that runs answers each of
them. On the last two days the feed tells temperatures in degrees Celsius, and on the last one it loses a third of the humidity:
what monitors are there to find. They are written into the log directly, as somebody brings a history along, and marked as our
own requests, so that Envoy's log does not tell them as asked today.

Live traffic goes on beside it, of June and July, as if it departed now: from the first full hour on, monitors of the hour look
at it. Summer came overnight, and neither version was trained on it: what they find first is honest.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import structlog
from sqlmodel import select

from backend.bootstrap import Backend
from backend.core.canonical import loads
from backend.core.errors import CountersignError
from backend.core.ledger import LedgerRow
from backend.demo import live
from backend.demo.delay_models import OUTPUT, answer
from backend.demo.flights import FEATURES, FlightRequest, Flights
from backend.demo.flights_setup import MODEL, PRODUCTION, Prepared
from backend.demo.logging_replay import LoggedReplay
from backend.demo.people import Cast
from backend.demo.replayer import Replayer, Route
from backend.demo.traffic import TIMEOUT_SECONDS, Traffic, untold
from backend.drift.profile import build
from backend.drift.sources import Roles, TableSource
from backend.drift.stored import profile_bytes
from backend.embedded.envoy import PROBE_HEADER
from backend.equipment.keys import pseudonym_key
from backend.inference_log import probes
from backend.metrics.slo import Objective
from backend.monitoring import windows
from backend.monitoring.rules import HOUR, parse_spec

if TYPE_CHECKING:
    import pyarrow as pa

DAY = timedelta(days=1)
DAYS, CELSIUS_DAYS, GAPPY_DAYS = 10, 2, 1
RATE = 60.0
FIRST = datetime(2013, 3, 4, tzinfo=UTC)
"""The week from which the days are taken begins on one of the seven days from here on."""
TASK = {"kind": "binary", "outcome": "late", "threshold": 0.3}
OF_DAYS: Mapping[str, Mapping[str, Any]] = {
    "drift": {"kind": "drift"},
    "data": {"kind": "data"},
    "quality": {
        "kind": "quality",
        "wait_minutes": 360,
        "task": TASK,
        "segments": ["carrier", "origin"],
        "limits": {"auc": {"below": 0.6}, "calibration_error": {"above": 0.1}},
    },
    "estimate": {"kind": "estimate", "task": TASK, "limits": {"log_loss": {"above": 0.6}}},
}
ESTIMATED_DAYS = 2
"""Days that are estimated: those before are what it learns from."""
OF_HOURS: Mapping[str, Mapping[str, Any]] = {
    "drift-now": {"kind": "drift", "window_hours": 1, "every_hours": 1},
    "data-now": {"kind": "data", "window_hours": 1, "every_hours": 1},
}
PROMISED = (Objective("availability", 0.999), Objective("latency", 0.95, 0.1))
PROMISED_DAYS = 7
TRAINED_ON = (1, 2, 3)
SOURCE = (
    "flights of January to March 2013, which it was trained on, each with its own answer. What is asked now are flights of "
    "June and July as if they departed today: summer is new to it"
)
log = structlog.get_logger()


class Watched:
    """Sets the monitors up in a thread of its own, so that nobody waits for it; what was set up before is left as it is."""

    def __init__(self, backend: Backend, router_url: str, cache: Path, prepared: Prepared, traffic: Traffic) -> None:
        self._backend, self._router_url, self._cache, self._prepared = backend, router_url, cache, prepared
        self._traffic, self._began = traffic, backend.database.now()
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
            self._traffic.expect_owed(untold(self._backend.inference_log, PRODUCTION, self._began))
            self._promise()
            if self._look_back():
                self._look_on()
        except CountersignError as problem:  # the demo goes on without monitors; the next start tries again
            log.warning("demo.not_watched", problem=str(problem))

    def _promise(self) -> None:
        """What is promised of the endpoint, where nobody ever said that."""
        if not self._ever("slo.set"):
            self._backend.slos.set(Cast.of(self._backend).olga, PRODUCTION, PROMISED, days=PROMISED_DAYS)

    def _look_back(self) -> bool:
        """The days before, and the monitors that look at them. False where the demo was stopped meanwhile."""
        ever = self._ever("monitor.set")
        lacking = [name for name in OF_DAYS if name not in ever]
        until = self._backend.database.now().replace(hour=0, minute=0, second=0, microsecond=0)
        if len(lacking) == len(OF_DAYS):
            self._profile()
            if not self._ask(Flights.open(self._cache), until):
                return False
        for name in lacking:  # in this order: where one is, all days were asked
            days = ESTIMATED_DAYS if OF_DAYS[name]["kind"] == "estimate" else DAYS
            self._set(name, OF_DAYS[name], until - (days - 1) * DAY)
        return True

    def _look_on(self) -> None:
        """Monitors of live traffic, once there is an hour of it: until then they would only say that nothing was asked."""
        if not (lacking := [name for name in OF_HOURS if name not in self._ever("monitor.set")]):
            return
        hour = self._began.replace(minute=0, second=0, microsecond=0)
        first = hour if hour - HOUR in self._backend.inference_log.part_hours(PRODUCTION) else hour + HOUR
        while windows.closed_until(self._backend.database.now()) < first:
            if self._stopping.wait(5.0):
                return
        for name in lacking:
            self._set(name, OF_HOURS[name], first)

    def _set(self, name: str, told: Mapping[str, Any], first: datetime) -> None:
        """`first`: the end of the first window that it judges."""
        spec = parse_spec(told)
        self._backend.monitors.set(Cast.of(self._backend).olga, PRODUCTION, name, spec, since=first + spec.wait)

    def _ever(self, action: str) -> set[str]:
        """Names of what was ever set at the endpoint: what somebody removed since is not set again."""
        with self._backend.database.read() as session:
            rows = session.exec(select(LedgerRow.after_json).where(LedgerRow.action == action)).all()
        return {str(told.get("name", action)) for told in map(_read, rows) if told.get("endpoint", PRODUCTION) == PRODUCTION}

    def _profile(self) -> None:
        chosen, ana = trained_on(Flights.open(self._cache).table), Cast.of(self._backend).ana
        frame = chosen.select(list(FEATURES)).to_pandas()
        for version in (self._prepared.first, self._prepared.second):
            content = reference(chosen, answer(self._model(version), frame))
            self._backend.reference_profiles.set(ana, MODEL, version, content, source=SOURCE)

    def _model(self, version: int) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            self._backend.versions.fetch(MODEL, version, Path(folder) / "artifact")
            return next(Path(folder).rglob("model.onnx")).read_bytes()

    def _ask(self, flights: Flights, until: datetime) -> bool:
        """Whether all days were asked; False where the demo was stopped meanwhile. What lands later is told later."""
        now, recorder = self._backend.database.now(), LoggedReplay(self._backend.inference_log, PRODUCTION)
        asked, later = _landed(history(flights.iter_requests(TRAINED_ON), until), now)
        key = pseudonym_key(self._backend.settings)
        self._replayer = Replayer(
            asked,
            Route(f"{self._router_url}/{PRODUCTION}", MODEL),
            rate=RATE,
            concurrency=2,
            timeout_seconds=TIMEOUT_SECONDS,
            marked=lambda: {PROBE_HEADER: probes.mark(key)},
            on_request=recorder.request,
            on_arrival=recorder.arrival,
        )
        if self._stopping.is_set():
            return False
        self._replayer.start().wait()
        recorder.close()
        if self._stopping.is_set():
            return False
        for one in later:
            self._traffic.expect(one)
        return True


def trained_on(table: pa.Table) -> pa.Table:
    """The flights of the months that the demo's versions were trained on."""
    import numpy as np

    return table.filter(np.isin(table["month"].to_numpy(), TRAINED_ON))


def reference(chosen: pa.Table, answers: Any) -> bytes:
    """The profile of those flights, with what a version answers to each."""
    import pyarrow as pa

    both = chosen.append_column(OUTPUT, pa.array(answers))
    return profile_bytes(build(TableSource(both, Roles(OUTPUT, "event_time", FEATURES)), timed=True))


def history(flights: Iterable[FlightRequest], until: datetime) -> Iterator[FlightRequest]:
    """Ten days of flights as if they had been asked in the days before `until`, on the same days of the week."""
    start = until - DAYS * DAY
    first = FIRST + ((start - FIRST) % timedelta(weeks=1))
    for one in flights:
        if first <= one.event_time < first + DAYS * DAY:
            yield _planted(live.moved(one, start - first), until)


def _landed(flights: Iterable[FlightRequest], now: datetime) -> tuple[list[FlightRequest], list[FlightRequest]]:
    """All of them, without the outcomes that are not known yet; and those whose outcome that is."""
    asked, later = list[FlightRequest](), list[FlightRequest]()
    for one in flights:
        if one.outcome is not None and one.outcome.known_at > now:
            later.append(one)
            one = replace(one, outcome=None)
        asked.append(one)
    return asked, later


def _planted(one: FlightRequest, until: datetime) -> FlightRequest:
    features = dict(one.features)
    temperature = features["temp"]
    if one.event_time >= until - CELSIUS_DAYS * DAY and isinstance(temperature, float):
        features["temp"] = round((temperature - 32) * 5 / 9, 2)
    if one.event_time >= until - GAPPY_DAYS * DAY and hash_of(one.request_id) % 3 == 0:
        features["humid"] = None
    return replace(one, features=features)


def _read(told: str) -> Mapping[str, Any]:
    found = loads(told.encode())
    return found if isinstance(found, dict) else {}


def hash_of(text: str) -> int:
    """A small number that a text always has."""
    return sum(text.encode())
