"""How often, how long and how many: the worker's figures in one place, in seconds."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Timing:
    """The worker's intervals and bounds, all in seconds. The lease's length is a setting of its own.

    Args:
        look_min, look_max: between two looks for due work; the pause grows from the one to the other while nothing is due.
        beat: between two heartbeats, at which leadership is renewed as well.
        leader: how long a silent leader keeps the lead.
        stop: how long running handlers may take to end once the worker was told to stop.
        retry_base, retry_cap: first and longest pause before an item that failed is tried again.
        overdue: how late an item may be before that is an alert.
        hold_max: how long one handler may hold its item at all; a handler that hangs loses it.
        stalled: how long the loop may stand still before this worker no longer counts as alive.
    """

    look_min: float = 0.1
    look_max: float = 0.2
    beat: float = 5.0
    leader: float = 15.0
    stop: float = 20.0
    retry_base: float = 1.0
    retry_cap: float = 300.0
    overdue: float = 30.0
    hold_max: float = 1800.0
    stalled: float = 60.0


@dataclass(frozen=True)
class Lane:
    """Kinds of work that share a number of threads, so that slow work of one sort never delays another."""

    kinds: tuple[str, ...]
    threads: int


EVIDENCE_THREADS, REGISTRY_THREADS, ROUTE_THREADS, SCRAPE_THREADS, OTHER_THREADS = 2, 2, 4, 4, 2
COUNT_THREADS, MONITOR_THREADS, COMPARE_THREADS = 1, 2, 2


def lanes(kinds: Iterable[str], worker_threads: int) -> tuple[Lane, ...]:
    """The lanes for these kinds: servers have `worker_threads`, gates two, the registry two, decisions half of the servers'.

    Messages are sent by four threads of their own: a receiver that hangs holds up neither decisions nor the ledger's reader.
    Metrics are read by four more, so that a source that hangs delays nothing but metrics. Hours of the inference log are
    counted by one and judged by two: they take processor time, and nobody waits for them. Arms are compared by two of their
    own, as ramps wait for that. Window reports are made one at a time: each may take gigabytes.

    An approval is settled in the lane of decisions: it starts within a fraction of a second even while every server hangs.
    """
    wanted = set(kinds)
    known = (
        Lane(("server",), worker_threads),
        Lane(("evidence",), EVIDENCE_THREADS),
        Lane(("change", "rollout"), max(2, worker_threads // 2)),
        Lane(("mirror", "alias"), REGISTRY_THREADS),
        Lane(("notify",), 1),
        Lane(("route",), ROUTE_THREADS),
        Lane(("scrape",), SCRAPE_THREADS),
        Lane(("count",), COUNT_THREADS),
        Lane(("monitor",), MONITOR_THREADS),
        Lane(("comparison",), COMPARE_THREADS),
        Lane(("window_report",), 1),
    )
    used = [Lane(tuple(kind for kind in lane.kinds if kind in wanted), lane.threads) for lane in known]
    rest = tuple(sorted(wanted - {kind for lane in known for kind in lane.kinds}))
    return tuple(lane for lane in (*used, Lane(rest, OTHER_THREADS)) if lane.kinds)


@dataclass
class Pace:
    """The pause between two looks for due work: short after a find, then growing; jitter keeps workers out of step."""

    shortest: float
    longest: float
    _pause: float = field(init=False)

    def __post_init__(self) -> None:
        self._pause = self.shortest

    def after(self, found: bool, *, jitter: float | None = None) -> float:
        """Seconds to the next look. `jitter` (0 to 1, random by default) takes away up to a fifth."""
        self._pause = self.shortest if found else min(self.longest, self._pause * 1.1)
        return self._pause * (1 - 0.2 * (random.random() if jitter is None else jitter))
