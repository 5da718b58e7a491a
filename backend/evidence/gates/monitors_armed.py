"""The gate that asks whether anybody would notice: monitors that the policy asks for look, and an alert reached somebody."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.rows import Identity
from backend.delivery.plan import Plan
from backend.delivery.rows import Endpoint
from backend.evidence.gates.live import endpoint_of
from backend.evidence.port import GateContext, GateResult, Point, Progress
from backend.findings.rows import Finding
from backend.monitoring import needs, watch
from backend.monitoring.live import place_of
from backend.notify.audience import MAIL
from backend.notify.rows import Message, Route
from backend.policy import service as policy
from backend.policy.rules import MonitorRule

ANEW = timedelta(minutes=15)
"""A test that was fired within that time is not fired again: checks that are repeated are no flood of messages."""
OPENED = "finding.opened"
"""The one event of a test that proves anything."""
_PAUSE = 0.5


@dataclass(frozen=True)
class _Tests:
    """Tests of an endpoint's alarm.

    Args:
        arrived: when the newest one was fired of which a message arrived.
        newest: when the newest one was fired; `states`: of its messages, as far as they are made.
    """

    arrived: datetime | None
    newest: datetime | None
    states: frozenset[str] = frozenset()

    def is_valid(self, rule: MonitorRule, now: datetime) -> bool:
        """Whether one arrived lately enough."""
        return self.arrived is not None and now - self.arrived <= timedelta(seconds=rule.tested_within_seconds)


class MonitorsArmedGate:
    """Monitors of the kinds that are asked for, each looked at its latest window; and a test of the alarm that arrived."""

    name: ClassVar[str] = "monitors_armed"
    title: ClassVar[str] = "Monitors and alerts armed"
    hard: ClassVar[bool] = False
    valid_seconds: ClassVar[int] = 3_600
    limit_seconds: ClassVar[int] = 120
    limit_bytes: ClassVar[int] = 4 << 30
    patience: ClassVar[float] = 60.0
    """Seconds that a message of a test is waited for: it leaves by another part of the worker, at its own pace."""

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def run(self, plan: Plan, progress: Progress) -> GateResult:
        """Reads which monitors look; and where no test of the alarm arrived lately, fires one, and sees what becomes of it."""
        progress(0.1, "reading which monitors look")
        with self._context.database.read() as session:
            now, endpoint = self._context.database.now(session), endpoint_of(session, plan)
            rule = policy.in_force(session, endpoint.environment).policy.monitors
            looking = tuple(_looking(session, endpoint, rule.kinds, now))
            tested = _tests(session, endpoint.id)
        if not tested.is_valid(rule, now):
            tested = self._tried(endpoint, rule, tested, now, progress)
        points = (*looking, _told(endpoint, rule, tested, now))
        bad = [one.says for one in points if not one.ok]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            return GateResult("failed", f"{bad[0]}{more}"[:1_000], points)
        return GateResult("passed", "Monitors look, and an alert of theirs reached somebody.", points)

    def _tried(self, endpoint: Endpoint, rule: MonitorRule, before: _Tests, now: datetime, progress: Progress) -> _Tests:
        """What is known of tests after one was fired, or after one that was fired just now was waited for."""
        if before.newest is None or now - before.newest > ANEW:
            progress(0.4, "testing the alarm")
            self._context.alarm(endpoint.name)
        progress(0.5, "waiting until a message of the test has left")
        ends = time.monotonic() + self.patience
        while True:
            with self._context.database.read() as session:
                found = _tests(session, endpoint.id)
            is_over = found.is_valid(rule, now) or (found.states and "waiting" not in found.states)
            if is_over or time.monotonic() >= ends:
                return found
            time.sleep(_PAUSE)


def _looking(session: Session, endpoint: Endpoint, kinds: Sequence[str], now: datetime) -> Iterator[Point]:
    """Of each kind one that looked at its latest window, whatever it saw there: findings are another gate's."""
    monitors = needs.watched(session, [endpoint.id], paused=True)
    stands = watch.standings(session, monitors, now)
    is_empty = not place_of(session, endpoint).live
    for kind in kinds:
        mine = [one for one in monitors if one.spec.kind == kind]
        if not mine:
            yield Point(False, f"No monitor of {kind} watches {endpoint.name}: set one.", {"kind": kind})
            continue
        well = next((one for one in mine if stands[one.row.id].word in ("ok", "alarm")), None)
        awake = next((one for one in mine if not one.row.paused), None)
        if well is not None:
            yield Point(True, f"Monitor {well.row.name} ({kind}) looked at its latest window.", {"kind": kind})
        elif (idle := next((one for one in mine if stands[one.row.id].word == "idle"), None)) is not None:
            says = f"Monitor {idle.row.name} ({kind}) looks once a version answers beside the champion."
            yield Point(True, says, {"kind": kind})
        elif is_empty and awake is not None:
            yield Point(True, f"Monitor {awake.row.name} ({kind}) looks once something answers here.", {"kind": kind})
        else:
            told = stands[mine[0].row.id]
            says = f"Monitor {mine[0].row.name} ({kind}) does not look as it should: {told.says}"
            yield Point(False, says[:500], {"kind": kind, "word": told.word})


def _tests(session: Session, endpoint_id: str) -> _Tests:
    """Only that it was opened counts, by a route that is still there or to somebody who still is: whatever else was sent of a
    test, or was sent again, proves nothing."""
    fired = select(Finding).where(Finding.endpoint_id == endpoint_id, col(Finding.test).is_(True))
    newest = session.exec(fired.order_by(col(Finding.opened_at).desc()).limit(1)).first()
    sent = (
        select(Finding.opened_at)
        .join(Message, sa.and_(col(Message.subject_id) == Finding.id, col(Message.subject_kind) == Finding.__subject__))
        .outerjoin(Route, col(Route.id) == Message.route_key)
        .outerjoin(Identity, col(Identity.id) == Message.identity_id)
        .where(
            Finding.endpoint_id == endpoint_id,
            col(Finding.test).is_(True),
            Message.event == OPENED,
            Message.state == "sent",
            sa.or_(sa.and_(col(Message.route_key) == MAIL, col(Identity.active)), col(Route.state) == "active"),
        )
    )
    arrived = session.exec(sent.order_by(col(Finding.opened_at).desc()).limit(1)).first()
    if newest is None:
        return _Tests(arrived, None)
    states = session.exec(select(Message.state).where(Message.subject_id == newest.id, Message.event == OPENED)).all()
    return _Tests(arrived, newest.opened_at, frozenset(states))


def _told(endpoint: Endpoint, rule: MonitorRule, tests: _Tests, now: datetime) -> Point:
    """Whether a test of the alarm arrived lately enough, as it stands after one was fired."""
    if tests.arrived is not None:
        until = tests.arrived + timedelta(seconds=rule.tested_within_seconds)
        facts = {"tested_at": _at(tests.arrived), "valid_until": _at(until)}
        if tests.is_valid(rule, now):
            return Point(True, f"A test of its alarm of {tests.arrived:%Y-%m-%d %H:%M} UTC reached somebody.", facts)
    else:
        facts = {}
    if tests.newest is not None and "waiting" in tests.states:
        says = f"A test of its alarm was fired at {tests.newest:%Y-%m-%d %H:%M} UTC, and no message of it has left yet"
        remedy = "look at what becomes of it under Findings, with tests shown; then check again."
    else:
        says = "A test of its alarm has just reached nobody"
        remedy = f"set up a route or mail, try it with `countersign finding test {endpoint.name}`, then check again."
    return Point(False, f"{says}: {remedy}", {**facts, "fired_at": _at(tests.newest)} if tests.newest is not None else facts)


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
