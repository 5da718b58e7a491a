"""What each endpoint keeps, as it was a moment ago, for sources that come a line at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from backend.core.database import Database
from backend.core.errors import ExternalFailure
from backend.delivery.log_rules import handlings
from backend.inference_log.handling import Handling

AGAIN_SECONDS = 5.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Rules:
    """Endpoint -> what is done with its rows, and the header that names its units."""

    handling: Mapping[str, Handling]
    unit_headers: Mapping[str, str]


class Known:
    """The rules in force, at most a few seconds old; those before, while the database cannot be asked."""

    def __init__(self, database: Database, key: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._key, self._clock = database, key, clock
        self._lock = threading.Lock()
        self._rules: Rules | None = None
        self._at = 0.0

    def rules(self) -> Rules:
        """The rules. ExternalFailure where there were none yet: nothing may be written before they are known."""
        with self._lock:
            if self._rules is None or self._clock() - self._at >= AGAIN_SECONDS:
                self._rules = self._asked(self._rules)
                self._at = self._clock()
            return self._rules

    def _asked(self, before: Rules | None) -> Rules:
        try:
            with self._database.read() as session:
                found = handlings(session, self._key())
        except sa.exc.SQLAlchemyError as error:
            if before is None:
                raise ExternalFailure("The database", "cannot be asked", retryable=True) from error
            log.warning("ingest.rules_are_old")
            return before
        return Rules({name: one for name, (one, _) in found.items()}, {name: header for name, (_, header) in found.items()})
