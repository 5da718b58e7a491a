"""Applying declarations: the difference that is told is what is done, by the usual commands, all of it or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.access import teams as team_reads
from backend.blueprints.plan import FieldChange
from backend.core.context import Limits
from backend.core.database import Database
from backend.core.errors import StaleWrite
from backend.policy import ramps
from backend.policy.ramps import Ramps
from backend.policy.rows import Ramp
from tests.databases import Clock
from tests.services.blueprints.world import Files, Told, document
from tests.services.changes.world import ENDPOINT, MODEL, World

TEAM = document("Team", "flights", "title: Flight delays\nmembers: [ana, ben]")
RAMP = document("Ramp", "careful", "steps:\n  - {share: 1, hold: 10m}\n  - {share: 25, hold: 1h, person: true}")


def memory(path: Path, name: str = "triton-2") -> str:
    """A server in memory whose state is a file."""
    return document("Server", name, f"kind: memory\nupstream: 'memory:{path}'\nsettings: {{path: '{path}'}}")


SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def given(world: World, tmp_path: Path) -> Files:
    return Files(world, tmp_path / "data")


def test_what_is_planned_is_done_and_then_there_is_no_difference(given: Files, tmp_path: Path) -> None:
    server = memory(tmp_path / "s.json")
    plan = given.plan(TEAM, RAMP, server)
    assert plan.differs
    assert [(one.kind, one.action, one.how) for one in plan.objects] == [
        ("Team", "create", ("direct",)), ("Ramp", "create", ("direct",)), ("Server", "create", ("direct",)),
    ]  # fmt: skip
    assert given.world.ledger("team") == [], "planning wrote something"
    applied = given.apply(TEAM, RAMP, server, plan=plan.digest)
    assert [one.says for one in applied.done] == ["Created."] * 3
    given.settled(TEAM, RAMP, server)
    assert given.world.ledger("team") == ["team.create", "team.add_member", "team.add_member"]
    assert given.world.ledger("config") == ["config.apply"]


@SQLITE
def test_each_field_is_told_with_what_it_was_and_what_it_shall_be(given: Files) -> None:
    given.apply(TEAM, RAMP)
    one = given.one(document("Team", "flights", "title: Delays\nmembers: [carla, ana]"))
    assert one.action == "change"
    assert one.fields == (
        FieldChange("title", "Flight delays", "Delays"),
        FieldChange("members", ["ana", "ben"], ["ana", "carla"]),
    )
    given.settled(document("Team", "flights", "title: Delays\nmembers: [carla, ana]"))
    only_title = given.one(document("Team", "flights", "title: Delays"))
    assert only_title.action == "none", "what a file does not name is not managed"


@SQLITE
def test_what_no_file_names_is_told_and_left_alone(given: Files) -> None:
    given.apply(TEAM)
    plan = given.plan(document("Team", "others", "title: Others"))
    assert plan.left["Team"] == ("flights",)
    assert plan.left["Environment"] == ("dev", "staging", "production")
    given.apply(document("Team", "others", "title: Others"))
    with given.world.database.read() as session:
        assert team_reads.line(session, "flights").members == ("ana", "ben")


@SQLITE
def test_what_shall_not_be_there_goes_only_where_that_is_said(given: Files) -> None:
    given.apply(TEAM, RAMP)
    gone = (document("Team", "flights", absent="true"), document("Ramp", "careful", absent="true"))
    given.refused("prune", *gone)
    applied = given.apply(*gone, prune=True)
    assert [one.says for one in applied.done] == ["Removed.", "Removed."]
    assert not given.plan(*gone).differs, "what is gone already is as declared"
    given.refused("cannot-go", document("Environment", "dev", absent="true"), prune=True)


def test_one_refusal_and_nothing_is_done(given: Files) -> None:
    plan = given.plan(TEAM, document("Team", "more", "members: [nobody-there]"))
    assert [one.code for one in plan.faults] == ["not-found"]
    assert plan.faults[0].where.startswith("file.yaml:")
    given.refused("not-found", TEAM, document("Team", "more", "members: [nobody-there]"))
    with given.world.database.read() as session:
        assert team_reads.lines(session) == ()
    assert given.world.ledger("config") == []


def test_an_edit_by_somebody_else_after_the_plan_is_not_overwritten(given: Files) -> None:
    given.apply(TEAM)
    text = document("Team", "flights", "title: Mine")
    digest = given.plan(text).digest
    given.backend.teams.rename(given.world.nora, "flights", "flights", "Hers")
    given.refused("stale-plan", text, plan=digest)
    with given.world.database.read() as session:
        assert team_reads.line(session, "flights").title == "Hers"


def test_an_edit_between_the_look_and_the_locks_is_not_overwritten(given: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    given.apply(TEAM)

    def before(*args: Any) -> Any:
        given.backend.teams.rename(given.world.nora, "flights", "flights", "Hers")
        return {}

    monkeypatch.setattr(given.blueprints, "_beforehand", before)
    given.refused("stale-plan", document("Team", "flights", "title: Mine"), recorded=1)
    with given.world.database.read() as session:
        assert team_reads.line(session, "flights").title == "Hers"


def test_a_move_that_nobody_confirmed_in_time_is_asked_for_anew(given: Files, tmp_path: Path, clock: Clock) -> None:
    text = memory(tmp_path / "moved.json", "s")
    for _ in range(2):
        assert given.one(text).how == ("move",)
        (made,) = given.apply(text).done
        assert "confirm-move" in made.says
        assert given.one(text).action == "waits"
        clock.tick(days=7)
    given.apply(text)
    given.world.identities.take_back(given.world.nora, "otto", "admin")
    assert given.one(text, by=given.world.olga).how == ("move",), "who asked may not any more"


def test_a_weaker_policy_in_production_becomes_a_request_and_is_asked_for_once(given: Files) -> None:
    text = document("Environment", "production", "policy:\n  approvals_needed: 0\n  ramp: {min_steps: 1}")
    one = given.one(text)
    assert (one.action, one.how) == ("change", ("request",))
    assert any("0 approval(s) instead of 1" in note for note in one.notes)
    assert [change.field for change in one.fields] == ["policy.approvals_needed", "policy.ramp.min_steps"]
    (made,) = given.apply(text).done
    assert made.request is not None
    assert given.one(text).action == "waits"
    assert not given.plan(text).differs
    given.world.policies.confirm_policy(given.world.nora, made.request)
    assert given.one(text).action == "none"


@SQLITE
def test_a_stricter_policy_is_in_force_at_once(given: Files) -> None:
    given.settled(document("Environment", "production", "policy: {approvals_needed: 2}"))
    assert given.world.ledger("environment")[-1] == "environment.set_policy"


@SQLITE
def test_a_file_gives_its_author_nothing(given: Files) -> None:
    """Membership brings data sets, so that nobody puts himself into a team; and roles are no kind at all."""
    given.refused("own-identity", document("Team", "flights", "members: [otto]"))
    given.refused("bad-config", document("Grant", "me", "role: admin"))
    given.apply(TEAM)
    given.world.identities.grant(given.world.otto, "ana", "admin", "team:flights")
    given.refused("not-allowed", document("Team", "flights", f"models: [{MODEL}]"), by=given.world.ana)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ana", TEAM),
        ("olga", TEAM),
        ("otto", document("Endpoint", ENDPOINT, "repair: report")),
        ("olga", document("Environment", "production", "policy: {approvals_needed: 3}")),
        ("ben", RAMP),
        ("audra", document("Server", "x", "kind: memory\nupstream: 'memory:/tmp/x.json'\nsettings: {path: /tmp/x.json}")),
    ],
)
@SQLITE
def test_whoever_may_not_is_refused_before_anything_is_locked(given: Files, name: str, text: str) -> None:
    actor = given.world.identities.act_as(name)
    one = given.one(text, by=actor)
    assert one.refused is not None
    assert one.refused.code == "not-allowed"
    given.refused("not-allowed", text, by=actor)


def test_what_serves_becomes_a_change_and_is_proposed_once(given: Files) -> None:
    world = given.world
    text = document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 2}]\nrollout: {start: by_hand}")
    one = given.one(text, by=world.ana)
    assert (one.action, one.how) == ("change", ("change",))
    assert one.fields == (FieldChange("serving.arms", [{"version": 1, "share": 100}], [{"version": 2, "share": 100}]),)
    (made,) = given.apply(text, by=world.ana, told=Told(reason="It is better.", title="Version 2")).done
    assert made.change is not None
    assert world.change(made.change).title == "Version 2"
    assert world.endpoint().generation == 1, "something was written directly"
    again = given.one(text, by=world.ana)
    assert (again.action, again.notes) == ("waits", (f"Change {made.change} asks for this already (checking).",))
    assert given.apply(text, by=world.ana).done == ()
    world.run()
    world.check()
    world.vote(made.change)
    world.changes.start(world.ana, made.change)
    world.run()
    world.prove()
    world.run()
    assert given.one(text, by=world.ana).action == "none"


@SQLITE
def test_a_job_that_may_only_look_is_told_the_plan_that_whoever_may_write_applies(given: Files) -> None:
    """docs/config.md hands it from the pipeline of a proposal to the one that applies."""
    otto = given.world.otto
    looking = replace(otto, limits=Limits("viewer", "*"))
    texts = (RAMP, document("Team", "risk", 'title: Risk\nmodels: ["flight-delay"]'))
    seen = given.plan(*texts, by=looking)
    assert seen.digest == given.plan(*texts, by=otto).digest
    assert {fault.code for fault in seen.faults} == {"not-allowed"}
    assert [one.action for one in seen.objects] == ["create", "create"]
    given.refused("not-allowed", *texts, by=looking, plan=seen.digest)
    given.apply(RAMP, by=otto)
    given.refused("stale-plan", *texts, by=otto, plan=seen.digest)


@SQLITE
def test_what_was_rejected_or_withdrawn_is_proposed_anew(given: Files) -> None:
    world = given.world
    text = document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 2}]\nrollout: {start: by_hand}")
    numbers = list[int]()
    for reason in ("It is better.", "It is better.", "Another one."):
        plan = given.plan(text, by=world.ana)
        assert plan.objects[0].action == "change"
        applied = given.apply(text, by=world.ana, plan=plan.digest, told=Told(reason=reason))
        assert applied.refused == ()
        number = applied.done[0].change
        assert number is not None
        assert world.state(number) == "checking"
        numbers.append(number)
        if len(numbers) == 1:
            world.run()
            world.check()
            world.vote(number, world.ben, "reject", comment="No.")
        else:
            world.changes.withdraw(world.ana, number, "No.")
        given.refused("stale-plan", text, by=world.ana, plan=plan.digest)
    assert len(set(numbers)) == len(numbers)


@SQLITE
def test_a_split_is_one_change_or_refused(given: Files) -> None:
    ana = given.world.ana
    text = document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 1, share: 90}, {version: 2, share: 10}]")
    (made,) = given.apply(text, by=ana).done
    assert made.change is not None
    assert given.world.change(made.change).wanted["share"] == 1_000
    three = "serving:\n  arms: [{version: 1, share: 80}, {version: 2, share: 10}, {version: 3, share: 10}]"
    given.refused("more-than-one-change", document("Endpoint", ENDPOINT, three), by=ana)
    given.refused("bad-share", document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 2, share: 50}]"), by=ana)
    given.refused("not-found", document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 9}]"), by=ana)


@SQLITE
def test_a_split_that_is_not_in_proportion_names_the_rest(given: Files) -> None:
    world, head = given.world, "serving:\n  arms: [{version: 1, share: %s}, {version: 2, share: %s}, {version: 3, share: 50}]"
    world.done(2, share=1_000)
    text = document("Endpoint", ENDPOINT, head % (20, 30))
    (made,) = given.apply(text, by=world.ana).done
    assert made.change is not None
    change = world.change(made.change)
    assert change.wanted["rest"] == [{"version": 1, "share": 2_000}, {"version": 2, "share": 3_000}]
    assert {one["version"]: one["buckets"] for one in change.plan["arms"]} == {1: 2_000, 2: 3_000, 3: 5_000}
    assert given.plan(text, by=world.ana).objects[0].action == "waits", "it was asked for"
    other = given.plan(document("Endpoint", ENDPOINT, head % (30, 20)), by=world.ana).objects[0]
    assert other.action == "change", "another split was not"


@SQLITE
def test_a_file_says_what_must_not_get_worse_on_the_way(given: Files) -> None:
    guardrail = "{name: errors, kind: errors, margin: 0.01, on_fail: warn}"
    rollout = f"{{ramp: [{{share: 10, hold: 1m}}], sameAge: true, guardrails: [{guardrail}]}}"
    text = document("Endpoint", ENDPOINT, f"serving:\n  arms: [{{version: 2}}]\nrollout: {rollout}")
    (made,) = given.apply(text, by=given.world.ana).done
    assert made.change is not None
    wanted = given.world.change(made.change).wanted
    assert [(one["name"], one["margin"], one["on_fail"]) for one in wanted["guardrails"]] == [("errors", 0.01, "warn")]
    assert wanted["same_age"] is True
    given.refused("bad-config", text.replace("margin: 0.01", "margin: 0"))


@SQLITE
def test_a_policy_of_a_file_has_guardrails_and_lets_steps_be_skipped(given: Files) -> None:
    asks = "policy: {may_skip: %s, guardrails: [{name: errors, kind: errors, margin: %s}]}"
    first = given.apply(document("Environment", "production", asks % ("false", 0.01)))
    assert first.refused == ()
    assert not given.plan(document("Environment", "production", asks % ("false", 0.01))).differs
    (laxer,) = given.plan(document("Environment", "production", asks % ("true", 0.02))).objects
    assert {one.field for one in laxer.fields} == {"policy.may_skip", "policy.guardrails"}
    assert laxer.notes == (
        "It asks for less: A rollout's steps may be skipped.",
        "It asks for less: A guardrail is left out or tolerates more.",
    )


@SQLITE
def test_a_named_ramp_of_the_same_files_is_walked(given: Files) -> None:
    given.apply(RAMP, by=given.world.olga)
    text = document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 2}]\nrollout: {ramp: careful, bake: 1h}")
    (made,) = given.apply(text, by=given.world.olga).done
    assert made.change is not None
    wanted = given.world.change(made.change).wanted
    assert [(one["share"], one["hold_seconds"], one["person"]) for one in wanted["ramp"]] == [
        (100, 600, False), (2_500, 3_600, True),
    ]  # fmt: skip
    assert wanted["bake_seconds"] == 3_600


@SQLITE
def test_a_policy_asks_for_a_ramp_by_name_and_then_its_steps_stay(given: Files) -> None:
    world, asks = given.world, document("Environment", "production", "policy: {ramp: {named: [careful]}}")
    given.refused("bad-policy", asks)
    given.settled(RAMP, asks)
    given.refused("policy", document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 2}]"), by=world.olga)
    number = world.propose(2, ramp="careful")
    assert [one["share"] for one in world.change(number).wanted["ramp"]] == [100, 2_500]
    assert [one["share"] for one in world.change(world.propose(3, ramp="careful", share=2_000)).wanted["ramp"]] == [100]
    steeper = document("Ramp", "careful", "steps:\n  - {share: 90, hold: 1s}")
    given.refused("ramp-asked-for", steeper)
    given.refused("ramp-asked-for", document("Ramp", "careful", absent="true"), prune=True)
    freed = given.apply(document("Environment", "production", "policy: {ramp: {named: []}}"))
    assert freed.done[0].request is not None, "asking for less takes a second person"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite lets one write after the other
def test_two_who_name_a_ramp_at_once_are_told_so(world: World) -> None:
    named = [{"share": 100, "hold_seconds": 60}]
    with pytest.raises(StaleWrite), world.database.unit(world.olga) as tx:
        assert tx.session.get(Ramp, "careful") is None
        with ThreadPoolExecutor(1) as pool:
            pool.submit(Ramps(world.database).set, world.otto, "careful", named).result(20)
        ramps.added(tx, Ramp(id="careful", steps=named, set_by=world.olga.id, set_at=tx.now))


@SQLITE
def test_a_change_that_cannot_be_proposed_after_all_is_told_and_the_rest_is_done(given: Files) -> None:
    given.world.versions.down = True
    text = document("Endpoint", ENDPOINT, "serving:\n  arms: [{version: 2}]")
    applied = given.apply(RAMP, text, by=given.world.olga)
    assert [one.says for one in applied.done] == ["Created.", "Its change could not be proposed."]
    assert applied.refused[0].code == "external-failure"
    given.world.versions.down = False
    (made,) = given.apply(RAMP, text, by=given.world.olga).done
    assert made.change is not None
