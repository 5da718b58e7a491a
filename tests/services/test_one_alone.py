"""Nobody alone reaches production: by a team's name, by what it owns, by a service, its tokens or a mapping, by waiting."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from backend.access import requests
from backend.access.bearer_file import Profile
from backend.access.binding_rows import Binding
from backend.access.bindings import Bindings
from backend.access.claimed_roles import after_sign_in
from backend.access.claims import Person
from backend.access.data_sets import DataSets
from backend.access.group_mappings import GroupMappings
from backend.access.queries import grants, owner, permitted
from backend.access.rows import Identity, Request
from backend.access.service import Identities
from backend.access.service_owners import ServiceOwners
from backend.access.sign_in_file import METADATA, Provider, SignIn
from backend.access.teams import Teams
from backend.access.tokens import Tokens
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow
from backend.policy import service as policy
from backend.policy.service import Policies
from backend.settings import Settings
from tests.databases import Clock
from tests.identity_provider import signs_in

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
SETTINGS = Settings(demo_identities=True)
GITHUB = Profile(name="github", title="GitHub", kind="github", audience="https://c.example.com")


class World:
    """Two admins, a third one who may be up to something, and settings that give roles to groups in the scopes of teams."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sign_in = _sign_in(interns="team:sandbox", everybody="team:future")
        self.identities = Identities(database, SETTINGS, policy.protected)
        self.identities.seed_demo()
        Policies(database).seed()
        self.teams = Teams(database, lambda *_: True, policy.protected, self.sign_in)
        self.owners = ServiceOwners(database, policy.protected)
        self.mappings = GroupMappings(database, self.sign_in)
        self.tokens = Tokens(database, SETTINGS)
        self.otto, self.nora, self.ana, self.ben = map(self.identities.act_as, ("otto", "nora", "ana", "ben"))
        self.eve = self.identities.create(self.otto, "eve")
        self.confirmed(self.identities.grant(self.otto, "eve", "admin"))

    def confirmed(self, asked: object) -> None:
        """What Otto asked for, confirmed by Nora."""
        assert isinstance(asked, Request)
        confirm = {
            "role.grant": self.identities.confirm_grant,
            "owner.set": self.teams.confirm_owner,
            "identity.hand_over": self.owners.confirm,
        }
        confirm[asked.kind](self.nora, asked.id)

    def signs_in(self, who: Actor, groups: Iterable[str]) -> None:
        told = Person("iss", who.name, "", who.name, self.database.now(), who.name, who.name, None, frozenset(groups), False)
        with self.database.unit(SYSTEM) as tx:
            after_sign_in(tx, who.id, self.sign_in.providers[0], told, lasts=timedelta(days=30), demo=True)

    def runs_production(self, who: Actor) -> bool:
        with self.database.read() as session:
            where = {"environment": "production", "model": "m", "endpoint": "prod"}
            return permitted(session, who, "rollout.resume", now=self.database.now(session), **where)

    def roles(self, who: Actor) -> set[tuple[str, str]]:
        with self.database.read() as session:
            return {(one.role, one.scope) for one in grants(session, who.id)}


def _sign_in(**roles: str) -> SignIn:
    told = {"name": "corp", "title": "Corp", "client_id": "countersign", "client_secret": "of-this-test"}
    given = [{"value": group, "role": "operator", "scope": scope} for group, scope in roles.items()]
    return signs_in(Provider.model_validate({**told, "server_metadata_url": f"https://id.test{METADATA}", "roles": given}))


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def _refused(code: str, command: Any, *given: Any) -> None:
    with pytest.raises(Refusal) as refused:
        command(*given)
    assert refused.value.code == code


def test_no_team_takes_a_name_by_which_the_settings_or_people_know_another(world: World) -> None:
    teams, eve = world.teams, world.eve
    for name in ("sandbox", "core", "old"):
        teams.create(world.otto, name)
    world.confirmed(teams.set_owner(world.otto, "endpoint", "prod", "core"))
    for name, to in (("sandbox", "away"), ("core", "future"), ("core", "sandbox")):
        _refused("name-taken" if to == "sandbox" else "named-in-settings", teams.rename, eve, name, to)
    teams.rename(eve, "old", "older")
    _refused("name-taken", teams.rename, eve, "core", "old")
    _refused("name-taken", teams.create, eve, "old")
    assert teams.rename(eve, "older", "old").name == "old", "its own name is its own"
    assert teams.rename(eve, "sandbox", "sandbox", "Another title").title == "Another title"
    world.signs_in(eve, ["interns", "everybody"])
    assert not world.runs_production(eve)


def test_whoever_would_hold_a_role_by_a_group_gives_the_team_nothing(world: World) -> None:
    world.signs_in(world.eve, ["everybody"])
    world.teams.create(world.eve, "future")
    assert world.roles(world.eve) == {("admin", "*")}, "the team is new, and she has not signed in since"
    _refused("own-identity", world.teams.set_owner, world.eve, "endpoint", "prod", "future")
    asked = world.teams.set_owner(world.otto, "endpoint", "prod", "future")
    assert asked is not None
    _refused("own-identity", world.teams.confirm_owner, world.eve, asked.id)
    world.signs_in(world.otto, ["everybody"])
    _refused("stale-request", world.teams.confirm_owner, world.nora, asked.id)
    world.signs_in(world.otto, [])
    world.confirmed(asked)
    world.signs_in(world.ana, ["everybody"])
    assert world.runs_production(world.ana), "two admins gave it to the team, and the settings say who is in it"


def test_what_a_team_owns_takes_two_while_a_role_in_its_scope_waits(world: World) -> None:
    world.teams.create(world.otto, "t")
    role = world.identities.grant(world.otto, "ana", "operator", "team:t")
    asked = world.teams.set_owner(world.otto, "endpoint", "prod", "t")
    assert asked is not None
    with world.database.read() as session:
        assert owner(session, endpoint="prod") is None
    world.confirmed(role)
    assert not world.runs_production(world.ana)


def test_whoever_asked_for_an_owner_gains_nothing_by_it_while_it_waits(world: World) -> None:
    world.teams.create(world.otto, "t")
    asked = world.teams.set_owner(world.otto, "endpoint", "prod", "t")
    assert asked is not None
    role = world.identities.grant(world.nora, "otto", "operator", "team:t")
    assert isinstance(role, Request)
    world.identities.confirm_grant(world.eve, role.id)
    _refused("stale-request", world.teams.confirm_owner, world.nora, asked.id)
    assert not world.runs_production(world.otto)


def _bot(world: World, owned_by: str) -> Actor:
    bot = world.identities.create(world.otto, "bot", kind="service", owner=owned_by)
    world.confirmed(world.identities.grant(world.otto, "bot", "admin"))
    return bot


def test_a_kept_token_is_neither_a_second_person_nor_a_first_one(world: World) -> None:
    """Whoever made it may act by it after the service went to somebody else."""
    _bot(world, "eve")
    text = world.tokens.create(world.eve, "kept", identity="bot").text
    world.confirmed(world.owners.hand_over(world.otto, "bot", "ana"))
    as_bot = world.tokens.actor_of(text)
    assert as_bot is not None
    hers = world.identities.grant(world.eve, "ben", "operator")
    assert isinstance(hers, Request)
    _refused("not-a-person", world.identities.confirm_grant, as_bot, hers.id)
    _refused("own-identity", world.identities.grant, as_bot, "eve", "operator")
    _refused("own-identity", world.identities.grant, world.eve, "bot", "operator")
    again = world.tokens.actor_of(world.tokens.create(as_bot, "by the first one").text)
    assert again is not None
    asked = world.identities.grant(again, "ben", "reviewer", "environment:production")
    assert isinstance(asked, Request)
    _refused("own-request", world.identities.confirm_grant, world.eve, asked.id)
    world.confirmed(asked)


def test_a_waiting_role_of_a_service_is_for_the_owner_whom_the_request_names(world: World) -> None:
    world.identities.create(world.otto, "ci", kind="service", owner="olga")
    asked = world.identities.grant(world.otto, "ci", "operator")
    assert isinstance(asked, Request)
    assert isinstance(world.owners.hand_over(world.otto, "ci", "ana"), Identity), "it holds nothing yet"
    _refused("stale-request", world.identities.confirm_grant, world.nora, asked.id)
    again = world.identities.grant(world.otto, "ci", "operator")
    assert isinstance(again, Request)
    assert again.id != asked.id
    world.confirmed(again)


def test_a_mapping_gives_nothing_to_whoever_owned_the_service_that_asked_for_it(world: World, clock: Clock) -> None:
    bot = _bot(world, "eve")
    asked = world.mappings.map(bot, "corp", "staff", "operator")
    clock.tick(days=1)
    world.confirmed(world.owners.hand_over(world.otto, "bot", "ana"))
    clock.tick(days=1)
    world.mappings.confirm(world.nora, asked.id)
    for who, gets in ((world.eve, False), (world.ana, False), (world.nora, False), (world.ben, True)):
        world.signs_in(who, ["staff"])
        assert (("operator", "*") in world.roles(who)) is gets, who.name


def test_a_leavers_token_stays_dead_when_the_service_is_handed_over(world: World) -> None:
    _bot(world, "eve")
    text = world.tokens.create(world.eve, "kept", identity="bot").text
    world.identities.deactivate(world.otto, "eve")
    world.confirmed(world.owners.hand_over(world.otto, "bot", "ana"))
    assert world.tokens.actor_of(text) is None
    world.identities.activate(world.otto, "eve")
    assert world.tokens.actor_of(text) is None, "the hand-over ended it"


def test_a_token_that_was_made_while_a_service_held_nothing_ends_with_the_hand_over(world: World) -> None:
    world.identities.create(world.eve, "ci", kind="service", owner="eve")
    text = world.tokens.create(world.eve, "seed", identity="ci", lifetime=timedelta(days=366)).text
    assert isinstance(world.owners.hand_over(world.eve, "ci", "ana"), Identity), "it holds nothing yet"
    assert world.tokens.actor_of(text) is None
    with world.database.read() as session:
        *_, revoked, handed = session.exec(select(LedgerRow).order_by(col(LedgerRow.seq))).all()
    assert (revoked.action, handed.action) == ("token.revoke", "identity.hand_over")
    assert json.loads(handed.after_json or "")["tokens_ended"] == 1


def _says(world: World, asked: object) -> str:
    assert isinstance(asked, Request)
    with world.database.read() as session:
        return requests.line(session, asked.id, now=world.database.now(session)).says


def test_a_role_of_a_service_names_whoever_can_act_as_it_and_is_stale_once_there_are_more(world: World) -> None:
    """A small role, given by one, lets tokens go on at a hand-over by one; the two who give a large one are told of them."""
    world.identities.create(world.otto, "ci", kind="service", owner="eve")
    world.identities.grant(world.otto, "ci", "viewer", "environment:dev")
    as_ci = world.tokens.actor_of(world.tokens.create(world.eve, "seed", identity="ci").text)
    world.tokens.create(world.eve, "narrow", identity="ci", scope="environment:dev")
    assert as_ci is not None
    bound = Bindings(world.database, [GITHUB], policy.protected)
    dev = bound.bind(world.otto, "ci", "github", {"repository_id": "1", "ref": "refs/heads/main"}, scope="environment:dev")
    assert isinstance(world.owners.hand_over(world.otto, "ci", "ana"), Identity)
    kept = "Give ci (owned by Ana (data scientist) [ana]; eve may have a token of it"
    asked = world.identities.grant(world.otto, "ci", "operator")
    job = "tokens of github with ref=refs/heads/main, repository_id=1 act as it"
    assert _says(world, asked) == f"{kept}; {job}) the role operator everywhere."
    production = world.identities.grant(world.otto, "ci", "operator", "environment:production")
    assert _says(world, production) == f"{kept}) the role operator in environment:production."
    bound.bind(world.otto, "ci", "github", {"repository_id": "2", "ref": "refs/heads/main"}, scope="environment:dev")
    assert isinstance(asked, Request)
    _refused("stale-request", world.identities.confirm_grant, world.nora, asked.id)
    assert isinstance(dev, Binding)
    bound.unbind(world.otto, dev.id)
    again = world.identities.grant(world.otto, "ci", "operator")
    assert isinstance(again, Request)
    assert again.id != asked.id
    world.confirmed(again)
    world.confirmed(production)


def test_nobody_comes_by_a_service_or_a_team_to_a_data_set_that_he_gave(world: World, clock: Clock) -> None:
    sets, until = DataSets(world.database), clock.now + timedelta(days=30)
    world.teams.create(world.otto, "t")
    world.identities.create(world.otto, "direct", kind="service", owner="ana")
    world.identities.create(world.otto, "member", kind="service", owner="ana")
    hers = world.identities.create(world.otto, "hers", kind="service", owner="eve")
    world.teams.add_member(world.otto, "t", "member")
    sets.grant(world.otto, "probes/m", until=clock.now + timedelta(days=1), identity="direct")
    given = [
        sets.grant(world.eve, "probes/m", until=until, identity="direct"),
        sets.grant(world.eve, "probes/m", until=until, team="t"),
    ]
    assert given[0].given_by == world.eve.id, "whoever moved its end gave it"
    for service in ("direct", "member"):
        _refused("own-identity", world.owners.hand_over, world.otto, service, "eve")
    for name in ("eve", hers.name):
        _refused("own-identity", world.teams.add_member, world.otto, "t", name)
    world.teams.add_member(world.otto, "t", "ben")
    for one in given:
        sets.take_back(world.otto, one.id)
    assert isinstance(world.owners.hand_over(world.otto, "direct", "eve"), Identity)
    world.teams.add_member(world.otto, "t", "eve")
