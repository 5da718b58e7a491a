"""Reads of monitors themselves: lists, one with its runs, profiles, and what there is to filter by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.rows import Identity, Ownership, Team
from backend.core.context import SYSTEM
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.findings.rows import Finding, FindingFinder
from backend.findings.rules import LIVE
from backend.monitoring import needs, references, rules, segmenting, service, tasks, watch, windows
from backend.monitoring.live import place_of
from backend.monitoring.needs import Watched
from backend.monitoring.references import Shelf
from backend.monitoring.rows import NO_VERSION, CountedHour, MonitorRun
from backend.monitoring.rules import OF_FEATURES, Fares, MonitorSpec
from backend.monitoring.runs import found_by
from backend.monitoring.views import Choices, FoundLine, MonitorLine, MonitorView, ProfileLine, RunLine
from backend.registry import queries as registry

SHELF = Shelf()
"""Profiles that the reads of this process keep."""
MOST_RUNS = 100
_ORDER = {"failing": 0, "late": 1, "no_data": 2, "alarm": 3, "paused": 4, "never": 5, "idle": 6, "ok": 7}
_EVERY = {1: "every hour", 24: "every day", 168: "every week"}


def choices(session: Session, endpoint: str) -> Choices:
    """See `queries.choices`."""
    row = named(session, Endpoint, endpoint)
    place, known = place_of(session, row), references.of_model(session, row.model)
    span = select(sa.func.min(col(CountedHour.hour)), sa.func.max(col(CountedHour.hour)))
    first, last = session.exec(span.where(CountedHour.endpoint_id == row.id)).one()
    pairs = select(CountedHour.version, CountedHour.arm).where(CountedHour.endpoint_id == row.id).distinct()
    found = session.exec(pairs).all()
    versions = {version for version, _ in found if version != NO_VERSION} | {one.version for one in place.live}
    arms = {arm for _, arm in found if arm} | {arm for one in place.live for arm in one.arms}
    monitors = needs.watched(session, [row.id], paused=True)
    profile = next((known[one] for one in (place.champion or 0, *known) if one in known), None)
    columns = SHELF.read(session, profile).layout.features if profile is not None else ()
    segments = {
        one.feature: segmenting.names(one)
        for each in monitors
        for one in needs.segmentations_of(session, SHELF, each.spec, place, known)
    }
    return Choices(
        versions=tuple(sorted(versions)),
        arms=tuple(sorted(arms)),
        segments=segments,
        features=tuple(one.key.name for one in columns if one.key.role == "feature"),
        monitors=tuple(one.row.name for one in monitors),
        first=first,
        last=last,
    )


def monitors(session: Session, endpoint: str, now: datetime) -> tuple[MonitorLine, ...]:
    """See `queries.monitors`."""
    ids = [named(session, Endpoint, endpoint).id] if endpoint else None
    found = needs.watched(session, ids, paused=True)
    lines = _lines(session, found, now)
    return tuple(sorted(lines, key=lambda one: (_ORDER[one.word], one.endpoint, one.name)))


def monitor(session: Session, endpoint: str, name: str, now: datetime) -> MonitorView:
    """See `queries.monitor`."""
    _, row = service.find(session, endpoint, name)
    spec = MonitorSpec.model_validate(row.spec)
    (line,) = _lines(session, [Watched(row, spec)], now)
    runs = session.exec(
        select(MonitorRun).where(MonitorRun.monitor_id == row.id).order_by(col(MonitorRun.slot).desc()).limit(MOST_RUNS)
    ).all()
    return MonitorView(line, spec.to_json(), row.paused_reason, _who(session, row.set_by), row.set_at, tuple(map(_run, runs)))


def profiles(session: Session, model: str) -> tuple[ProfileLine, ...]:
    """See `queries.profiles`."""
    registry.model_id(session, model)
    return tuple(
        ProfileLine(
            model=row.model,
            version=row.version,
            digest=row.digest,
            rows=row.rows,
            columns=row.columns,
            timed=row.timed,
            source=row.source,
            set_by=_who(session, row.set_by),
            set_at=row.set_at,
            revision=row.revision,
        )
        for row in references.of_model(session, model).values()
    )


def watches(spec: MonitorSpec) -> str:
    """What a monitor does, in words."""
    often = _EVERY.get(spec.every_hours, f"every {spec.every_hours} hours")
    window = f"the last {spec.window_hours} hours" if spec.window_hours > 1 else "the last hour"
    of_arm = f" of arm {spec.arm}" if spec.arm is not None else ""
    if spec.kind == "skew":
        return f"the first {spec.first_days} days of serving{of_arm} against the training data, {often}"
    if spec.kind in OF_FEATURES:
        what = "features and predictions" if spec.kind == "drift" else "schema, missing values, ranges"
        return f"{what} of {window}{of_arm} against {windows.reference_words(spec)}, {often}"
    assert spec.task is not None  # noqa: S101 - the spec says so
    how = "how good" if spec.kind == "quality" else "how good, before outcomes are known,"
    return f"{how} {tasks.words_of(spec.task)} was in {window}{of_arm}, {often}"


def _lines(session: Session, found: Sequence[Watched], now: datetime) -> list[MonitorLine]:
    stands = watch.standings(session, found, now)
    last = watch.last_runs(session, [one.row.id for one in found])
    ids = {one.row.endpoint_id for one in found}
    endpoints = {row.id: row for row in session.exec(select(Endpoint).where(col(Endpoint.id).in_(ids)))} if ids else {}
    owners, live = _owners(session, list(endpoints.values())), _live(session, ids)
    lines = []
    for one in found:
        at = endpoints.get(one.row.endpoint_id)
        if at is None:
            continue
        mine = [each.severity for each, by in live if _is_of(each, by, one)]
        ran = last[one.row.id].slot if one.row.id in last else None
        lines.append(_line(one, at, stands[one.row.id], ran, mine, owners.get(at.id, ""), now))
    return lines


def _line(
    one: Watched, at: Endpoint, stands: Fares, ran: datetime | None, mine: Sequence[str], owner: str, now: datetime
) -> MonitorLine:
    return MonitorLine(
        id=one.row.id,
        endpoint=at.name,
        environment=at.environment,
        name=one.row.name,
        kind=one.row.kind,
        watches=watches(one.spec),
        every_hours=one.spec.every_hours,
        window_hours=one.spec.window_hours,
        word=stands.word,
        says=stands.says,
        since=stands.since,
        last_slot=ran,
        next_due=None if one.row.paused else rules.next_due(now, one.spec),
        findings=len(mine),
        severity=rules.worst(mine),
        owner=owner,
        paused=one.row.paused,
        revision=one.row.revision,
    )


def _live(session: Session, endpoint_ids: set[str]) -> Sequence[tuple[Finding, set[str]]]:
    """Findings that are not over, each with those who found it."""
    if not endpoint_ids:
        return ()
    query = select(Finding, FindingFinder.found_by).outerjoin(FindingFinder)
    query = query.where(col(Finding.endpoint_id).in_(endpoint_ids), col(Finding.state).in_(LIVE))
    rows, by = dict[str, Finding](), dict[str, set[str]]()
    for row, name in session.exec(query):
        rows[row.id] = row
        by.setdefault(row.id, set()).add(name or row.found_by)
    return [(row, by[row.id]) for row in rows.values()]


def _is_of(finding: Finding, by: Collection[str], one: Watched) -> bool:
    """What it found, and that it does not look as it should."""
    if finding.endpoint_id != one.row.endpoint_id:
        return False
    is_fault = finding.kind in rules.FAULTS.values() and finding.about == one.row.name
    return is_fault or found_by(one.row.name) in by


def _owners(session: Session, endpoints: Sequence[Endpoint]) -> Mapping[str, str]:
    """Endpoint's id -> the name of the team that owns it, or its model."""
    keys = {f"endpoint/{one.name}" for one in endpoints} | {f"model/{one.model}" for one in endpoints}
    if not keys:
        return {}
    query = select(Ownership.id, Team.name).join(Team, col(Team.id) == Ownership.team_id).where(col(Ownership.id).in_(keys))
    found = dict(session.exec(query).all())
    return {one.id: found.get(f"endpoint/{one.name}") or found.get(f"model/{one.model}") or "" for one in endpoints}


def _run(row: MonitorRun) -> RunLine:
    found = tuple(map(_found, row.found))
    told = dict(row.figures)
    return RunLine(row.slot, row.window_start, row.state, row.why, row.rows, row.started_at, row.ended_at, found, told)


def _found(told: Mapping[str, Any]) -> FoundLine:
    return FoundLine(told["kind"], told["severity"], told["feature"], told["version"], told["says"])


def _who(session: Session, identity_id: str) -> str:
    if identity_id == SYSTEM.id:
        return "Countersign"
    row = session.get(Identity, identity_id)
    return (row.display_name or row.name) if row is not None else ""
