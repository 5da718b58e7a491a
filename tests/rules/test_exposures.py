"""Lines of the router's access log as parts of requests, from both of its forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.inference_log import probes, rules
from backend.ingest import exposures
from backend.ingest.als.accesslog_pb2 import HTTPAccessLogEntry

AT = datetime(2026, 3, 2, 9, 0, 0, 250_000, tzinfo=UTC)
PATH = "/delay/v2/models/flight%20delay/infer"
LINE = {
    "start": "2026-03-02T09:00:00.250000Z", "request_id": "r1", "method": "POST", "path": PATH, "status": 200, "flags": "-",
    "duration_ms": 12, "bucket": "77", "assigned_arm": "canary", "served_arm": "champion", "served_version": "3",
    "generation": "9", "probe": None,
}  # fmt: skip
ROW = {
    "event_time": AT, "request_id": "r1", "unit": "u1", "bucket": 77, "assigned_arm": "canary", "served_arm": "champion",
    "version": 3, "generation": 9, "latency_seconds": 0.012, "status": 200, "failure": "",
}  # fmt: skip


def entry(**fields: Any) -> HTTPAccessLogEntry:
    made = HTTPAccessLogEntry()
    made.common_properties.start_time.FromDatetime(AT)
    made.common_properties.duration.FromMilliseconds(12)
    for flag in fields.get("flags", ()):
        setattr(made.common_properties.response_flags, flag, True)
    made.request.request_method = fields.get("method", exposures.POST)
    made.request.path, made.request.original_path = "/v2/models/m/infer", fields.get("path", PATH)
    made.request.request_id = "r1"
    made.request.request_headers.update({"x-unit-id": "u1", "x-cs-bucket": "77", "x-cs-assigned-arm": "canary"})
    made.request.request_headers.update(fields.get("asked", {}))
    if fields.get("status", 200):
        made.response.response_code.value = fields.get("status", 200)
    made.response.response_headers.update({"x-cs-arm": "champion", "x-cs-version": "3", "x-cs-generation": "9"})
    made.response.response_headers.update(fields.get("answered", {}))
    return made


def of(made: HTTPAccessLogEntry) -> dict[str, Any]:
    found = exposures.of_entry(made, {"delay": "x-unit-id"})
    assert found is not None
    assert found.endpoint == "delay"
    rules.part_of(found.row, AT)
    return found.row


def test_both_forms_tell_the_same_but_for_the_unit() -> None:
    found = exposures.of_line(LINE)
    assert found is not None
    assert of(entry()) == ROW
    assert rules.part_of(found.row, AT) == rules.part_of({**ROW, "unit": None}, AT)


def test_what_was_not_answered_validly_names_its_failure_and_nobody_who_served() -> None:
    assert (of(entry(status=503))["failure"], of(entry(status=503))["served_arm"]) == ("http-503", None)
    assert of(entry(status=504, flags=["upstream_request_timeout"]))["failure"] == "timeout"
    gone = of(entry(status=0, flags=["downstream_connection_termination"]))
    assert (gone["failure"], gone["status"]) == ("caller-left", None)
    assert of(entry(status=0))["failure"] == "no-answer"


@pytest.mark.parametrize(
    "fields",
    [{"method": 1}, {"path": "/delay/v2/models/m"}, {"path": "/DELAY/v2/models/m/infer"}],
)
def test_what_is_no_inference_of_a_caller_is_passed_over(fields: dict[str, Any]) -> None:
    assert exposures.of_entry(entry(**fields), {}) is None


def test_headers_that_are_no_numbers_are_left_out() -> None:
    row = of(entry(answered={"x-cs-version": "2; DROP", "x-cs-generation": "-1"}, asked={"x-cs-bucket": "٣"}))
    assert (row["version"], row["generation"], row["bucket"]) == (None, None, None)


def test_only_whoever_has_the_key_can_mark_a_request_as_ours_and_only_for_a_while() -> None:
    key, told = b"k" * 32, probes.mark(b"k" * 32, AT)
    assert probes.is_ours(key, told, AT + probes.HOLDS - timedelta(seconds=2))
    assert not probes.is_ours(key, told, AT + probes.HOLDS + timedelta(seconds=2))
    assert not probes.is_ours(b"x" * 32, told, AT)
    for forged in ("1", "", told[:-1], f"{told}0", f"9{told}", "9" * 400, "٣" + told[1:]):
        assert not probes.is_ours(key, forged, AT), forged
    assert of_probe(entry(asked={"x-cs-probe": told})) == told
    line = exposures.of_line({**LINE, "probe": told})
    assert line is not None
    assert line.probe == told


def of_probe(made: HTTPAccessLogEntry) -> str:
    found = exposures.of_entry(made, {})
    assert found is not None
    return found.probe


def test_numbers_and_times_beyond_all_bounds_end_nothing() -> None:
    found = exposures.of_line({**LINE, "duration_ms": int("9" * 400)})
    assert found is not None
    assert found.row["latency_seconds"] is None
    broken = entry()
    broken.common_properties.start_time.seconds = 2**62
    assert exposures.of_entry(broken, {}) is None
    broken = entry()
    broken.common_properties.duration.seconds = 2**62
    assert exposures.of_entry(broken, {}) is None


@pytest.mark.parametrize("line", [{}, {"path": 3}, {**LINE, "method": "GET"}, {**LINE, "path": None}])
def test_a_line_of_something_else_is_passed_over(line: dict[str, Any]) -> None:
    assert exposures.of_line(line) is None
