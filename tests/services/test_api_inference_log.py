"""The inference log over the API: batches, KServe's events with a token in the URL, rules and erasures."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.api import inference_log
from backend.cli.shadow_show import shadow_lines
from backend.client.results import Shadows
from backend.client.shapes import read
from backend.core.database import Database
from backend.equipment import keys
from backend.inference_log import spool
from backend.inference_log.cloudevents import BATCH, STRUCTURED
from backend.inference_log.spool import Spool
from tests.api_world import Api
from tests.services.changes.world import ENDPOINT, World

SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
AT = "2026-03-02T08:00:00Z"
RULES = f"/endpoints/{ENDPOINT}/inference-log"
EVENTS = f"/inference-log/{ENDPOINT}/events"
CE = {
    "ce-specversion": "1.0",
    "ce-id": "e1",
    "ce-source": "x",
    "ce-time": AT,
    "ce-type": "org.kubeflow.serving.inference.request",
}


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def handed_over(asked: Api) -> list[Any]:
    waiting = Spool(keys.spool_folder(asked.backend.settings)).waiting()
    return [row for path in waiting for rows in spool.read(path).rows.values() for row in rows]


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {"request_id": f"r{number}", "event_time": AT, **fields}


@SQLITE
def test_a_batch_is_answered_row_by_row(asked: Api) -> None:
    outcome = {"request_id": "r0", "known_at": AT, "values": {"late": True}}
    sent = {
        "endpoint": ENDPOINT,
        "requests": [row(1, features={"hour": 7}), 7, {"request_id": "secret"}],
        "outcomes": [outcome],
    }
    found = asked("POST", "/inference-log", sent)
    assert (found["requests"], found["outcomes"], found["rejected"]) == (1, 1, 2)
    assert [(one["list"], one["index"]) for one in found["rejections"]] == [("requests", 1), ("requests", 2)]
    assert "secret" not in json.dumps(found)
    assert sorted(one.request_id for one in handed_over(asked)) == ["r0", "r1"]
    asked.refused("not-allowed", "POST", "/inference-log", sent, by="ben", status=403)
    asked.refused("not-found", "POST", "/inference-log", {**sent, "endpoint": "nothing"}, status=404)
    asked.refused("bad-request", "POST", "/inference-log", {**sent, "more": 1}, status=422)
    assert len(handed_over(asked)) == 2


@SQLITE
def test_bodies_are_bounded(asked: Api) -> None:
    large = {"endpoint": ENDPOINT, "requests": [row(1, features={"x": "y" * 200_000})] * 3}
    assert asked("POST", "/inference-log", large)["requests"] == 3, "larger than what other operations take"
    body = b" " * (inference_log.MOST_BYTES + 1)
    for path in ("/inference-log", EVENTS):
        headers = {"authorization": f"Bearer {asked.token('ana')}", "content-type": "application/json", **CE}
        assert asked.client.post(f"/v1{path}", content=body, headers=headers).status_code == 413
    headers["content-type"] = STRUCTURED
    deep = asked.client.post(f"/v1{EVENTS}", content=b"[" * 100_000, headers=headers)
    assert (deep.status_code, deep.json()["code"]) == (422, "no-event")


@SQLITE
def test_kserves_logger_may_bring_its_token_as_a_password_there_and_nowhere_else(asked: Api) -> None:
    token = base64.b64encode(f"token:{asked.token('ana')}".encode()).decode()
    headers = {"authorization": f"Basic {token}", "content-type": "application/json", **CE}
    answer = asked.client.post(f"/v1{EVENTS}?version=2", content=b'{"instances": [{"hour": 7}]}', headers=headers)
    assert (answer.status_code, answer.json()["requests"]) == (200, 1)
    (part,) = handed_over(asked)
    assert (part.request_id, part.version, part.features) == ("e1", 2, {"n.hour": 7.0})
    for path in ("/models", "/inference-log", RULES, f"{EVENTS}/"):
        assert asked.client.request("GET", f"/v1{path}", headers=headers).status_code == 401, path
    for wrong in ("token", "Basic", f"Basic {token}=", f"Basic {base64.b64encode(b'token:').decode()}", "Basic !!!!"):
        assert asked.client.post(f"/v1{EVENTS}", headers={**headers, "authorization": wrong}).status_code == 401, wrong


@SQLITE
def test_events_come_one_by_one_or_many_at_once(asked: Api) -> None:
    event = {name.removeprefix("ce-"): value for name, value in CE.items()} | {"data": {"instances": [[1], [2]]}}
    headers = {"authorization": f"Bearer {asked.token('ana')}"}
    for media, content, taken, rejected in ((STRUCTURED, event, 2, 0), (BATCH, [event, {}, 7], 2, 2)):
        told = {**headers, "content-type": media}
        answer = asked.client.post(f"/v1{EVENTS}", content=json.dumps(content), headers=told)
        assert (answer.json()["requests"], answer.json()["rejected"]) == (taken, rejected)
        asked.check("POST", EVENTS, answer)


@SQLITE
def test_rules_are_set_by_whoever_saw_them_and_count_at_once(asked: Api) -> None:
    assert asked("GET", RULES)["revision"] == 0
    sent = {"redactions": [{"column": "unit", "how": "drop"}], "kept_days": {"requests": 9}}
    asked.refused("condition-needed", "PUT", RULES, sent, by="olga", status=428)
    tag = asked.tag(RULES, by="olga")
    assert asked("PUT", RULES, sent, by="olga", if_match=tag)["revision"] == 1
    asked.refused("stale", "PUT", RULES, {}, by="olga", if_match=tag, status=412)
    asked.refused("not-allowed", "PUT", RULES, sent, by="ana", if_match="*", status=403)
    asked.refused(
        "bad-redaction", "PUT", RULES, {"redactions": [{"column": "x", "how": "drop"}]}, by="olga", if_match="*", status=422
    )
    asked("POST", "/inference-log", {"endpoint": ENDPOINT, "requests": [row(1, unit="u1")]})
    assert handed_over(asked)[0].unit is None


@SQLITE
def test_an_erasure_is_asked_for_once_under_its_key_and_tells_no_unit(asked: Api) -> None:
    sent = {"unit": "passenger-1842", "reason": "Asked for"}
    made = asked("POST", f"{RULES}/erasures", sent, by="otto", status=201, idempotency_key="e-1")
    again = asked("POST", f"{RULES}/erasures", sent, by="otto", status=201, idempotency_key="e-1")
    assert (made["id"], made["state"]) == (again["id"], "asked")
    asked.refused("key-used", "POST", f"{RULES}/erasures", {**sent, "unit": "u2"}, by="otto", status=409, idempotency_key="e-1")
    obeyed = {**sent, "reason": "Asked \x1b[31m for"}
    asked.refused("no-reason", "POST", f"{RULES}/erasures", obeyed, by="otto", status=422, idempotency_key="e-2")
    told = asked("GET", f"{RULES}/erasures", by="audra")
    assert [one["id"] for one in told["items"]] == [made["id"]]
    assert asked("GET", f"{RULES}/erasures/{made['id']}", by="audra") == told["items"][0]
    assert "passenger" not in json.dumps([told, asked("GET", "/audit/events", by="audra")])
    asked.refused("not-found", "GET", f"{RULES}/erasures/ers_{'0' * 26}", status=404)


@SQLITE
def test_what_shadow_arms_answered_is_told_beside_the_live_answers(asked: Api) -> None:
    at = datetime.now(UTC) - timedelta(hours=2)
    answer = {"request_id": "r1", "event_time": at, "shadow": "v2", "latency_seconds": 0.01, "status": 200}
    rows = [{**answer, "arm": "v1", "version": 1, "prediction": 0.25}, {**answer, "arm": "v2", "version": 2, "prediction": 0.5}]
    asked.backend.inference_log.append_copies(ENDPOINT, rows)
    asked.backend.inference_log.flush()
    (found,) = asked("GET", f"/endpoints/{ENDPOINT}/shadow")["shadows"]
    assert (found["arm"], found["versions"], found["asked"], found["compared"], found["missing"]) == ("v2", [2], 1, 1, 0)
    assert found["disagreement"]["share"] == {
        "mean": 1.0, "low": None, "high": None, "units": 1, "unsettled": "there are 1 of the 100 units that an interval needs",
    }  # fmt: skip
    tolerant = asked("GET", f"/endpoints/{ENDPOINT}/shadow?tolerance=0.3")["shadows"][0]["disagreement"]
    assert (tolerant["share"]["mean"], tolerant["tolerance"], tolerant["told"]) == (0.0, 0.3, True)
    asked.refused("bad-tolerance", "GET", f"/endpoints/{ENDPOINT}/shadow?tolerance=-1", status=422)
    asked.refused("bad-window", "GET", f"/endpoints/{ENDPOINT}/shadow?start=2026-01-01T00:00:00Z", status=422)
    asked("GET", "/endpoints/absent/shadow", status=404)
    lines = shadow_lines(read(Shadows, asked("GET", f"/endpoints/{ENDPOINT}/shadow")))
    assert lines[0].startswith("v2 (version 2), ")
    assert any("1: 1 answered, 0 failed, 0 not heard" in line for line in lines)
    assert any("100.00% (there are 1 of the 100 units that an interval needs) beyond" in line for line in lines)
