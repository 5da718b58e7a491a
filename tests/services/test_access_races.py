"""What two admins, or a directory's two requests, do at the very same moment comes out as if one had come after the other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from backend.access import last_admin, scim
from backend.access.data_sets import DataSets
from backend.access.rows import DataSetGrant, Identity, Request, RoleGrant, Team
from backend.access.service import Identities
from backend.access.teams import Teams
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import Raced
from backend.policy import service as policy
from backend.policy.service import Policies
from backend.settings import Settings
from tests.databases import Clock
from tests.races import at_once
from tests.services.test_scim import Directory, directory

__all__ = ["directory"]


@pytest.fixture
def identities(database: Database) -> Identities:
    made = Identities(database, Settings(demo_identities=True), policy.protected)
    made.seed_demo()
    Policies(database).seed()
    return made


@pytest.fixture
def otto(identities: Identities) -> Actor:
    return identities.act_as("otto")


@pytest.fixture
def nora(identities: Identities) -> Actor:
    return identities.act_as("nora")


def _is_anybody_admin(database: Database) -> bool:
    with database.read() as session:
        return last_admin.outlook(session, now=database.now(session), demo=True).anybody


@pytest.mark.parametrize("how", ["deactivate", "take_back", "shorten"])
def test_two_admins_never_put_each_other_out(
    identities: Identities, database: Database, otto: Actor, nora: Actor, clock: Clock, how: str
) -> None:
    def out(actor: Actor, name: str) -> object:
        if how == "deactivate":
            return identities.deactivate(actor, name)
        if how == "take_back":
            return identities.take_back(actor, name, "admin")
        return identities.grant(actor, name, "admin", expires_at=clock.now + timedelta(seconds=1))

    said, late = at_once(lambda: out(otto, "nora"), lambda: out(nora, "otto"))
    assert isinstance(said, RoleGrant | None)
    assert late == {"deactivate": "deactivated", "take_back": "not-allowed", "shorten": "last-admin"}[how]
    clock.tick(days=1)
    assert _is_anybody_admin(database)


def test_what_two_ask_for_or_give_at_once_is_there_once(
    identities: Identities, database: Database, otto: Actor, nora: Actor, clock: Clock
) -> None:
    for scope, table in (("environment:dev", RoleGrant), ("*", Request)):
        one, other = at_once(
            lambda scope=scope: identities.grant(otto, "ana", "reviewer", scope),  # type: ignore[misc]
            lambda scope=scope: identities.grant(nora, "ana", "reviewer", scope),  # type: ignore[misc]
        )
        assert isinstance(one, table), one
        assert isinstance(other, table), other
        assert one.id == other.id
    sets, until = DataSets(database), clock.now + timedelta(days=9)
    at_once(
        lambda: sets.grant(otto, "probes/m", until=until, identity="ana"),
        lambda: sets.grant(nora, "probes/m", until=until, identity="ana"),
    )
    with database.read() as session:
        assert len(session.exec(select(DataSetGrant)).all()) == 1


def test_a_name_is_given_once_and_whoever_was_later_is_told(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    made, late = at_once(lambda: identities.create(otto, "same"), lambda: identities.create(nora, "same"))
    assert isinstance(made, Actor)
    assert late == "name-taken"


def test_what_a_key_of_the_database_refuses_is_a_refusal_for_every_command(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    """Teams lock nothing: on PostgreSQL both look before either is there. SQLite lets the second one look afterwards."""
    teams = Teams(database, lambda *_: True)
    made, late = at_once(lambda: teams.create(otto, "same"), lambda: teams.create(nora, "same"))
    assert isinstance(made, Team)
    assert late == ("name-taken" if database.is_sqlite else "raced")
    with pytest.raises(Raced), database.unit(SYSTEM) as tx:
        tx.record("identity.create", tx.add(Identity(id=otto.id, name="twice", created_at=tx.now)))
    with pytest.raises(Raced), database.unit(SYSTEM) as tx:
        tx.record("identity.create", tx.add(Identity(id="idn_x", name="x", owner_id="idn_y", created_at=tx.now)))


@pytest.mark.parametrize("directory", ["postgresql"], indirect=True)
def test_a_directory_that_tells_two_things_at_once_is_heard_twice(directory: Directory) -> None:
    people, speaks = directory.backend.directory_people, directory.backend.tokens.actor_of(directory.token)

    def told(name: str) -> str:
        return people.create_user(speaks, "corp", scim.User(name, display_name=name)).id

    one, other = at_once(lambda: told("sam@a.test"), lambda: told("sam@b.test"))
    assert one.startswith("scu_"), one
    assert other.startswith("scu_"), other
    assert {directory.identity(name).name for name in ("sam@a.test", "sam@b.test")} == {"sam", "sam-2"}
    _, late = at_once(lambda: told("tom@a.test"), lambda: told("tom@a.test"))
    assert late == "scim", "uniqueness, which is a 409"
