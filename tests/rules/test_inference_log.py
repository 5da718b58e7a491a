"""The inference log's pure parts: what a row may hold, what columns are called, which files count."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.inference_log import layout, rules
from backend.inference_log.columns import PREFIXES, Kind, column_of, columns_among

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)


def row(**fields: Any) -> dict[str, Any]:
    return {"request_id": "r1", "event_time": NOW, **fields}


class TestRows:
    def test_only_an_id_and_a_time_are_required(self) -> None:
        request = rules.request_of(row(), NOW)
        assert (request.request_id, request.event_time, request.received_at) == ("r1", NOW, NOW)
        assert (request.version, request.unit, request.features, request.prediction, request.failure) == (
            None,
            None,
            {},
            None,
            "",
        )

    def test_a_time_in_another_zone_or_as_text_is_the_same_moment(self) -> None:
        elsewhere = NOW.astimezone(timezone(timedelta(hours=-5)))
        for told in (elsewhere, "2026-03-02T09:00:00Z", "2026-03-02T04:00:00-05:00"):
            request = rules.request_of(row(event_time=told), NOW)
            assert (request.event_time, request.event_time.tzinfo) == (NOW, UTC)

    def test_features_are_sorted_out_by_the_kind_of_their_value(self) -> None:
        told = {"hour": 7, "temp": 1.5, "carrier": "UA", "late": True, "vector": [1, 2], "humid": None, "f32": np.float32(0.5)}
        request = rules.request_of(row(features=told), NOW)
        assert request.features == {
            "n.hour": 7.0, "n.temp": 1.5, "t.carrier": "UA", "f.late": True, "j.vector": "[1,2]", "n.f32": 0.5,
        }  # fmt: skip
        assert request.nulls == ("humid",)
        assert type(request.features["n.hour"]) is float
        assert request.features["f.late"] is True

    def test_no_number_and_infinity_are_kept_for_the_monitors_to_count(self) -> None:
        kept = rules.request_of(row(features={"a": math.nan, "b": math.inf}, prediction=math.nan), NOW)
        assert math.isnan(float(kept.features["n.a"]))
        assert kept.features["n.b"] == math.inf
        assert kept.prediction is not None
        assert math.isnan(kept.prediction)

    def test_a_prediction_of_several_outputs_is_json(self) -> None:
        request = rules.request_of(row(prediction={"label": "late", "scores": [0.25, 0.75]}), NOW)
        assert (request.prediction, request.prediction_json) == (None, '{"label":"late","scores":[0.25,0.75]}')

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"request_id": None}, "request_id is missing"),
            ({"request_id": ""}, "request_id is not text of 1 to 256 characters"),
            ({"request_id": "x" * 257}, "request_id is not text of 1 to 256 characters"),
            ({"request_id": "a\x00b"}, "request_id holds characters that cannot be shown"),
            ({"request_id": "\ud800"}, "request_id holds characters that cannot be shown"),
            ({"event_time": None}, "event_time is missing"),
            ({"event_time": 1.5}, "event_time is not a time"),
            ({"event_time": "yesterday"}, "event_time is not a time in ISO 8601"),
            ({"event_time": "2026-03-02T09:00:00"}, "event_time has no time zone"),
            ({"event_time": datetime(1999, 12, 31, tzinfo=UTC)}, "event_time is before 2000"),
            ({"event_time": NOW + timedelta(days=1, seconds=1)}, "event_time is more than a day ahead"),
            ({"received_at": datetime.max.replace(tzinfo=UTC)}, "received_at is more than a day ahead"),
            ({"unit": 5}, "unit is not text of 1 to 256 characters"),
            ({"bucket": 10_000}, "bucket is not a whole number from 0 to 9999"),
            ({"bucket": True}, "bucket is not a whole number from 0 to 9999"),
            ({"version": 0}, "version is not a whole number from 1 to 2147483647"),
            ({"version": "../../etc"}, "version is not a whole number from 1 to 2147483647"),
            ({"assigned_arm": "A/B"}, "assigned_arm is not the name of an arm"),
            ({"served_arm": "-"}, "served_arm is not the name of an arm"),
            ({"generation": -1}, "generation is not a whole number from 0 to 9007199254740992"),
            ({"latency_seconds": math.nan}, "latency_seconds is not a finite number of seconds, 0 or more"),
            ({"latency_seconds": -0.1}, "latency_seconds is not a finite number of seconds, 0 or more"),
            ({"status": 99}, "status is not a whole number from 100 to 599"),
            ({"failure": "It broke: /etc/passwd"}, "failure is not a short word of small letters, digits and hyphens"),
            ({"features": [1]}, "features is not a set of at most 1000 named values"),
            ({"features": dict.fromkeys(map(str, range(1001)), 1.0)}, "features is not a set of at most 1000 named values"),
            ({"features": {"": 1.0}}, "a name of a feature or an outcome is not text of 1 to 128 characters"),
            ({"features": {7: 1.0}}, "a name of a feature or an outcome is not text of 1 to 128 characters"),
            ({"features": {"pred\x00": 1.0}}, "a name of a feature or an outcome holds characters that cannot be shown"),
            ({"features": {"\x1b[31m": None}}, "a name of a feature or an outcome holds characters that cannot be shown"),
            ({"features": {"\ud800": "x"}}, "a name of a feature or an outcome holds characters that cannot be shown"),
            ({"features": {"x": object()}}, "features holds a value that is no number, text, truth value, list or object"),
            ({"features": {"x": "\udfff"}}, "features holds text that is not Unicode"),
            ({"features": {"x": [math.nan]}}, "features holds a list or object that is not JSON"),
            ({"features": {"x": 10**400}}, "a number is too large"),
            ({"features": {"x": "y" * 300_000}}, "features holds more than 256 KiB of text"),
            ({"prediction": b"bytes"}, "prediction holds a list or object that is not JSON"),
            ({"suprise": 1}, "the row has a field that the log does not know"),
        ],
    )
    def test_a_malformed_row_is_refused_with_its_reason(self, fields: dict[str, Any], reason: str) -> None:
        with pytest.raises(rules.Malformed) as refused:
            rules.request_of(row(**fields), NOW)
        assert str(refused.value) == reason

    @pytest.mark.parametrize("thing", [None, 5, "row", [("request_id", "r1")]])
    def test_what_is_no_row_is_refused(self, thing: object) -> None:
        with pytest.raises(rules.Malformed, match="not a set of named fields"):
            rules.request_of(thing, NOW)

    def test_a_deeply_nested_value_is_refused_and_not_a_crash(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(rules.Malformed, match="not JSON"):
            rules.request_of(row(prediction=deep), NOW)

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            (None, "values is not a set"),
            ({}, "values is not a set"),
            ({"late": "yes"}, "values holds something that is no number"),
        ],
    )
    def test_a_malformed_outcome_is_refused_with_its_reason(self, values: object, reason: str) -> None:
        with pytest.raises(rules.Malformed, match=reason):
            rules.outcome_of({"request_id": "r1", "known_at": NOW, "values": values}, NOW)

    def test_an_outcome_is_in_numbers_and_may_be_known_to_have_none(self) -> None:
        outcome = rules.outcome_of({"request_id": "r1", "known_at": NOW, "values": {"late": True, "delay": None}}, NOW)
        assert outcome.values == {"o.late": 1.0, "o.delay": None}


class TestColumns:
    @given(NAMES, st.sampled_from(list(PREFIXES)))
    def test_a_column_tells_its_name_and_kind_and_breaks_out_of_no_statement(self, name: str, kind: Kind) -> None:
        column = column_of(name, kind)
        assert columns_among([column, "request_id", "prediction"]) == ((column, name, kind),)
        assert set(column) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.%")

    @given(NAMES, NAMES)
    def test_two_names_stay_two_where_case_is_ignored(self, one: str, other: str) -> None:
        same = column_of(one, "number").casefold() == column_of(other, "number").casefold()
        assert same == (one == other)


class TestLayout:
    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "A", "a\n", "-a", "a-", "a" * 64, "a\x00", "ａ", None])
    def test_a_hostile_endpoint_is_no_folder(self, name: Any) -> None:
        with pytest.raises(Refusal) as refused:
            layout.endpoint_folder("requests", name)
        assert refused.value.code == "bad-endpoint"
        assert layout.endpoint_named(f"endpoint={name}") is None

    @pytest.mark.parametrize("version", [0, -1, True, "1", "../1", 1.0])
    def test_a_hostile_version_is_no_folder(self, version: Any) -> None:
        with pytest.raises(Refusal) as refused:
            layout.hours_folder("requests", "delay", version)
        assert refused.value.code == "bad-version"

    def test_folders_and_their_names_agree(self) -> None:
        partition = layout.Partition("requests", "delay", 12, NOW)
        assert partition.folder == "requests/endpoint=delay/version=12/hour=2026-03-02T09"
        assert layout.Partition("requests", "delay", None, NOW).parent.endswith("/version=none")
        assert layout.Partition("outcomes", "delay", None, NOW).folder == "outcomes/endpoint=delay/hour=2026-03-02T09"
        assert layout.hour_named("hour=2026-03-02T09") == NOW
        assert (layout.version_named("version=12"), layout.version_named("version=none")) == ((12,), (None,))

    @pytest.mark.parametrize(
        "name", ["hour=2026-3-02T09", "hour=2026-03-02T25", "hour=x", "2026-03-02T09", "hour=２026-03-02T09"]
    )
    def test_a_folder_with_another_name_is_no_hour(self, name: str) -> None:
        assert layout.hour_named(name) is None

    @pytest.mark.parametrize("name", ["version=0", "version=01", "version=-1", "version=1 ", "version=", "1", "version=１"])
    def test_a_folder_with_another_name_is_no_version(self, name: str) -> None:
        assert layout.version_named(name) is None


class TestLiveFiles:
    def test_a_merged_file_stands_for_those_that_it_replaced(self) -> None:
        one, two, merged, later = (layout.new_stem(NOW + timedelta(seconds=n)) for n in range(4))
        parts = [layout.data_name("part", stem) for stem in (one, two, later)]
        names = [*parts, layout.data_name("merged", merged), layout.list_name(merged)]
        assert layout.live(names, {merged: frozenset(parts[:2])}) == [layout.data_name("merged", merged), parts[2]]

    def test_without_the_merged_file_its_list_says_nothing(self) -> None:
        """A listing that was made while files came and went must rather count rows twice than not at all."""
        stem, merged = layout.new_stem(NOW), layout.new_stem(NOW)
        part = layout.data_name("part", stem)
        assert layout.live([part, layout.list_name(merged)], {merged: frozenset({part})}) == [part]

    def test_what_is_unfinished_or_foreign_counts_for_nobody(self) -> None:
        part = layout.data_name("part", layout.new_stem(NOW))
        assert layout.live([f".{part}", "part-1.parquet", "notes.txt", part, f"{part}.tmp", f"x{part}"], {}) == [part]

    def test_files_come_in_the_order_in_which_they_were_written(self) -> None:
        early = layout.data_name("part", layout.new_stem(NOW))
        late = layout.data_name("merged", layout.new_stem(NOW + timedelta(seconds=1)))
        assert layout.live([late, early], {}) == [early, late]
