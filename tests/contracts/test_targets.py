"""One suite for every target: the in-memory one and the real Triton; each further runtime joins with one line in the cases.

Tests that script faults need a runtime that fails on command, so they are of the in-memory target alone; what only Triton does
is in test_triton.py.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.core.canonical import canonical, digest_tree, tree_files
from backend.core.errors import CountersignError, ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery.desired import DesiredModel, DesiredServer, Packaged
from backend.delivery.packages import MANIFEST, PROBES, read_manifest
from backend.delivery.targets.memory import MemoryTarget
from backend.delivery.targets.memory_server import Fault, MemoryServer
from backend.delivery.targets.names import TARGETS, build
from backend.delivery.targets.port import Access, SeenModel, Target
from backend.delivery.targets.triton import TritonTarget
from backend.embedded.triton import TritonServer
from tests.models import write_package
from tests.packages import triton_package

Package = Callable[..., Packaged]
Ask = Callable[[str], Any]
"""Gives a fixture by its name, so that a runtime starts only where it is asked for."""


def memory_target(folder: Path) -> Target:
    return MemoryTarget.connect({"name": f"server-{uuid.uuid4().hex}"}, access=_access())


def shared_memory_target(folder: Path) -> Target:
    return MemoryTarget.connect({"path": str(folder / "server.json")}, access=_access())


def triton_target(server: TritonServer) -> TritonTarget:
    settings = {"url": server.url, "model_repository": str(server.models), "metrics_url": server.metrics_url}
    return TritonTarget.connect(settings, Access("srv", server.admin_key, Guard(["127.0.0.0/8"])))


CASES: dict[str, Callable[[Path, Ask], Target]] = {
    "memory": lambda folder, ask: memory_target(folder),
    "memory-file": lambda folder, ask: shared_memory_target(folder),
    "triton": lambda folder, ask: triton_target(ask("triton_server")),
}
PACKAGES: dict[str, Callable[..., Packaged]] = {"triton": triton_package}
"""How a package is made that a target can load, where `write_package` is not enough."""


def _access() -> Access:
    return Access("srv", None, Guard())


@pytest.fixture(params=CASES)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """The target on an empty server; what a test leaves loaded is released."""
    made = CASES[request.param](tmp_path, request.getfixturevalue)
    yield made
    made.push(DesiredServer({}, frozenset(made.observe().models)))


@pytest.fixture
def memory(tmp_path: Path) -> MemoryTarget:
    made = memory_target(tmp_path)
    assert isinstance(made, MemoryTarget)
    return made


@pytest.fixture
def package(request: pytest.FixtureRequest, tmp_path: Path) -> Package:
    """`package(offset)` gives a package that the test's target can load and whose model answers x + offset."""
    case = getattr(request.node, "callspec", None)
    write = PACKAGES.get(case.params.get("target") if case else "", write_package)
    return lambda offset=1.0, **more: write(tmp_path / uuid.uuid4().hex, offset, **more)


def desired(released: tuple[str, ...] = (), **models: dict[int, Packaged]) -> DesiredServer:
    return DesiredServer({name: DesiredModel(name, versions) for name, versions in models.items()}, frozenset(released))


def ready(target: Target, model: str) -> set[int]:
    seen = target.observe().models.get(model)
    return {number for number, one in seen.versions.items() if one.state == "ready"} if seen else set()


def ask(target: Target, model: str, version: int) -> list[list[float]]:
    outputs = target.answer(model, version, {"x": [1.0, 2.0]}).outputs
    found: list[list[float]] = outputs["y"]
    return found


def test_two_versions_serve_side_by_side_each_with_its_own_bytes(target: Target, package: Package) -> None:
    target.push(desired(add={1: package(1.0), 2: package(10.0)}))
    assert ready(target, "add") == {1, 2}
    assert (ask(target, "add", 1), ask(target, "add", 2)) == ([[2.0, 3.0]], [[11.0, 12.0]])


def test_pushing_is_absolute(target: Target, package: Package) -> None:
    one, two = package(1.0), package(10.0)
    target.push(desired(add={1: one, 2: two}))
    target.push(desired(add={2: two}))
    assert ready(target, "add") == {2}
    target.push(desired(released=("add",)))
    assert ready(target, "add") == set()
    with pytest.raises(ExternalFailure):
        ask(target, "add", 2)


def test_what_is_not_named_is_never_touched(target: Target, package: Package) -> None:
    target.push(desired(theirs={4: package(4.0)}))
    target.push(desired(add={1: package(1.0)}))
    target.push(desired(released=("add", "unknown")))
    assert ready(target, "theirs") == {4}


def test_a_broken_version_is_refused_and_the_old_one_keeps_serving(target: Target, package: Package) -> None:
    one = package(1.0)
    target.push(desired(add={1: one}))
    with pytest.raises(Refusal) as refused:
        target.push(desired(add={1: one, 2: package(broken=True)}))
    assert refused.value.code == "not-loadable"
    assert "still serves" in refused.value.remedy
    assert ready(target, "add") == {1}
    assert ask(target, "add", 1) == [[2.0, 3.0]]


def test_a_package_that_was_changed_on_the_way_is_refused(target: Target, package: Package) -> None:
    changed = package(1.0)
    (changed.path / "extra.py").write_text("import os")
    with pytest.raises(Refusal) as refused:
        target.push(desired(add={1: changed}))
    assert refused.value.code == "package-damaged"
    assert ready(target, "add") == set()


def test_versions_with_different_interfaces_cannot_share_a_name(target: Target, package: Package) -> None:
    with pytest.raises(Refusal) as refused:
        target.push(desired(add={1: package(1.0), 2: package(2.0, interface="other")}))
    assert refused.value.code == "interfaces-differ"


def test_storage_is_hashed_on_request_only(target: Target, package: Package) -> None:
    one = package(1.0)
    target.push(desired(add={1: one}))
    assert target.observe().models["add"].versions[1].package_digest is None
    assert target.observe(("add",)).models["add"].versions[1].package_digest == one.digest


def test_it_says_what_it_is_and_counts_what_it_answers(target: Target, package: Package) -> None:
    facts = target.inspect()
    assert facts.live
    assert facts.product
    target.push(desired(add={1: package(1.0)}))
    ask(target, "add", 1)
    ask(target, "add", 1)
    counted = [one.value for one in target.metrics() if (one.metric, one.model, one.version) == ("requests_total", "add", 1)]
    assert counted == [2.0]


def test_what_a_version_is_loaded_from_is_copied_out_as_its_package(target: Target, package: Package, tmp_path: Path) -> None:
    one, two = package(1.0), package(10.0)
    target.push(desired(add={1: one, 2: two}))
    for number, loaded in ((1, one), (2, two)):
        folder = tmp_path / f"copy-{number}"
        folder.mkdir()
        target.copy_out("add", number, folder)
        assert digest_tree(tree_files(folder)) == loaded.digest
        assert digest_tree(tree_files(folder)) == target.observe(("add",)).models["add"].versions[number].package_digest
        assert read_manifest(folder) == read_manifest(loaded.path)
    assert ready(target, "add") == {1, 2}


def test_what_is_not_served_is_not_copied_out(target: Target, package: Package, tmp_path: Path) -> None:
    target.push(desired(add={1: package(1.0)}))
    folder = tmp_path / "copy"
    folder.mkdir()
    for model, version in (("add", 2), ("unknown", 1)):
        with pytest.raises(CountersignError):
            target.copy_out(model, version, folder)
    assert list(folder.iterdir()) == []


# -- what only a runtime that fails on command can show


def test_storage_that_cannot_be_read_is_not_importable(memory: MemoryTarget, package: Package, tmp_path: Path) -> None:
    gone, linked, bare = package(1.0), package(2.0), package(3.0)
    memory.push(desired(add={1: gone, 2: linked, 3: bare}))
    shutil.rmtree(gone.path)
    (linked.path / "link").symlink_to("/etc/hostname")
    (bare.path / MANIFEST).unlink()
    for version in (1, 2, 3):
        folder = tmp_path / f"copy-{version}"
        folder.mkdir()
        with pytest.raises(Refusal) as refused:
            memory.copy_out("add", version, folder)
        assert refused.value.code == "not-importable"
        assert not (folder / "link").exists()


def test_pushing_the_same_again_does_nothing(memory: MemoryTarget, package: Package) -> None:
    wanted = desired(add={1: package(1.0)})
    memory.push(wanted)
    memory.push(wanted)
    assert [entry["verb"] for entry in memory.server.journal] == ["load"]


def test_a_changed_byte_is_seen_in_the_storage(memory: MemoryTarget, package: Package) -> None:
    one = package(1.0)
    memory.push(desired(add={1: one}))
    memory.server.change_byte("add", 1)
    assert memory.observe(("add",)).models["add"].versions[1].package_digest not in (None, one.digest)


def test_a_restart_forgets_and_a_second_push_mends(memory: MemoryTarget, package: Package) -> None:
    wanted = desired(add={1: package(1.0)})
    memory.push(wanted)
    memory.server.stop()
    with pytest.raises(ExternalFailure) as failed:
        memory.observe()
    assert failed.value.retryable
    memory.server.start()
    assert ready(memory, "add") == set()
    memory.push(wanted)
    assert ready(memory, "add") == {1}


def test_a_restart_is_told_from_an_unload_by_hand(memory: MemoryTarget, package: Package) -> None:
    memory.push(desired(add={1: package(1.0)}))
    assert not memory.observe().models["add"].fresh
    memory.server.unload("add", by="somebody")
    assert "add" not in memory.observe().models
    memory.push(desired(add={1: package(1.0)}))
    memory.server.stop()
    memory.server.start()
    assert memory.observe().models["add"] == SeenModel("add", {}, fresh=True)
    memory.push(desired(released=("add",)))
    memory.server.stop()
    memory.server.start()
    assert memory.observe().models == {}, "what was released is not in the repository any more"


@pytest.mark.parametrize(
    ("kind", "applied_unknown", "loaded"),
    [("error", False, set()), ("reset", False, set()), ("timeout", True, set()), ("apply_then_timeout", True, {1})],
)
def test_a_failing_push_says_whether_it_may_have_taken_effect(
    memory: MemoryTarget, package: Package, kind: Any, applied_unknown: bool, loaded: set[int]
) -> None:
    memory.server.script(Fault("push", kind))
    with pytest.raises(ExternalFailure) as failed:
        memory.push(desired(add={1: package(1.0)}))
    assert (failed.value.retryable, failed.value.applied_unknown) == (True, applied_unknown)
    assert ready(memory, "add") == loaded


def test_a_lie_is_found_by_looking(memory: MemoryTarget, package: Package) -> None:
    memory.server.script(Fault("push", "lie"))
    memory.push(desired(add={1: package(1.0)}))
    assert ready(memory, "add") == set()


def test_a_partial_push_leaves_what_was_done(memory: MemoryTarget, package: Package) -> None:
    memory.server.script(Fault("push", "partial", after=1))
    with pytest.raises(ExternalFailure):
        memory.push(desired(a={1: package(1.0)}, b={1: package(2.0)}))
    assert (ready(memory, "a"), ready(memory, "b")) == ({1}, set())


def test_processes_share_a_server_in_a_file(tmp_path: Path, package: Package) -> None:
    shared_memory_target(tmp_path).push(desired(add={1: package(1.0)}))
    assert ready(shared_memory_target(tmp_path), "add") == {1}
    assert len(MemoryServer(path=str(tmp_path / "server.json")).journal) == 1


def test_without_a_graph_the_recorded_answers_are_given(tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    folder.mkdir()
    probes = {"schema": 1, "inputs": [{"x": 1}, {"x": 2}], "outputs": [{"y": 3}, {"y": 4}], "tolerance": 0}
    (folder / PROBES).write_bytes(canonical(probes))
    assert MemoryServer.evaluate(folder, {"x": 2}) == {"y": 4}
    assert MemoryServer.evaluate(folder, {"x": 9}) == {}


# -- the registry of names


def test_names_lead_to_adapters_and_never_to_a_default() -> None:
    assert set(TARGETS) == {kind.kind for kind in TARGETS.values()}
    with pytest.raises(Refusal) as refused:
        build("tritonn", {}, None, Guard())
    assert refused.value.code == "unknown-target"
    assert "memory" in refused.value.remedy


@pytest.mark.parametrize("settings", [{"surprise": 1}, {"name": 7}])
def test_bad_settings_name_the_field(settings: dict[str, Any]) -> None:
    with pytest.raises(CountersignError) as refused:
        build("memory", settings, None, Guard(), name="srv")
    assert next(iter(settings)) in str(refused.value)
