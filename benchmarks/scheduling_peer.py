"""APScheduler's side of the scheduling benchmark: version 3 with its SQL job store. For `benchmarks.children`.

Every job is due at once (`date` trigger) and does nothing; that it is removed from the store is its status write.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from benchmarks.children import Call

PATIENCE_SECONDS = 600.0


class Countdown:
    """Set once as many jobs ran as were registered."""

    def __init__(self) -> None:
        self.left = 0
        self.over = threading.Event()
        self.lock = threading.Lock()

    def expect(self, jobs: int) -> None:
        self.left = jobs
        self.over.clear()

    def tick(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.over.set()


countdown = Countdown()


def job() -> None:
    """What each job does: the scheduler finds it by this module's name."""
    countdown.tick()


def run(url: str, items: int) -> dict[str, float]:
    """CPU seconds of registering `items` due jobs, and of running all of them until the store is empty."""
    store = SQLAlchemyJobStore(url)
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone=UTC)
    scheduler.start(paused=True)
    scheduler.remove_all_jobs()
    countdown.expect(items)
    started = time.process_time()
    _register(scheduler, items)
    registered = time.process_time()
    scheduler.resume()
    if not countdown.over.wait(PATIENCE_SECONDS):
        raise RuntimeError(f"{countdown.left} of {items} jobs did not run")
    while store.get_next_run_time() is not None:
        time.sleep(0.05)
    finished = time.process_time()
    scheduler.shutdown()
    return {"register": registered - started, "do": finished - registered}


def _register(scheduler: Any, items: int) -> None:
    due = datetime.now(UTC)
    for number in range(items):
        scheduler.add_job(
            "benchmarks.scheduling_peer:job", "date", run_date=due, id=f"endpoint-{number}", misfire_grace_time=None
        )


CALLS: dict[str, Call] = {"run": run}
