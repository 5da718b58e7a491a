"""One line of the router's access log as a part of a request: who was assigned, who answered, how and how fast. Pure.

The same from both of its forms: Envoy's gRPC access log, and the file of one JSON object a line (`embedded.envoy`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from backend.embedded.envoy import (
    ARM_HEADER,
    ASSIGNED_HEADER,
    BUCKET_HEADER,
    GENERATION_HEADER,
    PROBE_HEADER,
    VERSION_HEADER,
)
from backend.ingest.als.accesslog_pb2 import HTTPAccessLogEntry

POST = 3
"""`envoy.config.core.v3.RequestMethod.POST`."""
_INFER = re.compile(r"/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/v2/models/[^/]+/infer(?:\?.*)?", re.DOTALL)
_WHOLE = re.compile(r"[0-9]{1,15}")
_OK = 200
_FLAGS = {
    "UT": "timeout", "UH": "no-server", "UF": "connect", "UO": "overloaded", "UC": "reset", "UR": "reset",
    "DC": "caller-left",
}  # fmt: skip
"""Envoy's short flags (operator's guide, access logging) as kinds of failure, for what got no answer."""
_FLAG_FIELDS = {
    "upstream_request_timeout": "UT", "no_healthy_upstream": "UH", "upstream_connection_failure": "UF",
    "upstream_overflow": "UO", "upstream_connection_termination": "UC", "upstream_remote_reset": "UR",
    "downstream_connection_termination": "DC",
}  # fmt: skip


class Exposure(NamedTuple):
    """A part of a request, and of which endpoint it is.

    Args:
        probe: what it carries as the mark of a request of ours; "" for nothing. `Entrance.exposures` says whether it is one.
    """

    endpoint: str
    row: dict[str, Any]
    probe: str = ""


def of_entry(entry: HTTPAccessLogEntry, unit_headers: Mapping[str, str]) -> Exposure | None:
    """What an entry of the gRPC access log tells; None for what is no inference of ours.

    Args:
        unit_headers: endpoint -> the request's header that names the unit there.
    """
    try:
        return _of_entry(entry, unit_headers)
    except (ValueError, OverflowError):  # a time that is none; what else it says would have no place in the log
        return None


def _of_entry(entry: HTTPAccessLogEntry, unit_headers: Mapping[str, str]) -> Exposure | None:
    common, request, response = entry.common_properties, entry.request, entry.response
    if common.intermediate_log_entry or request.request_method != POST:
        return None
    endpoint = endpoint_of(request.original_path or request.path)
    if endpoint is None:
        return None
    took = common.duration if common.HasField("duration") else common.time_to_last_downstream_tx_byte
    flags = [short for name, short in _FLAG_FIELDS.items() if getattr(common.response_flags, name)]
    return Exposure(
        endpoint,
        _row(
            {**request.request_headers},
            {**response.response_headers},
            event_time=common.start_time.ToDatetime(UTC),
            request_id=request.request_id,
            unit=request.request_headers.get(unit_headers.get(endpoint, "")) or None,
            status=response.response_code.value if response.HasField("response_code") else None,
            seconds=took.ToTimedelta().total_seconds(),
            flags=flags,
        ),
        request.request_headers.get(PROBE_HEADER, ""),
    )


def of_line(line: Mapping[str, Any]) -> Exposure | None:
    """The same from a line of the file, which tells no unit: whoever reads it could name people by it."""
    endpoint = endpoint_of(_text(line.get("path")) or "")
    if line.get("method") != "POST" or endpoint is None:
        return None
    told = {ASSIGNED_HEADER: line.get("assigned_arm"), BUCKET_HEADER: line.get("bucket")}
    answered = {
        ARM_HEADER: line.get("served_arm"),
        VERSION_HEADER: line.get("served_version"),
        GENERATION_HEADER: line.get("generation"),
    }
    return Exposure(
        endpoint,
        _row(
            told,
            answered,
            event_time=line.get("start"),
            request_id=_text(line.get("request_id")),
            unit=None,
            status=_whole(line.get("status")),
            seconds=_seconds(line.get("duration_ms")),
            flags=(_text(line.get("flags")) or "").split(","),
        ),
        _text(line.get("probe")) or "",
    )


def endpoint_of(path: str) -> str | None:
    """The endpoint whose inference a path asks for; None for any other."""
    match = _INFER.fullmatch(path)
    return match[1] if match is not None else None


def _row(
    told: Mapping[str, Any],
    answered: Mapping[str, Any],
    *,
    event_time: datetime | str | None,
    request_id: str | None,
    unit: str | None,
    status: int | None,
    seconds: float | None,
    flags: list[str],
) -> dict[str, Any]:
    """Values of headers are text of whoever answered; a number that is none is left out, and the rest is judged as any row."""
    failure = _failure(status, flags)
    return {
        "event_time": event_time,
        "request_id": request_id,
        "unit": unit,
        "bucket": _whole(told.get(BUCKET_HEADER)),
        "assigned_arm": _text(told.get(ASSIGNED_HEADER)),
        "served_arm": None if failure else _text(answered.get(ARM_HEADER)),
        "version": _whole(answered.get(VERSION_HEADER)),
        "generation": _whole(answered.get(GENERATION_HEADER)),
        "latency_seconds": seconds,
        "status": status or None,
        "failure": failure,
    }


def _failure(status: int | None, flags: list[str]) -> str:
    if status == _OK and "DC" not in flags:
        return ""
    named = next((_FLAGS[one] for one in flags if one in _FLAGS), None)
    return named or (f"http-{status}" if status else "no-answer")


def _seconds(milliseconds: object) -> float | None:
    try:
        return float(milliseconds) / 1000 if isinstance(milliseconds, int | float) else None
    except OverflowError:  # JSON has whole numbers of any length
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value not in ("", "-") else None


def _whole(value: object) -> int | None:
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else None
