"""What the router tells of one answer that it heard (`delivery/routers/envoy_answer.lua`), as a row of `copies`. Pure.

Everything in it is somebody else's text: ids, units and marks come from callers, the body from whatever serves the model.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from backend.inference_log.payloads import predictions_of
from backend.inference_log.rules import MAX_BYTES, Malformed

MOST_BYTES = 64 << 10
"""Of a body as it is told; the router leaves out a larger one."""
MOST_UNPACKED = 1 << 20
_WHOLE = re.compile(r"[0-9]{1,15}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OK = 200
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""What zlib has to be told to read a content encoding."""
TOO_LARGE, UNREADABLE = "too-large", "unreadable"


class Answer(NamedTuple):
    """An answer that was heard.

    Args:
        endpoint: of which; nothing proves that there is one.
        row: for `copies.copy_of`.
        probe: what its request carried as the mark of one of ours; "" for nothing.
    """

    endpoint: str
    row: dict[str, Any]
    probe: str


def answer_of(headers: Mapping[str, str], body: bytes, unit_headers: Mapping[str, str]) -> Answer:
    """What one message tells. Raises Malformed.

    Args:
        headers: by their names in small letters, as HTTP has them: a character a byte.
        unit_headers: endpoint -> the request's header that names its units in the log. Where the router's is another, it names
            something else, and no unit is told.
    """
    told = {name: _text(headers.get(f"x-cs-{name}")) for name in _FIELDS}
    begun, ended = _moment(told["begun"]), _moment(told["ended"])
    status = _number(told["status"])
    if told["arm"] != told["shadow"] and status != _OK:
        raise Malformed("a live answer that is no answer")
    failure, prediction = _outcome(status, told, body)
    unit = told["unit"] if told["unit-header"] == unit_headers.get(told["endpoint"]) else ""
    row = {
        "event_time": begun,
        "request_id": told["id"],
        "unit": unit or None,
        "shadow": told["shadow"],
        "arm": told["arm"],
        "generation": _number(told["generation"]),
        "version": _number(told["version"]),
        "prediction": prediction,
        "latency_seconds": max(0.0, (ended - begun).total_seconds()),
        "status": status,
        "failure": failure,
    }
    return Answer(told["endpoint"], row, told["probe"])


_FIELDS = (
    *("endpoint", "shadow", "arm", "version", "generation", "id", "unit", "unit-header", "probe"),
    *("begun", "ended", "status", "bytes", "encoding", "json-bytes"),
)


def _text(value: str | None) -> str:
    try:
        return (value or "").encode("latin-1").decode()
    except UnicodeError:
        raise Malformed("a header is not text in UTF-8") from None


def _number(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _moment(text: str) -> datetime:
    microseconds = int(text) if re.fullmatch(r"[0-9]{1,17}", text) else None
    if microseconds is None:
        raise Malformed("a time is not in microseconds")
    return _EPOCH + timedelta(microseconds=microseconds)


def _outcome(status: int | None, told: Mapping[str, str], body: bytes) -> tuple[str, Any]:
    """The kind of failure, "" for none, and what was predicted."""
    if status != _OK:
        return f"http-{status}" if status else "no-answer", None
    if (_number(told["bytes"]) or 0) != len(body):
        return TOO_LARGE, None
    if told["json-bytes"]:  # tensors follow the JSON in a form of their own
        return UNREADABLE, None
    try:
        prediction = _prediction(_unpacked(told["encoding"], body))
    except (ValueError, RecursionError, zlib.error):
        return UNREADABLE, None
    return ("", prediction) if prediction is not None else (UNREADABLE, None)


def _unpacked(encoding: str, body: bytes) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW_BITS:
        raise Malformed("an encoding that is not read")
    reader = zlib.decompressobj(_WINDOW_BITS[encoding])
    found = reader.decompress(body, MOST_UNPACKED)
    if not reader.eof:
        raise Malformed("it does not end, or unpacks to too much")
    return found


def _prediction(body: bytes) -> Any:
    """What is predicted of the one instance, or the list of what is of each. ValueError for what the log could not keep."""
    found = predictions_of(json.loads(body))
    prediction = found[0] if len(found) == 1 else found
    if not isinstance(prediction, int | float) and len(json.dumps(prediction, allow_nan=False)) > MAX_BYTES:
        raise Malformed("a prediction that is too large")
    return prediction
