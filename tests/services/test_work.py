"""Leases: one holder at a time, a late writer is fenced, and no wake-up is lost."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.work import LeaseLost
from tests.databases import Clock


def _wake(database: Database, *keys: str, kind: str = "server") -> None:
    with database.unit(SYSTEM) as tx:
        for key in keys:
            work.wake(tx, kind, key)


def _claim(database: Database, holder: str = "w1", **options: int) -> list[work.Claim]:
    return work.claim(database, "server", holder=holder, seconds=30, **options)


def test_an_item_has_one_holder(database: Database) -> None:
    _wake(database, "a")
    (held,) = _claim(database)
    assert _claim(database, "w2") == []
    assert work.still_held(database, held)


def test_an_expired_claim_goes_to_another_and_the_first_is_fenced(database: Database, clock: Clock) -> None:
    _wake(database, "a")
    (late,) = _claim(database)
    clock.tick(seconds=31)
    assert not work.still_held(database, late)
    (held,) = _claim(database, "w2")
    assert held.token == late.token + 1
    with pytest.raises(work.LeaseLost), database.unit(SYSTEM) as tx:
        work.finish(tx, late, next_due=None)
    with pytest.raises(work.LeaseLost):
        work.renew(database, late, seconds=30)
    assert work.still_held(database, held)


def test_a_claim_past_its_deadline_is_fenced_even_if_nobody_took_it(database: Database, clock: Clock) -> None:
    _wake(database, "a")
    (late,) = _claim(database)
    clock.tick(seconds=30)
    with pytest.raises(work.LeaseLost), database.unit(SYSTEM) as tx:
        work.fence(tx, late)


def test_a_renewed_claim_goes_on(database: Database, clock: Clock) -> None:
    _wake(database, "a")
    (held,) = _claim(database)
    clock.tick(seconds=20)
    held = work.renew(database, held, seconds=30)
    clock.tick(seconds=20)
    assert work.still_held(database, held)


def test_a_wake_up_while_held_makes_it_run_again(database: Database, clock: Clock) -> None:
    _wake(database, "a")
    (held,) = _claim(database)
    _wake(database, "a")
    with database.unit(SYSTEM) as tx:
        work.finish(tx, held, next_due=None)
    assert len(_claim(database)) == 1


def test_a_finished_item_without_a_next_time_is_gone(database: Database) -> None:
    _wake(database, "a")
    (held,) = _claim(database)
    with database.unit(SYSTEM) as tx:
        work.finish(tx, held, next_due=None)
    with database.read() as session:
        assert session.get(work.WorkItem, ("server", "a")) is None


def test_failures_are_counted_until_a_success(database: Database, clock: Clock) -> None:
    _wake(database, "a")
    for expected in (1, 2):
        (held,) = _claim(database)
        with database.unit(SYSTEM) as tx:
            work.finish(tx, held, next_due=tx.now, error="down")
        (again,) = work.claim(database, "server", holder="w", seconds=-1)
        assert again.failures == expected
    (held,) = _claim(database)
    with database.unit(SYSTEM) as tx:
        work.finish(tx, held, next_due=tx.now)
    assert _claim(database)[0].failures == 0


def test_an_item_is_not_claimed_before_its_time(database: Database, clock: Clock) -> None:
    with database.unit(SYSTEM) as tx:
        work.wake(tx, "server", "a", at=tx.now + timedelta(seconds=5))
    assert _claim(database) == []
    clock.tick(seconds=5)
    assert len(_claim(database)) == 1


def test_a_named_item_can_be_claimed_before_it_is_due(database: Database) -> None:
    with database.unit(SYSTEM) as tx:
        work.wake(tx, "server", "a", at=tx.now + timedelta(days=1))
    with database.unit(SYSTEM) as tx:
        assert work.claim_in(tx, "server", holder="w", seconds=5, key="a")


def test_many_workers_claim_each_item_once(real_time_database: Database) -> None:
    _wake(real_time_database, *(f"k{number}" for number in range(60)))
    taken: list[str] = []

    def worker(name: str) -> None:
        while claims := work.claim(real_time_database, "server", holder=name, seconds=60, limit=3):
            taken.extend(one.key for one in claims)

    threads = [threading.Thread(target=worker, args=(f"w{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A worker may see nothing while the others hold locks (SKIP LOCKED), so only "no more than once" is certain here.
    assert max(Counter(taken).values()) == 1
    taken += [one.key for one in work.claim(real_time_database, "server", holder="last", seconds=60, limit=60)]
    assert sorted(taken) == sorted(f"k{number}" for number in range(60))


def test_a_timer_slot_is_taken_once(real_time_database: Database) -> None:
    slot = real_time_database.now().replace(microsecond=0)
    won: list[bool] = []

    def worker(name: str) -> None:
        with real_time_database.unit(SYSTEM) as tx:
            won.append(work.take_slot(tx, "export-head", slot, name))

    threads = [threading.Thread(target=worker, args=(f"w{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 4 + [True]


def test_overdue_work_is_visible(database: Database, clock: Clock) -> None:
    _wake(database, "a", "b")
    _claim(database, limit=1)
    clock.tick(seconds=20)
    with database.read() as session:
        late = work.overdue(session, clock.now, grace=timedelta(seconds=10))
    assert len(late) == 1


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_given_back_already_cannot_be_given_back_again(database: Database, alone: bool) -> None:
    _wake(database, "a", "b")
    held = sorted(_claim(database, limit=2), key=lambda one: one.key)
    with database.unit(SYSTEM) as tx:
        work.finish(tx, held[0], next_due=tx.now + timedelta(hours=1))
    with pytest.raises(LeaseLost), database.unit(SYSTEM) as tx:
        work.finish(tx, held[0], next_due=tx.now)
    with database.unit(SYSTEM) as tx:
        asked = held[:1] if alone else held
        assert work.finish_many(tx, asked, next_due=tx.now + timedelta(hours=1)) == held[:1]


def test_giving_back_many_names_those_that_were_lost(database: Database, clock: Clock) -> None:
    _wake(database, "a", "b", "c")
    held = {one.key: one for one in _claim(database, limit=3)}
    with database.unit(SYSTEM) as tx:
        work.finish(tx, held["b"], next_due=tx.now)
    _claim(database, "w2")
    with database.unit(SYSTEM) as tx:
        lost = work.finish_many(tx, list(held.values()), next_due=tx.now + timedelta(hours=1))
    assert [one.key for one in lost] == ["b"]
    clock.tick(hours=2)
    assert {one.key for one in _claim(database, limit=9)} == {"a", "b", "c"}
