"""Teams as commands: who belongs to one, what it owns, and what a grant in its scope then reaches."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from backend.access import queries
from backend.access import teams as reads
from backend.access.checks import require_to_read
from backend.access.rows import Ownership, RoleGrant, Team
from backend.access.teams import Teams
from backend.audit import queries as audit
from backend.changes import course
from backend.changes import queries as changes
from backend.changes.timeline import timeline
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.delivery import fleet, places
from backend.registry import catalog
from backend.rollouts import running as rollouts
from tests.services.changes.world import ENDPOINT, MODEL, World

HOUR = timedelta(hours=1)


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def teams(world: World) -> Teams:
    return Teams(world.database, lambda session, kind, name: (kind, name) in {("endpoint", ENDPOINT), ("model", MODEL)})


def _person(world: World, name: str, role: str = "", scope: str = "*") -> Actor:
    actor = world.identities.create(world.otto, name)
    if role:
        world.identities.grant(world.otto, name, role, scope)
    return actor


def _actions(world: World) -> list[str]:
    with world.database.read() as session:
        return [row.action for row in session.exec(select(LedgerRow).order_by(LedgerRow.seq))]


def test_a_team_is_made_filled_renamed_emptied_and_retired(world: World, teams: Teams) -> None:
    teams.create(world.otto, "flights", " Flight  delays ")
    for _ in range(2):
        teams.add_member(world.otto, "flights", "ana")
        teams.set_owner(world.otto, "model", MODEL, "flights")
    teams.rename(world.otto, "flights", "delays")
    with world.database.read() as session:
        line = reads.line(session, "delays")
        assert (line.title, line.members, line.models, line.endpoints) == ("Flight delays", ("ana",), (MODEL,), ())
        assert reads.owner_name(session, endpoint=ENDPOINT, model=MODEL) == "delays"
    with pytest.raises(Refusal, match="owns models or endpoints"):
        teams.retire(world.otto, "delays")
    teams.set_owner(world.otto, "model", MODEL, None)
    teams.remove_member(world.otto, "delays", "ana")
    teams.retire(world.otto, "delays")
    with pytest.raises(NotFound):
        teams.add_member(world.otto, "delays", "ben")
    with world.database.read() as session:
        assert reads.lines(session) == ()
        assert len(reads.lines(session, retired=True)) == 1
    assert [one for one in _actions(world) if one.startswith(("team.", "owner."))] == [
        "team.create", "team.add_member", "owner.set", "team.rename", "owner.set", "team.remove_member", "team.retire",
    ]  # fmt: skip


def test_a_role_in_the_scope_of_a_team_ends_with_it(world: World, teams: Teams) -> None:
    pim, lin = _person(world, "pim"), _person(world, "lin")
    for name in ("old", "new"):
        teams.create(world.otto, name)
    world.identities.grant(world.otto, "lin", "viewer", "team:old")
    with world.database.unit(world.otto) as tx:  # as it was done before roles ended with the team
        row = tx.session.exec(select(Team).where(Team.name == "old")).one()
        row.retired_at = tx.now
        tx.record("team.retire", row)
    world.identities.take_back(world.otto, "lin", "viewer", "team:old")
    world.identities.grant(world.otto, "pim", "viewer", "team:new")
    teams.retire(world.otto, "new")
    with world.database.read() as session:
        assert queries.grants(session, pim.id) == queries.grants(session, lin.id) == ()
    assert _actions(world)[-2:] == ["role.take_back", "team.retire"]


@pytest.mark.parametrize("name", ["", "Flights", "a b", "-a", "x" * 64])
def test_a_bad_name_or_a_taken_one_is_refused(world: World, teams: Teams, name: str) -> None:
    teams.create(world.otto, "taken")
    for bad in (name, "taken"):
        with pytest.raises(Refusal) as refused:
            teams.create(world.otto, bad)
        assert refused.value.code in ("bad-name", "name-taken")


def test_only_what_is_there_is_owned_and_only_by_a_team_that_is_there(world: World, teams: Teams) -> None:
    teams.create(world.otto, "flights")
    for kind, name, team in (("model", "other", "flights"), ("endpoint", ENDPOINT, "nobody"), ("server", "s", "flights")):
        with pytest.raises(Refusal):
            teams.set_owner(world.otto, kind, name, team)
    with world.database.read() as session:
        assert session.exec(select(Ownership)).all() == []


def test_a_role_in_a_teams_scope_reaches_what_it_owns_and_nothing_else(world: World, teams: Teams) -> None:
    number = world.reviewed()
    teams.create(world.otto, "flights")
    nina = _person(world, "nina", "contributor", "team:flights")
    with pytest.raises(NotFound):
        world.changes.comment(nina, number, "Mine?")
    teams.set_owner(world.otto, "model", MODEL, "flights")
    world.changes.comment(nina, number, "By the model.")
    teams.create(world.otto, "others")
    teams.set_owner(world.otto, "endpoint", ENDPOINT, "others")
    with pytest.raises(NotFound):
        world.changes.comment(nina, number, "The endpoint has an owner of its own.")
    teams.set_owner(world.otto, "endpoint", ENDPOINT, "flights")
    teams.rename(world.otto, "flights", "delays")
    world.changes.comment(nina, number, "The name does not matter.")


def test_nobody_widens_his_own_reach_by_teams(world: World, teams: Teams) -> None:
    root = _person(world, "root", "admin")
    teams.create(world.otto, "flights")
    world.identities.grant(world.otto, "root", "contributor", "team:flights")
    with pytest.raises(Refusal) as refused:
        teams.set_owner(root, "model", MODEL, "flights")
    assert refused.value.code == "own-identity"
    with pytest.raises(Refusal) as refused:
        teams.add_member(root, "flights", "root")
    assert refused.value.code == "own-identity"
    teams.set_owner(world.otto, "model", MODEL, "flights")


def test_nobody_widens_his_own_reach_by_a_service_of_his_own(world: World, teams: Teams) -> None:
    """The service is another identity, and the same interest."""
    root = _person(world, "root", "admin")
    bot = world.identities.create(world.otto, "bot", kind="service", owner="root")
    with world.database.unit(world.otto) as tx:
        row = RoleGrant(id="grt_x", identity_id=bot.id, role="admin", granted_by=world.otto.id, granted_at=tx.now)
        tx.record("role.grant", tx.add(row))
    other = world.identities.create(world.otto, "other", kind="service", owner="root")
    teams.create(world.otto, "flights")
    for whose in ("root", "other", "bot"):
        with pytest.raises(Refusal) as refused:
            teams.add_member(bot, "flights", whose)
        assert refused.value.code == "own-identity"
    for holder in (root, other):
        with world.database.unit(world.otto) as tx:
            at = RoleGrant(
                id=f"grt_{holder.name}", identity_id=holder.id, role="operator", scope=f"team:{_team(world)}",
                granted_by=world.otto.id, granted_at=tx.now,
            )  # fmt: skip
            tx.record("role.grant", tx.add(at))
        with pytest.raises(Refusal) as refused:
            teams.set_owner(bot, "model", MODEL, "flights")
        assert refused.value.code == "own-identity"
        world.identities.take_back(world.otto, holder.name, "operator", "team:flights")
    with pytest.raises(Refusal) as refused:
        world.identities.deactivate(bot, "root")
    assert refused.value.code == "own-identity"


def _team(world: World) -> str:
    with world.database.read() as session:
        return session.exec(select(Team.id).where(Team.name == "flights")).one()


def test_a_grant_for_a_team_that_is_not_there_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        world.identities.grant(world.otto, "ben", "reviewer", "team:nobody")


@pytest.mark.parametrize(("scope", "sees"), [("team:flights", True), ("environment:production", True), ("model:other", False)])
def test_a_look_is_narrowed_on_both_databases(world: World, teams: Teams, scope: str, sees: bool) -> None:
    world.reviewed()
    teams.create(world.otto, "flights")
    teams.set_owner(world.otto, "endpoint", ENDPOINT, "flights")
    nina = _person(world, "nina", "auditor", scope)
    with world.database.read() as session:
        now = world.database.now(session)
        require_to_read(session, nina, "audit.read", now=now)
        told = {
            "endpoints": len(fleet.fleet(session, fleet.Filters(), now=now, interval=HOUR).rows),
            "states": sum(fleet.counts(session, fleet.Filters(), now=now, interval=HOUR).values()),
            "changes": len(changes.page(session).items),
            "counts": sum(changes.counts(session).values()),
            "models": catalog.count(session, catalog.Wanted()),
            "servers": len(places.servers(session)),
            "rollouts": 1 + len(rollouts.running(session, now, limit=5)),
            "ledger": min(1, len([one for one in audit.events(session) if one.subject_kind == "change"])),
            "timeline": min(1, len(timeline(session, course.find(session, 1)))) if sees else 0,
        }
    assert told == {name: int(sees or name == "rollouts") for name in told}
