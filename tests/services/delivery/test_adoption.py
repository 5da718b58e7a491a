"""Adoption: what runs is looked at, kept and signed off by somebody else, and nothing of it is ever changed by that."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.access.queries import grants
from backend.access.rows import Identity
from backend.access.service import actor_of
from backend.access.service_owners import ServiceOwners
from backend.access.tokens import Tokens
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import CountersignError, ExternalFailure
from backend.delivery import hands
from backend.delivery.desired import ArmRoute, EndpointRoute
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.packages import read_manifest
from backend.delivery.rows import Endpoint, Generation
from backend.delivery.targets.memory_server import Fault
from backend.policy.rules import BUILT_IN
from backend.settings import Settings
from tests.databases import counted
from tests.services.delivery.surroundings import BY_GROUP, Surroundings, refused

HALVES = (("v1", 1, ((0, 7_500),)), ("v2", 2, ((7_500, 10_000),)))


@pytest.fixture
def around(database: Database, tmp_path: Path) -> Surroundings:
    made = Surroundings(database, tmp_path)
    made.server()
    return made


def sign(around: Surroundings, versions: Mapping[Any, int], by: str = "ben", **changes: Any) -> Generation:
    """Signs what runs now as it was just proposed."""
    base = changes.pop("base_digest", None) or around.endpoints.proposal(around.as_(by), "delay").digest
    return around.endpoints.sign_off(around.as_(by), "delay", base_digest=base, versions=versions, **changes)


def desired(generation: Generation) -> DesiredEndpoint:
    return DesiredEndpoint.model_validate(generation.desired)


def route(upstream: str, *arms: tuple[str, int, Any], champion: str = "v1") -> EndpointRoute:
    """A route of ours that an earlier installation left in a router: arm `v1` goes to served version 1, and so on."""
    routed = tuple(ArmRoute(name, version, "delay", version, ranges) for name, version, ranges in arms)
    return EndpointRoute("delay", "flight-delay", upstream, 7, "old-salt", "x-user", champion, routed)


def untouched(around: Surroundings) -> bool:
    """Whether the server's and the router's own journals know of nobody but the other team."""
    return {entry["by"] for entry in [*around.memory.journal, *around.router.journal]} <= {"another team"}


def test_what_runs_is_signed_off_kept_and_left_as_it_is(around: Surroundings) -> None:
    package = around.package()
    around.load("delay", v3=package)
    row = around.endpoint()
    proposal = around.endpoints.proposal(around.as_("ben"), "delay")
    assert [(one.served_version, one.state, one.package_digest) for one in proposal.running] == [(3, "ready", package.digest)]
    assert "version 3 of delay becomes the champion" in proposal.says
    before = around.wakes(row.server_id)
    signed = sign(around, {("delay", 3): 12}, base_digest=proposal.digest)
    arm = desired(signed).arms[0]
    assert (signed.number, signed.reason, signed.authorization_id) == (1, "baseline", None)
    assert (arm.name, arm.version, arm.place, arm.buckets, arm.package_digest) == (
        "v12",
        12,
        ("delay", 3),
        10_000,
        package.digest,
    )
    assert arm.artifact_digest == read_manifest(package.path).artifact_digest
    assert around.store.verify(package.digest)
    now = around.row()
    assert (now.mode, now.state, now.generation, now.proved_generation) == ("managed", "pushing", 1, 0)
    assert around.wakes(row.server_id) == before + 1
    assert untouched(around)


def test_after_a_signature_the_worker_proves_without_touching_anything(around: Surroundings) -> None:
    around.load("delay", v1=around.package(), v2=around.package(2.0))
    around.endpoint()
    sign(around, {("delay", 1): 1, ("delay", 2): 2}, champion=("delay", 2))
    around.one_pass()
    row = around.row()
    assert (row.state, row.proved_generation, row.last_error) == ("in_sync", 1, None)
    assert (row.base["champion"], [one["version"] for one in row.base["arms"]]) == ("v2", [2])
    assert "strangers" not in row.base
    assert untouched(around)


def test_after_a_signature_the_worker_gives_the_router_its_route_and_nothing_else(around: Surroundings) -> None:
    package = around.package()
    around.load("delay", v1=package)
    around.behind_router()
    around.endpoint(router="edge")
    assert "The router edge is then told" in around.endpoints.proposal(around.as_("ben"), "delay").says
    sign(around, {("delay", 1): 1})
    assert around.router.routes == {}
    around.one_pass()
    assert around.row().state == "in_sync"
    routed = around.router.routes["delay"]
    assert (routed.champion, routed.generation, [arm.ranges for arm in routed.arms]) == ("v1", 1, [((0, 10_000),)])
    assert {entry["by"] for entry in around.memory.journal} == {"another team"}


def test_the_signature_stands_in_the_ledger_with_what_was_signed(around: Surroundings) -> None:
    package = around.package()
    around.load("delay", v1=package)
    around.endpoint()
    base = around.endpoints.proposal(around.as_("ben"), "delay").digest
    sign(around, {("delay", 1): 4}, base_digest=base)
    event = around.events("endpoint.sign_off")[0]
    assert event.actor_id == around.as_("ben").id
    assert (event.before, event.after["base_digest"]) == ({"mode": "observe"}, base)
    assert event.after["versions"] == [{"served_as": ["delay", 1], "version": 4, "package_digest": package.digest}]
    assert {one.action for one in around.events()} >= {"generation.admit", "endpoint.admit", "package.store"}
    around.check_ledger()


def test_where_nothing_runs_the_baseline_is_empty(around: Surroundings) -> None:
    around.load("theirs", v1=around.package())
    around.behind_router()
    around.router.add_foreign("theirs")
    around.endpoint(router="edge")
    proposal = around.endpoints.proposal(around.as_("ben"), "delay")
    assert (proposal.running, proposal.obstacles, proposal.foreign_routes) == ((), (), ("theirs",))
    assert [one.served_name for one in proposal.unmanaged] == ["theirs"]
    refused("not-running", sign, around, {("delay", 1): 1})
    signed = desired(sign(around, {}))
    assert (signed.champion, signed.arms, signed.warm) == (None, (), ())
    assert (around.row().mode, around.row().generation) == ("managed", 1)


def test_a_look_says_the_same_until_something_moves(around: Surroundings) -> None:
    around.load("delay", v1=around.package())
    around.endpoint()
    ask = around.endpoints.proposal
    first = ask(around.as_("ben"), "delay").digest
    around.load("theirs", v1=around.package())
    assert ask(around.as_("olga"), "delay").digest == first
    around.memory.change_byte("delay", 1)
    assert ask(around.as_("ben"), "delay").digest != first


# -- what moved meanwhile


def test_what_moved_since_the_proposal_is_not_signed(around: Surroundings) -> None:
    around.load("delay", v1=around.package())
    around.endpoint()
    base = around.endpoints.proposal(around.as_("ben"), "delay").digest
    around.load("delay", v1=around.package(2.0))
    refused("stale-base", sign, around, {("delay", 1): 1}, base_digest=base)
    assert around.row().mode == "observe"


def test_what_moves_while_its_bytes_are_copied_is_not_signed(around: Surroundings) -> None:
    around.load("delay", v1=around.package())
    around.endpoint()
    base = around.endpoints.proposal(around.as_("ben"), "delay").digest
    around.connections.before_target = [
        lambda: None,
        lambda: None,
        lambda: around.load("delay", v1=around.package(), v2=around.package(2.0)),
    ]
    refused("stale-base", sign, around, {("delay", 1): 1}, base_digest=base)
    assert around.connections.before_target == []
    assert around.row().generation == 0


@pytest.mark.parametrize("what", ["server", "router", "base"])
def test_what_moves_after_the_last_look_is_not_signed(around: Surroundings, what: str) -> None:
    """The last look at the router is the last thing before the unit that writes."""
    around.behind_router()
    around.endpoint(router="edge")
    around.change("delay", base={"arms": []}, base_digest="sha256:" + "a" * 64)
    base = around.endpoints.proposal(around.as_("ben"), "delay").digest
    olga = around.as_("olga")
    doing: dict[str, Any] = {
        "server": lambda: around.servers.edit(olga, "srv", revision=1, upstream="memory:moved"),
        "router": lambda: around.servers.edit_router(olga, "edge", revision=1, public_url="http://127.0.0.1:2"),
        "base": lambda: around.change("delay", base_digest="sha256:" + "b" * 64),
    }
    around.connections.before_router = [lambda: None, doing[what]]
    refused("stale-base", sign, around, {}, base_digest=base)
    assert around.connections.before_router == []
    assert around.row().mode == "observe"


def test_a_server_that_does_not_answer_is_not_signed(around: Surroundings) -> None:
    around.endpoint()
    around.memory.script(Fault("observe", "reset"))
    with pytest.raises(ExternalFailure):
        around.endpoints.proposal(around.as_("ben"), "delay")
    base = around.endpoints.proposal(around.as_("ben"), "delay").digest
    around.memory.script(Fault("observe", "timeout"))
    with pytest.raises(ExternalFailure):
        sign(around, {}, base_digest=base)
    assert around.row().mode == "observe"


# -- who signs


def test_who_adopted_it_does_not_sign_alone_where_approvals_are_needed(around: Surroundings) -> None:
    around.endpoint()
    around.identities.create(around.as_("otto"), "robot", kind="service", owner="olga")
    around.identities.grant(around.as_("otto"), "robot", "operator")
    base = around.endpoints.proposal(around.as_("olga"), "delay").digest
    error = refused("own-adoption", sign, around, {}, by="olga", base_digest=base)
    assert "another" in error.remedy
    with around.database.read() as session:
        robot = actor_of(session.exec(select(Identity).where(Identity.name == "robot")).one())
    refused("own-adoption", around.endpoints.sign_off, robot, "delay", base_digest=base, versions={})
    tokens = Tokens(around.database, Settings(demo_identities=True))
    text = tokens.create(around.as_("olga"), "kept", identity="robot").text
    ServiceOwners(around.database).hand_over(around.as_("otto"), "robot", "ana")
    kept = tokens.actor_of(text)
    assert kept is not None
    refused("own-adoption", around.endpoints.sign_off, kept, "delay", base_digest=base, versions={})
    assert sign(around, {}, by="carla").admitted_by == around.as_("carla").id


def test_who_said_where_its_server_is_does_not_sign_what_runs_there(around: Surroundings) -> None:
    """Whoever may both point the server elsewhere and sign would put anything into production alone."""
    server = around.server("other")
    around.servers.edit(around.as_("otto"), "other", revision=server.revision, credential="new")
    around.identities.grant(around.as_("otto"), "carla", "operator")
    around.endpoints.create(
        around.as_("carla"), name="delay", environment="production", model="flight-delay", server="other", served_name="delay"
    )
    base = around.endpoints.proposal(around.as_("olga"), "delay").digest
    refused("own-adoption", sign, around, {}, by="olga", base_digest=base)
    assert sign(around, {}, by="ben", base_digest=base).number == 1


def test_where_no_approval_is_needed_one_person_is_enough(around: Surroundings) -> None:
    around.endpoint(environment="staging")
    assert sign(around, {}, by="olga").number == 1


def test_where_groups_alone_approve_a_second_person_signs_too(around: Surroundings) -> None:
    around.policies.set_policy(around.as_("otto"), "staging", BY_GROUP)
    around.endpoint(environment="staging")
    base = around.endpoints.proposal(around.as_("olga"), "delay").digest
    refused("own-adoption", sign, around, {}, by="olga", base_digest=base)
    assert sign(around, {}, by="ben").number == 1


def test_a_program_is_no_second_person_to_sign(around: Surroundings) -> None:
    around.endpoint()
    base = around.endpoints.proposal(around.as_("ben"), "delay").digest
    bot = around.identities.create(around.as_("otto"), "bot", kind="service", owner="ana")
    around.identities.grant(around.as_("otto"), "bot", "operator")
    refused("not-a-person", around.endpoints.sign_off, bot, "delay", base_digest=base, versions={})
    around.endpoint("toy", environment="staging", served_name="toy")
    base = around.endpoints.proposal(bot, "toy").digest
    assert around.endpoints.sign_off(bot, "toy", base_digest=base, versions={}).number == 1, "where nobody asks for a person"


@pytest.mark.parametrize("shared", ["server", "router"])
def test_where_production_stands_another_signs_for_dev_who_may_sign_for_production(around: Surroundings, shared: str) -> None:
    """What is pushed to an endpoint of dev runs on its server: nobody brings it onto production's alone."""
    around.behind_router()
    around.server("other")
    around.endpoint(router="edge")
    around.change("delay", mode="managed")
    otto, eve = around.as_("otto"), around.identities.create(around.as_("otto"), "eve")
    around.identities.grant(otto, "eve", "operator", "environment:dev")
    around.identities.grant(otto, "eve", "reviewer", "environment:staging")
    place = {"server": "srv"} if shared == "server" else {"server": "other", "router": "edge"}
    around.endpoint("toy", environment="dev", served_name="toy", **place)
    around.endpoint("alone", environment="dev", served_name="alone", server="other")

    def sign_toy(by: str | Actor) -> Generation:
        who = around.as_(by) if isinstance(by, str) else by
        base = around.endpoints.proposal(who, "toy").digest
        return around.endpoints.sign_off(who, "toy", base_digest=base, versions={})

    error = refused("shared-place", sign_toy, eve)
    assert "production" in error.remedy
    assert "delay" not in str(error), "she does not see what stands there"
    assert "production" in str(refused("own-adoption", sign_toy, "olga"))
    bot = around.identities.create(otto, "ci", kind="service", owner="ana")
    around.identities.grant(otto, "ci", "operator")
    refused("not-a-person", sign_toy, bot)
    assert sign_toy("ben").number == 1
    base = around.endpoints.proposal(around.as_("olga"), "alone").digest
    assert around.endpoints.sign_off(around.as_("olga"), "alone", base_digest=base, versions={}).number == 1


@pytest.mark.parametrize("who", ["olga", "ben", "eve", "nobody"])
def test_of_many_those_that_one_may_sign_are_found_as_one_by_one_and_as_cheaply_as_of_few(
    around: Surroundings, who: str
) -> None:
    around.behind_router()
    around.server("other")
    around.endpoint(router="edge")
    around.change("delay", mode="managed")
    otto = around.as_("otto")
    eve = around.identities.create(otto, "eve")
    around.identities.grant(otto, "eve", "operator", "environment:dev")
    me = {"eve": eve.id, "nobody": "idn_0"}.get(who) or around.as_(who).id
    around.endpoint("dev-beside", environment="dev", served_name="a")
    around.endpoint("dev-behind", environment="dev", served_name="b", server="other", router="edge")
    around.endpoint("dev-alone", environment="dev", served_name="c", server="other")

    def found() -> tuple[frozenset[str], int]:
        with counted(around.database) as statements, around.database.read() as session:
            held, now = grants(session, me), around.database.now(session)
            ids = list(session.exec(select(Endpoint.id).where(Endpoint.mode == "observe")))
            before = len(statements)
            many = hands.signable(session, ids, me, held, now=now)
            sent = len(statements) - before
            assert many == {
                one for one in ids
                if not hands.needs_another(session, one, me, now=now) and not hands.lacking(session, one, held, now=now)
            }  # fmt: skip
            return many, sent

    few, sent = found()
    assert len(few) == {"olga": 1, "ben": 3, "eve": 1, "nobody": 1}[who]
    for number in range(8):
        server = around.server(f"more-{number}").name
        around.endpoint(f"more-{number}", environment="dev", served_name=f"d{number}", server=server)
        around.endpoint(f"most-{number}", environment="dev", served_name=f"e{number}", server=server, router="edge")
    many, later = found()
    assert len(many) > len(few)
    assert later <= sent


def test_beside_an_environment_that_asks_for_no_more_nobody_else_is_asked(around: Surroundings) -> None:
    fewer_checks = {**BUILT_IN["production"].to_json(), "gates": [{"gate": "artifact"}]}
    around.policies.set_policy(around.as_("otto"), "staging", fewer_checks)
    around.endpoint(environment="staging")
    around.change("delay", mode="managed")
    nia = around.identities.create(around.as_("otto"), "nia")
    around.identities.grant(around.as_("otto"), "nia", "reviewer", "environment:production")
    around.endpoint("stricter", served_name="stricter")
    base = around.endpoints.proposal(around.as_("ben"), "stricter").digest
    assert around.endpoints.sign_off(nia, "stricter", base_digest=base, versions={}).number == 1


def test_a_policy_that_got_stricter_meanwhile_counts(around: Surroundings) -> None:
    around.endpoint(environment="staging")
    base = around.endpoints.proposal(around.as_("olga"), "delay").digest
    stricter = {"approvals_needed": 1}
    around.connections.before_target = [lambda: around.policies.set_policy(around.as_("otto"), "staging", stricter)]
    refused("own-adoption", sign, around, {}, by="olga", base_digest=base)


def test_only_reviewers_and_operators_sign_and_audit_only_reads(around: Surroundings) -> None:
    around.load("delay", v1=around.package())
    around.endpoint()
    base = around.endpoints.proposal(around.as_("otto"), "delay").digest
    around.memory.script(Fault("observe", "error"))
    for name in ("ana", "otto", "audra"):
        refused("not-allowed", sign, around, {("delay", 1): 1}, by=name, base_digest=base)
    refused("not-allowed", around.endpoints.proposal, around.as_("audra"), "delay")
    with pytest.raises(ExternalFailure):  # the scripted fault is still there: nobody above was called out for
        around.endpoints.proposal(around.as_("ben"), "delay")


# -- the signer's word


def test_the_word_on_a_registered_version_is_checked(around: Surroundings) -> None:
    package = around.package()
    around.load("delay", v1=package)
    around.endpoint()
    around.registered = {1: "sha256:" + "0" * 64, 2: package.digest}
    refused("digest-mismatch", sign, around, {("delay", 1): 1})
    assert around.row().generation == 0
    assert desired(sign(around, {("delay", 1): 2})).arms[0].version == 2


def test_several_running_versions_are_all_named_and_one_is_champion(around: Surroundings) -> None:
    around.load("delay", v1=around.package(), v2=around.package(2.0))
    around.load("theirs", v1=around.package())
    around.endpoint()
    one, two, theirs = ("delay", 1), ("delay", 2), ("theirs", 1)
    for versions, champion, code in (
        ({}, None, "not-named"),
        ({one: 1}, None, "not-named"),
        ({one: 1, two: 2}, None, "champion-missing"),
        ({one: 1, two: 1}, one, "named-twice"),
        ({one: 1, two: 0}, one, "bad-version"),
        ({one: 1, two: 2, theirs: 3}, one, "not-running"),
        ({one: 1, two: 2}, ("delay", 3), "bad-champion"),
    ):
        refused(code, sign, around, versions, champion=champion)
    assert around.events("package.store") == []


def test_of_several_without_a_router_the_champion_answers_and_the_rest_stays_loaded(around: Surroundings) -> None:
    around.load("delay", v1=around.package(), v2=around.package(2.0))
    around.load("delay.0123abcd", v1=around.package(3.0, interface="other"))
    around.endpoint()
    named = {("delay", 1): 1, ("delay", 2): 2, ("delay.0123abcd", 1): 3}
    signed = desired(sign(around, named, champion=("delay", 2)))
    assert (signed.champion, [one.name for one in signed.arms], signed.arms[0].buckets) == ("v2", ["v2"], 10_000)
    assert {one.place: one.name for one in signed.warm} == {("delay", 1): "v1", ("delay.0123abcd", 1): "v3"}
    assert signed.bake_seconds is None
    assert untouched(around)


def test_with_a_route_in_force_no_unit_moves(around: Surroundings) -> None:
    around.load("delay", v1=around.package(), v2=around.package(2.0), v3=around.package(3.0))
    around.behind_router()
    around.endpoint(router="edge")
    around.router.put({"delay": route(f"memory:{around.memory_name}", *HALVES)}, by="another team")
    proposal = around.endpoints.proposal(around.as_("ben"), "delay")
    assert [(one.arm, one.share) for one in proposal.running] == [("v1", 7_500), ("v2", 2_500), (None, None)]
    assert proposal.champion == "v1"
    named = {("delay", 1): 1, ("delay", 2): 2, ("delay", 3): 3}
    refused("version-differs", sign, around, {**named, ("delay", 1): 9})
    refused("bad-champion", sign, around, named, champion=("delay", 2))
    signed = desired(sign(around, named))
    assert signed.ranges == {"v1": ((0, 7_500),), "v2": ((7_500, 10_000),)}
    assert (signed.champion, signed.salt, signed.unit_header) == ("v1", "old-salt", "x-user")
    assert [one.name for one in signed.warm] == ["v3"]
    assert untouched(around)
    around.one_pass()
    now = around.router.routes["delay"]
    assert around.row().state == "in_sync"
    assert ({arm.arm: arm.ranges for arm in now.arms}, now.salt, now.generation) == (signed.ranges, "old-salt", 1)


def test_a_route_to_somewhere_else_is_not_signed(around: Surroundings) -> None:
    around.load("delay", v1=around.package())
    around.behind_router()
    around.endpoint(router="edge")
    around.router.put({"delay": route("memory:elsewhere", ("v1", 1, ((0, 10_000),)))}, by="another team")
    assert "memory:elsewhere" in around.endpoints.proposal(around.as_("ben"), "delay").obstacles[0]
    refused("not-settled", sign, around, {("delay", 1): 1})
    assert around.row().generation == 0


# -- the bytes


def test_bytes_that_are_not_what_runs_are_not_signed(around: Surroundings) -> None:
    around.load("delay", v1=around.package())
    around.endpoint()
    around.memory.change_byte("delay", 1)
    refused("not-what-runs", sign, around, {("delay", 1): 1})
    assert around.row().mode == "observe"


def test_storage_that_cannot_be_read_is_not_signed(around: Surroundings) -> None:
    package = around.package()
    around.load("delay", v1=package)
    around.endpoint()
    shutil.rmtree(package.path)
    refused("not-importable", sign, around, {("delay", 1): 1})
    assert around.row().mode == "observe"


# -- twice


def test_a_second_signature_is_refused(around: Surroundings) -> None:
    around.endpoint()
    base = around.endpoints.proposal(around.as_("ben"), "delay").digest
    sign(around, {}, base_digest=base)
    refused("already-managed", sign, around, {}, by="carla", base_digest=base)
    refused("already-managed", around.endpoints.proposal, around.as_("ben"), "delay")


def test_two_who_sign_at_once_have_one_effect(real_time_database: Database, tmp_path: Path) -> None:
    around = Surroundings(real_time_database, tmp_path)
    around.server()
    around.load("delay", v1=around.package())
    around.endpoint()
    base, outcomes = around.endpoints.proposal(around.as_("ben"), "delay").digest, []

    def ask(name: str) -> None:
        try:
            outcomes.append(str(sign(around, {("delay", 1): 1}, by=name, base_digest=base).number))
        except CountersignError as error:
            outcomes.append(getattr(error, "code", ""))

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("ben", "carla") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["1", *["already-managed"] * 3]
    assert around.row().generation == 1
