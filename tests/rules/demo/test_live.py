"""Flights that depart now: ids that say which flight it was, outcomes as late as in truth, and those that are still owed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from backend.demo import live
from backend.demo.flights import FlightRequest, Flights
from backend.demo.traffic import untold
from backend.inference_log.service import InferenceLog

NOW = datetime(2026, 11, 30, 19, 12, 56, 42_000, UTC)


def test_a_flight_departs_now_and_lands_as_long_after_as_in_truth(flights: Flights) -> None:
    (first,) = islice(flights.iter_requests((6,)), 1)
    assert first.outcome is not None
    sent = live.departing(first, NOW)
    assert sent.outcome is not None
    assert (sent.event_time, sent.request_id) == (NOW, f"{first.request_id}-20261130T191256042")
    assert sent.outcome.known_at - NOW == first.outcome.known_at - first.event_time
    assert (sent.unit_id, sent.features, sent.outcome.late) == (first.unit_id, first.features, first.outcome.late)


def test_flights_never_run_out_and_no_request_has_the_name_of_another(flights: Flights) -> None:
    few = list(islice(flights.iter_requests((6,)), 40))
    moments = (NOW + timedelta(milliseconds=200 * place) for place in range(100))
    sent = list(islice(live.endless(lambda: few, lambda: next(moments)), 100))
    assert len({one.request_id for one in sent}) == 100
    assert [live.flight_of(one.request_id) for one in sent] == [few[place % 40].request_id for place in range(100)]
    assert [one.event_time for one in sent] == sorted(one.event_time for one in sent)


def test_ids_of_others_are_no_flight() -> None:
    for foreign in ("7f3c", "20130701-UA1545-EWR", "20130701-UA1545-EWR-20261130", "x20130701-UA1545-EWR-20261130T191256042"):
        assert live.flight_of(foreign) is None, foreign


def test_what_was_asked_and_never_told_is_owed_after_a_restart(tmp_path: Path, flights: Flights) -> None:
    sent = [
        live.departing(one, NOW - timedelta(hours=5) + timedelta(seconds=place))
        for place, one in enumerate(islice(flights.iter_requests((7,)), 60))
    ]
    told, left = sent[::2], sent[1::2]
    with InferenceLog(tmp_path / "log", clock=lambda: NOW) as log:
        log.append_parts("e", [row_of(one) for one in sent])
        log.append_parts("e", [{"request_id": "somebody-elses", "event_time": NOW - timedelta(hours=1)}])
        log.append_outcomes("e", [{"request_id": one.request_id, "known_at": NOW, "values": {"late": True}} for one in told])
        log.flush()
        asked = untold(log, "e", NOW)
    assert set(asked) == {*(one.request_id for one in left), "somebody-elses"}
    expected = {one.request_id: one for one in left if one.outcome is not None}
    assert {one.request_id: one for one in live.owed(asked, flights.named)} == expected
    assert expected


def row_of(one: FlightRequest) -> dict[str, object]:
    return {"request_id": one.request_id, "event_time": one.event_time, "features": {"hour": one.features["hour"]}}
