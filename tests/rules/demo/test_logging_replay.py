"""What the replayer sees of real flights lies in the inference log as it happened, with the outcomes as they became known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from backend.demo.flights import FEATURES, NUMERIC_FEATURES, Flights
from backend.demo.logging_replay import LoggedReplay, outcome_row, request_row
from backend.demo.replayer import Arrival, Replayed, Replayer, Route
from backend.inference_log.service import InferenceLog
from tests.rules.demo.test_replayer import ANSWER, NAMES, Endpoint, endpoint

__all__ = ["endpoint"]  # a fixture
JULY = datetime(2013, 7, 1, tzinfo=UTC)


def logged(log: InferenceLog, flights: list[Any], route: Route) -> None:
    replay = LoggedReplay(log, "flight-delay")
    Replayer(flights, route, rate=2_000, on_request=replay.request, on_arrival=replay.arrival).start().wait()
    log.flush()


def rows(log: InferenceLog) -> dict[str, dict[str, Any]]:
    with log.read("flight-delay", None, JULY, JULY + timedelta(days=2)) as reading:
        return {each["request_id"]: each for each in reading.query("SELECT * FROM joined").to_pylist()}


def test_real_flights_are_logged_with_what_became_of_them(tmp_path: Path, endpoint: Endpoint, flights: Flights) -> None:
    sent = list(islice(flights.iter_requests((7,)), 200))
    assert any(flight.outcome is None or flight.outcome.delay_minutes is None for flight in sent)
    with InferenceLog(tmp_path / "log") as log:
        logged(log, sent, endpoint.route)
        kept = rows(log)
    assert set(kept) == {flight.request_id for flight in sent}
    for flight in sent:
        row, outcome = kept[flight.request_id], flight.outcome
        features = {name: row.get(f"{'n' if name in NUMERIC_FEATURES else 't'}.{name}") for name in FEATURES}
        assert features == dict(flight.features)
        assert row["nulls"] == [name for name, value in flight.features.items() if value is None]
        assert (row["event_time"], row["unit"], row["bucket"]) == (flight.event_time, flight.unit_id, 4321)
        assert (row["assigned_arm"], row["version"], row["generation"], row["prediction"]) == ("challenger", 2, 7, 0.25)
        told = (outcome.known_at, float(outcome.late), outcome.delay_minutes) if outcome else (None, None, None)
        assert (row["known_at"], row["o.late"], row["o.delay_minutes"]) == told


def test_a_failure_is_logged_as_its_arms_own(tmp_path: Path, endpoint: Endpoint, flights: Flights) -> None:
    endpoint.script = lambda asked: (503, {"x-cs-assigned-arm": "challenger"}, b"")
    with InferenceLog(tmp_path / "log") as log:
        logged(log, list(islice(flights.iter_requests((7,)), 5)), endpoint.route)
        with log.read("flight-delay", [None], JULY, JULY + timedelta(days=2)) as reading:
            (hour,) = reading.counts()
    assert (hour.arm, hour.version, hour.requests, hour.failures) == ("challenger", None, 5, 5)


def test_a_router_that_names_nonsense_costs_its_rows_and_not_the_replay(
    tmp_path: Path, endpoint: Endpoint, flights: Flights
) -> None:
    answers = iter([NAMES | {"x-cs-assigned-arm": "../../Evil"}, NAMES])
    endpoint.script = lambda asked: (200, next(answers), json.dumps(ANSWER).encode())
    with InferenceLog(tmp_path / "log") as log:
        logged(log, list(islice(flights.iter_requests((7,)), 2)), endpoint.route)
        assert (len(rows(log)), sum(log.stats().rejected.values())) == (1, 1)


@pytest.mark.parametrize(
    ("named", "version"), [("2", 2), (None, None), ("", None), ("v2", None), ("0", None), ("9" * 30, None), ("２", None)]
)
def test_a_version_is_a_whole_number_or_left_out(named: str | None, version: int | None) -> None:
    replayed = Replayed(JULY, JULY, "r", "u", None, None, None, None, named, {}, None, 0.1, 200, "")
    assert request_row(replayed)["version"] == version


def test_a_cancelled_flight_has_an_outcome_without_a_delay() -> None:
    row = outcome_row(Arrival("r", JULY, True, None))
    assert row == {"request_id": "r", "known_at": JULY, "values": {"late": True, "delay_minutes": None}}
