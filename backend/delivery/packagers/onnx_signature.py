"""An ONNX graph's inputs and outputs, and what a Triton configuration says of them. The parsing is done in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import Refusal
from backend.delivery.packagers import onnx_graph

MAX_MODEL_BYTES = 1 << 30
MAX_ROWS = 64
"""Rows in one request, where the graph takes any number."""
_SECONDS = 180
_MEMORY_BYTES = 6 << 30
_EXTERNAL = "external data"
_TYPES = {
    "FLOAT": "TYPE_FP32",
    "DOUBLE": "TYPE_FP64",
    "FLOAT16": "TYPE_FP16",
    "STRING": "TYPE_STRING",
    "BOOL": "TYPE_BOOL",
    **{f"{sign}INT{bits}": f"TYPE_{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}

Dimension = int | str | None


@dataclass(frozen=True)
class Tensor:
    """One input or output. A dimension is a number, a name, or None for any number that nobody named."""

    name: str
    type: str
    shape: tuple[Dimension, ...]


@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def takes_rows(self) -> bool:
        """Whether each first dimension is one and the same free number: the rows of a batch."""
        if not all(one.shape and not isinstance(one.shape[0], int) for one in (*self.inputs, *self.outputs)):
            return False
        return len({one.shape[0] for one in self.inputs} - {None}) <= 1

    def config(self) -> dict[str, Any]:
        """`max_batch_size`, `input` and `output` of a Triton configuration; 0 means that every dimension is written out."""
        rows = self.takes_rows
        return {
            "max_batch_size": MAX_ROWS if rows else 0,
            "input": [_described(one, rows) for one in self.inputs],
            "output": [_described(one, rows) for one in self.outputs],
        }


def read_signature(model: Path) -> Signature:
    """Reads the graph in a file. Refusal `bad-onnx` that says what to do, for whatever cannot be served."""
    if model.stat().st_size > MAX_MODEL_BYTES:
        raise _refused(f"it is larger than {MAX_MODEL_BYTES >> 20} MiB")
    found = _read_apart(model)
    if "problem" in found:
        raise _refused(str(found["problem"]))
    return Signature(*(tuple(_tensor(one) for one in found[side]) for side in ("inputs", "outputs")))


def _read_apart(model: Path) -> dict[str, Any]:
    """`-P` keeps the script's own folder off the import path; the file is opened there and nowhere else."""
    command = [sys.executable, "-P", onnx_graph.__file__, str(model.absolute()), str(_MEMORY_BYTES)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603 - our own script
    except subprocess.TimeoutExpired as error:
        raise _refused("reading it takes too long") from error
    if done.returncode != 0:
        raise _refused("it needs more memory or time to read than a graph should")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _tensor(found: dict[str, Any]) -> Tensor:
    if found["type"] not in _TYPES:
        raise _refused(f"{found['name']} has the type {found['type']}, which cannot be served")
    return Tensor(found["name"], _TYPES[found["type"]], tuple(found["shape"]))


def _described(tensor: Tensor, rows: bool) -> dict[str, Any]:
    shape = tensor.shape[1:] if rows else tensor.shape
    # Triton has no tensor without dimensions; the runner takes the one of size 1 away again.
    dims = [one if isinstance(one, int) else -1 for one in shape] or [1]
    return {"name": tensor.name, "data_type": tensor.type, "dims": dims}


def _refused(reason: str) -> Refusal:
    return Refusal(f"This ONNX graph cannot be served: {reason}.", _remedy(reason), code="bad-onnx")


def _remedy(reason: str) -> str:
    if _EXTERNAL in reason:
        return "Log the model in one file, with mlflow.onnx.log_model(..., save_as_external_data=False)."
    if "sequence" in reason or "map" in reason:
        return "Export it with plain tensors (skl2onnx: options={'zipmap': False}) and register that version."
    if "no shape" in reason:
        return "Run onnx.shape_inference.infer_shapes on it before logging, and register that version."
    return "Export the model again so that onnx.checker.check_model accepts it, and register that version."
