"""What the worker's timer does about findings: ends snoozes, calls the next people, and follows who owns what.

Each finding has a unit of its own, which decides anew under the row's lock: two workers, or one that was killed in between,
take no step twice and leave none out. The messages are read off the ledger's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from backend.access.rows import Ownership
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.unit import Unit
from backend.delivery.rows import Endpoint
from backend.findings import rules
from backend.findings.moves import facts, move, record
from backend.findings.rows import Finding
from backend.policy import service as policy
from backend.policy.rows import Environment
from backend.policy.rules import EscalationStep

_Act = Callable[[Unit, Finding], bool]
log = structlog.get_logger()


@dataclass(frozen=True)
class Tended:
    """How many findings were woken, escalated, given to another team, and ended because their endpoint is gone."""

    woken: int = 0
    escalated: int = 0
    followed: int = 0
    gone: int = 0


@dataclass(frozen=True)
class _Due:
    """Ids of what seems due, by what is to be done."""

    wake: Sequence[str]
    escalate: Sequence[str]
    follow: Sequence[str]
    gone: Sequence[str]


def tend(database: Database) -> Tended:
    """Does everything that is due now. Where nothing is, it only reads."""
    with database.read() as session:
        due = _due(session, database)
    done = {
        "woken": sum(_each(database, one, _wake) for one in due.wake),
        "escalated": sum(_each(database, one, _escalate) for one in due.escalate),
        "followed": sum(_each(database, one, _follow) for one in due.follow),
        "gone": sum(_each(database, one, _gone) for one in due.gone),
    }
    if any(done.values()):
        log.info("findings.tended", **done)
    return Tended(**done)


def _due(session: Session, database: Database) -> _Due:
    now = database.now(session)
    query = select(Finding).where(col(Finding.state).in_(rules.LIVE))
    live = session.exec(query.options(defer(Finding.first_evidence))).all()  # type: ignore[arg-type]  # a column
    named = {one.endpoint_id for one in live if one.endpoint_id is not None}
    there = set(session.exec(select(Endpoint.id).where(col(Endpoint.id).in_(named)))) if named else set()
    steps, owners = _steps(session), _owners(session, live)
    return _Due(
        wake=[one.id for one in live if one.snoozed_until is not None and one.snoozed_until <= now],
        escalate=[one.id for one in live if _step(one, steps.get(one.environment or "", ()), now) is not None],
        follow=[one.id for one in live if not one.assigned and _owner(one, owners) != one.owner_team_id],
        gone=[one.id for one in live if one.endpoint_id is not None and one.endpoint_id not in there],
    )


def _each(database: Database, finding_id: str, act: _Act) -> bool:
    """One finding in one unit. What fails for one keeps no other from being tended."""
    try:
        with database.unit(SYSTEM) as tx:
            row = tx.get(Finding, finding_id, lock=True)
            return row.state in rules.LIVE and act(tx, row)
    except Exception as error:
        log.error("findings.not_tended", finding=finding_id, exc_info=error)
        return False


def _wake(tx: Unit, row: Finding) -> bool:
    if row.snoozed_until is None or row.snoozed_until > tx.now:
        return False
    move(tx, row, "wake", reason="Its snooze is over.")
    return True


def _escalate(tx: Unit, row: Finding) -> bool:
    due = _step(row, _steps(tx.session).get(row.environment or "", ()), tx.now)
    if due is None:
        return False
    before = facts(row)
    row.escalated, row.severity = due.number + 1, rules.raised(row.severity, due.step.raise_to)
    record(tx, row, "finding.escalate", before, tell=due.step.tell, step=due.number)
    return True


def _follow(tx: Unit, row: Finding) -> bool:
    owner = _owner(row, _owners(tx.session, [row]))
    if row.assigned or owner == row.owner_team_id:
        return False
    before = facts(row)
    row.owner_team_id = owner
    record(tx, row, "finding.follow_owner", before)
    return True


def _gone(tx: Unit, row: Finding) -> bool:
    if row.endpoint_id is None or tx.session.get(Endpoint, row.endpoint_id) is not None:
        return False
    move(tx, row, "clear", reason="Its endpoint is not there any more.", outcome=rules.GONE)
    return True


def _step(row: Finding, steps: Sequence[EscalationStep], now: datetime) -> rules.Due | None:
    if row.test:
        return None
    return rules.escalation_due(
        steps, state=row.state, severity=row.severity, since=row.open_since, taken=row.escalated, now=now
    )


def _steps(session: Session) -> Mapping[str, Sequence[EscalationStep]]:
    names = session.exec(select(Environment.id)).all()
    return {name: policy.in_force(session, name).policy.findings.escalation for name in names}


def _owners(session: Session, rows: Sequence[Finding]) -> Mapping[str, str]:
    keys = {f"endpoint/{one.endpoint}" for one in rows if one.endpoint} | {f"model/{one.model}" for one in rows}
    query = select(Ownership.id, Ownership.team_id).where(col(Ownership.id).in_(keys))
    return dict(session.exec(query).all()) if keys else {}


def _owner(row: Finding, owners: Mapping[str, str]) -> str | None:
    return owners.get(f"endpoint/{row.endpoint}") or owners.get(f"model/{row.model}")
