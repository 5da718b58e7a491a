"""The running figures of a replay."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

_KEPT = 100_000
QUANTILES = (0.5, 0.9, 0.95, 0.99)


class Finished(Protocol):
    """What is counted of a finished request; see `replayer.Replayed`."""

    @property
    def event_time(self) -> datetime: ...
    @property
    def assigned_arm(self) -> str | None: ...
    @property
    def generation(self) -> int | None: ...
    @property
    def version(self) -> str | None: ...
    @property
    def latency_seconds(self) -> float: ...
    @property
    def failure(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ReplayStats:
    """A snapshot.

    Args:
        requests: finished, answered or not.
        failures: by kind (see `Replayed.failure`); `failed` is their sum.
        arms, versions, generations: requests by what the answer named; "" where it named nothing.
        latency_seconds: quantile ("p50" to "p99") over the last 100,000 valid answers; empty before the first.
        event_clock: latest scheduled departure that was sent.
        arrivals: outcomes handed over; `pending` have been sent and have not landed.
        last_arrival: when the latest of them landed.
        running: whether any thread of the replay is still at work.
    """

    requests: int
    failed: int
    failures: Mapping[str, int]
    arms: Mapping[str, int]
    versions: Mapping[str, int]
    generations: Mapping[str, int]
    latency_seconds: Mapping[str, float]
    event_clock: datetime | None
    arrivals: int
    pending: int
    last_arrival: datetime | None
    running: bool


class Tally:
    """Counts finished requests and arrivals; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._arrivals = 0
        self._failures: Counter[str] = Counter()
        self._arms: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._generations: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=_KEPT)
        self._event_clock: datetime | None = None
        self._last_arrival: datetime | None = None

    def count(self, finished: Finished) -> None:
        with self._lock:
            self._requests += 1
            self._arms[finished.assigned_arm or ""] += 1
            self._versions[finished.version or ""] += 1
            self._generations["" if finished.generation is None else str(finished.generation)] += 1
            self._event_clock = _later(self._event_clock, finished.event_time)
            if finished.failure:
                self._failures[finished.failure] += 1
            else:
                self._latencies.append(finished.latency_seconds)

    def arrived(self, known_at: datetime) -> None:
        with self._lock:
            self._arrivals += 1
            self._last_arrival = _later(self._last_arrival, known_at)

    def snapshot(self, *, pending: int, running: bool) -> ReplayStats:
        with self._lock:
            return ReplayStats(
                requests=self._requests,
                failed=self._failures.total(),
                failures=dict(self._failures),
                arms=dict(self._arms),
                versions=dict(self._versions),
                generations=dict(self._generations),
                latency_seconds=quantiles(self._latencies),
                event_clock=self._event_clock,
                arrivals=self._arrivals,
                pending=pending,
                last_arrival=self._last_arrival,
                running=running,
            )


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Nearest-rank quantiles (the smallest value that at least that share does not exceed); empty for no value."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {f"p{round(share * 100)}": ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)] for share in QUANTILES}


def _later(known: datetime | None, new: datetime) -> datetime:
    return new if known is None else max(known, new)
