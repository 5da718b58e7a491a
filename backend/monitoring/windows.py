"""Which hours a monitor looks at: its windows, and what they are compared with. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from backend.drift.references import SEASONS, Choice, Period, SameSeason, Training, Window, choice, first_days
from backend.drift.references import Champion as TheChampion
from backend.monitoring.live import Live
from backend.monitoring.rules import HOUR, OF_FEATURES, MonitorSpec

SETTLED = timedelta(minutes=5)
"""How long an hour is over before it is counted: what is held by writers is in the log by then."""
_FAR = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, 1, tzinfo=UTC))


def closed_until(now: datetime) -> datetime:
    """The end of the latest hour that may be counted."""
    return (now - SETTLED).astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def window_at(spec: MonitorSpec, slot: datetime) -> Window:
    """The window that ends with a slot."""
    return Window(slot - spec.window, slot)


def first_serving(spec: MonitorSpec, live: Live, slot: datetime) -> Window | None:
    """Of skew: the first days of a version, as far as they are over by the slot; None before their first hour is."""
    whole = first_days(live.since, spec.first_days)
    end = min(whole.end, slot)
    return Window(whole.start, end) if end > whole.start else None


def compared(spec: MonitorSpec, window: Window, champion: int | None) -> Choice:
    """What a window is compared with."""
    told = spec.reference
    match told.kind:
        case "period":
            assert told.start is not None  # noqa: S101 - the spec says so
            assert told.end is not None  # noqa: S101
            name = told.name or f"{told.start:%Y-%m-%d %H:%M} to {told.end:%Y-%m-%d %H:%M}"
            return choice(Period(name, Window(told.start, told.end)), window)
        case "season":
            return choice(SameSeason(told.season), window)
        case "champion":
            return choice(TheChampion(champion), window)
        case _:
            return choice(Training(), window)


def reference_words(spec: MonitorSpec) -> str:
    """What windows are compared with, for people."""
    if spec.reference.kind == "recent":
        return f"the latest {spec.reference.days} days whose outcomes are known"
    return compared(spec, _FAR, None).words


def shown_beside(spec: MonitorSpec, window: Window) -> Window:
    """The hours that a report of a window compares it with: as the monitor does, where those are hours of the log; else the
    same ones a week earlier, since of training data there are no rows."""
    against = compared(spec, window, None).window if spec.kind in OF_FEATURES else None
    return against or window.earlier(SEASONS["week"])


def hours_of(spec: MonitorSpec, slot: datetime, live: tuple[Live, ...]) -> Iterator[datetime]:
    """The hours that a look at a slot needs."""
    if spec.kind == "skew":
        for one in live:
            if (serving := first_serving(spec, one, slot)) is not None:
                yield from serving.each()
        return
    window = window_at(spec, slot)
    yield from window.each()
    match spec.reference.kind:
        case "season":
            yield from window.earlier(SEASONS[spec.reference.season]).each()
        case "recent":
            yield from Window(window.start - timedelta(days=spec.reference.days), window.start).each()
        case "period" if spec.reference.start is not None and spec.reference.end is not None:
            yield from Window(spec.reference.start, spec.reference.end).each()


def since(hours: int, end: datetime) -> datetime:
    """So many hours before."""
    return end - hours * HOUR
