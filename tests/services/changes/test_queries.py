"""Reads of changes: the list by urgency, one person's queue, one change whole, what one may do with it, and its timeline."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from backend.changes.offers import offers
from backend.changes.queries import Filters, counts, page, queue
from backend.changes.timeline import timeline
from backend.changes.view import ChangeView, view
from backend.core.context import Actor, Limits
from backend.core.errors import NotFound, Refusal
from tests.databases import Clock
from tests.services.changes.world import World, refused


def numbers(world: World, filters: Filters | None = None, *, limit: int = 50) -> list[int]:
    """Every change in the list's order, page by page."""
    found: list[int] = []
    token: str | None = None
    with world.database.read() as session:
        while True:
            part = page(session, filters, after=token, limit=limit)
            assert len(part.items) <= limit
            found += [one.number for one in part.items]
            token = part.next
            if token is None:
                return found


def seen(world: World, number: int, actor: Actor) -> ChangeView:
    with world.database.read() as session:
        return view(session, actor, number, world.database.now(session))


def mine(world: World, actor: Actor) -> list[int]:
    with world.database.read() as session:
        return [one.number for one in queue(session, actor, world.database.now(session))]


def may(world: World, number: int, actor: Actor) -> set[str]:
    with world.database.read() as session:
        return {name for name, why_not in offers(session, actor, world.standing(number)).items() if not why_not}


def test_the_list_is_by_urgency_and_pages_without_gaps(world: World, clock: Clock) -> None:
    gone = world.reviewed(4)
    world.vote(gone, verdict="reject")
    clock.tick(minutes=1)
    withdrawn = world.propose(4, title="100 % sure_thing")
    world.changes.withdraw(world.ana, withdrawn, "no")
    clock.tick(minutes=1)
    late = world.reviewed(2)
    clock.tick(minutes=1)
    review = world.reviewed(3)
    approved = world.approved(5)
    checking = world.propose(2, share=100)
    world.run()
    order = [late, review, approved, checking, withdrawn, gone]
    assert numbers(world) == order
    for limit in (1, 2, 4):
        assert numbers(world, limit=limit) == order
    narrowed = {
        Filters(states=("review", "rejected")): [late, review, gone],
        Filters(text="sure_"): [withdrawn],
        Filters(text="0 % S"): [withdrawn],
        Filters(text="%"): [withdrawn],
        Filters(environment="staging"): [],
        Filters(endpoint="flight-delay-production", model="flight-delay", requester_id=world.ana.id): order,
        Filters(requester_id=world.olga.id): [],
    }
    assert [numbers(world, one, limit=2) for one in narrowed] == list(narrowed.values())
    with world.database.read() as session:
        assert counts(session) == {"approved": 1, "checking": 1, "rejected": 1, "review": 2, "withdrawn": 1}
        line = page(session).items[0]
        for token in ("x", "!!", "WzFd", "bnVsbA=="):
            with pytest.raises(Refusal):
                page(session, after=token)
    assert (line.requester, line.version, line.environment) == ("Ana (data scientist)", 2, "production")
    assert json.dumps(line.to_json())


def test_a_queue_holds_what_one_may_vote_on_and_has_not(world: World) -> None:
    world.policy(approvals_needed=2)
    world.identities.grant(world.otto, "olga", "reviewer")
    first, second = world.reviewed(2), world.reviewed(3, actor=world.olga)
    assert [mine(world, who) for who in (world.ben, world.olga, world.ana, world.audra)] == [[first, second], [first], [], []]
    world.vote(first)
    assert mine(world, world.ben) == [second]
    world.changes.edit(world.ana, first, share=5_000)
    world.check()
    assert mine(world, world.ben) == [first, second]


def test_one_change_whole(world: World, clock: Clock) -> None:
    world.policy(approvals_needed=2)
    number = world.reviewed(share=2_500, start_mode="by_hand")
    world.vote(number, comment="Fine.")
    world.changes.edit(world.ana, number, share=3_000)
    world.changes.comment(world.carla, number, "Why a third?")
    world.check(gate="artifact")
    clock.tick(minutes=5)
    found = seen(world, number, world.ben)
    assert "3,000 of 10,000 buckets move from v1 to v2, none back." in found.changes.summary
    assert [line.field for line in found.since_earlier.lines] == ["arms.v1.buckets", "arms.v2.buckets"]
    assert [(vote.voter, vote.counts, bool(vote.void_reason)) for vote in found.votes] == [("Ben (reviewer)", False, True)]
    assert [(one.gate, one.standing, one.age_seconds) for one in found.evidence] == [
        ("artifact", "passed", 300), ("preflight", "running", None), ("recorded_answers", "running", None),
    ]  # fmt: skip
    assert found.missing == (
        "Plan preflight: is running.", "Recorded answers in staging: is running.", "2 more approval(s) of reviewer.",
        "Somebody has to start it.",
    )  # fmt: skip
    assert [one.text for one in found.comments] == ["Why a third?"]
    assert json.loads(json.dumps(found.to_json()))["line"]["state"] == "checking"
    with pytest.raises(NotFound):
        seen(world, 99, world.ben)


def test_a_rollout_and_what_else_is_touched_are_shown(world: World, clock: Clock) -> None:
    number = world.applied(ramp=[{"share": 1_000, "hold_seconds": 60}])
    other = world.propose(3)
    world.prove()
    world.run()
    found = seen(world, number, world.olga)
    assert (found.rollout.state, found.missing) == ("holding", ())
    assert (found.rollout.hold_until - clock.now).total_seconds() == 60
    assert found.impact.open_changes == ((other, "checking"),)
    assert "change 1, which is under way" in seen(world, other, world.olga).drawn_on
    assert json.dumps(found.to_json())


def test_what_one_may_do_is_what_the_commands_let_one_do(world: World) -> None:
    number = world.reviewed(start_mode="by_hand")
    assert may(world, number, world.ana) == {"comment", "edit", "recheck", "withdraw"}
    assert may(world, number, world.ben) == {"approve", "reject", "comment", "recheck"}
    assert may(world, number, world.audra) == set()
    assert may(world, number, replace(world.ben, limits=Limits("viewer"))) == set(), "by a token that is good for less"
    world.vote(number)
    assert may(world, number, world.ben) == {"reject", "comment", "revoke"}
    assert may(world, number, world.olga) == {"comment", "edit", "withdraw", "start", "revoke"}
    world.policies.freeze(world.olga, "*", "incident 7")
    with world.database.read() as session:
        assert "incident 7" in offers(session, world.olga, world.standing(number))["start"]


def test_what_one_may_do_with_what_is_live(world: World) -> None:
    number = world.applied(ramp=[{"share": 1_000, "person": True}])
    assert may(world, number, world.olga) == {"comment", "revoke", "roll_back", "pause", "abort"}
    world.prove()
    world.run()
    assert may(world, number, world.ben) >= {"let_on", "revoke"}
    assert may(world, number, replace(world.ben, kind="service")) & {"let_on", "revoke"} == {"revoke"}, "a person has to look"
    world.rollouts.pause(world.olga, "flight-delay-production", "wait")
    assert may(world, number, world.olga) == {"comment", "revoke", "roll_back", "resume", "abort"}
    first = world.change(number)
    assert first.state == "applying"
    refused("wrong-state", world.changes.withdraw, world.ana, number, "no")


def test_the_timeline_tells_it_in_order_from_the_ledger(world: World) -> None:
    number = world.done()
    with world.database.read() as session:
        told = timeline(session, world.change(number))
        every = timeline(session, world.change(number), quiet=False)
        newest = timeline(session, world.change(number), limit=2)
    assert [one.seq for one in told] == sorted(one.seq for one in told)
    actions = [one.action for one in told if not one.action.startswith("evidence.")]
    assert actions == [
        "change.propose", "change.submit", "change.checked", "change.vote", "authorization.grant", "change.approve",
        "generation.admit", "rollout.begin", "change.start", "rollout.finished", "change.prove",
    ]  # fmt: skip
    assert (told[0].actor, told[-1].actor) == ("Ana (data scientist)", "Countersign")
    assert len(every) > len(told)
    assert [one.action for one in newest] == actions[-2:]
    assert json.dumps([one.to_json() for one in told])
