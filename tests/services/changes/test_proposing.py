"""Proposing changes: what is drawn, hashed and checked; editing, rebasing, rechecking and withdrawing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from backend.policy.rules import GateRule
from tests.databases import Clock
from tests.services.changes.world import OTHER, World, artifact, package, refused


def test_a_change_is_numbered_drawn_and_checked(world: World) -> None:
    number = world.propose(2, share=2_500, title="  Newer  ")
    row = world.change(number)
    assert (row.number, row.state, row.title, row.policy) == (1, "checking", "Newer", "production@1")
    assert row.base_digest == world.endpoint().base_digest
    assert {one["name"]: one["buckets"] for one in row.plan["arms"]} == {"v1": 7_500, "v2": 2_500}
    assert row.decide_by == world.database.now() + timedelta(days=7)
    assert {gate for gate, _ in world.evidence(number)} == {"artifact", "preflight", "recorded_answers"}
    assert world.propose(3) == 2
    assert world.ledger()[:2] == ["change.propose", "change.submit"]


def test_a_package_is_built_once_from_exactly_what_was_registered(world: World) -> None:
    assert world.change(world.propose(2)).plan["arms"][1]["package_digest"] == package(2)
    world.propose(2, share=100)
    assert world.packaging.built == [artifact(2)]
    other = world.change(world.propose(5)).plan["arms"][1]
    assert other["served_as"] == {"model": f"flight-delay.{OTHER[7:15]}", "version": 5}
    for number in (2, 3):
        world.versions.digests[number] = OTHER
        refused("digest-mismatch", world.propose, number)
    assert world.packaging.built == [artifact(2), artifact(5)]


def test_what_cannot_be_proposed_is_refused_and_leaves_nothing(world: World, clock: Clock) -> None:
    at_time = {"start_mode": "at_time"}
    cases: list[tuple[str, int, dict[str, Any]]] = [
        ("not-found", 9, {}),
        ("not-found", 2, {"endpoint": "nowhere"}),
        ("no-change", 1, {}),
        ("no-reason", 2, {"reason": "  "}),
        ("no-reason", 2, {"title": "x" * 201}),
        ("bad-change", 2, {"share": 10_001}),
        ("bad-change", 0, {}),
        ("bad-start", 2, at_time),
        ("bad-start", 2, {"start_at": clock.now + timedelta(hours=1)}),
        ("bad-start", 2, {**at_time, "start_at": clock.now}),
        ("bad-start", 2, {**at_time, "start_at": clock.now + timedelta(hours=24, seconds=1)}),
        ("bad-start", 2, {**at_time, "start_at": (clock.now + timedelta(hours=1)).replace(tzinfo=None)}),
        ("policy", 2, {"start_mode": "whenever"}),
    ]
    for code, version, options in cases:
        refused(code, world.propose, version, **options)
    built = list(world.packaging.built)
    for actor in (world.ben, world.otto, world.audra):
        refused("not-allowed", world.propose, 3, actor)
    world.touch(mode="observe")
    refused("not-managed", world.propose, 3)
    assert world.packaging.built == built
    world.touch(mode="managed", base={**world.endpoint().base, "arms": []})
    refused("not-whole", world.propose)
    world.policy(may_supersede=False)
    refused("policy", world.propose, supersede=True)
    assert world.ledger() == []


def test_a_policy_that_asks_for_nothing_lets_a_change_on_at_once(world: World) -> None:
    world.policy(approvals_needed=0, gates=())
    number = world.propose()
    assert world.state(number) == "approved"
    world.run()
    assert (world.state(number), world.generations()) == ("applying", ["start"])


def test_a_policy_without_approvals_waits_for_its_checks_alone(world: World) -> None:
    world.policy(approvals_needed=0, gates=(GateRule(gate="preflight"),), start_modes=("by_hand",))
    refused("policy", world.propose)
    number = world.propose(start_mode="by_hand")
    world.run()
    assert world.state(number) == "checking"
    world.check()
    assert world.state(number) == "approved"


def test_a_failed_check_blocks_until_it_passes_again(world: World) -> None:
    number = world.propose()
    world.check("failed", "preflight")
    assert world.state(number) == "blocked"
    assert "preflight" in world.change(number).state_reason
    refused("wrong-state", world.vote, number)
    for _ in range(2):
        world.changes.recheck(world.ben, number)
    assert world.state(number) == "checking"
    refused("not-allowed", world.changes.recheck, world.audra, number)
    world.check("error", "recorded_answers")
    world.check()
    assert world.state(number) == "review"
    world.changes.recheck(world.ana, number)
    world.check("error", "artifact")
    assert world.state(number) == "blocked"


def test_editing_voids_votes_and_results_and_shows_what_it_changes(world: World) -> None:
    number = world.approved()
    before = world.change(number)
    world.changes.edit(world.olga, number, share=2_500, title="A quarter", start_mode="at_once")
    row = world.change(number)
    assert (row.state, row.title, row.earlier_plan, row.editors) == ("checking", "A quarter", before.plan, [world.olga.id])
    assert row.plan_digest != before.plan_digest
    assert (len(world.votes(number)), len(world.votes(number, valid=False))) == (0, 1)
    verdicts = [verdict for _, verdict in world.evidence(number)]
    assert (verdicts.count("void"), verdicts.count("queued")) == (3, 3)
    world.check()
    assert world.state(number) == "review"
    refused("stale-vote", world.vote, number, plan_digest=before.plan_digest)
    assert "authorization.revoke" in world.ledger("authorization")


def test_an_edit_is_not_overwritten_by_somebody_who_did_not_see_it(world: World) -> None:
    number, digest_now = world.propose(), world.versions.digest_now

    def meanwhile(model: str, version: int) -> str:
        world.versions.digest_now = digest_now
        world.changes.edit(world.ana, number, share=100)
        return digest_now(model, version)

    world.versions.digest_now = meanwhile
    refused("stale-write", world.changes.edit, world.ana, number, share=200)
    assert world.change(number).wanted["share"] == 100
    refused("bad-change", world.changes.edit, world.ana, number, weight=3)
    refused("not-allowed", world.changes.edit, world.ben, number, share=100)
    world.changes.withdraw(world.ana, number, "not needed")
    refused("wrong-state", world.changes.edit, world.ana, number, share=100)


def test_what_moved_suspends_and_a_rebase_returns_without_votes(world: World) -> None:
    number = world.approved()
    old = world.change(number)
    world.drift()
    world.run()
    row = world.change(number)
    assert row.state == "suspended"
    assert "not what this was drawn on" in row.state_reason
    assert (world.votes(number), "authorization.revoke" in world.ledger("authorization")) == ([], True)
    refused("not-whole", world.changes.rebase, world.ana, number)
    world.touch(base={**old.base, "strangers": [["flight-delay", 9]]}, state="in_sync")
    world.changes.rebase(world.ana, number)
    row = world.change(number)
    assert (row.state, row.earlier_plan, row.base_digest) == ("review", old.plan, world.endpoint().base_digest)
    refused("stale-vote", world.vote, number, base_digest=old.base_digest)
    world.vote(number)
    assert world.state(number) == "review"
    world.check()
    assert world.state(number) == "approved"


def test_a_new_policy_suspends_and_a_rebase_draws_under_it(world: World) -> None:
    number = world.approved()
    world.policy(approvals_needed=2)
    world.run()
    assert world.state(number) == "suspended"
    assert "production@2" in world.change(number).state_reason
    world.changes.rebase(world.ana, number)
    world.check()
    assert (world.state(number), world.change(number).plan["policy"]) == ("review", "production@2")
    world.vote(number)
    assert world.state(number) == "review"
    world.vote(number, world.carla)
    assert world.state(number) == "approved"


def test_the_change_of_somebody_who_left_is_taken_over(world: World, clock: Clock) -> None:
    number = world.reviewed()
    world.identities.deactivate(world.otto, "ana")
    clock.tick(seconds=15)
    world.run()
    assert world.state(number) == "suspended"
    world.identities.grant(world.otto, "ben", "operator")
    world.changes.rebase(world.ben, number)
    world.check()
    clock.tick(seconds=15)
    world.run()
    row = world.change(number)
    assert (row.state, row.requester_id, row.editors) == ("review", world.ben.id, [world.ana.id])
    refused("conflict-of-interest", world.vote, number)
    world.vote(number, world.carla)
    assert world.state(number) == "approved"


def test_withdrawing_ends_a_change_once(world: World) -> None:
    number = world.approved()
    refused("no-reason", world.changes.withdraw, world.ana, number, "")
    for _ in range(2):
        world.changes.withdraw(world.ana, number, "not needed")
    world.run()
    assert (world.state(number), world.generations()) == ("withdrawn", [])
    assert world.ledger().count("change.withdraw") == 1
    refused("wrong-state", world.changes.start, world.olga, number)


def test_comments_are_kept_and_their_words_stay_out_of_the_ledger(world: World) -> None:
    number = world.propose()
    row = world.changes.comment(world.ben, number, "  Why now? ")
    assert row.text == "Why now?"
    refused("no-reason", world.changes.comment, world.ben, number, " ")
    refused("not-allowed", world.changes.comment, world.audra, number, "hm")
    refused("not-found", world.changes.comment, world.ben, 99, "hm")
    refused("not-found", world.changes.comment, world.ben, "99999999999999999999", "hm")
    assert world.ledger()[-1] == "change.comment"
    assert world.changes.comment(world.ben, str(number), "a").change_id == row.change_id
    assert world.changes.comment(world.ben, row.change_id, "b").change_id == row.change_id
