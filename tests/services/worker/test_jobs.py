"""The leader's jobs: what is missing is woken, what is overdue is told, old rows go, and the ledger's head is exported."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from sqlmodel import select

from backend.audit import heads
from backend.audit.service import Audit
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.work import Heartbeat, JobRun, WorkItem
from backend.delivery.rows import Server
from backend.worker import jobs, resync
from backend.worker.guards import is_local
from backend.worker.heartbeat import Pulse
from backend.worker.metrics import Metrics
from backend.worker.timing import Pace, lanes
from tests.databases import Clock
from tests.services.changes.world import World
from tests.services.worker.crew import wake


def _items(database: Database) -> set[tuple[str, str]]:
    with database.read() as session:
        return {(row.kind, row.key) for row in session.exec(select(WorkItem))}


def test_whatever_lost_its_item_gets_it_again(database: Database) -> None:
    with database.unit(SYSTEM) as tx:
        for name in ("a", "b"):
            row = Server(id=name, name=name, kind="memory", settings={}, upstream="", created_by=SYSTEM.id, created_at=tx.now)
            tx.record("server.register", tx.add(row))
    wake(database, "server", "a")
    with database.unit(SYSTEM) as tx:
        (held,) = work.claim_in(tx, "server", holder="w", seconds=60)
    with structlog.testing.capture_logs() as logs:
        jobs.resync(database, resync.of_the_house())
        jobs.resync(database, resync.of_the_house())
    assert _items(database) == {("server", "a"), ("server", "b"), ("mirror", "*"), ("notify", "ledger")}
    assert logs == [{"event": "work.was_missing", "log_level": "warning", "server": 1, "mirror": 1, "notify": 1}]
    assert work.still_held(database, held)


def test_of_changes_those_get_their_item_again_that_wait_for_something(database: Database) -> None:
    world = World(database)
    number = world.propose()
    assert {kind for kind, _ in _lost_and_found(database)} == {"server", "mirror", "notify", "change", "evidence"}
    world.check()
    world.vote(number)
    world.run()
    assert {kind for kind, _ in _lost_and_found(database)} == {"server", "mirror", "notify", "change", "rollout"}
    world.prove()
    world.run()
    assert world.state(number) == "done"
    assert {kind for kind, _ in _lost_and_found(database)} == {"server", "mirror", "notify"}
    world.changes.roll_back(world.olga, number, "It is worse")
    assert ("change", world.change(number).id) in _lost_and_found(database)
    world.prove()
    world.run()
    assert world.state(number) == "rolled_back"
    assert {kind for kind, _ in _lost_and_found(database)} == {"server", "mirror", "notify"}


def _lost_and_found(database: Database) -> set[tuple[str, str]]:
    """What the resync wakes after every item was lost."""
    with database.unit(SYSTEM) as tx:
        tx.session.connection().execute(sa.delete(WorkItem))
    jobs.resync(database, resync.of_the_house())
    return _items(database)


def test_a_thousand_missing_items_are_woken_and_present_ones_stay_as_they_are(database: Database, clock: Clock) -> None:
    keys = [f"k{number}" for number in range(1500)]
    with database.unit(SYSTEM) as tx:
        work.wake(tx, "change", "k7", at=tx.now + timedelta(hours=1))
    assert resync.wake_missing(database, [resync.Resync("change", lambda _: keys)]) == {"change": 1499}
    assert resync.wake_missing(database, [resync.Resync("change", lambda _: keys)]) == {}
    with database.read() as session:
        kept = session.get(WorkItem, ("change", "k7"))
        assert kept is not None
        assert (kept.woken, kept.due_at) == (0, clock.now + timedelta(hours=1))


def test_overdue_and_failing_work_is_told_with_its_key_and_counted(database: Database, clock: Clock) -> None:
    wake(database, "change", "late", "held")
    clock.tick(seconds=5)
    wake(database, "change", "later")
    wake(database, "server", "failing")
    for _ in range(jobs.FAILING_AFTER):
        with database.unit(SYSTEM) as tx:
            (claim,) = work.claim_in(tx, "server", holder="w", seconds=5)
            work.finish(tx, claim, next_due=tx.now, error="down")
    clock.tick(seconds=35)
    with database.unit(SYSTEM) as tx:
        work.claim_in(tx, "change", holder="w", seconds=60, key="held")
        (claim,) = work.claim_in(tx, "server", holder="w", seconds=60)
        work.finish(tx, claim, next_due=tx.now + timedelta(hours=1), error="down")
    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        jobs.sweep(database, metrics, ["change", "server"], timedelta(seconds=30))
    assert [(line["event"], line["kind"], line["items"], line["key"], line["seconds"]) for line in logs] == [
        ("work.overdue", "change", 2, "late", 40.0)
    ]
    value = metrics.registry.get_sample_value
    assert value("countersign_work_overdue", {"kind": "change"}) == 2
    assert value("countersign_work_overdue", {"kind": "server"}) == 0
    assert value("countersign_work_failing", {"kind": "server"}) == 1
    metrics.beat(leader=False)
    assert value("countersign_work_overdue", {"kind": "change"}) is None


def test_old_slots_and_silent_workers_are_forgotten(database: Database, clock: Clock) -> None:
    Pulse(database, "long gone").beat(leader=False)
    with database.unit(SYSTEM) as tx:
        work.take_slot(tx, "export-head", tx.now, "w")
    clock.tick(hours=23)
    Pulse(database, "gone").beat(leader=False)
    with database.unit(SYSTEM) as tx:
        work.take_slot(tx, "export-head", tx.now, "w")
    clock.tick(hours=2)
    jobs.prune(database)
    with database.read() as session:
        assert session.exec(select(Heartbeat.worker)).all() == ["gone"]
        assert len(session.exec(select(JobRun)).all()) == 1


def test_the_ledger_s_head_is_exported_when_it_moved(database: Database, tmp_path: Path) -> None:
    heads.create_key(tmp_path / "keys")
    audit = Audit(database, heads.HeadStore((tmp_path / "heads").as_uri(), tmp_path / "keys"))
    with database.unit(SYSTEM) as tx:
        tx.record("test.happen", ("test", "1"))
    with structlog.testing.capture_logs() as logs:
        jobs.export_head(audit)
        jobs.export_head(audit)
    assert [(line["event"], line["seq"]) for line in logs] == [("ledger.head_exported", 1)]


def test_the_document_lists_every_figure() -> None:
    document = (Path(__file__).resolve().parents[3] / "docs" / "worker.md").read_text()
    told = set(re.findall(r"^\| `(countersign_[a-z_]+)", document, re.MULTILINE))
    suffix = {"counter": "_total"}
    known = {one.name + suffix.get(one.type, "") for one in Metrics().registry.collect() if one.name.startswith("countersign")}
    assert told == known


def test_lanes_keep_what_is_slow_from_what_decides() -> None:
    found = {lane.kinds: lane.threads for lane in lanes(["server", "evidence", "change", "rollout", "alias", "new"], 8)}
    assert found == {("server",): 8, ("evidence",): 2, ("change", "rollout"): 4, ("alias",): 2, ("new",): 2}


def test_the_pause_between_two_looks_grows_while_nothing_is_found() -> None:
    pace = Pace(0.1, 0.2)
    pauses = [pace.after(False, jitter=0.0) for _ in range(10)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.2
    assert pace.after(False, jitter=1.0) == pytest.approx(0.16)
    assert pace.after(True, jitter=0.0) == 0.1


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("", True),
        ("/run/postgresql", True),
        ("localhost:8000", True),
        ("127.0.0.1:8001", True),
        ("http://[::1]:9000/x", True),
        ("http://127.0.0.1.example.com", False),
        ("https://user@10.0.0.4:8443", False),
        ("db.example.com", False),
        ("localhost.example.com:5432", False),
    ],
)
def test_only_this_machine_is_local(address: str, local: bool) -> None:
    assert is_local(address) is local
