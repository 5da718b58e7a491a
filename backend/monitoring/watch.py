"""The watch over monitors, which the leader runs by its own timer: that one is late, fails or has nothing to look at is a
finding too, and ends when it looks again. It stands on rows alone, so that it works where no monitor does.

Objectives are watched in the same way: a budget that burns is a finding, and so is one of which nobody knows whether it does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, select

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery.rows import Endpoint
from backend.findings import sightings
from backend.findings.rows import Finding, FindingSight
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

BURN, UNKNOWN = "slo.burn", "slo.unknown"
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
        burnt = _burnt(session, endpoint) if is_told else {}
    is_new = standing is None or now - standing.set_at < SLO_NEW
    looks = [_look(endpoint, one, burnt, is_new=is_new) for one in (standing.promises if standing is not None else ())]
    found = [each for one in looks for each in one.seen]
    if found or is_told:
        unknown = [each for one in looks for each in one.unknown]
        with database.unit(SYSTEM) as tx:
            sightings.looked(tx, OBJECTIVES, found, endpoint=endpoint, unknown=unknown)
    return sum(one.cause.kind == BURN for one in found)


@dataclass(frozen=True)
class _Look:
    """What one look at a promise came to. `unknown`: (kind, subject) of what it could neither see nor rule out."""

    seen: tuple[Sighting, ...]
    unknown: tuple[tuple[str, str], ...]


def _look(endpoint: str, one: metrics.Promise, burnt: Mapping[str, Collection[str] | None], *, is_new: bool) -> _Look:
    """A budget that burns is one finding, as severe as its fastest alert; that nobody looks any more is another one.

    An alert that burned is over once its short window is known to be below what alarms: while that is unknown, nobody knows
    whether it burns on. Alerts that did not burn keep no finding, since of long windows little is known for days after a pause.

    Args:
        burnt: objective -> the long windows of the alerts that burned when last seen; None for all that there are.
    """
    name = one.objective.name
    before = burnt.get(name, ())
    burning = [each for each in one.alerts if each.verdict == "burning"]
    burnt_before = [each for each in one.alerts if before is None or slo.words(each.alert.long) in before]
    open_still = [each for each in burnt_before if each.verdict == "unknown" and not _is_slow(each)]
    seen = [_burns(endpoint, one, burning, open_still)] if burning else []
    unknown = [(BURN, name)] if open_still else []
    if (blind := _blind(one)) is not None and is_new:
        unknown.append((UNKNOWN, name))
    elif blind is not None:
        says = f"Nobody knows how {name} stands: {blind[:1].lower()}{blind[1:]}"
        evidence = _evidence(one, one.alerts[0])
        seen.append(Sighting(Cause(UNKNOWN, endpoint, subject=name), "warning", says, OBJECTIVES, evidence))
    return _Look(tuple(seen), tuple(unknown))


def _burns(endpoint: str, one: metrics.Promise, burning: Sequence[Judged], open_still: Sequence[Judged]) -> Sighting:
    worst = next((each for each in burning if each.alert.severity == "page"), burning[0])
    over = [slo.words(each.alert.long) for each in one.alerts if each in (*burning, *open_still)]
    name = one.objective.name
    return Sighting(
        Cause(BURN, endpoint, subject=name),
        _SEVERITIES[worst.alert.severity],
        f"{name[:1].upper()}{name[1:]}: {worst.reason}",
        OBJECTIVES,
        {**_evidence(one, worst), "burns_over": over},
        clear_after=SLO_CLEAR_AFTER,
    )


def _is_slow(one: Judged) -> bool:
    """Whether it is known not to burn now, also where little is known of the long window."""
    return one.can_fire and one.short.rate is not None and one.short.rate <= one.factor


def _blind(one: metrics.Promise) -> str | None:
    """Why nobody knows how a promise stands: of the last hour, which the fastest alert is about whether it can fire or not.

    Longer windows are blind for days after a pause: they say what the last hour said by then.
    """
    if not any(each.can_fire for each in one.alerts):
        return slo.NEVER_FIRES
    hour = one.alerts[0].long
    return f"In {slo.lately(hour.window)}: {hour.reason}." if hour.blind else None


def _burnt(session: Session, endpoint: str) -> dict[str, Collection[str] | None]:
    """Objective -> the long windows of the alerts that burned when last seen; None where that was not written down."""
    query = (
        select(Finding.about, FindingSight.evidence)
        .join(FindingSight, col(FindingSight.finding_id) == Finding.id)
        .where(Finding.endpoint == endpoint, Finding.found_by == OBJECTIVES, Finding.kind == BURN)
        .where(col(Finding.state).in_(LIVE))
    )
    return {about: evidence.get("burns_over") for about, evidence in session.exec(query)}


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
