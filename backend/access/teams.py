"""Teams: who belongs to one, and which models and endpoints it owns. What it owns is what a grant in its scope reaches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlmodel import Session, col, select

from backend.access import queries, requests
from backend.access.checks import require
from backend.access.rows import Identity, Ownership, Request, RoleGrant, Team, TeamMember
from backend.access.scopes import Exists, named_team, team_of_name
from backend.access.service import Protected, named_identity
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

Kind = Literal["model", "endpoint"]
MAX_TITLE = 120

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class TeamLine:
    """One team, with the names of who belongs to it and of what it owns."""

    id: str
    name: str
    title: str
    members: tuple[str, ...]
    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    created_at: datetime
    retired_at: datetime | None


class Teams:
    """Commands on teams.

    Args:
        database: where they are kept.
        exists: asked before something is given to a team.
        protected: environments in which it takes two to widen what somebody may do; see `service.Identities`.
    """

    def __init__(self, database: Database, exists: Exists, protected: Protected = lambda _: frozenset()) -> None:
        self._database = database
        self._exists = exists
        self._protected = protected

    def create(self, actor: Actor, name: str, title: str = "") -> Team:
        """A new team without members. Refusal codes: bad-name, name-taken."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "team.create")
            _refuse_name(tx, name)
            row = Team(id=tx.new_id("tem"), name=name, title=_title(title), created_by=actor.id, created_at=tx.now)
            tx.record("team.create", tx.add(row), after=row.facts("name", "title"))
            return row

    def rename(self, actor: Actor, name: str, to: str, title: str | None = None) -> Team:
        """Another name, another title or both. Grants and what it owns stay with it."""
        with self._database.unit(actor) as tx:
            row = _allowed(tx, actor, name, "team.rename")
            if to != name:
                _refuse_name(tx, to)
            before = row.facts("name", "title")
            row.name, row.title = to, row.title if title is None else _title(title)
            if row.facts("name", "title") != before:
                tx.record("team.rename", row, before=before, after=row.facts("name", "title"))
            return row

    def retire(self, actor: Actor, name: str) -> None:
        """Ends a team that owns nothing any more. Its name stays taken; grants in its scope reach nothing."""
        with self._database.unit(actor) as tx:
            row = _allowed(tx, actor, name, "team.retire")
            if tx.session.exec(select(Ownership.id).where(Ownership.team_id == row.id).limit(1)).first() is not None:
                raise Refusal(
                    f"{name} owns models or endpoints.", "Give them to another team, or to none.", code="owns-something"
                )
            row.retired_at = tx.now
            tx.record("team.retire", row, after=row.facts("name", "retired_at"))

    def add_member(self, actor: Actor, name: str, identity: str) -> None:
        """Somebody belongs to the team from now on. Nobody adds himself, or a service of his own."""
        with self._database.unit(actor) as tx:
            row = _allowed(tx, actor, name, "team.add_member")
            whose = named_identity(tx.session, identity)
            if actor.interests & {one for one in (whose.id, whose.owner_id) if one}:
                raise Refusal("You cannot add yourself to a team.", "Ask another admin.", code="own-identity")
            if tx.session.get(TeamMember, (row.id, whose.id)) is None:
                tx.add(TeamMember(team_id=row.id, identity_id=whose.id, added_by=actor.id, added_at=tx.now))
                tx.record("team.add_member", row, after={"identity_id": whose.id})

    def remove_member(self, actor: Actor, name: str, identity: str) -> None:
        """Somebody does not belong to the team any more."""
        with self._database.unit(actor) as tx:
            row = _allowed(tx, actor, name, "team.remove_member")
            whose = named_identity(tx.session, identity)
            member = tx.session.get(TeamMember, (row.id, whose.id))
            if member is None:
                raise NotFound("member", identity[:80], f"Look at who belongs to {name}.")
            tx.session.delete(member)
            tx.record("team.remove_member", row, before={"identity_id": whose.id})

    def set_owner(self, actor: Actor, kind: str, name: str, team: str | None) -> Request | None:
        """Gives a model or an endpoint to a team, or to none. Saying it again changes nothing.

        Where some changes need approvals and somebody holds a role in the scope of a team, that moves who may do what, and
        becomes a request, which a second admin has to confirm. Nobody gives to a team in whose scope he, or a service of his,
        holds a role: he would give it to himself.
        """
        if kind not in get_args(Kind):
            raise Refusal(f"{kind[:40]!r} cannot be owned.", "Name a model or an endpoint.", code="bad-kind")
        with self._database.unit(actor) as tx:
            require(tx, actor, "owner.set")
            if not self._exists(tx.session, kind, name):
                raise NotFound(kind, name[:80])
            to = named_team(tx.session, team) if team is not None else None
            if to is not None:
                _refuse_own(tx, actor, to)
            if not _is_owner(tx, kind, name, to) and self._protected(tx.session) and _is_any_granted(tx):
                return requests.ask(tx, "owner.set", {"kind": kind, "name": name, "team_id": to.id if to is not None else None})
            _give(tx, kind, name, to)
            return None

    def confirm_owner(self, actor: Actor, request_id: str, reason: str = "") -> None:
        """Does what another admin asked for. Refusal codes: own-request, own-identity, settled, expired, stale-request."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "owner.set")
            row = requests.waiting(tx, request_id, "owner.set")
            to = tx.get(Team, row.what["team_id"]) if row.what["team_id"] is not None else None
            if to is not None:
                _refuse_own(tx, actor, to)
            requests.confirm(tx, row, "owner.set", reason)
            gone = not self._exists(tx.session, row.what["kind"], row.what["name"])
            if gone or (to is not None and to.retired_at is not None):
                raise Refusal("What was asked for is not there any more.", "Refuse this request.", code="stale-request")
            _give(tx, row.what["kind"], row.what["name"], to, request_id=row.id)

    def refuse_owner(self, actor: Actor, request_id: str, reason: str) -> None:
        """Refuses it, or takes it back."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "owner.set")
            requests.refuse(tx, requests.waiting(tx, request_id, "owner.set"), reason)


def disown(tx: Unit, kind: Kind, name: str) -> None:
    """Joins: what is not there any more is nobody's, so that a new one of its name begins without an owner."""
    _give(tx, kind, name, None)


def lines(session: Session, *, retired: bool = False) -> tuple[TeamLine, ...]:
    """Teams by name; retired ones on request."""
    query = select(Team).order_by(Team.name)
    rows = session.exec(query if retired else query.where(col(Team.retired_at).is_(None))).all()
    members = _grouped(session.exec(select(TeamMember.team_id, Identity.name).join(Identity).order_by(Identity.name)).all())
    owned = select(Ownership.team_id, Ownership.name).order_by(Ownership.name)
    models = _grouped(session.exec(owned.where(Ownership.kind == "model")).all())
    endpoints = _grouped(session.exec(owned.where(Ownership.kind == "endpoint")).all())
    return tuple(
        TeamLine(
            id=row.id,
            name=row.name,
            title=row.title,
            members=members.get(row.id, ()),
            models=models.get(row.id, ()),
            endpoints=endpoints.get(row.id, ()),
            created_at=row.created_at,
            retired_at=row.retired_at,
        )
        for row in rows
    )


def line(session: Session, name: str) -> TeamLine:
    """One team by its name, retired or not. NotFound."""
    found = next((one for one in lines(session, retired=True) if one.name == name), None)
    if found is None:
        raise NotFound("team", name[:80])
    return found


def owner_name(session: Session, *, endpoint: str | None = None, model: str | None = None) -> str | None:
    """Name of the team that owns an endpoint; where none does, of the team that owns the model."""
    found = queries.owner(session, endpoint=endpoint, model=model)
    return session.get_one(Team, found).name if found is not None else None


def _allowed(tx: Unit, actor: Actor, name: str, action: str) -> Team:
    row = team_of_name(tx.session, name)
    require(tx, actor, action, team=row.id if row is not None else None)
    return row or named_team(tx.session, name)


def _is_owner(tx: Unit, kind: str, name: str, team: Team | None) -> bool:
    row = tx.session.get(Ownership, f"{kind}/{name}")
    return (row.team_id if row is not None else None) == (team.id if team is not None else None)


def _is_any_granted(tx: Unit) -> bool:
    """Whether owning decides anything yet: an endpoint that loses its owner falls to its model's, so that any team counts."""
    query = select(RoleGrant.id).where(col(RoleGrant.scope).startswith("team:"))
    return tx.session.exec(query.limit(1)).first() is not None


def _give(tx: Unit, kind: str, name: str, team: Team | None, *, request_id: str | None = None) -> None:
    row = tx.session.get(Ownership, f"{kind}/{name}", with_for_update=True)
    before = {"team_id": row.team_id} if row is not None else None
    if (team.id if team is not None else None) == (row.team_id if row is not None else None):
        return
    if row is None and team is not None:
        row = tx.add(Ownership(id=f"{kind}/{name}", kind=kind, name=name, team_id=team.id, set_by=tx.actor.id, set_at=tx.now))
    elif row is not None and team is not None:
        row.team_id, row.set_by, row.set_at = team.id, tx.actor.id, tx.now
    elif row is not None:
        tx.session.delete(row)
    after = {"team_id": team.id} if team is not None else None
    asked = {"request_id": request_id} if request_id is not None else {}
    tx.record("owner.set", ("ownership", f"{kind}/{name}"), before=before, after={**after, **asked} if after else asked or None)


def _refuse_own(tx: Unit, actor: Actor, team: Team) -> None:
    own = queries.ids_of_interest(actor)
    held = select(RoleGrant.id).where(RoleGrant.scope == f"team:{team.id}", col(RoleGrant.identity_id).in_(own))
    if tx.session.exec(held.limit(1)).first() is not None:
        raise Refusal(f"You hold a role on what {team.name} owns.", "Ask another admin.", code="own-identity")


def _refuse_name(tx: Unit, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Refusal(
            f"{name[:80]!r} cannot be the name of a team.",
            "Use up to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
            code="bad-name",
        )
    if tx.session.exec(select(Team.id).where(Team.name == name)).first() is not None:
        raise Refusal(f"There is or was a team {name}.", "Choose another name.", code="name-taken")


def _title(text: str) -> str:
    title = " ".join(text.split())
    if len(title) > MAX_TITLE or not (title.isprintable() or not title):
        raise Refusal("The title is too long.", f"Use up to {MAX_TITLE} characters.", code="bad-title")
    return title


def _grouped(pairs: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for key, name in pairs:
        found[key] = (*found.get(key, ()), name)
    return found
