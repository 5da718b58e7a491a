"""The gates' own runs, on rows, real packages and a server in memory: what passes, what fails, and what could not be told."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.access.rows import Identity
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery.plan import Plan
from backend.delivery.rows import Endpoint, Generation, Package
from backend.delivery.targets.memory import MemoryTarget
from backend.delivery.targets.memory_server import Fault
from backend.evidence.gates.monitors_armed import MonitorsArmedGate
from backend.evidence.gates.names import GATES, gate_type
from backend.evidence.port import GateContext, GateResult
from backend.findings import sightings
from backend.findings.moves import move
from backend.findings.rows import Finding
from backend.findings.rules import Cause, Sighting
from backend.findings.service import Findings
from backend.monitoring.rows import Monitor, MonitorRun
from backend.monitoring.rules import latest_slot, parse_spec
from backend.notify.rows import Message, Route
from backend.registry.rows import Version
from tests.services.evidence.world import EVERYTHING, MODEL, World, context

BROKEN = "sha256:" + "0" * 64


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


def run(world: World, gate: str, plan: Plan | None = None, **parts: Any) -> GateResult:
    mine = {"database": world.database, "alarm": Findings(world.database).fire, **parts}
    there: GateContext = replace(context(world.settings), **mine)
    told: list[float] = []
    result = gate_type(gate)(there).run(plan or world.plan(), lambda fraction, _says: told.append(fraction))
    assert all(0 <= one <= 1 for one in told)
    return result


def says(result: GateResult) -> str:
    return " ".join(one.says for one in result.findings)


def change(world: World, table: Any, key: str, **values: Any) -> None:
    with world.database.unit(SYSTEM) as tx:
        row = tx.get(table, key)
        for name, value in values.items():
            setattr(row, name, value)
        tx.record("test.change", row)


def test_artifacts_and_packages_are_hashed(world: World) -> None:
    assert run(world, "artifact").verdict == "passed"
    change(world, Version, "ver_2", pickled=["model.pkl"])
    assert "carries pickled code" in says(run(world, "artifact"))
    (world.folder / "artifacts" / "2" / "model.onnx").write_bytes(b"other")
    failed = run(world, "artifact")
    assert (failed.verdict, "changed since it was registered" in failed.summary) == ("failed", True)
    shutil.rmtree(world.folder / "artifacts" / "2")
    assert "cannot be hashed" in run(world, "artifact").summary
    model = world.packages[1].path / "model.onnx"
    model.chmod(0o600)
    model.write_bytes(b"other")
    assert "missing from the store or damaged" in says(run(world, "artifact"))


def test_what_runs_there_already_may_have_left_the_registry(world: World) -> None:
    plan = world.plan(arms=[world.arm(1, 5_000), world.arm(2, 5_000)], champion="v1")
    shutil.rmtree(world.folder / "artifacts" / "1")
    result = run(world, "artifact", plan)
    assert (result.verdict, "runs there already" in says(result)) == ("passed", True)
    assert run(world, "recorded_answers", plan).verdict == "passed"


def test_the_preflight_holds_a_plan_against_server_router_and_neighbours(world: World) -> None:
    assert run(world, "preflight").verdict == "passed"
    split = world.plan(arms=[world.arm(1, 5_000), world.arm(2, 5_000)], champion="v1")
    assert run(world, "preflight", split).verdict == "passed"
    change(world, Endpoint, "end_production", router_id=None)
    failed = run(world, "preflight", split)
    assert failed.summary == "Cannot split traffic (memory, without a router)."
    change(world, Package, world.packages[2].digest, interface_digest=BROKEN)
    assert "another interface" in run(world, "preflight").summary
    change(world, Package, world.packages[2].digest, artifact_digest=BROKEN)
    assert "was not built from its artifact" in run(world, "preflight").summary
    unknown = world.plan(arms=[world.arm(1, 0), world.arm(2, 10_000, package_digest=BROKEN)])
    assert "is not known" in run(world, "preflight", unknown).summary
    with pytest.raises(Refusal):
        run(world, "preflight", world.plan(endpoint="nowhere"))


def test_the_preflight_refuses_copies_and_copies_of_the_same_age_that_cannot_be_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shadow of one step is a shadow too; a second copy of the champion stands under a name of its own."""
    copied = world.plan(ramp=[{"shares": {"v1": 10_000}, "shadow": "v2", "person": True}])
    assert run(world, "preflight", copied).verdict == "passed"
    split_only = replace(EVERYTHING, mirror=False)
    failed = run(world, "preflight", copied, router_abilities=lambda _kind: split_only)
    assert failed.summary == "Cannot mirror traffic to a shadow (memory)."
    twin = {**world.arm(1, 0), "name": "v1-same-age", "served_as": {"model": f"{MODEL}.abcd1234", "version": 1}}
    beside = world.plan(
        arms=[world.arm(1, 0), world.arm(2, 10_000), twin],
        ramp=[{"shares": {"v1": 8_000, "v1-same-age": 1_000, "v2": 1_000}}],
    )
    assert run(world, "preflight", beside).verdict == "passed"
    monkeypatch.setattr(MemoryTarget, "abilities", replace(MemoryTarget.abilities, names_side_by_side=False))
    assert "Cannot hold a model under two names" in run(world, "preflight", beside).summary


def test_the_preflight_tells_before_approval_what_can_be_proved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    change(world, Package, world.packages[2].digest, probes={"digest": BROKEN, "count": 4})
    (told,) = [one for one in run(world, "preflight").findings if "proofs" in one.facts]
    assert told.facts["proofs"] == ["configured", "answers", "bytes", "behaviour"]
    change(world, Package, world.packages[2].digest, probes=None)
    (told,) = [one for one in run(world, "preflight").findings if "proofs" in one.facts]
    assert told.says == "Can be proved afterwards: configured, answers, bytes. Not here: behaviour."
    weak = replace(MemoryTarget.abilities, proofs=frozenset({"configured", "behaviour"}))
    monkeypatch.setattr(MemoryTarget, "abilities", weak)
    result = run(world, "preflight")
    assert (result.verdict, "nothing can be proved" in result.summary) == ("passed", True)


def test_the_preflight_finds_who_holds_the_place(world: World) -> None:
    with world.database.unit(SYSTEM) as tx:
        neighbour = tx.get(Endpoint, "end_staging")
        neighbour.server_id, neighbour.generation = "srv_production", 1
        tx.record("endpoint.edit", neighbour)
        arm = {**world.arm(2, 0, package_digest=BROKEN), "ranges": []}
        desired = {"step": 0, "champion": "v2", "arms": [arm]}
        row = Generation(
            id="end_staging/1", endpoint_id="end_staging", number=1, reason="baseline", step=0, desired=desired, digest="",
            admitted_at=tx.now, admitted_by=SYSTEM.id,
        )  # fmt: skip
        tx.record("generation.admit", tx.add(row))
    assert "belongs to the endpoint add-staging" in run(world, "preflight").summary


@pytest.mark.parametrize(
    ("tag", "link"), [("feast.feature_service", "unknown"), ("feature_service", "unknown"), ("other", "none")]
)
def test_the_preflight_tells_of_a_feature_service_by_its_tag(world: World, tag: str, link: str) -> None:
    change(world, Version, "ver_2", tags={tag: "flights_v1"})
    found = [one for one in run(world, "preflight").findings if "link" in one.facts]
    assert [one.facts["link"] for one in found] == [link]
    assert ("flights_v1" in found[0].says) == (link == "unknown")


def test_recorded_requests_are_answered_as_recorded_in_staging(world: World) -> None:
    result = run(world, "recorded_answers")
    assert (result.verdict, result.summary) == ("passed", "3 recorded request(s) are answered as recorded.")
    world.servers["staging"].script(Fault("answer", "lie", outputs={"y": [2.0, 2.5]}))
    failed = run(world, "recorded_answers")
    assert (failed.verdict, "answered differently by add-staging" in failed.summary) == ("failed", True)
    world.servers["staging"].load(MODEL, {2: world.packages[1]}, None, by="hand")
    assert "serves other bytes" in run(world, "recorded_answers").summary
    world.servers["staging"].unload(MODEL)
    with pytest.raises(ExternalFailure, match="does not have add version 2 ready"):
        run(world, "recorded_answers")


def test_without_a_place_to_ask_there_is_no_pass(world: World) -> None:
    change(world, Endpoint, "end_staging", mode="observe")
    result = run(world, "recorded_answers")
    assert (result.verdict, "promote it there first" in result.summary) == ("error", True)


def test_every_gate_declares_its_limits() -> None:
    for name, gate in GATES.items():
        assert (gate.name, gate.limit_seconds > 0, gate.limit_bytes > 0, gate.valid_seconds > 0) == (name, True, True, True)
    with pytest.raises(Refusal) as refused:
        gate_type("luck")
    assert refused.value.code == "unknown-gate"


def test_what_was_found_there_fails_the_gate_until_it_is_over_and_who_said_so_is_shown(world: World) -> None:
    assert run(world, "open_findings").verdict == "passed"
    plan = world.plan()
    with world.database.unit(SYSTEM) as tx:
        causes = (Cause("drift", plan.endpoint), Cause("schema", model=plan.model))
        sightings.seen(tx, [Sighting(one, "critical", f"{one.kind} is off.", "tests", {}) for one in causes])
        sightings.seen(tx, [Sighting(Cause("nulls", plan.endpoint), "warning", "Nulls.", "tests", {})])
    failed = run(world, "open_findings")
    assert (failed.verdict, failed.summary) == ("failed", "Finding 1 (critical): drift is off. and 1 more")
    assert [one.ok for one in failed.findings] == [False, False, True]
    with world.database.unit(SYSTEM) as tx:
        whom = tx.add(Identity(id="idn_rita", name="rita", display_name="Rita", created_at=tx.now))
        tx.record("identity.create", whom)
        for number in (1, 2):
            row = tx.session.exec(select(Finding).where(Finding.number == number)).one()
            move(tx, row, "resolve", reason="Mended", outcome="false_alarm")
            row.by_id = whom.id
    passed = run(world, "open_findings")
    assert passed.verdict == "passed"
    assert "Finding 1 (critical) was ended by Rita as false alarm: Mended" in says(passed)


def test_monitors_are_armed_once_each_kind_looks_and_a_test_of_the_alarm_arrived(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MonitorsArmedGate, "patience", 0.0)

    def tests_of_the_alarm() -> list[str]:
        with world.database.read() as session:
            return list(session.exec(select(Finding.id).where(Finding.test).order_by(Finding.number)))

    plan = world.plan()
    unarmed = run(world, "monitors_armed")
    assert (unarmed.verdict, [one.ok for one in unarmed.findings]) == ("failed", [False, False, False])
    assert unarmed.summary == f"No monitor of drift watches {plan.endpoint}: set one. and 2 more"
    with world.database.unit(SYSTEM) as tx:
        endpoint = tx.session.exec(select(Endpoint).where(Endpoint.name == plan.endpoint)).one()
        for kind in ("drift", "data"):
            spec = parse_spec({"kind": kind, "wait_minutes": 0})
            slot = latest_slot(tx.now, spec)
            fixed: dict[str, Any] = {"set_by": SYSTEM.id, "set_at": tx.now, "created_at": tx.now, "begins_at": slot}
            row = tx.add(Monitor(id=f"mon_{kind}", endpoint_id=endpoint.id, name=kind, kind=kind, spec=spec.to_json(), **fixed))
            tx.record("monitor.set", row)
            tx.session.flush()
            ran: dict[str, Any] = {"slot": slot, "window_start": slot, "started_at": tx.now, "ended_at": tx.now}
            state = "alarm" if kind == "drift" else "no_data"
            tx.add(MonitorRun(monitor_id=row.id, endpoint_id=endpoint.id, revision=1, state=state, why="Nothing came.", **ran))
    half = run(world, "monitors_armed")
    assert [one.ok for one in half.findings] == [True, False, False]
    assert "Monitor data (data) does not look as it should: Nothing came." in says(half)
    with world.database.unit(SYSTEM) as tx:
        tx.session.exec(select(MonitorRun).where(MonitorRun.monitor_id == "mon_data")).one().state = "idle"
    found = tests_of_the_alarm()
    assert len(found) == 1, "it was fired once, however often it is checked"
    message_of(world, "msg_1", found[0], state="dead")
    assert run(world, "monitors_armed").summary.startswith("A test of its alarm has just reached nobody: set up a route")
    change_message(world, "msg_1", state="waiting")
    assert "no message of it has left yet" in run(world, "monitors_armed").summary
    change_message(world, "msg_1", state="sent")
    armed = run(world, "monitors_armed")
    assert (armed.verdict, "valid_until" in armed.findings[-1].facts) == ("passed", True)
    change(world, Route, "rte_1", state="removed")
    assert run(world, "monitors_armed").verdict == "failed", "nobody is told by a route that is gone"
    change(world, Route, "rte_1", state="active")
    message_of(world, "msg_2", found[0], event="finding.assigned", state="sent")
    change(world, Finding, found[0], opened_at=world.database.now() - timedelta(days=31))
    old = run(world, "monitors_armed")
    assert old.verdict == "failed", "whatever else was sent of an old test"
    assert len(tests_of_the_alarm()) == 2, "and then another one is fired"


def message_of(world: World, key: str, finding_id: str, *, event: str = "finding.opened", state: str) -> None:
    with world.database.unit(SYSTEM) as tx:
        if tx.session.get(Route, "rte_1") is None:
            sealed: dict[str, Any] = {"sealed_address": "x", "created_by": SYSTEM.id, "created_at": tx.now}
            tx.record("route.add", tx.add(Route(id="rte_1", name="r", kind="webhook", shown="x", **sealed)))
        told: dict[str, Any] = {"event": event, "seq": 1, "subject_kind": "finding", "told": {}, "same": key}
        moments = {"at": tx.now, "due_at": tx.now, "created_at": tx.now, "settled_at": tx.now}
        tx.add(Message(id=key, route_key="rte_1", subject_id=finding_id, state=state, **moments, **told))


def change_message(world: World, key: str, *, state: str) -> None:
    with world.database.unit(SYSTEM) as tx:
        tx.session.get_one(Message, key).state = state
