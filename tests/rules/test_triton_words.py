"""Triton's requests, answers, figures and reasons as text, hostile ones included."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.core.errors import Refusal
from backend.delivery.targets.triton_http import short
from backend.delivery.targets.triton_metrics import read_series
from backend.delivery.targets.triton_tensors import outputs_of, request_body


def _config(data_type: str, *dims: int, rows: int = 8) -> dict[str, Any]:
    return {"max_batch_size": rows, "input": [{"name": "x", "data_type": f"TYPE_{data_type}", "dims": list(dims)}]}


@pytest.mark.parametrize(
    ("config", "value", "shape", "data"),
    [
        (_config("FP32", 2), [1, 2.5], [1, 2], [1, 2.5]),
        (_config("FP32", 2), [[1, 2]], [1, 2], [1, 2]),
        (_config("INT64", 1), 3.0, [1, 1], [3]),
        (_config("STRING", 1), "a", [1, 1], ["a"]),
        (_config("BOOL", 1), True, [1, 1], [True]),
        (_config("FP64", -1), [1, 2, 3], [1, 3], [1, 2, 3]),
        (_config("FP32", -1, 2, rows=0), [1, 2], [1, 2], [1, 2]),
        (_config("FP32", -1, -1, rows=0), [[1, 2], [3, 4]], [2, 2], [1, 2, 3, 4]),
        (_config("FP32", -1, -1, rows=0), [0], [1, 1], [0]),
    ],
)
def test_a_row_is_sent_in_the_shape_that_the_model_takes(config: Any, value: Any, shape: list[int], data: list[Any]) -> None:
    (sent,) = json.loads(request_body(config, {"x": value}))["inputs"]
    assert (sent["shape"], sent["data"]) == (shape, data)


@pytest.mark.parametrize(
    ("config", "inputs"),
    [
        (_config("FP32", 2), {"x": [1.0]}),
        (_config("FP32", 2), {"x": ["a", "b"]}),
        (_config("FP32", 1), {"x": True}),
        (_config("INT64", 1), {"x": 1.5}),
        (_config("INT64", 1), {"x": float("nan")}),
        (_config("INT64", 1), {"x": float("inf")}),
        (_config("BOOL", 1), {"x": 1}),
        (_config("STRING", 1), {"x": 1}),
        (_config("FP16", 1), {"x": 1.0}),
        (_config("FP32", 0), {"x": 1.0}),
        (_config("FP32", 1), {"z": 1.0}),
        (_config("FP32", -1), {"x": [0.0] * 1_000_001}),
    ],
)
def test_a_value_of_another_kind_is_not_sent(config: Any, inputs: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        request_body(config, inputs)
    assert refused.value.code == "bad-inputs"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"null",
        b'{"outputs": 3}',
        b'{"outputs": [{"name": "y", "shape": [2, 2], "data": [1, 2, 3]}]}',
        b'{"outputs": [{"name": "y", "shape": [-1, -3], "data": [1, 2, 3]}]}',
        b'{"outputs": [{"name": "y", "shape": ["a"], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "shape": [1' + b", 1" * 5000 + b'], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "shape": [1]}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_said_to_be_none(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        outputs_of(answer)


def test_hostile_figures_are_passed_over() -> None:
    text = "\n".join(
        [
            'nv_inference_request_success{model="a",version="1"} 5',
            'nv_inference_request_failure{model="a",reason="OTHER",version="1"} 1',
            'nv_inference_request_failure{model="a",reason="BACKEND",version="1"} 2',
            'nv_inference_request_success{model="q\\"}\\\\\\n{",version="2"} 7',
            'nv_inference_request_success{model="a",version="x"} 1',
            'nv_inference_request_success{model="a",version="' + "9" * 40 + '"} 1',
            'nv_inference_request_success{version="1"} 1',
            'nv_inference_request_summary_us{model="a",version="1",quantile="0.5"} Nan',
            'nv_inference_request_success{model="b",version="1"} +Inf',
            'nv_inference_request_success{model="b",version="1"} many',
            "nv_inference_request_success 3",
            "nv_inference_request_success{",
            'other{model="a",version="1"} 5',
        ]
    )
    found = {(one.metric, one.model, one.version): one.value for one in read_series(text)}
    assert found == {
        ("requests_total", "a", 1): 8.0,
        ("failures_total", "a", 1): 3.0,
        ("requests_total", 'q"}\\\n{', 2): 7.0,
    }


def test_reasons_keep_file_names_and_lose_folders() -> None:
    assert short("Load model from /srv/models/add/9/model.onnx failed:\n\nAt:\n  /usr/lib/x.py(34): run\n;\n") == (
        "Load model from model.onnx failed: At: x.py(34): run"
    )
    assert short("see https://example.com/a/b and a/b") == "see https://example.com/a/b and a/b"
