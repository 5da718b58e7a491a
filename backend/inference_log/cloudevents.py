"""CloudEvents as KServe's inference logger sends them, as parts of requests. Pure.

The logger sends two events a request, of one id: `org.kubeflow.serving.inference.request` with what was asked, and
`...response` with what was answered (only where that was a 200), in binary mode, `ce-time` being when it was sent. `metadata`
holds the request's headers that the InferenceService names. An event becomes parts (`InferenceLog.append_parts`), which join by
the request's id.

Sources: KServe, `pkg/logger/worker.go` and `handler.go`; CloudEvents 1.0.2, HTTP protocol binding 3.1 to 3.3 and JSON format.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from backend.inference_log.payloads import features_of, predictions_of
from backend.inference_log.rules import Malformed

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
REQUEST_ID, UNIT = "x-request-id", "x-unit-id"
MOST_EVENTS = 1_000


class Unreadable(ValueError):
    """What was sent is no event at all; the text says why and holds nothing of it."""


@dataclass(frozen=True)
class Event:
    """One event: its attributes by their small names, and what it holds."""

    attributes: Mapping[str, Any]
    data: Any


def events(headers: Mapping[str, str], body: bytes) -> list[Event | Malformed]:
    """The events of an HTTP request, in each of the three modes; in a batch a malformed one does not spoil the others.

    Args:
        headers: with small names.
    """
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == BATCH:
        found = _json(body)
        if not isinstance(found, list) or len(found) > MOST_EVENTS:
            raise Unreadable(f"a batch is a list of at most {MOST_EVENTS} events")
        return [_structured(one) for one in found]
    if media == STRUCTURED:
        return [_structured(_json(body))]
    if "ce-type" not in headers:
        raise Unreadable("it is no CloudEvent: it has neither `ce-` headers nor the media type of one")
    told = {name.removeprefix("ce-"): unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    raw = headers.get("ce-metadata")
    return [_binary({**told, **({"metadata": raw} if raw is not None else {})}, body)]


def parts(event: Event, received: str, *, unit_header: str = UNIT, version: int | None = None) -> list[dict[str, Any]]:
    """The rows that an event tells. Raises Malformed.

    The request is named by its own `x-request-id`, where the event's metadata has it, else by the event's id. One that holds
    several instances becomes as many requests, `ID#0` and so on.

    Args:
        received: when it came, in ISO 8601, for an event that does not say when it happened.
        unit_header: which of the request's headers names the unit.
        version: the registered version that answers there.
    """
    kind = event.attributes.get("type")
    if kind not in (REQUEST, RESPONSE):
        raise Malformed("its type is none of those of KServe's logger")
    if kind == REQUEST:
        told: list[dict[str, Any]] = [{"features": one} for one in features_of(event.data)]
    else:
        told = [{"prediction": one} for one in predictions_of(event.data)]
    headers = _metadata(event.attributes.get("metadata"))
    name = headers.get(REQUEST_ID) or event.attributes.get("id")
    common = {"event_time": event.attributes.get("time") or received, "unit": headers.get(unit_header), "version": version}
    if len(told) == 1:
        return [{"request_id": name, **common, **told[0]}]
    return [{"request_id": f"{name}#{place}", **common, **one} for place, one in enumerate(told)]


def _structured(told: Any) -> Event | Malformed:
    if not isinstance(told, Mapping):
        return Malformed("the event is not an object")
    attributes = {name: value for name, value in told.items() if name not in ("data", "data_base64")}
    if (lacking := _lacking(attributes)) is not None:
        return lacking
    try:
        return Event(attributes, _data(told))
    except (ValueError, binascii.Error, Unreadable):
        return Malformed("the event holds no JSON")


def _data(told: Mapping[str, Any]) -> Any:
    """JSON may be an object itself, or text where the content type says otherwise: KServe's copies the request's."""
    if "data_base64" in told:
        return _json(base64.b64decode(str(told["data_base64"]), validate=True))
    data = told.get("data")
    return _json(data.encode()) if isinstance(data, str) else data


def _binary(attributes: Mapping[str, str], body: bytes) -> Event | Malformed:
    if (lacking := _lacking(attributes)) is not None:
        return lacking
    try:
        return Event(attributes, _json(body))
    except Unreadable:
        return Malformed("the event holds no JSON")


def _lacking(attributes: Mapping[str, Any]) -> Malformed | None:
    if attributes.get("specversion") != "1.0":
        return Malformed("the event is not of CloudEvents 1.0")
    if not all(isinstance(attributes.get(name), str) and attributes[name] for name in ("id", "source", "type")):
        return Malformed("the event has no id, source or type")
    return None


def _metadata(told: Any) -> dict[str, str]:
    """The request's headers by their small names; {} where there are none, or none that can be read."""
    found = told
    if isinstance(told, str):
        found = next((read for text in (told, unquote(told)) if isinstance(read := _quietly(text), Mapping)), None)
    if not isinstance(found, Mapping):
        return {}
    lists = {str(name).lower(): value if isinstance(value, list) else [value] for name, value in found.items()}
    return {name: value[0] for name, value in lists.items() if len(value) == 1 and isinstance(value[0], str) and value[0]}


def _quietly(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json(content: bytes) -> Any:
    """NaN and infinities are read: version 2 has no other word for a missing measurement."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None
