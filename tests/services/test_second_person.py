"""What takes two people: roles where changes need approvals, weaker policies; and the one exception, which says what it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from sqlmodel import select

from backend import migrate
from backend.access import last_admin, requests
from backend.access.bearer_file import Profile
from backend.access.bindings import Bindings
from backend.access.group_mappings import GroupMappings
from backend.access.queries import grants, owner
from backend.access.rows import Identity, Request, RoleGrant
from backend.access.service import Identities
from backend.access.service_owners import ServiceOwners
from backend.access.session_rows import GroupMapping
from backend.access.sign_in_file import METADATA, Provider, SignIn
from backend.access.teams import Teams
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.policy import service as policy
from backend.policy.ramps import Ramps
from backend.policy.rules import BUILT_IN, ApproverGroup, RampRule
from backend.policy.service import Policies
from backend.settings import Settings
from tests.databases import Clock
from tests.identity_provider import signs_in

PRODUCTION = BUILT_IN["production"]


@pytest.fixture
def identities(database: Database) -> Identities:
    made = Identities(database, Settings(demo_identities=True), policy.protected)
    made.seed_demo()
    Policies(database).seed()
    return made


@pytest.fixture
def owners(database: Database) -> ServiceOwners:
    return ServiceOwners(database, policy.protected)


@pytest.fixture
def otto(identities: Identities) -> Actor:
    return identities.act_as("otto")


@pytest.fixture
def nora(identities: Identities) -> Actor:
    return identities.act_as("nora")


def _sign_in() -> SignIn:
    told = {"name": "corp", "title": "Corp", "client_id": "countersign", "client_secret": "of-this-test"}
    return signs_in(Provider.model_validate({**told, "server_metadata_url": f"https://id.corp.test{METADATA}"}))


def _actions(database: Database) -> list[str]:
    with database.read() as session:
        return [row.action for row in session.exec(select(LedgerRow).order_by(LedgerRow.seq))]


def _roles(database: Database, actor: Actor) -> set[tuple[str, str]]:
    with database.read() as session:
        return {(one.role, one.scope) for one in grants(session, actor.id)}


def _refused(code: str, command: Any, *given: Any) -> None:
    with pytest.raises(Refusal) as refused:
        command(*given)
    assert refused.value.code == code


JOB = {"repository_id": "456789", "ref": "refs/heads/main"}
WORDS: tuple[tuple[requests.Kind, dict[str, Any], str], ...] = (
    (
        "role.grant",
        {"identity_id": "ben", "role": "operator", "scope": "*", "expires_at": None},
        "Give Ben (reviewer) [ben] the role operator everywhere.",
    ),
    (
        "role.grant",
        {"identity_id": "ci", "role": "operator", "scope": "TEAM", "expires_at": "2026-12-24T18:00:00+00:00"},
        "Give ci the role operator in team:flights until 24 Dec 2026 18:00 UTC.",
    ),
    (
        "role.grant",
        {"identity_id": "ci", "owned_by_id": "ben", "role": "operator", "scope": "*", "expires_at": None},
        "Give ci (owned by Ben (reviewer) [ben]) the role operator everywhere.",
    ),
    (
        "policy.set",
        {"environment": "production", "weaker": ["0 approval(s) instead of 2."], "changes": ["approvals_needed: 2 → 0"]},
        "Weaken the policy of production: 0 approval(s) instead of 2. In full: approvals_needed: 2 → 0.",
    ),
    (
        "owner.set",
        {"kind": "endpoint", "name": "eu", "team_id": "TEAM"},
        "Give the endpoint eu to the team flights; roles in the scopes of teams reach what they own.",
    ),
    (
        "owner.set",
        {"kind": "model", "name": "m", "team_id": None},
        "Give the model m to no team; roles in the scopes of teams reach what they own.",
    ),
    (
        "binding.make",
        {"identity_id": "ci", "profile": "github", "claims": JOB, "role": "contributor", "scope": "environment:production"},
        "Give the role contributor in environment:production, as ci, to tokens of github with ref=refs/heads/main, "
        "repository_id=456789.",
    ),
    (
        "binding.make",
        {"identity_id": "ci", "profile": "github", "claims": JOB, "role": None, "scope": "*"},
        "Give whatever it may do everywhere, as ci, to tokens of github with ref=refs/heads/main, repository_id=456789.",
    ),
    (
        "identity.hand_over",
        {"identity_id": "ci", "owner_id": "ben"},
        "Hand ci to Ben (reviewer) [ben], who makes its tokens from then on, with the roles and data sets that it holds.",
    ),
)


def test_the_sentence_of_a_request_leaves_nothing_out(identities: Identities, database: Database, otto: Actor) -> None:
    """It is all that a second person reads: whom by the short name, which role, where, and until when."""
    ids = {"ben": identities.act_as("ben").id, "ci": identities.create(otto, "ci", kind="service", owner="olga").id}
    team = Teams(database, lambda *_: True, policy.protected).create(otto, "flights").id
    for kind, what, says in WORDS:
        meant = {key: ids.get(value, value) if key.endswith("_id") else value for key, value in what.items()}
        meant = {key: value.replace("TEAM", team if key == "team_id" else f"team:{team}") if isinstance(value, str) else value
                 for key, value in meant.items()}  # fmt: skip
        with database.unit(otto) as tx:
            asked = requests.ask(tx, kind, meant).id
        with database.read() as session:
            assert requests.line(session, asked, now=database.now(session)).says == says


@pytest.mark.parametrize("scope", ["*", "environment:production", "model:flight-delay"])
def test_a_role_that_reaches_production_waits_for_a_second_admin(
    identities: Identities, database: Database, otto: Actor, nora: Actor, scope: str
) -> None:
    ana = identities.act_as("ana")
    asked = identities.grant(otto, "ana", "reviewer", scope)
    assert isinstance(asked, Request)
    again = identities.grant(otto, "ana", "reviewer", scope)
    assert isinstance(again, Request)
    assert again.id == asked.id
    assert ("reviewer", scope) not in _roles(database, ana)
    _refused("own-request", identities.confirm_grant, otto, asked.id)
    _refused("not-allowed", identities.confirm_grant, ana, asked.id)
    given = identities.confirm_grant(nora, asked.id)
    assert (given.role, given.scope, given.granted_by) == ("reviewer", scope, nora.id)
    assert ("reviewer", scope) in _roles(database, ana)
    _refused("settled", identities.confirm_grant, nora, asked.id)
    assert _actions(database)[-3:] == ["request.ask", "request.confirm", "role.grant"]


def test_a_service_whose_roles_reach_production_is_handed_over_by_two_and_never_to_oneself(
    identities: Identities, owners: ServiceOwners, database: Database, otto: Actor, nora: Actor
) -> None:
    identities.create(otto, "ci", kind="service", owner="olga")
    assert isinstance(owners.hand_over(otto, "ci", "ana"), Identity), "without a role it takes one"
    _refused("own-identity", owners.hand_over, otto, "ci", "otto")
    _refused("bad-identity", owners.hand_over, otto, "ben", "ana")
    _refused("bad-identity", owners.hand_over, otto, "ci", "ci")
    _refused("not-allowed", owners.hand_over, identities.act_as("ana"), "ci", "ben")
    given = identities.grant(otto, "ci", "contributor", "model:flight-delay")
    identities.confirm_grant(nora, given.id)
    asked = owners.hand_over(otto, "ci", "ben")
    assert isinstance(asked, Request)
    with database.read() as session:
        (line,) = requests.lines(session, now=database.now(session))
    assert line.says.startswith("Hand ci to Ben (reviewer) [ben], who makes its tokens")
    _refused("own-request", owners.confirm, otto, asked.id)
    to_nora = owners.hand_over(otto, "ci", "nora")
    _refused("own-identity", owners.confirm, nora, to_nora.id)
    owners.refuse(nora, to_nora.id, "Not me.")
    stale = owners.hand_over(otto, "ci", "carla")
    assert owners.confirm(nora, asked.id).owner_id == identities.act_as("ben").id
    _refused("stale-request", owners.confirm, nora, stale.id)
    assert _actions(database)[-2:] == ["request.confirm", "identity.hand_over"]


def test_elsewhere_one_admin_is_enough_and_taking_back_or_shortening_always_is(
    identities: Identities, database: Database, otto: Actor, clock: Clock
) -> None:
    assert isinstance(identities.grant(otto, "ana", "reviewer", "environment:staging"), RoleGrant)
    shortened = identities.grant(otto, "ben", "reviewer", expires_at=clock.now + timedelta(days=1))
    assert isinstance(shortened, RoleGrant)
    lengthened = identities.grant(otto, "ben", "reviewer", expires_at=clock.now + timedelta(days=2))
    assert isinstance(lengthened, Request)
    identities.take_back(otto, "ben", "reviewer")
    assert _roles(database, identities.act_as("ben")) == set()


def test_a_request_is_refused_taken_back_or_runs_out(
    identities: Identities, database: Database, otto: Actor, nora: Actor, clock: Clock
) -> None:
    first = identities.grant(otto, "ana", "reviewer")
    _refused("no-reason", identities.refuse_grant, nora, first.id, " ")
    identities.refuse_grant(nora, first.id, "Not needed")
    second = identities.grant(otto, "ana", "reviewer")
    assert second.id != first.id
    identities.refuse_grant(otto, second.id, "My mistake")
    third = identities.grant(otto, "ana", "reviewer")
    with database.read() as session:
        assert [one.id for one in requests.lines(session, now=database.now())] == [third.id]
    clock.tick(days=7)
    _refused("expired", identities.confirm_grant, nora, third.id)
    with database.read() as session:
        assert requests.lines(session, now=database.now()) == ()
        states = [one.state for one in requests.lines(session, now=database.now(), all_of_them=True)]
        assert sorted(states) == ["expired", "refused", "refused"]
        assert "Ana" in requests.line(session, third.id, now=database.now()).says
    with pytest.raises(NotFound):
        identities.confirm_grant(nora, "ask_nothing")


def test_nobody_confirms_for_himself_by_another_hand(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    bot = identities.create(otto, "bot", kind="service", owner="otto")
    promoted = identities.grant(nora, "bot", "admin")
    assert isinstance(promoted, Request)
    _refused("own-identity", identities.confirm_grant, otto, promoted.id)
    with database.unit(nora) as tx:  # as if it had been an admin from the beginning
        row = RoleGrant(id="grt_x", identity_id=bot.id, role="admin", granted_by=nora.id, granted_at=tx.now)
        tx.record("role.grant", tx.add(row))
    asked = identities.grant(otto, "ana", "reviewer")
    _refused("not-a-person", identities.confirm_grant, bot, asked.id)
    for_nora = identities.grant(otto, "nora", "operator")
    _refused("own-identity", identities.confirm_grant, nora, for_nora.id)


@pytest.mark.parametrize("bound", [False, True])
def test_nobody_gets_by_a_hand_over_what_he_asked_for_another_owners_service(
    identities: Identities, owners: ServiceOwners, database: Database, otto: Actor, nora: Actor, clock: Clock, bound: bool
) -> None:
    github = Profile(name="github", title="GitHub", kind="github", audience="https://countersign.example.com")
    bindings = Bindings(database, [github], policy.protected)
    identities.create(otto, "ci", kind="service", owner="ana")
    claims = {"repository_id": "1", "ref": "refs/heads/main"}
    asked = bindings.bind(otto, "ci", "github", claims) if bound else identities.grant(otto, "ci", "admin")
    assert isinstance(asked, Request)
    owners.hand_over(nora, "ci", "otto")
    confirm = bindings.confirm if bound else identities.confirm_grant
    _refused("own-request", confirm, nora, asked.id)
    owners.hand_over(nora, "ci", "ben")
    clock.tick(seconds=1)
    _refused("stale-request", confirm, nora, asked.id)
    owners.hand_over(nora, "ci", "ana")
    confirm(nora, asked.id)


def test_who_asked_must_still_be_allowed_to_when_it_is_confirmed(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    asked = identities.grant(otto, "ana", "reviewer")
    identities.take_back(nora, "otto", "admin")
    _refused("stale-request", identities.confirm_grant, nora, asked.id)
    assert ("reviewer", "*") not in _roles(database, identities.act_as("ana"))
    third = identities.create(nora, "third")
    identities.bootstrap("third")
    anew = identities.grant(nora, "ana", "reviewer")
    assert anew.id != asked.id, "what nobody could confirm does not stand in its way"
    _refused("settled", identities.refuse_grant, nora, asked.id, "Asked for anew.")
    identities.confirm_grant(third, anew.id)
    assert ("reviewer", "*") in _roles(database, identities.act_as("ana"))


def test_a_role_ends_in_the_future_and_the_last_admins_no_sooner(
    identities: Identities, database: Database, otto: Actor, nora: Actor, clock: Clock
) -> None:
    bot = identities.create(otto, "bot", kind="service", owner="ana")
    identities.confirm_grant(nora, identities.grant(otto, "bot", "admin").id)
    for end in (clock.now, clock.now - timedelta(days=1)):
        with pytest.raises(Refusal, match="ends in the future"):
            identities.grant(bot, "otto", "admin", expires_at=end)
    soon, later = clock.now + timedelta(minutes=1), clock.now + timedelta(days=1)
    assert isinstance(identities.grant(bot, "nora", "admin", expires_at=later), RoleGrant)
    assert isinstance(identities.grant(bot, "otto", "admin", expires_at=soon), RoleGrant), "Nora is one for longer"
    with pytest.raises(Refusal, match="Nobody else is an admin everywhere"):
        identities.grant(bot, "nora", "admin", expires_at=soon)
    asked = identities.grant(bot, "ben", "viewer", expires_at=later)
    clock.tick(days=1, minutes=-1)
    third = identities.create(nora, "third")
    identities.bootstrap("third")
    clock.tick(minutes=2)
    _refused("stale-request", identities.confirm_grant, third, asked.id)


def test_requests_come_page_by_page_and_none_is_lost(
    identities: Identities, database: Database, otto: Actor, clock: Clock
) -> None:
    """Also those that were asked for at the same moment."""
    asked = list[str]()
    for number in range(7):
        clock.tick(seconds=number % 2)
        identities.create(otto, f"p{number}")
        asked.append(identities.grant(otto, f"p{number}", "viewer").id)
    for settled, first in ((False, 0), (True, -1)):
        seen, after = list[str](), None
        with database.read() as session:
            while page := requests.lines(session, now=clock.now, all_of_them=settled, after=after, limit=2):
                seen += [one.id for one in page]
                after = (page[-1].asked_at, page[-1].id)
        assert sorted(seen) == sorted(asked)
        assert seen[0] == asked[first]


def test_a_weaker_policy_waits_for_a_second_person_and_a_stricter_one_does_not(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    policies = Policies(database)
    stricter = policies.set_policy(otto, "production", PRODUCTION.model_copy(update={"approvals_needed": 2}))
    assert (stricter.id, stricter.request_id) == ("production@2", None)
    asked = policies.set_policy(otto, "production", BUILT_IN["dev"])
    assert asked.id == "production@2"
    assert asked.request_id is not None
    with database.read() as session:
        says = requests.line(session, asked.request_id, now=database.now()).says
    assert says.startswith("Weaken the policy of production: 0 approval(s) instead of 2.")
    assert "In full: approvals_needed: 2 → 0; " in says
    assert "; gates.recorded_answers: weight must_not_fail, max_age_seconds none → none." in says
    _refused("own-request", policies.confirm_policy, otto, asked.request_id)
    assert policies.confirm_policy(nora, asked.request_id).id == "production@3"
    with database.read() as session:
        assert policy.in_force(session, "production").policy.approvals_needed == 0
        assert policy.protected(session) == frozenset()
    assert _actions(database)[-4:] == ["request.ask", "request.confirm", "policy.save", "environment.set_policy"]


def test_a_request_on_a_policy_that_moved_on_is_stale_and_can_be_refused(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    policies = Policies(database)
    asked = policies.set_policy(otto, "production", BUILT_IN["dev"])
    policies.set_policy(otto, "production", PRODUCTION.model_copy(update={"approvals_needed": 3}))
    assert asked.request_id is not None
    _refused("stale-request", policies.confirm_policy, nora, asked.request_id)
    policies.refuse_policy(nora, asked.request_id, "It moved on")
    with pytest.raises(NotFound):
        identities.confirm_grant(nora, asked.request_id)


def test_a_group_of_approvers_stands_in_a_policy_once_by_whatever_door(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    """Two of one name, the second one laxer, were once no weaker policy, and the laxer one counted."""
    policies = Policies(database)
    strict = PRODUCTION.model_copy(update={"groups": (ApproverGroup(name="risk", needed=1, roles=("auditor",)),)})
    asked = policies.set_policy(otto, "production", strict)
    assert policies.confirm_policy(nora, asked.request_id or "").id == "production@2"
    twice = strict.model_copy(update={"groups": (*strict.groups, ApproverGroup(name="risk", needed=1, roles=("reviewer",)))})
    _refused("bad-policy", policies.set_policy, otto, "production", twice)
    _refused("bad-policy", policies.set_policy, otto, "production", twice.to_json())
    waits = policies.set_policy(otto, "production", BUILT_IN["dev"]).request_id or ""
    with database.engine.begin() as connection:  # as one that was asked for before this was refused
        told = sa.select(Request.what).where(Request.id == waits)
        what = {**connection.execute(told).scalar_one(), "policy": twice.to_json()}
        connection.execute(sa.update(Request).where(Request.id == waits).values(what=what))
    _refused("bad-policy", policies.confirm_policy, nora, waits)


def test_a_ramp_is_not_swapped_under_a_policy_that_waits(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    """The second person agrees to the steps that the request shows, whatever the name stands for by then."""
    policies, ramps = Policies(database), Ramps(database)
    ramps.set(otto, "careful", [{"share": 100, "hold_seconds": 3_600}])
    ramps.set(otto, "quick", [{"share": 50, "hold_seconds": 7_200}, {"share": 500, "person": True}])
    careful, quick = (PRODUCTION.model_copy(update={"ramp": RampRule(named=(name,))}) for name in ("careful", "quick"))
    assert policies.set_policy(otto, "production", careful).request_id is None
    asked = policies.set_policy(otto, "production", quick).request_id or ""
    with database.read() as session:
        says = requests.line(session, asked, now=database.now()).says
    assert says.endswith("ramp.named: careful → quick; ramp quick: 0.5 % for 2h; 5 % for 0s, then a person.")
    ramps.set(otto, "quick", [{"share": 9_999}])
    _refused("stale-request", policies.confirm_policy, nora, asked)
    anew = policies.set_policy(otto, "production", quick).request_id or ""
    assert anew != asked
    assert policies.confirm_policy(nora, anew).id == "production@3"


def test_nobody_makes_a_template_steeper_that_a_policy_asks_for(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    policies, ramps = Policies(database), Ramps(database)
    asks = PRODUCTION.model_copy(update={"ramp": RampRule(named=("canary",))})
    assert policies.set_policy(otto, "production", asks).request_id is None, "every installation has it"
    _refused("ramp-asked-for", ramps.set, otto, "canary", [{"share": 9_999}])
    _refused("not-found", ramps.remove, otto, "canary")
    assert ramps.set(otto, "linear", [{"share": 9_999}]).revision == 1, "nobody asks for that one"


def test_the_first_admins_are_made_by_whoever_holds_the_machine_and_the_ledger_says_so(database: Database) -> None:
    identities = Identities(database, Settings(demo_identities=False), policy.protected)
    identities.seed_demo()
    Policies(database).seed()
    identities.bootstrap("first")
    identities.bootstrap("second")
    identities.bootstrap("second")
    _refused("bootstrapped", identities.bootstrap, "third")
    assert _actions(database).count("identity.bootstrap") == 2
    assert "role.grant" not in _actions(database)


def test_another_owner_takes_two_whoever_holds_a_role_in_the_scope_of_the_team_by_now(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    teams = Teams(database, lambda *_: True, policy.protected)
    teams.create(otto, "flights")
    first = teams.set_owner(otto, "model", "m", "flights")
    assert first is not None, "somebody may be on the way to a role on what the team owns"
    teams.confirm_owner(nora, first.id)
    assert teams.set_owner(otto, "model", "m", "flights") is None, "it is so already"
    asked = teams.set_owner(otto, "endpoint", "e", "flights")
    assert asked is not None
    with database.read() as session:
        assert owner(session, endpoint="e") is None
        assert "the endpoint e to the team flights" in requests.line(session, asked.id, now=database.now()).says
    _refused("own-request", teams.confirm_owner, otto, asked.id)
    teams.confirm_owner(nora, asked.id)
    with database.read() as session:
        assert owner(session, endpoint="e") is not None
    away = teams.set_owner(otto, "endpoint", "e", None)
    assert away is not None
    teams.refuse_owner(nora, away.id, "It stays theirs")


def test_whoever_owns_a_service_by_now_does_not_confirm_what_it_asked_for(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    robot = identities.create(otto, "robot", kind="service", owner="olga")
    given = identities.grant(otto, "robot", "admin")
    assert isinstance(given, Request)
    identities.confirm_grant(nora, given.id)
    asked = identities.grant(robot, "ana", "reviewer")
    assert isinstance(asked, Request)
    with database.unit(otto) as tx:
        row = tx.get(Identity, robot.id)
        row.owner_id = nora.id
        tx.record("identity.hand_over", row, after={"owner_id": nora.id})
    _refused("own-request", identities.confirm_grant, nora, asked.id)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_mapping_that_waited_before_the_update_is_a_request_after_it(
    identities: Identities, database: Database, otto: Actor, nora: Actor, clock: Clock
) -> None:
    made = {"provider": "corp", "role": "viewer", "scope": "*", "made_by": otto.id, "made_at": clock.now}
    waiting = {**made, "id": "map_staff", "value": "staff", "confirmed_by": None, "confirmed_at": None}
    counting = {"id": "map_size", "value": "Größe", "confirmed_by": nora.id, "confirmed_at": clock.now + timedelta(hours=1)}
    rows = [waiting, {**waiting, **counting}]
    before = sa.table("group_mapping", *(sa.column(name) for name in rows[0]))
    with database.engine.begin() as connection:
        command.downgrade(migrate._config(connection), "0019")
        for name in ("made_at", "confirmed_at"):
            before.c[name].type = sa.DateTime(timezone=True)
        connection.execute(sa.insert(before), rows)
    migrate.upgrade(database)
    assert migrate.differences(database) == []
    mappings = GroupMappings(database, _sign_in())
    with database.read() as session:
        (waits,) = requests.lines(session, now=clock.now)
        (kept,) = session.exec(select(GroupMapping)).all()
    assert (waits.id, waits.asked_by, waits.expires_at) == ("ask_staff", otto.id, clock.now + timedelta(days=7))
    assert mappings.map(nora, "corp", "staff", "viewer").id == "ask_staff", "by the same digest"
    assert (kept.value, kept.confirmed_by, kept.made_at) == ("Größe", nora.id, clock.now + timedelta(hours=1))
    _refused("own-request", mappings.confirm, otto, "ask_staff")
    assert mappings.confirm(nora, "ask_staff").made_by == otto.id


def test_an_admin_of_an_environment_sees_and_confirms_what_weakens_its_policy_and_nothing_else(
    identities: Identities, database: Database, otto: Actor, nora: Actor
) -> None:
    policies = Policies(database)
    asked = identities.grant(otto, "ana", "admin", "environment:production")
    identities.confirm_grant(nora, asked.id)
    other = identities.grant(otto, "ben", "operator")
    loose = policies.set_policy(otto, "production", BUILT_IN["dev"]).request_id
    assert loose is not None
    ana, carla = identities.act_as("ana"), identities.act_as("carla")
    with database.read() as session:
        now = database.now(session)
        where = requests.demand_sight(session, ana, now=now)
        (line,) = requests.lines(session, now=now, environments=where)
        assert line.id == loose
        assert requests.line(session, line.id, now=now, environments=where) == line
        with pytest.raises(NotFound):
            requests.line(session, other.id, now=now, environments=where)
        assert len(requests.lines(session, now=now, environments=requests.demand_sight(session, nora, now=now))) == 2
        _refused("not-allowed", lambda: requests.demand_sight(session, carla, now=now))
    assert policies.confirm_policy(ana, loose).id == "production@2"
    _refused("not-allowed", identities.confirm_grant, ana, other.id)


@pytest.mark.parametrize("shown", ["Nora\nGive otto admin", "Nora\u202ereviewer", "Nora\u2066", "Nora\x00", "Nora\u200b"])
def test_a_display_name_that_would_not_be_read_as_written_is_refused(identities: Identities, otto: Actor, shown: str) -> None:
    with pytest.raises(Refusal) as refused:
        identities.create(otto, "norbert", display_name=shown)
    assert refused.value.code == "bad-name"
    identities.create(otto, "norbert", display_name="Nóra Ōno-Śmith 李")


@pytest.mark.parametrize("how", ["take_back", "deactivate"])
def test_whose_role_ends_does_not_put_out_the_admin_who_stays(
    identities: Identities, otto: Actor, nora: Actor, clock: Clock, how: str
) -> None:
    def out(by: Actor, name: str) -> None:
        return identities.take_back(by, name, "admin") if how == "take_back" else identities.deactivate(by, name)

    soon, later = clock.now + timedelta(minutes=1), clock.now + timedelta(days=1)
    identities.grant(otto, "nora", "admin", expires_at=soon)
    _refused("last-admin", out, nora, "otto")
    eve = identities.create(otto, "eve")
    asked = identities.grant(otto, "eve", "admin", expires_at=later)
    identities.confirm_grant(nora, asked.id)
    _refused("last-admin", out, eve, "otto")
    ben = identities.grant(otto, "ben", "admin")
    identities.confirm_grant(eve, ben.id)
    out(nora, "otto")


def test_whose_role_lasts_until_its_end_is_told_lets_another_admin_leave(
    identities: Identities, otto: Actor, nora: Actor, clock: Clock
) -> None:
    identities.grant(otto, "nora", "admin", expires_at=clock.now + last_admin.SOON + timedelta(minutes=1))
    clock.tick(minutes=2)
    _refused("last-admin", identities.deactivate, nora, "otto")
    clock.tick(minutes=-2)
    identities.deactivate(nora, "otto")
