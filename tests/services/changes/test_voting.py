"""Votes: bound to one plan and one base, by somebody without an interest, one valid vote each, one effect for all of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlmodel import select

from backend.access.tokens import Tokens
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.delivery.rows import Authorization
from backend.policy.rules import ApproverGroup
from backend.registry.rows import Version
from backend.settings import Settings
from tests.databases import Clock
from tests.services.changes.world import World, refused


def authorizations(world: World) -> list[Authorization]:
    with world.database.read() as session:
        return list(session.exec(select(Authorization)))


def test_the_last_missing_vote_approves_and_is_written_into_the_authorization(world: World) -> None:
    number = world.approved()
    row = world.change(number)
    (one,) = authorizations(world)
    assert (row.state, row.authorization_id, row.decide_by) == ("approved", one.id, one.start_by)
    assert (one.plan_digest, one.base_digest, one.policy) == (row.plan_digest, row.base_digest, "production@1")
    assert [(vote["identity_id"], vote["verdict"]) for vote in one.votes] == [(world.ben.id, "approve")]
    world.vote(number)
    world.vote(number, world.carla)
    assert (len(authorizations(world)), len(world.votes(number))) == (1, 2)
    assert (world.ledger().count("change.approve"), world.ledger().count("change.vote")) == (1, 2)


def test_a_vote_on_what_the_voter_did_not_see_is_refused(world: World) -> None:
    number = world.reviewed()
    wrong = "sha256:" + "0" * 64
    refused("stale-vote", world.vote, number, plan_digest=wrong)
    refused("stale-vote", world.vote, number, base_digest=wrong)
    refused("not-allowed", world.vote, number, world.ana)
    refused("not-found", world.changes.approve, world.ben, 99, wrong, wrong)
    world.touch(base={**world.endpoint().base, "strangers": [["flight-delay", 9]]})
    refused("stale-base", world.vote, number)
    assert (world.votes(number), authorizations(world)) == ([], [])


def test_nobody_with_an_interest_in_a_change_approves_it(world: World) -> None:
    for name in ("ana", "olga"):
        world.identities.grant(world.otto, name, "reviewer")
    bot = world.identities.create(world.otto, "ci", kind="service", owner="ben")
    world.identities.grant(world.otto, "ci", "contributor")
    world.identities.grant(world.otto, "ci", "reviewer")
    number = world.reviewed()
    assert "You requested" in str(refused("conflict-of-interest", world.vote, number, world.ana))
    world.changes.edit(world.olga, number, share=5_000)
    world.check()
    assert "You edited" in str(refused("conflict-of-interest", world.vote, number, world.olga))
    refused("not-eligible", world.vote, number, bot)
    with world.database.unit(SYSTEM) as tx:
        row = tx.get(Version, "ver_2")
        row.author_identity_id = world.carla.id
        tx.record("version.verify_author", row)
    assert "You trained" in str(refused("conflict-of-interest", world.vote, number, world.carla))
    world.vote(number)
    assert world.state(number) == "approved"
    second = world.reviewed(3, actor=bot)
    assert "requested this change" in str(refused("conflict-of-interest", world.vote, second))
    world.vote(second, world.carla)
    assert world.state(second) == "approved"


def test_whoever_gave_a_service_away_does_not_approve_what_it_asked_for_while_it_was_his(world: World, clock: Clock) -> None:
    bot = world.identities.create(world.otto, "ci", kind="service", owner="ben")
    world.identities.grant(world.otto, "ci", "contributor")
    before = world.reviewed(actor=bot)
    world.owners.hand_over(world.otto, "ci", "olga")
    assert "requested this change" in str(refused("conflict-of-interest", world.vote, before))
    world.vote(before, world.carla)
    assert world.state(before) == "approved"
    clock.tick(seconds=1)
    after = world.reviewed(3, actor=replace(bot, owner_id=world.olga.id))
    world.vote(after)
    assert world.state(after) == "approved"


def test_whoever_may_have_kept_a_token_of_a_service_does_not_approve_what_it_asks_for_by_it(world: World, clock: Clock) -> None:
    bot = world.identities.create(world.otto, "ci", kind="service", owner="ben")
    world.identities.grant(world.otto, "ci", "contributor")
    tokens = Tokens(world.database, Settings(demo_identities=True))
    kept = tokens.actor_of(tokens.create(world.ben, "kept", identity="ci", lifetime=timedelta(days=2)).text)
    assert kept is not None
    world.owners.hand_over(world.otto, "ci", "olga")
    clock.tick(days=1)
    second = tokens.create(kept, "by the first one", lifetime=timedelta(days=4))
    assert {one.created_by for one in tokens.list(world.olga)} == {world.ben.id}
    clock.tick(days=3)
    number = world.reviewed(actor=bot)
    assert "requested this change" in str(refused("conflict-of-interest", world.vote, number))
    tokens.revoke(world.olga, second.id)
    clock.tick(seconds=1)
    after = world.reviewed(3, actor=bot)
    world.vote(after)
    assert world.state(after) == "approved", "nothing that he made goes on"


def test_whoever_tried_an_upload_again_has_its_authors_interest(world: World) -> None:
    number = world.reviewed()

    def registered(author: str | None, by: str) -> None:
        with world.database.unit(SYSTEM) as tx:
            row = tx.get(Version, "ver_2")
            row.author_identity_id, row.registered_by = author, by
            tx.record("version.verify_author", row)

    registered(world.ana.id, world.carla.id)
    assert "You brought the upload" in str(refused("conflict-of-interest", world.vote, number, world.carla))
    registered(None, world.carla.id)
    world.vote(number, world.carla)
    assert world.state(number) == "approved", "who registers what somebody else logged has no interest in it"


def test_one_rejection_ends_a_change_even_one_that_is_approved(world: World) -> None:
    number = world.reviewed()
    refused("no-reason", world.vote, number, verdict="reject", comment=" ")
    for _ in range(2):
        world.vote(number, verdict="reject")
    assert (world.state(number), world.ledger().count("change.reject")) == ("rejected", 1)
    refused("wrong-state", world.vote, number, world.carla)
    second = world.approved(3)
    world.vote(second, verdict="reject")
    assert world.state(second) == "rejected"
    assert [(one.verdict, one.void_reason) for one in world.votes(second, valid=False)] == [("approve", "Voted again.")]
    assert authorizations(world)[0].revoked_at is not None
    world.run()
    assert world.generations() == []


def test_several_approvals_and_groups_are_all_demanded(world: World) -> None:
    group = ApproverGroup(name="release managers", needed=1, members=(world.carla.id,))
    world.policy(approvals_needed=2, groups=(group,))
    world.identities.grant(world.otto, "olga", "reviewer")
    number = world.reviewed(start_mode="by_hand")
    world.vote(number)
    world.vote(number, world.olga)
    assert (world.state(number), world.standing(number).lacks) == ("review", ("1 more approval(s) of release managers",))
    world.vote(number, world.carla)
    assert world.state(number) == "approved"
    assert len(authorizations(world)[0].votes) == 3


def test_the_approval_of_somebody_who_lost_the_role_does_not_count(world: World) -> None:
    world.policy(approvals_needed=2)
    number = world.reviewed()
    world.vote(number)
    world.identities.take_back(world.otto, "ben", "reviewer")
    world.vote(number, world.carla)
    assert (world.state(number), world.standing(number).lacks) == ("review", ("1 more approval(s) of reviewer",))


def test_fifty_approvals_at_once_have_one_effect(real_time_database: Database) -> None:
    world = World(real_time_database)
    number = world.reviewed()
    unexpected: list[BaseException] = []

    def press(actor: Any) -> None:
        try:
            world.vote(number, actor)
        except Refusal as refusal:  # the worker may have started it already
            if refusal.code != "wrong-state":
                unexpected.append(refusal)
        except BaseException as error:
            unexpected.append(error)

    threads = [threading.Thread(target=press, args=[who]) for who in (world.ben, world.carla) * 25]
    for thread in threads:
        thread.start()
    world.run()
    for thread in threads:
        thread.join()
    world.run()
    assert unexpected == []
    assert (world.state(number), world.generations(), len(authorizations(world))) == ("applying", ["start"], 1)
    assert [world.ledger().count(f"change.{event}") for event in ("approve", "start")] == [1, 1]
    assert len({one.identity_id for one in world.votes(number)}) == len(world.votes(number))


def test_proposals_at_once_get_numbers_of_their_own(real_time_database: Database) -> None:
    world = World(real_time_database)
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(world.propose(2))) for _ in range(12)]
    world.propose(2)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(2, 14))
