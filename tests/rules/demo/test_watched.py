"""The days that the demo's monitors look at: real flights, moved by whole weeks, with faults in the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from backend.demo.flights import FlightRequest, Flights
from backend.demo.watched import DAY, OF_DAYS, OF_HOURS, _landed, history, reference, trained_on
from backend.drift.stored import profile_from
from backend.monitoring.rules import parse_spec

UNTIL = datetime(2026, 11, 30, tzinfo=UTC)


def test_ten_days_end_at_midnight_on_their_own_days_of_the_week_with_faults_at_the_end(flights: Flights) -> None:
    asked = list(history(flights.iter_requests((1, 2, 3)), UNTIL))
    assert min(one.event_time for one in asked) >= UNTIL - 10 * DAY
    assert UNTIL - timedelta(hours=3) < max(one.event_time for one in asked) < UNTIL
    assert len({one.request_id for one in asked}) == len(asked) > 8_000
    by_day: dict[int, list[FlightRequest]] = {}
    for one in asked:
        by_day.setdefault((UNTIL - one.event_time - timedelta(microseconds=1)) // DAY, []).append(one)
    assert sorted(by_day) == list(range(10))
    noon = next(one for one in by_day[5] if one.event_time.hour == 18)
    assert noon.features["dow"] == noon.event_time.weekday()
    warmth = {
        day: max(value for one in each if isinstance(value := one.features["temp"], float)) for day, each in by_day.items()
    }
    assert warmth[0] < 25 < min(warmth[day] for day in range(2, 10)), "degrees Celsius on the last two days"
    gaps = {day: sum(one.features["humid"] is None for one in each) / len(each) for day, each in by_day.items()}
    assert gaps[0] > 0.25 > 0.1 > gaps[1]


def test_what_is_not_known_yet_is_told_later(flights: Flights) -> None:
    now = UNTIL + timedelta(minutes=30)
    asked, later = _landed(history(flights.iter_requests((1, 2, 3)), UNTIL), now)
    known = [one.outcome.known_at for one in asked if one.outcome is not None]
    assert max(known) <= now < min(one.outcome.known_at for one in later if one.outcome is not None)
    assert {one.request_id for one in later} < {one.request_id for one in asked}
    assert 100 < len(later) < 300


def test_the_reference_knows_features_and_predictions(flights: Flights) -> None:
    chosen = trained_on(flights.table)
    profile = profile_from(reference(chosen, np.linspace(0, 1, len(chosen), dtype=np.float32)))
    assert (len(profile.layout.features), profile.counts.rows) == (14, 80_789)
    assert [one.key.role for one in profile.layout.features].count("prediction") == 1


def test_what_monitors_are_told_can_be_told() -> None:
    kinds = {name: parse_spec(told).kind for name, told in {**OF_DAYS, **OF_HOURS}.items()}
    assert set(kinds.values()) == {"drift", "data", "quality", "estimate"}
