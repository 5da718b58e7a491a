"""What an artifact's papers say, read as bounded text. The MLmodel files are MLflow 3.17's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import Refusal
from backend.registry.signatures import Papers, parse_yaml, read_papers

PYFUNC = """\
flavors:
  python_function:
    cloudpickle_version: 3.1.2
    code: null
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.pyfunc.model
    python_model: python_model.pkl
    python_version: 3.11.7
    streamable: false
mlflow_version: 3.17.2
model_id: null
saved_input_example_info:
  artifact_path: input_example.json
  pandas_orient: split
  serving_input_path: serving_input_example.json
  type: dataframe
signature:
  inputs: '[{"type": "double", "name": "hour", "required": true}, {"type": "string",
    "name": "carrier", "required": false}, {"type": "array", "items": {"type": "string"}, "name": "tags", "required":
    true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]'
  params: '[{"name": "top_k", "default": 3, "shape": null, "type": "long"}]'
utc_time_created: '2026-11-25 19:06:27.631757'
"""


def papers(folder: Path, mlmodel: str | None = None, requirements: str = "", **files: str) -> Papers:
    if mlmodel is not None:
        (folder / "MLmodel").write_text(mlmodel)
    (folder / "requirements.txt").write_text(requirements)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return read_papers(folder)


def signature(folder: Path, inputs: str) -> Any:
    return papers(folder, f"signature:\n  inputs: '{inputs}'\n").signature


def test_a_signature_is_read_with_types_and_shapes(tmp_path: Path) -> None:
    found = papers(tmp_path, PYFUNC, input_example__json="{}")
    assert found.signature == {
        "inputs": [
            {"name": "hour", "type": "double", "required": True},
            {"name": "carrier", "type": "string", "required": False},
            {"name": "tags", "type": "array(string)", "required": True},
        ],
        "outputs": [{"name": "", "type": "tensor(float32)", "required": True, "shape": [-1, 3]}],
        "params": [{"name": "top_k", "type": "long", "required": False}],
    }
    assert found.input_example == "input_example.json"
    assert found.named_pickles == ("python_model.pkl",)


def test_an_input_example_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert papers(tmp_path, PYFUNC).input_example is None
    (tmp_path / "sub").mkdir()
    for place in ("../MLmodel", "/etc/passwd", "sub", ".", ""):
        elsewhere = PYFUNC.replace("artifact_path: input_example.json", f"artifact_path: '{place}'")
        assert papers(tmp_path / "sub", elsewhere).input_example in (None, "MLmodel")


def test_only_flavours_that_pickle_name_pickles(tmp_path: Path) -> None:
    sklearn = "flavors:\n  sklearn:\n    pickled_model: model.bin\n    serialization_format: {}\n"
    assert papers(tmp_path, sklearn.format("cloudpickle")).named_pickles == ("model.bin",)
    assert papers(tmp_path, sklearn.format("skops")).named_pickles == ()
    assert papers(tmp_path, "flavors:\n  python_function:\n    python_model: code.py\n").named_pickles == ()


def test_no_papers_say_nothing(tmp_path: Path) -> None:
    assert read_papers(tmp_path) == Papers()


@pytest.mark.parametrize(
    "broken",
    [
        "a: &x [1]\nb: *x\n",
        "a: 1\na: 2\n",
        "!!python/object/apply:os.system [echo]\n: x",
        "a: [",
        "- a list\n",
        "just text",
        "[" * 100_000,
        "{a: " * 50 + "1" + "}" * 50,
        "".join(f"k{number}:\n" for number in range(110_000)),
        "x" * (1 << 21),
        "\x00",
    ],
)
def test_an_mlmodel_that_cannot_be_read_may_hide_a_pickle(tmp_path: Path, broken: str) -> None:
    found = papers(tmp_path, broken, "numpy==2.4.6")
    assert found == Papers(named_pickles=("MLmodel",), dependencies=("numpy==2.4.6",))


def test_yaml_is_only_mappings_lists_and_strings() -> None:
    assert parse_yaml("a: {b: [1, 0x10, 1:1:1, null, 2001-01-01, ~, yes]}\n---\nc: d\n") == {
        "a": {"b": ["1", "0x10", "1:1:1", "null", "2001-01-01", "~", "yes"]}
    }
    assert parse_yaml("") is None
    with pytest.raises(Refusal) as refused:
        parse_yaml("a: &anchor 1")
    assert refused.value.code == "bad-yaml"


@pytest.mark.parametrize("inputs", ["[", "7", "null", "", '{"a": 1}', "[1, 2]", '[{"name": NaN}]', "[" * 5000])
def test_a_signature_that_is_none_is_none(tmp_path: Path, inputs: str) -> None:
    assert signature(tmp_path, inputs) is None


def test_text_that_no_database_stores_is_replaced(tmp_path: Path) -> None:
    found = signature(tmp_path, '[{"name": "a\\u0000b\\ud800", "type": "x"}]')
    assert found["inputs"][0]["name"] == "a\ufffdb?"
    found["inputs"][0]["name"].encode()


def test_dependencies_are_names_with_pins_and_never_addresses(tmp_path: Path) -> None:
    text = """\
# a comment
numpy==2.4.6
Pandas >= 2.2, <3.1  # a reason
uvicorn[standard]==0.30 ; python_version > "3.8"
private @ https://user:secret@example.com/private.whl
https://user:secret@example.com/other.whl
git+ssh://git@example.com/repo
--hash=sha256:abc
-r other.txt
./wheels/local.whl
numpy==2.4.6
torch==2.1.0+cu118
"""
    found = papers(tmp_path, None, text).dependencies
    assert found == ("numpy==2.4.6", "Pandas>=2.2,<3.1", "private", "torch==2.1.0+cu118", "uvicorn==0.30")
    assert "secret" not in str(found)


def test_hostile_requirements_end_in_time(tmp_path: Path) -> None:
    found = papers(tmp_path, None, "a" + "=!" * 400_000 + "\n" + "b[" * 100_000 + "\n" + "x\n" * 100_000).dependencies
    assert len(found) <= 2000
