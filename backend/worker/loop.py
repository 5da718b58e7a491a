"""The worker: claims due work, one handler a kind, until it is told to stop; then it gives back what it still holds."""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.work import Claim
from backend.delivery.courses import backoff
from backend.settings import Settings
from backend.worker.handling import Handler, Handling
from backend.worker.heartbeat import Pulse
from backend.worker.holdings import Holdings
from backend.worker.leader import Leadership
from backend.worker.leases import Renewer, take_away
from backend.worker.look import Look
from backend.worker.metrics import Metrics
from backend.worker.timers import Job, Jobs, Timers
from backend.worker.timing import Lane, Pace, Timing, lanes

log = structlog.get_logger()
_OUTAGE_BASE, _OUTAGE_CAP = 0.5, 10.0


class Worker:
    """One worker. Any number may share a database; each item is in one handler's hands at a time.

    Handlers run in daemon threads, one a claim and never more than their lane allows. (A thread costs 0.1 ms to start, and
    unlike those of `concurrent.futures` it does not keep a stopping process alive.) Only what can begin at once is claimed.

    Args:
        handlers: kind -> what looks after one item of it.
        jobs: what the leader among the workers does periodically.
        lanes: how many items of which kinds are handled at the same time; by default `timing.lanes`.
        name: unique among the workers of a database; made up by default.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        settings: Settings,
        *,
        jobs: Sequence[Job] = (),
        metrics: Metrics | None = None,
        timing: Timing | None = None,
        lanes_of: Sequence[Lane] | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or worker_name()
        self.metrics = metrics or Metrics()
        self._database = database
        self._lease = settings.lease_seconds
        self._timing = timing = timing or Timing()
        self._holdings = Holdings(lanes_of or lanes(handlers, settings.worker_threads))
        self._handling = Handling(database, handlers, self.metrics, timing)
        self._renewer = Renewer(database, self._holdings, self.metrics, seconds=self._lease, hold_max=timing.hold_max)
        self._look = Look(database)
        self._pulse = Pulse(database, self.name)
        self._leader = Leadership(database, self.name, timing.leader)
        self._jobs = Jobs(database, self._leader, self.metrics, jobs, self.name)
        self._timers = Timers()
        self._freed = threading.Event()
        self._went_round = time.monotonic()
        self._parting, self._parted = threading.Lock(), False

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set, then lets running handlers end. Called once; the caller configures logs and signals."""
        pace, outages = Pace(self._timing.look_min, self._timing.look_max), 0
        with self._running():
            while not stop.is_set():
                self._went_round, pause = time.monotonic(), 0.0
                try:
                    pause, outages = pace.after(self.claim_due() > 0), 0
                except Exception as error:
                    pause, outages = self._outage(error, outages), outages + 1
                self._rest(pause, stop)
            self._drain()

    def claim_due(self) -> int:
        """Looks once, and starts a handler for each claim. Returns how many were started."""
        rooms = self._holdings.room()
        due = self._look([kind for lane, _ in rooms for kind in lane.kinds]) if rooms else {}
        if not due:
            return 0
        claims = self._claim(rooms, due)
        self._holdings.take(claims)
        for claim in claims:
            self.metrics.held(claim.kind, +1)
            threading.Thread(target=self._handle, args=(claim,), name=f"{claim.kind}-{claim.key}", daemon=True).start()
        return len(claims)

    def _claim(self, rooms: Sequence[tuple[Lane, int]], due: Mapping[str, float]) -> list[Claim]:
        claims: list[Claim] = []
        with self._database.unit(SYSTEM) as tx:
            for lane, room in rooms:
                kinds = [kind for kind in lane.kinds if kind in due]
                random.shuffle(kinds)
                for left, kind in zip(range(len(kinds), 0, -1), kinds, strict=True):
                    share = -(-room // left)  # each due kind has its share, what it leaves goes to the next
                    got = work.claim_in(tx, kind, holder=self.name, seconds=self._lease, limit=share) if share else []
                    claims, room = claims + got, room - len(got)
        for kind in Counter(one.kind for one in claims):
            self.metrics.lag(kind, due[kind])
        return claims

    def _handle(self, claim: Claim) -> None:
        try:
            structlog.contextvars.bind_contextvars(worker=self.name)
            self._handling.run(claim)
        finally:
            self._holdings.drop(claim)
            self.metrics.held(claim.kind, -1)
            self._freed.set()

    def _rest(self, pause: float, stop: threading.Event) -> None:
        """Waits for the next look; a handler that ended makes it come at once."""
        if not stop.is_set():
            self._freed.wait(pause)
            self._freed.clear()

    def _outage(self, error: Exception, outages: int) -> float:
        self.metrics.claim_problem()
        if outages == 0:
            log.error("worker.cannot_claim", exc_info=error)
        return backoff(outages, base=_OUTAGE_BASE, cap=_OUTAGE_CAP, jitter=random.random())

    @contextmanager
    def _running(self) -> Iterator[None]:
        self._timers.every("heartbeat", self._timing.beat, self._beat, at_once=True)
        self._jobs.schedule(self._timers)
        self._renewer.start()
        self._timers.start()
        log.info("worker.started", worker=self.name)
        try:
            yield
        finally:
            self._timers.stop()
            self._renewer.stop()
            self._look.close()
            self._part()
            log.info("worker.stopped", worker=self.name)

    def _beat(self) -> None:
        """Says that this worker lives, and seeks the lead; not while its loop stands still."""
        if time.monotonic() - self._went_round > self._timing.stalled:
            log.error("worker.stalled", seconds=round(time.monotonic() - self._went_round, 1))
            return
        with self._parting:
            if self._parted:
                return
            gained = self._leader.seek()
            self._pulse.beat(leader=self._leader.held)
        self.metrics.beat(leader=self._leader.held)
        if gained:
            log.info("worker.leads", worker=self.name)
            self._jobs.catch_up(self._timers)

    def _drain(self) -> None:
        """Claims no more, lets handlers end, and gives back the rest: their late writes are fenced off."""
        held = self._holdings.by_kind()
        log.info("worker.stopping", held=sum(held.values()))
        if self._holdings.wait_until_empty(self._timing.stop):
            return
        rest = [one.claim for one in self._holdings.all()]
        try:
            with self._database.unit(SYSTEM) as tx:
                taken = take_away(tx, rest)
        except Exception as error:
            log.error(
                "worker.not_given_back", problem=type(error).__name__, remedy="The items come back when their leases end."
            )
        else:
            log.warning("worker.gave_back", items=[f"{one.kind}/{one.key}" for one in taken])

    def _part(self) -> None:
        """Gives up the lead and takes the heartbeat away; a beat that comes too late finds that this worker has parted."""
        try:
            with self._parting:
                self._parted = True
                self._leader.resign()
                self._pulse.end()
        except Exception as error:  # without a database this worker's lead and heartbeat end by themselves
            log.warning("worker.parted_silently", problem=type(error).__name__)


def worker_name() -> str:
    """Host, process and a random part: two workers of one process differ too."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
