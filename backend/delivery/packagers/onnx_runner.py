"""Serves the `model.onnx` beside it: Triton's python backend loads this file, and onnxruntime does the work.

Countersign copies it, as it is, into every package that it builds from an ONNX artifact, so that its bytes are part of what
is approved; a change here asks for a new version of the packager. One thread a model instance: Triton runs instances side by
side, and sums in one order give the same answer every time.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # Triton's own, there when this runs


class TritonPythonModel:
    """One version of one model, under the name that the python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the graph of this version. What it raises is the reason that Triton gives for not loading."""
        config = json.loads(args["model_config"])
        leading = 1 if config["max_batch_size"] > 0 else 0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [(one.name, one.type == "tensor(string)", len(one.shape)) for one in self.session.get_inputs()]
        self.ranks = {one["name"]: leading + len(one["dims"]) for one in config["output"]}

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer a request; a request that fails fails alone."""
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        """The answer to one request, with the outputs that it asks for."""
        try:
            feeds = {name: self.feed(request, name, is_text, rank) for name, is_text, rank in self.inputs}
            names = list(request.requested_output_names())
            values = self.session.run(names, feeds)
            return triton.InferenceResponse([self.tensor(name, values[place]) for place, name in enumerate(names)])
        except Exception as error:  # whatever it is, it belongs to this request and not to the others
            return triton.InferenceResponse(error=triton.TritonError(f"{type(error).__name__}: {error}"[:400]))

    def feed(self, request: Any, name: str, is_text: bool, rank: int) -> Any:
        """An input as the graph takes it. A tensor without dimensions, or a row of one number, arrives with one of size 1."""
        value = triton.get_input_tensor_by_name(request, name).as_numpy()
        if is_text:
            texts = [one.decode("utf-8") if isinstance(one, bytes) else str(one) for one in value.reshape(-1)]
            value = np.array(texts, dtype=object).reshape(value.shape)
        return value.reshape(value.shape[:-1]) if value.ndim == rank + 1 and value.shape[-1] == 1 else value

    def tensor(self, name: str, value: Any) -> Any:
        """An output as the configuration describes it; the reverse of `feed`."""
        value = np.asarray(value)
        if value.dtype.kind in "OU":
            texts = [str(one).encode("utf-8") for one in value.reshape(-1)]
            value = np.array(texts, dtype=object).reshape(value.shape)
        return triton.Tensor(name, value.reshape((*value.shape, 1)) if value.ndim + 1 == self.ranks[name] else value)
