"""What somebody with a token may send that was never meant: it is refused in the one shape, and nothing happens."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.api.guard import MOST_BYTES
from backend.core.database import Database
from tests.api_world import Api
from tests.services.changes.world import ENDPOINT, MODEL, World

PROPOSAL = {"endpoint": ENDPOINT, "version": 2, "title": "Newer", "reason": "It is better."}
DIGESTS = {"plan_digest": "sha256:" + "0" * 64, "base_digest": "sha256:" + "0" * 64}
PAGE_BEYOND = base64.urlsafe_b64encode(b'[0,"9999-12-31T23:59:59-14:00",1]').decode()
PAGE_NOWHERE = base64.urlsafe_b64encode(b'[0,"2026-03-01T06:00:00",1]').decode()
SQLITE = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def send(asked: Api, method: str, path: str, content: bytes | str, **headers: str) -> Any:
    told = {"authorization": f"Bearer {asked.token('ana')}", "content-type": "application/json", **headers}
    return asked.client.request(method, f"/v1{path}", content=content, headers=told)


def is_refused(answer: Any) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json().keys() - {"errors"} == {"type", "title", "status", "detail", "code", "remedy", "request_id"}
    assert "Traceback" not in answer.text


BAD_PROPOSALS: tuple[dict[str, Any], ...] = (
    {"version": "2"},
    {"version": 2.5},
    {"version": True},
    {"version": 0},
    {"version": 10**40},
    {"version": None},
    {"endpoint": ""},
    {"endpoint": "x" * 300},
    {"endpoint": "flight\x00delay"},
    {"endpoint": ["a"]},
    {"title": "x" * 201},
    {"title": "\x00"},
    {"title": " "},
    {"title": "\ud800"},
    {"reason": "x" * 10_001},
    {"reason": ""},
    {"share_percent": -1},
    {"share_percent": 101},
    {"share_percent": "25"},
    {"share_percent": 33.333},
    {"ramp": [{"share_percent": 1}] * 50},
    {"ramp": {"share_percent": 1}},
    {"ramp": [{"share_percent": 1, "colour": "red"}]},
    {"bake_seconds": -1},
    {"bake_seconds": 10**30},
    {"start_mode": "now"},
    {"start_mode": "at_time"},
    {"start_at": "2026-03-01T06:00:00"},
    {"start_at": "soon"},
    {"start_mode": "at_time", "start_at": "9999-12-31T23:59:59-14:00"},
    {"start_at": 1},
    {"supersede": "yes"},
    {"shadow": "mine"},
    {"experiment": "A B"},
    {"unit_header": "X\r\nY"},
    {"requester_id": "idn_somebody"},
    {"state": "approved"},
    {"__class__": "x"},
)


def test_no_wrong_field_of_a_proposal_gets_through_on_either_database(asked: Api) -> None:
    for wrong in BAD_PROPOSALS:
        is_refused(send(asked, "POST", "/changes", json.dumps({**PROPOSAL, **wrong})))
    for missing in PROPOSAL:
        is_refused(send(asked, "POST", "/changes", json.dumps({key: PROPOSAL[key] for key in PROPOSAL.keys() - {missing}})))
    assert "change.propose" not in asked.world.ledger()


@SQLITE
@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b'{"version": NaN}',
        b'{"version": 1e400}', b"{}" * 10, b"a" * MOST_BYTES,
    ],
    ids=lambda content: repr(content[:12]),
)  # fmt: skip
def test_what_is_no_json_object_is_refused(asked: Api, content: bytes) -> None:
    is_refused(send(asked, "POST", "/changes", content))
    is_refused(send(asked, "PATCH", "/changes/1", content))


@SQLITE
def test_a_body_is_bounded_whether_or_not_its_length_was_told(asked: Api) -> None:
    large = b" " * (MOST_BYTES + 1)
    answer = send(asked, "POST", "/changes", large)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")

    def parts() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 1024 + 1):
            yield b" " * 1024

    headers = {"authorization": f"Bearer {asked.token('ana')}"}
    answer = asked.client.post("/v1/changes", content=parts(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


@SQLITE
def test_a_request_that_was_cut_is_dropped(asked: Api) -> None:
    """Its beginning is a whole proposal: were the cut taken for the end, it would be carried out."""
    told = [
        {"type": "http.request", "body": json.dumps(PROPOSAL).encode(), "more_body": True},
        {"type": "http.disconnect"},
    ]
    answered = asyncio.run(_spoken(asked, "/v1/changes", told))
    assert answered[0]["status"] == 400
    assert "change.propose" not in asked.world.ledger()
    told = [{"type": "http.request", "body": json.dumps(PROPOSAL).encode(), "more_body": False}]
    assert asyncio.run(_spoken(asked, "/v1/changes", told))[0]["status"] < 300, "the same, whole, is carried out"


async def _spoken(asked: Api, path: str, told: list[dict[str, Any]]) -> list[Any]:
    """What is answered to these messages of a server."""
    said: list[Any] = []
    left = iter(told)

    async def receive() -> Any:
        return next(left, {"type": "http.disconnect"})

    async def send_(message: Any) -> None:
        said.append(message)

    headers = [(b"authorization", f"Bearer {asked.token('ana')}".encode()), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers,
        "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1",
    }  # fmt: skip
    await asked.application(scope, receive, send_)
    return said


@pytest.mark.parametrize(
    "path",
    [
        "/models/%00", "/models/x/versions/0", "/models/x/versions/99999999999999999999", "/models/x/versions/-1",
        "/models/x/versions/1.0", "/models/x%2F..%2Fy", "/models/" + "x" * 3000, "/changes/%00", "/changes/1%20OR%201=1",
        "/changes/99999999999", "/changes/chg_x", "/endpoints/%F0%9F%92%A5", "/endpoints/..", "/endpoints?limit=0",
        "/endpoints?limit=999999", "/endpoints?state=healthy", "/endpoints?statee=in_sync", "/endpoints?after=%00",
        "/changes?after=AAAA", "/changes?after=%F0%9F%92%A5", "/changes?state=nothing", "/changes?limit=1e3",
        "/models?after=W10=", "/models?order=random", "/versions?after=zzz", "/audit/events/0",
        f"/models/{MODEL}/compare?version=1", f"/models/{MODEL}/compare", f"/models/{MODEL}/compare?version=a&version=b",
        f"/endpoints/{ENDPOINT}/at?moment=9999-12-31T23:59:59-14:00",
        f"/endpoints/{ENDPOINT}/at?moment=0001-01-01T00:00:00%2B14:00", "/audit/events?until=9999-12-31T23:59:59-14:00",
        "/audit/events?until=0001-01-01T00:00:00%2B14:00", f"/changes?after={PAGE_BEYOND}", f"/changes?after={PAGE_NOWHERE}",
        f"/endpoints/{ENDPOINT}/at?moment=2026-03-01T06:00:00", f"/endpoints/{ENDPOINT}/at", "/nothing", "/changes/1/2/3",
    ],
)  # fmt: skip
@SQLITE
def test_no_wrong_address_is_more_than_a_refusal(asked: Api, path: str) -> None:
    is_refused(send(asked, "GET", path, b""))


@SQLITE
@pytest.mark.parametrize("until", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00%2B14:00", "0001-01-01T00:00:00Z"])
def test_a_moment_that_leaves_no_room_for_spans_is_refused_to_whoever_may_read(asked: Api, until: str) -> None:
    headers = {"authorization": f"Bearer {asked.token('audra')}"}
    assert asked.client.get("/v1/audit/events?until=2026-03-01T06:00:00Z", headers=headers).status_code == 200
    for address in (
        f"audit/events?until={until}",
        *(f"endpoints/{ENDPOINT}/{one}?end={until}" for one in ("metrics", "drift")),
    ):
        answer = asked.client.get(f"/v1/{address}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad-time"), address


@SQLITE
def test_a_method_that_a_path_does_not_take_is_told(asked: Api) -> None:
    answer = send(asked, "DELETE", "/changes/1", b"")
    assert (answer.status_code, answer.json()["code"]) == (405, "no-such-method")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, PATCH"


@SQLITE
def test_votes_need_both_whole_digests_and_a_verdict(asked: Api) -> None:
    number = asked.world.reviewed()
    for wrong in (
        {"plan_digest": DIGESTS["plan_digest"][:20]}, {"base_digest": ""}, {"plan_digest": "sha256:" + "G" * 64},
        {"verdict": "maybe"}, {"verdict": None}, {"comment": "x" * 10_001}, {"comment": "\x00"}, {"voter": "idn_x"},
    ):  # fmt: skip
        sent = {"verdict": "approve", **DIGESTS, **wrong}
        asked.refused("bad-request", "POST", f"/changes/{number}/votes", sent, by="ben", status=422)
    for missing in ("verdict", "plan_digest", "base_digest"):
        sent = {key: value for key, value in {"verdict": "approve", **DIGESTS}.items() if key != missing}
        asked.refused("bad-request", "POST", f"/changes/{number}/votes", sent, by="ben", status=422)
    assert asked.world.votes(number) == []


@SQLITE
def test_an_error_repeats_nothing_of_what_was_sent(asked: Api) -> None:
    answer = send(asked, "POST", "/changes", json.dumps({**PROPOSAL, "password": "hunter2", "version": "hunter2"}))
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


@SQLITE
def test_names_that_are_markup_come_back_as_they_are_and_as_json(asked: Api) -> None:
    title = "<script>alert(1)</script> [x](javascript:y) \u202e ' OR 1=1 --"
    made = asked("POST", "/changes", {**PROPOSAL, "title": title}, status=201)
    assert asked("GET", f"/changes/{made['line']['number']}")["line"]["title"] == title
    answer = asked.client.get("/v1/changes", headers={"authorization": f"Bearer {asked.token('ana')}"})
    assert answer.headers["content-type"] == "application/json"


@SQLITE
@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "bearer x y", "Bearer " + "x" * 10_000, "Token cst", "Bearer cst_\x7f", "Bearer cst_" + "0" * 26],
)
def test_no_wrong_authorization_is_more_than_a_401(asked: Api, header: str) -> None:
    answer = asked.client.get("/v1/me", headers={"authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "no-token")


@SQLITE
def test_two_authorizations_are_none(asked: Api) -> None:
    headers = [("authorization", f"Bearer {asked.token('ana')}"), ("authorization", f"Bearer {asked.token('ben')}")]
    assert asked.client.get("/v1/me", headers=headers).status_code == 401


@SQLITE
@pytest.mark.parametrize(
    "address",
    ["/me?modle=x", "/servers/s?x=1", "/me?model=a&model=b", "/endpoints?state=paused&state=stale", "/intakes?since=1"],
)
def test_what_is_not_taken_or_taken_once_is_refused_and_not_passed_over(asked: Api, address: str) -> None:
    asked.refused("bad-request", "GET", address, status=422)


@SQLITE
def test_a_body_a_key_or_a_condition_that_is_not_taken_is_refused_and_not_passed_over(asked: Api) -> None:
    for method, path in (("POST", "/routes/x/resume"), ("GET", "/me"), ("DELETE", "/tokens/tok_" + "0" * 26)):
        path = "/notify" + path if path.startswith("/routes") else path
        asked.refused("bad-request", method, path, {"reason": "left"}, status=422)
    asked.refused("bad-request", "POST", "/audit/verify", by="audra", status=422, idempotency_key="k-1")
    asked.refused("bad-request", "POST", "/freezes", {"scope": "*", "reason": "x"}, by="otto", status=422, if_match='"x"')
    assert asked("GET", "/me", idempotency_key="k-1")["name"].startswith("Ana"), "reading twice does no harm"


@SQLITE
def test_what_may_be_sent_several_times_is_taken(asked: Api) -> None:
    assert asked("GET", "/changes?state=review&state=done")["items"] == []
