"""What a row of the inference log may hold. Rows come from outside and are hostile until they passed here. Pure.

Every refusal is one of a fixed set of sentences that quotes nothing of the row, so that reasons can be counted and shown.
"""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from backend.inference_log.columns import Kind, column_of

T = TypeVar("T")

BUCKETS = 10_000
MAX_TEXT = 256
MAX_NAME = 128
MAX_FEATURES = 1_000
MAX_BYTES = 256 << 10
"""Text and JSON of one row's features together, and of one prediction."""
MAX_AHEAD = timedelta(days=1)
"""How wrong a clock may be. Further ahead, a row would win over every later duplicate of it and lie in an hour nobody reads."""
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)

_ARM = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FAILURE = re.compile(r"([a-z0-9][a-z0-9-]{0,63})?")
_ROW_BYTES = 400
_VALUE_BYTES = 64


class Malformed(ValueError):
    """A row that is not kept; the text says why, in words that hold nothing of the row."""


class Request(NamedTuple):
    """One request as the log keeps it.

    Args:
        event_time: when it happened, as the caller tells it (aware, UTC). It decides the hour that the row lies in.
        received_at: when the row reached the log (aware, UTC); of two rows with one id the later one counts.
        request_id: unique within the endpoint.
        unit, bucket: who was randomised, and into which of the 10,000 buckets; None without a unit header.
        assigned_arm, served_arm: they differ after a fallback; `served_arm` is None where nobody answered validly.
        generation, version: what the router ran, and which registered version answered; None where nothing says so.
        features: by column (`columns.column_of`).
        nulls: names of features that were sent without a value, as opposed to not sent.
        prediction: a single number; anything else is JSON in `prediction_json`.
        latency_seconds: from sending to the whole answer.
        status: of the HTTP answer; None where there was none.
        failure: "" for a valid answer, else its kind (`timeout`, `http-503`); None in a part that says nothing of it.
        unsampled: a failure that is kept though sampling leaves its unit out: no figure counts it, or there would be too many.
        size: roughly, in bytes of memory.
    """

    event_time: datetime
    received_at: datetime
    request_id: str
    unit: str | None
    bucket: int | None
    assigned_arm: str | None
    served_arm: str | None
    generation: int | None
    version: int | None
    features: Mapping[str, float | str | bool]
    nulls: tuple[str, ...]
    prediction: float | None
    prediction_json: str | None
    latency_seconds: float | None
    status: int | None
    failure: str | None
    unsampled: bool
    size: int


class Outcome(NamedTuple):
    """What became of a request, in numbers.

    Args:
        known_at: when it became known (aware, UTC). It decides the hour that the row lies in.
        values: by column; None for one that is known to have no value (the delay of a cancelled flight).
    """

    request_id: str
    known_at: datetime
    received_at: datetime
    values: Mapping[str, float | None]
    size: int


def request_of(row: object, now: datetime) -> Request:
    """The request that a row describes. Times are aware datetimes or ISO 8601 text. Raises Malformed."""
    fields = _fields(row, _REQUEST_FIELDS)
    latest = now + MAX_AHEAD
    features, nulls, size = _features(fields.get("features"))
    number, document = _prediction(fields.get("prediction"))
    return Request(
        event_time=_time("event_time", fields.get("event_time"), latest),
        received_at=_time("received_at", fields.get("received_at", now), latest),
        request_id=_identifier("request_id", fields.get("request_id")),
        unit=_optional("unit", fields.get("unit"), _identifier),
        bucket=_optional("bucket", fields.get("bucket"), _bucket),
        assigned_arm=_optional("assigned_arm", fields.get("assigned_arm"), _arm),
        served_arm=_optional("served_arm", fields.get("served_arm"), _arm),
        generation=_optional("generation", fields.get("generation"), _generation),
        version=_optional("version", fields.get("version"), _version),
        features=features,
        nulls=nulls,
        prediction=number,
        prediction_json=document,
        latency_seconds=_optional("latency_seconds", fields.get("latency_seconds"), _seconds),
        status=_optional("status", fields.get("status"), _status),
        failure=_failure(fields.get("failure")),
        unsampled=False,
        size=_ROW_BYTES + size + len(document or ""),
    )


def part_of(row: object, now: datetime) -> Request:
    """The part of a request that a row describes: the same fields; what it does not say another part may. Raises Malformed."""
    request = request_of(row, now)
    told = isinstance(row, Mapping) and row.get("failure") is not None
    return request if told else request._replace(failure=None)


def is_part(row: object) -> bool:
    """Whether a row tells nothing of how its request was routed and answered, so that the router's log may tell it besides."""
    return isinstance(row, Mapping) and all(row.get(name) is None for name in _OF_ROUTING)


def outcome_of(row: object, now: datetime) -> Outcome:
    """The outcome that a row describes: `request_id`, `known_at`, optional `received_at`, and `values` by name."""
    fields = _fields(row, _OUTCOME_FIELDS)
    latest = now + MAX_AHEAD
    values = _values(fields.get("values"))
    return Outcome(
        request_id=_identifier("request_id", fields.get("request_id")),
        known_at=_time("known_at", fields.get("known_at"), latest),
        received_at=_time("received_at", fields.get("received_at", now), latest),
        values=values,
        size=_ROW_BYTES + _VALUE_BYTES * len(values),
    )


def owned_outcome_of(row: object, now: datetime) -> tuple[Outcome, str | None]:
    """The same where the sender may say whose outcome it is (`unit`), which is not kept. Raises Malformed."""
    if not isinstance(row, Mapping):
        return outcome_of(row, now), None
    outcome = outcome_of({name: value for name, value in row.items() if name != "unit"}, now)
    return outcome, _optional("unit", row.get("unit"), _identifier)


def is_name(name: str) -> bool:
    """Whether a feature or an outcome may be called that."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


_OF_ROUTING = ("bucket", "assigned_arm", "served_arm", "generation", "latency_seconds", "status", "failure")
_OUTCOME_FIELDS = frozenset({"request_id", "known_at", "received_at", "values"})
_REQUEST_FIELDS = frozenset(Request._fields) - {"nulls", "prediction_json", "unsampled", "size"}


def _fields(row: object, known: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise Malformed("the row is not a set of named fields")
    if not known.issuperset(row):
        raise Malformed("the row has a field that the log does not know")
    return row


def _optional(field: str, value: object, check: Callable[[str, object], T]) -> T | None:
    return None if value is None else check(field, value)


def _time(field: str, value: object, latest: datetime) -> datetime:
    if value is None:
        raise Malformed(f"{field} is missing")
    if isinstance(value, str):
        value = _parsed(field, value)
    if not isinstance(value, datetime):
        raise Malformed(f"{field} is not a time")
    if value.tzinfo is None:
        raise Malformed(f"{field} has no time zone")
    if value < EARLIEST:
        raise Malformed(f"{field} is before {EARLIEST.year}")
    if value > latest:
        raise Malformed(f"{field} is more than a day ahead")
    return value.astimezone(UTC)


def _parsed(field: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(f"{field} is not a time in ISO 8601") from None


def _identifier(field: str, value: object) -> str:
    if value is None:
        raise Malformed(f"{field} is missing")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise Malformed(f"{field} is not text of 1 to {MAX_TEXT} characters")
    if not value.isprintable():
        raise Malformed(f"{field} holds characters that cannot be shown")
    return value


def _arm(field: str, value: object) -> str:
    if not isinstance(value, str) or not _ARM.fullmatch(value):
        raise Malformed(f"{field} is not the name of an arm")
    return value


def _failure(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not _FAILURE.fullmatch(value):
        raise Malformed("failure is not a short word of small letters, digits and hyphens")
    return value


def _whole(low: int, high: int) -> Callable[[str, object], int]:
    def check(field: str, value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Malformed(f"{field} is not a whole number from {low} to {high}")
        return value

    return check


_bucket, _generation, _version, _status = _whole(0, BUCKETS - 1), _whole(0, 2**53), _whole(1, 2**31 - 1), _whole(100, 599)


def _seconds(field: str, value: object) -> float:
    number = _number(value)
    if number is None or not math.isfinite(number) or number < 0:
        raise Malformed(f"{field} is not a finite number of seconds, 0 or more")
    return number


def _number(value: object) -> float | None:
    """A number as a double, NaN and infinities included, which monitors count; None for anything else."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:
        raise Malformed("a number is too large") from None


def _features(value: object) -> tuple[dict[str, float | str | bool], tuple[str, ...], int]:
    """Values by column, names without a value, and roughly the bytes that they take."""
    if value is None:
        return {}, (), 0
    if not isinstance(value, Mapping) or len(value) > MAX_FEATURES:
        raise Malformed(f"features is not a set of at most {MAX_FEATURES} named values")
    kept, nulls, text = dict[str, float | str | bool](), list[str](), 0
    for name, one in value.items():
        if type(one) is float:  # nearly all of them are
            kept[_column(name, "number")] = one
        elif one is None:
            nulls.append(_name(name))
        else:
            column, held = _feature(name, one)
            kept[column] = held
            text += len(held) if isinstance(held, str) else 0
    if text > MAX_BYTES:
        raise Malformed(f"features holds more than {MAX_BYTES >> 10} KiB of text")
    return kept, tuple(nulls), text + _VALUE_BYTES * len(value)


def _feature(name: object, value: object) -> tuple[str, float | str | bool]:
    """A feature's column and value. A feature that sends another kind of value than before gets a column beside the first."""
    if isinstance(value, str):
        if not _is_unicode(value):
            raise Malformed("features holds text that is not Unicode")
        return _column(name, "text"), value
    if isinstance(value, bool):
        return _column(name, "flag"), value
    number = _number(value)
    if number is not None:
        return _column(name, "number"), number
    if isinstance(value, Mapping | Sequence):
        return _column(name, "json"), _document("features", value)
    raise Malformed("features holds a value that is no number, text, truth value, list or object")


def _prediction(value: object) -> tuple[float | None, str | None]:
    if value is None:
        return None, None
    number = _number(value)
    if number is not None:
        return number, None
    if isinstance(value, bool | str | Mapping | Sequence):
        return None, _document("prediction", value)
    raise Malformed("prediction is no number, text, truth value, list or object")


def _values(value: object) -> dict[str, float | None]:
    if not isinstance(value, Mapping) or not 0 < len(value) <= MAX_FEATURES:
        raise Malformed(f"values is not a set of 1 to {MAX_FEATURES} named numbers")
    return {_column(name, "outcome"): _outcome_value(one) for name, one in value.items()}


def _outcome_value(value: object) -> float | None:
    number = float(value) if isinstance(value, bool) else _number(value)
    if number is None and value is not None:
        raise Malformed("values holds something that is no number and no truth value")
    return number


@lru_cache(maxsize=65_536)
def _column(name: object, kind: Kind) -> str:
    return column_of(_name(name), kind)


def _name(name: object) -> str:
    """Names are shown, written into the database and mailed, so that they hold nothing that those cannot take (NUL) or obey."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise Malformed(f"a name of a feature or an outcome is not text of 1 to {MAX_NAME} characters")
    if not name.isprintable():  # surrogates among them
        raise Malformed("a name of a feature or an outcome holds characters that cannot be shown")
    return name


def _document(field: str, value: object) -> str:
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise Malformed(f"{field} holds a list or object that is not JSON") from None
    if len(text) > MAX_BYTES:
        raise Malformed(f"{field} holds more than {MAX_BYTES >> 10} KiB of JSON")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
