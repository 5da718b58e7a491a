"""What the worker does about inference logs by itself: rows of erased units, and hours that are older than is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Endpoint
from backend.inference_log import handling, horizons
from backend.inference_log.erasing import Going
from backend.inference_log.layout import TABLES, Table
from backend.inference_log.rows import LogErasure, LogRules
from backend.inference_log.service import InferenceLog

SETTLED = timedelta(minutes=15)
"""An erasure is over no sooner: what was accepted before it may still have lain in a spool."""
log = structlog.get_logger()


class LogTending:
    """One run over all endpoints. The log is never touched inside a unit of work.

    Args:
        database: where rules and erasures are.
        inference_log: what is tended.
        key: of this installation's pseudonyms.
    """

    def __init__(self, database: Database, inference_log: InferenceLog, key: Callable[[], bytes]) -> None:
        self._database, self._log, self._key = database, inference_log, key

    def tend(self) -> None:
        """Erases and expires what is due. ExternalFailure where the log cannot be reached; it is tried again the next time."""
        with self._database.read() as session:
            now, erasing, kept = self._database.now(session), _open(session), _kept(session)
        for name, erasure in erasing:
            self._erase(name, erasure)
        for endpoint_id, name, days in kept:
            self._expire(endpoint_id, name, days, now)

    def _erase(self, endpoint: str, erasure: LogErasure) -> None:
        done = self._log.erase(endpoint, _going(self._key(), erasure))
        log.info("inference_log.erasing", endpoint=endpoint, removed=done.removed, clean=done.is_clean)
        with self._database.unit(SYSTEM) as tx:
            row = tx.session.get(LogErasure, erasure.id, with_for_update=True)
            over = done.is_clean and row is not None and row.asked_at + SETTLED <= tx.now
            if row is None or row.state != "asked" or not (over or done.removed):
                return
            row.removed += done.removed
            if over:
                row.state, row.done_at = "done", tx.now
            tx.record("inference_log.erased", row, after=row.facts("state", "removed"))

    def _expire(self, endpoint_id: str, name: str, days: Mapping[str, int], now: datetime) -> None:
        ends = {table: now - timedelta(days=days[table]) for table in _named(days)}
        ends = {table: end for table, end in ends.items() if self._log.holds(table, name, end)}
        if not ends:
            return
        with self._database.unit(SYSTEM) as tx:  # first: whoever counts an hour meanwhile has to know that it is not whole
            horizons.move(tx, endpoint_id, ends)
        gone = {table: self._log.expire(table, name, end) for table, end in ends.items()}
        if not any(gone.values()):
            return
        with self._database.unit(SYSTEM) as tx:
            told = {"endpoint": name, "hours": {table: count for table, count in gone.items() if count}}
            tx.record("inference_log.expire", ("inference_log", endpoint_id), after=told)


def _open(session: Session) -> list[tuple[str, LogErasure]]:
    query = select(Endpoint.name, LogErasure).join(LogErasure, col(LogErasure.endpoint_id) == Endpoint.id)
    return list(session.exec(query.where(LogErasure.state == "asked").order_by(col(LogErasure.asked_at))))


def _kept(session: Session) -> list[tuple[str, str, dict[str, int]]]:
    query = select(Endpoint.id, Endpoint.name, LogRules).join(LogRules, col(LogRules.endpoint_id) == Endpoint.id)
    return [(identifier, name, _with_copies(row.kept_days)) for identifier, name, row in session.exec(query) if row.kept_days]


def _with_copies(days: Mapping[str, int]) -> dict[str, int]:
    """Answers to copies are kept as long as requests, where nothing is said of them."""
    return {**({"copies": days["requests"]} if "requests" in days else {}), **days}


def _going(key: bytes, erasure: LogErasure) -> Going:
    until = None if erasure.later else erasure.asked_at

    def going(units: Iterable[str]) -> dict[str, datetime | None]:
        return {unit: until for unit in units if erasure.unit in (unit, handling.pseudonym(key, unit))}

    return going


def _named(days: Mapping[str, int]) -> list[Table]:
    return [table for table in TABLES if table in days]
