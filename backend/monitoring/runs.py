"""The worker's looks: each slot of each monitor once, judged outside any unit from hours that are counted already, and stored
in one unit with what it found.

A claim runs one slot. Its row is there from the beginning, so that a worker that dies over it leaves a run that somebody else
ends; whatever goes wrong in a look is a run that failed, with its reason, and never just a gap.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlmodel import Session, col, select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import CountersignError
from backend.core.unit import Unit, assert_outside_unit
from backend.core.work import Claim, LeaseLost
from backend.findings import sightings
from backend.findings.rules import Cause, Sighting
from backend.inference_log.service import InferenceLog
from backend.monitoring import causes, features, joint, loading, outcomes, reporting, rules, windows
from backend.monitoring.late import LOOK
from backend.monitoring.live import Place
from backend.monitoring.looks import Came, Found, Scored, Verdict, came, storable
from backend.monitoring.needs import Watched, newest_slots, open_slots
from backend.monitoring.references import COUNT, Shelf
from backend.monitoring.reporting import Asking, nobody
from backend.monitoring.rows import CountingState, KeptThresholds, Monitor, MonitorRun, MonitorScore
from backend.monitoring.rules import OF_FEATURES, MonitorSpec
from backend.policy.rules import Severity

KIND = LOOK
MOST_BEGINS = 5
PATIENCE = timedelta(minutes=20)
"""How long counting may fail before a look goes on without the hours that it lacks, and says so."""
WAIT = timedelta(seconds=5)
MOST_FOUND = 300
"""Things that are kept of one run."""

log = structlog.get_logger()
_scores: sa.Table = MonitorScore.__table__  # type: ignore[attr-defined]  # SQLModel adds it


class Monitoring:
    """The handler of monitors.

    Args:
        inference_log: of whose rows samples are drawn, where a monitor looks at rows as a whole.
        shelf: profiles that are kept in memory.
        lease_seconds: for how long the claim is renewed while rows are looked at.
        reports: makes reports of windows that alarm.
        scratch: a folder of ours alone, in which rows lie while they are looked at as a whole.
    """

    def __init__(
        self,
        database: Database,
        inference_log: InferenceLog,
        shelf: Shelf | None = None,
        *,
        lease_seconds: float = 60.0,
        reports: Asking = nobody,
        scratch: Path | None = None,
    ) -> None:
        self._database, self._log = database, inference_log
        self._shelf = shelf or Shelf()
        self._lease_seconds, self._reports, self._scratch = lease_seconds, reports, scratch

    def handle(self, claim: Claim) -> None:
        """Runs the oldest slot that is due, and says when the next one is."""
        assert_outside_unit("running a monitor")
        with self._database.read() as session:
            one, now = _watched(session, claim.key), self._database.now(session)
            place = loading.endpoint_place(session, one.row.endpoint_id) if one is not None else None
            slots = _due(session, one, now) if one is not None else ()
            waits = bool(slots) and one is not None and place is not None and self._waits(session, one, place, slots[0], now)
        if one is None or place is None:
            with self._database.unit(SYSTEM) as tx:
                work.finish(tx, claim, next_due=None)
            return
        if not slots or waits:
            self._later(claim, one, waits=waits)
            return
        if self._begin(claim, one, slots[0]):
            result, made = self._look(claim, one, place, slots[0])
            self._end(claim, one, place, slots[0], result, made)

    def _waits(self, session: Session, one: Watched, place: Place, slot: datetime, now: datetime) -> bool:
        """Whether hours that it needs are still being counted."""
        if not loading.hours_lacking(session, one, place, self._shelf, slot, now):
            return False
        state = session.get(CountingState, place.id)
        return state is None or state.problem_since is None or now - state.problem_since < PATIENCE

    def _later(self, claim: Claim, one: Watched, *, waits: bool) -> None:
        with self._database.unit(SYSTEM) as tx:
            if waits:
                work.wake(tx, COUNT, one.row.endpoint_id)
            work.finish(tx, claim, next_due=tx.now + WAIT if waits else rules.next_due(tx.now, one.spec))

    def _begin(self, claim: Claim, one: Watched, slot: datetime) -> bool:
        """Takes the slot. False where it is run already, or was begun so often that it counts as failed.

        One that is judged once more, because rows came late or its time has come after somebody had it looked at, keeps what
        it said until then.
        """
        with self._database.unit(SYSTEM) as tx:
            work.fence(tx, claim)
            row = tx.session.get(MonitorRun, (one.row.id, slot))
            if row is None:
                tx.add(_new_run(one, slot, tx.now))
                return True
            its_time = row.asked and rules.is_due(one.spec, slot, tx.now)
            if row.ended_at is not None and (its_time or rules.is_much(row.late, row.rows)):
                row.ended_at, row.begins = None, 0
            if row.ended_at is None:
                row.begins, row.started_at, row.late = row.begins + 1, tx.now, 0
                row.asked = row.asked and not its_time
                row.revision, row.window_start = one.row.revision, windows.window_at(one.spec, slot).start
                if row.begins <= MOST_BEGINS:
                    return True
                row.state, row.ended_at = "failed", tx.now
                row.why = f"It was begun {MOST_BEGINS} times and never came to an end; look at the worker's log."
            work.finish(tx, claim, next_due=tx.now)
            return False

    def _look(self, claim: Claim, one: Watched, place: Place, slot: datetime) -> tuple[Came, loading.Thresholds | None]:
        """Judges one window. A defect is a failed run, and nobody else's."""
        try:
            with self._database.read() as session:
                kept = loading.Thresholds(session)
                if one.spec.kind not in OF_FEATURES:
                    known = loading.of_outcomes(session, one, place, self._shelf, slot)
                    return came([outcomes.look(one.spec, each) for each in known]), None
                given = loading.of_features(session, one, place, self._shelf, slot)
                verdicts = [features.look(one.spec, each, kept) for each in given]
            return came(self._as_a_whole(claim, one, place, slot, given, verdicts)), kept
        except LeaseLost:
            raise
        except CountersignError as problem:
            return Came("failed", str(problem)[:300]), None
        except Exception as error:
            number = secrets.token_hex(4)
            log.error("monitor.failed", monitor=one.row.id, slot=slot.isoformat(), error=number, exc_info=error)
            return Came("failed", f"{type(error).__name__}; the worker's log has it under error {number}."), None

    def _as_a_whole(
        self,
        claim: Claim,
        one: Watched,
        place: Place,
        slot: datetime,
        given: Sequence[features.Given],
        verdicts: Sequence[Verdict],
    ) -> Sequence[Verdict]:
        """The same with what was seen of rows as a whole, for a monitor that looks at them. The claim is renewed meanwhile."""
        if one.spec.joint is None:
            return verdicts
        seed = f"{one.row.id}{slot.isoformat()}"
        drawing = joint.Drawing(
            self._log, place.name, seed, _Renewing(self._database, claim, self._lease_seconds), self._scratch
        )
        return [joint.look(drawing, one.spec, *each) for each in zip(given, verdicts, strict=True)]

    def _end(
        self, claim: Claim, one: Watched, place: Place, slot: datetime, result: Came, made: loading.Thresholds | None
    ) -> None:
        """Stores what it came to. What cannot be stored or told is a run that failed, as what cannot be judged is."""
        try:
            self._stored(claim, one, place, slot, result, made)
        except (LeaseLost, sa.exc.OperationalError, sa.exc.InterfaceError):  # another worker's, or no database to tell it to
            raise
        except Exception as error:
            number = secrets.token_hex(4)
            log.error("monitor.not_stored", monitor=one.row.id, slot=slot.isoformat(), error=number, exc_info=error)
            why = f"What was seen could not be stored ({type(error).__name__}); the worker's log has it under error {number}."
            self._stored(claim, one, place, slot, Came("failed", why), None)

    def _stored(
        self, claim: Claim, one: Watched, place: Place, slot: datetime, result: Came, made: loading.Thresholds | None
    ) -> None:
        with self._database.unit(SYSTEM) as tx:
            work.fence(tx, claim)
            row = tx.session.get(MonitorRun, (one.row.id, slot))
            if row is not None:
                _store(tx, row, result)
                _store_scores(tx, one, slot, [each for verdict in result.verdicts for each in verdict.scores])
                _keep(tx, made)
                if result.verdicts:
                    tell(tx, one, place, slot, result, reporting.of_alarm(tx, self._reports, one, place, slot, result))
            tx.session.flush()
            ran = newest_slots(tx.session, [one.row.id]).get(one.row.id)
            now_due = _due(tx.session, replace(one, ran=ran), tx.now)
            work.finish(tx, claim, next_due=tx.now if now_due else rules.next_due(tx.now, one.spec))


class _Renewing:
    """Renews a claim now and then. Raises LeaseLost where another worker has it."""

    def __init__(self, database: Database, claim: Claim, seconds: float) -> None:
        self._database, self._claim, self._seconds = database, claim, seconds
        self._renewed = time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self._renewed >= self._seconds / 3:
            work.renew(self._database, self._claim, seconds=self._seconds)
            self._renewed = time.monotonic()
        return True


def keys(session: Session) -> list[str]:
    """Monitors that look: for the worker's resync."""
    return list(session.exec(select(Monitor.id).where(col(Monitor.paused).is_(False))))


def found_by(name: str) -> str:
    """What findings say of who found them."""
    return f"monitor {name}"


def subject(spec: MonitorSpec, one: Found) -> str:
    """Of what a finding is: monitors that compare the same with the same have one cause, whichever of them sees it."""
    tail = causes.of_version(spec, one.version)
    return f"{causes.short(one.feature)} of {tail}" if one.feature else tail


def tell(tx: Unit, one: Watched, place: Place, slot: datetime, result: Came, report: str | None = None) -> None:
    """What a look saw, with the report that is made of it, and that it saw nothing else of what it had found. A look without a
    verdict says nothing at all; where there is none on one version, or on one kind, those findings stay as they are.

    What is seen of an older window, once its rows have come, is as new as the newest look: it was not known before.
    """
    if result.state not in ("ok", "alarm"):
        return
    seen = [_sighting(one, place, slot, each, report) for each in result.found if each.severity != "notice"]
    told = sightings.seen(tx, seen, at=max(slot, one.ran or slot))
    ids = {each.id for each in told}
    there = frozenset(each.version for each in place.live)
    for row, mine in sightings.found_there(tx, found_by(one.row.name), place.id):
        if row.id in ids:
            continue
        match causes.after(one.spec, one.row.name, there, result.verdicts, row.kind, row.about, mine.evidence):
            case "clean":
                sightings.clean(tx, row, mine, at=slot)
            case "left":
                sightings.left(tx, row, mine)
            case "gone":
                sightings.gone(tx, row, "What it was about does not answer here any more, or is told as another finding.")
            case "unknown":
                pass


def _watched(session: Session, monitor_id: str) -> Watched | None:
    row = session.get(Monitor, monitor_id)
    if row is None or row.paused:
        return None
    return Watched(row, MonitorSpec.model_validate(row.spec), newest_slots(session, [row.id]).get(row.id))


def _due(session: Session, one: Watched, now: datetime) -> tuple[datetime, ...]:
    """Slots whose time has come, and those that somebody asked for or that a worker left, the oldest first; then those whose
    rows came late."""
    due = rules.due_slots(one.spec, after=one.ran, begins=one.row.begins_at, now=now)
    left, late = open_slots(session, one.row.id)
    return (*sorted({*due, *left}), *sorted(late - left - {*due}))


def _new_run(one: Watched, slot: datetime, now: datetime) -> MonitorRun:
    return MonitorRun(
        monitor_id=one.row.id,
        slot=slot,
        endpoint_id=one.row.endpoint_id,
        revision=one.row.revision,
        window_start=windows.window_at(one.spec, slot).start,
        started_at=now,
    )


def _store(tx: Unit, row: MonitorRun, result: Came) -> None:
    row.state, row.why, row.rows = result.state, storable(result.why[:1_000]), result.rows
    row.figures, row.found = storable(result.figures), [each.to_json() for each in result.found[:MOST_FOUND]]
    row.ended_at = tx.now


def _store_scores(tx: Unit, one: Watched, slot: datetime, scores: list[Scored]) -> None:
    connection = tx.session.connection()
    connection.execute(sa.delete(_scores).where(_scores.c.monitor_id == one.row.id, _scores.c.slot == slot))
    fixed = {"monitor_id": one.row.id, "slot": slot, "endpoint_id": one.row.endpoint_id, "arm": one.spec.arm or ""}
    columns = map(_columns, scores)
    told = {(each["version"], each["role"], each["feature"]): each for each in columns}  # names that differ may be stored alike
    rows = [{**fixed, **each} for each in told.values()]
    for start in range(0, len(rows), 500):
        connection.execute(sa.insert(_scores), rows[start : start + 500])


def _columns(one: Scored) -> dict[str, object]:
    return {
        "version": one.version,
        "role": one.role,
        "feature": storable(one.feature),
        "rows": one.rows,
        "missing": one.missing,
        "score": one.score,
        "value": one.value,
        "threshold": one.threshold,
        "scores": dict(one.scores),
        "adjusted": one.adjusted,
        "severity": one.severity,
        "why": storable(one.why[:300]),
    }


def _keep(tx: Unit, made: loading.Thresholds | None) -> None:
    """Thresholds that were made by this look; what another one made meanwhile is kept too."""
    for key, found in (made.made if made is not None else {}).items():
        row = tx.session.get(KeptThresholds, key)
        told = loading.written_thresholds(found)
        if row is None:
            tx.add(KeptThresholds(reference=key, made=told, used_at=tx.now))
        else:
            row.made, row.used_at = {**row.made, **told}, tx.now


def _window_words(spec: MonitorSpec, slot: datetime) -> str:
    if spec.kind == "skew":
        return f"the first {spec.first_days} days of serving, up to {slot:%Y-%m-%d %H:%M} UTC"
    return f"{windows.window_at(spec, slot).start:%Y-%m-%d %H:%M} to {slot:%Y-%m-%d %H:%M} UTC"


def _sighting(one: Watched, place: Place, slot: datetime, found: Found, report: str | None) -> Sighting:
    evidence = {
        "monitor": one.row.name,
        "version": found.version,
        "window": _window_words(one.spec, slot),
        "compared_with": windows.reference_words(one.spec) if one.spec.kind in OF_FEATURES else None,
        "report": report,
        **causes.told(one.spec, found),
        **found.facts,
    }
    severity: Severity = "info" if found.severity == "info" else "critical" if found.severity == "critical" else "warning"
    return Sighting(
        Cause(found.kind, place.name, subject=subject(one.spec, found)),
        severity,
        says=found.says,
        found_by=found_by(one.row.name),
        evidence={name: value for name, value in evidence.items() if value is not None},
        clear_after=one.spec.clear_after,
        needs_person=one.spec.needs_person,
    )
