"""Commands on window reports: asking for one, opening it, taking it away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select

from backend.access.checks import require
from backend.access.data_sets import require_data_set
from backend.core import work
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.window_reports import page, wire
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import MOST_UNFINISHED, UNFINISHED, Asked, check
from backend.window_reports.store import ReportStore

KIND = "window_report"
"""Of the worker's items; the key is the report's id."""


@dataclass(frozen=True)
class Opened:
    """A report's page, and the policy that it has to be served with."""

    page: bytes
    policy: str
    digest: str


class WindowReports:
    """Each command takes a grant of the data set `requests/ENDPOINT`: a report shows rows, if few of them.

    Args:
        database: where they stand.
        store: where their pages lie.
    """

    def __init__(self, database: Database, store: ReportStore) -> None:
        self._database, self._store = database, store

    def ask(self, actor: Actor, endpoint: str, asked: Asked) -> WindowReport:
        """Has a report made by the worker. That rows are read for it is in the ledger from here on.

        Refusal codes: not-allowed, not-found, data-set, too-many, and those of `rules.check`.
        """
        with self._database.unit(actor) as tx:
            place = _place(tx, actor, endpoint)
            check(asked, tx.now)
            tx.alone(f"window reports {place.id}")
            refuse_too_many(tx, place)
            row = WindowReport(
                id=tx.new_id("wrp"),
                endpoint_id=place.id,
                endpoint=place.name,
                asked=wire.told(asked),
                asked_by=actor.id,
                asked_at=tx.now,
            )
            require_data_set(tx, actor, f"requests/{place.name}", report=row.id, **_spans(asked))
            tx.add(row)
            tx.record("window_report.ask", row, after=row.facts("endpoint", "asked"))
            work.wake(tx, KIND, row.id)
            return row

    def open(self, actor: Actor, endpoint: str, report: str) -> Opened:
        """A report's page. Each opening is in the ledger before anything is shown.

        Refusal codes: not-allowed, not-found, data-set, not-made, report-damaged.
        """
        with self._database.unit(actor) as tx:
            place = _place(tx, actor, endpoint)
            row = _there(tx, place, report)
            require_data_set(tx, actor, f"requests/{place.name}", report=row.id)
            if row.digest is None:
                remedy = row.says or "Wait until it is made, then open it."
                raise Refusal(f"This report is {row.state}; there is nothing to open.", remedy, code="not-made")
            digest, scripts = row.digest, tuple(row.scripts)
        return Opened(self._store.read(digest), page.served(scripts), digest)

    def remove(self, actor: Actor, endpoint: str, report: str) -> None:
        """Takes a report away, also one that is still being made. The ledger keeps that there was one."""
        with self._database.unit(actor) as tx:
            place = _place(tx, actor, endpoint)
            row = _there(tx, place, report, lock=True)
            require_data_set(tx, actor, f"requests/{place.name}", report=row.id)
            digest = taken_away(tx, row, "asked for")
        if digest is not None:
            self._store.remove(digest)


def taken_away(tx: Unit, row: WindowReport, why: str) -> str | None:
    """Joins: the row goes. The digest of its page, which is removed after the unit; what a crash leaves is swept later."""
    tx.record("window_report.remove", row, before=row.facts("endpoint", "state", "digest"), after={"reason": why})
    tx.session.delete(row)
    return row.digest


def _place(tx: Unit, actor: Actor, endpoint: str) -> Endpoint:
    place = named(tx.session, Endpoint, endpoint)
    where = {"environment": place.environment, "model": place.model, "endpoint": place.name}
    require(tx, actor, "recorded.read", missing=NotFound("endpoint", endpoint[:80]), **where)
    return place


def _there(tx: Unit, place: Endpoint, report: str, *, lock: bool = False) -> WindowReport:
    row = tx.session.get(WindowReport, report, with_for_update=lock or None, populate_existing=lock)
    if row is None or row.endpoint_id != place.id:
        raise NotFound("window report", report[:60], "Look at the list of reports; old ones are removed.")
    return row


def refuse_too_many(tx: Unit, place: Endpoint) -> None:
    """Refusal `too-many`."""
    waiting = select(sa.func.count()).where(col(WindowReport.endpoint_id) == place.id, col(WindowReport.state).in_(UNFINISHED))
    if tx.session.exec(waiting).one() >= MOST_UNFINISHED:
        raise Refusal(
            f"{place.name} has {MOST_UNFINISHED} reports that are still to be made.",
            "Wait for one of them, or remove it.",
            code="too-many",
        )


def _spans(asked: Asked) -> dict[str, Any]:
    told = wire.told(asked)
    return {"current": told["current"], "reference": told["reference"], "limit": asked.rows}
