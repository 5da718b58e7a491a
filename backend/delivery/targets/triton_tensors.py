"""One row as an Open Inference Protocol request, typed by the model's configuration, and the answer to it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from backend.core.errors import Refusal

MAX_VALUES = 1_000_000
_MAX_RANK = 16
_FLOATS = {"FP32", "FP64"}
_WHOLE = {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}


def request_body(config: Mapping[str, Any], inputs: Mapping[str, Any]) -> bytes:
    """The request for one row. A missing number is the token NaN, which Triton reads though JSON has no word for it.

    Refusal `bad-inputs` for a name that the model does not have, and for a value of another type or size.
    """
    tensors = {str(one["name"]): one for one in config["input"]}
    if unknown := sorted(set(inputs) - set(tensors)):
        raise _bad_inputs(f"the model has no input {unknown[0]!r}")
    leading = [1] if config.get("max_batch_size", 0) > 0 else []
    return json.dumps({"inputs": [_tensor(tensors[name], value, leading) for name, value in inputs.items()]}).encode()


def outputs_of(body: bytes) -> dict[str, Any]:
    """Outputs by name, as nested lists. ValueError when the answer is not one."""
    try:
        answer = json.loads(body)  # NaN is an answer too
        return {str(one["name"]): _nested(one["data"], [int(size) for size in one["shape"]]) for one in answer["outputs"]}
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("not an answer") from error


def _tensor(described: Mapping[str, Any], value: Any, leading: list[int]) -> dict[str, Any]:
    name = str(described["name"])
    datatype = str(described["data_type"]).removeprefix("TYPE_").replace("STRING", "BYTES")
    flat = _flat(value)
    shape = _shape([int(size) for size in described["dims"]], flat, value)
    if shape is None:
        raise _bad_inputs(f"{name} has {len(flat)} value(s), the model takes {list(described['dims'])}")
    return {"name": name, "datatype": datatype, "shape": leading + shape, "data": [_typed(name, datatype, one) for one in flat]}


def _shape(dims: list[int], flat: Sequence[Any], value: Any) -> list[int] | None:
    """The dimensions with the free ones filled in: as the value is nested, else the last of them from the number of values."""
    nested = _nesting(value)
    fits = len(nested) == len(dims) and all(want in (-1, have) for want, have in zip(dims, nested, strict=True))
    if fits and math.prod(nested) == len(flat):
        return nested
    fixed = math.prod(size for size in dims if size != -1)
    free = [place for place, size in enumerate(dims) if size == -1]
    if not fixed or len(flat) % fixed or (not free and fixed != len(flat)):
        return None
    return [len(flat) // fixed if free and place == free[-1] else max(size, 1) for place, size in enumerate(dims)]


def _nesting(value: Any) -> list[int]:
    found = []
    while isinstance(value, list | tuple):
        found.append(len(value))
        value = value[0] if value else None
    return found


def _flat(value: Any) -> list[Any]:
    found: list[Any] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | tuple):
            waiting += reversed(part)
        else:
            found.append(part)
        if len(found) + len(waiting) > MAX_VALUES:
            raise _bad_inputs(f"more than {MAX_VALUES} values are not sent")
    return found


def _typed(name: str, datatype: str, value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if datatype == "BYTES" and isinstance(value, str):
        return value
    if datatype == "BOOL" and isinstance(value, bool):
        return value
    if datatype in _FLOATS and (is_number or value is None):
        return math.nan if value is None else value
    if datatype in _WHOLE and is_number and value == value // 1:
        return int(value)
    raise _bad_inputs(f"{name} is {datatype}, which {value!r:.40} is not")


def _nested(data: Any, shape: Sequence[int]) -> Any:
    if not isinstance(data, list) or len(shape) > _MAX_RANK or min(shape, default=0) < 0 or math.prod(shape) != len(data):
        raise ValueError("the data does not fill its shape")
    for size in reversed(shape[1:]):
        data = [data[start : start + size] for start in range(0, len(data), size)] if size else []
    return data if shape else data[0]


def _bad_inputs(reason: str) -> Refusal:
    return Refusal(f"This request cannot be sent: {reason}.", "Give each input by its name, one row.", code="bad-inputs")
