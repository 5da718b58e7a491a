"""Tokens: who makes one, what the database keeps of it, and when it is not good any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import select

from backend.access import queries, rules, visible
from backend.access.bearer_claims import NotAdmitted
from backend.access.checks import require, require_now, require_to_read, see_as
from backend.access.rows import Identity, RoleGrant, Token, TokenUse
from backend.access.service import Identities
from backend.access.service_owners import ServiceOwners
from backend.access.tokens import KNOWN_SECONDS, MOST_ACTIVE, USED_EVERY, NewToken, Tokens, is_well_formed
from backend.api import guard
from backend.api.attempts import (
    AGAIN_SECONDS,
    CHECKS_A_SECOND,
    MOST_CHECKS,
    MOST_FAILURES,
    WINDOW_SECONDS,
    Attempts,
)
from backend.core.behind import Behind
from backend.core.context import Actor, Limits
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.settings import Settings
from tests.api_world import Api
from tests.command_line import CommandLine
from tests.databases import Clock
from tests.services.changes.world import World

SETTINGS = Settings(demo_identities=True)
SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


class People:
    """The demo identities, and a service that Olga owns."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.identities, self.tokens = Identities(database, SETTINGS), Tokens(database, SETTINGS)
        self.identities.seed_demo()
        self.ana, self.olga, self.otto = (self.identities.act_as(name) for name in ("ana", "olga", "otto"))
        self.ci = self.identities.create(self.otto, "ci", kind="service", owner="olga")

    def made(self, actor: Actor | None = None, **options: object) -> NewToken:
        return self.tokens.create(actor or self.ana, "laptop", **options)  # type: ignore[arg-type]

    def refused(self, code: str, call: object, *arguments: object, **options: object) -> None:
        with pytest.raises(Refusal) as caught:
            call(*arguments, **options)  # type: ignore[operator]
        assert caught.value.code == code


@pytest.fixture
def people(database: Database) -> People:
    return People(database)


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def test_a_token_acts_as_its_identity_and_is_kept_only_as_a_digest(people: People) -> None:
    made = people.made()
    assert is_well_formed(made.text)
    assert people.tokens.actor_of(made.text) == people.ana
    secret = made.text.rpartition("_")[2]
    with people.database.engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        kept = [str(row) for name in names for row in connection.execute(sa.text(f'SELECT * FROM "{name}"'))]
    assert len(kept) > 10
    assert not any(secret in row or made.text in row for row in kept)
    assert made.text not in str(people.tokens.list(people.ana))


def test_what_is_not_exactly_a_token_is_nobody(people: People) -> None:
    text = people.made().text
    other = people.made().text
    head, _, secret = text.rpartition("_")
    for wrong in (
        "", "x", text[:-1], text + "0", text.upper(), f"{head}_{other.rpartition('_')[2]}", f"{head}_{'0' * 52}",
        f"cst_{'0' * 26}_{secret}", text.replace("cst", "cs"), f" {text}", f"{text}\n", text[:-1] + "é",
    ):  # fmt: skip
        assert people.tokens.actor_of(wrong) is None, wrong
    assert people.tokens.actor_of(text) is not None


def test_it_ends_at_its_time_when_it_is_revoked_and_with_its_identity(people: People, clock: Clock) -> None:
    short, long = people.made(lifetime=timedelta(hours=1)), people.made(lifetime=timedelta(days=366))
    clock.tick(minutes=59, seconds=59)
    assert people.tokens.actor_of(short.text) == people.ana
    clock.tick(seconds=1)
    assert people.tokens.actor_of(short.text) is None, "the moment itself is outside"
    people.tokens.revoke(people.ana, long.id)
    people.tokens.revoke(people.ana, long.id)
    assert people.tokens.actor_of(long.text) is None
    states = [one.state for one in people.tokens.list(people.ana)]
    assert sorted(states) == ["expired", "revoked"]
    another = people.made()
    people.identities.deactivate(people.otto, "ana")
    assert people.tokens.actor_of(another.text) is None


def test_what_is_taken_back_counts_at_the_next_check_of_a_look_that_is_open(people: People) -> None:
    """Nothing is kept from one check to the next, in this process or another: not even inside one unit."""
    with people.database.unit(people.otto) as tx:
        require_now(tx.session, people.ana, "change.propose", now=tx.now, environment="dev")
        for row in tx.session.exec(select(RoleGrant).where(RoleGrant.identity_id == people.ana.id)).all():
            tx.session.delete(row)
            tx.record("role.take_back", row)
        people.refused("not-allowed", require_now, tx.session, people.ana, "change.propose", now=tx.now, environment="dev")
        tx.session.get_one(Identity, people.ana.id).active = False
        tx.record("identity.deactivate", ("identity", people.ana.id))
        people.refused("deactivated", require_now, tx.session, people.ana, "model.read", now=tx.now)
    another = Database(people.database.url.render_as_string(hide_password=False))
    with another.read() as session:
        people.refused("deactivated", require_now, session, people.ana, "model.read", now=another.now())
    another.close()


def test_tokens_of_demo_identities_end_where_those_are_switched_off(people: People) -> None:
    person, service = people.made().text, people.made(people.olga, identity="ci").text
    without = Tokens(people.database, Settings(demo_identities=False))
    assert without.actor_of(person) is None
    assert without.actor_of(service) is None, "nobody answers for it there"


def test_only_the_identity_itself_or_a_services_owner_makes_one(people: People) -> None:
    made = people.made(people.olga, identity="ci")
    assert people.tokens.actor_of(made.text) == people.ci
    assert people.ci.owner_id == people.olga.id
    for actor, name in ((people.otto, "ci"), (people.otto, "ana"), (people.ana, "ci"), (people.ci, "olga")):
        people.refused("not-yours", people.tokens.create, actor, "x", identity=name)
    people.refused("not-found", people.tokens.create, people.ana, "x", identity="nobody")
    people.refused("bad-name", people.tokens.create, people.ana, " ")
    people.refused("bad-name", people.tokens.create, people.ana, "a\x1b[31m")
    for wrong in (timedelta(0), timedelta(days=-1), timedelta(days=367)):
        people.refused("bad-lifetime", people.tokens.create, people.ana, "x", lifetime=wrong)


def test_a_token_is_seen_and_revoked_by_whoever_it_belongs_to_and_by_an_admin(people: People) -> None:
    made = people.made(people.olga, identity="ci")
    assert [one.identity for one in people.tokens.list(people.olga)] == ["ci"]
    assert people.tokens.list(people.ana) == ()
    people.refused("not-allowed", people.tokens.list, people.ana, everybody=True)
    assert len(people.tokens.list(people.otto, everybody=True)) == 1
    with pytest.raises(NotFound):
        people.tokens.revoke(people.ana, made.id)
    with pytest.raises(NotFound):
        people.tokens.revoke(people.ana, "tok_nobody")
    people.tokens.revoke(people.otto, made.id)
    assert people.tokens.actor_of(made.text) is None


def test_an_identity_has_so_many_tokens_and_no_more(people: People, clock: Clock) -> None:
    for _ in range(MOST_ACTIVE):
        people.made(lifetime=timedelta(hours=1))
    people.refused("too-many-tokens", people.made)
    clock.tick(hours=1)
    people.made()


def test_making_and_revoking_are_in_the_ledger_and_using_is_noted_coarsely(people: People, clock: Clock) -> None:
    made = people.made()
    people.tokens.revoke(people.ana, people.made().id)

    def used() -> object:
        with people.database.read() as session:
            row = session.get(TokenUse, made.id)
            return row.used_at if row is not None else None

    assert used() is None
    people.tokens.actor_of(made.text)
    first = used()
    assert first == clock.now
    clock.tick(minutes=1)
    people.tokens.actor_of(made.text)
    assert used() == first
    clock.tick(seconds=USED_EVERY.total_seconds())
    people.tokens.actor_of(made.text)
    assert used() == clock.now
    with people.database.read() as session:
        rows = [row for row in session.exec(select(LedgerRow)) if row.subject_kind == "token"]
        digests = list(session.exec(select(Token.digest)))
    assert [row.action for row in rows] == ["token.create", "token.create", "token.revoke"]
    assert not any(digest in str(row.after_json) for row in rows for digest in digests)


# -- narrower than its identity


def test_a_narrow_token_is_no_more_than_its_limits_and_no_more_than_its_identity(people: People) -> None:
    people.identities.grant(people.otto, "ci", "operator", "*")
    text = people.made(people.olga, identity="ci", role="contributor", scope="model:flight-delay").text
    actor = people.tokens.actor_of(text)
    assert actor is not None
    assert (actor.id, actor.limits) == (people.ci.id, Limits("contributor", "model:flight-delay"))
    with people.database.unit(actor) as tx:
        require(tx, actor, "change.propose", environment="production", model="flight-delay")
        for action, model in (("change.propose", "churn"), ("rollout.resume", "flight-delay"), ("server.test", None)):
            with pytest.raises(Refusal):
                require(tx, actor, action, environment="production", model=model)
    (line,) = people.tokens.list(people.olga)
    assert (line.role, line.scope) == ("contributor", "model:flight-delay")
    people.identities.take_back(people.otto, "ci", "operator", "*")
    with people.database.read() as session, pytest.raises(Refusal):
        require_now(session, actor, "change.propose", now=people.database.now(session), model="flight-delay")


def test_of_an_environment_and_a_model_counts_that_model_there(people: People) -> None:
    people.identities.grant(people.otto, "ci", "contributor", "environment:staging")
    people.refused("not-found", people.made, people.olga, identity="ci", scope="model:flight-delay")  # it does not see it
    people.identities.grant(people.otto, "ci", "viewer", "model:flight-delay")
    actor = people.tokens.actor_of(people.made(people.olga, identity="ci", scope="model:flight-delay").text)
    assert actor is not None
    with people.database.unit(actor) as tx:
        require(tx, actor, "change.propose", environment="staging", model="flight-delay")
        for place in ({"environment": "staging", "model": "churn"}, {"environment": "production", "model": "flight-delay"}):
            with pytest.raises(Refusal):
                require(tx, actor, "change.propose", **place)


def test_a_service_does_nothing_while_its_owner_is_deactivated_until_it_is_handed_over(people: People) -> None:
    people.identities.grant(people.otto, "ci", "contributor", "environment:staging")
    text = people.made(people.olga, identity="ci").text
    people.identities.deactivate(people.otto, "olga")
    actor = people.tokens.actor_of(text)
    assert actor is not None, "the token is good; what it is refused for is told by every command"
    with people.database.unit(actor) as tx:
        for look in (require, lambda *given, **_: require_to_read(tx.session, *given[1:], now=tx.now)):
            with pytest.raises(Refusal) as refused:
                look(tx, actor, "change.propose", environment="staging", model="m")
            assert refused.value.code == "no-owner"
            assert "hand" in refused.value.remedy
    people.refused("no-owner", people.tokens.list, actor)
    with people.database.read() as session:
        assert queries.held(session, actor) == ()
        assert not queries.some_people(session, [people.ci.id], now=people.database.now(session))[people.ci.id].active
        assert not {one.id: one for one in queries.people(session, now=people.database.now(session))}[people.ci.id].active
    ServiceOwners(people.database).hand_over(people.otto, "ci", "ana")
    assert people.tokens.actor_of(text) is None, "whoever is deactivated may have kept it"
    assert people.tokens.list(people.ana)[0].state == "revoked"
    heir = people.tokens.actor_of(people.made(people.ana, identity="ci").text)
    assert heir is not None
    with people.database.unit(heir) as tx:
        require(tx, heir, "change.propose", environment="staging", model="m")
    people.refused("deactivated", people.tokens.create, people.olga, "x", identity="ci", role=None)


def test_a_token_of_a_service_is_not_good_while_the_former_owner_who_made_it_is_deactivated(people: People) -> None:
    people.identities.grant(people.otto, "ci", "contributor", "environment:staging")
    text = people.made(people.olga, identity="ci").text
    ServiceOwners(people.database).hand_over(people.otto, "ci", "ana")
    actor = people.tokens.actor_of(text)
    assert actor is not None, "builds go on"
    assert actor.interests == {people.ci.id, people.ana.id, people.olga.id}, "she may have kept the token that she made"
    more = people.tokens.create(actor, "by the first one").text
    people.identities.deactivate(people.otto, "olga")
    for one in (text, more):
        assert people.tokens.actor_of(one) is None
    assert [one.state for one in people.tokens.list(people.ana)] == ["off", "off"]
    people.identities.activate(people.otto, "olga")
    assert people.tokens.actor_of(text) is not None


def test_what_it_sees_is_narrowed_as_well(people: People) -> None:
    actor = people.tokens.actor_of(people.made(people.otto, role="viewer", scope="environment:dev").text)
    assert actor is not None
    with people.database.read() as session:
        require_to_read(session, actor, "model.read", now=people.database.now(session))
        assert visible.is_narrow(session)
        with pytest.raises(Refusal):
            require_to_read(session, actor, "audit.read", now=people.database.now(session))
    with people.database.read() as session:
        see_as(session, actor, now=people.database.now(session))
        assert visible.is_narrow(session)


def test_a_narrow_token_makes_no_other_and_ends_none_but_itself(people: People) -> None:
    wide, made = people.made(), people.made(role="viewer")
    actor = people.tokens.actor_of(made.text)
    assert actor is not None
    people.refused("narrow-token", people.tokens.create, actor, "wider")
    people.refused("narrow-token", people.tokens.revoke, actor, wide.id)
    admin = people.tokens.actor_of(people.made(people.otto, role="admin").text)
    assert admin is not None
    people.refused("narrow-token", people.tokens.revoke, admin, wide.id)
    assert [one.id for one in people.tokens.list(actor)] == [made.id], "it is shown itself alone"
    assert len(people.tokens.list(people.ana)) == 2
    people.tokens.revoke(actor, made.id)
    assert people.tokens.actor_of(made.text) is None
    assert people.tokens.actor_of(wide.text) is not None


def test_a_token_that_only_feeds_may_nothing_else_and_sees_nothing(people: People) -> None:
    fed = people.tokens.actor_of(people.made(role="feeder", scope="model:flight-delay").text)
    assert fed is not None
    with people.database.read() as session:
        now = people.database.now(session)
        held = queries.held(session, fed)
        where = {"environment": "production", "model": "flight-delay"}
        assert {one for one in rules.ACTIONS if rules.may(held, one, now=now, **where)} == {"inference_log.write"}
        assert not rules.may(held, "inference_log.write", now=now, environment="production", model="another")
        assert not any(rules.may_read(held, one, now=now) for one in rules.ACTIONS)
        assert rules.sight(held, now=now).is_blind
    people.refused("good-for-nothing", people.made, people.identities.act_as("audra"), role="feeder")
    people.refused("bad-role", people.identities.grant, people.otto, "ana", "feeder")


def test_a_token_that_could_do_nothing_is_refused_when_it_is_made(people: People) -> None:
    people.refused("good-for-nothing", people.tokens.create, people.ana, "x", role="reviewer")
    people.refused("good-for-nothing", people.tokens.create, people.olga, "x", identity="ci", scope="environment:staging")
    people.refused("bad-role", people.tokens.create, people.ana, "x", role="king")
    people.refused("bad-scope", people.tokens.create, people.ana, "x", scope="models")
    people.refused("not-found", people.tokens.create, people.ana, "x", scope="team:nobody")


def test_a_last_use_is_noted_behind_the_request_and_a_failure_of_that_harms_nobody(real_time_database: Database) -> None:
    people, behind = People(real_time_database), Behind()
    tokens = Tokens(real_time_database, SETTINGS, behind.do)
    made = people.made()
    behind.do("fails", lambda: 1 / 0)
    assert tokens.actor_of(made.text) == people.ana
    assert behind.settle()
    assert people.tokens.list(people.ana)[0].last_used_at is not None
    behind.close()
    behind.do("late", lambda: pytest.fail("it was closed"))


# -- at the door


@SQLITE
def test_a_token_that_is_not_good_is_401_and_one_that_is_acts_with_the_roles_of_the_moment(asked: Api) -> None:
    world, token = asked.world, asked.token("ana")
    asked.refused("bad-token", "GET", "/me", token=f"cst_{'0' * 26}_{'0' * 52}", status=401)
    assert asked("GET", "/me")["roles"] == ["contributor"]
    world.identities.take_back(world.otto, "ana", "contributor")
    assert asked("GET", "/me")["roles"] == []
    asked.refused("not-allowed", "GET", "/models", status=403)
    world.identities.deactivate(world.otto, "ana")
    asked.refused("bad-token", "GET", "/me", token=token, status=401)


@SQLITE
def test_who_guesses_costs_the_database_nothing_and_keeps_nobody_out(asked: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    good, never_used = asked.token("ana"), asked.token("ben")
    asked("GET", "/me")
    looked = list[str]()
    ask = asked.backend.tokens.actor_of
    monkeypatch.setattr(asked.backend.tokens, "actor_of", lambda text: looked.append(text) or ask(text))
    for number in range(MOST_FAILURES + 5):
        status = 401 if number < MOST_FAILURES else 429
        answer = asked.client.get("/v1/me", headers={"authorization": f"Bearer cst_{'0' * 26}_{number:052d}"})
        assert answer.status_code == status, number
    assert len(looked) == MOST_FAILURES
    assert int(answer.headers["retry-after"]) == AGAIN_SECONDS
    for token in (good, never_used):
        assert asked.client.get("/v1/me", headers={"authorization": f"Bearer {token}"}).status_code == 200, "good is good"
    ended = asked.backend.tokens.create(asked.world.ana, "ended")
    monkeypatch.setattr("backend.access.tokens.KNOWN_SECONDS", -1.0)
    assert asked.backend.tokens.is_known(ended.text)
    monkeypatch.setattr("backend.access.tokens.KNOWN_SECONDS", 60.0)
    monkeypatch.setattr("backend.api.attempts.AGAIN_SECONDS", 60.0)
    asked.backend.tokens.revoke(asked.world.ana, ended.id)
    said = [asked.client.get("/v1/me", headers={"authorization": f"Bearer {ended.text}"}).status_code for _ in range(3)]
    assert said == [401, 429, 429], "one look, then none for a while"


def test_failures_are_counted_within_a_window_and_for_each_address() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(MOST_FAILURES):
        assert not attempts.is_over("a")
        attempts.note("a", "t", good=False)
    assert (attempts.is_over("a"), attempts.is_over("b")) == (True, False)
    assert (attempts.has_just_failed("t"), attempts.has_just_failed("u")) == (True, False)
    now[0] = AGAIN_SECONDS
    assert not attempts.has_just_failed("t"), "what it speaks of may have been set right meanwhile"
    attempts.note("a", "t", good=False)
    attempts.note("a", "t", good=True)
    assert not attempts.has_just_failed("t")
    now[0] = WINDOW_SECONDS
    assert not attempts.is_over("a")
    attempts.note("a", "t", good=False)
    assert not attempts.is_over("a"), "it begins to count anew"


def test_a_good_token_that_was_given_too_little_is_403_and_every_other_is_401() -> None:
    given = guard._not_admitted(NotAdmitted("Too little.", "Ask for more.", code="insufficient-scope"))
    assert (given.status_code, given.headers["www-authenticate"]) == (403, 'Bearer error="insufficient_scope"')
    other = guard._not_admitted(NotAdmitted("Not good.", "Ask for another.", code="bad-token"))
    assert (other.status_code, other.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')


def test_of_tokens_never_seen_so_many_are_checked_for_an_address_and_those_that_come_back_have_their_own_places() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    flood = [attempts.may_check("a", f"forged-{number}") for number in range(100)]
    assert flood.count(True) == MOST_CHECKS
    assert not attempts.may_check("a", "good")
    assert attempts.may_check("b", "elsewhere")
    now[0] = AGAIN_SECONDS / 2
    assert not attempts.may_check("a", "good"), "it was told when to come back"
    now[0] = AGAIN_SECONDS
    assert [attempts.may_check("a", f"more-{number}") for number in range(100)].count(True) == MOST_CHECKS
    assert attempts.may_check("a", "good"), "no flood of new ones takes this place"
    back = [attempts.may_check("a", f"forged-{number}") for number in range(50, 100)]
    assert back.count(True) == MOST_CHECKS - 1, "and those that come back have no more of them"
    now[0] = AGAIN_SECONDS + 1
    assert [attempts.may_check("a", f"later-{number}") for number in range(100)].count(True) == CHECKS_A_SECOND


def test_a_line_with_many_addresses_is_one_place() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(MOST_FAILURES):
        attempts.note(f"2001:db8::{number:x}", f"t-{number}", good=False)
    assert attempts.is_over("2001:db8::ffff:1")
    assert not attempts.is_over("2001:db8:0:1::1")
    for number in range(MOST_FAILURES):
        attempts.note("::ffff:192.0.2.7", f"u-{number}", good=False)
    assert (attempts.is_over("192.0.2.7"), attempts.is_over("192.0.2.8")) == (True, False)


def test_what_tokens_there_are_is_read_once_a_second_however_often_it_is_asked(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, read = [0.0], list[float]()
    known = Tokens(people.database, SETTINGS, clock=lambda: now[0])
    first = known.create(people.ana, "first").text
    glance = people.database.glance
    monkeypatch.setattr(people.database, "glance", lambda: read.append(now[0]) or glance())
    assert known.is_known(first)
    second = known.create(people.ana, "second").text
    read.clear()
    assert [known.is_known(f"cst_{number}") for number in range(50)] == [False] * 50
    assert (known.is_known(second), read) == (False, [])
    now[0] = KNOWN_SECONDS
    assert known.is_known(second)
    assert (known.is_known(f"{second[:-1]}{'x' if second[-1] != 'x' else 'y'}"), read) == (False, [KNOWN_SECONDS])


@SQLITE
def test_a_good_token_is_503_while_the_database_is_not_ready(asked: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    token = asked.token("ana")
    monkeypatch.setattr(asked.application.state.asked, "code", lambda: "schema")
    asked.refused("schema", "GET", "/me", token=token, status=503)
    assert asked.client.get("/v1/me").status_code == 401, "whoever brings none is told nothing of it"


@SQLITE
def test_the_command_line_makes_lists_and_revokes_them(real_time_database: Database, tmp_path: Path) -> None:
    World(real_time_database)
    url = real_time_database.url.render_as_string(hide_password=False)
    countersign = CommandLine(data_dir=str(tmp_path), database_url=url, demo_identities="true")
    assert countersign("identity", "create", "ci", "--owner", "olga", by="otto").code == 0
    assert countersign("identity", "grant", "ci", "contributor", "--scope", "environment:dev", by="otto").code == 0
    assert countersign("identity", "create", "ci", "--owner", "olga", by="ana").error == "not-allowed"
    made = countersign("token", "create", "builds", "--for", "ci", "--lifetime", "30d", by="olga").content["token"]
    assert made["text"].startswith("cst_")
    (line,) = countersign("token", "list", by="olga").content["tokens"]
    assert (line["id"], line["identity"], line["state"]) == (made["id"], "ci", "active")
    assert made["text"] not in json.dumps(line)
    here = {"data_dir": str(tmp_path), "database_url": url, "demo_identities": "true"}
    with_token = CommandLine(token=made["text"], **here)
    assert with_token("change", "list").code == 0, "a command acts by a token as well"
    (tmp_path / "token").write_text(made["text"] + "\n")
    for told in ({"token_file": str(tmp_path / "token")}, {"id_token": made["text"], "token": ""}):
        assert CommandLine(**here, **told)("change", "list").code == 0, told
    assert CommandLine(token_file="/nowhere", **here)("change", "list").error == "no-identity"
    assert with_token("freeze", "set", "dev", "--reason", "x").error == "not-allowed"
    assert countersign("change", "list").error == "no-identity"
    assert countersign("token", "revoke", made["id"], by="olga").code == 0
    assert with_token("change", "list").error == "bad-token"
    assert countersign("token", "create", "x", "--lifetime", "9999d", by="olga").error == "bad-lifetime"
    assert "service" in countersign.text("identity", "list", by="otto")
    assert countersign("identity", "take-back", "ci", "contributor", "--scope", "environment:dev", by="otto").code == 0
    assert countersign("identity", "deactivate", "ci", by="otto").code == 0


def test_the_bound_on_bodies_is_what_the_document_says() -> None:
    assert guard.MOST_BYTES == 256 << 10


@pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
def test_a_narrowed_token_is_not_told_under_a_key_what_its_identity_made(asked: Api) -> None:
    key, sent = {"idempotency_key": "build-1"}, {"name": "whole"}
    made = asked("POST", "/tokens", sent, status=201, **key)
    narrow = asked("POST", "/tokens", {"name": "narrow", "role": "viewer"}, status=201)["token"]
    asked.refused("narrow-token", "POST", "/tokens", sent, token=narrow, status=422, **key)
    again = asked("POST", "/tokens", sent, status=201, **key)
    assert (again["id"], again["token"]) == (made["id"], None)
    remark = {"scope": "dev", "reason": "Wait."}
    asked("POST", "/freezes", remark, by="olga", status=201, idempotency_key="f-1")
    less = asked("POST", "/tokens", {"name": "less", "role": "operator"}, by="olga", status=201)["token"]
    asked.refused("key-used", "POST", "/freezes", remark, token=less, status=409, idempotency_key="f-1")


@pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
def test_the_key_of_a_token_tells_nothing_once_its_service_is_somebody_elses(asked: Api) -> None:
    backend, otto = asked.backend, asked.world.otto
    backend.identities.create(otto, "ci", kind="service", owner="ben")
    sent = {"name": "mine", "identity": "ci"}
    asked("POST", "/tokens", sent, by="ben", status=201, idempotency_key="k-1")
    backend.service_owners.hand_over(otto, "ci", "olga")
    asked.refused("not-found", "POST", "/tokens", sent, by="ben", status=404, idempotency_key="k-1")
