"""Bearer tokens that other systems sign: which are good, whom they act as, and what ends that at the next call."""

from __future__ import annotations

import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwe, jws
from joserfc.jwk import OctKey, RSAKey
from sqlmodel import select

from backend.access import bearer_file, bearers, queries, rules
from backend.access.bearer_claims import NotAdmitted
from backend.access.bearers import Bearers
from backend.access.binding_rows import BearerUse, Binding
from backend.access.bindings import Bindings
from backend.access.checks import require, require_now
from backend.access.providers import ASKED_EVERY, ASKED_SELDOM, FAILED_SECONDS, KEPT_SECONDS, Providers
from backend.access.rows import Request
from backend.access.service import Identities
from backend.access.session_rows import ExternalLogin
from backend.access.sessions import Sessions
from backend.access.tokens import Tokens
from backend.api.attempts import MOST_CHECKS, MOST_FAILURES
from backend.core.context import Actor, Limits
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.core.outbound import Guard
from backend.policy import service as policy
from backend.policy.service import Policies
from backend.settings import Settings
from tests.api_world import Api
from tests.command_line import CommandLine
from tests.databases import Clock
from tests.identity_provider import CLIENT, IdentityProvider, identity_provider, rsa_key, signs_in
from tests.live_api import serving
from tests.services.changes.world import ENDPOINT, MODEL
from tests.services.changes.world import World as Changes
from tests.services.test_sign_in import Seconds

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""What judges tokens asks no database; what is written and looked up is held to both."""
HERE = "https://countersign.example.com"
SETTINGS = Settings(demo_identities=True)
BOUND = {"repository_id": "456789", "ref": "refs/heads/main"}
JOB = {
    **BOUND, "repository": "acme/flight-delay", "repository_owner_id": "123456", "ref_protected": "true", "event_name": "push",
    "run_id": "77", "run_attempt": "1", "check_run_id": "88", "sha": "c0ffee",
    "sub": "repo:acme/flight-delay:ref:refs/heads/main",
}  # fmt: skip


@dataclass
class World:
    """Countersign, a CI system that signs for its jobs, and a service `builds` that Olga owns."""

    database: Database
    clock: Clock
    ci: IdentityProvider

    def __post_init__(self) -> None:
        self.seconds, self.guard = Seconds(), Guard(["127.0.0.0/8"])
        self.providers = Providers(self.guard, clock=self.seconds)
        self.identities = Identities(self.database, SETTINGS, policy.protected)
        self.identities.seed_demo()
        Policies(self.database).seed()
        self.otto, self.nora, self.olga, self.ana = (self.identities.act_as(one) for one in ("otto", "nora", "olga", "ana"))
        self.builds = self.identities.create(self.otto, "builds", kind="service", owner="olga")
        self.identities.grant(self.otto, "builds", "contributor", "environment:dev")
        self.profile(kind="github", issuer=self.ci.issuer, audience=HERE)

    def profile(self, **told: Any) -> None:
        """These settings from now on."""
        self.profiles = bearer_file.profiles({"ci": told})
        self.bindings = Bindings(self.database, self.profiles, policy.protected)
        self.bearers = Bearers(self.database, Tokens(self.database, SETTINGS), self.providers, self.profiles)

    def claims(self, **changed: Any) -> dict[str, Any]:
        """What a job's token says at this moment; None takes a claim away."""
        told = {"aud": HERE, "nonce": None, "sid": None, "name": None, "groups": None, "jti": "j-1", **JOB, **changed}
        return self.ci.claims(now=self.clock.now.timestamp(), **told)

    def token(self, **changed: Any) -> str:
        return self.ci.sign(self.claims(**changed))

    def bind(self, claims: dict[str, str] | None = None, **options: Any) -> Binding:
        """A binding to what needs no second person."""
        options = {"scope": "environment:dev", **options}
        made = self.bindings.bind(self.otto, "builds", "ci", claims or BOUND, **options)
        assert isinstance(made, Binding)
        return made

    def actor(self, token: str | None = None) -> Actor:
        found = self.bearers.actor_of(token or self.token())
        assert found is not None
        return found

    def refused(self, code: str, token: str) -> str:
        with pytest.raises(NotAdmitted) as caught:
            self.bearers.actor_of(token)
        assert caught.value.code == code, caught.value
        return str(caught.value)

    def ledger(self, action: str) -> list[dict[str, Any]]:
        with self.database.read() as session:
            rows = session.exec(select(LedgerRow).where(LedgerRow.action == action).order_by(LedgerRow.seq)).all()
            return [{"by": row.actor_id, "kind": row.subject_kind, **json.loads(row.after_json)} for row in rows]


@pytest.fixture
def world(database: Database, clock: Clock) -> Iterator[World]:
    with identity_provider("ci") as ci:
        made = World(database, clock, ci)
        yield made
        made.guard.close()


def test_a_job_acts_as_the_service_that_it_is_bound_to_and_the_ledger_says_which_job(world: World) -> None:
    bound = world.bind()
    token = world.token()
    actor = world.actor(token)
    assert actor == Actor(world.builds.id, "builds", "service", world.olga.id, Limits(None, "environment:dev"))
    assert (actor.means, actor.from_outside) == (bound.id, True)
    world.actor(token)
    (used,) = world.ledger("bearer.use")
    assert (used["by"], used["kind"], used["jti"]) == (world.builds.id, "binding", "j-1")
    assert (used["job"]["run_id"], used["job"]["check_run_id"], used["job"]["sha"]) == ("77", "88", "c0ffee")
    world.actor(world.token(jti="j-2", run_id="78"))
    assert [one["jti"] for one in world.ledger("bearer.use")] == ["j-1", "j-2"]
    (line,) = world.bindings.lines(world.otto)
    assert (line.state, line.identity, line.last_used_at, line.scope) == (
        "active",
        "builds",
        world.clock.now,
        "environment:dev",
    )
    assert {line.last_used_by["jti"]} <= {"j-1", "j-2"}
    with world.database.read() as session:
        kept = " ".join(str(one) for one in session.exec(select(BearerUse)))
    assert token.rpartition(".")[2] not in kept


def test_the_last_use_moves_and_uses_of_long_ago_are_forgotten(world: World) -> None:
    world.bind()
    world.actor(world.token(jti="old"))
    world.clock.tick(minutes=4)
    fresh = world.token(jti="new")
    world.actor(fresh)
    first = world.clock.now
    world.clock.tick(minutes=4)
    world.actor(fresh)
    assert world.bindings.lines(world.otto)[0].last_used_at == first
    world.clock.tick(minutes=2)
    world.actor(fresh)
    assert world.bindings.lines(world.otto)[0].last_used_at == world.clock.now
    world.clock.tick(days=31)
    world.actor(world.token(jti="later"))
    with world.database.read() as session:
        assert [one.jti for one in session.exec(select(BearerUse))] == ["later"]


def _forged(world: World) -> dict[str, str]:
    told, key = world.claims(), world.ci.key
    header = {"alg": "RS256", "kid": key.kid, "typ": "JWT"}
    honest = world.ci.sign(told)

    def part(content: bytes) -> str:
        return urlsafe_b64encode(content).rstrip(b"=").decode()

    def signed(content: bytes, **more: Any) -> str:
        return jws.serialize_compact({**header, **more}, content, key, algorithms=["RS256"])

    stranger = rsa_key("a stranger")
    inside = json.dumps({"alg": "RS256", "typ": "JWT", "kid": stranger.kid, "jwk": stranger.as_dict(private=False)})
    unencoded = f'{{"alg":"RS256","kid":"{key.kid}","typ":"JWT","b64":false,"crit":["b64"]}}'
    return {
        "alg none": world.ci.unsigned(told),
        "alg None": world.ci.unsigned(told, alg="NoNe"),
        "HS256 with the public key": world.ci.signed_with_the_public_key(told),
        "HS256 with a known secret": world.ci.signed_with_the_client_secret(told),
        "another's key under this number": world.ci.sign(told, key=stranger, kid=key.kid),
        "a key inside": f"{part(inside.encode())}.{honest.split('.')[1]}.{honest.split('.')[2]}",
        "a key inside that signed": world.ci.sign(told, key=stranger, jwk=stranger.as_dict(private=False)),
        "keys elsewhere that signed": world.ci.sign(told, key=stranger, kid=stranger.kid, jku=f"{world.ci.issuer}/others"),
        "not encoded": f"{part(unencoded.encode())}.{honest.split('.')[1]}.{honest.split('.')[2]}",
        "critical": f"{part(json.dumps({**header, 'crit': ['exp'], 'exp': 1}).encode())}.{honest.split('.')[1]}.x",
        "cut signature": honest[:-4],
        "changed": f"{honest.split('.')[0]}.{part(json.dumps({**told, 'ref': 'x'}).encode())}.{honest.split('.')[2]}",
        "two refs": signed(json.dumps(told).replace("{", '{"ref":"refs/heads/x",', 1).encode()),
        "two issuers": signed(json.dumps(told).replace("{", '{"iss":"https://x",', 1).encode()),
        "a list": signed(b"[]"),
        "no JSON": signed(b"\xff\xfe"),
        "a token inside": signed(honest.encode(), cty="JWT"),
    }


@SQLITE
def test_forged_and_malformed_tokens_are_refused(world: World) -> None:
    world.bind()
    world.actor()
    for name, token in _forged(world).items():
        if not bearers.bearer_claims.is_jws(token):
            assert world.bearers.actor_of(token) is None, name
            continue
        assert world.refused("bad-token", token), name
    assert len(world.ledger("bearer.use")) == 1


@SQLITE
def test_where_a_token_says_that_its_key_is_nobody_looks(world: World) -> None:
    world.bind()
    stranger = rsa_key("a stranger")
    at = f"{world.ci.issuer}/others"
    inside = {"jwk": {"kty": "oct", "k": "AA"}}
    for number, header in enumerate(({"jku": at}, {"x5u": at}, inside)):
        world.actor(world.ci.sign(world.claims(jti=f"j-{number}"), **header))
        world.refused("bad-token", world.ci.sign(world.claims(), key=stranger, **header))
    assert set(world.ci.asked) == {"/.well-known/openid-configuration", "/jwks"}


def test_a_job_that_asks_for_two_things_at_once_is_noted_once(real_time_database: Database, clock: Clock) -> None:
    with identity_provider("ci") as ci:
        world = World(real_time_database, clock, ci)
        clock.now = real_time_database.now()
        world.bind()
        token, together, found = world.token(), threading.Barrier(4), list[Actor]()

        def ask() -> None:
            together.wait(10)
            found.append(world.actor(token))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(30)
        assert len(found) == 4
        assert len(world.ledger("bearer.use")) == 1
        world.guard.close()


@SQLITE
def test_encrypted_and_endless_tokens_are_no_tokens(world: World) -> None:
    world.bind()
    secret = OctKey.generate_key(256)
    nested = jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM", "cty": "JWT"}, world.token().encode(), secret)
    for text in (nested, world.token(filler="x" * 20_000), world.token() + ".", "a.b", ""):
        assert world.bearers.actor_of(text) is None
    assert not world.ci.asked, "nobody was asked for a key"


@SQLITE
@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://token.actions.githubusercontent.com"}, {"aud": "https://other.example.com"}, {"aud": None},
        {"aud": [HERE, "https://other.example.com"]}, {"exp": None}, {"exp": 1_000_000_000}, {"iat": None},
        {"nbf": 4_000_000_000}, {"iat": 4_000_000_000}, {"sub": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_that_is_not_for_us_or_not_of_now_is_refused(world: World, changed: dict[str, Any]) -> None:
    world.bind()
    world.refused("bad-token", world.token(**changed))


@SQLITE
def test_a_token_that_ran_out_is_refused_although_it_was_good(world: World) -> None:
    world.bind()
    token = world.token()
    world.actor(token)
    world.clock.tick(seconds=600 + 59)
    world.actor(token)
    world.clock.tick(seconds=1)
    assert "expired" in world.refused("bad-token", token)
    world.refused("bad-token", world.ci.sign(world.claims(), typ="at+jwt"))


@SQLITE
def test_who_is_not_bound_is_told_what_would_be_asked_for(world: World) -> None:
    world.bind()
    for changed in (
        {"repository_id": "999"}, {"ref": "refs/heads/other"}, {"ref": "refs/pull/3/merge", "event_name": "pull_request"},
        {"event_name": "pull_request_target"}, {"repository_id": "a\x00b"},
    ):  # fmt: skip
        world.refused("no-binding", world.token(**changed))
    assert "repository_id=999" in world.refused("no-binding", world.token(repository_id="999"))


@SQLITE
def test_a_rotated_key_is_found_and_the_old_one_counts_no_longer(world: World) -> None:
    world.bind()
    old = world.token()
    world.actor(old)
    world.ci.rotate()
    world.seconds.now += ASKED_EVERY
    world.actor(world.token(jti="j-2"))
    world.refused("bad-token", old)


@SQLITE
def test_a_flood_of_invented_key_numbers_asks_the_issuer_less_and_less(world: World) -> None:
    world.bind()
    world.actor()
    calls = len(world.ci.asked)
    minutes = 10
    for second in range(minutes * 60):
        world.seconds.now = 1000.0 + second
        if second % 599 == 0:
            world.actor()
        world.refused("bad-token", world.ci.sign(world.claims(), kid=f"k-{second}"))
    assert len(world.ci.asked) - calls <= 2 * (minutes + 6), "the metadata and the keys, about once a minute"
    world.ci.rotate()
    world.seconds.now += ASKED_SELDOM
    world.actor(world.token(jti="j-2"))


@SQLITE
def test_nobody_waits_for_somebody_elses_question(world: World) -> None:
    world.bind()
    world.actor()
    world.seconds.now += ASKED_EVERY
    lock = world.providers._lock_of(world.profiles[0].publisher)
    with lock, pytest.raises(ExternalFailure):
        world.bearers.actor_of(world.ci.sign(world.claims(), kid="unknown"))
    world.actor()


@SQLITE
def test_an_issuer_that_is_away_says_nothing_about_a_token(world: World) -> None:
    world.bind()
    world.ci.down = True
    with pytest.raises(ExternalFailure):
        world.bearers.actor_of(world.token())
    world.ci.down = False
    world.seconds.now += FAILED_SECONDS
    world.actor()
    world.ci.down = True
    world.actor()
    world.seconds.now += KEPT_SECONDS
    with pytest.raises(ExternalFailure):
        world.bearers.actor_of(world.token())


@SQLITE
def test_an_address_that_may_not_be_called_is_not_called_and_is_no_fault_of_the_token(world: World) -> None:
    world.bind()
    shut = Guard([])
    world.bearers = Bearers(world.database, Tokens(world.database, SETTINGS), Providers(shut), world.profiles)
    with pytest.raises(ExternalFailure, match="allowed networks"):
        world.bearers.actor_of(world.token())
    shut.close()
    assert world.ci.asked == []


def test_what_ends_a_binding_ends_it_at_the_next_call(world: World, clock: Clock) -> None:
    token = world.token(exp=clock.now.timestamp() + 7_000)
    bound = world.bind()
    world.actor(token)
    world.bindings.unbind(world.nora, bound.id, "The repository moved.")
    world.bindings.unbind(world.nora, bound.id)
    world.refused("no-binding", token)
    assert world.bindings.line(world.otto, bound.id).state == "ended"
    assert world.bindings.lines(world.otto) == ()
    assert len(world.bindings.lines(world.otto, ended=True)) == 1
    world.bind(expires_at=clock.now + timedelta(minutes=5))
    world.actor(token)
    clock.tick(minutes=5)
    world.refused("no-binding", token)
    again = world.bind({**BOUND, "repository": "acme/flight-delay"})
    world.actor(token)
    world.identities.deactivate(world.otto, "builds")
    assert "deactivated" in world.refused("bad-token", token)
    assert [one["reason"] for one in world.ledger("binding.end")] == ["The repository moved."]
    assert again.id != bound.id


def test_its_role_and_scope_hold_in_every_check(world: World) -> None:
    world.identities.grant(world.otto, "builds", "operator", "environment:dev")
    world.bind(role="contributor")
    actor = world.actor()
    with world.database.unit(actor) as tx:
        require(tx, actor, "change.propose", environment="dev")
        for action, environment in (("rollout.resume", "dev"), ("change.propose", "staging"), ("change.propose", "production")):
            with pytest.raises(Refusal):
                require(tx, actor, action, environment=environment)
    world.identities.take_back(world.otto, "builds", "operator", "environment:dev")
    world.identities.take_back(world.otto, "builds", "contributor", "environment:dev")
    with world.database.read() as session, pytest.raises(Refusal):
        require_now(session, actor, "change.propose", now=world.clock.now, environment="dev")


@SQLITE
def test_it_makes_itself_no_token_that_outlives_it(world: World) -> None:
    world.bind()
    tokens = Tokens(world.database, SETTINGS)
    with pytest.raises(Refusal) as caught:
        tokens.create(world.actor(), "mine")
    assert caught.value.code == "narrow-token"


@SQLITE
def test_of_two_bindings_the_one_that_asks_for_more_counts_and_none_of_two_alike(world: World) -> None:
    world.bind()
    closer = world.bind({**BOUND, "ref_protected": "true"}, role="viewer")
    assert world.actor().means == closer.id
    world.bind({**BOUND, "event_name": "push"})
    world.refused("several-bindings", world.token())


# -- who binds


def test_what_reaches_production_takes_a_second_admin(world: World) -> None:
    asked = world.bindings.bind(world.otto, "builds", "ci", BOUND, scope="model:flight-delay", role="contributor")
    assert isinstance(asked, Request)
    world.refused("no-binding", world.token())
    with pytest.raises(Refusal) as caught:
        world.bindings.confirm(world.otto, asked.id)
    assert caught.value.code == "own-request"
    made = world.bindings.confirm(world.nora, asked.id, "Looked at the repository.")
    assert (made.scope, made.role, made.claims) == ("model:flight-delay", "contributor", BOUND)
    assert world.actor().limits == Limits("contributor", "model:flight-delay")
    (row,) = world.ledger("binding.make")
    assert (row["by"], row["request_id"], row["claims"]) == (world.nora.id, asked.id, BOUND)
    assert isinstance(world.bindings.bind(world.otto, "builds", "ci", {**BOUND, "ref_type": "branch"}), Request), "everywhere"
    refused = world.bindings.bind(world.otto, "builds", "ci", {**BOUND, "ref_protected": "true"}, scope="model:x")
    world.bindings.refuse(world.nora, refused.id, "Not that model.")
    with pytest.raises(Refusal) as settled:
        world.bindings.confirm(world.nora, refused.id)
    assert settled.value.code == "settled"


def test_nobody_binds_to_a_service_of_his_own_to_a_person_or_twice(world: World) -> None:
    world.identities.create(world.otto, "mine", kind="service", owner="otto")
    for service, code in (("mine", "own-identity"), ("ana", "bad-identity"), ("nobody", "not-found")):
        with pytest.raises(Refusal) as caught:
            world.bindings.bind(world.otto, service, "ci", BOUND, scope="environment:dev")
        assert caught.value.code == code
    world.bind()
    with pytest.raises(Refusal) as twice:
        world.bind()
    assert twice.value.code == "name-taken"
    with pytest.raises(NotFound):
        world.bindings.bind(world.otto, "builds", "elsewhere", BOUND)
    with pytest.raises(Refusal) as past:
        world.bind({**BOUND, "ref_type": "branch"}, expires_at=world.clock.now)
    assert past.value.code == "bad-end"
    for actor in (world.ana, world.olga, world.builds):
        with pytest.raises(Refusal) as denied:
            world.bindings.bind(actor, "builds", "ci", BOUND, scope="environment:dev")
        assert denied.value.code == "not-allowed"


def test_a_binding_of_a_time_when_less_was_asked_for_is_not_honoured_and_says_how_to_make_it_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.profile(kind="gitlab", issuer=world.ci.issuer, audience=HERE)
    loose = {"project_id": "22", "environment": "dev"}
    with monkeypatch.context() as before:
        before.setattr("backend.access.bearer_claims.check_binding", lambda kind, claims: None)
        old = world.bind(loose)
    job = {"project_id": "22", "environment": "dev", "environment_protected": "true", "pipeline_source": "push"}
    token = world.token(**job)
    assert "environment_protected=true" in world.refused("binding-not-honoured", token)
    (line,) = world.bindings.lines(world.otto)
    assert (line.state, "Make it anew" in line.says) == ("not-honoured", True)
    world.profile(kind="github", issuer=world.ci.issuer, audience=HERE)
    world.bindings.settle()
    assert world.ledger("binding.end") == [], "a slip in the settings ends nothing"
    world.profile(kind="gitlab", issuer=world.ci.issuer, audience=HERE)
    for _ in range(2):
        world.bindings.settle()
    (row,) = world.ledger("binding.end")
    assert (row["by"], row["ended_by"]) == ("idn_system", "idn_system")
    world.refused("binding-not-honoured", token)
    (line,) = world.bindings.lines(world.otto)
    assert (line.state, line.says != "") == ("not-honoured", True), "it is listed until somebody saw it"
    made = world.bind({**loose, "environment_protected": "true"})
    assert world.actor(world.token(jti="j-2", **job)).means == made.id
    world.bindings.settle()
    world.bindings.unbind(world.otto, old.id, "Seen.")
    assert [one.id for one in world.bindings.lines(world.otto)] == [made.id]
    assert world.bindings.line(world.otto, old.id).state == "ended"
    assert [one["by"] for one in world.ledger("binding.end")] == ["idn_system", world.otto.id]


@SQLITE
def test_a_binding_counts_for_the_issuer_that_it_was_made_for_alone(world: World) -> None:
    world.bind()
    with identity_provider("another") as other:
        world.profile(kind="github", issuer=other.issuer, audience=HERE)
        told = {**world.claims(), "iss": other.issuer}
        world.refused("no-binding", other.sign(told))
        world.refused("bad-token", world.token())
        assert world.bindings.lines(world.otto)[0].state == "off"


# -- access tokens


class Access:
    """The same with a provider's access tokens in place of a CI system's."""

    def __init__(self, world: World, **told: Any) -> None:
        self.world = world
        world.profile(kind="access", issuer=world.ci.issuer, audience="api", **told)
        with world.database.unit(world.otto) as tx:
            login = ExternalLogin(issuer=world.ci.issuer, external_subject="u-ada", identity_id=world.ana.id, first_at=tx.now)
            tx.record("identity.link", tx.add(login))

    def token(self, **changed: Any) -> str:
        told = {"aud": "api", "nonce": None, "sid": None, "jti": "j-1", "client_id": "cli", "sub": "u-ada", **changed}
        return self.world.ci.sign(self.world.ci.claims(now=self.world.clock.now.timestamp(), **told), typ="at+jwt")


def test_a_person_acts_by_an_access_token_as_whom_the_provider_signs_in(world: World) -> None:
    access = Access(world)
    actor = world.actor(access.token())
    assert (actor, actor.from_outside) == (world.ana, True)
    (used,) = world.ledger("bearer.use")
    assert (used["kind"], used["job"]) == ("identity", {"client_id": "cli"})
    world.refused("no-binding", access.token(sub="u-eve"))
    world.refused("bad-token", access.token(aud=CLIENT))
    assert "cnf" in world.refused("bad-token", access.token(jti="bound", cnf={"jkt": "x"}))
    world.identities.deactivate(world.otto, "ana")
    world.refused("bad-token", access.token())


@SQLITE
def test_a_persons_token_does_what_its_scopes_name_and_no_more_than_the_person_may(world: World) -> None:
    scopes = {"cs.read": "viewer", "cs.write": "contributor", "cs.review": "reviewer"}
    access = Access(world, scopes=scopes, scope_claim="scp")
    for said in (None, "", "openid profile", "CS.READ", ["openid"], {"cs.read": True}, 7):
        assert "cs.read" in world.refused("insufficient-scope", access.token(scp=said)), said
    world.refused("insufficient-scope", access.token(scp=None, scope="cs.write"))

    def may(said: Any, action: str, environment: str | None = "dev") -> bool:
        actor = world.actor(access.token(scp=said))
        with world.database.read() as session:
            return rules.may(queries.held(session, actor), action, now=world.clock.now, environment=environment)

    for text, proposes in (("openid cs.read", False), ("cs.write", True), (["cs.read", "cs.write"], True)):
        assert (may(text, "change.propose"), may(text, "model.read")) == (proposes, True), text
    assert not may("cs.review", "change.vote"), "Ana is no reviewer, whatever her token says"
    world.identities.grant(world.otto, "ana", "reviewer", "environment:dev")
    assert [may("cs.write cs.review", one) for one in ("change.propose", "change.vote")] == [True, True]
    assert not may("cs.write", "change.vote")
    assert not may("cs.review", "change.vote", "production")
    with pytest.raises(Refusal, match="narrower"):
        Tokens(world.database, SETTINGS).create(world.actor(access.token(scp="cs.write")), "mine")


@SQLITE
def test_nothing_acts_as_a_service_of_a_demo_identity_where_those_are_off(world: World) -> None:
    world.bind()
    text = Tokens(world.database, SETTINGS).create(world.olga, "t", identity="builds").text
    assert getattr(world.bearers.actor_of(text), "id", None) == world.actor().id == world.builds.id
    off = Tokens(world.database, Settings(demo_identities=False))
    bearers = Bearers(world.database, off, world.providers, world.profiles)
    assert bearers.actor_of(text) is None
    with pytest.raises(NotAdmitted, match="demo identity"):
        bearers.actor_of(world.token())


@SQLITE
def test_an_id_token_of_a_persons_sign_in_is_no_bearer_token(world: World) -> None:
    access = Access(world, types=["jwt", "at+jwt"])
    honest = world.ci.claims(now=world.clock.now.timestamp(), sub="u-ada")
    world.refused("bad-token", world.ci.sign(honest))
    world.refused("bad-token", world.ci.sign({**honest, "aud": ["api", CLIENT]}))
    assert world.actor(access.token())
    sign_in = signs_in(world.ci.settings(client_id="api"))
    with pytest.raises(Refusal, match="ID tokens"):
        Bearers(world.database, Tokens(world.database, SETTINGS), world.providers, world.profiles, sign_in)


def test_signing_out_everywhere_ends_access_tokens_of_before(world: World) -> None:
    access = Access(world)
    settings = signs_in(world.ci.settings())
    sessions = Sessions(world.database, world.providers, settings)
    told = world.ci.claims(now=world.clock.now.timestamp(), sub="u-ada")
    signed_in = sessions.open({**told, "provider": "ci"}, world.ci.sign(told))
    token = access.token()
    world.actor(token)
    world.clock.tick(seconds=5)
    sessions.end_everywhere(signed_in.actor)
    assert "signed out" in world.refused("bad-token", token)
    world.clock.tick(seconds=5)
    world.actor(access.token(jti="j-2"))


@SQLITE
@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("uid", {"sub": "ada@corp.example", "uid": "u-ada", "cid": "cli"}),
        ("oid", {"sub": "pairwise-of-the-api", "oid": "o-ada"}),
    ],
)
def test_a_person_is_known_by_the_claim_that_its_provider_means(world: World, claim: str, said: dict[str, str]) -> None:
    """Okta's login in `sub` of another issuer, and Entra ID's `sub` that is another for each application."""
    access = Access(world)
    assert "signed in here as that person" in world.refused("no-binding", access.token(**said))
    with identity_provider("org") as org:
        sign_in = signs_in(org.settings(name="corp", scim_claim="oid" if claim == "oid" else "sub"))
        with world.database.unit(world.otto) as tx:
            told = {"external_subject": "pairwise-of-sign-in", "external_id": "o-ada"} if claim == "oid" else {}
            row = ExternalLogin(
                **{"issuer": org.issuer, "external_subject": "u-ada", "identity_id": world.olga.id, "first_at": tx.now, **told}
            )
            tx.record("identity.link", tx.add(row))
        profile = {"kind": "access", "issuer": world.ci.issuer, "audience": "api", "sign_in": "corp", "subject_claim": claim}
        profiles = bearer_file.profiles({"ci": profile})
        tokens = Tokens(world.database, SETTINGS)
        bearers = Bearers(world.database, tokens, world.providers, profiles, sign_in)
        actor = bearers.actor_of(access.token(**said))
        assert actor == world.olga
        with pytest.raises(NotAdmitted):
            bearers.actor_of(access.token(jti="j-2", **{**said, claim: "somebody"}))
        with pytest.raises(Refusal, match="nobody signs in at"):
            Bearers(world.database, tokens, world.providers, profiles, None)
        with pytest.raises(Refusal, match="subject_claim"):
            bearer_file.profiles({"ci": {**profile, "sign_in": ""}})
        if claim == "oid":
            with pytest.raises(Refusal, match="scim_claim"):
                Bearers(world.database, tokens, world.providers, profiles, signs_in(org.settings(name="corp")))


@SQLITE
def test_what_can_be_a_persons_is_bound_to_no_service(world: World) -> None:
    access = Access(world)
    with world.database.unit(world.otto) as tx:
        row = ExternalLogin(
            issuer="https://org.example", external_subject="u-x", external_id="o-x", identity_id=world.ana.id, first_at=tx.now
        )
        tx.record("identity.link", tx.add(row))
    for subject in ("ada@corp.example", "u-ada", "u-x", "o-x"):
        with pytest.raises(Refusal) as caught:
            world.bindings.bind(world.otto, "builds", "ci", {"sub": subject}, scope="environment:dev")
        assert caught.value.code == "bad-binding"
    made = world.bindings.bind(world.otto, "builds", "ci", {"sub": "id@clients"}, scope="environment:dev")
    assert isinstance(made, Binding)
    assert world.actor(access.token(sub="id@clients")).means == made.id
    world.refused("no-binding", access.token(sub="id@clients", uid="u-ada"))


@SQLITE
@pytest.mark.parametrize("by", ["admin", "provider", "provider-session", "deactivated", "revoked"])
def test_a_sign_out_ends_access_tokens_of_somebody_who_has_no_session(world: World, by: str) -> None:
    access = Access(world)
    settings = signs_in(world.ci.settings())
    sessions = Sessions(world.database, world.providers, settings)
    token = access.token()
    told = world.ci.claims(now=world.clock.now.timestamp(), sub="u-ada")
    if by in ("provider-session", "revoked"):
        signed_in = sessions.open({**told, "provider": "ci"}, world.ci.sign(told))
        if by == "provider-session":
            sessions.end(told)
    world.actor(token)
    world.clock.tick(seconds=5)
    if by == "admin":
        assert sessions.end_everywhere(world.otto, "ana") == 0
    elif by.startswith("provider"):
        said = {**world.ci.claims(now=world.clock.now.timestamp(), sub="u-ada"), "jti": "lo-1"}
        said |= {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}, "sid": told["sid"]}
        left_out = {"nonce", "sub"} if by == "provider-session" else {"nonce", "sid"}
        logout = {name: value for name, value in said.items() if name not in left_out}
        assert sessions.provider_logout(world.ci.sign(logout, typ="logout+jwt")) == 0
    elif by == "revoked":
        sessions.revoke(world.otto, signed_in.session_id)
    else:
        world.identities.deactivate(world.otto, "ana")
        world.identities.activate(world.otto, "ana")
    assert "signed out" in world.refused("bad-token", token)
    assert [one["why"] for one in world.ledger("identity.sign_out")]
    world.clock.tick(seconds=5)
    assert world.actor(access.token(jti="j-2")).id == world.ana.id


def test_a_machine_client_acts_as_the_service_that_its_subject_is_bound_to(world: World) -> None:
    access = Access(world, clients=["cli"])
    bound = world.bindings.bind(world.otto, "builds", "ci", {"sub": "client-7", "client_id": "ci-7"}, scope="environment:dev")
    assert isinstance(bound, Binding)
    assert world.actor(access.token(sub="client-7", client_id="ci-7")).means == bound.id
    world.refused("no-binding", access.token(sub="client-7", client_id="another"))
    world.refused("bad-token", access.token(client_id="another"))
    with pytest.raises(Refusal) as caught:
        world.bindings.bind(world.otto, "builds", "ci", {"sub": "u-ada"}, scope="environment:dev")
    assert caught.value.code == "bad-binding"


# -- at the doors


@SQLITE
def test_what_is_remembered_as_good_was_good_when_it_was_last_looked_at(world: World) -> None:
    bound, token = world.bind(), world.token()
    assert not world.bearers.is_known(token)
    world.actor(token)
    assert world.bearers.is_known(token)
    assert not world.bearers.is_known(world.ci.sign(world.claims(), key=rsa_key("x")))
    world.bindings.unbind(world.otto, bound.id)
    world.refused("no-binding", token)
    assert not world.bearers.is_known(token)


@pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
def test_the_api_takes_a_builds_token_and_tells_401_from_503(
    real_time_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with identity_provider("ci") as ci:
        file = tmp_path / "bearers.toml"
        file.write_text(f'[github]\nkind = "github"\nissuer = "{ci.issuer}"\naudience = "{HERE}"\n')
        monkeypatch.setenv("COUNTERSIGN_BEARER_FILE", str(file))
        asked = Api(Changes(real_time_database), tmp_path / "data")
        asked.backend.identities.create(asked.backend.identities.act_as("otto"), "builds", kind="service", owner="olga")
        token = ci.sign(ci.claims(aud=HERE, nonce=None, jti="j", **JOB))
        asked.refused("no-binding", "GET", "/me", token=token, status=401)
        sent = {"service": "builds", "profile": "github", "claims": BOUND, "role": "viewer", "scope": "environment:dev"}
        made = asked("POST", "/bindings", sent, by="otto")
        asked("POST", "/grants", {"identity": "builds", "role": "operator", "scope": "environment:dev"}, by="otto")
        me = asked("GET", "/me?environment=dev", token=token)
        assert (me["name"], me["kind"], me["roles"]) == ("builds", "service", ["viewer"])
        assert asked("GET", f"/bindings/{made['binding']}", by="audra")["last_used_by"]["run_id"] == "77"
        assert [one["audience"] for one in asked("GET", "/bindings/issuers", by="audra")["items"]] == [HERE]
        answer = asked.client.get(
            "/v1/me", headers={"authorization": f"Bearer {ci.sign(ci.claims(aud=HERE, **JOB), key=rsa_key('x'))}"}
        )
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
        monkeypatch.setattr("backend.api.attempts.AGAIN_SECONDS", 0.0)
        for number in range(MOST_FAILURES):
            guess = f"cst_{'0' * 26}_{number:052d}"
            last = asked.client.get("/v1/me", headers={"authorization": f"Bearer {guess}"}).status_code
        assert last == 429
        again = ci.sign(ci.claims(aud=HERE, nonce=None, jti="k", **JOB))
        assert asked("GET", "/me?environment=dev", token=again)["name"] == "builds", "a stranger at its proxy keeps no job out"
        glance, looks = asked.backend.database.glance, list[str]()
        with monkeypatch.context() as watched:
            watched.setattr(asked.backend.database, "glance", lambda: looks.append("look") or glance())
            forged = ci.sign(ci.claims(aud=HERE, **JOB), key=rsa_key("x"))
            asked.refused("bad-token", "GET", "/me", token=forged, status=401)
        assert looks == [], "its signature is checked before anything is looked up"
        asked("DELETE", f"/bindings/{made['binding']}", by="otto")
        asked.refused("no-binding", "GET", "/me", token=token, status=401)
        asked.backend.providers._published.clear()
        ci.down = True
        asked.refused("external-failure", "GET", "/me", token=token, status=503)
        ci.down = False
        asked.backend.providers._failed.clear()
        asked("POST", "/bindings", sent, by="otto")
        asked("GET", "/me", token=again)
        monkeypatch.setattr("backend.api.attempts.CHECKS_A_SECOND", 0.0)
        checked = list[str]()
        payload = asked.backend.providers.payload
        monkeypatch.setattr(asked.backend.providers, "payload", lambda who, text: checked.append(text) or payload(who, text))
        flood = [ci.sign(ci.claims(aud=HERE, **{**JOB, "run_id": str(n)}), key=rsa_key("x"), kid=ci.key.kid) for n in range(50)]
        said = [asked.client.get("/v1/me", headers={"authorization": f"Bearer {one}"}).status_code for one in flood]
        assert said == [401] * len(checked) + [429] * (len(flood) - len(checked))
        assert 0 < len(checked) <= MOST_CHECKS, "forged ones cost so many checks and no more"
        assert asked("GET", "/me?environment=dev", token=again)["name"] == "builds", "one that was good stays good"
        late = ci.sign(ci.claims(aud=HERE, nonce=None, jti="late", **JOB))
        first = asked.client.get("/v1/me", headers={"authorization": f"Bearer {late}"})
        assert (first.status_code, "retry-after" in first.headers) == (429, True)
        assert asked("GET", "/me?environment=dev", token=late)["name"] == "builds", "and a new one when it comes back"
        asked.close()


@pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
def test_a_job_acts_by_its_own_identity_through_the_remote_command_line_where_binding_and_grant_both_reach(
    real_time_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with identity_provider("ci") as ci:
        file = tmp_path / "bearers.toml"
        file.write_text(f'[github]\nkind = "github"\nissuer = "{ci.issuer}"\naudience = "{HERE}"\n')
        monkeypatch.setenv("COUNTERSIGN_BEARER_FILE", str(file))
        asked = Api(Changes(real_time_database), tmp_path / "data")
        backend, otto, nora = asked.backend, asked.world.otto, asked.world.nora
        backend.identities.create(otto, "builds", kind="service", owner="olga")
        backend.confirm_request(nora, backend.identities.grant(otto, "builds", "operator", "environment:production").id)
        limits = {"role": "contributor", "scope": f"model:{MODEL}"}
        backend.confirm_request(nora, backend.bindings.bind(otto, "builds", "github", BOUND, **limits).id)
        with serving(asked.application) as url:
            options = {"url": url, "config_dir": str(tmp_path / "config")}
            token = ci.sign(ci.claims(aud=HERE, nonce=None, jti="j", **JOB))
            job = CommandLine(id_token=token, **options)
            assert job("whoami").content["identity"] == "builds"
            proposed = job("change", "propose", ENDPOINT, "2", "--title", "Newer", "--reason", "Tested", "--key", "run-77")
            assert proposed.code == 0, proposed
            assert proposed.content["line"]["requester"] == "builds"
            assert job("endpoint", "pause", ENDPOINT, "--reason", "x").error == "not-allowed", "an operator's, no contributor's"
            assert job("model", "register", MODEL, "1").error == "not-allowed", "of the model anywhere, not in production alone"
            assert job("token", "create", "longer").error == "narrow-token"
            strange = ci.sign(ci.claims(aud=HERE, nonce=None, jti="k", **{**JOB, "ref": "refs/heads/other"}))
            assert CommandLine(token=strange, **options)("whoami").error == "no-binding"
            backend.identities.deactivate(otto, "olga")
            refused = job("change", "list")
            assert (refused.code, refused.error) == (2, "no-owner")
        asked.close()


def test_the_command_line_binds_lists_shows_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "bearers.toml"
    file.write_text(f'[github]\nkind = "github"\naudience = "{HERE}"\n')
    line = CommandLine(data_dir=str(tmp_path / "data"), demo_identities="true", bearer_file=str(file))
    assert line("migrate").code == 0
    line("identity", "create", "builds", "--owner", "olga", by="otto")
    claims = [word for name, value in BOUND.items() for word in ("--claim", f"{name}={value}")]
    bind = ("identity", "bind", "builds", "--issuer", "github", *claims)
    made = line(*bind, "--scope", "environment:dev", "--role", "contributor", by="otto").content
    assert made["request"] is None
    assert line(*bind, "--claim", "ref_protected=true", by="otto").content["request"].startswith("ask_")
    (waits,) = line("request", "list", by="nora").content["requests"]
    assert waits["says"].startswith(
        "Give whatever it may do everywhere, as builds (owned by Olga (platform engineer) [olga]), to tokens of github with "
    )
    assert [one["id"] for one in line("identity", "bindings", by="audra").content["bindings"]] == [made["binding"]]
    assert "contributor in environment:dev" in line.text("identity", "binding", made["binding"], by="audra")
    assert line("identity", "issuers", by="audra").content["issuers"][0]["audience"] == HERE
    assert line(*bind, "--claim", "ref=x", by="otto").error == "bad-binding"
    line("identity", "unbind", made["binding"], by="otto")
    assert line("identity", "bindings", by="audra").content["bindings"] == []


def test_nothing_of_others_is_taken_where_no_settings_say_so(database: Database) -> None:
    with_none = Bearers(database, Tokens(database, SETTINGS), Providers(Guard([])), ())
    text = jws.serialize_compact({"alg": "RS256"}, b'{"iss":"https://x"}', RSAKey.generate_key(2048), algorithms=["RS256"])
    assert not with_none.could_be(text)
    assert with_none.actor_of(text) is None
