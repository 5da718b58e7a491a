"""What two admins, or a directory's two requests, do at the very same moment comes out as if one had come after the other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from backend.access import last_admin, scim
from backend.access.bearer_file import Profile
from backend.access.bindings import Bindings
from backend.access.data_sets import DataSets
from backend.access.rows import DataSetGrant, Identity, Request, RoleGrant, Team
from backend.access.service import Identities
from backend.access.service_owners import ServiceOwners
from backend.access.teams import Teams
from backend.access.tokens import Tokens
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
POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
"""SQLite has one writer, which is the order of these."""
GITHUB = Profile(name="github", title="GitHub", kind="github", audience="https://c.example.com")


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


class Services:
    """A third admin, and a service of Olga's for which Otto asked for a role everywhere."""

    def __init__(self, identities: Identities, database: Database, otto: Actor, nora: Actor) -> None:
        self.eve = identities.create(otto, "eve")
        identities.confirm_grant(nora, _asked(identities.grant(otto, "eve", "admin")))
        identities.create(otto, "ci", kind="service", owner="olga")
        self.owners = ServiceOwners(database, policy.protected)
        self.role = _asked(identities.grant(otto, "ci", "operator"))


def _asked(made: object) -> str:
    assert isinstance(made, Request)
    return made.id


@pytest.fixture
def services(identities: Identities, database: Database, otto: Actor, nora: Actor) -> Services:
    return Services(identities, database, otto, nora)


@POSTGRESQL
@pytest.mark.parametrize("to", ["ana", "otto"])
def test_a_service_is_not_handed_over_by_one_while_its_role_is_confirmed(
    identities: Identities, otto: Actor, nora: Actor, services: Services, to: str
) -> None:
    """Whoever asked for the role would else have it by the second one."""
    by, second = (otto, nora) if to == "ana" else (nora, services.eve)
    given, waits = at_once(
        lambda: identities.confirm_grant(second, services.role), lambda: services.owners.hand_over(by, "ci", to)
    )
    assert isinstance(given, RoleGrant)
    assert isinstance(waits, Request), waits


@POSTGRESQL
@pytest.mark.parametrize("what", ["role", "binding", "token"])
def test_what_a_service_is_given_is_its_new_owners_or_nobodys(
    identities: Identities, database: Database, otto: Actor, nora: Actor, services: Services, what: str
) -> None:
    bindings = Bindings(database, [GITHUB], policy.protected)
    bound = _asked(bindings.bind(otto, "ci", "github", {"repository_id": "1", "ref": "refs/heads/main"}))
    tokens = Tokens(database, Settings(demo_identities=True))
    second = {
        "role": lambda: identities.confirm_grant(nora, services.role),
        "binding": lambda: bindings.confirm(nora, bound),
        "token": lambda: tokens.create(identities.act_as("olga"), "late", identity="ci"),
    }[what]
    handed, late = at_once(lambda: services.owners.hand_over(otto, "ci", "ana"), second)
    assert isinstance(handed, Identity)
    assert late == ("not-yours" if what == "token" else "stale-request")


@POSTGRESQL
def test_a_token_that_is_made_while_the_service_is_handed_over_ends_with_it(
    identities: Identities, database: Database, otto: Actor, services: Services
) -> None:
    tokens = Tokens(database, Settings(demo_identities=True))
    made, handed = at_once(
        lambda: tokens.create(identities.act_as("olga"), "late", identity="ci"),
        lambda: services.owners.hand_over(otto, "ci", "ana"),
    )
    assert isinstance(handed, Identity)
    assert tokens.actor_of(made.text) is None


@POSTGRESQL
def test_whoever_asked_for_an_owner_gains_nothing_by_a_role_of_the_same_moment(
    identities: Identities, database: Database, otto: Actor, nora: Actor, services: Services
) -> None:
    teams = Teams(database, lambda *_: True, policy.protected)
    teams.create(otto, "t")
    owner, role = (
        _asked(teams.set_owner(otto, "endpoint", "prod", "t")),
        _asked(identities.grant(nora, "otto", "operator", "team:t")),
    )
    given, late = at_once(lambda: identities.confirm_grant(services.eve, role), lambda: teams.confirm_owner(nora, owner))
    assert isinstance(given, RoleGrant)
    assert late == "stale-request"


@POSTGRESQL
def test_nobody_comes_to_a_data_set_that_he_gives_at_the_same_moment(
    database: Database, otto: Actor, services: Services, clock: Clock
) -> None:
    sets, until = DataSets(database), clock.now + timedelta(days=9)
    teams = Teams(database, lambda *_: True, policy.protected)
    teams.create(otto, "t")
    given, late = at_once(
        lambda: sets.grant(services.eve, "probes/m", until=until, identity="ci"),
        lambda: services.owners.hand_over(otto, "ci", "eve"),
    )
    assert isinstance(given, DataSetGrant)
    assert late == "own-identity"
    joined, late = at_once(
        lambda: teams.add_member(otto, "t", "eve"),
        lambda: sets.grant(services.eve, "probes/m", until=until, team="t"),
    )
    assert joined is None
    assert late == "own-identity"


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
