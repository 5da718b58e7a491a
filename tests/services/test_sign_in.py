"""Signing in: whose token opens a session, what ends it, which roles follow from groups, and what a provider may end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from sqlmodel import select
from structlog.testing import capture_logs

from backend.access import claims, last_admin, queries, requests, rules
from backend.access.checks import require
from backend.access.claimed_roles import BOOTSTRAP
from backend.access.claims import SignedOut
from backend.access.group_mappings import GroupMappings
from backend.access.last_admin import Outlook
from backend.access.providers import ASKED_EVERY, FAILED_SECONDS, KEPT_SECONDS, Providers
from backend.access.rows import Identity, Request, RoleGrant
from backend.access.service import Identities, create_identity
from backend.access.session_rows import GroupMapping, SignInSession
from backend.access.sessions import Sessions, SignedIn
from backend.access.sign_in_file import SignIn
from backend.access.teams import Teams
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.core.outbound import Guard
from backend.settings import Settings
from tests.databases import Clock
from tests.identity_provider import CLIENT, IdentityProvider, ec_key, identity_provider, rsa_key, signs_in

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""What judges tokens asks no database; what writes and locks is held to both."""
ROLES = (
    {"value": "ml-admins", "role": "operator"},
    {"value": "ml-reviewers", "role": "reviewer", "scope": "environment:staging"},
)


@dataclass
class Seconds:
    """A clock of seconds that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """Countersign with one provider, and people who come from it."""

    database: Database
    provider: IdentityProvider
    clock: Clock
    seconds: Seconds
    guard: Guard
    sign_in: SignIn
    numbers: list[int] = field(default_factory=lambda: [0])

    @property
    def sessions(self) -> Sessions:
        return Sessions(self.database, self.providers, self.sign_in)

    def __post_init__(self) -> None:
        self.providers = Providers(self.guard, clock=self.seconds)

    def told(self, **changed: Any) -> dict[str, Any]:
        """Claims of a new sign-in at this moment."""
        self.numbers[0] += 1
        number = self.numbers[0]
        return self.provider.claims(
            **{"now": self.clock.now.timestamp(), "nonce": f"n-{number}", "sid": f"s-{number}", **changed}
        )

    def cookie(self, told: dict[str, Any]) -> dict[str, Any]:
        """What Streamlit keeps of it."""
        return {**told, "is_logged_in": True, "provider": self.provider.name}

    def arrive(self, **changed: Any) -> tuple[SignedIn, dict[str, Any]]:
        """Somebody signs in; the session, and the cookie that stands for it."""
        told = self.told(**changed)
        return self.sessions.open(self.cookie(told), self.provider.sign(told)), self.cookie(told)

    def open(self, told: dict[str, Any], token: str) -> SignedIn:
        return self.sessions.open(self.cookie(told), token)

    def roles(self, who: Actor) -> set[tuple[str, str, str]]:
        with self.database.read() as session:
            rows = session.exec(select(RoleGrant).where(RoleGrant.identity_id == who.id))
            return {(one.role, one.scope, one.granted_by) for one in rows}

    def ledger(self) -> list[str]:
        with self.database.read() as session:
            return [row.action for row in session.exec(select(LedgerRow).order_by(LedgerRow.seq))]

    def count(self, table: type[Any]) -> int:
        with self.database.read() as session:
            return len(session.exec(select(table)).all())

    def logout(self, **changed: Any) -> int:
        return self.sessions.provider_logout(self.logout_token(**changed))

    def logout_token(self, **changed: Any) -> str:
        told = self.provider.logout_claims(**{"now": self.clock.now.timestamp(), **changed})
        return self.provider.sign(told, typ="logout+jwt")


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as found:
        yield found


@pytest.fixture
def world(database: Database, clock: Clock, provider: IdentityProvider) -> Iterator[World]:
    Identities(database, Settings(demo_identities=True)).seed_demo()
    guard = Guard(["127.0.0.0/8"])
    settings = signs_in(provider.settings(roles=ROLES), first_administrator="corp:u-first")
    yield World(database, provider, clock, Seconds(), guard, settings)
    guard.close()


def refused(code: str, act: Any, *args: Any) -> Refusal:
    with pytest.raises(Refusal) as error:
        act(*args)
    assert error.value.code == code, error.value
    assert error.value.remedy
    return error.value


# Who gets in


def test_somebody_appears_at_the_first_sign_in_and_is_the_same_afterwards(world: World) -> None:
    people = world.count(Identity)
    first, _ = world.arrive(email="ada@corp.test", email_verified=True)
    again, _ = world.arrive(email="ada@other.test", email_verified=True, name="Ada Lovelace")
    assert first.actor.id == again.actor.id, "a person is issuer and subject, whatever the address"
    assert again.actor.name == "Ada Lovelace"
    assert world.count(Identity) == people + 1
    assert world.ledger()[-3:] == ["session.open", "identity.describe", "session.open"]


@SQLITE
def test_another_subject_with_the_same_address_is_somebody_else(world: World) -> None:
    ada, _ = world.arrive(email="ada@corp.test", email_verified=True)
    eve, _ = world.arrive(sub="u-eve", email="ada@corp.test", email_verified=True)
    assert ada.actor.id != eve.actor.id


def test_people_of_one_name_get_names_of_their_own(world: World) -> None:
    for number in range(3):
        world.arrive(sub=f"u-{number}", preferred_username="ana")
    with world.database.read() as session:
        names = {one.name for one in session.exec(select(Identity).where(Identity.is_demo == False))}  # noqa: E712
    assert names >= {"ana-2", "ana-3", "ana-4"}, "a demo identity is called ana"


@SQLITE
def test_no_name_and_no_address_stands_in_the_ledger(world: World) -> None:
    world.arrive(email="ada@corp.test", email_verified=True, preferred_username="ada.lovelace")
    with world.database.read() as session:
        said = "".join(f"{row.before_json}{row.after_json}{row.subject_id}" for row in session.exec(select(LedgerRow)))
    assert "ada" not in said.casefold()
    assert "u-ada" not in said


@SQLITE
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"iss": "http://127.0.0.1:1"}, "wrong-issuer"),
        ({"iss": None}, "wrong-issuer"),
        ({"iss": ["http://127.0.0.1"]}, "wrong-issuer"),
        ({"aud": "another"}, "wrong-audience"),
        ({"aud": None}, "wrong-audience"),
        ({"aud": "another", "azp": CLIENT}, "wrong-audience"),
        ({"aud": [CLIENT, "another"]}, "wrong-audience"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "wrong-audience"),
        ({"aud": CLIENT + "2"}, "wrong-audience"),
        ({"nonce": None}, "bad-claims"),
        ({"sub": ""}, "bad-claims"),
        ({"sub": "x" * 300}, "bad-claims"),
        ({"sub": 7}, "bad-claims"),
        ({"iat": None}, "stale-sign-in"),
        ({"iat": True}, "stale-sign-in"),
        ({"iat": 1e300}, "stale-sign-in"),
        ({"exp": 1}, "stale-sign-in"),
        ({"exp": None}, "stale-sign-in"),
    ],
)
def test_an_id_token_that_is_not_for_us_opens_nothing(world: World, changed: dict[str, Any], code: str) -> None:
    told = world.told()
    told = {name: value for name, value in {**told, **changed}.items() if value is not None}
    refused(code, world.open, told, world.provider.sign(told))
    assert world.count(SignInSession) == 0


@SQLITE
def test_one_audience_in_a_list_and_several_with_us_as_the_party_are_for_us(world: World) -> None:
    assert world.arrive(aud=[CLIENT])
    assert world.arrive(aud=["another", CLIENT], azp=CLIENT)


@SQLITE
def test_alg_none_is_refused(world: World) -> None:
    told = world.told()
    refused("bad-signature", world.open, told, world.provider.unsigned(told))
    refused("bad-signature", world.open, told, world.provider.unsigned(told, alg="None"))
    refused("bad-signature", world.open, told, world.provider.sign(told).rpartition(".")[0] + ".")


@SQLITE
def test_hs256_with_the_public_key_is_refused(world: World) -> None:
    told = world.told()
    refused("bad-signature", world.open, told, world.provider.signed_with_the_public_key(told))


@SQLITE
def test_a_key_of_somebody_else_under_the_same_number_is_refused(world: World) -> None:
    told = world.told()
    stranger = RSAKey.generate_key(2048, {"kid": world.provider.key.kid}, private=True)
    refused("bad-signature", world.open, told, world.provider.sign(told, key=stranger))


@SQLITE
def test_an_algorithm_that_the_settings_do_not_name_is_refused(world: World) -> None:
    key = ec_key()
    world.provider.published = [key, world.provider.key]
    told = world.told()
    assert world.open(told, world.provider.sign(told, key=key, alg="ES256"))
    strict = world.provider.settings(algorithms=("RS256",))
    world.sign_in = signs_in(strict)
    told = world.told()
    refused("bad-signature", world.open, told, world.provider.sign(told, key=key, alg="ES256"))


@SQLITE
@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30", "é.é.é", "x" * 100_000, "bnVsbA.e30.e30"])
def test_what_is_no_token_is_refused(world: World, token: str) -> None:
    refused("bad-signature", world.open, world.told(), token)
    assert world.provider.asked == [], "nobody is asked about it"


@SQLITE
def test_an_access_token_or_a_logout_token_is_no_id_token(world: World) -> None:
    told = world.told()
    refused("bad-claims", world.open, told, world.provider.sign(told, typ="at+jwt"))
    refused("bad-claims", world.open, told, world.provider.sign(told, typ="logout+jwt"))


@SQLITE
def test_a_token_of_another_sign_in_opens_nothing(world: World) -> None:
    ours, theirs = world.told(), world.told(sub="u-first")
    with capture_logs() as written:
        refused("bad-claims", world.open, ours, world.provider.sign(theirs))
    assert world.count(SignInSession) == 0
    (line,) = [one for one in written if one["event"] == "sign_in.refused"]
    assert (line["provider"], line["code"]) == (world.provider.name, "bad-claims")
    assert ours["sub"] not in str(line)


@SQLITE
def test_an_old_sign_in_opens_nothing_even_where_no_row_speaks_against_it(world: World) -> None:
    told = world.told(exp=int(world.clock.now.timestamp()) + 10**6)
    world.clock.tick(minutes=11)
    refused("stale-sign-in", world.open, told, world.provider.sign(told))


@SQLITE
def test_a_token_from_a_clock_far_ahead_is_refused(world: World) -> None:
    told = world.told(iat=int(world.clock.now.timestamp()) + 300)
    refused("stale-sign-in", world.open, told, world.provider.sign(told))


@SQLITE
def test_an_address_that_is_not_verified_is_turned_away_where_settings_ask_for_it(world: World) -> None:
    world.sign_in = signs_in(world.provider.settings(require_verified_email=True))
    for lacking in (
        {},
        {"email": "a@b.c"},
        {"email": "a@b.c", "email_verified": False},
        {"email": "a", "email_verified": True},
    ):
        told = world.told(**lacking)
        refused("unverified-email", world.open, told, world.provider.sign(told))
    assert world.arrive(email="a@b.c", email_verified=True)


@SQLITE
def test_somebody_who_was_deactivated_does_not_get_in_and_leaves_no_session(world: World) -> None:
    found, _ = world.arrive(preferred_username="ada")
    identities = Identities(world.database, Settings(demo_identities=True))
    identities.deactivate(identities.act_as("otto"), "ada")
    told = world.told(preferred_username="ada")
    refused("deactivated", world.open, told, world.provider.sign(told))
    assert world.count(SignInSession) == 1
    assert found.actor.name


def test_two_windows_open_one_session(world: World) -> None:
    told = world.told()
    token = world.provider.sign(told)
    world.providers.signed(world.sign_in.providers[0], token)
    done: list[Any] = []

    def opened() -> None:
        done.append(world.open(told, token))

    threads = [threading.Thread(target=opened) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len({one.session_id for one in done}) == 1
    assert len(done) == 4
    assert world.count(SignInSession) == 1


@SQLITE
def test_two_providers_tell_their_own_people(world: World) -> None:
    with identity_provider("other") as other:
        world.sign_in = signs_in(world.provider.settings(), other.settings())
        here, cookie = world.arrive()
        told = other.claims(now=world.clock.now.timestamp(), nonce="n-x")
        there = world.sessions.open({**told, "provider": "other"}, other.sign(told))
        assert here.actor.id != there.actor.id, "one subject at two issuers is two people"
        refused("signed-out", world.sessions.resume, {**cookie, "provider": "other"})
        told = other.claims(now=world.clock.now.timestamp(), nonce="n-y")
        refused("bad-signature", world.sessions.open, {**told, "provider": "corp"}, other.sign(told))


# How a session goes on and ends


def test_a_session_goes_on_while_something_is_done_and_ends_idle(world: World) -> None:
    _, cookie = world.arrive()
    for _ in range(4):
        world.clock.tick(minutes=50)
        assert world.sessions.resume(cookie)
    world.clock.tick(minutes=60)
    assert "for a while" in refused("signed-out", world.sessions.resume, cookie).message
    refused("signed-out", world.sessions.resume, cookie)


@SQLITE
def test_a_part_that_refreshes_itself_keeps_nothing_going(world: World) -> None:
    _, cookie = world.arrive()
    for _ in range(11):
        world.clock.tick(minutes=5)
        assert world.sessions.resume(cookie, by_click=False)
    world.clock.tick(minutes=5)
    with pytest.raises(SignedOut):
        world.sessions.resume(cookie, by_click=False)


@SQLITE
def test_a_session_ends_at_its_absolute_limit_whatever_is_done(world: World) -> None:
    _, cookie = world.arrive()
    for _ in range(23):
        world.clock.tick(minutes=30)
        assert world.sessions.resume(cookie)
    world.clock.tick(minutes=30)
    assert "long ago" in refused("signed-out", world.sessions.resume, cookie).message


@SQLITE
def test_a_replayed_cookie_is_refused_after_the_logout(world: World) -> None:
    told = world.told()
    token = world.provider.sign(told)
    world.open(told, token)
    cookie = world.cookie(told)
    world.sessions.end(cookie)
    assert "You signed out" in refused("signed-out", world.sessions.resume, cookie).message
    refused("signed-out", world.open, told, token)
    refused("signed-out", world.sessions.resume, {**cookie, "name": "Somebody", "extra": 1})
    assert world.ledger()[-1] == "session.end"
    world.sessions.end(cookie)
    assert world.ledger()[-2:] == ["session.open", "session.end"], "ending it again changes nothing"


def test_signing_out_everywhere_ends_every_session_and_no_other_persons(world: World) -> None:
    ada, one = world.arrive()
    _, two = world.arrive()
    _, of_eve = world.arrive(sub="u-eve")
    assert world.sessions.end_everywhere(ada.actor) == 2
    for cookie in (one, two):
        refused("signed-out", world.sessions.resume, cookie)
    assert world.sessions.resume(of_eve)
    assert world.sessions.resume(world.arrive()[1]), "signing in again works"


@SQLITE
def test_an_admin_ends_sessions_of_others_and_nobody_else_does(world: World) -> None:
    ada, cookie = world.arrive(preferred_username="ada")
    eve, _ = world.arrive(sub="u-eve")
    refused("not-allowed", world.sessions.end_everywhere, eve.actor, "ada")
    with pytest.raises(NotFound):
        world.sessions.revoke(eve.actor, ada.session_id)
    with pytest.raises(Refusal):
        world.sessions.lines(eve.actor, everybody=True)
    assert [one.id for one in world.sessions.lines(eve.actor)] == [eve.session_id]
    admin = Identities(world.database, Settings(demo_identities=True)).act_as("otto")
    assert {one.id for one in world.sessions.lines(admin, everybody=True)} == {ada.session_id, eve.session_id}
    world.sessions.revoke(admin, ada.session_id)
    assert "administrator" in refused("signed-out", world.sessions.resume, cookie).message
    assert world.sessions.end_everywhere(admin, "ada") == 0


@SQLITE
def test_deactivation_counts_at_the_next_click_and_no_command_goes_through(world: World) -> None:
    ada, cookie = world.arrive(preferred_username="ada")
    identities = Identities(world.database, Settings(demo_identities=True))
    identities.deactivate(identities.act_as("otto"), "ada")
    refused("deactivated", world.sessions.resume, cookie)
    with pytest.raises(Refusal), world.database.unit(ada.actor) as tx:
        require(tx, ada.actor, "endpoint.read")


@SQLITE
def test_a_provider_that_was_taken_out_of_the_settings_ends_its_sessions(world: World) -> None:
    _, cookie = world.arrive()
    with identity_provider("other") as other:
        world.sign_in = signs_in(other.settings())
        refused("signed-out", world.sessions.resume, cookie)
    world.sign_in = None  # type: ignore[assignment]
    refused("no-sign-in", world.sessions.resume, cookie)


@SQLITE
def test_a_cookie_without_claims_is_nobody(world: World) -> None:
    world.arrive()
    assert world.sessions.resume({"provider": "corp"}) is None
    refused("signed-out", world.sessions.resume, {})
    refused("signed-out", world.sessions.resume, {"provider": ["corp"]})


# A provider that is away, or turns its keys


@SQLITE
def test_while_the_provider_is_down_sessions_go_on_and_nobody_new_gets_in(world: World) -> None:
    _, cookie = world.arrive()
    world.provider.down = True
    world.seconds.now += KEPT_SECONDS
    assert world.sessions.resume(cookie)
    told = world.told(sub="u-eve")
    with pytest.raises(ExternalFailure, match="Example Corp"):
        world.open(told, world.provider.sign(told))
    with pytest.raises(ExternalFailure, match="Example Corp"):
        world.providers.ask(world.sign_in.providers[0])
    world.provider.down = False
    world.seconds.now += FAILED_SECONDS
    assert world.open(told, world.provider.sign(told))


@SQLITE
def test_many_who_wait_for_a_provider_that_is_away_do_not_each_ask_it(world: World) -> None:
    world.provider.down = True
    told = world.told()
    for _ in range(5):
        with pytest.raises(ExternalFailure):
            world.open(told, world.provider.sign(told))
    assert len(world.provider.asked) == 1


@SQLITE
def test_a_new_key_is_found_and_the_old_one_counts_no_longer(world: World) -> None:
    old = world.provider.key
    world.arrive()
    world.provider.rotate()
    world.seconds.now += ASKED_EVERY
    assert world.arrive()
    told = world.told()
    refused("bad-signature", world.open, told, world.provider.sign(told, key=old))


@SQLITE
def test_invented_key_numbers_make_no_more_calls_than_one_in_a_while(world: World) -> None:
    world.arrive()
    asked = len(world.provider.asked)
    for number in range(20):
        told = world.told()
        refused("bad-signature", world.open, told, world.provider.sign(told, kid=f"k-{number}"))
    assert len(world.provider.asked) == asked
    world.seconds.now += ASKED_EVERY
    for number in range(20):
        told = world.told()
        refused("bad-signature", world.open, told, world.provider.sign(told, kid=f"k-{number}"))
    assert len(world.provider.asked) == asked + 2, "the metadata and the keys, once"


@SQLITE
def test_a_token_without_a_key_number_is_tried_with_every_key(world: World) -> None:
    world.provider.rotate(keep_old=True)
    told = world.told()
    assert world.open(told, world.provider.sign(told, key=world.provider.published[1], kid=None))


@SQLITE
def test_metadata_that_names_another_issuer_is_not_believed(world: World) -> None:
    world.provider.metadata = {"issuer": "https://accounts.example.com"}
    told = world.told(iss="https://accounts.example.com")
    with pytest.raises(ExternalFailure, match="issuers"):
        world.open(told, world.provider.sign(told))


@SQLITE
def test_keys_are_asked_for_through_the_guard(world: World) -> None:
    world.guard = Guard([])
    world.providers = Providers(world.guard, clock=world.seconds)
    told = world.told()
    refused("address-not-allowed", world.open, told, world.provider.sign(told))
    assert world.provider.asked == []


# Roles that follow from groups


def test_groups_give_roles_and_take_them_back(world: World) -> None:
    ada, _ = world.arrive(groups=["ml-admins", "ml-reviewers", "staff"])
    assert world.roles(ada.actor) == {
        ("operator", "*", "claims:corp"),
        ("reviewer", "environment:staging", "claims:corp"),
    }
    world.arrive(groups=["staff"])
    assert world.roles(ada.actor) == set()
    assert world.ledger()[-3:] == ["role.take_back", "role.take_back", "session.open"]


@SQLITE
def test_what_a_person_gave_stays_beside_the_groups(world: World) -> None:
    ada, _ = world.arrive(preferred_username="ada", groups=[])
    identities = Identities(world.database, Settings(demo_identities=True))
    admin = identities.act_as("otto")
    identities.grant(admin, "ada", "operator")
    identities.grant(admin, "ada", "auditor")
    world.arrive(preferred_username="ada", groups=["ml-admins"])
    by_hand = {("operator", "*", admin.id), ("auditor", "*", admin.id)}
    assert world.roles(ada.actor) == by_hand
    world.arrive(preferred_username="ada", groups=[])
    assert world.roles(ada.actor) == by_hand


@SQLITE
def test_what_an_admin_gives_over_a_groups_role_stays_and_takes_two_people(world: World) -> None:
    ada, _ = world.arrive(preferred_username="ada", groups=["ml-admins"])
    identities = Identities(world.database, Settings(demo_identities=True), lambda _: frozenset({"production"}))
    otto, nora = identities.act_as("otto"), identities.act_as("nora")
    asked = identities.grant(otto, "ada", "operator", expires_at=world.clock.now + timedelta(days=1))
    assert isinstance(asked, Request), "it would stay when the group's is gone"
    identities.refuse_grant(nora, asked.id, "for good, please")
    asked = identities.grant(otto, "ada", "operator")
    identities.confirm_grant(nora, asked.id)
    for groups in (["ml-admins"], []):
        world.arrive(preferred_username="ada", groups=groups)
        with world.database.read() as session:
            (grant,) = session.exec(select(RoleGrant).where(RoleGrant.identity_id == ada.actor.id))
        assert (grant.granted_by, grant.expires_at) == (nora.id, None)


@SQLITE
def test_the_last_admin_keeps_the_role_at_a_sign_in_without_the_group(world: World) -> None:
    world.sign_in = signs_in(world.provider.settings(roles=({"value": "ml-admins", "role": "admin"},)))
    ada, _ = world.arrive(groups=["ml-admins"])
    with capture_logs() as written:
        world.arrive(groups=[])
    assert world.roles(ada.actor) == {("admin", "*", "claims:corp")}
    assert [one["event"] for one in written] == ["role.kept"]
    assert "role.keep" in world.ledger()
    world.arrive(sub="u-eve", groups=["ml-admins"])
    world.arrive(groups=[])
    assert world.roles(ada.actor) == set()


@SQLITE
def test_roles_of_groups_lapse_when_nobody_signs_in_any_more(world: World) -> None:
    ada, _ = world.arrive(groups=["ml-admins"])
    with world.database.read() as session:
        (grant,) = session.exec(select(RoleGrant).where(RoleGrant.identity_id == ada.actor.id))
    assert grant.expires_at == world.clock.now + timedelta(days=30)
    rows = len(world.ledger())
    world.arrive(groups=["ml-admins"])
    assert len(world.ledger()) == rows + 1, "its end is not moved at every sign-in"
    world.clock.tick(days=20)
    world.arrive(groups=["ml-admins"])
    assert world.ledger()[-2:] == ["role.grant", "session.open"]


@SQLITE
def test_that_the_last_admin_runs_out_is_said_in_time_once_and_there_is_a_way_back(world: World) -> None:
    """Only people of the provider are there: the demo identities do not count."""
    world.sign_in = signs_in(world.provider.settings(roles=({"value": "ml-admins", "role": "admin"},)))
    ada, _ = world.arrive(preferred_username="ada", groups=["ml-admins"])
    world.arrive(sub="u-eve", groups=["ml-admins"])
    world.clock.tick(days=19)
    assert last_admin.watch(world.database, demo=False).problem is None, "a sign-in would have moved its end by now"
    world.clock.tick(days=2)
    told = [last_admin.watch(world.database, demo=False) for _ in range(2)]
    assert told[0].until is not None
    assert f"From {told[0].until:%-d %b %Y %H:%M} UTC on nobody is an admin" in str(told[0].problem)
    assert world.ledger().count(last_admin.ENDING) == 1
    assert last_admin.watch(world.database, demo=True).problem is None, "Otto's role has no end"
    world.clock.tick(days=10)
    told = [last_admin.watch(world.database, demo=False) for _ in range(2)]
    assert told[0] == Outlook(anybody=False)
    assert "identity bootstrap" in str(told[0].problem)
    assert world.ledger().count(last_admin.NONE) == 1
    Identities(world.database, Settings()).bootstrap("ada")
    assert world.ledger()[-1] == "identity.bootstrap"
    with world.database.read() as session:
        (grant,) = session.exec(select(RoleGrant).where(RoleGrant.identity_id == ada.actor.id))
        assert rules.may(queries.held(session, ada.actor), "role.grant", now=world.clock.now)
    assert grant.expires_at is None, "what the group gave had run out, and would again"
    world.arrive(sub="u-eve", groups=["ml-admins"])
    world.arrive(preferred_username="ada", groups=[])
    assert world.roles(ada.actor) == {("admin", "*", SYSTEM.id)}


@SQLITE
def test_whoever_signs_in_with_the_group_after_the_last_admin_ran_out_is_one_again(world: World) -> None:
    world.sign_in = signs_in(world.provider.settings(roles=({"value": "ml-admins", "role": "admin"},)))
    ada, _ = world.arrive(groups=["ml-admins"])
    world.clock.tick(days=31)
    assert not last_admin.watch(world.database, demo=False).anybody
    world.arrive(groups=["ml-admins"])
    assert last_admin.watch(world.database, demo=False).problem is None
    with world.database.read() as session:
        assert rules.may(queries.held(session, ada.actor), "role.grant", now=world.clock.now)


@SQLITE
def test_groups_that_were_left_out_give_nothing_and_it_is_said(world: World) -> None:
    found, _ = world.arrive(groups=None, hasgroups=True)
    assert found.overflow
    found, cookie = world.arrive(groups=None, _claim_names={"groups": "src1"}, _claim_sources={"src1": {"endpoint": "x"}})
    assert found.overflow
    assert world.roles(found.actor) == set()
    assert world.sessions.resume(cookie) == found
    assert not world.arrive(groups=[])[0].overflow


@SQLITE
def test_nobody_gets_a_role_by_a_mapping_of_his_own(world: World) -> None:
    world.arrive(sub="u-first")
    boss, _ = world.arrive(sub="u-first")
    mappings = GroupMappings(world.database, world.sign_in)
    asked = mappings.map(boss.actor, "corp", "staff", "reviewer")
    eve, _ = world.arrive(sub="u-eve", groups=["staff"])
    assert world.roles(eve.actor) == set(), "it waits for a second person"
    refused("own-request", mappings.confirm, boss.actor, asked.id)
    refused("not-allowed", mappings.confirm, eve.actor, asked.id)
    line = mappings.confirm(Identities(world.database, Settings(demo_identities=True)).act_as("otto"), asked.id)
    world.arrive(sub="u-first", groups=["staff"])
    assert ("reviewer", "*", "claims:corp") not in world.roles(boss.actor)
    world.arrive(sub="u-eve", groups=["staff"])
    assert world.roles(eve.actor) == {("reviewer", "*", "claims:corp")}
    with world.database.unit(SYSTEM) as tx:
        service = create_identity(tx, name="eves", kind="service", owner_id=eve.actor.id)
        tx.get(GroupMapping, line.id).made_by = service.id
        tx.record("group_mapping.make", ("group_mapping", line.id))
    world.arrive(sub="u-eve", groups=["staff"])
    assert world.roles(eve.actor) == set(), "a service of hers made it"
    with world.database.unit(SYSTEM) as tx:
        tx.get(GroupMapping, line.id).made_by = boss.actor.id
        tx.record("group_mapping.make", ("group_mapping", line.id))
    world.arrive(sub="u-eve", groups=["staff"])
    assert world.roles(eve.actor) == {("reviewer", "*", "claims:corp")}
    mappings.unmap(boss.actor, line.id)
    world.arrive(sub="u-eve", groups=["staff"])
    assert world.roles(eve.actor) == set()


@SQLITE
def test_a_group_gives_a_role_over_what_a_team_owns_by_the_name_of_the_team(world: World) -> None:
    identities = Identities(world.database, Settings(demo_identities=True))
    otto, nora = identities.act_as("otto"), identities.act_as("nora")
    team = Teams(world.database, lambda *_: True).create(otto, "europe")
    of_team, of_nobody = ({"value": "eu", "role": "operator", "scope": f"team:{name}"} for name in ("europe", "nobody"))
    world.sign_in = signs_in(world.provider.settings(roles=(of_team, of_nobody)))
    mappings = GroupMappings(world.database, world.sign_in)
    refused("not-found", mappings.map, otto, "corp", "eu", "viewer", "team:nobody")
    made = mappings.confirm(nora, mappings.map(otto, "corp", "eu", "reviewer", "team:europe").id)
    with world.database.read() as session:
        assert [(one.id, one.scope) for one in mappings.lines(session)][-1] == (made.id, "team:europe")
    eve, _ = world.arrive(sub="u-eve", groups=["eu"])
    assert world.roles(eve.actor) == {(role, f"team:{team.id}", "claims:corp") for role in ("operator", "reviewer")}


@SQLITE
def test_mappings_are_for_admins_and_for_providers_that_are_there(world: World) -> None:
    eve, _ = world.arrive(sub="u-eve")
    mappings = GroupMappings(world.database, world.sign_in)
    refused("not-allowed", mappings.map, eve.actor, "corp", "staff", "admin")
    admin = Identities(world.database, Settings(demo_identities=True)).act_as("otto")
    refused("not-found", mappings.map, admin, "nowhere", "staff", "viewer")
    refused("bad-role", mappings.map, admin, "corp", "staff", "king")
    refused("bad-group", mappings.map, admin, "corp", " ", "viewer")
    nora = Identities(world.database, Settings(demo_identities=True)).act_as("nora")
    asked = mappings.map(admin, "corp", "staff", "viewer")
    assert mappings.map(nora, "corp", "staff", "viewer").id == asked.id, "it waits already"
    mappings.confirm(nora, asked.id)
    refused("name-taken", mappings.map, admin, "corp", "staff", "viewer")


@SQLITE
def test_a_mapping_that_waits_is_a_request_like_every_other(world: World) -> None:
    identities = Identities(world.database, Settings(demo_identities=True))
    otto, nora = identities.act_as("otto"), identities.act_as("nora")
    team = Teams(world.database, lambda *_: True).create(otto, "europe")
    mappings = GroupMappings(world.database, world.sign_in)
    no = mappings.map(otto, "corp", "staff", "viewer", "team:europe")
    with world.database.read() as session:
        (line,) = requests.lines(session, now=world.clock.now)
    assert line.says == "Give the role viewer in team:europe to whoever corp says is in the group staff."
    assert (line.kind, line.asked_by, line.expires_at - line.asked_at) == ("group_mapping.make", otto.id, timedelta(days=7))
    mappings.refuse(nora, no.id, "Everybody is staff.")
    refused("settled", mappings.confirm, nora, no.id)
    late = mappings.map(otto, "corp", "staff", "viewer")
    world.clock.tick(days=7)
    refused("expired", mappings.confirm, nora, late.id)
    gone = mappings.map(otto, "corp", "staff", "viewer", "team:europe")
    without = GroupMappings(world.database, world.sign_in.model_copy(update={"providers": ()}))
    refused("stale-request", without.confirm, nora, gone.id)
    Teams(world.database, lambda *_: True).retire(otto, team.name)
    refused("stale-request", mappings.confirm, nora, gone.id)
    asked = mappings.map(otto, "corp", "staff", "viewer")
    identities.take_back(nora, "otto", "admin")
    refused("stale-request", mappings.confirm, nora, asked.id)
    with world.database.read() as session:
        assert session.exec(select(GroupMapping)).all() == []
    assert world.ledger().count("request.ask") == 4


@SQLITE
def test_a_mapping_names_what_is_there_but_for_the_settings_file_which_may_come_first(world: World) -> None:
    otto = Identities(world.database, Settings(demo_identities=True)).act_as("otto")
    early = {"value": "ml-reviewers", "role": "reviewer", "scope": "model:later"}
    world.sign_in = signs_in(world.provider.settings(roles=(early,)))
    there: set[tuple[str, str]] = set()
    mappings = GroupMappings(world.database, world.sign_in, exists=lambda _, kind, name: (kind, name) in there)
    assert "Read the registry now" in str(refused("not-found", mappings.map, otto, "corp", "ml", "viewer", "model:later"))
    eve, _ = world.arrive(sub="u-eve", groups=["ml-reviewers"])
    assert world.roles(eve.actor) == {("reviewer", "model:later", "claims:corp")}
    for reaches in (False, True):
        with world.database.read() as session:
            assert [one.reaches for one in mappings.lines(session)] == [reaches]
        there.add(("model", "later"))
    mappings.map(otto, "corp", "ml", "viewer", "model:later")


def test_the_first_administrator_is_appointed_once_and_it_is_recorded_as_such(world: World) -> None:
    boss, _ = world.arrive(sub="u-first", preferred_username="boss", groups=[])
    assert world.roles(boss.actor) == {("admin", "*", BOOTSTRAP)}
    assert world.ledger()[-2:] == ["identity.bootstrap", "session.open"]
    identities = Identities(world.database, Settings(demo_identities=True))
    world.arrive(sub="u-eve", preferred_username="eve")
    identities.grant(boss.actor, "eve", "admin")
    identities.take_back(identities.act_as("otto"), "boss", "admin")
    world.arrive(sub="u-first", groups=[])
    assert world.roles(boss.actor) == set(), "somebody else is there to appoint people"


@SQLITE
def test_a_service_that_is_an_admin_keeps_nobody_from_being_the_first(world: World) -> None:
    """A program appoints nobody, so that a person is still needed who does."""
    identities = Identities(world.database, Settings(demo_identities=True))
    otto = identities.act_as("otto")
    identities.create(otto, "builds", kind="service", owner="ana")
    identities.grant(otto, "builds", "admin")
    boss, _ = world.arrive(sub="u-first", groups=[])
    assert world.roles(boss.actor) == {("admin", "*", BOOTSTRAP)}


@SQLITE
def test_the_first_administrator_by_address_needs_a_verified_one(world: World) -> None:
    world.sign_in = signs_in(world.provider.settings(), first_administrator="corp:Boss@corp.test")
    eve, _ = world.arrive(sub="u-eve", email="boss@corp.test")
    mallory, _ = world.arrive(sub="u-mal", email="boss@corp.test", email_verified=False)
    assert not world.roles(eve.actor) | world.roles(mallory.actor)
    boss, _ = world.arrive(sub="u-1", email="boss@corp.test", email_verified=True)
    assert world.roles(boss.actor) == {("admin", "*", BOOTSTRAP)}


# What a provider may end: back-channel logout


@SQLITE
def test_a_provider_ends_the_session_that_it_names(world: World) -> None:
    _, one = world.arrive()
    _, two = world.arrive()
    assert world.logout(sid=one["sid"]) == 1
    assert "provider" in refused("signed-out", world.sessions.resume, one).message
    assert world.sessions.resume(two)
    assert world.ledger()[-2:] == ["session.end", "provider_logout.take"]


def test_a_provider_ends_every_session_of_somebody(world: World) -> None:
    _, one = world.arrive()
    _, two = world.arrive()
    _, of_eve = world.arrive(sub="u-eve")
    assert world.logout(sid=None) == 2
    for cookie in (one, two):
        refused("signed-out", world.sessions.resume, cookie)
    assert world.sessions.resume(of_eve)


@SQLITE
def test_a_session_number_of_somebody_else_ends_nothing(world: World) -> None:
    _, cookie = world.arrive()
    assert world.logout(sid=cookie["sid"], sub="u-eve") == 0
    assert world.sessions.resume(cookie)


def test_a_logout_that_comes_before_the_first_page_keeps_the_session_from_beginning(world: World) -> None:
    told = world.told()
    assert world.logout(sid=told["sid"]) == 0
    refused("signed-out", world.open, told, world.provider.sign(told))
    told = world.told()
    assert world.logout(sid=None, jti="j-2") == 0
    refused("signed-out", world.open, told, world.provider.sign(told))
    world.clock.tick(seconds=5)
    assert world.arrive(), "a sign-in after it"


@SQLITE
@pytest.mark.parametrize(
    "changed",
    [
        {"events": None},
        {"events": {}},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": "yes"}},
        {"events": ["http://schemas.openid.net/event/backchannel-logout"]},
        {"events": {"another": {}}},
        {"nonce": "n-1"},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 300},
        {"sub": None, "sid": None},
        {"sid": 7},
        {"iat": None},
        {"iat": 1},
        {"iat": "now"},
        {"exp": 1},
        {"exp": "later"},
        {"now": 1.0},
    ],
    ids=str,
)
def test_what_is_no_logout_token_ends_nothing(world: World, changed: dict[str, Any]) -> None:
    _, cookie = world.arrive(sid="s-1")
    with pytest.raises(Refusal) as error:
        world.logout(**changed)
    assert error.value.code == "bad-logout-token"
    assert world.sessions.resume(cookie)


@SQLITE
@pytest.mark.parametrize("changed", [{"iss": "http://127.0.0.1:1"}, {"aud": "another"}, {"aud": None}, {"iss": None}], ids=str)
def test_a_logout_token_of_another_issuer_or_for_another_client_ends_nothing(world: World, changed: dict[str, Any]) -> None:
    _, cookie = world.arrive(sid="s-1")
    with pytest.raises(Refusal) as error:
        world.logout(**changed)
    assert error.value.code == "bad-logout-token"
    assert world.sessions.resume(cookie)


def test_a_logout_token_that_is_sent_again_is_refused(world: World) -> None:
    world.arrive(sid="s-1")
    token = world.logout_token()
    assert world.sessions.provider_logout(token) == 1
    _, cookie = world.arrive(sid="s-9")
    refused("bad-logout-token", world.sessions.provider_logout, token)
    assert world.sessions.resume(cookie)


@SQLITE
def test_an_id_token_is_no_logout_token(world: World) -> None:
    told = world.told(sid="s-1")
    token = world.provider.sign(told)
    world.open(told, token)
    refused("bad-logout-token", world.sessions.provider_logout, token)
    refused(
        "bad-logout-token", world.sessions.provider_logout, world.provider.sign(world.provider.logout_claims(), typ="at+jwt")
    )


@SQLITE
def test_a_forged_logout_token_is_refused(world: World) -> None:
    _, cookie = world.arrive(sid="s-1")
    told = world.provider.logout_claims(now=world.clock.now.timestamp())
    for token in (
        world.provider.unsigned(told),
        world.provider.signed_with_the_public_key(told),
        world.provider.sign(told, key=rsa_key("a stranger")),
        world.provider.sign(told)[:-6] + "AAAAAA",
    ):
        refused("bad-signature", world.sessions.provider_logout, token)
    assert world.sessions.resume(cookie)


@SQLITE
def test_a_logout_token_under_a_new_key_is_taken(world: World) -> None:
    _, cookie = world.arrive(sid="s-1")
    world.provider.rotate()
    world.seconds.now += ASKED_EVERY
    assert world.logout() == 1
    refused("signed-out", world.sessions.resume, cookie)


@SQLITE
def test_no_sign_in_no_logout(world: World) -> None:
    nobody = Sessions(world.database, world.providers, None)
    refused("bad-logout-token", nobody.provider_logout, world.logout_token())


def test_a_key_of_one_sign_in_needs_every_part() -> None:
    whole = {"iss": "i", "sub": "s", "nonce": "n", "iat": 1}
    keys = {claims.key_of({**whole, name: "other" if name != "iat" else 2}) for name in whole}
    assert len(keys | {claims.key_of(whole)}) == 5
    for name in whole:
        assert claims.key_of({key: value for key, value in whole.items() if key != name}) == ""
