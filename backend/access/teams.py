"""Teams: who belongs to one, and which models and endpoints it owns. What it owns is what a grant in its scope reaches."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlmodel import Session, col, select

from backend.access import data_sets, queries, requests
from backend.access.checks import require
from backend.access.claimed_roles import may_come
from backend.access.last_admin import ROLES
from backend.access.rows import Identity, Ownership, Request, RoleGrant, Team, TeamMember
from backend.access.scopes import Exists, named_team, team_of_name
from backend.access.service import Protected, named_identity, refuse_own
from backend.access.sign_in_file import SignIn
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
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
        sign_in: the settings, whose mappings name teams; None where nobody signs in.
    """

    def __init__(
        self,
        database: Database,
        exists: Exists,
        protected: Protected = lambda _: frozenset(),
        sign_in: SignIn | None = None,
    ) -> None:
        self._database = database
        self._exists = exists
        self._protected = protected
        self._providers = sign_in.providers if sign_in is not None else ()

    def create(self, actor: Actor, name: str, title: str = "") -> Team:
        """A new team without members. Refusal codes: bad-name, name-taken."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "team.create")
            _refuse_name(tx, name)
            row = Team(id=tx.new_id("tem"), name=name, title=_title(title), created_by=actor.id, created_at=tx.now)
            tx.record("team.create", tx.add(row), after=row.facts("name", "title"))
            return row

    def rename(self, actor: Actor, name: str, to: str, title: str | None = None) -> Team:
        """Another name, another title or both. Grants and what it owns stay with it.

        A name that another team has or had, and one that the settings of sign-in give roles by, stays where it is: whoever
        writes it means that team. Refusal codes: bad-name, name-taken, named-in-settings.
        """
        with self._database.unit(actor) as tx:
            row = _allowed(tx, actor, name, "team.rename")
            if to != name:
                _refuse_name(tx, to, row)
                self._refuse_settled(name, to)
            before = row.facts("name", "title")
            row.name, row.title = to, row.title if title is None else _title(title)
            if row.facts("name", "title") != before:
                tx.record("team.rename", row, before=before, after=row.facts("name", "title"))
            return row

    def retire(self, actor: Actor, name: str) -> None:
        """Ends a team that owns nothing any more, and the roles in its scope with it. Its name stays taken."""
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            row = _allowed(tx, actor, name, "team.retire")
            if tx.session.exec(select(Ownership.id).where(Ownership.team_id == row.id).limit(1)).first() is not None:
                raise Refusal(
                    f"{name} owns models or endpoints.", "Give them to another team, or to none.", code="owns-something"
                )
            row.retired_at = tx.now
            _end_roles(tx, row)
            tx.record("team.retire", row, after=row.facts("name", "retired_at"))

    def add_member(self, actor: Actor, name: str, identity: str) -> None:
        """Somebody belongs to the team from now on. Nobody adds himself, or a service of his own; nor whoever gave the team a
        data set, who would so give it to himself.
        """
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            row = _allowed(tx, actor, name, "team.add_member")
            whose = named_identity(tx.session, identity)
            refuse_own(tx, whose, "You cannot add yourself to a team.")
            data_sets.refuse_giver(tx, whose, team=row)
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

        Where some changes need approvals that becomes a request, which a second admin has to confirm, whoever holds a role in
        the scope of a team by then: it says who may come to do what. Nobody gives to a team in whose scope he, or a service of
        his, holds a role or would hold one by his groups: he would give it to himself.
        """
        if kind not in get_args(Kind):
            raise Refusal(f"{kind[:40]!r} cannot be owned.", "Name a model or an endpoint.", code="bad-kind")
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "owner.set")
            if not self._exists(tx.session, kind, name):
                raise NotFound(kind, name[:80])
            to = named_team(tx.session, team) if team is not None else None
            if to is not None:
                self._refuse_own(tx, to)
            if not _is_owner(tx, kind, name, to) and self._protected(tx.session):
                return requests.ask(tx, "owner.set", {"kind": kind, "name": name, "team_id": to.id if to is not None else None})
            _give(tx, kind, name, to)
            return None

    def confirm_owner(self, actor: Actor, request_id: str, reason: str = "") -> None:
        """Does what another admin asked for.

        Refusal codes: not-a-person, own-request, own-identity, settled, expired, stale-request.
        """
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)
            require(tx, actor, "owner.set")
            row = requests.waiting(tx, request_id, "owner.set")
            to = tx.get(Team, row.what["team_id"]) if row.what["team_id"] is not None else None
            if to is not None:
                self._refuse_own(tx, to)
            requests.confirm(tx, row, "owner.set", reason)
            if to is not None and self._reaches(tx, to, requests.askers(tx.session, row)):
                raise Refusal(
                    f"Whoever asked for this holds a role on what {to.name} owns by now, or would by a group.",
                    "Refuse this request; an admin who does not asks anew.",
                    code="stale-request",
                )
            gone = not self._exists(tx.session, row.what["kind"], row.what["name"])
            if gone or (to is not None and to.retired_at is not None):
                raise Refusal("What was asked for is not there any more.", "Refuse this request.", code="stale-request")
            _give(tx, row.what["kind"], row.what["name"], to, request_id=row.id)

    def refuse_owner(self, actor: Actor, request_id: str, reason: str) -> None:
        """Refuses it, or takes it back."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "owner.set")
            requests.refuse(tx, requests.waiting(tx, request_id, "owner.set"), reason)

    def _refuse_settled(self, *names: str) -> None:
        given = {one.scope for provider in self._providers for one in provider.roles}
        for name in names:
            if f"team:{name}" in given:
                raise Refusal(
                    f"The settings of sign-in give roles in the scope of team:{name}, and whoever writes them means that team.",
                    "Take the name out of the settings first; put it there anew once the team has it.",
                    code="named-in-settings",
                )

    def _refuse_own(self, tx: Unit, team: Team) -> None:
        if self._reaches(tx, team, tx.actor.interests):
            raise Refusal(
                f"You hold a role on what {team.name} owns, or would by a group that you are in.",
                "Ask another admin.",
                code="own-identity",
            )

    def _reaches(self, tx: Unit, team: Team, interests: Collection[str]) -> bool:
        """Whether one of these, or a service of theirs, holds a role in the scope of a team, or comes to hold it by groups."""
        scope, own = f"team:{team.id}", set(tx.session.exec(queries.ids_of_interest(interests, tx.now)))
        held = select(RoleGrant.id).where(RoleGrant.scope == scope, col(RoleGrant.identity_id).in_(own))
        if tx.session.exec(held.limit(1)).first() is not None:
            return True
        return any(place == scope for _, place in may_come(tx.session, self._providers, own))


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


def _end_roles(tx: Unit, team: Team) -> None:
    """They reach nothing any more, but would let their holders look at what every role shows."""
    query = select(RoleGrant).where(RoleGrant.scope == f"team:{team.id}").order_by(col(RoleGrant.id))
    for grant in tx.session.exec(query).all():
        tx.session.delete(grant)
        before = grant.facts("identity_id", "role", "scope")
        tx.record("role.take_back", grant, before=before, after={"reason": "The team was retired."})


def _refuse_name(tx: Unit, name: str, team: Team | None = None) -> None:
    if not _NAME.fullmatch(name):
        raise Refusal(
            f"{name[:80]!r} cannot be the name of a team.",
            "Use up to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
            code="bad-name",
        )
    taken = tx.session.exec(select(Team.id).where(Team.name == name)).first() is not None
    if taken or _others_before(tx.session, name, team.id if team is not None else None):
        raise Refusal(f"There is or was a team {name}.", "Choose another name.", code="name-taken")


def _others_before(session: Session, name: str, team_id: str | None) -> bool:
    """Whether another team had this name: who knows it by that would give to this one what he means for the other."""
    query = select(LedgerRow.before_json).where(LedgerRow.action == "team.rename", LedgerRow.subject_id != (team_id or ""))
    return any(json.loads(before).get("name") == name for before in session.exec(query))


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
