"""What has to be counted at an endpoint, so that every monitor finds its hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.delivery.rows import Endpoint
from backend.drift.profile import Profile
from backend.monitoring import references, rules, segmenting, tasks, windows
from backend.monitoring.live import Place, place_of
from backend.monitoring.references import Shelf
from backend.monitoring.rows import Monitor, MonitorRun, ReferenceProfile
from backend.monitoring.rules import OF_FEATURES, MonitorSpec
from backend.quality.tasks import Segmentation, Task


@dataclass(frozen=True, eq=False)
class Want:
    """One way of counting, and the hours in which it is wanted.

    Args:
        what: under which name its hours are kept.
        profile: whose cells; None of outcomes.
        task: None of features.
        within: only requests of this segment.
    """

    what: str
    hours: frozenset[datetime]
    profile: Profile | None = None
    task: Task | None = None
    segmentations: tuple[Segmentation, ...] = ()
    within: tuple[Segmentation, str] | None = None


@dataclass(frozen=True)
class Lacking:
    """A version without a profile whose monitor names a period: that is made of the period's hours."""

    version: int
    alone: bool
    """Whether requests of which nothing says who answered are its own."""
    spec: MonitorSpec


@dataclass(frozen=True)
class Needs:
    """All that counting an endpoint has to know."""

    place: Place
    wants: tuple[Want, ...]
    lacking: tuple[Lacking, ...] = ()


@dataclass(frozen=True)
class Watched:
    """A monitor with what it is told, and the newest slot that it ran."""

    row: Monitor
    spec: MonitorSpec
    ran: datetime | None = None

    def slots(self, now: datetime) -> tuple[datetime, ...]:
        """Those that are due, else the next one."""
        due = rules.due_slots(self.spec, after=self.ran, begins=self.row.begins_at, now=now)
        return due or (rules.latest_slot(now, self.spec),)


@dataclass
class _Gathered:
    hours: set[datetime] = field(default_factory=set)
    profile: Profile | None = None
    task: Task | None = None
    segmentations: tuple[Segmentation, ...] = ()
    within: tuple[Segmentation, str] | None = None


def watched(session: Session, endpoint_ids: Iterable[str] | None = None, *, paused: bool = False) -> tuple[Watched, ...]:
    """Monitors, those that are paused only if asked for. None: of every endpoint."""
    query = select(Monitor).order_by(col(Monitor.endpoint_id), col(Monitor.name))
    if endpoint_ids is not None:
        query = query.where(col(Monitor.endpoint_id).in_(list(endpoint_ids)))
    if not paused:
        query = query.where(col(Monitor.paused).is_(False))
    rows = session.exec(query).all()
    ran = newest_slots(session, [one.id for one in rows])
    return tuple(Watched(one, MonitorSpec.model_validate(one.spec), ran.get(one.id)) for one in rows)


def newest_slots(session: Session, monitor_ids: Sequence[str]) -> Mapping[str, datetime]:
    """Of each monitor the newest of its slots that was judged; one that is judged once more included. What somebody asked
    for is none of its slots."""
    if not monitor_ids:
        return {}
    newest = sa.func.max(col(MonitorRun.slot))
    query = select(MonitorRun.monitor_id, newest).where(
        col(MonitorRun.monitor_id).in_(monitor_ids), MonitorRun.state != "running", col(MonitorRun.asked).is_(False)
    )
    return dict(session.exec(query.group_by(MonitorRun.monitor_id)).all())


def open_slots(session: Session, monitor_id: str) -> tuple[set[datetime], set[datetime]]:
    """Slots that are begun or were asked for and did not end; and those that ended, but whose rows came late."""
    query = select(MonitorRun.slot, MonitorRun.ended_at, MonitorRun.late, MonitorRun.rows).where(
        MonitorRun.monitor_id == monitor_id, sa.or_(col(MonitorRun.ended_at).is_(None), col(MonitorRun.late) > 0)
    )
    left, late = set[datetime](), set[datetime]()
    for slot, ended_at, came, rows in session.exec(query):
        if ended_at is None:
            left.add(slot)
        elif rules.is_much(came, rows):
            late.add(slot)
    return left, late


def needs_of(session: Session, row: Endpoint, shelf: Shelf, now: datetime) -> Needs:
    """What has to be counted at an endpoint by now. Nothing where no monitor asks."""
    place, known = place_of(session, row), references.of_model(session, row.model)
    gathered, lacking = dict[str, _Gathered](), dict[int, Lacking]()
    for one in watched(session, [row.id]):
        hours = _hours(one, place, now, set[datetime]().union(*open_slots(session, one.row.id)))
        if one.spec.kind in OF_FEATURES:
            for live in place.live:
                if (profile := known.get(live.version)) is not None:
                    _of_cells(gathered, session, shelf, profile).hours |= hours
                    for each in segmentations_of(session, shelf, one.spec, place, known):
                        _of_segments(gathered, shelf.read(session, profile), each, hours)
                elif one.spec.reference.kind == "period":
                    lacking.setdefault(live.version, Lacking(live.version, place.alone == live.version, one.spec))
        else:
            _of_task(gathered, session, shelf, one.spec, place, known).hours |= hours
    wants = (
        Want(what, frozenset(one.hours), one.profile, one.task, one.segmentations, one.within)
        for what, one in sorted(gathered.items())
    )
    return Needs(place, tuple(wants), tuple(lacking.values()))


def cells_of(profile: Profile) -> str:
    """Under which name hours are kept that were counted in a profile's cells."""
    return f"drift:{profile.layout.digest}"


def segmentations_of(
    session: Session, shelf: Shelf, spec: MonitorSpec, place: Place, known: Mapping[int, ReferenceProfile]
) -> tuple[Segmentation, ...]:
    """Segments by the champion's reference, or by that of the newest version which has one."""
    if not spec.segments:
        return ()
    row = known.get(place.champion or 0) or next(iter(known.values()), None)
    return tasks.segments_of(spec, shelf.read(session, row) if row is not None else None)


def _hours(one: Watched, place: Place, now: datetime, left: set[datetime]) -> set[datetime]:
    """Of all slots that are due, that were asked for or left, and of the one that comes next as far as it is over."""
    until = windows.closed_until(now)
    slots = {*one.slots(now), *left, rules.latest_slot(now, one.spec) + one.spec.every}
    return {hour for slot in slots for hour in windows.hours_of(one.spec, slot, place.live) if hour < until}


def _of_cells(gathered: dict[str, _Gathered], session: Session, shelf: Shelf, row: ReferenceProfile) -> _Gathered:
    what = f"drift:{row.digest}"
    if what not in gathered:
        gathered[what] = _Gathered(profile=shelf.read(session, row))
    return gathered[what]


def _of_segments(gathered: dict[str, _Gathered], profile: Profile, one: Segmentation, hours: set[datetime]) -> None:
    for name in segmenting.names(one):
        found = gathered.setdefault(segmenting.what_of(cells_of(profile), one, name), _Gathered(profile=profile))
        found.within = (one, name)
        found.hours |= hours


def _of_task(
    gathered: dict[str, _Gathered],
    session: Session,
    shelf: Shelf,
    spec: MonitorSpec,
    place: Place,
    known: Mapping[int, ReferenceProfile],
) -> _Gathered:
    segmentations = segmentations_of(session, shelf, spec, place, known)
    what = tasks.counted_as(spec, segmentations)
    if what not in gathered and spec.task is not None:
        gathered[what] = _Gathered(task=tasks.task_of(spec.task), segmentations=segmentations)
    return gathered[what]
