"""The watch over monitors, which the leader runs by its own timer: that one is late, fails or has nothing to look at is a
finding too, and ends when it looks again. It stands on rows alone, so that it works where no monitor does.

Objectives are watched in the same way: a budget that burns is a finding, and so is one of which nobody knows whether it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Endpoint
from backend.findings import sightings
from backend.findings.rows import Finding
from backend.findings.rules import LIVE, Cause, Sighting
from backend.metrics import queries as metrics
from backend.metrics import slo
from backend.metrics.rows import SloRow
from backend.metrics.slo import Judged
from backend.monitoring import rules
from backend.monitoring.needs import Watched, newest_slots, watched
from backend.monitoring.rows import CountedHour, CountingState, KeptThresholds, MonitorRun, MonitorScore
from backend.monitoring.rules import FAULTS, Fares, LastRun, RunState
from backend.policy.rules import Severity

MONITORS, OBJECTIVES = "the watch over monitors", "the watch over objectives"
"""What findings say of who found them."""
RUNS_KEPT, HOURS_KEPT, THRESHOLDS_KEPT = timedelta(days=400), timedelta(days=400), timedelta(days=60)
SLO_CLEAR_AFTER = timedelta(minutes=15)
SLO_NEW = timedelta(hours=1)
"""After a promise was made before it is told that nobody knows: the first hour has to be looked at."""
_SEVERITIES: Mapping[slo.Severity, Severity] = {"page": "critical", "ticket": "warning"}

log = structlog.get_logger()


def watch(database: Database) -> int:
    """Tells of every monitor that does not look as it should; ends what is over. How many there are of the former."""
    with database.read() as session:
        now = database.now(session)
        names = _names(session)
        faults = _faults(session, names, now)
        places = {*faults, *_told(session, MONITORS)}
    for endpoint in sorted(places & set(names.values())):
        with database.unit(SYSTEM) as tx:
            if tx.session.exec(select(Endpoint.id).where(Endpoint.name == endpoint)).first() is not None:
                sightings.looked(tx, MONITORS, faults.get(endpoint, ()), endpoint=endpoint)
    return sum(map(len, faults.values()))


def watch_objectives(database: Database) -> int:
    """Tells of every objective whose budget burns, or of which nobody knows; ends what is over. How many burn."""
    with database.read() as session:
        now = database.now(session)
        query = select(Endpoint.name).join(SloRow, col(SloRow.endpoint_id) == Endpoint.id)
        promised = sorted(session.exec(query))
        told = set(_told(session, OBJECTIVES))
        there = set(_names(session).values())
    burning = 0
    for endpoint in sorted({*promised, *told} & there):
        try:
            burning += _watch_objectives(database, endpoint, now, is_told=endpoint in told)
        except Exception as error:  # one endpoint's figures keep no other from being watched
            log.error("monitoring.objectives_not_watched", endpoint=endpoint, exc_info=error)
    return burning


def prune(database: Database) -> None:
    """Forgets runs, scores and counted hours that are older than anybody asks for, and thresholds that nobody uses."""
    with database.unit(SYSTEM) as tx:
        connection, now = tx.session.connection(), tx.now
        for statement in (
            sa.delete(MonitorScore).where(col(MonitorScore.slot) < now - RUNS_KEPT),
            sa.delete(MonitorRun).where(col(MonitorRun.slot) < now - RUNS_KEPT, col(MonitorRun.ended_at).is_not(None)),
            sa.delete(CountedHour).where(
                col(CountedHour.hour) < now - HOURS_KEPT, col(CountedHour.counted_at) < now - THRESHOLDS_KEPT
            ),
            sa.delete(KeptThresholds).where(col(KeptThresholds.used_at) < now - THRESHOLDS_KEPT),
        ):
            connection.execute(statement)


def standings(session: Session, monitors: Sequence[Watched], now: datetime) -> dict[str, Fares]:
    """How monitors fare, by their ids."""
    last = last_runs(session, [one.row.id for one in monitors])
    return {
        one.row.id: rules.fares(
            one.spec, paused=one.row.paused, begins=one.row.begins_at, last=last.get(one.row.id), now=now, set_at=one.row.set_at
        )
        for one in monitors
    }


def last_runs(session: Session, monitor_ids: Sequence[str]) -> dict[str, LastRun]:
    """Of each monitor the newest run that was judged, one that somebody asked for included."""
    found = dict[str, LastRun]()
    if not monitor_ids:
        return found
    planned = newest_slots(session, monitor_ids)
    newest = (
        select(MonitorRun.monitor_id, sa.func.max(col(MonitorRun.slot)).label("slot"))
        .where(col(MonitorRun.monitor_id).in_(monitor_ids), MonitorRun.state != "running")
        .group_by(MonitorRun.monitor_id)
        .subquery()
    )
    query = select(MonitorRun).join(
        newest, sa.and_(newest.c.monitor_id == MonitorRun.monitor_id, newest.c.slot == MonitorRun.slot)
    )
    for row in session.exec(query.options(load_only(MonitorRun.slot, MonitorRun.state, MonitorRun.why, MonitorRun.asked))):  # type: ignore[arg-type]  # columns
        state: RunState = row.state  # type: ignore[assignment]  # the table's CHECK says which words there are
        found[row.monitor_id] = LastRun(row.slot, state, row.why, row.asked, planned.get(row.monitor_id))
    return found


def _faults(session: Session, names: Mapping[str, str], now: datetime) -> dict[str, tuple[Sighting, ...]]:
    """Endpoint -> what is wrong with its monitors."""
    monitors = watched(session)
    problems = dict(session.exec(select(CountingState.endpoint_id, CountingState.problem)).all())
    found: dict[str, tuple[Sighting, ...]] = {}
    for one, stands in zip(monitors, standings(session, monitors, now).values(), strict=True):
        kind = FAULTS.get(stands.word)
        if kind is not None:
            endpoint = names[one.row.endpoint_id]
            sighting = _fault(one, endpoint, kind, stands, problems.get(one.row.endpoint_id))
            found[endpoint] = (*found.get(endpoint, ()), sighting)
    return found


def _fault(one: Watched, endpoint: str, kind: str, stands: Fares, problem: str | None) -> Sighting:
    """A warning whatever the monitor calls what it finds: that nobody looks is told unasked."""
    name = one.row.name
    says = {
        "monitor.late": f"Monitor {name} is late. {stands.says}",
        "monitor.failing": f"Monitor {name} fails: {stands.says}",
        "monitor.no-data": f"Monitor {name} has nothing to judge: {stands.says}",
    }[kind]
    evidence = {"monitor": name, "kind": one.row.kind, "since": stands.since, "counting": problem}
    told = {key: value for key, value in evidence.items() if value is not None}
    return Sighting(Cause(kind, endpoint, subject=name), "warning", says, MONITORS, told)


def _watch_objectives(database: Database, endpoint: str, now: datetime, *, is_told: bool) -> int:
    with database.read() as session:
        standing = metrics.standing(session, endpoint, now=now)
    is_new = standing is None or now - standing.set_at < SLO_NEW
    promises = standing.promises if standing is not None else ()
    found = [each for one in promises for each in _of_promise(endpoint, one, is_new=is_new)]
    if found or is_told:
        with database.unit(SYSTEM) as tx:
            sightings.looked(tx, OBJECTIVES, found, endpoint=endpoint)
    return sum(one.cause.kind == "slo.burn" for one in found)


def _of_promise(endpoint: str, one: metrics.Promise, *, is_new: bool) -> Iterable[Sighting]:
    """A budget that burns is one finding, as severe as its fastest alert; that nobody looks any more is another one.

    Longer windows than the first are blind for days after a pause: they say what the first one said by then.
    """
    burning = [each for each in one.alerts if each.verdict == "burning"]
    name = one.objective.name
    if burning:
        worst = next((each for each in burning if each.alert.severity == "page"), burning[0])
        yield Sighting(
            Cause("slo.burn", endpoint, subject=name),
            _SEVERITIES[worst.alert.severity],
            f"{name[:1].upper()}{name[1:]}: {worst.reason}",
            OBJECTIVES,
            _evidence(one, worst),
            clear_after=SLO_CLEAR_AFTER,
        )
    blind = one.alerts[0] if one.alerts and one.alerts[0].verdict == "unknown" else None
    if blind is not None and (blind.long.blind or blind.short.blind) and not is_new:
        says = f"Nobody knows how {name} stands: {blind.reason[:1].lower()}{blind.reason[1:]}"
        yield Sighting(Cause("slo.unknown", endpoint, subject=name), "warning", says, OBJECTIVES, _evidence(one, blind))


def _evidence(one: metrics.Promise, worst: Judged) -> dict[str, object]:
    return {
        "objective": one.objective.name,
        "target": one.objective.target,
        "burn_rate": worst.long.rate,
        "alarms_at": worst.factor,
        "budget_left": one.budget.left,
        "covered": one.budget.covered,
    }


def _names(session: Session) -> dict[str, str]:
    """Endpoints' ids -> names."""
    return dict(session.exec(select(Endpoint.id, Endpoint.name)).all())


def _told(session: Session, found_by: str) -> list[str]:
    """Endpoints with findings of this watch that are not over."""
    query = select(Finding.endpoint).where(Finding.found_by == found_by, col(Finding.state).in_(LIVE)).distinct()
    return [one for one in session.exec(query) if one is not None]
