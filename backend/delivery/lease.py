"""One pass's hold on its server: asked before every outgoing call, compared in every write, timed step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from backend.core import work
from backend.core.database import Database
from backend.core.unit import Unit, assert_outside_unit
from backend.core.work import Claim, LeaseLost

T = TypeVar("T")


@dataclass(frozen=True)
class Lease:
    """A claim in use."""

    database: Database
    claim: Claim

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Calls out, if the lease is still held by the database's clock; else LeaseLost. Never inside a unit of work."""
        assert_outside_unit("an outgoing call")
        if not work.still_held(self.database, self.claim):
            raise LeaseLost(self.claim)
        return function(*arguments)

    def fence(self, tx: Unit) -> None:
        """Makes this unit fail unless the claim is the newest and in time: a late writer changes nothing."""
        work.fence(tx, self.claim)

    def now(self) -> datetime:
        """The database's time."""
        return self.database.now()


@dataclass
class StepLog:
    """What one attempt did, step by step, with seconds; goes into the push log."""

    steps: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Times a block. The block may call what it gets to leave a note; an exception leaves its own."""
        started, note = time.monotonic(), [""]

        def say(text: str) -> None:
            note[0] = text

        try:
            yield say
        except Exception as error:
            note[0] = str(error)[:300]
            raise
        finally:
            self.steps.append({"step": name, "seconds": round(time.monotonic() - started, 4), "note": note[0]})
