"""Aliases: written where a promotion wants them and read back; one that is moved by hand is recorded once, then put back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.work import LeaseLost, WorkItem
from backend.policy.rows import PolicyVersion
from backend.policy.service import Policies
from backend.registry import queries
from backend.registry.champions import as_policy_says
from backend.registry.memory import Fault
from backend.registry.service import Versions
from tests.databases import Clock
from tests.services.registry.worlds import SQLITE, World

ALIAS = "production-champion"


def settled(database: Database, **mirror: Any) -> World:
    """Three versions, mirrored, and the alias proved at the first."""
    world = World(database, **mirror)
    for _ in range(3):
        world.log()
    world.mirror.mirror_all()
    world.mirror.sync_alias(world.want(1))
    return world


@pytest.fixture
def world(database: Database) -> World:
    return settled(database)


def there(world: World) -> int | None:
    return world.memory.model("delay").aliases.get(ALIAS)


def test_a_wish_is_written_and_read_back(world: World) -> None:
    assert there(world) == 1
    row = world.alias()
    assert (row.alias, row.wanted, row.seen, row.written_at) == (ALIAS, 1, 1, world.database.now())
    (wanted,), (written,) = world.ledger("alias.want"), world.ledger("alias.write")
    assert (wanted.subject_id, written.subject_id) == (row.id, row.id)
    assert written.after == {"alias": ALIAS, "seen": 1}
    with world.database.read() as session:
        assert queries.by_alias(session, "delay", ALIAS) == 1, "lists see it without waiting for the mirror"


def test_wanting_the_same_again_changes_nothing(world: World) -> None:
    world.mirror.sync_alias(world.want(1))
    assert len(world.ledger("alias.want")) == len(world.ledger("alias.write")) == 1
    assert world.memory.journal == [("delay", ALIAS, 1, "countersign")]


def test_another_version_moves_it_and_none_takes_it_away(world: World) -> None:
    assert world.mirror.sync_alias(world.want(2))
    assert there(world) == 2
    assert not world.mirror.sync_alias(world.want(None)), "nothing is left to watch"
    assert there(world) is None
    world.memory.move_alias("delay", ALIAS, 3)
    world.mirror.mirror_all()
    assert world.ledger("alias.drift") == [], "it is nobody's business any more"


@SQLITE
def test_each_environment_has_an_alias_of_its_own(world: World) -> None:
    world.mirror.sync_alias(world.want(2, environment="staging"))
    assert world.memory.model("delay").aliases == {ALIAS: 1, "staging-champion": 2}


@SQLITE
def test_a_model_that_nobody_knows_and_a_bad_pattern_are_refused(world: World) -> None:
    with pytest.raises(NotFound):
        world.want(1, model="absent")
    spaced = Versions(world.database, world.registry, alias_pattern="the champion")
    with pytest.raises(Refusal), world.database.unit(SYSTEM) as tx:
        spaced.want_alias(tx, "delay", "production", 1)


@SQLITE
@pytest.mark.parametrize("kind", ["unreachable", "error", "lie"])
def test_a_write_that_did_not_take_effect_is_tried_again(world: World, kind: Any) -> None:
    model_id = world.want(2)
    world.memory.script(Fault("set_alias", kind))
    with pytest.raises(ExternalFailure):
        world.mirror.sync_alias(model_id)
    assert world.alias().written_at is None
    world.mirror.sync_alias(model_id)
    assert (there(world), world.alias().seen) == (2, 2)


@SQLITE
def test_a_write_whose_answer_was_lost_is_found_written(world: World) -> None:
    model_id = world.want(2)
    world.memory.script(Fault("set_alias", "apply_then_timeout"))
    with pytest.raises(ExternalFailure):
        world.mirror.sync_alias(model_id)
    world.mirror.sync_alias(model_id)
    assert (there(world), len(world.ledger("alias.write"))) == (2, 2)
    assert world.ledger("alias.drift") == []


def test_a_newer_wish_during_the_write_stays_to_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    model_id = world.want(2)
    set_alias = world.memory.set_alias

    def slow(*arguments: Any) -> None:
        set_alias(*arguments)
        if arguments[2] == 2:
            world.want(3)

    monkeypatch.setattr(world.memory, "set_alias", slow)
    world.mirror.sync_alias(model_id)
    assert (world.alias().wanted, world.alias().written_at) == (3, None)
    world.mirror.sync_alias(model_id)
    assert (there(world), world.alias().seen) == (3, 3)


# -- moved by hand


@pytest.mark.parametrize("put_back", [True, False])
def test_the_worker_is_woken_only_to_put_it_back(database: Database, clock: Clock, put_back: bool) -> None:
    world = settled(database, put_back=lambda *_: put_back)
    model_id = world.alias().model_id
    claim = world.claim("alias", model_id)
    assert claim is not None
    world.mirror.handle_alias(claim)
    clock.tick(seconds=20)
    world.memory.move_alias("delay", ALIAS, 3)
    world.mirror.mirror_all()
    with world.database.read() as session:
        due = session.get_one(WorkItem, ("alias", model_id)).due_at
    assert due == clock.now + timedelta(seconds=0 if put_back else 40)


@SQLITE
def test_a_wish_that_changes_during_the_look_is_not_taken_for_a_move(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.memory.move_alias("delay", ALIAS, 2)
    look = world.memory.model

    def wanted_meanwhile(name: str) -> Any:
        seen = look(name)
        world.want(2)
        return seen

    monkeypatch.setattr(world.memory, "model", wanted_meanwhile)
    world.mirror.mirror_all()
    assert world.ledger("alias.drift") == world.ledger("alias.settled") == []


def test_the_mirror_finds_a_moved_alias_and_records_it_once(world: World) -> None:
    world.memory.move_alias("delay", ALIAS, 3)
    for _ in range(3):
        world.mirror.mirror_all()
    (drift,) = world.ledger("alias.drift")
    assert (drift.before, drift.after) == ({"seen": 1}, {"alias": ALIAS, "seen": 3, "wanted": 1})
    assert drift.actor_id == SYSTEM.id
    assert there(world) == 3, "the mirror itself writes nothing to the registry"
    claim = world.claim("alias", world.alias().model_id)
    assert claim is not None
    world.mirror.handle_alias(claim)
    assert there(world) == 1
    assert [event.action for event in (*world.ledger("alias.drift"), *world.ledger("alias.write"))] == [
        "alias.drift", "alias.write", "alias.write",
    ]  # fmt: skip


@SQLITE
def test_it_is_recorded_before_it_is_put_back_even_if_the_alias_worker_sees_it_first(world: World) -> None:
    world.memory.move_alias("delay", ALIAS, None)
    world.mirror.sync_alias(world.alias().model_id)
    (drift,), newest = world.ledger("alias.drift"), world.ledger("alias.write")[0]
    assert drift.after == {"alias": ALIAS, "seen": None, "wanted": 1}
    assert drift.seq < newest.seq
    assert there(world) == 1


def test_where_it_is_only_reported_it_stays_and_a_move_back_is_recorded_too(database: Database) -> None:
    world = settled(database, put_back=lambda *_: False)
    world.memory.move_alias("delay", ALIAS, 3)
    for _ in range(2):
        world.mirror.mirror_all()
        world.mirror.sync_alias(world.alias().model_id)
    assert there(world) == 3
    world.memory.move_alias("delay", ALIAS, 2)
    world.mirror.mirror_all()
    world.memory.move_alias("delay", ALIAS, 1)
    world.mirror.mirror_all()
    assert [event.after and event.after["seen"] for event in world.ledger("alias.drift")] == [2, 3]
    assert len(world.ledger("alias.settled")) == 1
    assert [who for _, _, _, who in world.memory.journal].count("countersign") == 1


@SQLITE
def test_an_alias_that_is_moved_again_and_again_is_left_after_three_times(world: World, clock: Clock) -> None:
    model_id = world.alias().model_id
    for _ in range(6):
        world.memory.move_alias("delay", ALIAS, 3)
        world.mirror.sync_alias(model_id)
        clock.tick(seconds=60)
    assert [who for _, _, _, who in world.memory.journal].count("countersign") == 1 + 3
    assert there(world) == 3
    clock.tick(hours=2)
    world.mirror.sync_alias(model_id)
    assert there(world) == 1


@SQLITE
def test_aliases_of_others_are_seen_and_never_touched(world: World) -> None:
    world.memory.move_alias("delay", "mine", 2)
    world.mirror.mirror_all()
    world.memory.move_alias("delay", "mine", 3)
    world.mirror.mirror_all()
    world.mirror.sync_alias(world.alias().model_id)
    assert world.memory.model("delay").aliases == {ALIAS: 1, "mine": 3}
    assert world.ledger("alias.drift") == []
    with world.database.read() as session:
        assert [(one.alias, one.number, one.is_ours) for one in queries.aliases(session, "delay")] == [
            ("mine", 3, False),
            (ALIAS, 1, True),
        ]


# -- as the worker calls it


def test_a_claimed_alias_is_written_and_watched(world: World, clock: Clock) -> None:
    model_id = world.want(2)
    claim = world.claim("alias", model_id)
    assert claim is not None
    world.mirror.handle_alias(claim)
    assert there(world) == 2
    again = world.claim("alias", model_id)
    assert again is not None
    assert again.failures == 0
    world.want(None)
    world.mirror.handle_alias(again)
    clock.tick(seconds=31)
    last = world.claim("alias", model_id)
    assert last is not None, "it was woken while it was held"
    world.mirror.handle_alias(last)
    assert world.claim("alias", model_id) is None


@SQLITE
def test_a_failing_write_rests_and_a_version_that_is_gone_is_said(world: World, clock: Clock) -> None:
    model_id = world.want(2)
    world.memory.remove_version("delay", 2)
    claim = world.claim("alias", model_id)
    assert claim is not None
    world.mirror.handle_alias(claim)
    with world.database.read() as session:
        left = session.get_one(WorkItem, ("alias", model_id))
    assert "delay 2" in str(left.last_error)
    assert left.due_at - clock.now == timedelta(seconds=5)


def test_a_worker_that_lost_its_lease_writes_nothing(world: World, clock: Clock) -> None:
    model_id = world.want(2)
    claim = world.claim("alias", model_id)
    assert claim is not None
    clock.tick(seconds=31)
    assert world.claim("alias", model_id) is not None
    with pytest.raises(LeaseLost):
        world.mirror.handle_alias(claim)
    assert there(world) == 1


@SQLITE
def test_the_registry_is_never_called_inside_a_unit(world: World) -> None:
    with world.database.unit(SYSTEM), pytest.raises(RuntimeError, match="inside a unit"):
        world.memory.set_alias("delay", ALIAS, 2)


# -- as policy says


@pytest.mark.parametrize(("alias_repair", "ends_at"), [("repair", 1), ("report", 3)])
def test_policy_says_whether_a_moved_champion_is_put_back(database: Database, alias_repair: str, ends_at: int) -> None:
    Policies(database).seed()
    with database.unit(SYSTEM) as tx:
        row = tx.session.get_one(PolicyVersion, "production@1")
        row.rules = {**row.rules, "alias_repair": alias_repair}
        tx.record("policy.save", row)
    world = settled(database, put_back=as_policy_says("{environment}-champion"))
    assert world.alias().alias == "production-champion"
    world.memory.move_alias("delay", ALIAS, 3)
    world.mirror.mirror_all()
    with database.read() as session:
        assert [one.is_moved for one in queries.aliases(session, "delay") if one.alias == ALIAS] == [True]
    world.mirror.sync_alias(world.alias().model_id)
    assert there(world) == ends_at
    assert len(world.ledger("alias.drift")) == 1
