"""Cards are written by whoever may, revision by revision, with a row of the ledger each, and never over somebody's head."""

from __future__ import annotations

import hashlib

import pytest

from backend.core.database import Database
from backend.core.errors import NotFound, Refusal, StaleWrite
from backend.registry import cards
from backend.registry.cards import Cards
from backend.registry.rules import LONGEST_CARD
from tests.databases import Clock
from tests.services.registry.worlds import World


@pytest.fixture
def world(database: Database) -> World:
    world = World(database)
    world.log("delay")
    world.mirror.mirror_all()
    return world


@pytest.fixture
def desk(world: World) -> Cards:
    return Cards(world.database)


def test_each_revision_is_kept_with_its_writer_its_time_and_a_row_of_the_ledger(
    world: World, desk: Cards, clock: Clock
) -> None:
    first, at = "Plans *gates*.", clock.now
    assert desk.write(world.act_as("ana"), "delay", first, revision=0) == 1
    clock.tick(hours=1)
    assert desk.write(world.act_as("olga"), "delay", "Plans gates and crews.", revision=1, summary=" Crews too ") == 2
    with world.database.read() as session:
        now, old = cards.card(session, "delay"), cards.card(session, "delay", 1)
        assert now is not None
        assert old is not None
        assert (now.revision, now.text, now.summary) == (2, "Plans gates and crews.", "Crews too")
        assert (old.text, old.written_by_name, old.written_at) == (first, "Ana (data scientist)", at)
        assert old.digest == f"sha256:{hashlib.sha256(first.encode()).hexdigest()}"
        assert [one.revision for one in cards.history(session, "delay")] == [2, 1]
    newest, before = world.ledger("card.write")
    assert before.before is None
    assert newest.before == {"revision": 1, "digest": old.digest}
    assert newest.after == {"model": "delay", "revision": 2, "digest": now.digest, "summary": "Crews too"}
    assert newest.subject_kind == "model_card"


def test_a_card_is_never_written_over_one_that_was_not_seen(world: World, desk: Cards) -> None:
    ana, olga = world.act_as("ana"), world.act_as("olga")
    desk.write(ana, "delay", "Mine", revision=0)
    with pytest.raises(StaleWrite):
        desk.write(olga, "delay", "Theirs", revision=0)
    assert desk.write(olga, "delay", "Mine", revision=0) == 1, "the same words again, as by a double click"
    assert len(world.ledger("card.write")) == 1


@pytest.mark.parametrize("who", ["ben", "otto", "audra"])
def test_who_may_not_write_a_card_writes_none(world: World, desk: Cards, who: str) -> None:
    with pytest.raises(Refusal, match="may not write a card"):
        desk.write(world.act_as(who), "delay", "Mine", revision=0)
    with world.database.read() as session:
        assert cards.card(session, "delay") is None


def test_a_card_has_words_and_not_too_many_and_a_model(world: World, desk: Cards) -> None:
    ana = world.act_as("ana")
    for text, summary, code in (
        (" \n", "", "empty-card"),
        ("x" * (LONGEST_CARD + 1), "", "too-long"),
        ("x", "y" * 501, "too-long"),
    ):
        with pytest.raises(Refusal) as refused:
            desk.write(ana, "delay", text, revision=0, summary=summary)
        assert refused.value.code == code
    with pytest.raises(NotFound):
        desk.write(ana, "nothing", "Words", revision=0)
    with world.database.read() as session, pytest.raises(NotFound):
        cards.card(session, "delay", 7)


def test_what_no_database_stores_is_replaced(world: World, desk: Cards) -> None:
    desk.write(world.act_as("ana"), "delay", "a\x00b\ud800c", revision=0)
    with world.database.read() as session:
        found = cards.card(session, "delay")
    assert found is not None
    assert found.text == "a\ufffdb?c"
