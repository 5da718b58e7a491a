"""Which hours a window is compared with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backend.core.errors import Refusal
from backend.drift.references import (
    HOUR,
    Champion,
    Choice,
    Period,
    SameSeason,
    Training,
    Window,
    choice,
    counts_of,
    first_days,
    last_hours,
)
from tests.drift_data import counts_of as counted
from tests.drift_data import profile_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = Window(NOON, NOON + timedelta(days=1))


def test_each_reference_chooses_its_hours() -> None:
    week = Window(NOON - timedelta(weeks=1), NOON)
    assert choice(Training(), DAY) == Choice(None, "the data that it was trained on")
    assert choice(Period("the first week", week), DAY) == Choice(week, "the first week")
    year = choice(SameSeason("year"), DAY)
    assert year.window == Window(datetime(2025, 3, 3, 12, tzinfo=UTC), datetime(2025, 3, 4, 12, tzinfo=UTC))
    assert year.words == "the same hours a year earlier"
    assert year.window is not None
    assert year.window.start.weekday() == NOON.weekday()
    assert choice(SameSeason("week"), DAY).window == DAY.earlier(timedelta(days=7))
    assert choice(Champion(3, "champion"), DAY) == Choice(DAY, "the champion at the same time", 3, "champion", True)


def test_windows_are_whole_hours() -> None:
    assert (DAY.hours, next(iter(DAY.each())), len(list(DAY.each()))) == (24, NOON, 24)
    assert last_hours(NOON + timedelta(minutes=59), 2) == Window(NOON - 2 * HOUR, NOON)
    assert first_days(NOON + timedelta(minutes=1), 1) == Window(NOON + HOUR, NOON + 25 * HOUR)
    assert first_days(NOON, 3) == Window(NOON, NOON + 72 * HOUR)
    assert last_hours(NOON.astimezone(timezone(timedelta(hours=5))), 1) == Window(NOON - HOUR, NOON)
    for start, end in (
        (NOON, NOON),
        (NOON, NOON - HOUR),
        (NOON.replace(minute=1), NOON + HOUR),
        (NOON.replace(tzinfo=None),) * 2,
    ):
        with pytest.raises(Refusal, match="whole hours"):
            Window(start, end)


def test_a_reference_is_summed_from_its_hours_and_refused_where_most_are_missing() -> None:
    profile = profile_of({"x": [1.0, 2.0]})
    hours = {NOON + number * HOUR: counted(profile, {"x": [float(number)]}) for number in range(12)}
    found = counts_of(choice(Champion(1), DAY), profile.layout, hours)
    assert found is not None
    assert (found.rows, found.low[0], found.high[0]) == (12, 0, 11)
    assert counts_of(choice(Training(), DAY), profile.layout, {}) is None
    for few in ({}, dict(list(hours.items())[:11])):
        with pytest.raises(Refusal, match=f"only {len(few)} of 24 hours were counted"):
            counts_of(choice(Champion(1), DAY), profile.layout, few)
    with pytest.raises(Refusal, match="0 requests"):
        counts_of(choice(Champion(1), DAY), profile.layout, {hour: counted(profile, {"x": []}) for hour in hours})
