"""The public door of an endpoint: one inference through its router, as a caller would send it, and what the answer says.

The request is Open Inference Protocol v2 over HTTP; the headers of the answer are those that our routers stamp.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from backend.core.errors import ExternalFailure
from backend.core.outbound import Guard
from backend.delivery.desired import EndpointRoute
from backend.delivery.routers.words import infer_path
from backend.delivery.targets.port import Answer
from backend.embedded.envoy import (
    ARM_HEADER,
    ASSIGNED_HEADER,
    BUCKET_HEADER,
    GENERATION_HEADER,
    PROBE_HEADER,
    VERSION_HEADER,
)


@dataclass(frozen=True)
class RoutedAnswer:
    """An answer that came through a router, and its stamps ("" and None where there was none).

    Args:
        arm, version: who answered, and with which registered version.
        generation: of the route that was in force.
        assigned_arm: the arm that the unit belongs to; another than `arm` after a fallback.
        bucket: of the unit; None when the router did not take it for one.
    """

    answer: Answer
    arm: str
    version: str
    generation: str
    assigned_arm: str = ""
    bucket: int | None = None


class Door(Protocol):
    """Where callers reach the endpoints of one router."""

    def ask(self, route: EndpointRoute, inputs: Mapping[str, Any], config: Mapping[str, Any], unit: str) -> RoutedAnswer:
        """One row through the router, as `unit`. `config` is the package's runtime configuration (types of inputs).

        Raises ExternalFailure when there is no valid answer; not retryable where asking again would get the same.
        """
        ...


class HttpDoor:
    """The door of a router with an http(s) public URL.

    Args:
        mark: what says now that a request is ours (`inference_log.probes`); without one they are logged as anybody's.
    """

    def __init__(self, guard: Guard, public_url: str, name: str, mark: Callable[[], str] | None = None) -> None:
        self._guard = guard
        self._mark = mark
        self._url = public_url.rstrip("/")
        self._system = f"router {name}"

    def ask(self, route: EndpointRoute, inputs: Mapping[str, Any], config: Mapping[str, Any], unit: str) -> RoutedAnswer:
        """See `Door`."""
        headers = {route.unit_header.encode(): unit.encode()}
        if self._mark is not None:
            headers[PROBE_HEADER.encode()] = self._mark().encode()
        try:
            got = self._guard.client(self._url).post(infer_path(route), json=infer_body(inputs, config), headers=headers)
        except httpx.HTTPError as error:
            raise self._failure(f"did not pass on a request to {route.endpoint}") from error
        if got.status_code != 200:
            passing = got.status_code >= 500 or got.status_code == 404  # a route that is not in force yet
            raise self._failure(f"answered {got.status_code} to a request to {route.endpoint}", retryable=passing)
        answer = Answer(outputs_of(got.content, self._system), got.elapsed.total_seconds())
        stamps = (ARM_HEADER, VERSION_HEADER, GENERATION_HEADER, ASSIGNED_HEADER, BUCKET_HEADER)
        arm, version, generation, assigned, bucket = (got.headers.get(name, "") for name in stamps)
        return RoutedAnswer(answer, arm, version, generation, assigned, _bucket(bucket))

    def _failure(self, message: str, *, retryable: bool = True) -> ExternalFailure:
        return ExternalFailure(self._system, message, retryable=retryable)


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
        return {str(one["name"]): one["data"] for one in json.loads(body)["outputs"]}  # NaN is an answer too
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExternalFailure(system, "gave an answer that is no inference answer", retryable=True) from error


def _tensor(name: str, value: Any, declared: Mapping[str, Any], batched: bool) -> dict[str, Any]:
    data = _flat(value)
    wanted = str(declared.get("data_type", "")).removeprefix("TYPE_").replace("STRING", "BYTES")
    dims = _dims([int(one) for one in declared.get("dims", [])], len(data))
    return {"name": name, "datatype": wanted or _type(data), "shape": [1, *dims] if batched else dims, "data": data}


def _dims(declared: list[int], count: int) -> list[int]:
    """The declared dimensions, an open one worked out from how many values there are; without any, one flat row."""
    known = math.prod(one for one in declared if one >= 0)
    if sum(one < 0 for one in declared) == 1 and known and count % known == 0:
        return [one if one >= 0 else count // known for one in declared]
    return declared if declared and math.prod(declared) == count and min(declared) >= 0 else [count]


def _type(data: list[Any]) -> str:
    if any(isinstance(one, str) for one in data):
        return "BYTES"
    return "BOOL" if data and all(isinstance(one, bool) for one in data) else "FP32"


def _flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _flat(part)] if isinstance(value, list | tuple) else [value]


def _bucket(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
