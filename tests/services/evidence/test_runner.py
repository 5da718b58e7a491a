"""Checks in a process of their own: their result, their limits, and whatever goes wrong with them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.ledger import LedgerRow, first_break
from backend.core.work import WorkItem
from backend.delivery.targets.memory_server import Fault
from backend.evidence import process, runner
from backend.evidence.gates.artifact import ArtifactGate
from backend.evidence.queries import views
from backend.evidence.rows import EvidenceProgress
from backend.evidence.runner import EvidenceRunner
from backend.evidence.service import request, void
from backend.evidence.wire import Order, line_of
from backend.policy.rules import GateRule
from tests.services.evidence.world import HERE, World

BAD = "tests.services.evidence.misbehaving"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def world(real_time_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return World(real_time_database, tmp_path)


sqlite_only = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


def run(world: World, factory: str, gate: str = "artifact") -> tuple[str, str]:
    """Verdict and summary of one check whose context goes wrong."""
    identifier = world.request(gate)
    EvidenceRunner(world.database, world.settings, factory=f"{BAD}:{factory}").handle(world.claim())
    row = world.evidence(identifier)
    return row.verdict, row.summary


def gone(pid: int) -> bool:
    """Whether a process has ended; an orphan that nobody reaped yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] in "ZX"
    except OSError:
        return True


def eventually(happened: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not happened() and time.monotonic() < until:
        time.sleep(0.05)
    return happened()


def test_a_check_runs_apart_and_its_result_is_bound_to_its_plan(world: World) -> None:
    first, second = world.request("artifact"), world.request("recorded_answers")
    doer = EvidenceRunner(world.database, world.settings, factory=f"{HERE}:tells_how_it_was_started")
    for _ in range(2):
        doer.handle(world.claim())
    rows = [world.evidence(one) for one in (first, second)]
    assert [(row.verdict, row.plan_digest) for row in rows] == [("passed", world.plan().digest())] * 2
    assert {"version": 2, "registered": world.artifact(2)} in [one["facts"] for one in rows[0].findings]
    assert (rows[0].valid_until - rows[0].finished_at).total_seconds() == ArtifactGate.valid_seconds
    command = (world.folder / "cmdline").read_bytes()
    assert b"backend.evidence.child" in command
    assert str(world.folder).encode() not in command
    with world.database.read() as session:
        assert session.get(WorkItem, ("change", "chg_1")) is not None
        assert session.exec(select(WorkItem).where(WorkItem.kind == "evidence")).all() == []
        ledger = list(session.exec(select(LedgerRow).order_by(LedgerRow.seq)))
        asked = [GateRule(gate="artifact"), GateRule(gate="preflight")]
        told = views(session, "chg_1", asked, plan_digest=world.plan().digest(), now=world.database.now())
    assert first_break(ledger)[0] is None
    assert [row.action for row in ledger if row.subject_id == first] == [
        "evidence.request", "evidence.begin", "evidence.passed",
    ]  # fmt: skip
    assert [(one.gate, one.standing) for one in told] == [("artifact", "passed"), ("preflight", "missing")]


@sqlite_only
@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("dies", "ended unexpectedly (status 7)"),
        ("is_killed", "was killed"),
        ("hoards", "needs more than 4096 MiB"),
        ("raises", "a defect of ours (KeyError)"),
        ("talks_nonsense", "cannot be read"),
        ("talks_without_end", "cannot be read"),
        ("answers_for_another_plan", "another plan"),
        ("no_such_function", "a defect of ours (AttributeError)"),
    ],
)
def test_a_check_that_goes_wrong_is_an_error_with_what_to_do_next(world: World, factory: str, says: str) -> None:
    verdict, summary = run(world, factory)
    assert (verdict, says in summary) == ("error", True), summary
    assert "again" in summary or "Give it" in summary
    assert "secret" not in summary


@sqlite_only
def test_a_check_that_does_not_end_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ArtifactGate, "limit_seconds", 1)
    verdict, summary = run(world, "hangs_with_a_child")
    assert (verdict, "did not end within 1 s" in summary) == ("error", True)


@sqlite_only
def test_a_check_that_uses_up_its_processor_time_is_ended(world: World) -> None:
    order = Order(gate="artifact", plan=world.plan().to_json(), factory=f"{BAD}:spins", cpu_seconds=4, address_space=4 << 30)
    environment = process.environment_of(world.settings, os.environ)
    assert process.run(order, environment, seconds=120, tick=lambda _doing: True).trouble == "too_much_cpu"


@sqlite_only
def test_a_check_that_was_voided_is_ended_and_stays_void(world: World) -> None:
    identifier, claim = world.request(), world.claim()
    doer = EvidenceRunner(world.database, world.settings, factory=f"{BAD}:hangs_with_a_child")
    thread = threading.Thread(target=doer.handle, args=[claim])
    thread.start()
    assert eventually(lambda: (world.folder / "pids").exists())
    with world.database.unit(SYSTEM) as tx:
        void(tx, "chg_1", "The change was edited.")
    thread.join(60)
    row = world.evidence(identifier)
    assert (row.verdict, row.finished_at) == ("void", None)
    assert all(eventually(lambda pid=pid: gone(int(pid))) for pid in (world.folder / "pids").read_text().split())


@sqlite_only
def test_a_result_that_comes_after_the_check_was_voided_is_not_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "REPORT_SECONDS", 3_600.0)
    identifier, claim = world.request(), world.claim()
    thread = threading.Thread(
        target=EvidenceRunner(world.database, world.settings, factory=f"{HERE}:waits_for_a_sign").handle, args=[claim]
    )
    thread.start()
    assert eventually(lambda: (world.folder / "waiting").exists())
    with world.database.unit(SYSTEM) as tx:
        void(tx, "chg_1", "The change was edited.")
    (world.folder / "sign").touch()
    thread.join(60)
    row = world.evidence(identifier)
    assert (row.verdict, row.summary) == ("void", "")
    with world.database.read() as session:
        assert session.get(WorkItem, ("evidence", identifier)) is None


@sqlite_only
def test_a_worker_that_lost_its_lease_writes_nothing(world: World) -> None:
    identifier, claim = world.request(), world.claim()
    settings = world.settings.model_copy(update={"lease_seconds": 3.0})
    doer = EvidenceRunner(world.database, settings, factory=f"{BAD}:hangs_with_a_child")
    lost: list[BaseException] = []

    def handle() -> None:
        try:
            doer.handle(claim)
        except work.LeaseLost as error:
            lost.append(error)

    thread = threading.Thread(target=handle)
    thread.start()
    assert eventually(lambda: (world.folder / "pids").exists())
    with world.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE work_item SET token = token + 1 WHERE kind = 'evidence'"))
    thread.join(60)
    assert (len(lost), world.evidence(identifier).verdict) == (1, "running")


@sqlite_only
def test_a_process_ends_when_its_worker_is_gone(world: World) -> None:
    factory = f"{BAD}:hangs_with_a_child"
    order = Order(gate="artifact", plan=world.plan().to_json(), factory=factory, cpu_seconds=60, address_space=4 << 30)
    started = subprocess.Popen(
        [sys.executable, "-P", "-m", "backend.evidence.child"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env=process.environment_of(world.settings, os.environ), start_new_session=True,
    )  # fmt: skip
    started.stdin.write(line_of(order))
    started.stdin.flush()
    assert eventually(
        lambda: len((world.folder / "pids").read_text().split()) == 2 if (world.folder / "pids").exists() else False
    )
    started.stdin.close()
    assert started.wait(60) == -9
    assert all(eventually(lambda pid=pid: gone(int(pid))) for pid in (world.folder / "pids").read_text().split())


@sqlite_only
def test_progress_is_told_while_a_check_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "REPORT_SECONDS", 0.0)
    world.servers["staging"].script(Fault("answer", seconds=1.0, times=3))
    identifier, claim = world.request("recorded_answers"), world.claim()
    seen: list[float] = []
    doer = EvidenceRunner(world.database, world.settings, factory=f"{HERE}:context")
    thread = threading.Thread(target=doer.handle, args=[claim])
    thread.start()
    while thread.is_alive():
        with world.database.read() as session:
            row = session.get(EvidenceProgress, identifier)
            seen += [row.fraction] if row is not None else []
        time.sleep(0.1)
    assert world.evidence(identifier).verdict == "passed"
    assert len(set(seen)) >= 2
    with world.database.read() as session:
        assert session.get(EvidenceProgress, identifier) is None


def test_one_check_is_queued_once_and_a_new_plan_voids_the_old(world: World) -> None:
    other = world.plan(bake_seconds=60)
    with world.database.unit(SYSTEM) as tx:
        (first,) = request(tx, "chg_1", world.plan(), ["artifact", "artifact"])
        tx.session.flush()
        assert request(tx, "chg_1", world.plan(), ["artifact"]) == ()
        (second,) = request(tx, "chg_1", other, ["artifact"])
    assert [world.evidence(one.id).verdict for one in (first, second)] == ["void", "queued"]


def test_a_dead_worker_s_check_begins_again_but_not_for_ever(world: World) -> None:
    identifier = world.request()
    doer = EvidenceRunner(world.database, world.settings, factory=f"{HERE}:context")
    for _ in range(runner.MAX_BEGINS):
        claim = world.claim()
        assert doer._begin(claim) is not None  # and here the worker dies
        with world.database.engine.begin() as connection:
            connection.execute(sa.text("UPDATE work_item SET deadline = NULL WHERE kind = 'evidence'"))
    assert world.evidence(identifier).verdict == "running"
    doer.handle(world.claim())
    assert (world.evidence(identifier).verdict, "never came to an end" in world.evidence(identifier).summary) == ("error", True)
