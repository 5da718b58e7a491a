"""What whoever looks calls: helpers that join a unit of work and say what one look saw, and what it looked for and did not see.

Telling the same look twice changes nothing, and a look that says nothing new writes no row of the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from backend.access import queries as access
from backend.core.errors import NotFound
from backend.core.unit import Unit
from backend.delivery.rows import Endpoint
from backend.findings import rules
from backend.findings.moves import move, record
from backend.findings.rows import Finding, FindingFinder, FindingSight
from backend.findings.rules import Cause, Known, Sighting
from backend.registry.rows import Model

_NUMBERS = 0x66696E64  # "find": the advisory lock on PostgreSQL under which numbers are given
_Finders = dict[tuple[str, str], FindingFinder]
"""By finding and by who found it: those of the causes that a look saw."""
_NEVER = datetime.min.replace(tzinfo=UTC)
_MOST_AT_ONCE = 500
"""Causes of one query; SQLite takes 32,766 parameters and PostgreSQL 65,535."""


@dataclass(frozen=True)
class Place:
    """Where a cause is, by its names of now."""

    key: str
    endpoint_id: str | None
    endpoint: str | None
    environment: str | None
    model: str


def seen(tx: Unit, sightings: Sequence[Sighting], *, at: datetime | None = None) -> tuple[Finding, ...]:
    """One look saw these causes: each opens a finding, opens one again, makes one more severe, or is counted.

    Args:
        at: the look's place among looks, such as the end of its window; the unit's time by default. A look before one that
            was told already means nothing. Whether it is after what people said is told by the unit's time.

    Returns the findings of these causes, in their order. NotFound for a place that is not there.
    """
    when = min(at or tx.now, tx.now)
    places = _places(tx, [one.cause for one in sightings])
    prints = [_print(one.cause, places) for one in sightings]
    known = _newest(tx, prints)
    finders = {(one.finding_id, one.found_by): one for one in _finders(tx, [row.id for row, _ in known.values()])}
    found: list[Finding] = []
    for print_, one in zip(prints, sightings, strict=True):
        known[print_] = _saw(tx, one, print_, places[_key(one.cause)], known.get(print_), finders, when)
        found.append(known[print_][0])
    return tuple(found)


def unseen(tx: Unit, causes: Iterable[Cause], *, at: datetime | None = None) -> None:
    """One look looked for these causes and did not see them: a finding of one is over when looks were clean for long enough."""
    asked = list(causes)
    places = _places(tx, asked)
    for row, sight in _live(tx, [_print(one, places) for one in asked]).values():
        _did_not_see(tx, row, sight, min(at or tx.now, tx.now))


def found_there(tx: Unit, found_by: str, endpoint_id: str) -> tuple[tuple[Finding, FindingFinder], ...]:
    """What somebody found at an endpoint that is not over, each with what it saw of it."""
    query = (
        select(Finding, FindingFinder)
        .join(FindingFinder)
        .where(
            FindingFinder.found_by == rules.line(found_by, rules.MAX_FOUND_BY),
            Finding.endpoint_id == endpoint_id,
            col(Finding.state).in_(rules.LIVE),
        )
    )
    return tuple(tx.session.exec(query.order_by(col(Finding.number))).all())


def clean(tx: Unit, row: Finding, mine: FindingFinder, *, at: datetime) -> None:
    """One look of one of those who found it did not see its cause. It is over once that holds of all of them."""
    means = rules.on_clean(_as_told(row, mine, mine), min(at, tx.now))
    if means == "nothing":
        return
    row = _locked(tx, row)
    sight, others = tx.session.get_one(FindingSight, row.id), [one for one in _finders(tx, [row.id]) if one is not mine]
    if row.state == "resolved":
        return
    mine.clean_since = mine.clean_since or min(at, tx.now)
    if means == "clear" and others:
        tx.session.delete(mine)
    if all(one.clean_since is not None for one in others):
        sight.clean_since = sight.clean_since or mine.clean_since
    if means == "clear" and not others:
        move(tx, row, "clear", outcome=rules.CLEARED)


def left(tx: Unit, row: Finding, mine: FindingFinder) -> None:
    """One of those who found it does not look for its cause any more: the others say when it is over; if there is no other, a
    person does."""
    if len(_finders(tx, [_locked(tx, row).id])) > 1:
        tx.session.delete(mine)


def gone(tx: Unit, row: Finding, reason: str) -> None:
    """What it was about is not there any more."""
    row = _locked(tx, row)
    if row.state != "resolved":
        move(tx, row, "clear", reason=reason, outcome=rules.GONE)


def looked(
    tx: Unit,
    found_by: str,
    sightings: Sequence[Sighting],
    *,
    endpoint: str | None = None,
    model: str | None = None,
    at: datetime | None = None,
    unknown: Collection[tuple[str, str]] = (),
) -> tuple[Finding, ...]:
    """One whole look of one monitor at one place: what it saw, and that it saw nothing else of what it had found there.

    So a monitor need not remember what it found before.

    Args:
        unknown: (kind, subject) of what it could neither see nor rule out: findings of that stay, and have to be clean for as
            long as ever after that.
    """
    place = _places(tx, [Cause("look", endpoint, model)])[(endpoint, model)]
    found = seen(tx, sightings, at=at)
    query = (
        select(Finding, FindingSight).join(FindingSight).where(Finding.found_by == found_by, col(Finding.state).in_(rules.LIVE))
    )
    here = Finding.endpoint_id == place.endpoint_id if place.endpoint_id is not None else Finding.model == place.model
    query = query.where(here, col(Finding.endpoint_id).is_(None) if place.endpoint_id is None else sa.true())
    ids, kept = {one.id for one in found}, {(kind, rules.line(subject, rules.MAX_SUBJECT)) for kind, subject in unknown}
    for row, sight in tx.session.exec(query).all():
        if row.id in ids:
            continue
        if (row.kind, row.about) in kept:
            sight.clean_since = None
        else:
            _did_not_see(tx, row, sight, min(at or tx.now, tx.now))
    return found


def opened(
    tx: Unit, one: Sighting, print_: str, place: Place, former: Finding | None, at: datetime, *, test: bool = False
) -> Finding:
    """A new finding with its first sight."""
    team = access.owner(tx.session, endpoint=place.endpoint, model=place.model)
    evidence, says = rules.bounded(one.evidence), rules.line(one.says, rules.MAX_SAYS)
    row = Finding(
        id=tx.new_id("fnd"),
        number=_next_number(tx),
        fingerprint=print_,
        kind=one.cause.kind,
        endpoint_id=place.endpoint_id,
        endpoint=place.endpoint,
        environment=place.environment,
        model=place.model,
        about=rules.line(one.cause.subject, rules.MAX_SUBJECT),
        found_by=rules.line(one.found_by, rules.MAX_FOUND_BY),
        says=says,
        severity=one.severity,
        state=rules.FINDING.initial,
        state_since=tx.now,
        rank=0,
        former_id=former.id if former is not None else None,
        test=test,
        owner_team_id=team,
        first_evidence=evidence,
        clear_after_seconds=int(one.clear_after.total_seconds()),
        needs_person=one.needs_person,
        open_since=tx.now,
        opened_at=tx.now,
    )
    tx.add(row)
    action = "finding.open" if former is None else "finding.open_again"
    place_of = {"endpoint": place.endpoint, "environment": place.environment, "model": place.model}
    record(tx, row, action, None, says=says, subject=row.about, found_by=row.found_by, former=row.former_id, **place_of)
    tx.session.flush()
    sight = FindingSight(
        finding_id=row.id, first_seen_at=at, last_seen_at=at, says=says, severity=one.severity, evidence=evidence
    )
    tx.add(sight)
    tx.add(_finder(row, one, at))
    tx.session.flush()
    return row


def place_of(tx: Unit, endpoint: str) -> Place:
    """An endpoint as a place. NotFound."""
    return _places(tx, [Cause("look", endpoint)])[(endpoint, None)]


def _saw(
    tx: Unit,
    one: Sighting,
    print_: str,
    place: Place,
    before: tuple[Finding, FindingSight] | None,
    finders: _Finders,
    at: datetime,
) -> tuple[Finding, FindingSight]:
    mine = finders.get((before[0].id, _by(one))) if before is not None else None
    means = rules.on_seen(_known(before, mine), one.severity, at, tx.now)
    if before is None or means in ("open", "open_again"):
        return _open(tx, one, print_, place, before[0] if before is not None else None, finders, at)
    row, sight = before
    if means == "nothing":
        return before
    if means == "rise" or mine is None:
        row = _locked(tx, row)
        means = rules.on_seen(_known((row, sight), mine), one.severity, at, tx.now)
    if means == "open_again":  # somebody ended it just now
        return _open(tx, one, print_, place, row, finders, at)
    if means == "nothing":
        return row, sight
    if means == "rise":
        move(tx, row, "rise", severity=one.severity, says=rules.line(one.says, rules.MAX_SAYS))
    sight.times, sight.clean_since = sight.times + 1, None
    if at >= sight.last_seen_at:
        sight.says, sight.severity = rules.line(one.says, rules.MAX_SAYS), one.severity
        sight.last_seen_at, sight.evidence = at, rules.bounded(one.evidence)
    if mine is None:
        finders[row.id, _by(one)] = tx.add(_finder(row, one, at))
    else:
        mine.last_seen_at, mine.clean_since, mine.evidence = at, None, rules.bounded(one.evidence)
        mine.clear_after_seconds, mine.needs_person = int(one.clear_after.total_seconds()), one.needs_person
    return row, sight


def _by(one: Sighting) -> str:
    return rules.line(one.found_by, rules.MAX_FOUND_BY)


def _finder(row: Finding, one: Sighting, at: datetime) -> FindingFinder:
    return FindingFinder(
        finding_id=row.id,
        found_by=_by(one),
        last_seen_at=at,
        clear_after_seconds=int(one.clear_after.total_seconds()),
        needs_person=one.needs_person,
        evidence=rules.bounded(one.evidence),
    )


def _open(
    tx: Unit, one: Sighting, print_: str, place: Place, former: Finding | None, finders: _Finders, at: datetime
) -> tuple[Finding, FindingSight]:
    """Opens it, unless another worker has done so at the same moment: then this look is one more of that one."""
    try:
        with tx.attempt():
            row = opened(tx, one, print_, place, former, at)
    except IntegrityError:
        other = _live(tx, [print_])[print_]
        finders |= {(found.finding_id, found.found_by): found for found in _finders(tx, [other[0].id])}
        return _saw(tx, one, print_, place, other, finders, at)
    finders[row.id, _by(one)] = tx.session.get_one(FindingFinder, (row.id, _by(one)))
    return row, tx.session.get_one(FindingSight, row.id)


def _did_not_see(tx: Unit, row: Finding, sight: FindingSight, at: datetime) -> None:
    means = rules.on_clean(_of(row, sight), at)
    if means == "note":
        sight.clean_since = at
    if means == "clear":
        row = _locked(tx, row)
        if row.state != "resolved":
            sight.clean_since = sight.clean_since or at
            move(tx, row, "clear", outcome=rules.CLEARED)


def _known(found: tuple[Finding, FindingSight] | None, mine: FindingFinder | None) -> Known | None:
    """A finding as whoever sees its cause has to know it: of one that is not over, others may have seen it later."""
    if found is None or found[0].state == "resolved":
        return _of(*found) if found is not None else None
    return replace(_of(*found), last_seen_at=mine.last_seen_at if mine is not None else _NEVER)


def _finders(tx: Unit, ids: Sequence[str]) -> Sequence[FindingFinder]:
    """Those who found them, as they are now."""
    found = list[FindingFinder]()
    for start in range(0, len(ids), _MOST_AT_ONCE):
        query = select(FindingFinder).where(col(FindingFinder.finding_id).in_(ids[start : start + _MOST_AT_ONCE]))
        found += tx.session.exec(query).all()
    return found


def _of(row: Finding, sight: FindingSight) -> Known:
    return _as_told(row, sight, row)


def _as_told(row: Finding, seen: FindingSight | FindingFinder, asks: Finding | FindingFinder) -> Known:
    """A finding as it was seen by all or by one, and what all or that one asks for before it is over."""
    return Known(
        state=row.state,
        severity=row.severity,
        last_seen_at=seen.last_seen_at,
        clean_since=seen.clean_since,
        resolved_at=row.resolved_at,
        clear_after=timedelta(seconds=asks.clear_after_seconds),
        needs_person=asks.needs_person,
    )


def _locked(tx: Unit, row: Finding) -> Finding:
    tx.session.flush()
    tx.session.refresh(row, with_for_update=True)
    return row


def _newest(tx: Unit, prints: Sequence[str]) -> dict[str, tuple[Finding, FindingSight]]:
    """The finding of each cause that is not over, else its newest one."""
    found = _live(tx, prints)
    rest = sorted(set(prints) - found.keys())
    for start in range(0, len(rest), _MOST_AT_ONCE):
        newest = (
            select(Finding.fingerprint, sa.func.max(Finding.number).label("number"))
            .where(col(Finding.fingerprint).in_(rest[start : start + _MOST_AT_ONCE]))
            .group_by(col(Finding.fingerprint))
            .subquery()
        )
        query = select(Finding, FindingSight).join(FindingSight).join(newest, newest.c.number == Finding.number)
        found |= {row.fingerprint: (row, sight) for row, sight in tx.session.exec(query)}
    return found


def _live(tx: Unit, prints: Sequence[str]) -> dict[str, tuple[Finding, FindingSight]]:
    wanted, found = sorted(set(prints)), dict[str, tuple[Finding, FindingSight]]()
    for start in range(0, len(wanted), _MOST_AT_ONCE):
        query = select(Finding, FindingSight).join(FindingSight).where(Finding.state != "resolved")
        query = query.where(col(Finding.fingerprint).in_(wanted[start : start + _MOST_AT_ONCE]))
        found |= {row.fingerprint: (row, sight) for row, sight in tx.session.exec(query)}
    return found


_Key = tuple[str | None, str | None]


def _key(cause: Cause) -> _Key:
    return cause.endpoint, cause.model


def _print(cause: Cause, places: Mapping[_Key, Place]) -> str:
    return rules.fingerprint(cause.kind, places[_key(cause)].key, rules.line(cause.subject, rules.MAX_SUBJECT))


def _places(tx: Unit, causes: Sequence[Cause]) -> dict[_Key, Place]:
    """Every place that is named, looked up once. NotFound for one that is not there."""
    found: dict[_Key, Place] = {}
    endpoints, models = {one.endpoint for one in causes} - {None}, {one.model for one in causes} - {None}
    columns = (Endpoint.id, Endpoint.name, Endpoint.environment, Endpoint.model)
    query = select(*columns).where(col(Endpoint.name).in_(endpoints))
    for key, name, environment, served in tx.session.exec(query) if endpoints else ():
        found[(name, None)] = Place(key, key, name, environment, served)
    for name in tx.session.exec(select(Model.name).where(col(Model.name).in_(models))) if models else ():
        found[(None, name)] = Place(f"model/{name}", None, None, None, name)
    for endpoint, model in (_key(one) for one in causes):
        if (endpoint, model) not in found:
            raise NotFound("endpoint", endpoint[:80]) if endpoint is not None else NotFound("model", str(model)[:80])
    return found


def _next_number(tx: Unit) -> int:
    """The next number; on PostgreSQL those who open at the same time take turns, SQLite has one writer anyway."""
    if tx.session.get_bind().dialect.name == "postgresql":
        tx.session.connection().execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _NUMBERS})
    newest = tx.session.exec(select(Finding.number).order_by(col(Finding.number).desc()).limit(1)).first()
    return (newest or 0) + 1
