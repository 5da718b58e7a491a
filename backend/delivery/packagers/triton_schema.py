"""What a Triton model configuration may say, as a protobuf schema built in code: no Triton package is needed to read one.

Field names, types and enumerators are those of Triton's `model_config.proto` (github.com/triton-inference-server/common, 2025);
field numbers are our own, because only the text and JSON forms are read here. Nothing in it nests in itself, so that its depth
bounds the depth of any document.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = "ModelConfig"
_PACKAGE = "countersign.triton"
_SCALARS = {"double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "uint32": 13}
_MESSAGE, _ENUM = 11, 14
_OPTIONAL, _REPEATED = 1, 3

ENUMS = {
    "DataType": "TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16 TYPE_INT32 "
    "TYPE_INT64 TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16",
    "GroupKind": "KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL",
    "SecondaryDeviceKind": "KIND_NVDLA",
    "Format": "FORMAT_NONE FORMAT_NHWC FORMAT_NCHW",
    "BatchInputKind": "BATCH_ELEMENT_COUNT BATCH_ACCUMULATED_ELEMENT_COUNT BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO "
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE BATCH_ITEM_SHAPE BATCH_ITEM_SHAPE_FLATTEN",
    "BatchOutputKind": "BATCH_SCATTER_WITH_INPUT_SHAPE",
    "Priority": "PRIORITY_DEFAULT PRIORITY_MAX PRIORITY_MIN",
    "TimeoutAction": "REJECT DELAY",
    "ControlKind": "CONTROL_SEQUENCE_START CONTROL_SEQUENCE_READY CONTROL_SEQUENCE_END CONTROL_SEQUENCE_CORRID",
}

# name:type, `*` repeated, `a->b` a map, `/x` member of the oneof x.
MESSAGES = {
    "RateLimiterResource": "name:string global:bool count:uint32",
    "RateLimiter": "resources:*RateLimiterResource priority:uint32",
    "SecondaryDevice": "kind:SecondaryDeviceKind device_id:int64",
    "InstanceGroup": "name:string kind:GroupKind count:int32 rate_limiter:RateLimiter gpus:*int32 "
    "secondary_devices:*SecondaryDevice profile:*string passive:bool host_policy:string",
    "Reshape": "shape:*int64",
    "Input": "name:string data_type:DataType format:Format dims:*int64 reshape:Reshape is_shape_tensor:bool "
    "allow_ragged_batch:bool optional:bool is_non_linear_format_io:bool",
    "Output": "name:string data_type:DataType dims:*int64 reshape:Reshape label_filename:string is_shape_tensor:bool "
    "is_non_linear_format_io:bool",
    "BatchInput": "kind:BatchInputKind target_name:*string data_type:DataType source_input:*string",
    "BatchOutput": "target_name:*string kind:BatchOutputKind source_input:*string",
    "Latest": "num_versions:uint32",
    "All": "",
    "Specific": "versions:*int64",
    "VersionPolicy": "latest:Latest/policy all:All/policy specific:Specific/policy",
    "OptimizationGraph": "level:int32",
    "GraphShape": "dim:*int64",
    "GraphLowerBound": "batch_size:int32 input:string->GraphShape",
    "GraphSpec": "batch_size:int32 input:string->GraphShape graph_lower_bound:GraphLowerBound",
    "Cuda": "graphs:bool busy_wait_events:bool graph_spec:*GraphSpec output_copy_stream:bool",
    "Accelerator": "name:string parameters:string->string",
    "Accelerators": "gpu_execution_accelerator:*Accelerator cpu_execution_accelerator:*Accelerator",
    "PinnedMemory": "enable:bool",
    "Optimization": "graph:OptimizationGraph priority:Priority cuda:Cuda execution_accelerators:Accelerators "
    "input_pinned_memory:PinnedMemory output_pinned_memory:PinnedMemory gather_kernel_buffer_threshold:uint32 "
    "eager_batching:bool",
    "QueuePolicy": "timeout_action:TimeoutAction default_timeout_microseconds:uint64 allow_timeout_override:bool "
    "max_queue_size:uint32",
    "DynamicBatching": "preferred_batch_size:*int32 max_queue_delay_microseconds:uint64 preserve_ordering:bool "
    "priority_levels:uint64 default_priority_level:uint64 default_queue_policy:QueuePolicy "
    "priority_queue_policy:uint64->QueuePolicy",
    "Control": "kind:ControlKind int32_false_true:*int32 fp32_false_true:*float bool_false_true:*bool data_type:DataType",
    "ControlInput": "name:string control:*Control",
    "InitialState": "data_type:DataType dims:*int64 zero_data:bool/state_data data_file:string/state_data name:string",
    "State": "input_name:string output_name:string data_type:DataType dims:*int64 initial_state:*InitialState "
    "use_same_buffer_for_input_output:bool use_growable_memory:bool",
    "Direct": "max_queue_delay_microseconds:uint64 minimum_slot_utilization:float",
    "Oldest": "max_candidate_sequences:int32 preferred_batch_size:*int32 max_queue_delay_microseconds:uint64 "
    "preserve_ordering:bool",
    "SequenceBatching": "direct:Direct/strategy oldest:Oldest/strategy max_sequence_idle_microseconds:uint64 "
    "control_input:*ControlInput state:*State iterative_sequence:bool",
    "EnsembleStep": "model_name:string model_version:int64 input_map:string->string output_map:string->string "
    "model_namespace:string",
    "Ensemble": "step:*EnsembleStep max_inflight_responses:uint32",
    "Parameter": "string_value:string",
    "WarmupInput": "data_type:DataType dims:*int64 zero_data:bool/data random_data:bool/data input_data_file:string/data",
    "Warmup": "name:string batch_size:uint32 inputs:string->WarmupInput count:uint32",
    "Operations": "op_library_filename:*string",
    "TransactionPolicy": "decoupled:bool",
    "Agent": "name:string parameters:string->string",
    "Agents": "agents:*Agent",
    "ResponseCache": "enable:bool",
    "MetricIdentifier": "family:string",
    "Histogram": "buckets:*double",
    "MetricControl": "metric_identifier:MetricIdentifier histogram_options:Histogram/options",
    "Metrics": "metric_control:*MetricControl",
    "ModelConfig": "name:string platform:string backend:string runtime:string version_policy:VersionPolicy "
    "max_batch_size:int32 input:*Input output:*Output batch_input:*BatchInput batch_output:*BatchOutput "
    "optimization:Optimization dynamic_batching:DynamicBatching/scheduling sequence_batching:SequenceBatching/scheduling "
    "ensemble_scheduling:Ensemble/scheduling instance_group:*InstanceGroup default_model_filename:string "
    "cc_model_filenames:string->string metric_tags:string->string parameters:string->Parameter model_warmup:*Warmup "
    "model_operations:Operations model_transaction_policy:TransactionPolicy model_repository_agents:Agents "
    "response_cache:ResponseCache model_metrics:Metrics",
}


@cache
def config_class(*, strict: bool = False) -> Any:
    """The protobuf class of a whole configuration.

    Args:
        strict: every field remembers whether it was set, and a map is a list of entries, so that whatever a text says twice is
            found; the ordinary form drops values that equal the default.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file(strict))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{ROOT}"))


def _file(strict: bool) -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"countersign/triton_{'strict' if strict else 'plain'}.proto",
        package=_PACKAGE,
        syntax="proto2" if strict else "proto3",
    )
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            # Enumerators share their file's namespace; none of Triton's names stands in two enums.
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields.split(), 1):
            _add_field(message, number, field, strict)
    return file


def _add_field(message: Any, number: int, written: str, strict: bool) -> None:
    name, _, kind = written.partition(":")
    kind, _, group = kind.partition("/")
    key, arrow, value = kind.partition("->")
    if arrow:
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        _set_type(entry.field.add(name="key", number=1, label=_OPTIONAL), key)
        _set_type(entry.field.add(name="value", number=2, label=_OPTIONAL), value)
        entry.options.map_entry = not strict
        message.field.add(name=name, number=number, label=_REPEATED, type=_MESSAGE,
            type_name=f".{_PACKAGE}.{message.name}.{entry.name}")  # fmt: skip
        return
    field = message.field.add(name=name, number=number, label=_REPEATED if kind.startswith("*") else _OPTIONAL)
    _set_type(field, kind.lstrip("*"))
    if group:
        field.oneof_index = _oneof(message, group)


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type, field.type_name = (_ENUM if kind in ENUMS else _MESSAGE), f".{_PACKAGE}.{kind}"


def _oneof(message: Any, name: str) -> int:
    names = [one.name for one in message.oneof_decl]
    if name not in names:
        message.oneof_decl.add(name=name)
        return len(names)
    return names.index(name)
