"""What an inference log keeps: sampling by unit, redaction, erased units; and rows out of protocols and CloudEvents."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.inference_log import cloudevents, handling, rules
from backend.inference_log.cloudevents import BATCH, REQUEST, RESPONSE, STRUCTURED
from backend.inference_log.handling import Erased, Handling, Redaction, pseudonym
from backend.inference_log.payloads import features_of, predictions_of

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
KEY = b"k" * 32


def request(number: int = 1, **fields: Any) -> rules.Request:
    return rules.request_of({"request_id": f"r{number}", "event_time": NOW, "unit": "u1", **fields}, NOW)


def outcome() -> rules.Outcome:
    return rules.outcome_of({"request_id": "r1", "known_at": NOW, "values": {"late": 1}}, NOW)


class TestSampling:
    def test_a_unit_is_in_with_all_its_rows_or_out_with_all_of_them(self) -> None:
        tenth = Handling(KEY, every=10)
        kept = {unit: [tenth.request(request(n, unit=unit)) is not None for n in range(5)] for unit in map(str, range(2000))}
        assert all(len(set(each)) == 1 for each in kept.values())
        assert 130 <= sum(each[0] for each in kept.values()) <= 270  # 200 wanted; five standard deviations either way

    def test_a_failure_is_kept_whatever_is_sampled(self) -> None:
        never = Handling(KEY, every=handling.MOST_EVERY)
        assert never.request(request()) is None
        failed = never.request(request(failure="timeout"))
        assert failed is not None
        assert (failed.failure, failed.unsampled) == ("timeout", True)
        every = Handling(KEY).request(request(failure="timeout"))
        assert every is not None
        assert not every.unsampled

    def test_an_outcome_goes_with_its_unit_where_that_is_told(self) -> None:
        half = Handling(KEY, every=2)
        units = [f"u{number}" for number in range(50)]
        with_unit = [half.outcome(outcome(), unit) is not None for unit in units]
        assert with_unit == [half.request(request(unit=unit)) is not None for unit in units]
        assert half.outcome(outcome()) is not None

    def test_another_installation_chooses_others(self) -> None:
        chosen = [[Handling(key, every=2).request(request(unit=str(n))) is None for n in range(64)] for key in (KEY, b"x" * 32)]
        assert chosen[0] != chosen[1]


class TestRedaction:
    def treated(self, row: rules.Request, *redactions: Redaction) -> rules.Request:
        kept = Handling(KEY, redactions=handling.checked(redactions)).request(row)
        assert kept is not None
        return kept

    def test_a_dropped_feature_leaves_no_trace(self) -> None:
        row = request(features={"passport": "X1", "hour": 7})
        assert self.treated(row, Redaction("feature:passport", "drop")).features == {"n.hour": 7.0}
        null = request(features={"passport": None})
        assert self.treated(null, Redaction("feature:passport", "drop")).nulls == ()
        assert self.treated(null, Redaction("feature:passport", "hash")).nulls == ("passport",)

    def test_a_feature_goes_however_its_name_is_written_and_with_the_columns_of_its_tensor(self) -> None:
        told = {"passport": "X1", "Passport": "X1", "passport.0": 1.0, "PASSPORT.12": None, "passport.a": 1, "passports": 2}
        row = request(features=told)
        kept = self.treated(row, Redaction("feature:passport", "drop"))
        assert (kept.features, kept.nulls) == ({"n.passport%2ea": 1.0, "n.passports": 2.0}, ())
        hashed = self.treated(row, Redaction("feature:Passport", "hash"))
        assert sorted(hashed.features) == [
            "n.passport%2ea", "n.passports", "t.%50assport", "t.passport", "t.passport%2e0",
        ]  # fmt: skip
        assert not {"X1", 1.0} & {hashed.features[one] for one in ("t.%50assport", "t.passport", "t.passport%2e0")}

    def test_the_exact_name_wins_and_every_value_of_it_goes_whatever_its_kind(self) -> None:
        both = Redaction("feature:zip", "truncate", 3), Redaction("feature:ZIP", "drop")
        assert self.treated(request(features={"zip": "10115", "ZIP": "10115", "Zip": 7}), *both).features == {"t.zip": "101"}

    @given(value=st.one_of(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.floats(), st.booleans()))
    def test_a_hashed_value_is_the_same_each_time_and_says_nothing(self, value: Any) -> None:
        row = request(features={"who": value})
        one = self.treated(row, Redaction("feature:who", "hash")).features
        assert one.keys() == {"t.who"}
        assert str(one["t.who"]).startswith("hmac:")
        assert one == self.treated(row, Redaction("feature:who", "hash")).features
        other = Handling(b"x" * 32, redactions=(Redaction("feature:who", "hash"),)).request(row)
        assert other is not None
        assert other.features != one

    def test_truncating_keeps_the_beginning_of_text_and_drops_what_is_none(self) -> None:
        cut = Redaction("feature:zip", "truncate", 3)
        assert self.treated(request(features={"zip": "10115"}), cut).features == {"t.zip": "101"}
        assert self.treated(request(features={"zip": 10115}), cut).features == {}
        assert self.treated(request(features={"zip": ["1", "2"]}), cut).features == {}

    def test_a_hashed_request_still_joins_its_outcome(self) -> None:
        both = Handling(KEY, redactions=(Redaction("request_id", "hash"),))
        kept, told = both.request(request()), both.outcome(outcome())
        assert kept is not None
        assert told is not None
        assert kept.request_id == told.request_id == pseudonym(KEY, "r1")

    def test_a_unit_and_a_prediction_can_go(self) -> None:
        row = request(prediction={"a": 1}, unit="u1")
        assert self.treated(row, Redaction("prediction", "drop")).prediction_json is None
        assert self.treated(row, Redaction("unit", "drop")).unit is None
        assert self.treated(row, Redaction("unit", "hash")).unit == pseudonym(KEY, "u1")

    @pytest.mark.parametrize(
        "told",
        [
            {"column": "latency_seconds", "how": "drop"},
            {"column": "unit", "how": "truncate", "length": 3},
            {"column": "prediction", "how": "hash"},
            {"column": "feature:", "how": "drop"},
            {"column": "feature:x", "how": "truncate"},
            {"column": "feature:x", "how": "drop", "length": 3},
            {"column": "feature:x", "how": "encrypt"},
            {"column": "feature:x\x00", "how": "drop"},
            {"column": 3, "how": "drop"},
        ],
    )
    def test_what_is_no_redaction_is_refused(self, told: dict[str, object]) -> None:
        with pytest.raises(Refusal) as refused:
            handling.checked([told])
        assert refused.value.code == "bad-redaction"

    def test_a_column_is_redacted_in_one_way(self) -> None:
        with pytest.raises(Refusal, match="in one way"):
            handling.checked([Redaction("unit", "drop"), Redaction("unit", "hash")])


class TestErased:
    def test_rows_from_before_go_and_later_ones_only_where_asked(self) -> None:
        name = pseudonym(KEY, "u1")
        until = Handling(KEY, erased=(Erased(name, NOW),))
        assert until.request(request()) is None
        later = rules.request_of({"request_id": "r1", "event_time": NOW, "unit": "u1"}, NOW + timedelta(seconds=1))
        assert until.request(later) is not None
        assert Handling(KEY, erased=(Erased(name, None),)).request(later) is None
        assert Handling(KEY, erased=(Erased(name, None),)).request(request(unit="u2")) is not None

    def test_a_failure_of_an_erased_unit_goes_too(self) -> None:
        assert Handling(KEY, erased=(Erased(pseudonym(KEY, "u1"), None),)).request(request(failure="timeout")) is None


class TestPayloads:
    def test_tensors_become_a_row_an_instance(self) -> None:
        body = {
            "inputs": [
                {"name": "hour", "shape": [2, 1], "datatype": "FP32", "data": [7, math.nan]},
                {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["UA", "AA"]},
                {"name": "wind", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]},
            ]
        }
        first, second = features_of(body)
        assert first == {"hour": 7, "carrier": "UA", "wind.0": 1, "wind.1": 2}
        assert math.isnan(second["hour"])
        assert second["wind.1"] == 4

    def test_version_one_has_instances_in_three_forms(self) -> None:
        assert features_of({"instances": [{"hour": 7}, [1, 2], 3]}) == [{"hour": 7}, {"0": 1, "1": 2}, {"0": 3}]

    def test_predictions_are_values_or_objects_of_several(self) -> None:
        late = {"name": "late", "shape": [2, 1], "datatype": "FP32", "data": [0.1, 0.9]}
        assert predictions_of({"outputs": [late]}) == [0.1, 0.9]
        delay = {**late, "name": "delay", "data": [1, 2]}
        assert predictions_of({"outputs": [late, delay]})[1] == {"late": 0.9, "delay": 2}
        assert predictions_of({"predictions": [[0.5], 1, {"a": 2}]}) == [0.5, 1, {"a": 2}]

    @pytest.mark.parametrize(
        "body",
        [
            None,
            [],
            {"inputs": []},
            {"inputs": [{"name": "x", "shape": [1]}]},
            {"inputs": [{"name": "x", "shape": [3], "data": [1]}]},
            {"inputs": [{"name": "x", "shape": [-1], "data": []}]},
            {"inputs": [{"name": "x", "shape": [0], "data": []}]},
            {"inputs": [{"shape": [1], "data": [1]}]},
            {"inputs": [{"name": "x", "shape": [1], "data": [1]}, {"name": "y", "shape": [2], "data": [1, 2]}]},
            {"inputs": [{"name": "x", "shape": [10**6, 10**6], "data": [1]}]},
            {"inputs": [{"name": "x", "shape": [1], "data": [[[[[[[[[[1]]]]]]]]]]}]},
            {"instances": []},
        ],
    )
    def test_what_is_no_request_is_malformed(self, body: Any) -> None:
        with pytest.raises(rules.Malformed):
            features_of(body)


V2 = {"inputs": [{"name": "hour", "shape": [1, 1], "datatype": "FP32", "data": [7]}]}
ANSWER = {"outputs": [{"name": "late", "shape": [1, 1], "datatype": "FP32", "data": [0.25]}]}
ATTRIBUTES = {"specversion": "1.0", "id": "ce-1", "source": "http://localhost:9081/", "type": REQUEST, "time": NOW.isoformat()}


def headers(**more: str) -> dict[str, str]:
    return {f"ce-{name}": value for name, value in {**ATTRIBUTES, **more}.items()} | {"content-type": "application/json"}


def told(found: list[Any], **options: Any) -> list[dict[str, Any]]:
    (event,) = found
    return cloudevents.parts(event, NOW.isoformat(), **options)


class TestCloudEvents:
    def test_the_two_events_of_kserves_logger_are_parts_of_one_request(self) -> None:
        metadata = json.dumps({"X-Request-Id": ["req-7"], "X-Unit-Id": ["u1"]})
        (asked,) = told(cloudevents.events(headers(metadata=metadata), json.dumps(V2).encode()), version=3)
        (answered,) = told(cloudevents.events(headers(type=RESPONSE, metadata=metadata), json.dumps(ANSWER).encode()))
        assert asked == {
            "request_id": "req-7", "event_time": NOW.isoformat(), "unit": "u1", "version": 3, "features": {"hour": 7},
        }  # fmt: skip
        assert (answered["request_id"], answered["prediction"]) == ("req-7", 0.25)
        assert rules.is_part(asked)

    def test_without_the_requests_own_id_the_events_id_names_it(self) -> None:
        for metadata in ("null", "{}", "not json", "%7B%7D", '{"X-Request-Id": ["a", "b"]}'):
            (row,) = told(cloudevents.events(headers(metadata=metadata), json.dumps(V2).encode()))
            assert row["request_id"] == "ce-1"

    def test_several_instances_become_as_many_requests(self) -> None:
        rows = told(cloudevents.events(headers(), json.dumps({"instances": [[1], [2]]}).encode()))
        assert [row["request_id"] for row in rows] == ["ce-1#0", "ce-1#1"]

    def test_an_event_may_be_whole_or_one_of_a_batch(self) -> None:
        whole = {**ATTRIBUTES, "data": V2}
        (row,) = told(cloudevents.events({"content-type": f"{STRUCTURED}; charset=utf-8"}, json.dumps(whole).encode()))
        assert row["features"] == {"hour": 7}
        packed = {**ATTRIBUTES, "data_base64": base64.b64encode(json.dumps(V2).encode()).decode()}
        batch = [whole, {**whole, "specversion": "0.3"}, packed, 7, {**ATTRIBUTES, "data_base64": "%"}]
        found = cloudevents.events({"content-type": BATCH}, json.dumps(batch).encode())
        assert [isinstance(one, rules.Malformed) for one in found] == [False, True, False, True, True]

    @pytest.mark.parametrize(
        ("media", "body"), [("text/plain", b"{}"), (BATCH, b"{}"), (STRUCTURED, b"{"), (BATCH, b"[" * 9999)]
    )
    def test_what_is_no_event_cannot_be_read(self, media: str, body: bytes) -> None:
        with pytest.raises(cloudevents.Unreadable):
            cloudevents.events({"content-type": media}, body)

    def test_a_type_of_somebody_else_is_malformed(self) -> None:
        with pytest.raises(rules.Malformed, match="type"):
            told(cloudevents.events(headers(type="org.example.other"), b"{}"))
