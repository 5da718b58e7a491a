"""Commands: what is watched at an endpoint, by which words, and looking now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Session, select

from backend.access.checks import require
from backend.core import work
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.moments import in_utc
from backend.core.unit import Unit
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.findings import sightings
from backend.findings.rules import Cause
from backend.monitoring import rules, windows
from backend.monitoring.references import COUNT
from backend.monitoring.rows import Monitor, MonitorRun
from backend.monitoring.rules import FAULTS, MonitorSpec
from backend.monitoring.runs import KIND, found_by

MOST_MONITORS = 30
"""Of one endpoint."""
MAX_REASON = 500


class Monitors:
    """Commands on monitors. One is known by its endpoint and its name.

    `revision`: what whoever acts looked at; 0 for none; None where that does not matter.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(
        self,
        actor: Actor,
        endpoint: str,
        name: str,
        spec: MonitorSpec,
        *,
        since: datetime | None = None,
        revision: int | None = None,
    ) -> Monitor:
        """Watches an endpoint from now on, or in another way than before. Saying it again changes nothing.

        Args:
            since: of a new one: windows that ended since then are judged too, the latest 48 of them; for its history.
        Refusal codes: not-allowed, not-found, bad-name, bad-monitor, too-many, stale-write.
        """
        rules.check_name(name)
        told = spec.to_json()
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "monitor.set")
            row = _find(tx.session, place, name)
            if row is None:
                if revision:
                    raise NotFound("monitor", name[:80], "It was removed meanwhile; look again.")
                return _made(tx, actor, place, name, spec, since)
            if row.kind != spec.kind:
                raise Refusal(
                    f"{name} is a monitor of {row.kind}.",
                    "Give a monitor of another kind another name, or remove this one first.",
                    code="bad-monitor",
                )
            if row.spec == told and revision in (None, row.revision):
                return row
            tx.expect(row, revision)
            before = _facts(row)
            row.spec, row.set_by, row.set_at = told, actor.id, tx.now
            row.begins_at = max(row.begins_at, rules.first_slot(tx.now, spec))
            tx.record("monitor.set", row, before=before, after=_facts(row))
            _wake(tx, row)
            return row

    def remove(self, actor: Actor, endpoint: str, name: str) -> None:
        """Watches that no more, and forgets what it saw. What it alone found stays until a person ends it."""
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "monitor.set")
            row = _there(tx.session, place, name)
            tx.record("monitor.remove", row, before=_facts(row))
            _no_fault(tx, place, name)
            for finding, mine in sightings.found_there(tx, found_by(name), place.id):
                sightings.left(tx, finding, mine)
            tx.session.delete(row)

    def pause(self, actor: Actor, endpoint: str, name: str, reason: str, *, revision: int | None = None) -> Monitor:
        """Looks no more until it is resumed; that nobody looks is shown. Again it changes nothing."""
        words = _words(reason)
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "monitor.set")
            row = _there(tx.session, place, name)
            if row.paused:
                return row
            tx.expect(row, revision)
            before = _facts(row)
            row.paused, row.paused_reason, row.set_by, row.set_at = True, words, actor.id, tx.now
            tx.record("monitor.pause", row, before=before, after=_facts(row))
            _no_fault(tx, place, name)
            return row

    def resume(self, actor: Actor, endpoint: str, name: str, *, revision: int | None = None) -> Monitor:
        """Looks again, from the latest window on: what was paused is not made up for."""
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "monitor.set")
            row = _there(tx.session, place, name)
            if not row.paused:
                return row
            tx.expect(row, revision)
            before = _facts(row)
            row.paused, row.paused_reason, row.set_by, row.set_at = False, "", actor.id, tx.now
            row.begins_at = rules.first_slot(tx.now, MonitorSpec.model_validate(row.spec))
            tx.record("monitor.resume", row, before=before, after=_facts(row))
            _wake(tx, row)
            return row

    def run(self, actor: Actor, endpoint: str, name: str) -> datetime:
        """Has it look now, at the window that ends with the latest hour that is over; again, where that was looked at already.
        Its slots are run as they would be anyway.

        Returns the end of that window. Refusal `paused`.
        """
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "monitor.run")
            row = _there(tx.session, place, name)
            if row.paused:
                raise Refusal(f"{name} is paused.", "Resume it first.", code="paused")
            spec, slot = MonitorSpec.model_validate(row.spec), windows.closed_until(tx.now)
            run = tx.session.get(MonitorRun, (row.id, slot))
            if run is None:
                start = windows.window_at(spec, slot).start
                told: dict[str, Any] = {"monitor_id": row.id, "slot": slot, "endpoint_id": place.id, "begins": 0}
                told["asked"] = not rules.is_due(spec, slot, tx.now)
                tx.add(MonitorRun(**told, revision=row.revision, window_start=start, started_at=tx.now))
            else:
                run.ended_at, run.begins = None, 0  # what it said stands until then: it is not late meanwhile
            tx.record("monitor.run", row, after={"endpoint": place.name, "name": name, "slot": slot.isoformat()})
            _wake(tx, row)
            return slot


def find(session: Session, endpoint: str, name: str) -> tuple[Endpoint, Monitor]:
    """An endpoint's monitor by its name. NotFound."""
    place = named(session, Endpoint, endpoint)
    return place, _there(session, place, name)


def _made(tx: Unit, actor: Actor, place: Endpoint, name: str, spec: MonitorSpec, since: datetime | None) -> Monitor:
    there = tx.session.exec(select(Monitor.id).where(Monitor.endpoint_id == place.id)).all()
    if len(there) >= MOST_MONITORS:
        raise Refusal(f"{place.name} has {len(there)} monitors.", "Remove one of them first.", code="too-many")
    row = Monitor(
        id=tx.new_id("mon"),
        endpoint_id=place.id,
        name=name,
        kind=spec.kind,
        spec=spec.to_json(),
        begins_at=rules.first_slot(min(in_utc(since), tx.now) if since is not None else tx.now, spec),
        set_by=actor.id,
        set_at=tx.now,
        created_at=tx.now,
    )
    tx.add(row)
    tx.record("monitor.set", row, after={"endpoint": place.name, **_facts(row)})
    tx.session.flush()
    _wake(tx, row)
    return row


def _wake(tx: Unit, row: Monitor) -> None:
    work.wake(tx, COUNT, row.endpoint_id)
    work.wake(tx, KIND, row.id)


def _no_fault(tx: Unit, place: Endpoint, name: str) -> None:
    """That it is late or fails is over with it."""
    sightings.unseen(tx, [Cause(kind, place.name, subject=name) for kind in FAULTS.values()])


def _permitted(tx: Unit, actor: Actor, endpoint: str, action: str) -> Endpoint:
    row = named(tx.session, Endpoint, endpoint, lock=True)
    require(tx, actor, action, environment=row.environment, model=row.model, endpoint=row.name)
    return row


def _find(session: Session, place: Endpoint, name: str) -> Monitor | None:
    return session.exec(select(Monitor).where(Monitor.endpoint_id == place.id, Monitor.name == name)).one_or_none()


def _there(session: Session, place: Endpoint, name: str) -> Monitor:
    row = _find(session, place, name)
    if row is None:
        raise NotFound("monitor", name[:80], f"Look into the list of monitors of {place.name}.")
    return row


def _facts(row: Monitor) -> dict[str, Any]:
    return row.facts("endpoint_id", "name", "kind", "spec", "paused", "paused_reason")


def _words(reason: str) -> str:
    told = " ".join(reason.split())
    if not told or len(told) > MAX_REASON or not told.isprintable():
        raise Refusal(
            "Pausing a monitor needs a reason.", f"Say in a sentence why (at most {MAX_REASON} characters).", code="no-reason"
        )
    return told
