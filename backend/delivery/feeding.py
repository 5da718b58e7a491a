"""Requests and outcomes that callers send for an endpoint's inference log: checked, treated by its rules, and handed over.

What is accepted lies in the spool of this machine, which outlives a crash; the process `countersign ingest` takes it into the
log. A row is data and no state, so that it is in no ledger; who may send is asked each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from backend.access import checks
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.delivery.log_rules import handling_of, row_of
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.inference_log import cloudevents
from backend.inference_log.copies import Row
from backend.inference_log.handling import Handling
from backend.inference_log.layout import Table
from backend.inference_log.naming import Names, R
from backend.inference_log.rules import Malformed, is_part, owned_outcome_of, part_of, request_of
from backend.inference_log.spool import Batch, Spool
from backend.inference_log.writer import SHOWN

List = Literal["requests", "outcomes", "events"]
MOST_ROWS = 10_000
MOST_VALUES = 1_000_000
"""Features of a batch's events together: a tensor of small numbers holds many in few bytes."""


@dataclass(frozen=True)
class NotTaken:
    """One row that was not kept: in which list of the batch, its place there from 0, and why. Nothing of it is told."""

    list: List
    index: int
    reason: str


@dataclass
class Taken:
    """What became of a batch.

    Args:
        requests, outcomes: rows taken, parts of requests among the former.
        left_out: rows that the endpoint's rules leave out: `sampled_out` by sampling, `erased` of units that were erased.
        rejected: malformed ones; `rejections` lists the first 100.
        values_left_out: features, or outcomes, of rows that were taken, because the endpoint has enough names already.
    """

    requests: int = 0
    outcomes: int = 0
    sampled_out: int = 0
    erased: int = 0
    rejected: int = 0
    rejections: list[NotTaken] = field(default_factory=list)
    values_left_out: int = 0

    @property
    def left_out(self) -> int:
        return self.sampled_out + self.erased

    def leave_out(self, *, erased: bool) -> None:
        """Counts a row that is not kept."""
        self.erased += erased
        self.sampled_out += not erased

    def reject(self, which: List, index: int, reason: str) -> None:
        """Counts a malformed row."""
        self.rejected += 1
        if len(self.rejections) < SHOWN:
            self.rejections.append(NotTaken(which, index, reason))


@dataclass(frozen=True)
class _Here:
    endpoint: str
    handling: Handling
    unit_header: str
    now: datetime
    names: Names

    def fitted(self, table: Table, row: R, taken: Taken) -> R:
        """The row without what its endpoint has no room for, which is counted."""
        fitting, left_out = self.names.fitted(table, self.endpoint, row)
        taken.values_left_out += left_out
        return fitting


class Feed:
    """Commands of whoever feeds a log.

    Args:
        database: where endpoints, grants and rules are.
        spool: takes what was accepted.
        key: of this installation's pseudonyms; asked for when a batch comes.
        names: which of them have room in the log.
    """

    def __init__(self, database: Database, spool: Spool, key: Callable[[], bytes], names: Names) -> None:
        self._database, self._spool, self._key, self._names = database, spool, key, names

    def take(self, actor: Actor, endpoint: str, *, requests: Sequence[Any] = (), outcomes: Sequence[Any] = ()) -> Taken:
        """Takes a batch, of which malformed rows are left out. Sending it again changes nothing: a request's id counts once.

        Rows are those of `InferenceLog.append` and `append_outcomes`, without `received_at`; an outcome may name its `unit`,
        which is not kept. Refusal codes: too-many-rows. ExternalFailure where nothing can be handed over: nothing was taken.
        """
        if len(requests) + len(outcomes) > MOST_ROWS:
            raise _too_many(f"A batch has at most {MOST_ROWS} rows.")
        here, taken, kept = self._admitted(actor, endpoint), Taken(), _empty()
        for index, row in enumerate(requests):
            _add_request(kept, taken, here, "requests", index, row)
        for index, row in enumerate(outcomes):
            _add_outcome(kept, taken, here, index, row)
        return self._handed_over(here, kept, taken)

    def take_events(
        self, actor: Actor, endpoint: str, headers: Mapping[str, str], body: bytes, *, version: int | None = None
    ) -> Taken:
        """Takes CloudEvents as KServe's logger sends them (`inference_log.cloudevents`), rows as many as `take` does.

        Refusal codes: no-event, too-many-rows; nothing was taken then.

        Args:
            version: the registered version that answers where they come from.
        """
        here, taken, kept = self._admitted(actor, endpoint), Taken(), _empty()
        try:
            found = cloudevents.events(headers, body)
        except cloudevents.Unreadable as error:
            raise Refusal(f"This cannot be read: {error}.", "Send what KServe's logger sends.", code="no-event") from None
        count = values = 0
        for index, event in enumerate(found):
            try:
                if isinstance(event, Malformed):
                    raise event
                rows = cloudevents.parts(event, here.now.isoformat(), unit_header=here.unit_header, version=version)
            except Malformed as error:
                taken.reject("events", index, str(error))
                continue
            count, values = count + len(rows), values + sum(len(row.get("features") or ()) for row in rows)
            if count > MOST_ROWS or values > MOST_VALUES:
                raise _too_many(f"Events of a batch hold at most {MOST_ROWS:,} instances and {MOST_VALUES:,} values.")
            for row in rows:
                _add_request(kept, taken, here, "events", index, row)
        return self._handed_over(here, kept, taken)

    def _admitted(self, actor: Actor, name: str) -> _Here:
        with self._database.read() as session:
            now = self._database.now(session)
            row = named(session, Endpoint, name)
            where = {"environment": row.environment, "model": row.model, "endpoint": row.name}
            missing = NotFound("endpoint", name[:80])
            checks.require_now(session, actor, "inference_log.write", now=now, missing=missing, **where)
            rules = row_of(session, row.id)
            handling = handling_of(session, row.id, rules, self._key())
            return _Here(row.name, handling, rules.unit_header if rules is not None else cloudevents.UNIT, now, self._names)

    def _handed_over(self, here: _Here, kept: dict[Table, list[Row]], taken: Taken) -> Taken:
        rows = {table: found for table, found in kept.items() if found}
        if rows:
            self._spool.put(Batch(here.endpoint, rows, taken.values_left_out), here.now)
        return taken


def _too_many(says: str) -> Refusal:
    return Refusal(says, "Send several.", code="too-many-rows")


def _empty() -> dict[Table, list[Row]]:
    return {"requests": [], "parts": [], "outcomes": []}


def _add_request(kept: dict[Table, list[Row]], taken: Taken, here: _Here, which: List, index: int, row: Any) -> None:
    try:
        _refuse_received(row)
        table: Table = "parts" if is_part(row) else "requests"
        checked = (part_of if table == "parts" else request_of)(row, here.now)
    except Malformed as error:
        taken.reject(which, index, str(error))
        return
    treated = here.handling.request(checked)
    if treated is None:
        taken.leave_out(erased=here.handling.erases(checked.unit, checked.received_at))
        return
    kept[table].append(here.fitted(table, treated, taken))
    taken.requests += 1


def _add_outcome(kept: dict[Table, list[Row]], taken: Taken, here: _Here, index: int, row: Any) -> None:
    try:
        _refuse_received(row)
        checked, unit = owned_outcome_of(row, here.now)
    except Malformed as error:
        taken.reject("outcomes", index, str(error))
        return
    treated = here.handling.outcome(checked, unit)
    if treated is None:
        taken.leave_out(erased=here.handling.erases(unit, checked.received_at))
        return
    kept["outcomes"].append(here.fitted("outcomes", treated, taken))
    taken.outcomes += 1


def _refuse_received(row: Any) -> None:
    """When a row came is ours to say: of two rows with one id the later counts."""
    if not isinstance(row, Mapping):
        raise Malformed("the row is not a set of named fields")
    if "received_at" in row:
        raise Malformed("received_at is not for its sender to say")
