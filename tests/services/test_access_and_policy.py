"""Identities, roles, policies and freezes as commands, on both databases."""

from __future__ import annotations

import pytest
from sqlmodel import select

from backend.access import queries
from backend.access.checks import require
from backend.access.claims import handle_of
from backend.access.names import demand_name, free_name
from backend.access.queries import people, permitted
from backend.access.rows import Identity
from backend.access.service import Identities
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.policy.queries import environments, freezes, versions
from backend.policy.rules import BUILT_IN
from backend.policy.service import Policies, freeze_in_force, in_force
from backend.settings import Settings
from tests.databases import Clock


@pytest.fixture
def identities(database: Database) -> Identities:
    made = Identities(database, Settings(demo_identities=True))
    made.seed_demo()
    Policies(database).seed()
    return made


def _actions(database: Database) -> list[str]:
    with database.read() as session:
        return [row.action for row in session.exec(select(LedgerRow).order_by(LedgerRow.seq))]


def _require(database: Database, actor: Actor, action: str, **where: str) -> None:
    with database.unit(actor) as tx:
        require(tx, actor, action, **where)


def test_seeding_again_changes_nothing(identities: Identities, database: Database) -> None:
    before = _actions(database)
    identities.seed_demo()
    Policies(database).seed()
    assert _actions(database) == before


def test_demo_identities_act_by_their_roles(identities: Identities, database: Database) -> None:
    _require(database, identities.act_as("ben"), "change.vote")
    with pytest.raises(Refusal) as refused:
        _require(database, identities.act_as("ana"), "change.vote")
    assert refused.value.code == "not-allowed"
    with pytest.raises(NotFound):
        identities.act_as("nobody")


def test_demo_identities_are_off_unless_settings_say_so(database: Database) -> None:
    off = Identities(database, Settings(demo_identities=False))
    off.seed_demo()
    with pytest.raises(Refusal) as refused:
        off.act_as("ana")
    assert refused.value.code == "demo-identities-off"


def test_the_system_identity_decides_nothing(identities: Identities, database: Database) -> None:
    from backend.core.context import SYSTEM

    with pytest.raises(Refusal):
        _require(database, SYSTEM, "change.vote")


def test_a_role_counts_in_its_scope_until_its_end(identities: Identities, database: Database, clock: Clock) -> None:
    admin, ana = identities.act_as("otto"), identities.act_as("ana")
    end = clock.now.replace(hour=10)
    identities.grant(admin, "ana", "reviewer", "environment:staging", expires_at=end)
    _require(database, ana, "change.vote", environment="staging")
    with pytest.raises(Refusal):
        _require(database, ana, "change.vote", environment="production")
    clock.tick(hours=1)
    with pytest.raises(Refusal):
        _require(database, ana, "change.vote", environment="staging")


def test_a_role_taken_back_ends_at_once(identities: Identities, database: Database) -> None:
    admin, ben = identities.act_as("otto"), identities.act_as("ben")
    identities.take_back(admin, "ben", "reviewer")
    with pytest.raises(Refusal):
        _require(database, ben, "change.vote")
    assert _actions(database)[-1] == "role.take_back"


def test_a_deactivated_identity_may_nothing_with_an_old_actor(identities: Identities, database: Database) -> None:
    admin, ben = identities.act_as("otto"), identities.act_as("ben")
    identities.deactivate(admin, "ben")
    with pytest.raises(Refusal) as refused:
        _require(database, ben, "change.read")
    assert refused.value.code == "deactivated"
    with database.read() as session:
        assert not permitted(session, ben, "change.vote", now=database.now())
        assert not next(one for one in people(session, now=database.now()) if one.id == ben.id).active
    with pytest.raises(Refusal):
        identities.deactivate(admin, "otto")


@pytest.mark.parametrize("name", ["ana", "ben", "carla", "olga", "audra"])
def test_only_admins_change_identities_and_policies(identities: Identities, database: Database, name: str) -> None:
    actor, before = identities.act_as(name), _actions(database)
    with pytest.raises(Refusal):
        identities.create(actor, "eve")
    with pytest.raises(Refusal):
        identities.grant(actor, name, "admin")
    with pytest.raises(Refusal):
        Policies(database).set_policy(actor, "production", BUILT_IN["dev"])
    assert _actions(database) == before


def test_a_short_name_is_one_that_commands_and_addresses_can_carry(identities: Identities, database: Database) -> None:
    otto, dashes = identities.act_as("otto"), "a" * 39 + "--b"
    for name in ("", "a/b", "..", ".", "x\ny", "otto\u202e", "ot to", "Otto", "оtto", "-a", "a" * 64):
        with pytest.raises(Refusal, match="cannot be the short name"):
            identities.create(otto, name)
    for told in ("Ana.Maria_Sørensen@corp.test", "x", "", "../..", "Ана", dashes, "a" * 300):
        demand_name(handle_of(told))
    with database.unit(otto) as tx:
        demand_name(free_name(tx, "otto"))


def test_a_service_is_one_interest_with_its_owner(identities: Identities, database: Database) -> None:
    admin = identities.act_as("otto")
    bot = identities.create(admin, "ci", kind="service", owner="ana")
    assert bot.interests == {bot.id, identities.act_as("ana").id}
    with pytest.raises(Refusal):
        identities.create(admin, "orphan", kind="service")
    with pytest.raises(Refusal):
        identities.create(admin, "ci", kind="service", owner="ben")


@pytest.mark.parametrize("owner", ["ci", "ana", SYSTEM.name])
def test_only_an_active_person_owns_a_service(identities: Identities, database: Database, owner: str) -> None:
    admin = identities.act_as("otto")
    identities.create(admin, "ci", kind="service", owner="ben")
    identities.deactivate(admin, "ana")
    with pytest.raises(Refusal) as refused:
        identities.create(admin, "second", kind="service", owner=owner)
    assert refused.value.code == "bad-identity"


@pytest.mark.parametrize("owner_kind", ["service", "system"])
def test_nobody_answers_for_a_service_that_no_person_owns(identities: Identities, database: Database, owner_kind: str) -> None:
    admin = identities.act_as("otto")
    first, second = (identities.create(admin, name, kind="service", owner="ben") for name in ("first", "second"))
    identities.grant(admin, "second", "contributor", "environment:staging")
    with database.unit(admin) as tx:
        owner_id = first.id if owner_kind == "service" else SYSTEM.id
        tx.get(Identity, second.id).owner_id = owner_id
        tx.record("identity.hand_over", ("identity", second.id))
    with database.unit(second) as tx, pytest.raises(Refusal) as refused:
        require(tx, second, "change.propose", environment="staging", model="m")
    assert refused.value.code == "no-owner"
    with database.read() as session:
        now = database.now(session)
        assert queries.held(session, second) == ()
        assert not queries.answers_for(session, session.get_one(Identity, second.id))
        assert not queries.some_people(session, [second.id], now=now)[second.id].active
        assert not {one.id: one for one in queries.people(session, now=now)}[second.id].active


def test_a_saved_policy_is_a_new_version_and_the_old_one_stays(identities: Identities, database: Database) -> None:
    admin = identities.act_as("otto")
    stricter = BUILT_IN["production"].model_copy(update={"approvals_needed": 2})
    saved = Policies(database).set_policy(admin, "production", stricter)
    assert saved.id == "production@2"
    assert saved.problems == ()
    with database.read() as session:
        assert in_force(session, "production").policy.approvals_needed == 2
        assert [row.version for row in versions(session, "production")] == [2, 1]


def test_saving_what_nobody_can_meet_says_so(identities: Identities, database: Database) -> None:
    impossible = BUILT_IN["production"].model_copy(update={"approvals_needed": 9})
    saved = Policies(database).set_policy(identities.act_as("otto"), "production", impossible)
    assert {one.kind for one in saved.problems} == {"unsatisfiable"}


def test_a_freeze_is_in_force_until_it_is_lifted(identities: Identities, database: Database) -> None:
    policies, olga = Policies(database), identities.act_as("olga")
    row = policies.freeze(olga, "*", "incident 7")
    with database.read() as session:
        assert freeze_in_force(session, "staging").reason == "incident 7"
        assert all(one.frozen for one in environments(session, database.now()))
    with pytest.raises(Refusal):
        policies.lift(olga, row.id, "over")
    policies.lift(identities.act_as("otto"), row.id, "over")
    with database.read() as session:
        assert freeze_in_force(session, "staging") is None
        assert [one.id for one in freezes(session)] == [row.id]


def test_a_freeze_needs_a_reason_and_a_place(identities: Identities, database: Database) -> None:
    with pytest.raises(Refusal, match="reason"):
        Policies(database).freeze(identities.act_as("olga"), "*", "  ")
    with pytest.raises(NotFound):
        Policies(database).freeze(identities.act_as("olga"), "nowhere", "x")


def test_nobody_gives_a_role_to_himself_or_to_a_service_of_his_own(identities: Identities, database: Database) -> None:
    otto = identities.act_as("otto")
    identities.create(otto, "builds", kind="service", owner="otto")
    for name in ("otto", "builds"):
        with pytest.raises(Refusal) as refused:
            identities.grant(otto, name, "contributor")
        assert refused.value.code == "own-identity"
    assert "role.grant" not in _actions(database)[-1]
