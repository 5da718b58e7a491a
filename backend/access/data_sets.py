"""Data sets: who may read requests of single people row by row, apart from any role; and that each such read is on record."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import queries, scopes
from backend.access.checks import active_identity, require
from backend.access.last_admin import ROLES
from backend.access.rows import DataSetGrant, Identity, Team, TeamMember
from backend.access.scopes import Exists, named_team
from backend.access.service import named_identity
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

LONGEST = timedelta(days=366)
_KINDS = {"probes": "model", "requests": "endpoint"}
_NAME = re.compile(r"(?:probes|requests)/[^\x00-\x1f\x7f]{1,256}")


@dataclass(frozen=True)
class DataSetLine:
    """One grant as people read it; one of `identity` and `team` is set."""

    id: str
    identity: str | None
    team: str | None
    data_set: str
    given_by: str
    given_at: datetime
    until: datetime
    is_in_force: bool


def own_lines(session: Session, actor: Actor, *, now: datetime) -> tuple[DataSetLine, ...]:
    """Those that the actor holds by itself or by a team. A narrowed token is told none: it reads none by them."""
    who = active_identity(session, actor)
    if actor.limits is not None:
        return ()
    mine = select(Team.name).join(TeamMember).where(TeamMember.identity_id == who.id, col(Team.retired_at).is_(None))
    teams = set(session.exec(mine))
    return tuple(one for one in lines(session, now=now) if one.identity == who.name or one.team in teams)


class DataSets:
    """Commands on grants of data sets.

    Args:
        database: where they are kept.
        exists: whether there is the model or the endpoint that a data set is named after.
    """

    def __init__(self, database: Database, exists: Exists = scopes.everything) -> None:
        self._database = database
        self._exists = exists

    def grant(
        self, actor: Actor, data_set: str, *, until: datetime, identity: str | None = None, team: str | None = None
    ) -> DataSetGrant:
        """Lets an identity, or a team's members, read a data set. Giving it again moves its end, and makes it the actor's gift.

        Nobody gives one to himself, to a service of his own, or to a team that he belongs to. NotFound for a model or an
        endpoint that is not there. Refusal codes: bad-data-set, bad-end, own-identity.
        """
        _check(data_set, identity, team)
        with self._database.unit(actor) as tx:
            tx.alone(ROLES)  # whose a service is, and who is in a team, stays as it is looked at
            tx.alone(_alone(data_set))
            require(tx, actor, "data_set.grant")
            _check_end(tx.now, until)
            self._demand_there(tx.session, data_set)
            whose, whom = _holder(tx, actor, identity, team)
            row = _held(tx, data_set, whose, whom)
            before = row.facts("until") if row is not None else None
            if row is None:
                row = DataSetGrant(
                    id=tx.new_id("dsg"),
                    identity_id=whose,
                    team_id=whom,
                    data_set=data_set,
                    given_by=actor.id,
                    given_at=tx.now,
                    until=until,
                )
                tx.add(row)
            row.given_by, row.given_at, row.until = actor.id, tx.now, until
            tx.record("data_set.grant", row, before=before, after=row.facts("identity_id", "team_id", "data_set", "until"))
            return row

    def _demand_there(self, session: Session, data_set: str) -> None:
        of, _, name = data_set.partition("/")
        if not self._exists(session, _KINDS[of], name):
            raise scopes.missing(_KINDS[of], name)

    def take_back(self, actor: Actor, grant_id: str) -> None:
        """Ends a grant at once."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "data_set.take_back")
            row = tx.session.get(DataSetGrant, grant_id, with_for_update=True)
            if row is None:
                raise NotFound("grant of a data set", grant_id[:60], "Look at the list of grants.")
            _take_back(tx, row)


def end_those_of(tx: Unit, kind: str, name: str) -> None:
    """Joins: who reads what a model or an endpoint recorded does not read what a new one of its name will."""
    data_set = next(f"{of}/{name}" for of, its in _KINDS.items() if its == kind)
    tx.alone(_alone(data_set))
    query = select(DataSetGrant).where(DataSetGrant.data_set == data_set).order_by(col(DataSetGrant.id))
    for row in tx.session.exec(query).all():
        _take_back(tx, row)


def refuse_giver(tx: Unit, to: Identity, *, whose: Identity | None = None, team: Team | None = None) -> None:
    """Joins: refusal `own-identity` where somebody would come to hold, by a service or a team, a data set that he gave to it
    himself, or by a service of his.

    Args:
        whose: the service that is handed to him; what the teams hold that it belongs to comes with it.
        team: the team that he joins.
    """
    teams = [team.id] if team is not None else []
    if whose is not None:
        query = select(TeamMember.team_id).join(Team).where(TeamMember.identity_id == whose.id, col(Team.retired_at).is_(None))
        teams += tx.session.exec(query)
    its = col(DataSetGrant.identity_id) == whose.id if whose is not None else sa.false()
    holder = sa.or_(its, col(DataSetGrant.team_id).in_(teams))
    for row in tx.session.exec(select(DataSetGrant).where(holder, col(DataSetGrant.until) > tx.now)):
        givers = queries.interests_since(tx.session, [row.given_by], row.given_at)
        if givers & queries.interests_since(tx.session, [to.id], row.given_at):
            raise Refusal(
                f"{to.name} would come to hold {row.data_set}, which {to.name} gave, alone or by a service.",
                "Take that grant back, or let another admin give it anew, first.",
                code="own-identity",
            )


def require_data_set(tx: Unit, actor: Actor, data_set: str, **what: Any) -> None:
    """Refusal `data-set` without a grant that is in force; with one, the read goes to the ledger before anything is shown.

    Args:
        what: which rows, in small facts.
    """
    active_identity(tx.session, actor)
    if not holds(tx.session, actor.id, data_set, now=tx.now):
        raise Refusal(
            f"{actor.name} may not read {data_set} row by row.",
            "Ask an admin for a grant of this data set; no role brings it.",
            code="data-set",
            data_set=data_set,
        )
    tx.record("data_set.read", ("data_set", data_set), after=what)


def holds(session: Session, identity_id: str, data_set: str, *, now: datetime) -> bool:
    """Whether an identity, or a team that it belongs to, holds a data set at this moment."""
    teams = select(TeamMember.team_id).join(Team).where(TeamMember.identity_id == identity_id, col(Team.retired_at).is_(None))
    mine = sa.or_(col(DataSetGrant.identity_id) == identity_id, col(DataSetGrant.team_id).in_(teams))
    query = select(DataSetGrant.id).where(DataSetGrant.data_set == data_set, col(DataSetGrant.until) > now, mine)
    return session.exec(query.limit(1)).first() is not None


def lines(session: Session, *, now: datetime) -> tuple[DataSetLine, ...]:
    """Every grant by data set, ended ones included."""
    query = select(DataSetGrant, Identity, Team).outerjoin(Identity, col(Identity.id) == DataSetGrant.identity_id)
    query = query.outerjoin(Team, col(Team.id) == DataSetGrant.team_id)
    rows = session.exec(query.order_by(DataSetGrant.data_set, col(DataSetGrant.given_at))).all()
    return tuple(
        DataSetLine(
            id=row.id,
            identity=one.name if one is not None else None,
            team=team.name if team is not None else None,
            data_set=row.data_set,
            given_by=row.given_by,
            given_at=row.given_at,
            until=row.until,
            is_in_force=now < row.until,
        )
        for row, one, team in rows
    )


def _holder(tx: Unit, actor: Actor, identity: str | None, team: str | None) -> tuple[str | None, str | None]:
    own = Refusal("You cannot give a data set to yourself.", "Ask another admin.", code="own-identity")
    if identity is not None:
        row = named_identity(tx.session, identity)
        if actor.interests & queries.interests_since(tx.session, [row.id], tx.now):
            raise own
        return row.id, None
    found = named_team(tx.session, str(team))
    mine = queries.ids_of_interest(actor.interests, tx.now)
    member = select(TeamMember.team_id).where(TeamMember.team_id == found.id, col(TeamMember.identity_id).in_(mine))
    if tx.session.exec(member.limit(1)).first() is not None:
        raise own
    return None, found.id


def _held(tx: Unit, data_set: str, identity_id: str | None, team_id: str | None) -> DataSetGrant | None:
    query = select(DataSetGrant).where(DataSetGrant.data_set == data_set)
    query = query.where(col(DataSetGrant.identity_id).is_not_distinct_from(identity_id))
    return tx.session.exec(query.where(col(DataSetGrant.team_id).is_not_distinct_from(team_id))).one_or_none()


def _alone(data_set: str) -> str:
    """Under which name a unit holds all grants of a data set."""
    return f"data set {data_set}"


def _take_back(tx: Unit, row: DataSetGrant) -> None:
    tx.session.delete(row)
    tx.record("data_set.take_back", row, before=row.facts("identity_id", "team_id", "data_set", "until"))


def _check(data_set: str, identity: str | None, team: str | None) -> None:
    if not _NAME.fullmatch(data_set):
        raise Refusal(
            f"{data_set[:80]!r} is not a data set.", "Name `probes/MODEL` or `requests/ENDPOINT`.", code="bad-data-set"
        )
    if (identity is None) == (team is None):
        raise Refusal("A data set is given to an identity or to a team.", "Name one of them.", code="bad-holder")


def _check_end(now: datetime, until: datetime) -> None:
    if not now < until <= now + LONGEST:
        raise Refusal("This grant needs an end.", "Choose one within 366 days.", code="bad-end")
