"""Tiny real ONNX models and the packages made of them: `y = x + offset`, and one that takes text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backend.core.canonical import digest_bytes, digest_tree, tree_files
from backend.delivery.desired import Packaged
from backend.delivery.packages import Manifest


def add_model(offset: float = 1.0, width: int = 2) -> onnx.ModelProto:
    """`y = x + offset` over FP32 rows of `width`."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "offset"], ["y"])],
        "add",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(np.array([offset], dtype=np.float32), "offset")],
    )
    return _model(graph)


def text_model() -> onnx.ModelProto:
    """`same = text`, `twice = number * 2` over one text, one INT64 and one BOOL column."""
    column: list[str | int | None] = ["batch", 1]
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["text"], ["same"]),
            helper.make_node("Add", ["number", "number"], ["twice"]),
            helper.make_node("Not", ["flag"], ["opposite"]),
        ],
        "text",
        [
            helper.make_tensor_value_info("text", TensorProto.STRING, column),
            helper.make_tensor_value_info("number", TensorProto.INT64, column),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, column),
        ],
        [
            helper.make_tensor_value_info("same", TensorProto.STRING, column),
            helper.make_tensor_value_info("twice", TensorProto.INT64, column),
            helper.make_tensor_value_info("opposite", TensorProto.BOOL, column),
        ],
    )
    return _model(graph)


def write_package(folder: Path, offset: float = 1.0, interface: str = "add", broken: bool = False) -> Packaged:
    """A package that the in-memory target loads, without a packager: for tests of rooms above delivery."""
    folder.mkdir(parents=True)
    content = b"this is not a graph" if broken else add_model(offset).SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(content)
    Manifest(
        packager="tests@1",
        target="memory",
        artifact_digest=digest_bytes(content),
        interface_digest=digest_bytes(interface.encode()),
    ).write(folder)
    return Packaged(digest_tree(tree_files(folder)), folder)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
