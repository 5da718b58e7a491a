"""Workers share the work: each item is in one handler's hands, a failed one is tried again, and a stopped worker lets go."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from sqlmodel import select
from structlog.testing import capture_logs

from backend.core import context, work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure
from backend.core.work import Claim, Heartbeat
from backend.worker.handling import Handler
from tests.services.worker.crew import create_effects, crew, effect, effects, finishing, item, until, wake


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_share_items_and_each_is_done_once(real_time_database: Database, workers: int) -> None:
    create_effects(real_time_database)
    keys = [f"k{number:03}" for number in range(300)]
    wake(real_time_database, "server", *keys)
    together = threading.Barrier(workers)

    def handlers(own: Database) -> Mapping[str, Handler]:
        first = threading.Lock()

        def handle(claim: Claim) -> None:
            if first.acquire(blocking=False):
                together.wait(30)  # every worker has its part before any goes on
            finishing(own)(claim)

        return {"server": handle}

    with crew(real_time_database, handlers, *(f"w{number}" for number in range(workers))):
        until(lambda: len(effects(real_time_database)) >= 300)
    done = effects(real_time_database)
    assert [key for key, _ in done] == keys
    assert len({worker for _, worker in done}) == workers


def test_an_item_whose_handler_dies_is_tried_again_and_others_go_on(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "server", "bad", "good")
    tried: Counter[str] = Counter()

    def handlers(own: Database) -> Mapping[str, Handler]:
        def handle(claim: Claim) -> None:
            tried[claim.key] += 1
            if claim.key == "bad" and tried["bad"] <= 3:
                raise ZeroDivisionError("an upstream answer")
            finishing(own)(claim)

        return {"server": handle}

    with structlog.testing.capture_logs() as logs, crew(real_time_database, handlers, "w"):
        until(lambda: len(effects(real_time_database)) == 2)
    assert (tried["bad"], tried["good"]) == (4, 1)
    defects = [line for line in logs if line["event"] == "work.defect"]
    assert [line["failures"] for line in defects] == [1, 2, 3]
    assert isinstance(defects[0]["exc_info"], ZeroDivisionError)
    assert len({line["error"] for line in defects}) == 3


def test_a_failed_item_waits_and_says_what_went_wrong_but_not_what_upstream_answered(real_time_database: Database) -> None:
    wake(real_time_database, "server", "down", "broken")

    def handle(claim: Claim) -> None:
        if claim.key == "down":
            raise ExternalFailure("Triton prod", "answered 503", retryable=True)
        raise RuntimeError("<html>secret body</html>")

    with (
        structlog.testing.capture_logs() as logs,
        crew(real_time_database, lambda _: {"server": handle}, "w", retry_base=3600.0, retry_cap=3600.0),
    ):
        until(lambda: all((row := item(real_time_database, "server", key)) and row.failures for key in ("down", "broken")))
    down, broken = (item(real_time_database, "server", key) for key in ("down", "broken"))
    assert down is not None
    assert broken is not None
    now = real_time_database.now()
    for row in (down, broken):
        assert (row.failures, row.holder) == (1, None)
        assert 1700 < (row.due_at - now).total_seconds() <= 3600
    assert down.last_error == "Triton prod answered 503"
    (defect,) = [line for line in logs if line["event"] == "work.defect"]
    assert broken.last_error == f"RuntimeError; the worker's log has it under error {defect['error']}"


def test_losing_a_lease_is_no_failure_and_commits_nothing(real_time_database: Database) -> None:
    """The first handler stalls as if its process were paused; somebody else takes the item; the first then writes too late."""
    create_effects(real_time_database)
    wake(real_time_database, "server", "a")
    stalled, go_on = threading.Event(), threading.Event()

    def handlers(own: Database) -> Mapping[str, Handler]:
        def handle(claim: Claim) -> None:
            if not stalled.is_set():
                stalled.set()
                go_on.wait(30)
            finishing(own)(claim)

        return {"server": handle}

    with crew(real_time_database, handlers, "w") as running:
        stalled.wait(30)
        _expire(real_time_database, "a")
        until(lambda: item(real_time_database, "server", "a") is None)
        go_on.set()
        metric = running.workers["w"].metrics.registry.get_sample_value
        labels = {"kind": "server", "outcome": "lost"}
        until(lambda: metric("countersign_worker_handled_total", labels) == 1)
        assert metric("countersign_worker_handled_total", {"kind": "server", "outcome": "failed"}) is None
    assert len(effects(real_time_database)) == 1


def test_a_handler_that_outlasts_its_lease_keeps_it(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "evidence", "long")
    begun: list[str] = []

    def handlers(own: Database) -> Mapping[str, Handler]:
        def handle(claim: Claim) -> None:
            begun.append(claim.holder)
            time.sleep(2.5)
            finishing(own)(claim)

        return {"evidence": handle}

    with crew(real_time_database, handlers, "w1", "w2", lease=1.0):
        until(lambda: effects(real_time_database))
    assert len(begun) == 1
    assert effects(real_time_database) == [("long", begun[0])]


def test_a_handler_that_hangs_loses_its_item_to_another(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "server", "a")
    hanging, let_go = threading.Event(), threading.Event()

    def handlers(own: Database) -> Mapping[str, Handler]:
        def handle(claim: Claim) -> None:
            if not hanging.is_set():
                hanging.set()
                let_go.wait(60)
            finishing(own)(claim)

        return {"server": handle}

    with crew(real_time_database, handlers, "w1", lease=0.6, hold_max=0.1) as running:
        until(lambda: effects(real_time_database))
        metric = running.workers["w1"].metrics.registry.get_sample_value
        assert metric("countersign_worker_hung_total", {"kind": "server"}) == 1
        let_go.set()
    assert len(effects(real_time_database)) == 1


def test_slow_servers_and_gates_keep_to_their_lanes_and_never_delay_a_decision(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "server", *(f"s{number}" for number in range(9)))
    wake(real_time_database, "evidence", *(f"e{number}" for number in range(5)))
    busy: Counter[str] = Counter()
    lock, let_go = threading.Lock(), threading.Event()

    def handlers(own: Database) -> Mapping[str, Handler]:
        def slow(claim: Claim) -> None:
            with lock:
                busy[claim.kind] += 1
            let_go.wait(60)
            finishing(own)(claim)

        return {"server": slow, "evidence": slow, "change": finishing(own)}

    with crew(real_time_database, handlers, "w", threads=3) as running:
        until(lambda: busy["server"] >= 3 and busy["evidence"] >= 2)
        wake(real_time_database, "change", "approved")
        until(lambda: effects(real_time_database) == [("approved", "w")])
        assert dict(busy) == {"server": 3, "evidence": 2}
        held = running.workers["w"].metrics.registry.get_sample_value
        assert held("countersign_worker_held", {"kind": "server"}) == 3
        let_go.set()
        until(lambda: len(effects(real_time_database)) == 15)


def test_a_stopping_worker_lets_handlers_end_and_claims_no_more(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "server", "first")
    begun, let_end = threading.Event(), threading.Event()

    def handlers(own: Database) -> Mapping[str, Handler]:
        def handle(claim: Claim) -> None:
            begun.set()
            let_end.wait(30)
            finishing(own)(claim)

        return {"server": handle}

    with capture_logs() as said, crew(real_time_database, handlers, "w", leader=30.0) as running:  # its lead ends by itself
        begun.wait(30)
        until(lambda: _heartbeats(real_time_database) == [("w", True)])
        running.tell("w")
        until(lambda: any(one["event"] == "worker.stopping" for one in said))  # until then a look may be under way
        wake(real_time_database, "server", "second")
        time.sleep(0.3)
        assert not running.stopped("w")
        let_end.set()
        until(lambda: running.stopped("w"))
    assert effects(real_time_database) == [("first", "w")]
    second = item(real_time_database, "server", "second")
    assert second is not None
    assert second.token == 0
    assert _heartbeats(real_time_database) == []
    lead = item(real_time_database, "leader", "worker")
    assert lead is not None
    assert lead.holder is None


def test_a_stopping_worker_gives_back_what_does_not_end_and_its_late_write_fails(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "server", "a")
    begun, let_end, late = threading.Event(), threading.Event(), threading.Event()

    def handlers(own: Database) -> Mapping[str, Handler]:
        def handle(claim: Claim) -> None:
            begun.set()
            let_end.wait(30)
            try:
                finishing(own)(claim)
            except work.LeaseLost:
                late.set()
                raise

        return {"server": handle}

    with crew(real_time_database, handlers, "w", stop=0.2) as running:
        begun.wait(30)
        running.tell("w")
        until(lambda: running.stopped("w"))
        given_back = item(real_time_database, "server", "a")
        assert given_back is not None
        assert (given_back.holder, given_back.deadline) == (None, None)
        assert given_back.due_at <= real_time_database.now()
        let_end.set()
        assert late.wait(30)
    assert effects(real_time_database) == []
    with crew(real_time_database, lambda own: {"server": finishing(own)}, "next"):
        until(lambda: effects(real_time_database) == [("a", "next")])


def test_a_handler_runs_under_its_own_request_and_change(real_time_database: Database) -> None:
    create_effects(real_time_database)
    wake(real_time_database, "change", "chg_1", "chg_2")
    wake(real_time_database, "server", "srv_1")
    seen: dict[str, tuple[str, str, Any]] = {}

    def handlers(own: Database) -> Mapping[str, Handler]:
        def handle(claim: Claim) -> None:
            bound = structlog.contextvars.get_contextvars()
            seen[claim.key] = (context.request_id.get(), context.change_id.get(), (bound["kind"], bound["key"], bound["token"]))
            finishing(own)(claim)

        return {"change": handle, "server": handle}

    with crew(real_time_database, handlers, "w"):
        until(lambda: len(effects(real_time_database)) == 3)
    assert {key: change for key, (_, change, _) in seen.items()} == {"chg_1": "chg_1", "chg_2": "chg_2", "srv_1": ""}
    assert len({request for request, _, _ in seen.values()}) == 3
    assert seen["srv_1"][2] == ("server", "srv_1", 1)


def test_a_worker_goes_on_after_its_database_was_away(postgres_url: sa.URL, request: pytest.FixtureRequest) -> None:
    """Every connection of the worker is cut, again and again, while it works; then it is left alone."""
    from tests.databases import _execute, _named

    template = request.getfixturevalue("postgres_template")
    _execute(postgres_url, f"CREATE DATABASE t_outage TEMPLATE {template}")
    database = Database(_named(postgres_url, "t_outage"))
    create_effects(database)
    keys = [f"k{number:03}" for number in range(120)]
    wake(database, "server", *keys)

    def handlers(own: Database) -> Mapping[str, Handler]:
        def handle(claim: Claim) -> None:
            time.sleep(0.02)
            with own.unit(SYSTEM) as tx:
                work.finish(tx, claim, next_due=None)
                effect(tx, claim)

        return {"server": handle}

    with crew(database, handlers, "w", lease=1.0):
        for _ in range(5):
            time.sleep(0.1)
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 't_outage'"
            _execute(postgres_url, cut)
        database.close()
        until(lambda: len(effects(database)) >= 120, seconds=60)
    assert [key for key, _ in effects(database)] == keys
    database.close()
    _execute(postgres_url, "DROP DATABASE t_outage WITH (FORCE)")


def _expire(database: Database, key: str) -> None:
    """Ends a lease before its time, as if this process had slept through it."""
    past = {"past": database.now().replace(year=2020), "key": key}
    statement = sa.update(work.WorkItem).where(work.WorkItem.key == key).values(deadline=past["past"])
    with database.unit(SYSTEM) as tx:
        tx.session.connection().execute(statement)


def _heartbeats(database: Database) -> list[tuple[str, bool]]:
    with database.read() as session:
        return [(row.worker, row.leader) for row in session.exec(select(Heartbeat))]
