"""What the router tells of an answer, as a row: everything in it may be anything."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.inference_log.copies import Copy, copy_of
from backend.inference_log.rules import Malformed
from backend.ingest.answers import Answer, answer_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MICROSECONDS = int(NOON.timestamp() * 1_000_000)
UNITS = {"delay": "x-unit-id"}


def headers(**fields: str) -> dict[str, str]:
    given = {
        "endpoint": "delay", "shadow": "shadow", "arm": "shadow", "version": "3", "generation": "7", "id": "r-1", "unit": "u-1",
        "unit-header": "x-unit-id", "probe": "", "begun": str(MICROSECONDS), "ended": str(MICROSECONDS + 2_500),
        "status": "200", "encoding": "", "json-bytes": "",
    }  # fmt: skip
    return {f"x-cs-{name.replace('_', '-')}": value for name, value in {**given, **fields}.items()}


def heard(body: bytes, **fields: str) -> Answer:
    return answer_of({"x-cs-bytes": str(len(body)), **headers(**fields)}, body, UNITS)


def kept(body: bytes, **fields: str) -> Copy:
    return copy_of(heard(body, **fields).row, NOON + timedelta(seconds=1))


def outputs(data: Any, shape: Any = (1, 1), **fields: Any) -> bytes:
    return json.dumps({"outputs": [{"name": "y", "datatype": "FP32", "shape": shape, "data": data, **fields}]}).encode()


def test_a_row_says_who_answered_what_when_and_how_fast() -> None:
    found = kept(outputs([0.25]))
    assert (found.request_id, found.unit, found.shadow, found.arm) == ("r-1", "u-1", "shadow", "shadow")
    assert (found.version, found.generation, found.status, found.failure) == (3, 7, 200, "")
    assert (found.event_time, found.received_at) == (NOON, NOON + timedelta(seconds=1))
    assert (found.prediction, found.prediction_json, found.latency_seconds) == (0.25, None, 0.0025)


@pytest.mark.parametrize(
    ("body", "number", "text"),
    [
        (outputs([math.nan]), "nan", None),
        (outputs([[0.1], [0.2]], [2, 1]), None, "[0.1,0.2]"),
        (outputs(["late"]), None, '"late"'),
        (outputs([True]), None, "true"),
        (outputs([0.1, 0.9], [1, 2]), None, '{"y.0":0.1,"y.1":0.9}'),
        (b'{"predictions": [[0.5]]}', "0.5", None),
    ],
)
def test_predictions_are_read_in_both_versions_of_the_protocol(body: bytes, number: str | None, text: str | None) -> None:
    found = kept(body)
    assert (None if found.prediction is None else str(found.prediction), found.prediction_json) == (number, text)
    assert found.failure == ""


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no JSON", b"\xff\xfe", b"[]", b"null", b"7", b'{"outputs":7}', b'{"outputs":[]}', b'{"outputs":[{}]}',
        b"[" * 60_000, b'{"outputs":' + b"[" * 30_000, outputs([0.1]).replace(b"0.1", b"9" * 60_000),
        outputs([0.1], [2]), outputs([0.1], "x"), outputs([0.1], [-1]), outputs([None]), outputs([[math.nan, 1.0]], [1, 2]),
        outputs([0.1], [1_000_000] * 5_000), outputs([], [0]), outputs(None), outputs([{"a": 1}], name=7),
        b'{"outputs":[{"name":"y","shape":[1],"data":[1]},{"name":"z","shape":[2],"data":[1,2]}]}',
    ],
)  # fmt: skip
def test_a_body_that_is_none_is_kept_as_an_answer_that_could_not_be_read(body: bytes) -> None:
    found = kept(body)
    assert (found.failure, found.prediction, found.prediction_json, found.status) == ("unreadable", None, None, 200)


def test_packed_bodies_are_read_and_what_unpacks_to_too_much_is_not() -> None:
    assert kept(gzip.compress(outputs([0.5])), encoding="gzip").prediction == 0.5
    assert kept(zlib.compress(outputs([0.5])), encoding="deflate").prediction == 0.5
    bomb = gzip.compress(b" " * (8 << 20))
    assert len(bomb) < 64 << 10
    for body, encoding in ((bomb, "gzip"), (gzip.compress(outputs([0.5]))[:-9], "gzip"), (b"x", "gzip"), (b"x", "br")):
        assert kept(body, encoding=encoding).failure == "unreadable"


def test_what_was_not_told_whole_or_follows_as_bytes_is_not_read() -> None:
    assert kept(b"", bytes="70000").failure == "too-large"
    assert kept(outputs([0.5]), json_bytes="80").failure == "unreadable"


def test_failures_are_told_by_their_status() -> None:
    assert (kept(b"", status="503").failure, kept(outputs([0.5]), status="500").prediction) == ("http-503", None)
    assert kept(b"", status="x").failure == "no-answer"
    with pytest.raises(Malformed):
        heard(b"", arm="champion", status="503")


def test_a_unit_counts_where_the_log_knows_it_by_the_same_header() -> None:
    assert kept(outputs([1]), unit="").unit is None
    assert kept(outputs([1]), unit_header="x-session").unit is None
    assert kept(outputs([1]), endpoint="unknown").unit is None
    assert kept(outputs([1]), unit="ü".encode().decode("latin-1")).unit == "ü"


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""}, {"id": "x" * 257}, {"id": "a\u0085b"}, {"id": "\xff"}, {"shadow": ""}, {"arm": "../x"}, {"arm": "Ä"},
        {"version": "0"}, {"version": "9" * 14}, {"begun": ""}, {"begun": "-1"}, {"begun": "9" * 17}, {"ended": "soon"},
        {"begun": "0"}, {"begun": str(MICROSECONDS + 3 * 86_400_000_000)}, {"unit": "x" * 257}, {"status": "7"},
    ],
)  # fmt: skip
def test_rows_that_are_none_are_left_out(fields: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        kept(outputs([0.5]), **fields)


def test_headers_may_be_missing_altogether() -> None:
    with pytest.raises(Malformed):
        answer_of({}, b"", UNITS)
    assert heard(outputs([1]), ended=str(MICROSECONDS - 5)).row["latency_seconds"] == 0.0  # a clock that was set back


@pytest.mark.parametrize("row", [None, 7, {}, {"features": {}}, {"shadow": "a", "arm": "b", "unknown": 1}])
def test_a_row_of_unknown_fields_is_malformed(row: object) -> None:
    with pytest.raises(Malformed):
        copy_of(row, NOON)
