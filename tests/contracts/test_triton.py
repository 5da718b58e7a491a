"""What only Triton does, against the real one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import onnx
import prometheus_client.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from backend.core.canonical import digest_tree, tree_files
from backend.core.errors import CountersignError, ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery.desired import DesiredModel, DesiredServer, Packaged
from backend.delivery.packagers.check import check_package
from backend.delivery.packages import read_manifest
from backend.delivery.targets.port import Access, SeenModel
from backend.delivery.targets.triton import TritonTarget
from backend.delivery.targets.triton_http import TritonHttp
from backend.delivery.targets.triton_metrics import read_series
from backend.embedded import runtimes
from backend.embedded.supervisor import Supervisor
from backend.embedded.triton import TritonServer, start_triton
from tests.models import add_model, text_model
from tests.packages import build_package, packaged, triton_package

LOOPBACK = ["127.0.0.0/8"]


def connect(server: TritonServer, **settings: Any) -> TritonTarget:
    told = {"url": server.url, "model_repository": str(server.models), "metrics_url": server.metrics_url, **settings}
    return TritonTarget.connect(told, Access("srv", server.admin_key, Guard(LOOPBACK)))


@pytest.fixture
def target(triton_server: TritonServer) -> Iterator[TritonTarget]:
    """The real Triton, emptied afterwards, with what tests put into its repository by hand."""
    made = connect(triton_server)
    yield made
    made.push(DesiredServer({}, frozenset(name for name in made.observe().models if name[0] != ".")))
    for left in triton_server.models.iterdir():
        shutil.rmtree(left)


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Packaged]:
    return lambda offset=1.0, **more: triton_package(tmp_path / uuid.uuid4().hex, offset, **more)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """Every command that changes a server: (model, verb, its configuration), as it is sent."""
    sent: list[tuple[str, str, Any]] = []
    real = TritonHttp.ask

    def ask(self: TritonHttp, method: str, path: str, **options: Any) -> Any:
        if options.get("writes"):
            *_, model, verb = path.split("/")
            override = json.loads(options["content"]).get("parameters", {}).get("config")
            sent.append((model, verb, json.loads(override) if override else None))
        return real(self, method, path, **options)

    monkeypatch.setattr(TritonHttp, "ask", ask)
    return sent


def wanted(released: tuple[str, ...] = (), **models: dict[int, Packaged]) -> DesiredServer:
    return DesiredServer({name: DesiredModel(name, versions) for name, versions in models.items()}, frozenset(released))


def ask(target: TritonTarget, model: str, version: int, x: Any = (1.0, 2.0)) -> Any:
    return target.answer(model, version, {"x": list(x)}).outputs["y"]


def by_hand(server: TritonServer, verb: str, model: str, **config: Any) -> None:
    """Somebody else with the admin key."""
    body = {"parameters": {"config": json.dumps(config)}} if config else {}
    url = f"{server.url}/v2/repository/models/{model}/{verb}"
    httpx.post(url, json=body, headers=server.admin_headers, timeout=60, trust_env=False).raise_for_status()


def put_by_hand(server: TritonServer, model: str, version: int, package: Packaged) -> Path:
    """The package's two model files, copied into a version folder of somebody's own."""
    folder = server.models / model / str(version)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("model.py", "model.onnx"):
        shutil.copyfile(package.path / name, folder / name)
    return folder


def config_of(package: Packaged, *versions: int) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((package.path / "config.json").read_bytes())
    return {**config, "version_policy": {"specific": {"versions": list(versions)}}}


# -- the real Triton


def _gather() -> onnx.ModelProto:
    """`y` = the x-th of two numbers: loads always, fails for any other x."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["numbers", "x"], ["y"])],
        "gather",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(numpy_helper.np.array([5.0, 7.0], dtype="float32"), "numbers")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _shaped(shape: list[Any]) -> onnx.ModelProto:
    """`y = x + 1` of any shape."""
    model = add_model(1.0)
    for value in (*model.graph.input, *model.graph.output):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape))
    return model


def test_every_type_and_shape_is_answered_as_the_graph_does(target: TritonTarget, tmp_path: Path) -> None:
    models = {"text": text_model(), "fixed": _shaped([1, 2]), "bare": _shaped([]), "line": _shaped(["n"])}
    made = {name: build_package(tmp_path / name, model) for name, model in models.items()}
    target.push(wanted(**{name: {1: package} for name, package in made.items()}))
    nan, one = ask(target, "fixed", 1, (None, 1.0))[0]
    assert (nan != nan, one) == (True, 2.0)
    given = target.answer("text", 1, {"text": "Grüße", "number": 2**53 + 1, "flag": True}).outputs
    assert given == {"same": [["Grüße"]], "twice": [[2**54 + 2]], "opposite": [[False]]}
    assert target.answer("bare", 1, {"x": 1.0}).outputs["y"] == [2.0]
    assert target.answer("line", 1, {"x": 1.0}).outputs["y"] == [[2.0]]
    found = target.observe(tuple(made)).models  # the server may hold what other tests loaded
    seen = {name: found[name] for name in made}
    assert {name: one.config_digest for name, one in seen.items()} == {
        name: read_manifest(package.path).interface_digest for name, package in made.items()
    }
    assert {name: one.versions[1].package_digest for name, one in seen.items()} == {
        name: package.digest for name, package in made.items()
    }


def test_one_load_carries_the_whole_configuration_and_none_is_sent_when_all_is_so(
    target: TritonTarget, package: Callable[..., Packaged], commands: list[Any]
) -> None:
    one, two = package(1.0), package(2.0)
    target.push(wanted(add={1: one, 2: two}))
    assert [(model, verb) for model, verb, _ in commands] == [("add", "load")]
    assert commands[0][2] == {**config_of(one, 1, 2), "name": "add"}
    target.push(wanted(add={1: one, 2: two}))
    target.push(wanted(("unknown",), add={1: one, 2: two}))
    assert len(commands) == 1
    target.push(wanted(("add",)))
    target.push(wanted(("add",)))
    assert [(model, verb) for model, verb, _ in commands] == [("add", "load"), ("add", "unload")]


def test_callers_notice_nothing_while_versions_are_switched(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer
) -> None:
    packages = {number: package(float(number)) for number in (1, 2)}
    target.push(wanted(add={1: packages[1]}))
    statuses: list[int] = []
    done = threading.Event()

    def call() -> None:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
        with httpx.Client(base_url=triton_server.url, trust_env=False, timeout=30) as client:
            while not done.is_set() or len(statuses) < 300:
                statuses.append(client.post("/v2/models/add/infer", json=body).status_code)

    caller = threading.Thread(target=call)
    caller.start()
    for versions in ((1, 2), (2,), (1, 2), (1,)):
        target.push(wanted(add={number: packages[number] for number in versions}))
    done.set()
    caller.join()
    assert (set(statuses), len(statuses) >= 300) == ({200}, True)


def test_a_model_loaded_by_hand_is_listed_and_never_touched(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer, commands: list[Any]
) -> None:
    theirs = package(7.0)
    folder = put_by_hand(triton_server, "theirs", 5, theirs)
    by_hand(triton_server, "load", "theirs", **config_of(theirs, 5))
    target.push(wanted(add={1: package(1.0)}))
    target.push(wanted(("add",)))
    assert {model for model, _, _ in commands} == {"add"}
    assert target.observe().models["theirs"].versions[5].state == "ready"
    assert ask(target, "theirs", 5) == [[8.0, 9.0]]
    # Without a folder the index does not name it any more, and it goes on serving.
    shutil.rmtree(folder.parent)
    assert target.observe().models["theirs"].versions[5].state == "ready"


def test_a_triton_that_was_started_anew_says_so_itself_and_one_that_somebody_emptied_does_not(
    package: Callable[..., Packaged], tmp_path: Path, runtimes_dir: Path
) -> None:
    with Supervisor(tmp_path / "group") as group:
        server = start_triton(group, tmp_path / "triton", runtimes.triton(runtimes_dir))
        target, push = connect(server), wanted(add={1: package(1.0)})
        target.push(push)
        by_hand(server, "unload", "add")
        seen = target.observe().models["add"]
        assert (seen.fresh, seen.versions[1].state in ("unloading", "not_loaded")) == (False, True)
        folder, aside = server.models / "add", tmp_path / "aside"
        folder.rename(aside)
        assert "add" not in target.observe().models, "without its folder nothing is claimed"
        aside.rename(folder)
        target.push(push)
        before = server.child.pid
        os.kill(before or 0, signal.SIGKILL)
        until = time.monotonic() + 60
        while server.child.pid in (before, None) or not _answers(target):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert target.observe().models["add"] == SeenModel("add", {}, fresh=True)
        target.push(push)
        assert (target.observe().models["add"].fresh, ask(target, "add", 1)) == (False, [[2.0, 3.0]])


def _answers(target: TritonTarget) -> bool:
    try:
        return target.inspect().live
    except ExternalFailure:
        return False


def test_an_override_that_breaks_every_inference_is_seen_and_mended(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer
) -> None:
    """Triton answers 200 to an override that leaves the inputs out, and the version says that it is ready."""
    one = package(1.0)
    target.push(wanted(add={1: one}))
    by_hand(triton_server, "load", "add", backend="python", version_policy={"specific": {"versions": [1]}})
    seen = target.observe().models["add"]
    assert (seen.versions[1].state, seen.config_digest) != ("ready", read_manifest(one.path).interface_digest)
    with pytest.raises(CountersignError):
        ask(target, "add", 1)
    target.push(wanted(add={1: one}))
    assert target.observe().models["add"].config_digest == read_manifest(one.path).interface_digest
    assert ask(target, "add", 1) == [[2.0, 3.0]]


def test_bytes_that_somebody_exchanged_are_seen_and_what_was_approved_serves_again(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton loads only what is newer than what it has, so that what was approved must not look older, whatever the other
    claims; and a repair that is cut off before its load is finished by the next one.
    """
    one, other = package(1.0), package(100.0)
    target.push(wanted(add={1: one}))
    folder = put_by_hand(triton_server, "add", 1, other)
    for path in (*folder.iterdir(), folder):
        os.utime(path, (1_900_000_000, 1_900_000_000))
    by_hand(triton_server, "load", "add", **config_of(one, 1))
    assert ask(target, "add", 1) == [[101.0, 102.0]]
    assert target.observe(("add",)).models["add"].versions[1].package_digest != one.digest

    def cut_off(*_: Any) -> None:
        raise ExternalFailure("Triton srv", "cannot be reached", retryable=True)

    with monkeypatch.context() as patched, pytest.raises(ExternalFailure):
        patched.setattr(TritonTarget, "_load", cut_off)
        target.push(wanted(add={1: one}))
    assert ask(target, "add", 1) == [[101.0, 102.0]]
    target.push(wanted(add={1: one}))
    assert target.observe(("add",)).models["add"].versions[1].package_digest == one.digest
    assert ask(target, "add", 1) == [[2.0, 3.0]]


@pytest.mark.parametrize("tamper", ["file too many", "file less", "other link", "link to a folder", "gone"])
def test_whatever_changes_in_a_version_folder_changes_its_digest(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer, tmp_path: Path, tamper: str
) -> None:
    one = package(1.0)
    folder = triton_server.models / "add" / "1"
    # Only the folder is looked at, so nothing needs to be loaded: the index names what has a folder.
    storage = target._folder
    storage.place("add", 1, one)
    assert storage.digest("add", 1) == one.digest
    if tamper == "file too many":
        (folder / "more.py").write_text("import os")
    elif tamper == "gone":
        shutil.rmtree(folder)
    else:
        (folder / "__pycache__").unlink()
    if tamper == "other link":
        (tmp_path / "evil").write_text("import os")
        (folder / "__pycache__").symlink_to(tmp_path / "evil")
    if tamper == "link to a folder":
        (folder / "__pycache__").symlink_to(tmp_path)
    assert storage.digest("add", 1) not in (None, one.digest)
    assert storage.place("add", 1, one)
    assert storage.digest("add", 1) == one.digest
    assert digest_tree(tree_files(one.path)) == one.digest


def test_a_new_version_is_asked_its_first_recorded_request_and_taken_back_when_it_cannot_answer(
    target: TritonTarget, triton_server: TritonServer, tmp_path: Path
) -> None:
    good = build_package(tmp_path / "good", _gather(), [({"x": 1}, {"y": 7.0})])
    bad = build_package(tmp_path / "bad", _gather(), [({"x": 9}, {"y": 7.0})])
    unsendable = build_package(tmp_path / "unsendable", _gather(), [({"x": 0.5}, {"y": 7.0})])
    target.push(wanted(pick={1: good}))
    counted = [one.value for one in target.metrics() if (one.metric, one.model) == ("requests_total", "pick")]
    assert counted == [1.0]
    with pytest.raises(Refusal) as refused:
        target.push(wanted(pick={1: good, 2: bad}))
    assert refused.value.code == "not-loadable"
    assert "first recorded request" in refused.value.message
    seen = target.observe().models["pick"].versions
    assert {number for number, one in seen.items() if one.state == "ready"} == {1}
    assert target.answer("pick", 1, {"x": 0}).outputs["y"] == [[5.0]]
    with pytest.raises(Refusal):
        target.push(wanted(new={1: unsendable}))
    assert not (triton_server.models / "new" / "1").exists()
    assert all(one.state != "ready" for one in target.observe().models["new"].versions.values())


def test_why_a_model_does_not_load_is_one_short_line_without_folders(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer
) -> None:
    with pytest.raises(Refusal) as refused:
        target.push(wanted(add={1: package(broken=True)}))
    message = refused.value.message
    assert "INVALID_PROTOBUF" in message
    assert str(triton_server.models.parent) not in message
    assert (message.isprintable(), len(message) < 400) == (True, True)
    assert not (triton_server.models / "add" / "1").exists()


def test_releasing_removes_what_is_ours_and_leaves_what_is_not(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer
) -> None:
    one = package(1.0)
    put_by_hand(triton_server, "add", 1, package(5.0))
    (triton_server.models / "add" / "notes.txt").write_text("keep me")
    target.push(wanted(add={1: one}))
    assert ask(target, "add", 1) == [[2.0, 3.0]]
    target.push(wanted(("add",)))
    left = sorted(path.relative_to(triton_server.models).as_posix() for path in triton_server.models.rglob("*.*"))
    assert [path for path in left if "replaced" not in path] == ["add/notes.txt"]
    (aside,) = (triton_server.models / "add").glob(".1.replaced.*")
    assert {path.name for path in aside.iterdir()} == {"model.py", "model.onnx"}


def test_what_runs_by_hand_can_be_taken_over(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer, tmp_path: Path
) -> None:
    folder = put_by_hand(triton_server, "hand", 3, package(1.0))
    (folder / "__pycache__").touch()
    text = 'backend: "python" max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: 2 } '
    text += 'output { name: "y" data_type: TYPE_FP32 dims: 2 } dynamic_batching {}'
    (folder.parent / "config.pbtxt").write_text(text)
    by_hand(triton_server, "load", "hand")
    kept = tmp_path / "kept"
    kept.mkdir()
    target.copy_out("hand", 3, kept)
    manifest = check_package(kept)
    seen = target.observe(("hand",)).models["hand"]
    assert manifest.runs_code
    assert (seen.config_digest, seen.versions[3].package_digest) == (manifest.interface_digest, packaged(kept).digest)
    target.push(wanted(hand={3: packaged(kept)}))
    after = target.observe(("hand",)).models["hand"]
    assert (after.config_digest, after.versions[3].package_digest) == (seen.config_digest, packaged(kept).digest)
    assert ask(target, "hand", 3) == [[2.0, 3.0]]


def test_nothing_is_claimed_of_a_folder_in_which_python_left_compiled_code(
    target: TritonTarget, package: Callable[..., Packaged], triton_server: TritonServer, tmp_path: Path
) -> None:
    one = package(1.0)
    put_by_hand(triton_server, "hand", 1, one)
    by_hand(triton_server, "load", "hand", **config_of(one, 1))
    assert (triton_server.models / "hand" / "1" / "__pycache__").is_dir()
    assert target.observe(("hand",)).models["hand"].versions[1].package_digest is None
    kept = tmp_path / "kept"
    kept.mkdir()
    target.copy_out("hand", 1, kept)
    assert (kept / "__pycache__").read_bytes() == b""
    shutil.rmtree(triton_server.models / "hand" / "1")
    with pytest.raises(Refusal) as refused:
        target.copy_out("hand", 1, tmp_path)
    assert refused.value.code == "not-importable"


def test_copies_are_made_where_the_server_sees_other_paths(
    triton_server: TritonServer, package: Callable[..., Packaged]
) -> None:
    linking, copying = connect(triton_server), connect(triton_server, repository_on_server="/models")
    one = package(1.0)
    linking._folder.place("add", 1, one)
    folder = triton_server.models / "add" / "1"
    assert all(path.is_symlink() and path.resolve().parent == one.path for path in folder.iterdir())
    copying.push(wanted(add={1: one}))
    assert digest_tree(tree_files(folder)) == one.digest
    assert ask(copying, "add", 1) == [[2.0, 3.0]]
    copying.push(wanted(("add",)))
    assert not folder.parent.exists()


def test_another_folder_than_the_servers_is_told(
    triton_server: TritonServer, target: TritonTarget, package: Callable[..., Packaged], tmp_path: Path
) -> None:
    assert target.inspect().warnings == ()
    (triton_server.models / "theirs").mkdir()
    elsewhere = connect(triton_server, model_repository=str(tmp_path))
    assert "is it the folder" in elsewhere.inspect().warnings[0]
    with pytest.raises(Refusal) as refused:
        elsewhere.push(wanted(other={1: package(1.0)}))
    assert refused.value.code == "not-in-repository"
    assert not (tmp_path / "other" / "1").exists()
    absent = connect(triton_server, model_repository=str(tmp_path / "absent"))
    assert "cannot be written" in absent.inspect().warnings[0]
    assert absent._folder.digest("add", 1) is None
    with pytest.raises(ExternalFailure):
        absent.push(wanted(other={1: package(1.0)}))


def test_a_wrong_key_is_refused_with_what_to_do(triton_server: TritonServer, package: Callable[..., Packaged]) -> None:
    settings = {"url": triton_server.url, "model_repository": str(triton_server.models)}
    for key in (None, "wrong"):
        stranger = TritonTarget.connect(settings, Access("srv", key, Guard(LOOPBACK)))
        for verb in (stranger.inspect, stranger.observe, lambda one=stranger: one.push(wanted(add={1: package()}))):
            with pytest.raises(Refusal) as refused:
                verb()
            assert refused.value.code == "server-access"
            assert "wrong" not in str(refused.value)


def test_names_and_versions_that_cannot_be_served_are_refused_before_anything_is_called(
    package: Callable[..., Packaged],
) -> None:
    one = package()
    nobody = TritonTarget.connect({"url": "http://127.0.0.1:1", "model_repository": "/nowhere"}, Access("srv", None, Guard()))
    for name, versions, code in (
        ("../add", {1: one}, "bad-served-name"),
        ("", {1: one}, "bad-served-name"),
        ("add", {0: one}, "bad-version"),
        ("add", {}, "nothing-wanted"),
        ("add", {1: Packaged(one.digest, one.path / "absent")}, "package-damaged"),
    ):
        with pytest.raises(Refusal) as refused:
            nobody.push(DesiredServer({name: DesiredModel(name, versions)}))
        assert refused.value.code == code


def test_a_model_folder_that_leads_elsewhere_is_not_written_to(
    triton_server: TritonServer, target: TritonTarget, package: Callable[..., Packaged], tmp_path: Path
) -> None:
    (triton_server.models / "add").symlink_to(tmp_path)
    with pytest.raises(Refusal) as refused:
        target.push(wanted(add={1: package(1.0)}))
    (triton_server.models / "add").unlink()
    assert refused.value.code == "folder-is-a-link"
    assert not (tmp_path / "1").exists()


# -- figures


def test_figures_are_those_that_the_official_parser_reads(target: TritonTarget, package: Callable[..., Packaged]) -> None:
    target.push(wanted(add={1: package(1.0), 2: package(2.0)}))
    for _ in range(3):
        ask(target, "add", 2)
    with pytest.raises(CountersignError):
        ask(target, "add", 2, (1.0, 2.0, 3.0))
    text = httpx.get(target._settings.metrics_url or "", trust_env=False).text
    oracle = {
        (sample.name, sample.labels.get("model"), sample.labels.get("version"), sample.labels.get("quantile", "")): sample.value
        for family in prometheus_client.parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    found = {(one.metric, one.model, one.version, one.labels.get("quantile", "")): one.value for one in read_series(text)}
    assert found["requests_total", "add", 2, ""] == oracle["nv_inference_request_success_total", "add", "2", ""] == 3
    for quantile in ("0.5", "0.9", "0.99"):
        expected = oracle["nv_inference_request_summary_us", "add", "2", quantile] / 1e6
        assert found["latency_seconds", "add", 2, quantile] == pytest.approx(expected)
        assert ("latency_seconds", "add", 1, quantile) not in found  # Triton prints Nan
    seconds = oracle["nv_inference_request_duration_us_total", "add", "2", ""] / 1e6
    assert found["request_seconds_total", "add", 2, ""] == pytest.approx(seconds)
