"""A worker as a process of its own, with a test's handlers: `python -m tests.services.worker.process URL NAME MODE`.

MODE `work` finishes each item at once, `slow` after a second, `hang` never.
"""

from __future__ import annotations

import sys
import time

import structlog

from backend.core.database import Database
from backend.core.work import Claim
from backend.settings import Settings
from backend.worker import logs
from backend.worker.handling import Handler
from backend.worker.loop import Worker
from backend.worker.main import until_told
from backend.worker.timing import Timing
from tests.services.worker.crew import finishing

SECONDS = {"work": 0.0, "slow": 1.0, "hang": 3600.0}
LEASE = 3.0
TIMING = Timing(beat=0.5, leader=3.0)


def main(url: str, name: str, mode: str) -> None:
    logs.configure("DEBUG", worker=name)
    log = structlog.get_logger()
    database = Database(url)

    def handle(claim: Claim) -> None:
        log.info("test.begun")
        time.sleep(SECONDS[mode])
        finish(claim)

    finish: Handler = finishing(database)
    until_told(Worker(database, {"server": handle}, Settings(lease_seconds=LEASE), timing=TIMING, name=name))
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
