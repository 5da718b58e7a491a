"""Reads of findings: the list with its filters, one with its history, what holds and blocks, and whom a message reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.rows import Identity, Team
from backend.core.canonical import loads
from backend.core.context import SYSTEM
from backend.core.ledger import LedgerRow
from backend.findings import holds, rules
from backend.findings.rows import Finding, FindingFinder, FindingSight
from backend.findings.service import missing
from backend.notify.audience import MAIL
from backend.notify.rows import Cursor, Message, Route
from backend.registry.keys import read_key, write_key

MAX_PAGE = 200
MOST_MOMENTS, MOST_MESSAGES, MOST_BESIDE = 200, 200, 50


@dataclass(frozen=True)
class FindingLine:
    """One finding in a list.

    Args:
        says: what was wrong when it was opened or became worse; `last_says` is of the newest look that saw it.
        severity: the worst since it was opened.
        owner: name of a person or a team; `owner_kind`: `person`, `team` or "".
        snoozed_until: until when nobody is called; `clean_since`: since when looks have not seen it.
    """

    id: str
    number: int
    kind: str
    says: str
    last_says: str
    severity: str
    state: str
    state_since: datetime
    endpoint: str | None
    environment: str | None
    model: str
    subject: str
    found_by: str
    owner: str
    owner_kind: str
    first_seen_at: datetime
    last_seen_at: datetime
    times: int
    snoozed_until: datetime | None
    clean_since: datetime | None
    test: bool


@dataclass(frozen=True)
class FindingMoment:
    """One row of the ledger about a finding. `what` is the action's verb, such as `acknowledge`."""

    seq: int
    at: datetime
    by: str
    what: str
    state: str
    severity: str
    reason: str


@dataclass(frozen=True)
class FindingView:
    """One finding whole.

    Args:
        outcome: how it is over; None while it is not.
        reason, by: what was said with the newest act, and by whom; "" where nobody in particular did it.
        former, later: numbers of those of the same cause before and after it.
        beside: numbers of others of its family at its place that are not over.
        blocks, holds: whether a start, and a rollout under way, wait for it now, by the policy in force.
        needs_person: that it is not over by itself, whatever looks say.
        clear_after_seconds: how long looks have to be clean before it is.
        escalated: how many steps of the escalation were taken since somebody was to answer.
        messages_made: whether a worker has read what became of it so far, and made the messages of that where there is anybody
            to be told.
    """

    line: FindingLine
    revision: int
    messages_made: bool
    assigned: bool
    outcome: str | None
    reason: str
    by: str
    former: int | None
    later: int | None
    beside: tuple[int, ...]
    blocks: bool
    holds: bool
    needs_person: bool
    clear_after_seconds: int
    escalated: int
    opened_at: datetime
    resolved_at: datetime | None
    first_evidence: Mapping[str, Any]
    latest_evidence: Mapping[str, Any]
    history: tuple[FindingMoment, ...]


@dataclass(frozen=True)
class ToldLine:
    """One message of a finding: to whom it goes, and what became of it (as in the log of messages)."""

    id: str
    whom: str
    event: str
    state: str
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True)
class Page:
    """Some findings, the worst first, and the token of the next page; None at the end."""

    items: tuple[FindingLine, ...]
    next: str | None = None


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; an empty one lets everything through.

    Args:
        kind: a kind, or a family of them.
        owner: name of a person or of a team.
        tests: whether tests are shown too.
    """

    states: Sequence[str] = ()
    severities: Sequence[str] = ()
    environment: str = ""
    endpoint: str = ""
    model: str = ""
    kind: str = ""
    owner: str = ""
    tests: bool = False


def page(session: Session, filters: Filters | None = None, *, after: str | None = None, limit: int = 50) -> Page:
    """One page: by severity and by who has answered, the latest first; what is over comes last. Refusal `bad-page`."""
    limit = min(max(limit, 1), MAX_PAGE)
    query = _narrowed(select(Finding, FindingSight).join(FindingSight), session, filters or Filters())
    if after is not None:
        query = query.where(_behind(*read_key(after, int, datetime, str)))
    query = query.order_by(col(Finding.rank), col(Finding.state_since).desc(), col(Finding.id).desc()).limit(limit + 1)
    rows = session.exec(query).all()
    lines = _lines(session, rows[:limit])
    last = rows[limit - 1][0] if len(rows) > limit else None
    return Page(lines, write_key(last.rank, last.state_since, last.id) if last is not None else None)


def counts(session: Session, filters: Filters | None = None) -> dict[tuple[str, str], int]:
    """(state, severity) -> how many findings; what there is none of is left out."""
    query = _narrowed(select(Finding.state, Finding.severity, sa.func.count(col(Finding.id))), session, filters or Filters())
    found = session.exec(query.group_by(col(Finding.state), col(Finding.severity)))
    return {(state, severity): int(number) for state, severity, number in found}


def kinds(session: Session) -> tuple[str, ...]:
    """Families of kinds that there are findings of, for a list's filter."""
    query = select(Finding.kind).where(col(Finding.test).is_(False)).distinct()
    return tuple(sorted({rules.family(one) for one in session.exec(query)}))


def owners(session: Session) -> tuple[str, ...]:
    """Names of people and teams whose findings that are not over there are."""
    live = col(Finding.state).in_(rules.LIVE)
    teams = session.exec(select(Team.name).where(col(Team.id).in_(select(Finding.owner_team_id).where(live))))
    people = session.exec(select(Identity.name).where(col(Identity.id).in_(select(Finding.owner_id).where(live))))
    return tuple(sorted({*teams, *people}))


def find(session: Session, ref: str | int) -> Finding:
    """A finding by its number or its id, as far as the look shows it. NotFound."""
    text = str(ref)
    is_number = text.isdecimal() and len(text) < 10
    row = session.exec(select(Finding).where(Finding.number == int(text) if is_number else Finding.id == text)).one_or_none()
    if row is None:
        raise missing(ref)
    return row


def view(session: Session, ref: str | int) -> FindingView:
    """One finding whole. NotFound."""
    row = find(session, ref)
    sight = session.exec(select(FindingSight).where(FindingSight.finding_id == row.id)).one()
    history = _history(session, row)
    names = _people(session, {row.by_id} if row.by_id else set())
    blocks, holds_up = holds.weighs(session, row)
    read_to = session.exec(select(sa.func.max(Cursor.seq))).one() or 0
    return FindingView(
        line=_lines(session, [(row, sight)])[0],
        revision=row.revision,
        messages_made=all(one.seq <= read_to for one in history),
        assigned=row.assigned,
        outcome=row.outcome,
        reason=row.reason,
        by=names.get(row.by_id or "", ""),
        former=_number(session, Finding.id == row.former_id) if row.former_id else None,
        later=_number(session, Finding.former_id == row.id),
        beside=_beside(session, row),
        blocks=blocks,
        holds=holds_up,
        needs_person=row.needs_person or _needs_person(session, row),
        clear_after_seconds=row.clear_after_seconds,
        escalated=row.escalated,
        opened_at=row.opened_at,
        resolved_at=row.resolved_at,
        first_evidence=row.first_evidence,
        latest_evidence=sight.evidence,
        history=history,
    )


def told(session: Session, ref: str | int) -> tuple[ToldLine, ...]:
    """Messages that were made of a finding, the first first. Of a route it is said whose it is, and not its name.

    What was counted together with another finding's stands with that one.
    """
    row = find(session, ref)
    query = select(Message).where(Message.subject_kind == Finding.__subject__, Message.subject_id == row.id)
    rows = session.exec(query.order_by(col(Message.seq), col(Message.id)).limit(MOST_MESSAGES)).all()
    routes = {one.id: one for one in session.exec(select(Route).where(col(Route.id).in_({one.route_key for one in rows})))}
    people = _people(session, {one.identity_id for one in rows if one.identity_id})
    teams = _teams(session, {one.team_id for one in routes.values() if one.team_id})
    return tuple(
        ToldLine(
            one.id, _whom(one, routes.get(one.route_key), people, teams), one.event, one.state, one.created_at, one.settled_at
        )
        for one in rows
    )


# -- parts


def _narrowed(query: Any, session: Session, wanted: Filters) -> Any:
    exact = (
        (wanted.environment, Finding.environment),
        (wanted.endpoint, Finding.endpoint),
        (wanted.model, Finding.model),
    )
    for value, column in exact:
        query = query.where(column == value) if value else query
    if wanted.states:
        query = query.where(col(Finding.state).in_(wanted.states))
    if wanted.severities:
        query = query.where(col(Finding.severity).in_(wanted.severities))
    if wanted.kind:
        query = query.where(
            sa.or_(col(Finding.kind) == wanted.kind, col(Finding.kind).startswith(f"{wanted.kind}.", autoescape=True))
        )
    if wanted.owner:
        teams = session.exec(select(Team.id).where(Team.name == wanted.owner)).all()
        people = session.exec(select(Identity.id).where(Identity.name == wanted.owner)).all()
        query = query.where(sa.or_(col(Finding.owner_team_id).in_(teams), col(Finding.owner_id).in_(people)))
    return query if wanted.tests else query.where(col(Finding.test).is_(False))


def _behind(rank: int, since: datetime, identifier: str) -> sa.ColumnElement[bool]:
    return sa.or_(
        col(Finding.rank) > rank,
        sa.and_(
            col(Finding.rank) == rank,
            sa.or_(
                col(Finding.state_since) < since,
                sa.and_(col(Finding.state_since) == since, col(Finding.id) < identifier),
            ),
        ),
    )


def _lines(session: Session, rows: Sequence[tuple[Finding, FindingSight]]) -> tuple[FindingLine, ...]:
    people = _people(session, {row.owner_id for row, _ in rows if row.owner_id})
    teams = _teams(session, {row.owner_team_id for row, _ in rows if row.owner_team_id})
    finders = _finders(session, [row.id for row, _ in rows])
    return tuple(_line(row, sight, people, teams, finders.get(row.id, ())) for row, sight in rows)


def _finders(session: Session, ids: Sequence[str]) -> dict[str, list[str]]:
    """Finding's id -> those who found it and do not say that it is over."""
    query = select(FindingFinder.finding_id, FindingFinder.found_by).where(col(FindingFinder.finding_id).in_(ids))
    found = dict[str, list[str]]()
    for finding_id, name in session.exec(query.order_by(col(FindingFinder.found_by))) if ids else ():
        found.setdefault(finding_id, []).append(name)
    return found


def _line(
    row: Finding, sight: FindingSight, people: Mapping[str, str], teams: Mapping[str, str], finders: Sequence[str]
) -> FindingLine:
    owner = people.get(row.owner_id or "") or teams.get(row.owner_team_id or "") or ""
    return FindingLine(
        id=row.id,
        number=row.number,
        kind=row.kind,
        says=row.says,
        last_says=sight.says,
        severity=row.severity,
        state=row.state,
        state_since=row.state_since,
        endpoint=row.endpoint,
        environment=row.environment,
        model=row.model,
        subject=row.about,
        found_by=", ".join(finders) or row.found_by,
        owner=owner,
        owner_kind="person" if row.owner_id else "team" if row.owner_team_id else "",
        first_seen_at=sight.first_seen_at,
        last_seen_at=sight.last_seen_at,
        times=sight.times,
        snoozed_until=row.snoozed_until,
        clean_since=sight.clean_since,
        test=row.test,
    )


def _people(session: Session, ids: set[str]) -> dict[str, str]:
    rows = session.exec(select(Identity).where(col(Identity.id).in_(ids))) if ids else ()
    return {one.id: one.display_name or one.name for one in rows}


def _teams(session: Session, ids: set[str]) -> dict[str, str]:
    return dict(session.exec(select(Team.id, Team.name).where(col(Team.id).in_(ids))).all()) if ids else {}


def _needs_person(session: Session, row: Finding) -> bool:
    query = select(FindingFinder.found_by).where(FindingFinder.finding_id == row.id, col(FindingFinder.needs_person))
    return session.exec(query.limit(1)).first() is not None


def _number(session: Session, where: Any) -> int | None:
    return session.exec(select(Finding.number).where(where).order_by(col(Finding.number)).limit(1)).first()


def _beside(session: Session, row: Finding) -> tuple[int, ...]:
    family = rules.family(row.kind)
    here = Finding.endpoint_id == row.endpoint_id if row.endpoint_id else Finding.model == row.model
    query = select(Finding.number).where(
        here,
        col(Finding.endpoint_id).is_(None) if row.endpoint_id is None else sa.true(),
        Finding.id != row.id,
        col(Finding.state).in_(rules.LIVE),
        col(Finding.test).is_(False),
        sa.or_(col(Finding.kind) == family, col(Finding.kind).startswith(f"{family}.", autoescape=True)),
    )
    return tuple(session.exec(query.order_by(col(Finding.rank), col(Finding.number)).limit(MOST_BESIDE)))


def _history(session: Session, row: Finding) -> tuple[FindingMoment, ...]:
    query = select(LedgerRow).where(LedgerRow.subject_kind == Finding.__subject__, LedgerRow.subject_id == row.id)
    rows = session.exec(query.order_by(col(LedgerRow.seq).desc()).limit(MOST_MOMENTS)).all()
    names = {SYSTEM.id: SYSTEM.name, **_people(session, {one.actor_id for one in rows})}
    return tuple(_moment(one, names) for one in reversed(rows))


def _moment(row: LedgerRow, names: Mapping[str, str]) -> FindingMoment:
    after = loads(row.after_json.encode()) or {}
    return FindingMoment(
        seq=row.seq,
        at=row.at,
        by=names.get(row.actor_id, row.actor_id),
        what=row.action.partition(".")[2],
        state=str(after.get("state", "")),
        severity=str(after.get("severity", "")),
        reason=str(after.get("reason") or after.get("says") or ""),
    )


def _whom(message: Message, route: Route | None, people: Mapping[str, str], teams: Mapping[str, str]) -> str:
    if message.route_key == MAIL:
        return f"mail to {people.get(message.identity_id or '', 'somebody')}"
    if message.identity_id is not None:
        return f"a route of {people.get(message.identity_id, 'somebody')}"
    if route is not None and route.team_id is not None:
        return f"a route of the team {teams.get(route.team_id, '')}"
    return "a route of everybody"
