"""The worker's looks at a comparison: counted and judged outside any unit, stored with what follows in one.

A look that fails leaves the newest one as it was, which gets stale; what kept it is told, and the next one tries again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import CountersignError
from backend.core.unit import Unit, assert_outside_unit
from backend.core.work import Claim, LeaseLost
from backend.delivery.comparison import Comparison
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.rows import Endpoint, Generation
from backend.experiments.comparing import counting, judging, queries, telling
from backend.experiments.comparing.counts import Asked, Stratum
from backend.experiments.comparing.judging import Before, Look
from backend.experiments.comparing.rows import ComparisonLook, ComparisonRow, ComparisonState
from backend.experiments.comparing.standing import Kept
from backend.experiments.comparing.thinning import superfluous
from backend.inference_log.service import InferenceLog

SOONEST = timedelta(seconds=5)
TIMES_ITS_COST = 10
SLOWER_BY = 2_000
"""A look waits for a part in so many of how long the comparison runs: after a day 43 s."""
AGAIN = timedelta(seconds=15)
_PROBLEM_CHARACTERS = 300

log = structlog.get_logger()


@dataclass(frozen=True)
class Opened:
    """What one look begins with."""

    row: ComparisonRow
    asked: Asked
    before: Before


class Comparing:
    """The handler of comparisons.

    Args:
        log: read, never written.
        judged: joins the unit in which a look is stored, for each authorization, when a gate may go on or has to stop.
    """

    def __init__(self, database: Database, log: InferenceLog, *, judged: Callable[[Unit, str], None] = lambda _tx, _id: None):
        self._database, self._log, self._judged = database, log, judged

    def handle(self, claim: Claim) -> None:
        """One look, and says when the next one is due."""
        assert_outside_unit("comparing arms")
        with self._database.read() as session:
            opened = open_look(session, claim.key, self._database.now(session))
        if opened is None:
            self._over(claim)
            return
        began = time.monotonic()
        try:
            counts = counting.count(self._log, opened.asked)
            look = judging.judge(counts, opened.row.spec["arms"], opened.before) if counts is not None else None
            self._store(claim, opened, look, time.monotonic() - began)
        except LeaseLost:
            raise
        except CountersignError as problem:
            self._failed(claim, opened, str(problem))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            number = secrets.token_hex(4)
            log.error("comparison.failed", comparison=claim.key, error=number, exc_info=error)
            self._failed(claim, opened, f"{type(error).__name__}; the worker's log has it under error {number}.")

    def _over(self, claim: Claim) -> None:
        with self._database.unit(SYSTEM) as tx:
            row = tx.session.get(ComparisonRow, claim.key)
            if row is not None:
                telling.over(tx, row)
            work.finish(tx, claim, next_due=None)

    def _store(self, claim: Claim, opened: Opened, look: Look | None, took: float) -> None:
        with self._database.unit(SYSTEM) as tx:
            work.fence(tx, claim)
            row = tx.get(ComparisonRow, opened.row.id, lock=True)
            state = tx.get(ComparisonState, row.id)
            if row.state != "running" or row.revision != opened.row.revision:
                work.finish(tx, claim, next_due=tx.now)  # another plan came meanwhile: what was seen is not of it
                return
            before = state.standing
            state.looked_at, state.took_seconds, state.problem, state.problem_since = opened.asked.now, took, None, None
            kept = look.kept if look is not None else _nothing(opened)
            state.standing = kept.model_dump(mode="json")
            if look is not None:
                state.failures, state.spent = look.failures, look.spent
                _keep(tx, row, look)
                _decide(tx, row, look)
            telling.tell(
                tx, row, opened.asked.endpoint, kept, look.figures.problems if look is not None else (), opened.asked.now
            )
            if look is not None or before != state.standing:
                self._judged(tx, row.authorizations[-1])
            work.finish(tx, claim, next_due=tx.now + pause(row.began_at, tx.now, took))

    def _failed(self, claim: Claim, opened: Opened, problem: str) -> None:
        with self._database.unit(SYSTEM) as tx:
            work.fence(tx, claim)
            row, state = tx.get(ComparisonRow, opened.row.id), tx.get(ComparisonState, opened.row.id)
            state.problem, state.problem_since = problem[:_PROBLEM_CHARACTERS], state.problem_since or tx.now
            telling.tell_stale(tx, row, opened.asked.endpoint, queries.looked(tx.session, row))
            self._judged(tx, row.authorizations[-1])
            work.finish(tx, claim, next_due=tx.now + AGAIN)


def pause(began_at: datetime, now: datetime, took: float) -> timedelta:
    """How long after a look the next one is: longer the more it cost and the longer the comparison runs."""
    return max(SOONEST, timedelta(seconds=TIMES_ITS_COST * took), (now - began_at) / SLOWER_BY)


def keys(session: Session) -> list[str]:
    """Comparisons that run: for the worker's resync."""
    return list(session.exec(select(ComparisonRow.id).where(ComparisonRow.state == "running")))


def open_look(session: Session, comparison_id: str, now: datetime) -> Opened | None:
    row = session.get(ComparisonRow, comparison_id)
    if row is None or row.state != "running":
        return None
    endpoint = session.get_one(Endpoint, row.endpoint_id)
    state = session.get(ComparisonState, row.id)
    arms = (row.control, *row.spec["treatments"])
    asked = Asked(
        endpoint.name,
        Comparison.model_validate(row.spec["comparison"]),
        arms,
        strata(session, row, arms),
        row.began_at,
        now,
    )
    before = Before(state.failures, state.spent, row.facts_kept) if state is not None else Before(facts=row.facts_kept)
    session.expunge(row)
    return Opened(row, asked, before)


def strata(session: Session, row: ComparisonRow, arms: tuple[str, ...]) -> tuple[Stratum, ...]:
    """The generations of a comparison's authorizations, in order, with the shares of its arms."""
    query = select(Generation).where(
        Generation.endpoint_id == row.endpoint_id,
        col(Generation.authorization_id).in_(row.authorizations),
        col(Generation.reason).in_(("start", "ramp")),
    )
    found = []
    for one in session.exec(query.order_by(col(Generation.number))).all():
        desired = DesiredEndpoint.model_validate(one.desired)
        shares = {arm.name: arm.buckets for arm in desired.arms}
        found.append(Stratum(one.number, {arm: shares.get(arm, 0) for arm in arms}, one.admitted_at))
    return tuple(found)


def _nothing(opened: Opened) -> Kept:
    """A look at a log that has nothing of these generations."""
    asked = opened.asked.comparison
    newest = opened.asked.strata[-1].admitted_at if opened.asked.strata else opened.asked.began_at
    since = (opened.asked.now - newest).total_seconds()
    if since <= asked.no_traffic_seconds:
        return Kept(reason="No request of these arms is in the log yet.")
    why = f"No request of these arms is in the log for {since:,.0f} s."
    if asked.on.no_traffic == "warn":
        return Kept(reason=why, warnings=(why,))
    return Kept(action=asked.on.no_traffic, reason=why)


def _keep(tx: Unit, row: ComparisonRow, look: Look) -> None:
    """Adds a look; those before it become smaller and fewer."""
    figures = look.figures
    key = (row.id, figures.at)
    if tx.session.get(ComparisonLook, key) is not None:
        return
    query = select(ComparisonLook).where(ComparisonLook.comparison_id == row.id)
    newest = tx.session.exec(query.order_by(col(ComparisonLook.at).desc()).limit(1)).first()
    if newest is not None and newest.figures.get("exposure"):
        newest.figures = {**newest.figures, "exposure": []}
    tx.add(
        ComparisonLook(
            comparison_id=row.id,
            endpoint_id=row.endpoint_id,
            at=figures.at,
            generation=figures.generation,
            figures=figures.to_json(),
        )
    )
    tx.session.flush()
    times = tx.session.exec(select(ComparisonLook.at).where(ComparisonLook.comparison_id == row.id).order_by("at")).all()
    for at in superfluous(times):
        tx.session.delete(tx.session.get_one(ComparisonLook, (row.id, at)))


def _decide(tx: Unit, row: ComparisonRow, look: Look) -> None:
    """Writes a decision, with its row of the ledger, where it or a verdict changed."""
    verdicts = {one.key: one.verdict for one in look.figures.guardrails if one.stops or one.on_fail == "warn"}
    decided = look.figures.decision, look.figures.person
    if (decided, verdicts, look.facts) == ((row.decision, row.person), row.verdicts, row.facts_kept):
        return
    before = row.facts("decision", "person", "verdicts", "facts_kept")
    row.decision, row.person, row.reasons = look.figures.decision, look.figures.person, list(look.figures.reasons)
    row.verdicts, row.facts_kept = dict(verdicts), look.facts
    after = row.facts("decision", "person", "reasons", "verdicts", "facts_kept")
    tx.record("comparison.decide", row, before=before, after=after)
