"""Packagers: the same bytes from the same artifact, and a plain refusal for whatever cannot be served.

That the packages are ones which a real Triton loads is in test_targets.py and test_triton.py.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from backend.core.canonical import canonical, digest_bytes, digest_file, digest_tree, tree_files
from backend.core.errors import Refusal
from backend.delivery.packagers import onnx_signature
from backend.delivery.packagers.check import check_package
from backend.delivery.packagers.names import PACKAGERS, choose, packagers_for
from backend.delivery.packagers.onnx_memory import OnnxMemoryPackager
from backend.delivery.packagers.onnx_signature import Signature, Tensor
from backend.delivery.packagers.onnx_triton import RUNNER, RUNNERS, OnnxTritonPackager
from backend.delivery.packagers.port import Packager
from backend.delivery.packagers.triton_config import interface_digest, parse_text
from backend.delivery.packagers.triton_entry import TritonRepositoryPackager
from backend.delivery.packages import CONFIG, MANIFEST, PROBES, Manifest, read_json, read_manifest
from backend.delivery.targets.names import TARGETS
from tests.models import add_model, text_model
from tests.packages import write_artifact

PROBE = ({"x": [1.0, 2.0]}, {"y": [2.0, 3.0]})
MLMODEL = "flavors:\n  onnx:\n    code: null\n    data: {}\n    onnx_version: 1.23.2\nmlflow_version: 3.17.2\n"
CONFIG_TEXT = """
backend: "python"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y", data_type: TYPE_FP32, dims: 2 } ]  # both ways of writing a list
"""


def build(packager: Packager, artifact: Path, package: Path) -> Path:
    package.mkdir()
    packager.build(artifact, package)
    return package


def entry(folder: Path, config: str = CONFIG_TEXT, files: Mapping[str, str] | None = None) -> Path:
    """A Triton model folder with a configuration and these files; a Python model as version 1 when none are named."""
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    for name, content in (files if files is not None else {"1/model.py": "class TritonPythonModel: ..."}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


# -- what holds for every packager


@pytest.fixture(params=["onnx-triton", "onnx-memory", "triton-repository"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Packager, Path]:
    if request.param == "triton-repository":
        return TritonRepositoryPackager(), entry(tmp_path / "entry")
    packager = OnnxTritonPackager() if request.param == "onnx-triton" else OnnxMemoryPackager()
    return packager, write_artifact(tmp_path / "artifact", add_model(), [PROBE])


def test_the_same_artifact_gives_the_same_bytes(case: tuple[Packager, Path], tmp_path: Path) -> None:
    packager, artifact = case
    copy = tmp_path / "somewhere" / "else"
    shutil.copytree(artifact, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    first, second = build(packager, artifact, tmp_path / "one"), build(packager, copy, tmp_path / "two")
    assert tree_files(first) == tree_files(second)


def test_a_package_says_who_built_it_from_what_for_which_kind_of_server(case: tuple[Packager, Path], tmp_path: Path) -> None:
    packager, artifact = case
    package = build(packager, artifact, tmp_path / "package")
    manifest = check_package(package)
    assert (manifest.packager, manifest.target) == (packager.kind, packager.target)
    assert manifest.artifact_digest == digest_tree(tree_files(artifact))
    assert manifest.interface_digest == interface_digest(read_json(package / CONFIG))
    assert not {"name", "version_policy"} & set(read_json(package / CONFIG))


def test_every_byte_of_the_artifact_counts(case: tuple[Packager, Path], tmp_path: Path) -> None:
    packager, artifact = case
    before = read_manifest(build(packager, artifact, tmp_path / "one"))
    (artifact / "README.md").write_text("nothing that runs")
    after = read_manifest(build(packager, artifact, tmp_path / "two"))
    assert before.artifact_digest != after.artifact_digest
    assert before.interface_digest == after.interface_digest


def test_a_link_in_an_artifact_is_refused(case: tuple[Packager, Path], tmp_path: Path) -> None:
    packager, artifact = case
    (artifact / "link").symlink_to("/etc/passwd")
    with pytest.raises(Refusal) as refused:
        build(packager, artifact, tmp_path / "package")
    assert refused.value.code == "not-a-regular-file"


def test_packagers_are_chosen_by_what_the_artifact_is(tmp_path: Path) -> None:
    graph = write_artifact(tmp_path / "graph", add_model())
    assert choose(graph, "triton").kind == OnnxTritonPackager.kind
    assert choose(graph, "memory").kind == OnnxMemoryPackager.kind
    assert choose(entry(tmp_path / "entry"), "triton").kind == TritonRepositoryPackager.kind
    (graph / "config.pbtxt").write_text('backend: "onnxruntime"')
    assert choose(graph, "triton").kind == TritonRepositoryPackager.kind


def test_what_no_packager_takes_is_refused_with_what_each_lacks(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"pickled")
    with pytest.raises(Refusal) as refused:
        choose(tmp_path, "triton")
    assert refused.value.code == "not-packageable"
    assert "model.onnx" in refused.value.message
    assert "config.pbtxt" in refused.value.message
    with pytest.raises(Refusal) as unknown:
        packagers_for("tritonn")
    assert unknown.value.code == "unknown-target"


def test_every_kind_is_one_of_a_kind_and_for_a_target_that_exists() -> None:
    assert len({packager.kind for packager in PACKAGERS}) == len(PACKAGERS)
    assert {packager.target for packager in PACKAGERS} == set(TARGETS)


# -- from ONNX


def test_the_runner_is_the_one_that_this_version_of_the_packager_promises() -> None:
    """Another runner under the same name would give other bytes for the same artifact: count the packager's version up."""
    assert RUNNERS[OnnxTritonPackager.kind] == digest_file(RUNNER)


def test_an_onnx_package_is_one_version_folder_for_triton(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "artifact", text_model())
    package = build(OnnxTritonPackager(), artifact, tmp_path / "package")
    assert {file.path for file in tree_files(package)} == {"model.py", "model.onnx", "__pycache__", CONFIG, MANIFEST}
    assert (package / "model.onnx").read_bytes() == (artifact / "model.onnx").read_bytes()
    assert read_json(package / CONFIG) == {
        "backend": "python",
        "max_batch_size": 64,
        "input": [
            {"name": "flag", "data_type": "TYPE_BOOL", "dims": [1]},
            {"name": "number", "data_type": "TYPE_INT64", "dims": [1]},
            {"name": "text", "data_type": "TYPE_STRING", "dims": [1]},
        ],
        "output": [
            {"name": "opposite", "data_type": "TYPE_BOOL", "dims": [1]},
            {"name": "same", "data_type": "TYPE_STRING", "dims": [1]},
            {"name": "twice", "data_type": "TYPE_INT64", "dims": [1]},
        ],
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        "default_model_filename": "model.py",
    }
    assert not read_manifest(package).runs_code


def test_weights_and_recorded_answers_do_not_change_the_interface_but_a_shape_does(tmp_path: Path) -> None:
    made = [
        build(OnnxTritonPackager(), write_artifact(tmp_path / f"a{number}", model, probes), tmp_path / f"p{number}")
        for number, (model, probes) in enumerate([(add_model(1.0), []), (add_model(2.0), [PROBE]), (add_model(1.0, 3), [])])
    ]
    one, two, wider = (read_manifest(package) for package in made)
    assert one.interface_digest == two.interface_digest != wider.interface_digest
    assert (one.probes, two.probes and two.probes.count) == (None, 1)
    assert two.probes is not None
    assert two.probes.digest == digest_bytes((made[1] / PROBES).read_bytes())


@pytest.mark.parametrize(
    ("inputs", "outputs", "rows", "dims"),
    [
        ([["batch", 2]], [["batch", 3]], 64, [2]),
        ([[None, 1], [None, 1]], [[None, 2]], 64, [1]),
        ([["n", 1], [None, 4]], [["other", 1]], 64, [1]),
        ([["batch"]], [["batch"]], 64, [1]),
        ([[1, 4]], [[1, 2]], 0, [1, 4]),
        ([["n", 2], ["m", 2]], [["n", 2]], 0, [-1, 2]),
        ([["n", 2], [7]], [["n", 2]], 0, [-1, 2]),
        ([["n", "m"]], [[1]], 0, [-1, -1]),
        ([[]], [[]], 0, [1]),
    ],
)
def test_a_first_dimension_is_a_batch_only_where_all_tensors_share_it(
    inputs: list[list[Any]], outputs: list[list[Any]], rows: int, dims: list[int]
) -> None:
    tensors = [tuple(Tensor(f"t{n}", "TYPE_FP32", tuple(shape)) for n, shape in enumerate(side)) for side in (inputs, outputs)]
    config = Signature(*tensors).config()
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (rows, dims)


def test_the_graph_may_be_where_mlflow_names_it(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "artifact", add_model(), [PROBE])
    (artifact / "data").mkdir()
    for name in ("model.onnx", "probes.json"):
        (artifact / name).rename(artifact / "data" / name.replace("model", "graph"))
    (artifact / "MLmodel").write_text(MLMODEL.format("data/graph.onnx"))
    package = build(OnnxTritonPackager(), artifact, tmp_path / "package")
    assert (package / "model.onnx").exists()
    assert check_package(package).probes is not None


@pytest.mark.parametrize(
    "mlmodel",
    [
        MLMODEL.format("../outside.onnx"),
        MLMODEL.format("/etc/passwd"),
        MLMODEL.format("C:\\model.onnx"),
        MLMODEL.format("absent.onnx"),
        MLMODEL.format("[a, b]"),
        MLMODEL.format("") + "    data: model.onnx\n",
        MLMODEL.format("a.onnx") + "flavors:\n  onnx:\n    data: b.onnx\n",
        "flavors: [1]",
        "flavors:\n  python_function:\n    data: outside.onnx",
        "a: &a [x]\nflavors: {onnx: {data: *a}}",
        "    data: ../outside.onnx",
        "!!python/object/apply:os.system ['true']",
        "{" * 500_000,
        "x: \xff",
        "x" * (2 << 20),
    ],
)
def test_a_hostile_or_foreign_description_is_refused(tmp_path: Path, mlmodel: str) -> None:
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (tmp_path / "outside.onnx").write_bytes(add_model().SerializeToString())
    (artifact / "MLmodel").write_text(mlmodel, encoding="latin-1")
    with pytest.raises(Refusal) as refused:
        build(OnnxTritonPackager(), artifact, tmp_path / "package")
    assert refused.value.code == "not-onnx"
    assert list((tmp_path / "package").iterdir()) == []


def _graph(change: Callable[[onnx.ModelProto], Any]) -> bytes:
    model = add_model()
    change(model)
    return model.SerializeToString()


def _sequence(model: onnx.ModelProto) -> None:
    kept = model.graph.output[0].name
    model.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info(kept, TensorProto.FLOAT, ["batch", 2]))


def _external(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")


def _external_in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["z"])], "branch", [], [])
    branch.initializer.add(name="w", data_type=1).external_data.add(key="location", value="weights")
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", branch))


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (b"this is not a graph", "not an ONNX graph"),
        (b"", "holds no graph"),
        (b"\x08\x08", "holds no graph"),
        (_graph(_external), "save_as_external_data=False"),
        (_graph(_external_in_a_branch), "save_as_external_data=False"),
        (_graph(_sequence), "zipmap"),
        (_graph(lambda model: model.graph.output[0].type.tensor_type.ClearField("shape")), "infer_shapes"),
        (_graph(lambda model: model.graph.input[0].ClearField("type")), "without a type"),
        (_graph(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", TensorProto.COMPLEX64)), "COMPLEX64"),
        (_graph(lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 0)), "dimension of 0"),
        (_graph(lambda model: setattr(model.graph.input[0], "name", "a\nb")), "no usable name"),
        (_graph(lambda model: model.graph.input.append(model.graph.input[0])), "one name"),
        (_graph(lambda model: model.graph.ClearField("output")), "0 outputs"),
    ],
)
def test_a_graph_that_cannot_be_served_is_refused_with_what_to_do(tmp_path: Path, graph: bytes, says: str) -> None:
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "model.onnx").write_bytes(graph)
    with pytest.raises(Refusal) as refused:
        build(OnnxTritonPackager(), artifact, tmp_path / "package")
    assert refused.value.code == "bad-onnx"
    assert says in str(refused.value)
    assert list((tmp_path / "package").iterdir()) == []


def test_an_input_with_a_value_of_its_own_needs_not_be_sent(tmp_path: Path) -> None:
    """Before IR version 4 weights are listed among the inputs."""
    model = add_model()
    model.graph.input.append(helper.make_tensor_value_info("offset", TensorProto.FLOAT, [1]))
    package = build(OnnxTritonPackager(), write_artifact(tmp_path / "artifact", model), tmp_path / "package")
    assert [one["name"] for one in read_json(package / CONFIG)["input"]] == ["x"]


def test_a_small_file_that_unfolds_into_gigabytes_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes a node; the limit is lowered so that the test needs little memory itself."""
    monkeypatch.setattr(onnx_signature, "_MEMORY_BYTES", 400 << 20)
    nodes = b"\x0a\x00" * 4_000_000
    length = len(nodes)
    prefix = bytearray(b"\x3a")  # ModelProto.graph
    while length > 127:
        prefix.append(length & 127 | 128)
        length >>= 7
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "model.onnx").write_bytes(bytes(prefix) + bytes([length]) + nodes)
    with pytest.raises(Refusal, match=r"more memory or time|not an ONNX graph"):
        build(OnnxTritonPackager(), artifact, tmp_path / "package")
    monkeypatch.setattr(onnx_signature, "MAX_MODEL_BYTES", 1000)
    with pytest.raises(Refusal, match="larger than"):
        OnnxTritonPackager().build(artifact, tmp_path / "package")


@pytest.mark.parametrize(
    "probes",
    [
        {"schema": 1, "inputs": [{"z": 1.0}], "outputs": [{"y": 1.0}], "tolerance": 0},
        {"schema": 1, "inputs": [{}], "outputs": [{"y": 1.0}], "tolerance": 0},
        {"schema": 1, "inputs": [{"x": 1.0}], "outputs": [{"z": 1.0}], "tolerance": 0},
        {"schema": 1, "inputs": [], "outputs": [], "tolerance": 0},
        [],
    ],
)
def test_recorded_answers_must_be_of_this_model(tmp_path: Path, probes: Any) -> None:
    artifact = write_artifact(tmp_path / "artifact", add_model())
    (artifact / PROBES).write_bytes(canonical(probes))
    with pytest.raises(Refusal) as refused:
        build(OnnxTritonPackager(), artifact, tmp_path / "package")
    assert refused.value.code == "bad-probes"


# -- what is a Triton repository entry already


def test_an_entry_is_taken_as_it_is_and_its_configuration_made_explicit(tmp_path: Path) -> None:
    files = {"1/model.py": "code", "1/sub/words.txt": "a", "1/__pycache__/model.pyc": "left by Python", "MLmodel": "x"}
    package = build(TritonRepositoryPackager(), entry(tmp_path / "entry", files=files), tmp_path / "package")
    assert {file.path for file in tree_files(package)} == {"model.py", "sub/words.txt", "__pycache__", CONFIG, MANIFEST}
    assert (package / "__pycache__").read_bytes() == b""
    config = read_json(package / CONFIG)
    assert (config["instance_group"], config["default_model_filename"]) == ([{"kind": "KIND_CPU", "count": 1}], "model.py")
    assert check_package(package).runs_code


def test_a_version_folder_and_a_json_configuration_are_entries_too(tmp_path: Path) -> None:
    bare = entry(tmp_path / "bare", files={"model.py": "code"})
    model_folder = entry(tmp_path / "folder", files={"3/model.py": "code"})
    written = tmp_path / "json"
    shutil.copytree(bare, written)
    (written / "config.pbtxt").unlink()
    (written / CONFIG).write_text(json.dumps({**parse_text(CONFIG_TEXT.encode()), "name": "anything"}))
    made = [
        build(TritonRepositoryPackager(), one, tmp_path / f"p{number}")
        for number, one in enumerate([bare, model_folder, written])
    ]
    manifests = [read_manifest(package) for package in made]
    assert len({manifest.interface_digest for manifest in manifests}) == 1
    assert len({digest_file(package / "model.py") for package in made}) == 1


def test_a_model_without_code_says_that_it_runs_none(tmp_path: Path) -> None:
    text = (
        'platform: "onnxruntime_onnx" input {name:"x" data_type:TYPE_FP32 dims:1} output {name:"y" data_type:TYPE_FP32 dims:1}'
    )
    package = build(TritonRepositoryPackager(), entry(tmp_path / "entry", text, {"1/model.onnx": "x"}), tmp_path / "p")
    assert not check_package(package).runs_code
    assert (read_json(package / CONFIG)["backend"], (package / "__pycache__").exists()) == ("onnxruntime", False)
    library = entry(tmp_path / "library", text, {"1/model.onnx": "x", "1/libtriton_own.so": "machine code"})
    assert read_manifest(build(TritonRepositoryPackager(), library, tmp_path / "p2")).runs_code


def _parameter(key: str, value: str) -> str:
    return f"parameters {{key: {json.dumps(key)} value {{string_value: {json.dumps(value)}}}}}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("EXECUTION_ENV_PATH", "/mnt/shared/env.tar.gz"),
        ("EXECUTION_ENV_PATH", "env.tar.gz"),
        ("EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY/env.tar.gz"),
        ("execution_env_path", "env"),
        ("TRITON_BATCH_STRATEGY_PATH", "batching.so"),
        ("weights", "/mnt/shared/weights.bin"),
        ("weights", "~/weights.bin"),
        ("weights", "../2/weights.bin"),
        ("weights", "sub/../../other"),
        ("weights", "file:/mnt/weights.bin"),
        ("weights", "FILE:///mnt/weights.bin"),
        ("weights", "s3://bucket/weights.bin"),
        ("weights", "https://example.org/weights.bin"),
        ("weights", "C:\\weights.bin"),
        ("weights", "\\\\host\\share"),
        ("arguments", "--quiet --weights=/mnt/weights.bin"),
        ("json", '{"weights": "/mnt/weights.bin"}'),
    ],
)
def test_a_parameter_that_leads_out_of_the_package_is_refused_by_its_name(tmp_path: Path, key: str, value: str) -> None:
    made = entry(tmp_path / "entry", CONFIG_TEXT + _parameter(key, value))
    with pytest.raises(Refusal) as refused:
        build(TritonRepositoryPackager(), made, tmp_path / "package")
    assert refused.value.code == "not-packageable"
    assert key in str(refused.value)
    assert "outside" in str(refused.value)


def test_a_parameter_of_an_accelerator_that_leads_out_of_the_package_is_refused(tmp_path: Path) -> None:
    cache = 'parameters { key: "trt_engine_cache_path" value: "/mnt/cache" }'
    text = f'optimization {{ execution_accelerators {{ gpu_execution_accelerator {{ name: "tensorrt" {cache} }} }} }}'
    with pytest.raises(Refusal, match="trt_engine_cache_path"):
        build(TritonRepositoryPackager(), entry(tmp_path / "entry", CONFIG_TEXT + text), tmp_path / "package")


@pytest.mark.parametrize(
    "value", ["", "1", "0.5", "yes", "text/plain", "a / b", "12:30", "sub/words.txt", "1..3", "gpu:0", "e.g. x"]
)
def test_a_parameter_that_is_no_place_is_taken(tmp_path: Path, value: str) -> None:
    package = build(
        TritonRepositoryPackager(), entry(tmp_path / "entry", CONFIG_TEXT + _parameter("how", value)), tmp_path / "p"
    )
    assert read_json(package / CONFIG)["parameters"]["how"].get("string_value", "") == value


@pytest.mark.parametrize(
    ("more", "files", "says"),
    [
        ("", {"1/model.py": "", "2/model.py": ""}, "several version folders"),
        ("", {"1/model.py": "", "config.json": '{"backend": "python"}'}, "both"),
        ("", {"1/model.py": "", "labels.txt": ""}, "labels.txt lies beside"),
        ("", {"1/model.py": "", "1/config.json": "{}"}, "rename it"),
        ("", {"1/model.py": "", "1/manifest.json": "{}"}, "rename it"),
        ("", {}, "no model"),
        ('output {name: "z" label_filename: "labels.txt"}', None, "label file"),
        ("ensemble_scheduling {}", None, "ensemble"),
        ('parameters {key: "ENV" value {string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz"}}', None, "outside"),
        ('model_repository_agents { agents { name: "checksum" } }', None, "agent"),
        ('model_operations { op_library_filename: "/tmp/evil.so" }', None, "library"),
        ('model_warmup { inputs { key: "x" value { input_data_file: "raw" } } }', None, "warm-up data"),
        ('sequence_batching { state { initial_state { data_file: "raw" } } }', None, "initial state"),
        ("instance_group { kind: KIND_GPU }", None, "list them in gpus"),
        ('default_model_filename: "../../other/1/model.py"', None, "named by a path"),
        ('runtime: "../../evil.so"', None, "runtime is named by a path"),
        ('surprise: "x"', None, "no field named"),
        ('backend: "python"', None, "multiple"),
    ],
)
def test_an_entry_that_is_more_than_its_version_folder_is_refused(
    tmp_path: Path, more: str, files: dict[str, str] | None, says: str
) -> None:
    with pytest.raises(Refusal) as refused:
        build(TritonRepositoryPackager(), entry(tmp_path / "entry", CONFIG_TEXT + more, files), tmp_path / "package")
    assert refused.value.code in ("not-an-entry", "not-packageable", "bad-config")
    assert says in str(refused.value)


# -- what comes from somewhere else and says that it is a package


def _manifest(package: Path, **change: Any) -> None:
    said = json.loads((package / MANIFEST).read_bytes())
    Manifest.model_validate({**said, **change}).write(package)


@pytest.mark.parametrize(
    "forge",
    [
        lambda package: _manifest(package, interface_digest="sha256:" + "0" * 64),
        lambda package: (package / "model.py").write_text("import os"),
        lambda package: (package / "more.py").write_text("import os"),
        lambda package: (package / "lib.so").write_bytes(b"machine code"),
        lambda package: _manifest(package, packager="triton-repository@1"),
        lambda package: (package / PROBES).unlink(),
        lambda package: (package / PROBES).write_bytes(
            canonical({"schema": 1, "inputs": [PROBE[0]], "outputs": [{"y": [9.0, 9.0]}], "tolerance": 1})
        ),
        lambda package: _manifest(package, probes=None),
        lambda package: (package / CONFIG).unlink(),
        lambda package: (package / CONFIG).write_text('{"backend": "other"}'),
        lambda package: (package / MANIFEST).unlink(),
    ],
)
def test_a_package_that_claims_what_it_does_not_show_is_refused(tmp_path: Path, forge: Callable[[Path], Any]) -> None:
    package = build(OnnxTritonPackager(), write_artifact(tmp_path / "artifact", add_model(), [PROBE]), tmp_path / "package")
    assert not check_package(package).runs_code
    forge(package)
    with pytest.raises(Refusal) as refused:
        check_package(package)
    assert refused.value.code == "bad-package"
