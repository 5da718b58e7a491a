"""Reads of identities and what they may do, with the state of the moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from backend.access import rules
from backend.access.rows import FormerOwner, Identity, Ownership, RoleGrant, Team, Token
from backend.access.rules import Grant
from backend.core.context import Actor, ActorKind
from backend.core.fixed import Fixed


@dataclass(frozen=True)
class Person:
    """An identity as decisions see it: who it is, whose interest it serves, which roles count here and now.

    A service is active for as long as the person who owns it is.
    """

    id: str
    name: str
    kind: str
    active: bool
    owner_id: str | None
    roles: frozenset[str]
    owned_before: tuple[tuple[str, datetime], ...] = ()
    """Who owned this service, and until when it was his, or could be: until the last token is over that he made."""

    @property
    def interests(self) -> frozenset[str]:
        """Ids that count as this one interest: a service and its owner are the same."""
        return frozenset(one for one in (self.id, self.owner_id) if one)

    def interests_since(self, moment: datetime | None) -> frozenset[str]:
        """The same with whoever owned it at that moment or after; with everybody who ever owned it, where that is None."""
        return self.interests | {owner for owner, until in self.owned_before if moment is None or until >= moment}


@dataclass(frozen=True, slots=True)
class Standing:
    """An identity as it stands at this moment, and what it holds by the token that it acts by."""

    id: str
    name: str
    display_name: str
    kind: ActorKind
    owner_id: str | None
    active: bool
    answered_for: bool
    """Whether the person who owns this service is active; whoever nobody owns answers for himself."""
    held: tuple[Grant, ...]

    @property
    def shown(self) -> str:
        """What people read."""
        return self.display_name or self.name


def grants(session: Session, identity_id: str) -> tuple[Grant, ...]:
    """Every grant of an identity, expired ones included. Of whoever acts ask `standing`, which counts a token's limits."""
    query = select(RoleGrant.role, RoleGrant.scope, RoleGrant.expires_at).where(RoleGrant.identity_id == identity_id)
    return tuple(Grant(role, scope, expires_at) for role, scope, expires_at in session.exec(query))


_I: sa.Table = Identity.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_G: sa.Table = RoleGrant.__table__  # type: ignore[attr-defined]
_OWNER = _I.alias("owner")
_STANDING = Fixed(
    sa.select(
        _I.c.name, _I.c.display_name, _I.c.kind, _I.c.owner_id, _I.c.active, _OWNER.c.active.label("owner_active"),
        _OWNER.c.kind.label("owner_kind"), _G.c.role, _G.c.scope, _G.c.expires_at,
    )
    .select_from(_I.outerjoin(_OWNER, _OWNER.c.id == _I.c.owner_id).outerjoin(_G, _G.c.identity_id == _I.c.id))
    .where(_I.c.id == sa.bindparam("actor"))
)  # fmt: skip


_TEAM = "team:"
_O: sa.Table = Ownership.__table__  # type: ignore[attr-defined]
_OWNERS = Fixed(
    sa.select(_O.c.id, _O.c.team_id).where(sa.or_(_O.c.id == sa.bindparam("endpoint"), _O.c.id == sa.bindparam("model")))
)


def standing(session: Session, actor: Actor) -> Standing | None:
    """Whoever acts as it stands now, with every grant of its, in one query: it comes before everything. None where unknown."""
    rows = _STANDING.of(session, actor=actor.id)
    if not rows:
        return None
    name, display_name, kind, owner_id, active, owner_active, owner_kind = rows[0][:7]
    held = tuple(Grant(role, scope, until) for *_, role, scope, until in rows if role is not None)
    limited = held if actor.limits is None else rules.narrowed(held, actor.limits)
    answered_for = owner_id is None or (bool(owner_active) and owner_kind == "person")
    return Standing(actor.id, name, display_name, kind, owner_id, active, answered_for, limited)


def held(session: Session, actor: Actor) -> tuple[Grant, ...]:
    """What whoever acts holds now, expired grants included; nothing for one that is unknown, not active, or that nobody active
    answers for.
    """
    found = standing(session, actor)
    return found.held if found is not None and found.active and found.answered_for else ()


def answers_for(session: Session, row: Identity) -> bool:
    """Whether somebody who is active answers for an identity: the owner of a service; anybody else does so himself."""
    owner = session.get(Identity, row.owner_id, populate_existing=True) if row.owner_id is not None else None
    return row.owner_id is None or (owner is not None and is_answering(owner))


def ids_of_interest(interests: Collection[str], now: datetime) -> SelectOfScalar[str]:
    """Ids of whoever is one interest with an actor of these: itself, its owner, and every service that one of them owns, or
    made a token of that is good.
    """
    kept = select(Token.identity_id).where(col(Token.created_by).in_(interests), col(Token.revoked_at).is_(None))
    known = col(Identity.id).in_(interests) | col(Identity.owner_id).in_(interests)
    return select(Identity.id).where(known | col(Identity.id).in_(kept.where(col(Token.expires_at) > now)))


def interests_since(session: Session, ids: Iterable[str], moment: datetime | None) -> frozenset[str]:
    """Ids that count as one interest with any of these: the owner of a service, and whoever owned it at that moment or later,
    or made a token of it that was good then; everybody who ever owned it, where the moment is None.
    """
    known = set(ids)
    query = select(Identity.id, Identity.owner_id).where(col(Identity.id).in_(known), col(Identity.owner_id).is_not(None))
    owners = dict(session.exec(query).all())
    before = [one for found in _owned_before(session, list(owners)).values() for one in found]
    since = {owner for owner, until in before if moment is None or until >= moment}
    return frozenset(known | {one for one in owners.values() if one} | since)


def is_answering(owner: Identity) -> bool:
    """Whether this owner answers for a service: an active person. Nobody does for a service that a service owns, as it would
    else be one more interest than there are people.
    """
    return owner.active and owner.kind == "person"


def owner(session: Session, *, endpoint: str | None = None, model: str | None = None) -> str | None:
    """Id of the team that owns an endpoint; where none does, of the team that owns the model."""
    keys = [f"{kind}/{name}" for kind, name in (("endpoint", endpoint), ("model", model)) if name is not None]
    if not keys:
        return None
    found = dict(session.exec(select(Ownership.id, Ownership.team_id).where(col(Ownership.id).in_(keys))).all())
    return next((found[key] for key in keys if key in found), None)


def owner_among(
    session: Session, grants: Iterable[Grant], *, endpoint: str | None = None, model: str | None = None
) -> str | None:
    """The same, asked only where it decides: some grant is in the scope of a team.

    It asks past the filter of a narrowed look, which hides what other teams own: no grant here is in their scopes.
    """
    if (endpoint is None and model is None) or not _in_teams(grants):
        return None
    found = dict(_OWNERS.of(session, endpoint=f"endpoint/{endpoint or ''}", model=f"model/{model or ''}"))
    return found.get(f"endpoint/{endpoint}") or found.get(f"model/{model}")


def owners_among(
    session: Session, grants: Iterable[Grant], places: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str | None]:
    """The same of many (endpoint, model) in one query; empty where it does not matter."""
    if not places or not _in_teams(grants):
        return {}
    keys = {f"endpoint/{endpoint}" for endpoint, _ in places} | {f"model/{model}" for _, model in places}
    session.flush()
    found = dict(session.connection().execute(sa.select(_O.c.id, _O.c.team_id).where(_O.c.id.in_(keys))).tuples())
    return {(one, model): found.get(f"endpoint/{one}") or found.get(f"model/{model}") for one, model in places}


def _in_teams(grants: Iterable[Grant]) -> bool:
    return any(_TEAM in (one.scope[:5], one.within[:5]) for one in grants)


def permitted(
    session: Session,
    actor: Actor,
    action: str,
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> bool:
    """Whether a page should offer the action. Commands ask `access.checks.require`, whatever a page showed."""
    found = held(session, actor)
    team = owner_among(session, found, endpoint=endpoint, model=model)
    return rules.may(found, action, now=now, environment=environment, model=model, team=team)


def people(
    session: Session,
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> tuple[Person, ...]:
    """Every person and service, with the roles that count in this environment, on this model and at this endpoint."""
    by_identity = _by_identity(session, select(RoleGrant))
    team = owner(session, endpoint=endpoint, model=model)
    identities = session.exec(select(Identity).where(Identity.kind != "system").order_by(Identity.name)).all()
    answering = {one.id for one in identities if is_answering(one)}
    return tuple(_person(one, by_identity.get(one.id, ()), now, environment, model, team, answering) for one in identities)


def some_people(
    session: Session,
    ids: Iterable[str],
    *,
    now: datetime,
    environment: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> Mapping[str, Person]:
    """The named identities by id; ids that nobody has are left out."""
    identities = session.exec(select(Identity).where(col(Identity.id).in_(set(ids)))).all()
    team = owner(session, endpoint=endpoint, model=model)
    owners = {one.owner_id for one in identities if one.owner_id is not None}
    found = session.exec(select(Identity).where(col(Identity.id).in_(owners))).all() if owners else ()
    answering = {one.id for one in found if is_answering(one)}
    before = _owned_before(session, [one.id for one in identities if one.owner_id is not None])
    held = _by_identity(session, select(RoleGrant).where(col(RoleGrant.identity_id).in_([one.id for one in identities])))
    return {
        one.id: _person(one, held.get(one.id, ()), now, environment, model, team, answering, before.get(one.id, ()))
        for one in identities
    }


def _by_identity(session: Session, query: SelectOfScalar[RoleGrant]) -> dict[str, list[Grant]]:
    found: dict[str, list[Grant]] = {}
    for row in session.exec(query):
        found.setdefault(row.identity_id, []).append(Grant(row.role, row.scope, row.expires_at))
    return found


def good_tokens(session: Session, identity_id: str, *, now: datetime) -> tuple[Token, ...]:
    """Tokens of an identity that are neither revoked nor over, the oldest first."""
    query = select(Token).where(Token.identity_id == identity_id, col(Token.revoked_at).is_(None))
    return tuple(session.exec(query.where(col(Token.expires_at) > now).order_by(col(Token.created_at), col(Token.id))))


def keepers(session: Session, service: Identity, token: Token) -> frozenset[str]:
    """Who may have kept a token of a service: whoever made it. Older versions wrote one that the service made itself as its
    own: it may be anybody's who ever owned it.
    """
    if token.created_by != service.id:
        return frozenset((token.created_by,))
    query = select(FormerOwner.owner_id).where(FormerOwner.identity_id == service.id)
    return frozenset(session.exec(query)) | ({service.owner_id} if service.owner_id is not None else set())


def _owned_before(session: Session, services: Sequence[str]) -> dict[str, tuple[tuple[str, datetime], ...]]:
    """By service who owned it until when; later where a token of its goes on that he made, as he may have kept it.

    Older versions wrote a token that a service made itself as its own: it may be anybody's who owned it.
    """
    query = select(FormerOwner).where(col(FormerOwner.identity_id).in_(services)).order_by(col(FormerOwner.until))
    rows = session.exec(query).all() if services else ()
    ends: dict[tuple[str, str], datetime] = {}
    kept = select(Token).where(col(Token.identity_id).in_({one.identity_id for one in rows}))
    for token in session.exec(kept) if rows else ():
        key, end = (token.identity_id, token.created_by), min(token.revoked_at or token.expires_at, token.expires_at)
        ends[key] = max(ends.get(key, end), end)
    found: dict[str, tuple[tuple[str, datetime], ...]] = {}
    for row in rows:
        makers = (row.owner_id, row.identity_id)
        until = max([row.until, *(ends[row.identity_id, one] for one in makers if (row.identity_id, one) in ends)])
        found[row.identity_id] = (*found.get(row.identity_id, ()), (row.owner_id, until))
    return found


def scope_names(session: Session, *, retired: bool = True) -> dict[str, str]:
    """`team:<id>` -> `team:<name>`, for whoever reads a scope; without `retired`, only of teams that are still there."""
    query = select(Team.id, Team.name)
    query = query if retired else query.where(col(Team.retired_at).is_(None))
    return {f"team:{key}": f"team:{name}" for key, name in session.exec(query)}


def _person(
    row: Identity,
    held: Iterable[Grant],
    now: datetime,
    environment: str | None,
    model: str | None,
    team: str | None,
    answering: Collection[str],
    before: tuple[tuple[str, datetime], ...] = (),
) -> Person:
    """`answering`: ids of owners who answer for their services."""
    roles = rules.roles_in_force(held, now=now, environment=environment, model=model, team=team)
    active = row.active and (row.owner_id is None or row.owner_id in answering)
    return Person(row.id, row.display_name or row.name, row.kind, active, row.owner_id, roles, before)
