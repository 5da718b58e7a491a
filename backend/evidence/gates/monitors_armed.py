"""The gate that asks whether anybody would notice: monitors that the policy asks for look, and an alert reached somebody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from sqlmodel import Session, col, select

from backend.delivery.plan import Plan
from backend.delivery.rows import Endpoint
from backend.evidence.gates.live import endpoint_of
from backend.evidence.port import GateContext, GateResult, Point, Progress
from backend.findings.rows import Finding
from backend.monitoring import needs, watch
from backend.monitoring.live import place_of
from backend.notify.rows import Message
from backend.policy import service as policy
from backend.policy.rules import MonitorRule


class MonitorsArmedGate:
    """Monitors of the kinds that are asked for, each looked at its latest window; and a test of the alarm that arrived."""

    name: ClassVar[str] = "monitors_armed"
    title: ClassVar[str] = "Monitors and alerts armed"
    hard: ClassVar[bool] = False
    valid_seconds: ClassVar[int] = 3_600
    limit_seconds: ClassVar[int] = 60
    limit_bytes: ClassVar[int] = 4 << 30

    def __init__(self, context: GateContext) -> None:
        self._context = context

    def run(self, plan: Plan, progress: Progress) -> GateResult:
        """Reads rows only: the alarm is tried by whoever runs the endpoint, and what became of that is on record."""
        progress(0.1, "reading which monitors look")
        with self._context.database.read() as session:
            now, endpoint = self._context.database.now(session), endpoint_of(session, plan)
            rule = policy.in_force(session, endpoint.environment).policy.monitors
            points = (*_looking(session, endpoint, rule.kinds, now), _tested(session, endpoint, rule, now))
        bad = [one.says for one in points if not one.ok]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            return GateResult("failed", f"{bad[0]}{more}"[:1_000], points)
        return GateResult("passed", "Monitors look, and an alert of theirs reached somebody.", points)


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
        elif is_empty and awake is not None:
            yield Point(True, f"Monitor {awake.row.name} ({kind}) looks once something answers here.", {"kind": kind})
        else:
            told = stands[mine[0].row.id]
            says = f"Monitor {mine[0].row.name} ({kind}) does not look as it should: {told.says}"
            yield Point(False, says[:500], {"kind": kind, "word": told.word})


def _tested(session: Session, endpoint: Endpoint, rule: MonitorRule, now: datetime) -> Point:
    """The newest test of the endpoint's alarm whose message was sent: to a route that took it, or by mail."""
    query = (
        select(Message.settled_at)
        .join(Finding, col(Finding.id) == Message.subject_id)
        .where(
            Message.subject_kind == Finding.__subject__,
            Finding.endpoint_id == endpoint.id,
            col(Finding.test).is_(True),
            Message.state == "sent",
            col(Message.settled_at).is_not(None),
        )
    )
    newest = session.exec(query.order_by(col(Message.settled_at).desc()).limit(1)).first()
    within = timedelta(seconds=rule.tested_within_seconds)
    remedy = f"run `countersign finding test {endpoint.name}`, and set up a route where nobody is told."
    if newest is None:
        return Point(False, f"No test of its alarm has reached anybody: {remedy}")
    facts = {"tested_at": newest.isoformat(timespec="seconds"), "valid_until": (newest + within).isoformat(timespec="seconds")}
    if now - newest > within:
        return Point(False, f"The latest test of its alarm reached somebody at {newest:%Y-%m-%d %H:%M} UTC: {remedy}", facts)
    return Point(True, f"A test of its alarm reached somebody at {newest:%Y-%m-%d %H:%M} UTC.", facts)
