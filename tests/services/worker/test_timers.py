"""One worker leads; its periodic jobs run once a slot, whoever leads and however the timers fire."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import structlog
from sqlmodel import select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.work import Heartbeat, JobRun
from backend.worker.leader import Leadership
from backend.worker.metrics import Metrics
from backend.worker.timers import Aligned, Job, Jobs, Timers, nearest_slot
from tests.databases import Clock
from tests.services.worker.crew import crew, item, until

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_slots_are_the_same_moments_in_every_process() -> None:
    for early_or_late in (-29, -1, 0, 1, 29):
        assert nearest_slot(NOON + timedelta(seconds=early_or_late), 60) == NOON
    aligned = Aligned(60)
    out_of_turn = NOON + timedelta(seconds=17)
    assert aligned.get_next_fire_time(None, out_of_turn) == NOON + timedelta(seconds=60)
    assert aligned.get_next_fire_time(out_of_turn, out_of_turn) == NOON + timedelta(seconds=60)
    assert aligned.get_next_fire_time(NOON, NOON) == NOON + timedelta(seconds=60)


def test_a_slot_runs_once_among_workers_that_all_fire(real_time_database: Database) -> None:
    ran: list[datetime] = []
    job = Job("count", 0.3, lambda: ran.append(nearest_slot(real_time_database.now(), 0.3)))
    with crew(real_time_database, lambda _: {}, "w1", "w2", "w3", jobs=[job]):
        until(lambda: len(ran) >= 6)
    with real_time_database.read() as session:
        slots = session.exec(select(JobRun).where(JobRun.job == "count")).all()
    assert len(slots) == len(ran)
    assert len({slot.holder for slot in slots}) == 1


def test_two_that_both_believe_to_lead_run_a_slot_once(database: Database, clock: Clock) -> None:
    """The old leader was paused; its lease ran out and another leads. What it still believes changes nothing."""
    ran: list[str] = []
    old, new = (Leadership(database, name, 15) for name in ("old", "new"))
    assert old.seek()
    clock.tick(seconds=16)
    assert new.seek()
    assert old.held  # by its own clock, which stood still
    for name, leader in (("old", old), ("new", new), ("new", new)):
        jobs = Jobs(database, leader, Metrics(), [], name)
        jobs.run(Job("job", 60, lambda name=name: ran.append(name)))
    assert ran == ["new"]
    assert not old.seek()
    assert not old.held


def test_the_lead_stays_with_who_renews_it_and_goes_to_another_when_it_is_given_up(database: Database, clock: Clock) -> None:
    first, second = Leadership(database, "first", 15), Leadership(database, "second", 15)
    assert first.seek()
    for _ in range(4):
        clock.tick(seconds=5)
        assert not first.seek()  # renewed, not gained
        assert not second.seek()
        assert (first.held, second.held) == (True, False)
    first.resign()
    assert second.seek()
    assert (first.held, second.held) == (False, True)


def test_the_lead_moves_when_the_leader_falls_silent(real_time_database: Database) -> None:
    """The leader's heartbeat hangs, as in a paused process; the others' do not."""
    hang = threading.Event()
    with crew(real_time_database, lambda _: {}, "w1", "w2", jobs=[Job("tick", 0.2, lambda: None)]) as running:
        first = until(lambda: _leader(real_time_database))
        pulse = running.workers[first]._leader
        pulse.seek = lambda: hang.wait(30) and False  # type: ignore[method-assign]
        second = until(lambda: (now := _leader(real_time_database)) and now != first and now)
        before = real_time_database.now()
        until(lambda: _slot_holders(real_time_database, before) == {second})
        hang.set()
    assert {first, second} == {"w1", "w2"}


def test_a_new_leader_runs_at_once_what_nobody_ran(database: Database, clock: Clock) -> None:
    ran: list[str] = []
    jobs = [Job(name, 3600, lambda name=name: ran.append(name)) for name in ("resync", "export")]
    leader, timers = Leadership(database, "w", 15), Timers()
    leader.seek()
    with database.unit(SYSTEM) as tx:
        assert work.take_slot(tx, "export", nearest_slot(clock.now, 3600), "the one before")
    periodic = Jobs(database, leader, Metrics(), jobs, "w")
    periodic.schedule(timers)
    timers.start()
    try:
        periodic.catch_up(timers)
        until(lambda: ran)
    finally:
        timers.stop()
    assert ran == ["resync"]


def test_a_worker_that_begins_to_lead_runs_the_rare_jobs_at_once(real_time_database: Database) -> None:
    ran: list[str] = []
    with crew(real_time_database, lambda _: {}, "w", jobs=[Job("rare", 1e6, lambda: ran.append("rare"))]):
        until(lambda: ran)
    assert ran == ["rare"]


def test_a_job_that_fails_is_logged_and_runs_again_in_its_next_slot(real_time_database: Database) -> None:
    tried: list[int] = []

    def fail_first() -> None:
        tried.append(1)
        if len(tried) == 1:
            raise OSError("no space left")

    with (
        structlog.testing.capture_logs() as logs,
        crew(real_time_database, lambda _: {}, "w", jobs=[Job("fragile", 0.2, fail_first)]) as running,
    ):
        until(lambda: len(tried) >= 2)
        metric = running.workers["w"].metrics.registry.get_sample_value
        until(lambda: metric("countersign_worker_jobs_total", {"job": "fragile", "outcome": "done"}))
        assert metric("countersign_worker_jobs_total", {"job": "fragile", "outcome": "failed"}) == 1
    (failed,) = [line for line in logs if line["event"] == "timer.failed"]
    assert (failed["timer"], type(failed["exc_info"])) == ("fragile", OSError)


def test_every_worker_beats_and_one_leads(real_time_database: Database) -> None:
    with crew(real_time_database, lambda _: {}, "w1", "w2"):
        until(lambda: len(_beats(real_time_database)) == 2)
        first = _beats(real_time_database)
        until(lambda: all(row.beat_at > first[name].beat_at for name, row in _beats(real_time_database).items()))
        until(lambda: sum(row.leader for row in _beats(real_time_database).values()) == 1)
        assert all(row.version for row in first.values())
    assert _beats(real_time_database) == {}


def test_a_worker_whose_loop_stands_still_does_not_say_that_it_lives(real_time_database: Database) -> None:
    with structlog.testing.capture_logs() as logs, crew(real_time_database, lambda _: {}, "w", stalled=0.5) as running:
        until(lambda: _beats(real_time_database))
        worker, go_on = running.workers["w"], threading.Event()
        worker.claim_due = lambda: go_on.wait(30) and 0  # type: ignore[method-assign]
        until(lambda: any(line["event"] == "worker.stalled" for line in logs))
        silent = _beats(real_time_database)["w"].beat_at
        until(lambda: sum(line["event"] == "worker.stalled" for line in logs) >= 3)
        assert _beats(real_time_database)["w"].beat_at == silent
        go_on.set()
        until(lambda: _beats(real_time_database)["w"].beat_at > silent)


def _leader(database: Database) -> str | None:
    lead = item(database, "leader", "worker")
    if lead is None or lead.deadline is None or lead.deadline <= database.now():
        return None
    return lead.holder


def _slot_holders(database: Database, after: datetime) -> set[str]:
    with database.read() as session:
        return set(session.exec(select(JobRun.holder).where(JobRun.job == "tick", JobRun.scheduled_for > after)))


def _beats(database: Database) -> dict[str, Heartbeat]:
    with database.read() as session:
        return {row.worker: row for row in session.exec(select(Heartbeat))}
