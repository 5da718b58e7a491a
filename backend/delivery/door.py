"""The public door of an endpoint: one inference through its router, as a caller would send it, and what the answer says.

The request is Open Inference Protocol v2 over HTTP; the headers of the answer are those that our routers stamp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from backend.core.canonical import loads
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.delivery.desired import EndpointRoute
from backend.delivery.targets.port import Answer

ARM, VERSION, GENERATION = "x-cs-arm", "x-cs-version", "x-cs-generation"
PROBE_HEADER = "x-cs-probe"
"""Marks our own requests, so that logs and statistics can leave them out."""


@dataclass(frozen=True)
class RoutedAnswer:
    """An answer that came through a router: which arm, version and generation it was stamped with ("" when it was not)."""

    answer: Answer
    arm: str
    version: str
    generation: str


class Door(Protocol):
    """Where callers reach the endpoints of one router."""

    def ask(self, route: EndpointRoute, inputs: Mapping[str, Any], config: Mapping[str, Any], unit: str) -> RoutedAnswer:
        """One row through the router, as `unit`. `config` is the package's runtime configuration (types of inputs)."""
        ...


class HttpDoor:
    """The door of a router with an http(s) public URL."""

    def __init__(self, guard: Guard, public_url: str, name: str) -> None:
        self._guard = guard
        self._url = public_url.rstrip("/")
        self._system = f"router {name}"

    def ask(self, route: EndpointRoute, inputs: Mapping[str, Any], config: Mapping[str, Any], unit: str) -> RoutedAnswer:
        """See `Door`."""
        path = f"/{route.endpoint}/v2/models/{route.model}/infer"
        headers = {route.unit_header: unit, PROBE_HEADER: "1"}
        try:
            got = self._guard.client(self._url).post(path, json=infer_body(inputs, config), headers=headers)
        except httpx.HTTPError as error:
            raise self._failure(f"did not pass on a request to {route.endpoint}") from error
        if got.status_code != 200:
            raise self._failure(f"answered {got.status_code} to a request to {route.endpoint}")
        answer = Answer(outputs_of(got.content, self._system), got.elapsed.total_seconds())
        stamped = [got.headers.get(name, "") for name in (ARM, VERSION, GENERATION)]
        return RoutedAnswer(answer, *stamped)

    def _failure(self, message: str) -> ExternalFailure:
        return ExternalFailure(self._system, message, retryable=True)


def infer_body(inputs: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """One row as a v2 request. Types come from a Triton model configuration, else from the values themselves.

    Source: Open Inference Protocol v2 (tensor data types), Triton's model_config.proto (`TYPE_STRING` is `BYTES`).
    """
    declared = {one["name"]: one for one in config.get("input", ()) if isinstance(one, dict) and "name" in one}
    batched = bool(config.get("max_batch_size", 1))
    return {"inputs": [_tensor(name, value, declared.get(name, {}), batched) for name, value in inputs.items()]}


def outputs_of(body: bytes, system: str) -> dict[str, Any]:
    """Outputs by name. ExternalFailure when the body is not a v2 answer."""
    try:
        return {str(one["name"]): one["data"] for one in loads(body)["outputs"]}
    except (Refusal, KeyError, TypeError) as error:
        raise ExternalFailure(system, "gave an answer that is no inference answer", retryable=True) from error


def _tensor(name: str, value: Any, declared: Mapping[str, Any], batched: bool) -> dict[str, Any]:
    data = _flat(value)
    wanted = str(declared.get("data_type", "")).removeprefix("TYPE_").replace("STRING", "BYTES")
    dims = [int(one) for one in declared.get("dims", [])]
    if not dims or any(one < 0 for one in dims):
        dims = [len(data)]
    return {"name": name, "datatype": wanted or _type(data), "shape": [1, *dims] if batched else dims, "data": data}


def _type(data: list[Any]) -> str:
    if any(isinstance(one, str) for one in data):
        return "BYTES"
    return "BOOL" if data and all(isinstance(one, bool) for one in data) else "FP32"


def _flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _flat(part)] if isinstance(value, list | tuple) else [value]
