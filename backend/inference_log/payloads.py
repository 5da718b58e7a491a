"""What a model was asked and answered, from the bodies of the inference protocols: one row an instance. Pure.

Version 2 (Open Inference Protocol): tensors by name whose first dimension is the batch; a tensor of two dimensions becomes one
feature a column, `NAME.0`, `NAME.1`. Version 1 (TensorFlow Serving's, KServe's default for scikit-learn and XGBoost):
`instances` and `predictions`. Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane (V1, V2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from backend.inference_log.rules import MAX_FEATURES, Malformed

MOST_INSTANCES = 1_000
MOST_VALUES = 1_000_000


def features_of(body: object) -> list[dict[str, Any]]:
    """The features of each instance of a request. Raises Malformed."""
    if isinstance(body, Mapping) and isinstance(body.get("inputs"), list):
        return _rows(body["inputs"])
    if isinstance(body, Mapping) and isinstance(body.get("instances"), list):
        return [_instance(one) for one in _bounded(body["instances"])]
    raise Malformed("the request is neither `inputs` (version 2) nor `instances` (version 1)")


def predictions_of(body: object) -> list[Any]:
    """The prediction of each instance of an answer: a value, or an object where it has several outputs. Raises Malformed."""
    if isinstance(body, Mapping) and isinstance(body.get("outputs"), list):
        return [next(iter(row.values())) if len(row) == 1 else row for row in _rows(body["outputs"])]
    if isinstance(body, Mapping) and isinstance(body.get("predictions"), list):
        found = _bounded(body["predictions"])
        return [one[0] if isinstance(one, list) and len(one) == 1 else one for one in found]
    raise Malformed("the answer is neither `outputs` (version 2) nor `predictions` (version 1)")


def _bounded(found: list[Any]) -> list[Any]:
    if not 0 < len(found) <= MOST_INSTANCES:
        raise Malformed(f"it holds no instances, or more than {MOST_INSTANCES}")
    return found


def _instance(one: Any) -> dict[str, Any]:
    if isinstance(one, Mapping):
        return dict(one)
    if isinstance(one, list):
        return {str(place): value for place, value in enumerate(one)}
    return {"0": one}


def _rows(tensors: Sequence[Any]) -> list[dict[str, Any]]:
    """Tensors by name as one set of values an instance."""
    read = [_tensor(one) for one in tensors[: MAX_FEATURES + 1]]
    sizes = {len(values) for _, values in read}
    if len(read) > MAX_FEATURES or len(sizes) != 1:
        raise Malformed("its tensors are none, too many, or of different batches")
    rows: list[dict[str, Any]] = [{} for _ in range(sizes.pop())]
    for name, values in read:
        for row, value in zip(rows, values, strict=True):
            row.update(_named(name, value))
    return rows


def _named(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, list):
        return {name: value}
    if len(value) == 1:
        return {name: value[0]}
    if len(value) <= MAX_FEATURES and not any(isinstance(one, list) for one in value):
        return {f"{name}.{place}": one for place, one in enumerate(value)}
    return {name: value}


def _tensor(told: Any) -> tuple[str, list[Any]]:
    """A tensor's name, and what it holds of each instance: a value, or a list of them."""
    if not isinstance(told, Mapping) or not isinstance(told.get("name"), str):
        raise Malformed("a tensor has no name")
    if not isinstance(told.get("data"), list):
        raise Malformed("a tensor has no data in JSON: binary tensors are not read")
    shape = told.get("shape")
    if not isinstance(shape, list) or not all(type(one) is int and 0 <= one <= MOST_VALUES for one in shape):
        raise Malformed("a tensor has no shape")
    values = list(islice(_flat(told["data"], 0), MOST_VALUES + 1))
    size = 1
    for one in shape:
        size *= one
        if size > MOST_VALUES:  # before it takes long to multiply
            break
    if size != len(values):
        raise Malformed("a tensor's data is not of its shape, or too large")
    count = shape[0] if shape else 1
    if not 0 < count <= MOST_INSTANCES:
        raise Malformed(f"it holds no instances, or more than {MOST_INSTANCES}")
    width = size // count
    return told["name"], values if width == 1 else [values[place : place + width] for place in range(0, size, width)]


def _flat(data: list[Any], depth: int) -> Iterator[Any]:
    """Row by row; the protocol allows nested lists and flat ones."""
    if depth > 8:
        raise Malformed("a tensor's data is nested too deep")
    for one in data:
        if isinstance(one, list):
            yield from _flat(one, depth + 1)
        else:
            yield one
