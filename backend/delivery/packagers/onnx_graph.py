"""Reads an ONNX graph's inputs and outputs, as a process of its own: `python -P onnx_graph.py model.onnx BYTES`.

The file comes from outside, and a protobuf of a few megabytes can unfold into gigabytes, so it is parsed where memory and time
are limited and where a crash hurts nobody. Nothing is executed and no other file is opened. Prints one JSON object: the graph's
`inputs` and `outputs`, or `problem`. It stands alone on purpose: standard library and `onnx`, nothing of this project.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from typing import Any

CPU_SECONDS = 120
MAX_TENSORS = 1024
MAX_NAME = 256
MAX_RANK = 16


class Problem(Exception):
    """Why the graph cannot be served, as a sentence without a full stop."""


def main(path: str, memory_bytes: int) -> None:
    """Reads the graph in `path`, in at most so much address space, and prints what it found."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        print(json.dumps(describe(path)))
    except Problem as problem:
        print(json.dumps({"problem": str(problem)}))


def describe(path: str) -> dict[str, Any]:
    """{"inputs": [tensor], "outputs": [tensor]}, a tensor being {"name", "type", "shape"}.

    A dimension is a number, a name, or null where the graph says nothing.
    """
    graph = _parsed(path).graph
    filled = {one.name for one in graph.initializer} | {one.values.name for one in graph.sparse_initializer}
    # Before ONNX's IR version 4 every initializer was an input too, with a value that nobody needs to send.
    inputs = [_tensor("input", one) for one in graph.input if one.name not in filled]
    outputs = [_tensor("output", one) for one in graph.output]
    for side, found in (("input", inputs), ("output", outputs)):
        if not 0 < len(found) <= MAX_TENSORS:
            raise Problem(f"it has {len(found)} {side}s")
        if len({one["name"] for one in found}) != len(found):
            raise Problem(f"two {side}s have one name")
    return {"inputs": inputs, "outputs": outputs}


def _parsed(path: str) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        with open(path, "rb") as stream:
            model = onnx.ModelProto.FromString(stream.read())
    except DecodeError as error:
        raise Problem("it is not an ONNX graph") from error
    if not model.HasField("graph") or not model.graph.node:
        raise Problem("it holds no graph")
    if any(_is_elsewhere(one) for graph in _graphs(model) for one in _tensors(graph)):
        raise Problem("it keeps weights in another file (external data)")
    return model


def _graphs(model: Any) -> Iterator[Any]:
    """Every place with nodes: the graph, those inside its nodes' attributes, and the model's functions."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in (each for node in graph.node for each in node.attribute):
            waiting += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _tensors(graph: Any) -> Iterator[Any]:
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for attribute in (each for node in graph.node for each in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def _is_elsewhere(tensor: Any) -> bool:
    return bool(tensor.data_location == 1 or tensor.external_data)


def _tensor(side: str, value: Any) -> dict[str, Any]:
    from onnx import TensorProto

    name = value.name
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise Problem(f"an {side} has no usable name")
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise Problem(f"the {side} {name} is a {(kind or 'value without a type').removesuffix('_type')}, not a tensor")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise Problem(f"the {side} {name} has no shape")
    if len(tensor.shape.dim) > MAX_RANK:
        raise Problem(f"the {side} {name} has more than {MAX_RANK} dimensions")
    types = {number: written for written, number in TensorProto.DataType.items()}
    return {
        "name": name,
        "type": types.get(tensor.elem_type, "UNDEFINED"),
        "shape": [_dimension(side, name, one) for one in tensor.shape.dim],
    }


def _dimension(side: str, name: str, dimension: Any) -> int | str | None:
    if dimension.WhichOneof("value") != "dim_value":
        return dimension.dim_param[:MAX_NAME] or None
    if dimension.dim_value == 0:
        raise Problem(f"the {side} {name} has a dimension of 0")
    # Some exporters write -1 where they mean "any".
    return int(dimension.dim_value) if dimension.dim_value > 0 else None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
