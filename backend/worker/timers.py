"""Timers, kept by APScheduler in memory: what every worker does every few seconds, and the leader's periodic jobs.

APScheduler only says when. That a job's slot runs once among any number of workers is the database's doing: the leader's
lease is fenced and the slot (job, scheduled time) taken in one unit of work (`work.take_slot`) before the job runs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.work import LeaseLost
from backend.worker.leader import Leadership
from backend.worker.metrics import Metrics

log = structlog.get_logger()
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Job:
    """Something that the leader does every `seconds`, at the same moments whoever leads."""

    name: str
    seconds: float
    run: Callable[[], None]


class Threads(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    """An APScheduler executor of daemon threads: a job that hangs does not keep a stopping process alive."""

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        threading.Thread(target=self._run, args=(job, run_times), name=f"timer-{job.id}", daemon=True).start()

    def _run(self, job: Any, run_times: list[datetime]) -> None:
        try:
            events = run_job(job, job._jobstore_alias, run_times, self._logger.name)
        except BaseException:
            self._run_job_error(job.id, *sys.exc_info()[1:])
        else:
            self._run_job_success(job.id, events)


class Aligned(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Every `seconds`, at the same moments in every process and whatever was called in between.

    (APScheduler's own IntervalTrigger counts on from the latest call, so that a call out of turn shifts all later ones.)
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The first slot after both."""
        latest = now if previous_fire_time is None else max(now, previous_fire_time)
        passed = (latest - _EPOCH).total_seconds()
        return _EPOCH + timedelta(seconds=(passed // self._seconds + 1) * self._seconds)


class Timers:
    """The timers of one worker. Nothing fires before `start`."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": Threads()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},  # late: once, not never
            timezone=UTC,
        )

    def every(self, name: str, seconds: float, run: Callable[[], None], *, at_once: bool = False) -> None:
        """Calls `run` every `seconds`, at moments that are the same in every process; `at_once` also at the start.

        What `run` raises is logged and changes nothing for the next time.
        """
        first = {"next_run_time": datetime.now(UTC)} if at_once else {}
        self._scheduler.add_job(_safely(name, run), Aligned(seconds), id=name, name=name, **first)

    def now(self, name: str) -> None:
        """Calls a timer at once; its later times stay as they are."""
        self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def start(self) -> None:
        """Begins to fire."""
        self._scheduler.start()

    def stop(self) -> None:
        """Fires no more. A call that runs goes on in its daemon thread."""
        self._scheduler.shutdown(wait=False)


class Jobs:
    """The leader's periodic jobs.

    Args:
        holder: this worker's name, kept with each slot that it took.
    """

    def __init__(self, database: Database, leader: Leadership, metrics: Metrics, jobs: Sequence[Job], holder: str) -> None:
        self._database = database
        self._leader = leader
        self._metrics = metrics
        self._jobs = jobs
        self._holder = holder

    def schedule(self, timers: Timers) -> None:
        """Gives each job its timer."""
        for job in self._jobs:
            timers.every(job.name, job.seconds, partial(self.run, job))

    def catch_up(self, timers: Timers) -> None:
        """This worker just began to lead: run at once each job whose present slot nobody took."""
        for job in self._jobs:
            timers.now(job.name)

    def run(self, job: Job) -> None:
        """Runs a job if this worker leads and nobody ran its present slot."""
        if not self._leader.held or not self._take(job):
            return
        try:
            job.run()
        except BaseException:
            self._metrics.job(job.name, "failed")
            raise
        self._metrics.job(job.name, "done")

    def _take(self, job: Job) -> bool:
        try:
            with self._database.unit(SYSTEM) as tx:
                self._leader.fence(tx)
                return work.take_slot(tx, job.name, nearest_slot(tx.now, job.seconds), self._holder)
        except LeaseLost:
            return False


def nearest_slot(now: datetime, seconds: float) -> datetime:
    """The scheduled time nearest to `now`: timers may fire up to half an interval early or late by the database's clock."""
    passed = (now - _EPOCH).total_seconds()
    return _EPOCH + timedelta(seconds=round(passed / seconds) * seconds)


def _safely(name: str, run: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        try:
            run()
        except Exception as error:
            log.error("timer.failed", timer=name, exc_info=error)

    return call
