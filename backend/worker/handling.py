"""One claim in its handler's hands: what the logs call it, what became of it, and when it is tried again."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from backend.core import context, work
from backend.core.columns import new_id
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import CountersignError
from backend.core.work import Claim, LeaseLost
from backend.delivery.courses import backoff
from backend.worker.metrics import Metrics
from backend.worker.timing import Timing

Handler = Callable[[Claim], None]
"""Looks after one item and finishes its own claim; what it raises gives the item back to be tried again."""

log = structlog.get_logger()
_ERROR_CHARACTERS = 300


class Handling:
    """Runs handlers, each call in a thread of its own with a context of its own."""

    def __init__(self, database: Database, handlers: Mapping[str, Handler], metrics: Metrics, timing: Timing) -> None:
        self._database = database
        self._handlers = handlers
        self._metrics = metrics
        self._timing = timing

    def run(self, claim: Claim) -> None:
        """Handles one claim. Raises nothing: an item that failed is given back, or comes back when its lease ends."""
        context.request_id.set(new_id("req"))
        context.change_id.set(claim.key if claim.kind == "change" else "")
        structlog.contextvars.bind_contextvars(kind=claim.kind, key=claim.key, token=claim.token)
        started = time.monotonic()
        outcome = self._outcome(claim)
        seconds = time.monotonic() - started
        self._metrics.handled(claim.kind, outcome, seconds)
        log.debug("work.handled", outcome=outcome, seconds=round(seconds, 3))

    def _outcome(self, claim: Claim) -> str:
        try:
            self._handlers[claim.kind](claim)
        except LeaseLost:
            return "lost"
        except CountersignError as error:
            log.warning("work.failed", problem=str(error), failures=claim.failures + 1)
            return self._give_back(claim, str(error))
        except BaseException as error:  # a handler must not take the worker down, whatever it raises
            number = secrets.token_hex(4)
            log.error("work.defect", error=number, failures=claim.failures + 1, exc_info=error)
            return self._give_back(claim, f"{type(error).__name__}; the worker's log has it under error {number}")
        return "done"

    def _give_back(self, claim: Claim, error: str) -> str:
        pause = timedelta(seconds=self._pause(claim))
        try:
            with self._database.unit(SYSTEM) as tx:
                work.finish(tx, claim, next_due=tx.now + pause, error=error[:_ERROR_CHARACTERS])
        except LeaseLost:  # finished before it failed, or lost meanwhile: either way the item is looked after
            return "failed"
        except Exception as problem:
            log.error("work.not_given_back", problem=type(problem).__name__, remedy="It comes back when its lease ends.")
        return "failed"

    def _pause(self, claim: Claim) -> float:
        timing = self._timing
        return backoff(claim.failures, base=timing.retry_base, cap=timing.retry_cap, jitter=random.random())
