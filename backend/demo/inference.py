"""One flight as an Open Inference Protocol request, and the answer to it. Answers are hostile until they are parsed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from backend.core.errors import Refusal
from backend.core.loopback import is_loopback

OUTPUT = "probability"


def infer_body(request_id: str, features: Mapping[str, float | str | None]) -> bytes:
    """The request's JSON: each feature is one tensor of shape [1, 1], FP32 or BYTES; a missing one is the token NaN."""
    tensors = [_tensor(name, value) for name, value in features.items()]
    return json.dumps({"id": request_id, "inputs": tensors}).encode()


def answer_of(body: bytes) -> tuple[float | None, str | None]:
    """Probability of late, between 0 and 1, and the model version as the runtime names it; (None, None) when malformed."""
    try:
        answer = json.loads(body)
        (value,) = next(each["data"] for each in answer["outputs"] if each["name"] == OUTPUT)
        version = answer.get("model_version")
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration, RecursionError):
        return None, None
    return (float(value), _text(version)) if _is_probability(value) else (None, None)


def refuse_far_host(url: str) -> None:
    """The demo sends traffic to this machine only."""
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        return
    raise Refusal(
        f"The replayer does not send traffic to {host or url!r}.",
        "Give it an address on loopback, such as http://127.0.0.1:8080.",
        code="not-loopback",
    )


def _tensor(name: str, value: float | str | None) -> dict[str, Any]:
    if isinstance(value, str):
        return {"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [value]}
    return {"name": name, "datatype": "FP32", "shape": [1, 1], "data": [math.nan if value is None else value]}


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _text(version: object) -> str | None:
    return version if isinstance(version, str) and version else None
