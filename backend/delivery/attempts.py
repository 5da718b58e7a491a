"""One attempt to make one endpoint's generation true, from the first step to its entry in the push log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlmodel import col, update

from backend.core.errors import CountersignError
from backend.core.unit import Unit
from backend.core.work import LeaseLost
from backend.delivery.desired import DesiredServer
from backend.delivery.lease import StepLog
from backend.delivery.proofs import Proved
from backend.delivery.rows import PushRecord
from backend.delivery.standing import Standing

Course = Literal["prove", "push", "unload"]


@dataclass
class Attempt:
    """What is being done about one endpoint in this pass.

    Attributes:
        id: of its entry in the push log.
        error: why it cannot go on; the steps after it leave it out.
        proved: what the proofs said.
    """

    standing: Standing
    course: Course
    id: str
    started_at: datetime
    log: StepLog = field(default_factory=StepLog)
    error: str | None = None
    doubt: str = ""
    """A call failed that may have taken effect all the same; the next look tells."""
    desired: DesiredServer = field(default_factory=lambda: DesiredServer({}))
    proved: tuple[Proved, ...] = ()

    @property
    def going(self) -> bool:
        """Whether nothing went wrong yet."""
        return self.error is None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a step. An error that a person can read ends the attempt, not the pass; a lost lease ends the pass."""
        try:
            with self.log.step(name):
                yield
        except LeaseLost:
            raise
        except CountersignError as error:
            self.fail(str(error))

    def fail(self, why: str) -> None:
        """Ends the attempt; the first reason is kept."""
        self.error = self.error or why[:1000]


def going(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Those to which nothing has happened yet."""
    return [one for one in attempts if one.going]


@contextmanager
def together(attempts: list[Attempt], name: str) -> Iterator[list[Attempt]]:
    """One step of several attempts at once: an error ends them all, each with its entry in its log."""
    shared = StepLog()
    try:
        with shared.step(name):
            yield attempts
    except LeaseLost:
        raise
    except CountersignError as error:
        for one in attempts:
            one.fail(str(error))
    finally:
        for one in attempts:
            one.log.steps += shared.steps


def open_record(tx: Unit, attempt: Attempt, token: int) -> None:
    """The attempt's entry in the push log, as long as it runs. Entries of passes that lost their lease are closed."""
    endpoint = attempt.standing.endpoint
    lost = update(PushRecord).where(
        col(PushRecord.endpoint_id) == endpoint.id, col(PushRecord.outcome) == "running", col(PushRecord.token) < token
    )
    tx.session.connection().execute(
        lost.values(outcome="lost", finished_at=tx.now, error="its worker stopped or lost its lease")
    )
    tx.add(
        PushRecord(
            id=attempt.id,
            endpoint_id=endpoint.id,
            generation=endpoint.generation,
            token=token,
            started_at=attempt.started_at,
            steps=[],
        )
    )


def close_record(tx: Unit, attempt: Attempt, outcome: str) -> None:
    """What became of it."""
    row = tx.get(PushRecord, attempt.id)
    row.outcome, row.finished_at, row.error, row.steps = outcome, tx.now, attempt.error, attempt.log.steps
