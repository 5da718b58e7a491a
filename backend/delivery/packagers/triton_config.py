"""A Triton model configuration in its normal form: what two configurations that mean the same have in common.

Left out are the name and the version policy, which the target adds when it loads, and everything that Triton 2.51 was seen to
fill in by itself (defaults, the names of instance groups, the preferred batch size). So a package's configuration and the one
that `/v2/models/M/config` reports have one digest when they are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, text_format

from backend.core.canonical import canonical, digest
from backend.core.errors import Refusal
from backend.delivery.packagers.triton_schema import config_class

MAX_CONFIG_BYTES = 1 << 20
_BACKENDS = {
    "tensorrt_plan": "tensorrt",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
_FILENAMES = {
    "python": "model.py",
    "onnxruntime": "model.onnx",
    "tensorrt": "model.plan",
    "pytorch": "model.pt",
    "openvino": "model.xml",
}
_CPU = "KIND_CPU"
_PINNED = ("input_pinned_memory", "output_pinned_memory")


def parse_text(content: bytes) -> dict[str, Any]:
    """A `config.pbtxt` in JSON form. Refusal `bad-config` for what Triton would not read, or would read in two ways."""
    if len(content) > MAX_CONFIG_BYTES:
        raise _bad("it is larger than 1 MiB")
    try:
        text = content.decode()
        strict = text_format.Parse(text, config_class(strict=True)())
        _refuse_repeated_keys(strict)
        return _plain(text_format.Parse(text, config_class()()))
    except (text_format.ParseError, ValueError, RecursionError) as error:
        raise _bad(_first_line(error)) from error


def normal_form(config: Mapping[str, Any]) -> dict[str, Any]:
    """The normal form of a configuration in JSON form. Refusal `bad-config` for a field that Triton does not have."""
    try:
        found = _plain(json_format.ParseDict(dict(config), config_class()()))
    except (json_format.ParseError, TypeError, ValueError, RecursionError) as error:
        raise _bad(_first_line(error)) from error
    for name in ("name", "version_policy"):
        found.pop(name, None)
    _name_backend(found)
    found["instance_group"] = [_group(one) for one in found.get("instance_group") or [{}]]
    _drop_default_optimization(found)
    if "dynamic_batching" in found and found.get("max_batch_size"):
        found["dynamic_batching"].setdefault("preferred_batch_size", [found["max_batch_size"]])
    for side in ("input", "output"):
        found[side] = sorted(found.get(side, []), key=lambda tensor: str(tensor.get("name", "")))
    return found


def interface_digest(config: Mapping[str, Any]) -> str:
    """Digest of inputs, outputs and the whole runtime configuration: packages that share it can share one served name."""
    return digest(normal_form(config))


def seen_digest(config: Mapping[str, Any]) -> str:
    """The same digest of a configuration that a server reports.

    A newer Triton reports fields that are unknown here: they are passed over while they hold their default, else the digest
    is over the whole report, and so unequal to every package's.
    """
    try:
        return digest(normal_form(_without_unknown(dict(config), config_class().DESCRIPTOR)))
    except Refusal:
        return digest({"reported": _digestible(config)})


def whole_config(config: Mapping[str, Any], name: str, versions: list[int]) -> str:
    """What a load carries: everything, since an override replaces the whole configuration, never a part of it."""
    return canonical({**config, "name": name, "version_policy": {"specific": {"versions": sorted(versions)}}}).decode()


def _name_backend(config: dict[str, Any]) -> None:
    platform = config.get("platform", "")
    backend = config.setdefault("backend", _BACKENDS.get(platform, ""))
    # TensorFlow's two platforms are two file formats; the others say nothing that the backend does not.
    if _BACKENDS.get(platform) == backend != "tensorflow":
        del config["platform"]
    if backend in _FILENAMES:
        config.setdefault("default_model_filename", _FILENAMES[backend])


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    """What is not said means one instance on the CPU: what runs must not depend on the machine that runs it."""
    kind = group.get("kind", _CPU)
    return {**{key: value for key, value in group.items() if key != "name"}, "kind": kind, "count": group.get("count", 1)}


def _drop_default_optimization(config: dict[str, Any]) -> None:
    optimization = config.get("optimization", {})
    for name in _PINNED:
        if optimization.get(name) == {"enable": True}:
            del optimization[name]
    if not optimization:
        config.pop("optimization", None)


def _plain(message: Any) -> dict[str, Any]:
    """A message's set fields as JSON: numbers stay numbers, an empty message that is there stays there."""
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: Any, value: Any) -> Any:
    if _is_map(field):
        of_value = field.message_type.fields_by_name["value"]
        return {str(key): _one(of_value, value[key]) for key in sorted(value)}
    return [_one(field, each) for each in value] if field.is_repeated else _one(field, value)


def _one(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        if known is None:
            raise ValueError(f"{field.name} has no value {value}")
        return known.name
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{field.name} is not a finite number")
    return value


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _refuse_repeated_keys(message: Any) -> None:
    """Triton takes the last of two entries with one key; a reader of the file may take the first."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        parts = list(value) if field.is_repeated else [value]
        if field.message_type.name.endswith("Entry"):
            keys = [entry.key for entry in parts]
            if len(set(keys)) != len(keys):
                raise ValueError(f"{field.name} names a key twice")
        for part in parts:
            _refuse_repeated_keys(part)


def _without_unknown(config: dict[str, Any], message: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        field = message.fields_by_name.get(name)
        if field is None and value in (False, 0, "", [], {}, None):
            continue
        found[name] = value if field is None or field.message_type is None else _known_parts(field, value)
    return found


def _known_parts(field: Any, value: Any) -> Any:
    message = field.message_type
    if _is_map(field):
        inner = message.fields_by_name["value"].message_type
        return {key: _without_unknown(one, inner) for key, one in value.items()} if inner and isinstance(value, dict) else value
    if isinstance(value, list):
        return [_without_unknown(one, message) if isinstance(one, dict) else one for one in value]
    return _without_unknown(value, message) if isinstance(value, dict) else value


def _digestible(value: Any) -> Any:
    """JSON without numbers that canonical JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _digestible(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_digestible(one) for one in value]
    return repr(value) if isinstance(value, int | float) else value


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).replace("countersign.triton.", "").partition(" Available Fields")[0].split())
    return "".join(each for each in text if each.isprintable())[:160].rstrip(".")


def _bad(reason: str) -> Refusal:
    return Refusal(
        f"This is not a Triton model configuration: {reason}.",
        "Correct config.pbtxt as Triton's model configuration describes it, and register a new version.",
        code="bad-config",
    )
