"""The worker's counting: each closed hour of an endpoint once, and again when rows of it came late.

Hours are read one by one outside any unit and written in few units, so that what was counted stays counted whatever happens.
Which hours changed is told by names of files alone (`inference_log.touched`); late outcomes touch the hour of their request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.core.unit import assert_outside_unit
from backend.core.work import Claim
from backend.delivery.rows import Endpoint
from backend.drift.counts import Counts, counted
from backend.drift.profile import Profile, build
from backend.drift.sources import ReadingSource
from backend.drift.stored import counts_bytes
from backend.inference_log import horizons
from backend.inference_log.horizons import Horizon
from backend.inference_log.reading import Reading
from backend.inference_log.service import InferenceLog
from backend.inference_log.sources.port import Span, TableSource
from backend.inference_log.touched import OVERLAP
from backend.monitoring import differences, references, segmenting, table_counting
from backend.monitoring import hours as stored
from backend.monitoring.hours import Part
from backend.monitoring.late import came as came_late
from backend.monitoring.needs import Lacking, Needs, Want, needs_of
from backend.monitoring.references import COUNT, Shelf
from backend.monitoring.rows import NO_VERSION, CountingState
from backend.monitoring.rules import HOUR
from backend.monitoring.windows import SETTLED, closed_until
from backend.quality import table_counting as outcome_tables
from backend.quality.counting import count
from backend.quality.counts import Counts as Outcomes
from backend.quality.tasks import Binary, Regression

KIND = COUNT
AT_ONCE = 24
"""Hours that are written together."""
MOST_AT_ONCE = 240
"""Hours of one claim: whoever waits for another endpoint's gets its turn."""
SWEPT = timedelta(hours=24)
"""Hours of tables without a time of receipt that are counted again at each look."""
_PROBLEM_CHARACTERS = 300

log = structlog.get_logger()
Group = tuple[int | None, str | None]
"""A version and an arm."""


@dataclass(frozen=True)
class Todo:
    """One hour and in which ways it is to be counted."""

    hour: datetime
    wants: tuple[Want, ...]


@dataclass
class _Counted:
    """What was counted and not written yet: name -> hour -> parts."""

    found: dict[str, dict[datetime, Sequence[Part]]] = field(default_factory=dict)

    def take(self, what: str, hour: datetime, parts: Sequence[Part]) -> None:
        self.found.setdefault(what, {})[hour] = parts


class Counting:
    """The handler of endpoints whose hours are counted.

    Args:
        inference_log: read, never written.
        shelf: profiles that are kept in memory.
        tables: where an endpoint's rows lie, if not in the log.
    """

    def __init__(
        self,
        database: Database,
        inference_log: InferenceLog,
        shelf: Shelf | None = None,
        *,
        tables: Callable[[str], TableSource | None] = lambda _: None,
    ) -> None:
        self._database, self._log, self._tables = database, inference_log, tables
        self._shelf = shelf or Shelf()

    def handle(self, claim: Claim) -> None:
        """Counts what is to be counted at one endpoint, and says when it is due again."""
        assert_outside_unit("counting hours")
        with self._database.read() as session:
            row, now = session.get(Endpoint, claim.key), self._database.now(session)
            needs = needs_of(session, row, self._shelf, now) if row is not None else None
            state = session.get(CountingState, claim.key)
        if needs is None or not (needs.wants or needs.lacking):
            with self._database.unit(SYSTEM) as tx:
                work.finish(tx, claim, next_due=None)
            return
        problem: str | None = None
        try:
            source = self._tables(needs.place.name)
            if source is None:
                left, recounted = self._count(needs, state, now)
            else:
                with closing(source):
                    left, recounted, problem = self._count_tables(source, needs, state, now)
        except (ExternalFailure, Refusal) as failure:
            self._failed(claim, needs.place.id, str(failure))
            return
        with self._database.unit(SYSTEM) as tx:
            kept = _state(tx.session, needs.place.id)
            kept.counted_at, kept.looked_at = tx.now, now
            kept.problem, kept.problem_since = problem, (kept.problem_since or tx.now) if problem is not None else None
            kept.recounted += recounted
            tx.session.add(kept)
            soonest = tx.now if left else closed_until(tx.now) + HOUR + SETTLED
            work.finish(tx, claim, next_due=soonest)

    def _count(self, needs: Needs, state: CountingState | None, now: datetime) -> tuple[bool, int]:
        """Counts late hours and those that are missing, the newest first. Whether some are left; how many were late."""
        made = [self._make(needs, one, now) for one in needs.lacking]
        if any(made):
            return True, 0
        with self._database.read() as session:
            have = {one.what: stored.counted_hours(session, needs.place.id, one.what) for one in needs.wants}
            horizon = horizons.of(session, needs.place.id)
        again = {one.what: {hour for hour in have[one.what] if _is_whole(horizon, one, hour)} for one in needs.wants}
        late = self._late(needs, again, state, now)
        missing = _missing(needs.wants, have)
        todo = [*late, *missing[: max(MOST_AT_ONCE - len(late), 0)]]
        filled = self._filled(needs.place.name, todo)
        for start in range(0, len(todo), AT_ONCE):
            self._write(needs, todo[start : start + AT_ONCE], filled, now)
        return len(todo) < len(late) + len(missing), len(late)

    def _count_tables(
        self, source: TableSource, needs: Needs, state: CountingState | None, now: datetime
    ) -> tuple[bool, int, str | None]:
        """The same of rows that lie in tables of one's own; and what cannot be counted there."""
        refused = [outcome_tables.refusal(one.task) for one in needs.wants]
        wants = tuple(one for one, why in zip(needs.wants, refused, strict=True) if not why)
        problem = next(filter(None, refused), None)
        with self._database.read() as session:
            have = {one.what: stored.counted_hours(session, needs.place.id, one.what) for one in wants}
        late, missing = _late_in_tables(source, wants, have, state, now), _missing(wants, have)
        todo = [*late, *missing[: max(MOST_AT_ONCE - len(late), 0)]]
        for start in range(0, len(todo), AT_ONCE):
            found = _Counted()
            for run in _together_in_time(todo[start : start + AT_ONCE]):
                for want in run[0].wants:
                    for hour, parts in _parts_of_tables(source, want, [one.hour for one in run], now):
                        found.take(want.what, hour, parts)
            self._put(needs, found)
        return len(todo) < len(late) + len(missing), len(late), problem

    def _write(self, needs: Needs, todo: Sequence[Todo], filled: frozenset[datetime], now: datetime) -> None:
        found = _Counted()
        for one in todo:
            for want in one.wants:
                found.take(want.what, one.hour, ())
        for run in _together_in_time([one for one in todo if one.hour in filled]):
            self._read(needs.place.name, run, now, found)
        self._put(needs, found)

    def _put(self, needs: Needs, found: _Counted) -> None:
        with self._database.unit(SYSTEM) as tx:
            if tx.session.get(Endpoint, needs.place.id) is None:
                return
            changed = dict[datetime, int]()
            wants = {one.what: one for one in needs.wants}
            horizon = horizons.of(tx.session, needs.place.id)
            for what, each in found.found.items():
                before = stored.parts_of(tx.session, needs.place.id, what, each)
                counts = {
                    hour: told for hour, told in each.items() if hour not in before or _is_whole(horizon, wants[what], hour)
                }
                for hour in before.keys() & counts.keys():
                    differ = _differ(wants[what], before[hour], counts[hour])
                    changed |= {hour: max(differ, changed.get(hour, 0))} if differ else {}
                stored.write(tx, needs.place.id, what, counts)
            came_late(tx, needs.place.id, changed)

    def _read(self, endpoint: str, run: Sequence[Todo], now: datetime, found: _Counted) -> None:
        """Hours that follow each other, with one look at the log: opening one costs more than what it reads."""
        start, end = run[0].hour, run[-1].hour + HOUR
        with self._log.read(endpoint, None, start, end, known_by=max(now, end)) as reading:
            groups: dict[datetime, list[Group]] = {}
            for each in reading.counts():
                groups.setdefault(each.hour, []).append((each.version, each.arm))
            for want in run[0].wants:
                for hour, parts in _parts(reading, want, groups):
                    found.take(want.what, hour, parts)

    def _filled(self, endpoint: str, todo: Sequence[Todo]) -> frozenset[datetime]:
        """The hours in which there is a file at all: nothing is opened for the others."""
        if not todo:
            return frozenset()
        found = set(self._log.part_hours(endpoint))
        found = {hour + near for hour in found for near in (-HOUR, timedelta(), HOUR)}
        for version in self._log.versions(endpoint):
            found |= set(self._log.hours(endpoint, version))
        return frozenset(found)

    def _late(self, needs: Needs, have: Mapping[str, set[datetime]], state: CountingState | None, now: datetime) -> list[Todo]:
        """Hours that were counted before and were written to since."""
        known = set().union(*have.values())
        if state is None or state.looked_at is None or not known:
            return []
        name, oldest = needs.place.name, min(known)
        touched = self._log.touched(name, state.looked_at, start=oldest)
        requests = {hour + near for hour in touched.requests for near in (-HOUR, timedelta(), HOUR)}
        outcomes = self._late_outcomes(needs, have, state.looked_at, now) if touched.outcomes else set()
        found = list[Todo]()
        for hour in sorted((requests | outcomes) & known, reverse=True):
            wants = tuple(
                one for one in needs.wants if hour in have[one.what] and (hour in requests or (one.task and hour in outcomes))
            )
            if wants:
                found.append(Todo(hour, wants))
        return found

    def _late_outcomes(self, needs: Needs, have: Mapping[str, set[datetime]], since: datetime, now: datetime) -> set[datetime]:
        known = set().union(*(have[one.what] for one in needs.wants if one.task is not None))
        if not known:
            return set()
        start, end = min(known), max(known) + HOUR
        return set(self._log.hours_of_outcomes(needs.place.name, since, start=start, end=end, known_by=now))

    def _make(self, needs: Needs, lacking: Lacking, now: datetime) -> bool:
        """A profile of a period's hours, for a version that has none. Whether one was made."""
        told = lacking.spec.reference
        assert told.start is not None  # noqa: S101 - the spec says so
        assert told.end is not None  # noqa: S101
        end = min(told.end, closed_until(now))
        if end <= told.start:
            return False
        versions: list[int | None] = [lacking.version, *([None] if lacking.alone else [])]
        try:
            with self._log.read(needs.place.name, versions, told.start, end) as reading:
                profile = build(ReadingSource(reading), timed=True)
        except Refusal:
            return False
        if not profile.counts.rows:
            return False
        words = f"hours of the log: {told.name}" if told.name else f"hours of the log from {told.start:%Y-%m-%d %H:%M} UTC on"
        content = references.of_log(profile)
        with self._database.unit(SYSTEM) as tx:
            tx.alone(f"reference profile {needs.place.model} {lacking.version}")
            if lacking.version not in references.of_model(tx.session, needs.place.model):
                references.put(tx, None, needs.place.model, lacking.version, content, profile, words, SYSTEM.id)
        return True

    def _failed(self, claim: Claim, endpoint_id: str, problem: str) -> None:
        log.warning("monitoring.not_counted", endpoint=endpoint_id, problem=problem)
        with self._database.unit(SYSTEM) as tx:
            kept = _state(tx.session, endpoint_id)
            kept.problem, kept.problem_since = problem[:_PROBLEM_CHARACTERS], kept.problem_since or tx.now
            tx.session.add(kept)
            wait = min(timedelta(seconds=15) * 2 ** min(claim.failures, 5), timedelta(minutes=5))
            work.finish(tx, claim, next_due=tx.now + wait, error=problem[:_PROBLEM_CHARACTERS])


def keys(session: Session) -> list[str]:
    """Endpoints that have monitors which look: for the worker's resync."""
    from backend.monitoring.needs import watched

    return sorted({one.row.endpoint_id for one in watched(session)})


def _state(session: Session, endpoint_id: str) -> CountingState:
    return session.get(CountingState, endpoint_id) or CountingState(endpoint_id=endpoint_id)


def _is_whole(horizon: Horizon, want: Want, hour: datetime) -> bool:
    """Whether an hour can be counted again: of one whose rows were taken out for their age, what was counted stays."""
    return horizon.is_whole(hour, with_outcomes=want.task is not None)


def _differ(want: Want, before: Sequence[Part], after: Sequence[Part]) -> int:
    """In how many requests an hour differs from what was counted of it before; of segments the whole tells."""
    if want.task is not None:
        return differences.of_outcomes(want.task, before, after)
    return differences.of_features(want.profile.layout, before, after) if want.profile is not None and not want.within else 0


def _missing(wants: Iterable[Want], have: Mapping[str, set[datetime]]) -> list[Todo]:
    """Hours that are wanted and were never counted, the newest first."""
    found: dict[datetime, list[Want]] = {}
    for one in wants:
        for hour in one.hours - have[one.what]:
            found.setdefault(hour, []).append(one)
    return [Todo(hour, tuple(found[hour])) for hour in sorted(found, reverse=True)]


def _together_in_time(todo: Sequence[Todo]) -> Iterator[list[Todo]]:
    """Hours that follow each other and are counted in the same ways."""
    run = list[Todo]()
    for one in sorted(todo, key=lambda each: each.hour):
        if run and (one.hour != run[-1].hour + HOUR or one.wants != run[-1].wants):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _late_in_tables(
    source: TableSource, wants: Sequence[Want], have: Mapping[str, set[datetime]], state: CountingState | None, now: datetime
) -> list[Todo]:
    """Hours that were counted before and to which rows came since; where nothing says when a row came, the latest ones."""
    known = set().union(*have.values())
    if state is None or state.looked_at is None or not known:
        return []
    span = Span(min(known), max(known) + HOUR)
    touched = source.touched(state.looked_at - OVERLAP, span)
    late = set(touched) if touched is not None else {hour for hour in known if hour >= closed_until(now) - SWEPT}
    judged = any(one.task is not None for one in wants)
    learned = set(source.touched_by_outcomes(state.looked_at - OVERLAP, span)) if judged else set()
    found = (
        (hour, tuple(one for one in wants if hour in have[one.what] and (hour in late or one.task is not None)))
        for hour in sorted((late | learned) & known, reverse=True)
    )
    return [Todo(hour, mine) for hour, mine in found if mine]


def _parts_of_tables(
    source: TableSource, want: Want, hours: Sequence[datetime], now: datetime
) -> Iterator[tuple[datetime, Sequence[Part]]]:
    """What an engine counts of hours that follow each other."""
    start, end = hours[0], hours[-1] + HOUR
    if want.profile is not None:
        within = segmenting.within(*want.within) if want.within is not None else None
        found = table_counting.counted(source, want.profile.layout, Span(start, end, within=within))
        for hour, told in table_counting.by_hour(found, hours).items():
            yield hour, _together(hour, [((version, arm), one) for (_, arm, version), one in told])
    elif isinstance(want.task, Binary | Regression):
        judged = outcome_tables.count(source, want.task, want.segmentations, Span(start, end, known_by=max(now, end)))
        for hour in hours:
            yield hour, _outcomes_of(judged, hour)


def _outcomes_of(found: Outcomes, hour: datetime) -> Sequence[Part]:
    """What was counted of an hour's outcomes; nothing of one without a request."""
    one = found.only([hour])
    return (Part(hour, NO_VERSION, "", one.table.num_rows, stored.outcome_bytes(one)),) if one.table.num_rows else ()


def _parts(
    reading: Reading, want: Want, groups: Mapping[datetime, Sequence[Group]]
) -> Iterator[tuple[datetime, Sequence[Part]]]:
    """What a reading holds, hour by hour."""
    if want.task is not None:
        found = count(reading, want.task, want.segmentations)
        for hour in found.hours:
            yield hour, _outcomes_of(found, hour)
    elif want.profile is not None:
        for hour, each in groups.items():
            told = [(group, _of_group(reading, want, want.profile, hour, group, len(each))) for group in each]
            yield hour, _together(hour, [(group, one) for group, one in told if one.rows])


def _of_group(reading: Reading, want: Want, profile: Profile, hour: datetime, group: Group, groups: int) -> Counts:
    only = group if groups > 1 else None
    within = segmenting.condition(reading, *want.within) if want.within is not None else None
    return counted(ReadingSource(reading, group=only, span=(hour, hour + HOUR), within=within), profile.layout)


def _together(hour: datetime, told: Sequence[tuple[Group, Counts]]) -> Sequence[Part]:
    """One part a version and arm; nothing that is said of either stands for itself."""
    found = dict[tuple[int, str], Counts]()
    for (version, arm), one in told:
        key = (version or NO_VERSION, arm or "")
        found[key] = found[key] + one if key in found else one
    return tuple(Part(hour, version, arm, one.rows, counts_bytes(one)) for (version, arm), one in sorted(found.items()))
