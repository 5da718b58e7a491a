"""What a shadow arm answered to the copy of a request, and what the live arm answered to the request itself. Pure.

Both are heard at the router, by the same script, so that they have one form and one clock. They are no requests and count as
none: they lie in a table of their own and are read where copies are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from backend.inference_log.rules import Malformed, Outcome, Request, request_of


class Copy(NamedTuple):
    """One answer that was heard.

    Args:
        event_time: when its arm was asked (aware, UTC). It decides the hour that the row lies in.
        received_at: when the row reached the log; of two rows of one request, shadow and side the later one counts.
        request_id, unit: of the request, as for `rules.Request`.
        shadow: the shadow arm that was sent the copy.
        arm: who answered: the shadow itself, or the live arm beside it.
        generation, version: as for `rules.Request`.
        prediction, prediction_json: as for `rules.Request`; both None where the answer could not be read.
        latency_seconds: from asking the arm to the end of its answer, without the caller's own connection.
        status: of the arm's answer.
        failure: "" for one that was read; `http-503` and the like; `unreadable` or `too-large` for a valid one that was not
            read.
        size: roughly, in bytes of memory.
    """

    event_time: datetime
    received_at: datetime
    request_id: str
    unit: str | None
    shadow: str
    arm: str
    generation: int | None
    version: int | None
    prediction: float | None
    prediction_json: str | None
    latency_seconds: float | None
    status: int | None
    failure: str
    size: int


Row = Request | Outcome | Copy
"""A row of any of the tables."""
_ANSWER = frozenset(
    ("event_time", "request_id", "unit", "generation", "version", "prediction", "latency_seconds", "status", "failure")
)


def copy_of(row: object, now: datetime) -> Copy:
    """The answer that a row describes: fields of a request, and `shadow` and `arm`. Raises Malformed."""
    if not isinstance(row, Mapping) or not row.keys() <= _ANSWER | {"shadow", "arm"}:
        raise Malformed("the row is not an answer of known fields")
    found = request_of(
        {**{name: row[name] for name in _ANSWER & row.keys()}, "assigned_arm": row.get("shadow"), "served_arm": row.get("arm")},
        now,
    )
    if found.assigned_arm is None or found.served_arm is None:
        raise Malformed("the row does not say which arm answered, or which shadow it is of")
    return Copy(
        event_time=found.event_time,
        received_at=found.received_at,
        request_id=found.request_id,
        unit=found.unit,
        shadow=found.assigned_arm,
        arm=found.served_arm,
        generation=found.generation,
        version=found.version,
        prediction=found.prediction,
        prediction_json=found.prediction_json,
        latency_seconds=found.latency_seconds,
        status=found.status,
        failure=found.failure or "",
        size=found.size,
    )
