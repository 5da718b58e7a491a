"""Commands: an endpoint's objectives, the sources that are named for it, and how long points are kept."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import select

from backend.access.checks import require
from backend.core import work
from backend.core.context import Actor
from backend.core.credentials import check_reference
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.outbound import Guard
from backend.core.unit import Unit
from backend.delivery.addresses import check_urls, origins
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.metrics.queries import slo_row
from backend.metrics.retention import Kept, kept
from backend.metrics.rows import MetricSource, Retention, SloRow
from backend.metrics.scraping import KIND
from backend.metrics.slo import LEAST_DAYS, LEAST_TARGET, MOST_DAYS, MOST_TARGET, Objective, can_alarm
from backend.metrics.sources.names import checked

MOST_OBJECTIVES = 5
MOST_SOURCES = 10
LEAST_SECONDS, MOST_SECONDS = 0.001, 600.0
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Slos:
    """Commands on objectives."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(
        self, actor: Actor, endpoint: str, objectives: Sequence[Objective], *, days: int = 30, revision: int | None = None
    ) -> SloRow:
        """Says what is promised of an endpoint, instead of whatever was. Saying it again changes nothing.

        Args:
            days: the window over which each objective is meant.
            revision: the one that the caller saw; 0 for none; None where that does not matter.
        Refusal codes: not-allowed, not-found, bad-slo, slo-never-alarms, stale-write.
        """
        told = checked_objectives(objectives, days)
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "slo.set")
            row = slo_row(tx.session, place.id)
            if row is None:
                if revision:
                    raise NotFound("SLO", endpoint[:80], "It was removed meanwhile; look again.")
                row = tx.add(
                    SloRow(
                        id=tx.new_id("slo"), endpoint_id=place.id, days=days, objectives=told, set_by=actor.id, set_at=tx.now
                    )
                )
                tx.record("slo.set", row, after=_facts(row))
                return row
            if (row.days, row.objectives) == (days, told) and revision in (None, row.revision):
                return row
            tx.expect(row, revision)
            before = _facts(row)
            row.days, row.objectives, row.set_by, row.set_at = days, told, actor.id, tx.now
            tx.record("slo.set", row, before=before, after=_facts(row))
            return row

    def remove(self, actor: Actor, endpoint: str) -> None:
        """Promises nothing of an endpoint any more. Its figures are kept as before."""
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "slo.set")
            row = slo_row(tx.session, place.id)
            if row is None:
                raise NotFound("SLO", endpoint[:80], "Nothing is promised of this endpoint.")
            tx.record("slo.remove", row, before=_facts(row))
            tx.session.delete(row)


class MetricSources:
    """Commands on sources that are named for an endpoint.

    Args:
        guard: decides which addresses may be called.
    """

    def __init__(self, database: Database, guard: Guard) -> None:
        self._database, self._guard = database, guard

    def add(
        self,
        actor: Actor,
        endpoint: str,
        *,
        name: str,
        kind: str,
        settings: Mapping[str, Any],
        credential_from: str | None = None,
    ) -> MetricSource:
        """Names a source, which is read from now on.

        Args:
            kind: `text` or `prometheus`; `settings` are its own.
            credential_from: `file:NAME` or `env:NAME`, where the worker finds the bearer token to send.
        Refusal codes: not-allowed, not-found, bad-name, name-taken, unknown-kind, bad-settings, address-not-allowed.
        """
        _check_name(name)
        told = checked(kind, settings).model_dump(mode="json")
        with self._database.unit(actor) as tx:
            _whole(tx, actor, endpoint)
        check_urls(self._guard, told)  # resolves names, outside any unit and for nobody who may not ask
        with self._database.unit(actor) as tx:
            place = _whole(tx, actor, endpoint)
            _refuse_taken(tx, place, name)
            row = MetricSource(
                id=tx.new_id("msr"),
                endpoint_id=place.id,
                name=name,
                kind=kind,
                settings=told,
                credential=check_reference(credential_from) if credential_from is not None else None,
                created_by=actor.id,
                created_at=tx.now,
            )
            tx.add(row)
            tx.record("metric_source.add", row, after=_told(row, place))
            work.wake(tx, KIND, f"source:{row.id}")
            return row

    def remove(self, actor: Actor, endpoint: str, name: str) -> None:
        """Reads it no more. What it told is kept as long as everything."""
        with self._database.unit(actor) as tx:
            place = _whole(tx, actor, endpoint)
            query = select(MetricSource).where(MetricSource.endpoint_id == place.id, MetricSource.name == name)
            row = tx.session.exec(query.with_for_update()).one_or_none()
            if row is None:
                raise NotFound("source", name[:80])
            tx.record("metric_source.remove", row, before=_told(row, place))
            tx.session.delete(row)


class Retentions:
    """The command that says how long points are kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, actor: Actor, *, raw_hours: int, fine_hours: int, coarse_hours: int, revision: int | None = None) -> Kept:
        """Says it; what is older goes at the worker's next round. Refusal codes: bad-retention, stale-write."""
        wanted = Kept(raw_hours, fine_hours, coarse_hours)
        wanted.check()
        with self._database.unit(actor) as tx:
            require(tx, actor, "metric_retention.set")
            before = kept(tx.session)
            row = tx.session.get(Retention, "metrics", with_for_update=True)
            if row is None:
                row = tx.add(
                    Retention(
                        raw_hours=raw_hours, fine_hours=fine_hours, coarse_hours=coarse_hours, set_by=actor.id, set_at=tx.now
                    )
                )
            else:
                tx.expect(row, revision)
                row.raw_hours, row.fine_hours, row.coarse_hours = raw_hours, fine_hours, coarse_hours
                row.set_by, row.set_at = actor.id, tx.now
            names = ("raw_hours", "fine_hours", "coarse_hours")
            tx.record("metric_retention.set", row, before={one: getattr(before, one) for one in names}, after=row.facts(*names))
            tx.session.flush()
            return kept(tx.session)


def checked_objectives(objectives: Sequence[Objective], days: int) -> list[dict[str, Any]]:
    """Objectives as their row keeps them. Refusals `bad-slo`, `slo-never-alarms`."""
    if not 1 <= len(objectives) <= MOST_OBJECTIVES:
        raise _bad(f"An SLO has 1 to {MOST_OBJECTIVES} objectives.", "Say what is promised, or remove it.")
    if not LEAST_DAYS <= days <= MOST_DAYS:
        raise _bad(f"A window is {LEAST_DAYS} to {MOST_DAYS} days long.", "Most take 28 or 30.")
    for one in objectives:
        _check_objective(one)
        if not can_alarm(one, days):
            raise Refusal(
                f"No alert can fire for {one.name} at {one.target:.5g} over {days} days: even a full outage burns too slowly.",
                "Promise more, or over fewer days.",
                code="slo-never-alarms",
            )
    told = [{"kind": one.kind, "target": one.target, "seconds": one.seconds} for one in objectives]
    if len({(one.kind, one.seconds) for one in objectives}) < len(told):
        raise _bad("Two objectives are about the same.", "Leave one of them out.")
    return sorted(told, key=lambda one: (one["kind"], one["seconds"] or 0.0))


def _check_objective(one: Objective) -> None:
    if not (math.isfinite(one.target) and LEAST_TARGET <= one.target <= MOST_TARGET):
        raise _bad(
            f"The target of {one.kind} is no share between {LEAST_TARGET:.0%} and {MOST_TARGET:.3%}.",
            "Write it like 0.999; all of it cannot be promised, since then the first error overspends the budget.",
        )
    if one.kind not in ("availability", "latency") or (one.kind == "latency") != (one.seconds is not None):
        raise _bad("An objective is about availability, or about latency with its seconds.", "Say which.")
    if one.seconds is not None and not (math.isfinite(one.seconds) and LEAST_SECONDS <= one.seconds <= MOST_SECONDS):
        raise _bad("That is no latency.", f"Give {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds.")


def _bad(message: str, remedy: str) -> Refusal:
    return Refusal(message, remedy, code="bad-slo")


def _permitted(tx: Unit, actor: Actor, endpoint: str, action: str) -> Endpoint:
    row = named(tx.session, Endpoint, endpoint, lock=True)
    require(tx, actor, action, environment=row.environment, model=row.model, endpoint=row.name)
    return row


def _whole(tx: Unit, actor: Actor, endpoint: str) -> Endpoint:
    """Of sources, whose addresses the worker then calls: that needs a role everywhere, as adding a server does."""
    require(tx, actor, "metric_source.set")
    return named(tx.session, Endpoint, endpoint, lock=True)


def _facts(row: SloRow) -> dict[str, Any]:
    return row.facts("endpoint_id", "days", "objectives")


def _told(row: MetricSource, place: Endpoint) -> dict[str, Any]:
    return {"endpoint": place.name, **row.facts("name", "kind", "credential"), "origins": origins(row.settings)}


def _check_name(name: str) -> None:
    if not _SLUG.fullmatch(name):
        raise Refusal(
            f"{name[:80]!r} cannot be the name of a source.",
            "Use up to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
            code="bad-name",
        )


def _refuse_taken(tx: Unit, place: Endpoint, name: str) -> None:
    there = list(tx.session.exec(select(MetricSource.name).where(MetricSource.endpoint_id == place.id)))
    if name in there:
        raise Refusal(
            f"{place.name} has a source {name} already.", "Choose another name, or remove that one.", code="name-taken"
        )
    if len(there) >= MOST_SOURCES:
        raise Refusal(f"{place.name} has {MOST_SOURCES} sources.", "Remove one of them first.", code="too-many")
