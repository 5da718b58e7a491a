"""Flights of 2013 as if they departed now: the moments, the names and the outcomes of live traffic. Pure.

A flight that is sent has departed at that moment, and what becomes of it is known as long after as it was in truth. The same
flight is asked about again and again while a demo runs, each time as a request of its own: its id ends with the moment, and
tells by itself which flight it was. So a demo that is started again knows which outcomes are still owed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backend.demo.flights import FlightRequest

_ID = re.compile(r"(?P<flight>\d{8}-[0-9A-Z]{2}\d{1,4}-[A-Z]{3})-\d{8}T\d{9}", re.ASCII)


def endless(
    flights: Callable[[], Iterable[FlightRequest]], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[FlightRequest]:
    """Flights that never run out, each departing when it is taken."""
    while True:
        for one in flights():
            yield departing(one, clock())


def hurried(
    flights: Callable[[], Iterable[FlightRequest]], speed: float, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[FlightRequest]:
    """The same, with what becomes of each known so many times sooner: of a summer in minutes, hours of flight are moments."""
    while True:
        for one in flights():
            yield _sooner(one, clock(), speed)


def _sooner(flight: FlightRequest, at: datetime, speed: float) -> FlightRequest:
    found = departing(flight, at)
    if found.outcome is None:
        return found
    return replace(found, outcome=replace(found.outcome, known_at=at + (found.outcome.known_at - at) / speed))


def departing(flight: FlightRequest, at: datetime) -> FlightRequest:
    """The flight as a request of that moment."""
    return moved(flight, at - flight.event_time)


def moved(flight: FlightRequest, by: timedelta) -> FlightRequest:
    """The flight so much later, under an id of its own; what became of it as much later."""
    outcome, at = flight.outcome, flight.event_time + by
    later = replace(outcome, known_at=outcome.known_at + by) if outcome is not None else None
    return replace(flight, request_id=request_id(flight.request_id, at), event_time=at, outcome=later)


def request_id(flight: str, at: datetime) -> str:
    """`20130701-UA1545-EWR-20261130T191256042`: the flight, and when it was asked about (UTC, milliseconds)."""
    return f"{flight}-{at.astimezone(UTC):%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}"


def flight_of(request: str) -> str | None:
    """The flight that a request was about; None for an id that is none of ours."""
    found = _ID.fullmatch(request)
    return found["flight"] if found else None


def owed(asked: Mapping[str, datetime], named: Callable[[Collection[str]], Iterable[FlightRequest]]) -> Iterator[FlightRequest]:
    """Requests that were asked and whose outcome nobody told, as they were sent.

    Args:
        asked: request id -> its event time.
        named: gives flights by their ids.
    """
    wanted: dict[str, list[datetime]] = {}
    for request, at in asked.items():
        if (flight := flight_of(request)) is not None:
            wanted.setdefault(flight, []).append(at)
    for one in named(wanted):
        if one.outcome is not None:
            yield from (departing(one, at) for at in wanted[one.request_id])
