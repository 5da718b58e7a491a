"""The champion alias: it follows what was proved for whom may set it, and a person may ask for it."""

from __future__ import annotations

import pytest

from backend.access import rules
from backend.core.errors import Refusal
from tests.services.changes.world import MODEL, World, refused


def test_an_alias_follows_only_where_one_who_approved_may_set_it_and_somebody_who_may_asks_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.policy(approver_roles=("reviewer", "auditor"))
    number = world.reviewed()
    world.identities.grant(world.otto, "audra", "auditor", "model:none")
    with monkeypatch.context() as patched:
        patched.setitem(rules._ALLOWS, "auditor", rules._ALLOWS["auditor"] | {"change.vote"})
        world.vote(number, world.audra)
    world.run()
    world.prove()
    world.run()
    assert (world.state(number), world.versions.aliases) == ("done", []), "no approver may set it"
    assert "alias.withhold" in world.ledger()
    refused("not-allowed", world.changes.set_champion, world.ana, MODEL, "production", 2)
    refused("not-allowed", world.changes.set_champion, world.otto, MODEL, "production", 2)
    refused("not-proved", world.changes.set_champion, world.ben, MODEL, "production", 1)
    refused("not-proved", world.changes.set_champion, world.ben, MODEL, "staging", 2)
    world.changes.set_champion(world.ben, MODEL, "production", 2)
    assert world.versions.aliases == [(MODEL, "production", 2)]


def test_the_right_is_that_of_the_moment_at_which_it_is_proved(world: World) -> None:
    number = world.applied()
    world.identities.take_back(world.otto, "ben", "reviewer")
    world.prove()
    world.run()
    assert (world.state(number), world.versions.aliases) == ("done", [])


def test_where_policy_asks_nobody_the_alias_follows_by_itself_and_a_way_back_always(world: World) -> None:
    world.policy(approvals_needed=0)
    number = world.reviewed()
    world.run()
    world.prove()
    world.run()
    assert (world.state(number), world.versions.aliases) == ("done", [(MODEL, "production", 2)])
    world.changes.roll_back(world.olga, number, "errors")
    world.run()
    world.prove()
    world.run()
    assert world.versions.aliases[-1] == (MODEL, "production", 1)


def test_who_may_not_see_a_model_learns_nothing_of_it(world: World) -> None:
    mona = world.identities.create(world.otto, "mona")
    world.identities.grant(world.otto, "mona", "operator", "model:other")
    for model in (MODEL, "nothing"):
        with pytest.raises(Refusal, match="may not set champion an alias in production"):
            world.changes.set_champion(mona, model, "production", 2)
