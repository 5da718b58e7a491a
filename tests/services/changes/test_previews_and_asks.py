"""What a proposal would come to, and what is asked of whom, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.access.tokens import Tokens
from backend.changes import queries
from backend.changes.asked import asked_of
from backend.changes.queries import Filters
from backend.core.context import Actor
from backend.core.database import Database
from backend.settings import Settings
from tests.services.changes.world import ENDPOINT, World, refused


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def asks(world: World, actor: Actor) -> list[tuple[int, str]]:
    with world.database.read() as session:
        return [(one.line.number, one.what) for one in asked_of(session, actor, world.database.now(session))]


def test_a_preview_is_the_plan_that_a_proposal_then_draws(world: World) -> None:
    world.propose(2)  # its package is there from then on
    wanted = {"version": 2, "share": 2_500, "ramp": ({"share": 500, "hold_seconds": 60},), "bake_seconds": 60}
    seen = world.changes.preview(world.ana, endpoint=ENDPOINT, **wanted)
    change = world.change(world.propose(**wanted))
    assert (seen.plan.digest(), seen.is_packaged) == (change.plan_digest, True)
    assert seen.lacks == ("1 more approval(s) of reviewer",)


def test_a_preview_says_that_no_vote_would_count_where_every_reviewer_has_an_interest(world: World) -> None:
    """Also by a service that was handed over and of which somebody may have kept a token: as votes judge it."""
    bot = world.identities.create(world.otto, "ci", kind="service", owner="ben")
    world.identities.grant(world.otto, "ci", "contributor")
    tokens = Tokens(world.database, Settings(demo_identities=True))
    kept = tokens.actor_of(tokens.create(world.ben, "kept", identity="ci").text)
    assert kept is not None
    world.owners.hand_over(world.otto, "ci", "olga")
    one_more = "1 more approval(s) of reviewer"
    assert world.changes.preview(kept, endpoint=ENDPOINT, version=2).lacks == (one_more,), "Carla may"
    number = world.reviewed(actor=bot)
    world.identities.deactivate(world.otto, "carla")
    lacks = world.changes.preview(kept, endpoint=ENDPOINT, version=3).lacks
    assert lacks[0] == one_more
    assert "could never be approved" in lacks[1]
    assert "requested this change" in str(refused("conflict-of-interest", world.vote, number))
    assert world.changes.preview(world.ana, endpoint=ENDPOINT, version=3).lacks == (one_more,), "Ben may, of hers"


def test_a_preview_builds_nothing_and_asks_no_registry(world: World) -> None:
    world.versions.down = True
    seen = world.changes.preview(world.ana, endpoint=ENDPOINT, version=3)
    assert (seen.is_packaged, world.packaging.built) == (False, [])
    assert seen.plan.arm("v3").version == 3


def test_a_preview_refuses_what_a_proposal_would_refuse(world: World) -> None:
    refused("no-change", world.changes.preview, world.ana, endpoint=ENDPOINT, version=1)
    refused("not-found", world.changes.preview, world.ana, endpoint=ENDPOINT, version=9)
    refused("bad-start", world.changes.preview, world.ana, endpoint=ENDPOINT, version=2, start_mode="at_time")
    refused("not-allowed", world.changes.preview, world.ben, endpoint=ENDPOINT, version=2)


def test_a_preview_of_an_edit_tells_what_it_changes_of_the_plan_before(world: World) -> None:
    number = world.reviewed()
    seen = world.changes.preview(world.ana, endpoint=ENDPOINT, editing=number, version=2, share=5_000)
    assert seen.since_earlier is not None
    assert "arms.v2.buckets" in {line.field for line in seen.since_earlier.lines}


def test_a_preview_says_what_a_start_would_wait_for(world: World) -> None:
    world.applied()
    seen = world.changes.preview(world.ana, endpoint=ENDPOINT, version=3)
    assert "is under way" in seen.drawn_on
    assert seen.waits.startswith("Waits for the rollout of change")


def test_votes_are_asked_of_reviewers_until_they_voted(world: World) -> None:
    number = world.reviewed()
    assert asks(world, world.ben) == [(number, "vote")]
    assert asks(world, world.ana) == []
    world.vote(number)
    assert asks(world, world.ben) == []


def test_a_start_by_hand_is_asked_of_whoever_may_start_it(world: World) -> None:
    number = world.approved()
    assert asks(world, world.olga) == asks(world, world.ana) == [(number, "start")]
    assert asks(world, world.ben) == asks(world, world.audra) == []
    world.changes.start(world.olga, number)
    assert asks(world, world.olga) == []


def test_what_cannot_go_on_is_asked_of_its_requester_alone(world: World) -> None:
    number = world.propose()
    world.run()
    world.check("failed", "artifact")
    assert asks(world, world.ana) == [(number, "mend")]
    assert asks(world, world.olga) == []


def test_a_step_that_waits_for_a_person_is_asked_of_whoever_may_let_it_on(world: World) -> None:
    number = world.applied(ramp=[{"share": 1_000, "person": True}])
    world.prove()
    world.run()
    assert asks(world, world.ben) == asks(world, world.olga) == [(number, "let_on")]
    assert asks(world, world.ana) == asks(world, replace(world.ben, kind="service")) == []


def test_a_list_finds_parts_of_names_only_where_they_are_asked_for(world: World) -> None:
    number = world.propose()
    with world.database.read() as session:
        part = Filters(endpoint="DELAY-prod", model="flight", within=True)
        assert [one.number for one in queries.page(session, part).items] == [number]
        assert queries.page(session, Filters(endpoint="delay-prod")).items == ()
        assert queries.page(session, Filters(endpoint="%", within=True)).items == ()


def test_a_queue_stops_looking_once_it_has_what_is_wanted(world: World) -> None:
    first = world.reviewed()
    world.reviewed(3)
    with world.database.read() as session:
        assert [one.number for one in queries.queue(session, world.ben, world.database.now(session), most=1)] == [first]
