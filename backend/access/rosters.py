"""Lists for whoever looks after hundreds of people: filtered and paged in SQL, by a key that stays when rows come and go.

Each asks for one row more than a page holds; `after` of what it returns is the key of the next page, None on the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlmodel import Session, col, func, or_, select

from backend.access import claims, queries, scopes
from backend.access.claimed_roles import BOOTSTRAP
from backend.access.names import beside
from backend.access.rows import Identity, Request, RoleGrant, Team, TeamMember, Token, TokenUse
from backend.access.session_rows import ExternalLogin, SignInSession, ToldGroups
from backend.core.context import SYSTEM

PAGE = 50
SOON = timedelta(days=14)
"""What ends within this is said to end soon."""
Ends = Literal["in force", "soon", "over", "open"]
Source = Literal["person", "groups", "directory", "settings", "system"]
"""What a role comes from: somebody, or a service, gave it; a provider told groups at a sign-in, or by its directory; the
settings of sign-in name a first admin; or it was there from the beginning (`identity bootstrap`, the demo)."""


@dataclass(frozen=True)
class PersonLine:
    """One person or service in a list.

    Args:
        roles: what counts now, as `role` or `role in scope`.
        signed_in_at: the newest sign-in at a provider; None where there was none.
        sessions: how many were neither ended nor forgotten; some of them may have run out meanwhile.
        tokens: how many are good now.
        answered_for: of a service, whether its owner is active; it does nothing while nobody is.
        off_by: the provider whose directory deactivated it, and may activate it again; None where an admin did.
    """

    id: str
    name: str
    shown: str
    kind: str
    active: bool
    is_demo: bool
    owner: str | None
    created_at: datetime
    roles: tuple[str, ...]
    signed_in_at: datetime | None
    sessions: int
    tokens: int
    token_used_at: datetime | None
    answered_for: bool = True
    off_by: str | None = None
    display_name: str = ""

    @property
    def state(self) -> str:
        """active, deactivated, or unanswered: a service whose owner is deactivated."""
        return "deactivated" if not self.active else "active" if self.answered_for else "unanswered"


@dataclass(frozen=True)
class PersonPage:
    """A page of people, and how many there are in all."""

    rows: tuple[PersonLine, ...]
    total: int
    after: str | None


@dataclass(frozen=True)
class GrantLine:
    """One grant as people read it. `by` says who or what gave it; `by_hand` whether a person did.

    Args:
        source: what it comes from.
        giver: the short name of whoever gave it, or confirmed that; None where nobody did.
        asked_by: the short name of whoever asked for it, where it took two.
        request, reason: the request that was confirmed, and why, where a second person confirmed one.
    """

    id: str
    name: str
    shown: str
    active: bool
    role: str
    scope: str
    by: str
    by_hand: bool
    granted_at: datetime
    until: datetime | None
    is_in_force: bool
    source: Source = "person"
    giver: str | None = None
    asked_by: str | None = None
    request: str | None = None
    reason: str = ""

    @property
    def where(self) -> str:
        """The scope in words."""
        return "everywhere" if self.scope == "*" else self.scope


@dataclass(frozen=True)
class GrantPage:
    """A page of grants, and how many there are in all."""

    rows: tuple[GrantLine, ...]
    total: int
    after: str | None


@dataclass(frozen=True)
class Login:
    """What a provider calls somebody: only issuer and subject together tell people apart."""

    issuer: str
    subject: str
    first_at: datetime


@dataclass(frozen=True)
class Known:
    """What is known of one identity besides its line: its address, who it is at its providers, their groups, its teams."""

    email: str | None
    logins: tuple[Login, ...]
    groups: tuple[tuple[str, tuple[str, ...], datetime], ...]
    teams: tuple[str, ...]


def people(
    session: Session,
    *,
    now: datetime,
    text: str = "",
    kind: str | None = None,
    active: bool | None = None,
    role: str | None = None,
    demo: bool | None = None,
    among: Collection[str] | None = None,
    after: str = "",
    limit: int = PAGE,
) -> PersonPage:
    """People and services by their short names.

    Args:
        text: part of a name, whatever its case.
        role: only who holds this role now, in any scope.
        demo: only built-in demo identities, or none of them.
        among: only these ids.
        after: the short name to go on after.
    """
    where: list[Any] = [Identity.kind != SYSTEM.kind]
    where += [Identity.kind == kind] if kind is not None else []
    where += [col(Identity.active).is_(active)] if active is not None else []
    where += [_named(text)] if text.strip() else []
    where += [col(Identity.id).in_(_holding(role, now))] if role is not None else []
    where += [col(Identity.is_demo).is_(demo)] if demo is not None else []
    where += [col(Identity.id).in_(among)] if among is not None else []
    total = session.exec(select(func.count()).select_from(Identity).where(*where)).one()
    query = select(Identity).where(*where, col(Identity.name) > after).order_by(col(Identity.name)).limit(limit + 1)
    rows = session.exec(query).all()
    return PersonPage(_lines(session, rows[:limit], now), total, rows[limit - 1].name if len(rows) > limit else None)


def person(session: Session, name: str, *, now: datetime) -> PersonLine | None:
    """One person or service by its short name; None where there is none."""
    row = session.exec(select(Identity).where(Identity.name == name, Identity.kind != SYSTEM.kind)).one_or_none()
    return _lines(session, [row], now)[0] if row is not None else None


def person_by_id(session: Session, identity_id: str, *, now: datetime) -> PersonLine | None:
    """The same by its id."""
    row = session.get(Identity, identity_id)
    return _lines(session, [row], now)[0] if row is not None else None


def known(session: Session, identity_id: str) -> Known:
    """What is known of one identity besides."""
    row = session.get_one(Identity, identity_id)
    logins = select(ExternalLogin).where(ExternalLogin.identity_id == identity_id).order_by(ExternalLogin.issuer)
    told = select(ToldGroups).where(ToldGroups.identity_id == identity_id).order_by(ToldGroups.provider)
    teams = select(Team.name).join(TeamMember).where(TeamMember.identity_id == identity_id, col(Team.retired_at).is_(None))
    return Known(
        row.email,
        tuple(Login(one.issuer, one.external_subject, one.first_at) for one in session.exec(logins)),
        tuple((one.provider, tuple(str(group) for group in one.groups), one.told_at) for one in session.exec(told)),
        tuple(session.exec(teams.order_by(Team.name))),
    )


def grants(
    session: Session,
    *,
    now: datetime,
    text: str = "",
    role: str | None = None,
    scope: str | None = None,
    ends: Ends = "in force",
    identity_id: str | None = None,
    after: str = "",
    limit: int = PAGE,
) -> GrantPage:
    """Grants, those that end soonest first and those without an end last.

    Args:
        text: part of the holder's name.
        scope: `*`, or a kind of scope: `environment`, `model` or `team`.
        ends: in force at all, ending within two weeks, over, or without an end.
        after: what an earlier page returned as its `after`.
    """
    where = _ends(ends, now) if identity_id is None else []
    where += [RoleGrant.identity_id == identity_id] if identity_id is not None else []
    where += [_named(text)] if text.strip() else []
    where += [RoleGrant.role == role] if role is not None else []
    if scope is not None:
        where += [RoleGrant.scope == "*" if scope == "*" else col(RoleGrant.scope).startswith(f"{scope}:")]
    query = select(RoleGrant, Identity).join(Identity, col(Identity.id) == RoleGrant.identity_id).where(*where)
    total = session.exec(select(func.count()).select_from(query.subquery())).one()
    until = col(RoleGrant.expires_at)
    order = query.where(*_later(after)).order_by(until.is_(None), until, col(RoleGrant.id)).limit(limit + 1)
    rows = session.exec(order).all()
    more = _grant_key(rows[limit - 1][0]) if len(rows) > limit else None
    return GrantPage(_grant_lines(session, rows[:limit], now), total, more)


def all_grants(
    session: Session,
    *,
    now: datetime,
    identity: str | None = None,
    role: str | None = None,
    scope: str | None = None,
    ends: Ends | None = None,
) -> tuple[GrantLine, ...]:
    """Grants by identity, role and scope, ended ones included where nothing else is asked for.

    Args:
        identity: the holder's short name.
        scope: as it is written, or a kind of scope: `environment`, `model` or `team`. NotFound for a team that never was.
    """
    where = _ends(ends, now) if ends is not None else []
    where += [Identity.name == identity] if identity is not None else []
    where += [RoleGrant.role == role] if role is not None else []
    if scope is not None:
        exact = scope == "*" or ":" in scope
        place = scopes.stored_once(session, scope) if exact else f"{scope}:"
        where += [RoleGrant.scope == place if exact else col(RoleGrant.scope).startswith(place, autoescape=True)]
    query = select(RoleGrant, Identity).join(Identity, col(Identity.id) == RoleGrant.identity_id).where(*where)
    return _grant_lines(session, session.exec(query.order_by(Identity.name, RoleGrant.role, RoleGrant.scope)).all(), now)


def ending_soon(session: Session, *, now: datetime) -> int:
    """How many grants in force end within two weeks."""
    query = select(func.count()).select_from(RoleGrant).join(Identity, col(Identity.id) == RoleGrant.identity_id)
    return session.exec(query.where(*_ends("soon", now))).one()


def names(session: Session, *, kind: str | None = None) -> dict[str, str]:
    """Short name -> how it is shown, with the short name, of everybody who is active; for a choice."""
    query = select(Identity.name, Identity.display_name).where(Identity.kind != SYSTEM.kind, col(Identity.active))
    rows = session.exec(query.where(Identity.kind == kind) if kind is not None else query)
    return {name: beside(name, shown) for name, shown in sorted(rows, key=lambda one: (one[1] or one[0]).casefold())}


def shown(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """Identity id -> how it is shown, active or not; Countersign's own included."""
    query = select(Identity.id, Identity.display_name, Identity.name).where(col(Identity.id).in_(sorted(set(ids))))
    return {SYSTEM.id: SYSTEM.name} | {key: title or name for key, title, name in session.exec(query)}


def _named(text: str) -> Any:
    wanted = text.strip()[:120]
    return or_(
        col(Identity.name).icontains(wanted, autoescape=True), col(Identity.display_name).icontains(wanted, autoescape=True)
    )


def _holding(role: str, now: datetime) -> Any:
    still = or_(col(RoleGrant.expires_at).is_(None), col(RoleGrant.expires_at) > now)
    return select(RoleGrant.identity_id).where(RoleGrant.role == role, still)


def _ends(ends: Ends, now: datetime) -> list[Any]:
    until = col(RoleGrant.expires_at)
    if ends == "over":
        return [until <= now]
    if ends == "open":
        return [until.is_(None)]
    if ends == "soon":
        return [until > now, until <= now + SOON, col(Identity.active)]
    return [or_(until.is_(None), until > now)]


def _grant_key(row: RoleGrant) -> str:
    return f"{row.expires_at.isoformat() if row.expires_at is not None else ''}~{row.id}"


def _later(after: str) -> list[Any]:
    """What comes after a key; everything for a key that nobody gave out."""
    moment, _, identifier = after.partition("~")
    until, number = col(RoleGrant.expires_at), col(RoleGrant.id)
    if not identifier:
        return []
    if not moment:
        return [until.is_(None), number > identifier]
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return []
    return [or_(until.is_(None), until > at, sa.and_(until == at, number > identifier))] if at.tzinfo is not None else []


def _grant_lines(session: Session, rows: Sequence[tuple[RoleGrant, Identity]], now: datetime) -> tuple[GrantLine, ...]:
    asked = _confirmed(session, rows)
    givers = {row.granted_by for row, _ in rows} | {one.asked_by for one in asked.values()}
    known = {one.id: one for one in session.exec(select(Identity).where(col(Identity.id).in_(givers)))}
    shown = queries.scope_names(session)
    return tuple(_grant_line(row, one, asked.get(row.id), known, shown, now) for row, one in rows)


def _grant_line(
    row: RoleGrant,
    whose: Identity,
    asked: Request | None,
    known: Mapping[str, Identity],
    shown: Mapping[str, str],
    now: datetime,
) -> GrantLine:
    source, by = _given_by(row.granted_by, known)
    return GrantLine(
        id=row.id,
        name=whose.name,
        shown=whose.display_name or whose.name,
        active=whose.active,
        role=row.role,
        scope=shown.get(row.scope, row.scope),
        by=by,
        by_hand=source == "person",
        granted_at=row.granted_at,
        until=row.expires_at,
        is_in_force=row.expires_at is None or now < row.expires_at,
        source=source,
        giver=known[row.granted_by].name if source == "person" and row.granted_by in known else None,
        asked_by=known[asked.asked_by].name if asked is not None and asked.asked_by in known else None,
        request=asked.id if asked is not None else None,
        reason=asked.reason if asked is not None else "",
    )


def _confirmed(session: Session, rows: Sequence[tuple[RoleGrant, Identity]]) -> dict[str, Request]:
    """Grant -> the request by which it was given: that is confirmed, and the role given, at one moment by one person."""
    moments = {row.granted_at for row, _ in rows if row.granted_by.startswith("idn_")}
    query = select(Request).where(Request.kind == "role.grant", Request.state == "confirmed")
    query = query.where(col(Request.settled_at).in_(moments)) if len(moments) <= _MOST_MOMENTS else query
    found = session.exec(query).all() if moments else ()
    keyed = {(one.settled_at, one.settled_by, *(one.what[name] for name in _GRANTED)): one for one in found}
    key = {row.id: (row.granted_at, row.granted_by, *(getattr(row, name) for name in _GRANTED)) for row, _ in rows}
    return {grant: keyed[one] for grant, one in key.items() if one in keyed}


_MOST_MOMENTS = 1_000
"""Of more than these all requests are read: a statement takes so many parameters and no more."""
_GRANTED = ("identity_id", "role", "scope")
"""What a grant is of, and a request for one."""


def _given_by(giver: str, known: Mapping[str, Identity]) -> tuple[Source, str]:
    """Who or what gave a role: a person by name, else where it follows from."""
    if giver == BOOTSTRAP:
        return "settings", "the settings of sign-in"
    if giver.startswith(claims.SOURCE):
        return "groups", f"groups of {giver.removeprefix(claims.SOURCE)}"
    if giver.startswith(claims.PROVISIONED):
        return "directory", f"the directory of {giver.removeprefix(claims.PROVISIONED)}"
    source: Source = "person" if giver in known and giver != SYSTEM.id else "system"
    return source, beside(known[giver].name, known[giver].display_name) if source == "person" else _shown_by(giver, known)


def _shown_by(giver: str, known: Mapping[str, Identity]) -> str:
    return known[giver].display_name or known[giver].name if giver in known else giver


def _lines(session: Session, rows: Sequence[Identity], now: datetime) -> tuple[PersonLine, ...]:
    ids = [one.id for one in rows]
    owners = {one.id: one for one in session.exec(select(Identity).where(col(Identity.id).in_(_owners(rows))))}
    roles, seen, running = _roles(session, ids, now), _signed_in(session, ids), _running(session, ids)
    good, used = _tokens(session, ids, now)
    return tuple(
        PersonLine(
            id=one.id,
            name=one.name,
            shown=one.display_name or one.name,
            kind=one.kind,
            active=one.active,
            is_demo=one.is_demo,
            owner=owners[one.owner_id].name if one.owner_id in owners else None,
            created_at=one.created_at,
            roles=roles.get(one.id, ()),
            signed_in_at=seen.get(one.id),
            sessions=running.get(one.id, 0),
            tokens=good.get(one.id, 0),
            token_used_at=used.get(one.id),
            answered_for=one.owner_id is None or (one.owner_id in owners and queries.is_answering(owners[one.owner_id])),
            off_by=one.off_by.removeprefix(claims.PROVISIONED) if one.off_by is not None else None,
            display_name=one.display_name,
        )
        for one in rows
    )


def _owners(rows: Iterable[Identity]) -> set[str]:
    return {one.owner_id for one in rows if one.owner_id is not None}


def _roles(session: Session, ids: Sequence[str], now: datetime) -> dict[str, tuple[str, ...]]:
    shown, found = queries.scope_names(session), dict[str, tuple[str, ...]]()
    still = or_(col(RoleGrant.expires_at).is_(None), col(RoleGrant.expires_at) > now)
    query = select(RoleGrant).where(col(RoleGrant.identity_id).in_(ids), still).order_by(RoleGrant.role, RoleGrant.scope)
    for one in session.exec(query):
        scope = shown.get(one.scope, one.scope)
        said = one.role if scope == "*" else f"{one.role} in {scope}"
        found[one.identity_id] = (*found.get(one.identity_id, ()), said)
    return found


def _signed_in(session: Session, ids: Sequence[str]) -> dict[str, datetime]:
    query = select(SignInSession.identity_id, func.max(SignInSession.opened_at)).where(col(SignInSession.identity_id).in_(ids))
    return dict(session.exec(query.group_by(col(SignInSession.identity_id))).all())


def _running(session: Session, ids: Sequence[str]) -> dict[str, int]:
    query = select(SignInSession.identity_id, func.count()).where(col(SignInSession.identity_id).in_(ids))
    return dict(session.exec(query.where(col(SignInSession.ended_at).is_(None)).group_by(col(SignInSession.identity_id))).all())


def _tokens(session: Session, ids: Sequence[str], now: datetime) -> tuple[dict[str, int], dict[str, datetime]]:
    good = select(Token.identity_id, func.count()).where(col(Token.identity_id).in_(ids))
    good = good.where(col(Token.revoked_at).is_(None), Token.expires_at > now).group_by(col(Token.identity_id))
    used = select(Token.identity_id, func.max(TokenUse.used_at)).join(TokenUse, col(TokenUse.token_id) == Token.id)
    used = used.where(col(Token.identity_id).in_(ids)).group_by(col(Token.identity_id))
    return dict(session.exec(good).all()), dict(session.exec(used).all())


def services_of(session: Session, owner_id: str, *, now: datetime) -> tuple[PersonLine, ...]:
    """Active services that somebody owns, by their short names."""
    query = select(Identity).where(Identity.owner_id == owner_id, col(Identity.active)).order_by(Identity.name)
    return _lines(session, session.exec(query).all(), now)
