"""The normal form of a Triton configuration: equal for what means the same, and for nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from backend.core.errors import Refusal
from backend.delivery.packagers.triton_config import interface_digest, normal_form, parse_text, seen_digest

CONFIG_TEXT = """
backend: "python"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y", data_type: TYPE_FP32, dims: 2 } ]  # both ways of writing a list
"""

REPORTED = {
    "name": "add",
    "platform": "",
    "backend": "python",
    "runtime": "",
    "version_policy": {"specific": {"versions": [1, 2]}},
    "max_batch_size": 8,
    "input": [
        {
            "name": "x",
            "data_type": "TYPE_FP32",
            "format": "FORMAT_NONE",
            "dims": [2],
            "is_shape_tensor": False,
            "optional": False,
        }
    ],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2], "label_filename": "", "is_shape_tensor": False}],
    "batch_input": [],
    "batch_output": [],
    "optimization": {
        "priority": "PRIORITY_DEFAULT",
        "input_pinned_memory": {"enable": True},
        "output_pinned_memory": {"enable": True},
        "gather_kernel_buffer_threshold": 0,
    },
    "instance_group": [{"name": "add_0", "kind": "KIND_CPU", "count": 1, "gpus": [], "host_policy": ""}],
    "default_model_filename": "model.py",
    "cc_model_filenames": {},
    "parameters": {},
    "model_warmup": [],
}
"""As Triton 2.51 reports the configuration of CONFIG_TEXT (shortened)."""


def test_what_triton_reports_is_what_the_package_asks_for() -> None:
    asked = interface_digest(parse_text(CONFIG_TEXT.encode()))
    assert seen_digest(REPORTED) == asked
    assert interface_digest(normal_form(REPORTED)) == asked


@pytest.mark.parametrize(
    "change",
    [
        {"max_batch_size": 4},
        {"backend": "other"},
        {"dynamic_batching": {}},
        {"instance_group": [{"kind": "KIND_CPU", "count": 2}]},
        {"instance_group": [{"kind": "KIND_GPU", "count": 1, "gpus": [0]}]},
        {"parameters": {"a": {"string_value": ""}}},
        {"optimization": {"input_pinned_memory": {"enable": False}}},
        {"default_model_filename": "other.py"},
        {"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]},
        {"a_field_of_2030": 1},
        {"a_field_of_2030": {"nested": [1e300]}},
        {"max_batch_size": "many"},
    ],
)
def test_every_change_of_the_configuration_is_seen(change: dict[str, Any]) -> None:
    assert seen_digest({**REPORTED, **change}) != seen_digest(REPORTED)


def test_what_a_newer_triton_adds_and_leaves_at_its_default_is_passed_over() -> None:
    newer = {**REPORTED, "a_field_of_2030": 0, "another": {}}
    newer["input"] = [{**REPORTED["input"][0], "a_third": False}]  # type: ignore[index]
    assert seen_digest(newer) == seen_digest(REPORTED)


def test_an_empty_choice_is_a_choice_and_order_is_none() -> None:
    one = parse_text(b'backend: "python" max_batch_size: 8 dynamic_batching {} input {name: "a"} input {name: "b"}')
    two = {**one, "dynamic_batching": {"preferred_batch_size": [8]}, "input": [{"name": "b"}, {"name": "a"}]}
    assert normal_form(one) == normal_form(two)
    assert "dynamic_batching" in normal_form(one)


@pytest.mark.parametrize(
    "text",
    [
        b'name: "a" name: "b"',
        b"max_batch_size: 0 max_batch_size: 8",
        b'parameters { key: "a" } parameters { key: "a" }',
        b"dynamic_batching {} sequence_batching {}",
        b"max_batch_size: 99999999999",
        b"max_batch_size: 1.5",
        b"input { data_type: TYPE_SURPRISE }",
        b"input { data_type: 99 }",
        b"sequence_batching { direct { minimum_slot_utilization: nan } }",
        b"[type.googleapis.com/x] {}",
        b"input {" * 100_000,
        b'name: "\xff"',
        b"1: 2",
        b'name: "' + b"a" * (2 << 20) + b'"',
    ],
)
def test_a_text_that_can_be_read_in_two_ways_or_in_none_is_refused(text: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        parse_text(text)
    assert refused.value.code == "bad-config"
    assert len(refused.value.message) < 260
